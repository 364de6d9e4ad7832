package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// sClient runs openssl s_client, says EHLO and QUIT, and returns what it printed.
func (d *demo) sClient(t testing.TB, addr string, starttls bool, more ...string) result {
	t.Helper()
	args := []string{external(t, "openssl"), "s_client", "-connect", addr, "-CAfile", d.CAFile, "-servername", d.Hostname,
		"-verify_hostname", d.Hostname, "-verify_return_error", "-ign_eof", "-nocommands", "-crlf"}
	if starttls {
		args = append(args, "-starttls", "smtp", "-name", "client.example")
	}
	return command{args: append(args, more...), stdin: "EHLO client.example\nQUIT\n"}.run(t)
}

// inSession are the words that only a session inside TLS prints.
const inSession = "221 2.0.0"

func TestOpenSSLVersions(t *testing.T) {
	t.Parallel()
	d := theDemo(t)
	for _, c := range []struct {
		name string
		args []string
		ok   bool
	}{
		{"TLS 1.2", []string{"-tls1_2"}, true},
		{"TLS 1.3", []string{"-tls1_3"}, true},
		{"TLS 1.0", []string{"-tls1", "-cipher", "ALL:@SECLEVEL=0"}, false},
		{"TLS 1.1", []string{"-tls1_1", "-cipher", "ALL:@SECLEVEL=0"}, false},
		{"TLS 1.2, forward secrecy and AEAD", []string{"-tls1_2", "-cipher", "ECDHE+AESGCM:ECDHE+CHACHA20"}, true},
		{"TLS 1.2, no forward secrecy", []string{"-tls1_2", "-cipher", "kRSA:@SECLEVEL=0"}, false},
		{"TLS 1.2, CBC only", []string{"-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256"}, false},
		{"TLS 1.2, anonymous or no encryption", []string{"-tls1_2", "-cipher", "aNULL:eNULL:@SECLEVEL=0"}, false},
	} {
		for _, port := range []struct {
			name, addr string
			starttls   bool
		}{{"STARTTLS", d.SMTPStartTLS, true}, {"implicit", d.SMTPTLS, false}} {
			t.Run(c.name+", "+port.name, func(t *testing.T) {
				t.Parallel()
				r := d.sClient(t, port.addr, port.starttls, c.args...)
				if got := strings.Contains(r.out, inSession); got != c.ok {
					t.Errorf("a session came about: %v, want %v:\n%s", got, c.ok, r.out)
				}
				// A client that has nothing to offer would prove nothing.
				if !c.ok && !strings.Contains(r.out, "alert") {
					t.Errorf("the server did not refuse with an alert:\n%s", r.out)
				}
			})
		}
	}
}

// Protocol confusion: on 465 a client that speaks something else by ALPN is refused.
func TestOpenSSLALPN(t *testing.T) {
	t.Parallel()
	d := theDemo(t)
	for _, c := range []struct {
		alpn string
		ok   bool
	}{{"smtp", true}, {"h2,smtp", true}, {"h2", false}, {"http/1.1", false}} {
		t.Run(c.alpn, func(t *testing.T) {
			r := d.sClient(t, d.SMTPTLS, false, "-alpn", c.alpn)
			if got := strings.Contains(r.out, inSession); got != c.ok {
				t.Errorf("a session came about: %v, want %v:\n%s", got, c.ok, r.out)
			}
			if !c.ok && !strings.Contains(r.out, "no application protocol") {
				t.Errorf("no alert no_application_protocol:\n%s", r.out)
			}
		})
	}
}

// A session ticket of one listener is worth nothing at another.
func TestOpenSSLTicketsStayAtTheirListener(t *testing.T) {
	t.Parallel()
	d := theDemo(t)
	ticket := filepath.Join(t.TempDir(), "ticket.pem")
	r := d.sClient(t, d.SMTPTLS, false, "-tls1_2", "-sess_out", ticket)
	if !strings.Contains(r.out, inSession) {
		t.Fatalf("no session:\n%s", r.out)
	}
	if same := d.sClient(t, d.SMTPTLS, false, "-tls1_2", "-sess_in", ticket); !strings.Contains(same.out, "Reused, TLSv1.2") {
		t.Logf("tickets are not in use at all:\n%s", same.out)
	}
	other := d.sClient(t, d.SMTPStartTLS, true, "-tls1_2", "-sess_in", ticket)
	if !strings.Contains(other.out, "New, TLSv1.2") || strings.Contains(other.out, "Reused,") {
		t.Errorf("the other listener took the ticket:\n%s", other.out)
	}
}
