package smtpserver_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"postern/internal/smtp"
	"postern/internal/smtpserver"
)

func TestOR(t *testing.T) {
	t.Parallel()
	run := func(id string, f func(t *testing.T, w *world, c *client)) {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			w := start(t, nil)
			f(t, w, w.login())
		})
	}
	t.Run("OR-01", func(t *testing.T) {
		t.Parallel()
		c := start(t, nil).greeted()
		for _, line := range []string{"MAIL FROM:<a@acme.test>", "RCPT TO:<b@inbox.test>", "DATA"} {
			c.cmd(line, "503 5.5.1")
		}
		c.startTLS()
		c.cmd("MAIL FROM:<a@acme.test>", "503 5.5.1")
	})
	t.Run("OR-02", testOpenRelay)
	run("OR-03", func(t *testing.T, w *world, c *client) { c.cmd("RCPT TO:<b@inbox.test>", "503 5.5.1") })
	run("OR-04", func(t *testing.T, w *world, c *client) {
		c.cmd("DATA", "503 5.5.1")
		c.cmd("MAIL FROM:<a@acme.test>", "250")
		c.cmd("DATA", "503 5.5.1")
		c.cmd("RCPT TO:<b@inbox.test>", "250") // the transaction is still open
	})
	run("OR-05", func(t *testing.T, w *world, c *client) {
		w.backend.onRcpt = func(smtp.Address) error { return smtp.R(550, 5, 1, 1, "No such user") }
		c.cmd("MAIL FROM:<a@acme.test>", "250")
		c.cmd("RCPT TO:<b@inbox.test>", "550 5.1.1")
		c.cmd("DATA", "503 5.5.1")
	})
	run("OR-06", func(t *testing.T, w *world, c *client) {
		c.envelope()
		c.cmd("MAIL FROM:<c@acme.test>", "503 5.5.1")
		c.cmd("DATA", "354")
		c.cmd("x\r\n.", "250 2.0.0 Ok: queued")
		if got := w.backend.kept(); len(got) != 1 || got[0].from != "a@acme.test" {
			t.Errorf("kept %q", got)
		}
	})
	run("OR-07", func(t *testing.T, w *world, c *client) {
		c.envelope()
		c.cmd("RSET", "250 2.0.0")
		c.cmd("RCPT TO:<b@inbox.test>", "503 5.5.1")
		c.cmd("DATA", "503 5.5.1")
		if w.backend.count("reset") != 1 {
			t.Errorf("log %q", w.backend.log())
		}
	})
	run("OR-08", func(t *testing.T, w *world, c *client) {
		c.envelope()
		c.cmd("EHLO other.test", "250")
		c.cmd("RCPT TO:<b@inbox.test>", "503 5.5.1")
		c.envelope()
		c.cmd("HELO other.test", "250 2.0.0 "+testHost)
		c.cmd("DATA", "503 5.5.1")
		if w.backend.count("reset") != 2 {
			t.Errorf("log %q", w.backend.log())
		}
	})
	run("OR-09", func(t *testing.T, w *world, c *client) {
		c.cmd("RSET", "250")
		c.envelope()
		c.cmd("EHLO again.test", "250")
		c.envelope()
	})
	run("OR-10", func(t *testing.T, w *world, c *client) {
		c.cmd("MAIL FROM:<a@acme.test>", "250")
		c.cmd("RCPT TO:<secret@inbox.test>", "250")
		c.cmd("RSET", "250")
		c.inData()
		c.cmd("x\r\n.", "250")
		if got := w.backend.kept(); len(got) != 1 || strings.Join(got[0].rcpts, " ") != "b@inbox.test" {
			t.Errorf("kept %q", got)
		}
	})
	run("OR-11", func(t *testing.T, w *world, c *client) {
		c.inData()
		c.cmd("x\r\n.", "250")
		c.cmd("RCPT TO:<b@inbox.test>", "503 5.5.1")
		c.cmd("DATA", "503 5.5.1")
		c.inData()
		c.cmd("x\r\n.", "250")
	})
	run("OR-12", func(t *testing.T, w *world, c *client) {
		a, b := c.cmd("VRFY root", "252 2.5.0"), c.cmd("VRFY no-such-user@inbox.test", "252 2.5.0")
		if a != b {
			t.Errorf("%v and %v", a, b)
		}
		c.cmd("EXPN list", "502 5.5.1")
		c.cmd("HELP", "214 2.0.0")
	})
	run("OR-13", func(t *testing.T, w *world, c *client) {
		c.cmd("FOO", "500 5.5.1")
		c.cmd("noop", "250")
		c.cmd("mAiL fRoM:<a@acme.test>", "250")
		c.cmd("rCpT tO:<b@inbox.test>", "250")
		c.cmd("dAtA", "354")
		c.cmd("x\r\n.", "250")
		c.cmd("qUiT", "221")
	})
	t.Run("OR-14", testHeloArguments)
	t.Run("OR-15", testErrorLimit)
	t.Run("OR-16", testDrain)
	t.Run("OR-17", testIdle)
}

