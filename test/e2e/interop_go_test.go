package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"net/textproto"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tlsConfig trusts the demo's certificate and nothing else.
func (d *demo) tlsConfig() (*tls.Config, error) {
	pem, err := os.ReadFile(d.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", d.CAFile)
	}
	return &tls.Config{RootCAs: pool, ServerName: d.Hostname}, nil
}

// dialGo opens a session with Go's net/smtp: TLS by the port, logged in.
func (d *demo) dialGo(implicit bool) (*smtp.Client, error) {
	conf, err := d.tlsConfig()
	if err != nil {
		return nil, err
	}
	var c *smtp.Client
	if implicit {
		conn, err := tls.Dial("tcp", d.SMTPTLS, conf)
		if err != nil {
			return nil, err
		}
		if c, err = smtp.NewClient(conn, d.Hostname); err != nil {
			return nil, err
		}
	} else {
		conn, err := net.Dial("tcp", d.SMTPStartTLS)
		if err != nil {
			return nil, err
		}
		if c, err = smtp.NewClient(conn, d.Hostname); err != nil {
			return nil, err
		}
		if err := c.StartTLS(conf); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	if err := c.Auth(smtp.PlainAuth("", d.Username, d.APIKey, d.Hostname)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// submitGo sends one message on an open session.
func submitGo(c *smtp.Client, from string, to []string, message string) error {
	if err := c.Mail(from); err != nil {
		return err
	}
	for _, rcpt := range to {
		if err := c.Rcpt(rcpt); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(message)); err != nil {
		return err
	}
	return w.Close()
}

// send sends one plain message to the demo's recipient.
func (d *demo) send(subject, body string) error {
	c, err := d.dialGo(false)
	if err != nil {
		return err
	}
	defer c.Close()
	message := fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: %s\r\n\r\n%s", d.From, d.To, subject, body)
	if err := submitGo(c, d.From, []string{d.To}, message); err != nil {
		return err
	}
	return c.Quit()
}

// hardBody holds what careless relays change: leading dots, trailing blanks,
// blank lines at the end, 8-bit octets, a lone "From ", long lines.
var hardBody = strings.Join([]string{
	".", "..", ".leading dot", "...", "trailing blanks  \t", "", "From here on", "caf\u00e9 \u2603",
	strings.Repeat("x", 998), "\ttab first", " blank first", "-- ", "last", "", "", "",
}, "\r\n")

func TestGoClientKeepsEveryOctet(t *testing.T) {
	t.Parallel()
	d := theDemo(t)
	for _, implicit := range []bool{false, true} {
		t.Run(fmt.Sprintf("implicit=%v", implicit), func(t *testing.T) {
			tok := token("go")
			c, err := d.dialGo(implicit)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			head := "X-Odd:  two  blanks \r\nFrom: Somebody <" + d.From + ">\r\nTo: " + d.To + "\r\nSubject: " + tok +
				"\r\n folded\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n" +
				"Date: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <" + tok + "@client.example>\r\n"
			if err := submitGo(c, d.From, []string{d.To}, head+"\r\n"+hardBody); err != nil {
				t.Fatal(err)
			}
			if err := c.Quit(); err != nil {
				t.Errorf("QUIT: %v", err)
			}
			got := d.one(t, tok)
			if diff := cmp.Diff(hardBody, got.body()); diff != "" {
				t.Errorf("the body changed (-sent +received):\n%s", diff)
			}
			if !strings.HasSuffix(got.head()+"\r\n", head) {
				t.Errorf("the client's header is not at the end of the received one, unchanged:\n%s", got.head())
			}
			if len(got.field("DKIM-Signature")) == 0 || len(got.field("Received")) == 0 {
				t.Errorf("no signature or trace field:\n%s", got.head())
			}
		})
	}
}

func TestGoClientRefusals(t *testing.T) {
	t.Parallel()
	d := theDemo(t)
	tok := token("go-refused")
	message := func(from string) string {
		return "From: " + from + "\r\nTo: " + d.To + "\r\nSubject: " + tok + "\r\n\r\nx\r\n"
	}
	wantCode := func(t *testing.T, err error, code int) {
		t.Helper()
		if e := (*textproto.Error)(nil); !errors.As(err, &e) || e.Code != code {
			t.Errorf("error %v, want code %d", err, code)
		}
	}
	t.Run("forged From", func(t *testing.T) {
		c, err := d.dialGo(false)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		wantCode(t, submitGo(c, d.From, []string{d.To}, message(d.UnverifiedFrom)), 550)
		// The session is still good.
		tok2 := token("go-after-refusal")
		if err := submitGo(c, d.From, []string{d.To}, strings.Replace(message(d.From), tok, tok2, 1)); err != nil {
			t.Fatal(err)
		}
		d.one(t, tok2)
	})
	t.Run("wrong key", func(t *testing.T) {
		wrong := *d
		wrong.APIKey = d.wrongKey()
		_, err := wrong.dialGo(true)
		wantCode(t, err, 535)
	})
	t.Run("no AUTH", func(t *testing.T) {
		c, err := smtp.Dial(d.SMTPStartTLS)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		wantCode(t, c.Mail(d.From), 530)
		if ok, _ := c.Extension("AUTH"); ok {
			t.Error("AUTH is offered before TLS")
		}
		conf, err := d.tlsConfig()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.StartTLS(conf); err != nil {
			t.Fatal(err)
		}
		wantCode(t, c.Mail(d.From), 530)
	})
	d.none(t, tok)
}
