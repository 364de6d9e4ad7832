package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMsmtp(t *testing.T) {
	t.Parallel()
	d := theDemo(t)
	host, port := split(t, d.SMTPStartTLS)
	_, tlsPort := split(t, d.SMTPTLS)
	for _, c := range []struct {
		name, port, starttls, auth string
	}{
		{"STARTTLS, PLAIN", port, "on", "plain"},
		{"implicit TLS, LOGIN", tlsPort, "off", "login"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := filepath.Join(t.TempDir(), "msmtprc")
			text := fmt.Sprintf("account default\nhost %s\nport %s\ntls on\ntls_starttls %s\ntls_trust_file %s\ntls_host_override %s\nauth %s\nuser %s\npassword %s\nfrom %s\n",
				host, c.port, c.starttls, d.CAFile, d.Hostname, c.auth, d.Username, d.APIKey, d.From)
			if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			tok := token("msmtp")
			wantAccepted(t, command{
				args:  []string{external(t, "msmtp"), "--file=" + conf, "--read-recipients", "--dsn-notify=failure,delay", "--dsn-return=headers"},
				stdin: "From: " + d.From + "\nTo: " + d.To + "\nSubject: " + tok + "\n\n.dot\nline\n",
			}.run(t))
			if got := d.one(t, tok).body(); got != ".dot\r\nline\r\n" {
				t.Errorf("body %q", got)
			}
		})
	}
	t.Run("forged From", func(t *testing.T) {
		tok := token("msmtp-refused")
		conf := filepath.Join(t.TempDir(), "msmtprc")
		text := fmt.Sprintf("account default\nhost %s\nport %s\ntls on\ntls_trust_file %s\ntls_host_override %s\nauth plain\nuser %s\npassword %s\nfrom %s\n",
			host, port, d.CAFile, d.Hostname, d.Username, d.APIKey, d.From)
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r := command{
			args:  []string{external(t, "msmtp"), "--file=" + conf, d.To},
			stdin: "From: " + d.UnverifiedFrom + "\nTo: " + d.To + "\nSubject: " + tok + "\n\nx\n",
		}.run(t)
		wantRefused(t, r, "550 5.7.1")
		d.none(t, tok)
	})
}

func TestSNail(t *testing.T) {
	t.Parallel()
	d := theDemo(t)
	_, port := split(t, d.SMTPStartTLS)
	_, tlsPort := split(t, d.SMTPTLS)
	file := filepath.Join(t.TempDir(), "r\u00e9sum\u00e9.txt")
	if err := os.WriteFile(file, []byte("caf\u00e9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, url, starttls string }{
		{"STARTTLS", "smtp://" + d.Username + ":" + d.APIKey + "@localhost:" + port, "yes"},
		{"implicit TLS", "smtps://" + d.Username + ":" + d.APIKey + "@localhost:" + tlsPort, "no"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tok := token("s-nail")
			args := []string{external(t, "s-nail"), "-:/", "-S", "v15-compat", "-S", "mta=" + c.url, "-S", "smtp-auth=login",
				"-S", "tls-ca-file=" + d.CAFile, "-S", "tls-ca-no-defaults", "-S", "tls-verify=strict", "-S", "from=" + d.From,
				"-S", "sendcharsets=utf-8", "-S", "sendwait", "-s", tok + " caf\u00e9", "-a", file}
			if c.starttls == "yes" {
				args = append(args, "-S", "smtp-use-starttls")
			}
			wantAccepted(t, command{args: append(args, d.To), stdin: "a line with caf\u00e9\n", env: []string{"HOME=" + t.TempDir()}}.run(t))
			got := d.one(t, tok)
			if content := strings.TrimSpace(string(attachment(t, got))); content != "caf\u00e9" {
				t.Errorf("the attachment changed: %q", content)
			}
		})
	}
}