// testOpenRelay: on a submission port nobody gets as far as MAIL; on an mx port
// the backend is asked for every recipient.
func testOpenRelay(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	c := w.secure()
	c.cmd("MAIL FROM:<a@acme.test>", "530 5.7.0 Authentication required: Unauthenticated senders not allowed")
	c.cmd("RCPT TO:<b@inbox.test>", "530 5.7.0")
	c.cmd("DATA", "530 5.7.0")
	c.send(chunk(tail, true))
	c.expect("530 5.7.0")
	c.alive()
	if w.backend.count("mail")+w.backend.count("rcpt")+w.backend.count("data") > 0 {
		t.Errorf("log %q", w.backend.log())
	}
	mx := start(t, func(c *smtpserver.Config) { c.Role = smtpserver.RoleMX })
	mx.backend.onRcpt = func(a smtp.Address) error {
		if a.ASCIIDomain() != "ours.test" && a.String() != "postmaster" {
			return smtp.R(550, 5, 7, 1, "Unauthenticated senders not allowed")
		}
		return nil
	}
	c = mx.greeted()
	c.cmd("EHLO client.test", "250")
	c.cmd("MAIL FROM:<>", "250")
	c.cmd("RCPT TO:<b@inbox.test>", "550 5.7.1 Unauthenticated senders not allowed")
	c.cmd("RCPT TO:<postmaster>", "250")
	c.cmd("RCPT TO:<x@ours.test>", "250")
	c.cmd("DATA", "354")
	c.cmd("x\r\n.", "250")
	c.cmd("RSET", "250")
	c.startTLS()
	c.cmd("EHLO client.test", "250")
	c.cmd("AUTH PLAIN "+plainLogin, "235") // and it is a submission session
	c.cmd("MAIL FROM:<a@acme.test>", "250")
}

func testHeloArguments(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *smtpserver.Config) { c.Limits.Errors = 100 })
	c := w.greeted()
	for _, arg := range []string{"", " ", " a b", " <script>", " a(b)", " a;b", " ünicode.test", " [", " []", " [x y]", " [<>]", " " + strings.Repeat("x", 256), " ..", " a@b"} {
		c.cmd("EHLO"+arg, "501 5.5.4", "501 5.5.2")
		c.cmd("HELO"+arg, "501 5.5.4", "501 5.5.2")
	}
	c.cmd("MAIL FROM:<a@acme.test>", "503 5.5.1")
	for _, arg := range []string{"client.test", "localhost", "MY_PC", "[192.0.2.1]", "[IPv6:2001:db8::1]", "a-b.test."} {
		c.cmd("EHLO "+arg, "250")
	}
	w.backend.onHelo = func(smtpserver.Peer) error { return smtp.R(550, 5, 7, 1, "not you") }
	c.cmd("EHLO client.test", "550 5.7.1")
}

func testErrorLimit(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	c := w.login()
	for range 20 {
		c.cmd("FOO", "500 5.5.1")
	}
	c.expect("421 4.7.0")
	c.gone()
	// Bad addresses in a list are the list's fault, not an attack.
	c = w.login()
	c.cmd("MAIL FROM:<a@acme.test>", "250")
	for range 50 {
		c.cmd("RCPT TO:<bad>", "501 5.1.3")
	}
	c.cmd("RCPT TO:<good@inbox.test>", "250")
	// Without a login they are.
	mx := start(t, func(c *smtpserver.Config) { c.Role = smtpserver.RoleMX })
	mx.backend.onRcpt = func(smtp.Address) error { return smtp.R(550, 5, 1, 1, "No such user") }
	c = mx.greeted()
	c.cmd("EHLO client.test", "250")
	c.cmd("MAIL FROM:<a@acme.test>", "250")
	for range 20 {
		c.cmd("RCPT TO:<guess@inbox.test>", "550 5.1.1")
	}
	c.expect("421 4.7.0")
	c.gone()
}

func testDrain(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	idle, between, inside, chunked := w.greeted(), w.login().envelope(), w.login().inData(), w.login().envelope()
	chunked.send("BDAT 100 LAST\r\nhalf")
	inside.send("half a mess")
	eventually(t, "content arrived", func() bool { return w.cfg.Quota.InFlight() == 15 })
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		done <- w.srv.Drain(ctx)
	}()
	idle.expect("421 4.3.2")
	idle.gone()
	between.expect("421 4.3.2")
	between.gone()
	inside.send("age\r\n.\r\n")
	inside.expect("250 2.0.0 Ok: queued")
	inside.expect("421 4.3.2")
	inside.gone()
	select {
	case err := <-done:
		t.Errorf("drained with a session in BDAT: %v", err)
	default:
	}
	chunked.send(strings.Repeat("x", 96))
	chunked.expect("250 2.0.0 Ok: queued")
	chunked.expect("421 4.3.2")
	if err := <-done; err != nil {
		t.Errorf("drain: %v", err)
	}
	if len(w.backend.kept()) != 2 {
		t.Errorf("kept %q", w.backend.kept())
	}

	// A session that does not finish in time is closed, without a 250.
	w = start(t, nil)
	stuck := w.login().inData()
	stuck.send("never ends")
	eventually(t, "content arrived", func() bool { return w.cfg.Quota.InFlight() == 10 })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := w.srv.Drain(ctx); err == nil {
		t.Error("drained with a session in DATA")
	}
	stuck.gone()
	if len(w.backend.kept()) > 0 || w.srv.Sessions() != 0 {
		t.Errorf("kept %q", w.backend.kept())
	}
}
