package smtpserver_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"postern/internal/sasl"
	"postern/internal/smtpserver"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestAU(t *testing.T) {
	t.Parallel()
	run := func(id string, f func(t *testing.T, w *world, c *client)) {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			w := start(t, nil)
			f(t, w, w.secure())
		})
	}
	run("AU-01", func(t *testing.T, w *world, c *client) {
		c.cmd("AUTH PLAIN "+plainLogin, "235 2.7.0 Authentication successful")
		c = w.secure()
		c.send("AUTH PLAIN\r\n")
		if line, err := c.br.ReadString('\n'); line != "334 \r\n" || err != nil {
			t.Errorf("challenge %q, %v", line, err)
		}
		c.cmd(plainLogin, "235 2.7.0")
		c = w.secure()
		c.cmd("auth plain "+b64(testUser+"\x00"+testUser+"\x00"+testSecret), "235 2.7.0")
	})
	run("AU-02", func(t *testing.T, w *world, c *client) {
		c.cmd("AUTH LOGIN", "334 VXNlcm5hbWU6")
		c.cmd(b64(testUser), "334 UGFzc3dvcmQ6")
		c.cmd(b64(testSecret), "235 2.7.0")
		c = w.secure()
		c.cmd("AUTH LOGIN "+b64(testUser), "334 UGFzc3dvcmQ6")
		c.cmd(b64(testSecret), "235 2.7.0")
	})
	run("AU-03", func(t *testing.T, w *world, c *client) {
		c.cmd("AUTH PLAIN "+b64("\x00apikey\x00wrong"), "535 5.7.8")
		c.cmd("MAIL FROM:<a@acme.test>", "530 5.7.0")
		c.cmd("AUTH PLAIN "+plainLogin, "235") // the session is still usable
	})
	run("AU-04", func(t *testing.T, w *world, c *client) {
		c.cmd("AUTH PLAIN "+b64("victim\x00"+testUser+"\x00"+testSecret), "535 5.7.8 Authentication failed: Bad username / password")
		c.cmd("MAIL FROM:<a@acme.test>", "530 5.7.0")
		if w.backend.count("auth") > 0 {
			t.Errorf("log %q", w.backend.log())
		}
	})
	run("AU-05", func(t *testing.T, w *world, c *client) {
		c.cmd("AUTH PLAIN "+b64(testUser+"\x00\x00"+testSecret), "501 5.5.2")
		c.cmd("MAIL FROM:<a@acme.test>", "530 5.7.0")
		if w.backend.count("auth") > 0 {
			t.Errorf("log %q", w.backend.log())
		}
	})
	run("AU-06", func(t *testing.T, w *world, _ *client) {
		for _, msg := range []string{"apikey", "\x00apikey", "\x00apikey\x00se\x00cret", "\x00\x00x", "\x00apikey\x00", "\x00\x00", "\x00a\x00b\x00c\x00d",
			"\x00\xff\x00x", "\x00apikey\x00\xff", "\x00api\nkey\x00x", "\x00" + strings.Repeat("u", 321) + "\x00x"} {
			w.secure().cmd("AUTH PLAIN "+b64(msg), "501 5.5.2")
		}
		for _, user := range []string{"", "a\x00b", "\xff", strings.Repeat("u", 321)} {
			c := w.secure()
			c.cmd("AUTH LOGIN", "334")
			c.cmd(b64(user), "501 5.5.2")
		}
		c := w.secure()
		c.cmd("AUTH LOGIN", "334")
		c.cmd(b64(testUser), "334")
		c.cmd("", "501 5.5.2")
		w.secure().cmd("AUTH PLAIN =", "501 5.5.2")
		w.secure().cmd("AUTH LOGIN =", "501 5.5.2")
		if w.backend.count("auth") > 0 {
			t.Errorf("log %q", w.backend.log())
		}
	})
	run("AU-07", func(t *testing.T, w *world, _ *client) {
		for _, enc := range []string{"!!!!", "AGE", "AGEA=", "AGE=Yg==", " AGEAYg==", "AGEA Yg==", "AGEAYg==\x01", "AGEAYh==", "AGEAYg=", "-_-_", "AGEAYg== x", "===="} {
			c := w.secure()
			c.cmd("AUTH PLAIN "+enc, "501 5.5.2")
			c.cmd("AUTH PLAIN", "334")
			c.cmd(enc, "501 5.5.2")
		}
		if w.backend.count("auth") > 0 {
			t.Errorf("log %q", w.backend.log())
		}
	})
	run("AU-08", func(t *testing.T, w *world, c *client) {
		c.cmd("AUTH PLAIN", "334")
		c.cmd("*", "501 5.7.0")
		for range 8 {
			c.cmd("AUTH LOGIN", "334")
			c.cmd("*", "501 5.7.0")
		}
		c.alive()
		c.cmd("AUTH LOGIN", "334")
		c.cmd("*", "421 4.7.0") // each counts as a failure
		c.gone()
		if w.backend.count("login failed LOGIN aborted") != 9 {
			t.Errorf("log %q", w.backend.log())
		}
	})
	run("AU-09", func(t *testing.T, w *world, c *client) {
		c.cmd("AUTH", "501 5.5.4")
		for _, mech := range []string{"ANONYMOUS", "EXTERNAL", "EXTERNAL =", "CRAM-MD5", "GSSAPI", "PLAINX", "\x7f"} {
			c.cmd("AUTH "+mech, "504 5.5.4")
		}
	})
	run("AU-09 not offered", func(t *testing.T, w *world, c *client) {
		w.backend.onOffers = func(m string) bool { return m == "LOGIN" }
		if r := c.cmd("EHLO x.test", "250"); !strings.Contains(r.Text, "\nAUTH LOGIN\nAUTH=LOGIN") {
			t.Errorf("offered: %q", r.Text)
		}
		c.cmd("AUTH PLAIN "+plainLogin, "504 5.5.4 Authentication mechanism not offered here")
		w.backend.onOffers = func(string) bool { return false }
		if r := c.cmd("EHLO x.test", "250"); strings.Contains(r.Text, "AUTH") {
			t.Errorf("offered: %q", r.Text)
		}
		if w.backend.count("auth") > 0 {
			t.Errorf("log %q", w.backend.log())
		}
	})
	run("AU-10", func(t *testing.T, w *world, c *client) {
		c.cmd("AUTH PLAIN "+plainLogin, "235")
		c.cmd("AUTH PLAIN "+plainLogin, "503 5.5.1")
		if r := c.cmd("EHLO x.test", "250"); strings.Contains(r.Text, "AUTH") {
			t.Errorf("still offered: %q", r.Text)
		}
	})
	t.Run("AU-11", func(t *testing.T) {
		t.Parallel()
		w := start(t, func(c *smtpserver.Config) { c.Role = smtpserver.RoleMX })
		c := w.secure()
		c.cmd("MAIL FROM:<a@acme.test>", "250")
		c.cmd("AUTH PLAIN "+plainLogin, "503 5.5.1")
		c.cmd("RCPT TO:<b@inbox.test>", "250")
	})
	run("AU-12", func(t *testing.T, w *world, c *client) {
		c.cmd("AUTH PLAIN "+strings.Repeat("A", 12288), "500 5.5.6")
		c.cmd("AUTH PLAIN", "334")
		c.cmd(strings.Repeat("A", 12288), "500 5.5.6")
		c.cmd("AUTH PLAIN "+strings.Repeat("A", 20000), "500 5.5.6")
		big := "\x00" + testUser + "\x00" + strings.Repeat("k", 9000)
		c.cmd("AUTH PLAIN "+b64(big), "535 5.7.8") // 12,000 octets fit
		c.cmd("AUTH PLAIN "+plainLogin, "235")
	})
	run("AU-13", func(t *testing.T, w *world, c *client) {
		c.send("AUTH PLAIN " + b64("\x00apikey\x00wrong") + "\r\nMAIL FROM:<a@acme.test>\r\nRCPT TO:<b@inbox.test>\r\nDATA\r\n")
		c.expect("535 5.7.8")
		for range 3 {
			c.expect("530 5.7.0")
		}
		c.send("AUTH PLAIN " + plainLogin + "\r\nMAIL FROM:<a@acme.test>\r\n")
		c.expect("235")
		c.expect("250")
	})
	run("AU-14", func(t *testing.T, w *world, c *client) {
		for range 9 {
			c.cmd("AUTH PLAIN "+b64("\x00apikey\x00wrong"), "535 5.7.8")
		}
		c.cmd("AUTH PLAIN "+b64("\x00apikey\x00wrong"), "421 4.7.0")
		c.gone()
		if w.backend.count("auth") != 10 {
			t.Errorf("log %q", w.backend.log())
		}
	})
	run("AU-23", func(t *testing.T, w *world, c *client) {
		a := c.cmd("AUTH PLAIN "+b64("\x00nobody\x00wrong"), "535 5.7.8")
		b := c.cmd("AUTH PLAIN "+b64("\x00"+testUser+"\x00wrong"), "535 5.7.8")
		if a != b {
			t.Errorf("%v and %v", a, b)
		}
	})
	run("AU-34", func(t *testing.T, w *world, _ *client) {
		for _, user := range []string{"APIKEY", "apikey.", "apikey ", " apikey", "user%40dom.test", "*)(uid=*", "' OR 1=1 --", "a/../b", "\u212a", strings.Repeat("u", 320)} {
			c := w.secure()
			c.cmd("AUTH PLAIN "+b64("\x00"+user+"\x00x"), "535 5.7.8")
			want := user // as it was sent: the backend has the one form
			if user == "\u212a" {
				want = "K" // AU-30: prepared
			}
			if log := w.backend.log(); log[len(log)-1] != "auth PLAIN "+want {
				t.Errorf("%q was asked about as %q", user, log[len(log)-1])
			}
			c.cmd("AUTH LOGIN "+b64(user), "334")
			c.cmd(b64("x"), "535 5.7.8")
		}
		n := w.backend.count("auth")
		w.secure().cmd("AUTH PLAIN "+b64("\x00"+strings.Repeat("u", 5000)+"\x00x"), "501 5.5.2")
		w.secure().cmd("AUTH LOGIN "+b64(strings.Repeat("u", 5000)), "501 5.5.2")
		if w.backend.count("auth") != n {
			t.Error("5 KB of name were looked up")
		}
	})
	t.Run("AU-24", testAuthTiming)
	t.Run("AU-35", testNothingLogged)
	t.Run("internal error", testAuthInternalError)
}

