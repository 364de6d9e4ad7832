package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"postern/internal/testkit/postfix"
)

// freeAddr returns an address on loopback that nobody listens on.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// startPostfix runs a Postfix until the test ends.
func startPostfix(t testing.TB, conf postfix.Config) *postfix.Instance {
	t.Helper()
	i, err := postfix.Start(conf)
	switch {
	case errors.Is(err, postfix.ErrRoot), errors.Is(err, postfix.ErrMissing) && !mustHaveAll():
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Postfix's log:\n%s", i.Log())
		}
		if err := i.Stop(); err != nil {
			t.Errorf("stop Postfix: %v", err)
		}
	})
	return i
}

// relayhostConf makes a Postfix hand all mail to the demo, as its documentation
// tells people to do with a commercial relay.
func (d *demo) relayhostConf(t testing.TB, listen, key string, implicit bool) postfix.Config {
	t.Helper()
	ca, err := os.ReadFile(d.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	addr, wrapper := d.SMTPStartTLS, "no"
	if implicit {
		addr, wrapper = d.SMTPTLS, "yes"
	}
	host, port := split(t, addr)
	hop := "[" + host + "]:" + port
	return postfix.Config{
		Listen: []postfix.Service{{Addr: listen}},
		Files:  map[string]string{"ca.pem": string(ca)},
		Main: map[string]string{
			"relayhost":                  hop,
			"smtp_sasl_auth_enable":      "yes",
			"smtp_sasl_password_maps":    "inline:{ { " + hop + " = " + d.Username + ":" + key + " } }",
			"smtp_sasl_security_options": "noanonymous",
			"smtp_tls_security_level":    "verify",
			"smtp_tls_wrappermode":       wrapper,
			"smtp_tls_verify_cert_match": d.Hostname,
			"smtp_tls_CAfile":            "$config_directory/ca.pem",
			"smtp_tls_loglevel":          "1",
			// A refusal is seen at once and not tried for days.
			"minimal_backoff_time":               "300s",
			"smtp_connection_cache_destinations": "$relayhost",
		},
	}
}

// waitLog waits for a line in Postfix's log.
func waitLog(t testing.TB, i *postfix.Instance, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if m := re.FindString(i.Log()); m != "" {
			return m
		}
	}
	t.Fatalf("no %q in Postfix's log", pattern)
	return ""
}

func TestPostfixAsClient(t *testing.T) {
	t.Parallel()
	d := theDemo(t)
	for _, implicit := range []bool{false, true} {
		t.Run(fmt.Sprintf("implicit=%v", implicit), func(t *testing.T) {
			t.Parallel()
			listen := freeAddr(t)
			conf := d.relayhostConf(t, listen, d.APIKey, implicit)
			if implicit {
				// This listener announces SCRAM. Postfix takes it, says apikey and is put off; its
				// next try finds PLAIN. Here that is soon.
				conf.Main["minimal_backoff_time"], conf.Main["maximal_backoff_time"], conf.Main["queue_run_delay"] = "1s", "2s", "1s"
			}
			p := startPostfix(t, conf)
			tok := token("postfix")
			message := func(from, subject string) []byte {
				return fmt.Appendf(nil, "From: %s\r\nTo: %s\r\nSubject: %s\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n"+
					"Content-Type: text/plain; charset=utf-8\r\n\r\n%s", from, d.To, subject, hardBody)
			}
			const n = 40
			for range n {
				if err := smtp.SendMail(listen, nil, d.From, []string{d.To}, message(d.From, tok)); err != nil {
					t.Fatal(err)
				}
			}
			for _, m := range d.arrived(t, tok, n) {
				if m.body() != hardBody {
					t.Fatalf("the body changed on its way through Postfix and postern:\n%q", m.body())
				}
			}
			waitLog(t, p, `Verified TLS connection established to`)
			if implicit {
				waitLog(t, p, `454 4\.7\.0 SCRAM needs the key's id as user name; PLAIN and LOGIN take apikey`)
			}
			waitLog(t, p, `status=sent \(250 2\.0\.0 Ok: queued as [A-Za-z0-9_-]{22}\)`)

			forged := token("postfix-forged")
			if err := smtp.SendMail(listen, nil, d.From, []string{d.To}, message(d.UnverifiedFrom, forged)); err != nil {
				t.Fatal(err)
			}
			waitLog(t, p, `status=bounced \(.*550 5\.7\.1 The from address does not match a verified Sender Identity`)
			d.none(t, forged)
		})
	}
	t.Run("wrong key", func(t *testing.T) {
		t.Parallel()
		listen := freeAddr(t)
		p := startPostfix(t, d.relayhostConf(t, listen, d.wrongKey(), false))
		tok := token("postfix-wrong-key")
		message := "From: " + d.From + "\r\nTo: " + d.To + "\r\nSubject: " + tok + "\r\n\r\nx\r\n"
		if err := smtp.SendMail(listen, nil, d.From, []string{d.To}, []byte(message)); err != nil {
			t.Fatal(err)
		}
		line := waitLog(t, p, `status=deferred \(SASL authentication failed.*`)
		if !strings.Contains(line, "535 5.7.8 Authentication failed") {
			t.Error(line)
		}
		d.none(t, tok)
	})
}
