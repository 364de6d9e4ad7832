package e2e

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// swaks is one run against the demo; more are arguments that come after.
func (d *demo) swaks(t testing.TB, addr string, more ...string) result {
	t.Helper()
	args := []string{external(t, "swaks"), "--server", addr, "--ehlo", "client.example",
		"--from", d.From, "--to", d.To, "--tls-verify", "--tls-ca-path", d.CAFile, "--timeout", "20"}
	return command{args: append(args, more...)}.run(t)
}

// login are the arguments that log in.
func (d *demo) login(mechanism string) []string {
	return []string{"--auth", mechanism, "--auth-user", d.Username, "--auth-password", d.APIKey}
}

func TestSwaksDelivers(t *testing.T) {
	t.Parallel()
	d := theDemo(t)
	for _, c := range []struct {
		name, addr string
		args       []string
	}{
		{"STARTTLS, PLAIN", d.SMTPStartTLS, append(d.login("PLAIN"), "--tls")},
		{"STARTTLS, LOGIN", d.SMTPStartTLS, append(d.login("LOGIN"), "--tls")},
		{"implicit TLS, PLAIN", d.SMTPTLS, append(d.login("PLAIN"), "--tls-on-connect")},
		{"implicit TLS, LOGIN", d.SMTPTLS, append(d.login("LOGIN"), "--tls-on-connect")},
		{"pipelined", d.SMTPStartTLS, append(d.login("PLAIN"), "--tls", "--pipeline")},
		{"ESMTPSA", d.SMTPStartTLS, append(d.login("PLAIN"), "--protocol", "ESMTPSA")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tok := token("swaks")
			r := d.swaks(t, c.addr, append(c.args, "--h-Subject", tok, "--body", "one\n.two\n..three\n")...)
			wantAccepted(t, r)
			if !regexp.MustCompile(`250 2\.0\.0 Ok: queued as [A-Za-z0-9_-]{22}`).MatchString(r.out) {
				t.Errorf("no `250 2.0.0 Ok: queued as <id>`:\n%s", r.out)
			}
			got := d.one(t, tok)
			if body := strings.TrimRight(got.body(), "\r\n"); body != "one\r\n.two\r\n..three" {
				t.Errorf("body %q: the dots are not as they were sent", body)
			}
			if !slices.Equal(got.RcptTo, []string{d.To}) {
				t.Errorf("recipients %q, want %q", got.RcptTo, d.To)
			}
		})
	}
}

func TestSwaksRefusals(t *testing.T) {
	t.Parallel()
	d := theDemo(t)
	tok := token("swaks-refused")
	for _, c := range []struct {
		name  string
		args  []string
		words []string
	}{
		{"forged From", append(d.login("PLAIN"), "--tls", "--h-From", "Boss <"+d.UnverifiedFrom+">"), []string{replyForged}},
		{"forged From, with the own name in front", append(d.login("PLAIN"), "--tls", "--h-From", `"`+d.From+`" <`+d.UnverifiedFrom+`>`), []string{replyForged}},
		{"wrong key", []string{"--tls", "--auth", "PLAIN", "--auth-user", d.Username, "--auth-password", d.wrongKey()}, []string{replyWrongKey}},
		{"wrong user", []string{"--tls", "--auth", "LOGIN", "--auth-user", "nobody", "--auth-password", d.APIKey}, []string{replyWrongKey}},
		{"no AUTH", []string{"--tls"}, []string{replyNoAuth}},
		{"no TLS", nil, []string{replyNoAuth}},
		{"no mechanism before TLS", d.login("PLAIN"), []string{"did not advertise auth"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := d.swaks(t, d.SMTPStartTLS, append(c.args, "--h-Subject", tok)...)
			wantRefused(t, r, c.words...)
			if strings.Contains(r.out, "queued as") {
				t.Errorf("the message was queued:\n%s", r.out)
			}
		})
	}
	d.none(t, tok)
}

// The address of a Bcc and the instructions of X-SMTPAPI never leave.
func TestSwaksHiddenHeaders(t *testing.T) {
	t.Parallel()
	d := theDemo(t)
	tok := token("swaks-bcc")
	hidden := "hidden-" + d.To
	r := d.swaks(t, d.SMTPStartTLS, append(d.login("PLAIN"), "--tls", "--to", d.To+","+hidden, "--h-To", d.To, "--h-Subject", tok,
		"--add-header", "Bcc: "+hidden, "--add-header", `X-SMTPAPI: {"category": ["secret-category"]}`)...)
	wantAccepted(t, r)
	var rcpts []string
	for _, m := range d.atLeast(t, tok, []string{d.To, hidden}) {
		rcpts = append(rcpts, m.RcptTo...)
		for _, word := range []string{"hidden-", "secret-category"} {
			if strings.Contains(m.head(), word) {
				t.Errorf("%q is in the header that left:\n%s", word, m.head())
			}
		}
		if n := len(m.field("Bcc")) + len(m.field("X-SMTPAPI")); n > 0 {
			t.Errorf("%d fields Bcc or X-SMTPAPI left:\n%s", n, m.head())
		}
	}
	slices.Sort(rcpts)
	want := []string{d.To, hidden}
	slices.Sort(want)
	if !slices.Equal(rcpts, want) {
		t.Errorf("delivered to %q, want %q", rcpts, want)
	}
}

// A large attachment arrives octet for octet.
func TestSwaksAttachment(t *testing.T) {
	t.Parallel()
	d := theDemo(t)
	file := filepath.Join(t.TempDir(), "attachment.bin")
	content := make([]byte, 3<<20)
	for i := range content {
		content[i] = byte(i * 7 >> (i % 5))
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	tok := token("swaks-attach")
	r := d.swaks(t, d.SMTPTLS, append(d.login("PLAIN"), "--tls-on-connect", "--h-Subject", tok, "--suppress-data",
		"--body", "see the file", "--attach-type", "application/octet-stream", "--attach", "@"+file)...)
	wantAccepted(t, r)
	if got := attachment(t, d.one(t, tok)); !bytes.Equal(got, content) {
		t.Errorf("the attachment changed: %d octets, want %d", len(got), len(content))
	}
}

// attachment returns the decoded last part of a multipart message.
func attachment(t testing.TB, r received) []byte {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(r.Raw))
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	var last []byte
	for mr := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := mr.NextPart()
		if err == io.EOF {
			return last
		}
		if err != nil {
			t.Fatal(err)
		}
		var src io.Reader = p
		if strings.EqualFold(p.Header.Get("Content-Transfer-Encoding"), "base64") {
			src = base64.NewDecoder(base64.StdEncoding, p)
		}
		if last, err = io.ReadAll(src); err != nil {
			t.Fatal(err)
		}
	}
}