// lockedBuffer is a log that sessions write to at once.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func testNothingLogged(t *testing.T) {
	t.Parallel()
	var out lockedBuffer
	w := start(t, func(c *smtpserver.Config) {
		c.Log = slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug - 4}))
	})
	const secret = "Sup3rS3cret"
	w.backend.onAuth = func(c sasl.Credentials) error {
		slog.New(slog.NewTextHandler(&out, nil)).Info("backend", "credentials", c) // even this must not show it
		return errors.New("store is down")
	}
	plain := w.greeted()
	plain.cmd("EHLO x.test", "250")
	plain.cmd("AUTH PLAIN "+b64("\x00u\x00"+secret), "538")
	plain.cmd("AUTH LOGIN", "538")
	plain.cmd(b64(secret), "500")
	plain.cmd("QUIT", "221")
	c := w.secure()
	c.cmd("AUTH PLAIN "+b64("\x00u\x00"+secret), "454")
	c.cmd("AUTH LOGIN", "334")
	c.cmd(b64("u"), "334")
	c.cmd(b64(secret), "454")
	c.cmd("AUTH "+b64(secret), "504")
	c.cmd(b64(secret), "500")
	c.cmd("QUIT", "221")
	eventually(t, "sessions logged", func() bool { return strings.Count(out.String(), `"smtp session"`) == 2 })
	got := out.String()
	for _, s := range []string{secret, b64(secret), b64("\x00u\x00" + secret)} {
		if strings.Contains(got, s) {
			t.Errorf("the log shows %q:\n%s", s, got)
		}
	}
	if !strings.Contains(got, "store is down") {
		t.Error("the log does not show what failed")
	}
}

func testAuthInternalError(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	w.backend.onAuth = func(sasl.Credentials) error { return errForRecords }
	c := w.secure()
	for range 12 { // no failure of the client's
		if r := c.cmd("AUTH PLAIN "+plainLogin, "454 4.7.0"); strings.Contains(r.Text, "10.0.0.3") {
			t.Errorf("shown: %q", r.Text)
		}
	}
	c.cmd("MAIL FROM:<a@acme.test>", "530")
}
