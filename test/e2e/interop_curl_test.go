package e2e

import (
	"strings"
	"testing"
)

// curl uploads a message.
func (d *demo) curl(t testing.TB, url, from, message string, more ...string) result {
	t.Helper()
	args := []string{external(t, "curl"), "--silent", "--show-error", "--verbose", "--max-time", "20", "--url", url, "--cacert", d.CAFile,
		"--mail-from", from, "--mail-rcpt", d.To, "--upload-file", "-"}
	return command{args: append(args, more...), stdin: message}.run(t)
}

// curlURL names the demo by its host name, which curl is told to look up nowhere.
func (d *demo) curlURL(t testing.TB, scheme, addr string) (url string, resolve []string) {
	t.Helper()
	host, port := split(t, addr)
	return scheme + "://" + d.Hostname + ":" + port + "/client.example", []string{"--resolve", d.Hostname + ":" + port + ":" + host}
}

func TestCurl(t *testing.T) {
	t.Parallel()
	d := theDemo(t)
	plain, plainAt := d.curlURL(t, "smtp", d.SMTPStartTLS)
	implicit, implicitAt := d.curlURL(t, "smtps", d.SMTPTLS)
	user := d.Username + ":" + d.APIKey
	message := func(from, tok string) string {
		return "From: " + from + "\r\nTo: " + d.To + "\r\nSubject: " + tok + "\r\n\r\n.dot\r\n" + strings.Repeat("0123456789abcde\r\n", 20_000)
	}
	for _, c := range []struct {
		name, url string
		args      []string
	}{
		{"smtp, any mechanism", plain, append(plainAt, "--ssl-reqd", "--user", user)},
		{"smtp, PLAIN", plain, append(plainAt, "--ssl-reqd", "--user", user, "--login-options", "AUTH=PLAIN")},
		{"smtps, LOGIN", implicit, append(implicitAt, "--user", user, "--login-options", "AUTH=LOGIN")},
		{"smtps, TLS 1.2", implicit, append(implicitAt, "--user", user, "--tls-max", "1.2")},
	} {
		t.Run(c.name, func(t *testing.T) {
			tok := token("curl")
			wantAccepted(t, d.curl(t, c.url, d.From, message(d.From, tok), c.args...))
			_, want, _ := strings.Cut(message(d.From, tok), "\r\n\r\n")
			if got := d.one(t, tok).body(); got != want {
				t.Errorf("the body changed: %d octets, want %d", len(got), len(want))
			}
		})
	}
	tok := token("curl-refused")
	for _, c := range []struct {
		name string
		from string
		args []string
		want string
	}{
		{"forged From", d.UnverifiedFrom, []string{"--ssl-reqd", "--user", user}, "550"},
		{"wrong key", d.From, []string{"--ssl-reqd", "--user", d.Username + ":" + d.wrongKey()}, "535"},
		{"no AUTH", d.From, []string{"--ssl-reqd"}, "530"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := d.curl(t, plain, d.From, message(c.from, tok), append(plainAt, c.args...)...)
			wantRefused(t, r, "< "+c.want)
		})
	}
	d.none(t, tok)
}
