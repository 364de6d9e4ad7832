package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// nodemailerResult is what testdata/nodemailer/client.js prints.
type nodemailerResult struct {
	Response string   `json:"response"`
	Accepted []string `json:"accepted"`
	Code     int      `json:"code"`
	Stage    string   `json:"stage"`
}

// nodemailer runs one scenario.
func (d *demo) nodemailer(t testing.TB, scenario, subject string, more map[string]any) nodemailerResult {
	t.Helper()
	node := external(t, "node", "nodejs")
	installed, err := filepath.Abs("../../.cache/nodemailer")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(installed, "node_modules", "nodemailer")); err != nil {
		if mustHaveAll() {
			t.Fatal("nodemailer is not installed (tools/testdeps installs it)")
		}
		t.Skip("nodemailer is not installed")
	}
	conf := map[string]any{
		"scenario": scenario, "subject": subject, "smtp_starttls": d.SMTPStartTLS, "smtp_tls": d.SMTPTLS, "ca_file": d.CAFile,
		"hostname": d.Hostname, "username": d.Username, "api_key": d.APIKey, "from": d.From, "to": d.To,
	}
	for k, v := range more {
		conf[k] = v
	}
	b, err := json.Marshal(conf)
	if err != nil {
		t.Fatal(err)
	}
	r := command{args: []string{node, "testdata/nodemailer/client.js", installed}, stdin: string(b)}.run(t)
	if r.code != 0 {
		t.Fatalf("%s:\n%s", scenario, r.out)
	}
	var res nodemailerResult
	if err := json.Unmarshal([]byte(r.out), &res); err != nil {
		t.Fatalf("%v in %q", err, r.out)
	}
	return res
}

func TestNodemailer(t *testing.T) {
	t.Parallel()
	d := theDemo(t)
	for _, c := range []struct {
		name string
		conf map[string]any
	}{
		{"STARTTLS, PLAIN", map[string]any{"auth_method": "PLAIN"}},
		{"STARTTLS, LOGIN", map[string]any{"auth_method": "LOGIN"}},
		{"implicit TLS", map[string]any{"implicit": true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tok := token("nodemailer")
			res := d.nodemailer(t, "plain", tok, c.conf)
			if !strings.HasPrefix(res.Response, "250 2.0.0 Ok: queued as ") {
				t.Errorf("response %q", res.Response)
			}
			if got := d.one(t, tok).body(); got != ".dot\r\nplain\r\n" {
				t.Errorf("body %q", got)
			}
		})
	}
	t.Run("UTF-8, alternative, attachment, Bcc, DSN", func(t *testing.T) {
		tok := token("nodemailer-rich")
		bcc := "bcc-" + d.To
		d.nodemailer(t, "rich", tok, map[string]any{"bcc": bcc, "implicit": true})
		for _, m := range d.atLeast(t, tok, []string{d.To, bcc}) {
			if strings.Contains(m.head(), bcc) {
				t.Errorf("the hidden recipient stands in the header:\n%s", m.head())
			}
			want := bytes.Repeat([]byte("\x00\xff\r\n.\n"), 50_000)
			if got := attachment(t, m); !bytes.Equal(got, want) {
				t.Errorf("the attachment changed: %d octets, want %d", len(got), len(want))
			}
		}
	})
	t.Run("60 messages over three connections", func(t *testing.T) {
		tok := token("nodemailer-pool")
		d.nodemailer(t, "pool", tok, map[string]any{"count": 60})
		d.arrived(t, tok, 60)
	})
	tok := token("nodemailer-refused")
	for _, c := range []struct {
		name string
		conf map[string]any
		code int
		text string
	}{
		{"forged From", map[string]any{"header_from": d.UnverifiedFrom}, 550, replyForged},
		{"wrong key", map[string]any{"api_key": d.wrongKey()}, 535, replyWrongKey},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := d.nodemailer(t, "refused", tok, c.conf)
			if res.Code != c.code || !strings.HasPrefix(res.Response, c.text) {
				t.Errorf("%d %q, want %q", res.Code, res.Response, c.text)
			}
		})
	}
	t.Run("nothing refused arrives", func(t *testing.T) { d.none(t, tok) })
}

// The example of an accepted list must name who was accepted, once.
func TestNodemailerAccepted(t *testing.T) {
	t.Parallel()
	d := theDemo(t)
	tok := token("nodemailer-accepted")
	res := d.nodemailer(t, "plain", tok, nil)
	if !slices.Equal(res.Accepted, []string{d.To}) {
		t.Errorf("accepted %q, want %q", res.Accepted, d.To)
	}
	d.one(t, tok)
}
