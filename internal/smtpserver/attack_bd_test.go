package smtpserver_test

import (
	"fmt"
	"strings"
	"testing"

	"postern/internal/smtp"
	"postern/internal/smtpserver"
)

func chunk(s string, last bool) string {
	word := ""
	if last {
		word = " LAST"
	}
	return fmt.Sprintf("BDAT %d%s\r\n%s", len(s), word, s)
}

func TestBD(t *testing.T) {
	t.Parallel()
	run := func(id string, edit func(*smtpserver.Config), f func(t *testing.T, w *world, c *client)) {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			w := start(t, edit)
			f(t, w, w.login())
		})
	}
	run("BD-01", nil, func(t *testing.T, w *world, c *client) {
		body := "a\r\n.\r\n" + tail
		c.envelope()
		c.send(chunk(body, true))
		c.expect("250 2.0.0 Ok: queued")
		c.alive()
		if got := w.backend.kept(); len(got) != 1 || got[0].body != body {
			t.Errorf("kept %q", got)
		}
		c.envelope()
		c.send(chunk("a\r\n..b\r", false) + chunk("\nc\r\n", false) + "BDAT 0 LAST\r\n")
		c.expect("250 2.0.0 7 octets received")
		c.expect("250 2.0.0 4 octets received")
		c.expect("250 2.0.0 Ok: queued")
		if got := w.backend.kept(); len(got) != 2 || got[1].body != "a\r\n..b\r\nc\r\n" {
			t.Errorf("kept %q", got)
		}
	})
	run("BD-02", nil, func(t *testing.T, w *world, c *client) {
		c.send(chunk(tail, true))
		c.expect("503 5.5.1")
		c.alive()
		if w.backend.count("mail") > 0 {
			t.Errorf("the chunk ran: %q", w.backend.log())
		}
		c.cmd("MAIL FROM:<a@acme.test>", "250")
		c.send(chunk(tail, false) + chunk("b\r\n", true)) // no recipient
		c.expect("503 5.5.1")
		c.expect("503 5.5.1")
		c.send("BDAT 99999999999\r\n")
		c.expect("503 5.5.1")
		c.gone()
		if len(w.backend.kept()) > 0 {
			t.Errorf("kept %q", w.backend.kept())
		}
	})
	t.Run("BD-03", func(t *testing.T) {
		t.Parallel()
		for _, arg := range []string{"", " ", " abc", " -1", " 12345678901234567890123", " 0x10", " +5", " 5 FIRST", " 5 LAST x", " 5  LAST", " LAST", " 5LAST"} {
			w := start(t, nil)
			c := w.login().envelope()
			c.send("BDAT" + arg + "\r\nRSET\r\n")
			c.expect("501 5.5.4")
			c.gone()
		}
	})
	run("BD-04", func(c *smtpserver.Config) { c.Limits.MessageSize = 10 }, func(t *testing.T, w *world, c *client) {
		c.envelope()
		c.send(chunk("12345678\r\n", false) + chunk("NOOP\r\n", false) + chunk("x\r\n", true))
		c.expect("250")
		c.expect("552 5.3.4")
		c.expect("503 5.5.1")
		c.cmd("RCPT TO:<b@inbox.test>", "503 5.5.1")
		c.envelope()
		c.send(chunk("12345678\r\n", true))
		c.expect("250 2.0.0 Ok: queued")
	})
	run("BD-05", nil, func(t *testing.T, w *world, c *client) {
		c.envelope()
		c.send(chunk("a\r\n", false))
		c.expect("250")
		c.cmd("DATA", "503 5.5.1")
		c.cmd("RCPT TO:<c@inbox.test>", "503 5.5.1")
		c.cmd("MAIL FROM:<c@acme.test>", "503 5.5.1")
		c.send(chunk("b\r\n", true))
		c.expect("250 2.0.0 Ok: queued")
		if got := w.backend.kept(); len(got) != 1 || got[0].body != "a\r\nb\r\n" {
			t.Errorf("kept %q", got)
		}
	})
	run("BD-06", nil, func(t *testing.T, w *world, c *client) {
		c.envelope()
		c.send(chunk("old\r\n", false))
		c.expect("250")
		c.cmd("RSET", "250")
		c.envelope()
		c.send(chunk("new\r\n", true))
		c.expect("250 2.0.0 Ok: queued")
		if got := w.backend.kept(); len(got) != 1 || got[0].body != "new\r\n" || w.backend.count("abort") != 1 {
			t.Errorf("kept %q", got)
		}
	})
	t.Run("BD-07", testBareInChunk)
	run("BD-08", nil, func(t *testing.T, w *world, c *client) {
		c.envelope()
		c.send("BDAT 1000 LAST\r\npart")
		raw := c.conn.(interface {
			CloseWrite() error
		})
		if err := raw.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		netConn(c).Write([]byte(strings.Repeat("x", 996)))
		c.gone()
		eventually(t, "session closed", func() bool { return w.backend.count("close") == 1 })
		if len(w.backend.kept()) > 0 || w.backend.count("commit") > 0 {
			t.Errorf("kept: %q", w.backend.log())
		}
	})
	run("BD-09", func(c *smtpserver.Config) { c.BinaryMIME = true }, func(t *testing.T, w *world, c *client) {
		c.cmd("MAIL FROM:<a@acme.test> BODY=BINARYMIME", "250")
		c.cmd("RCPT TO:<b@inbox.test>", "250")
		c.cmd("DATA", "503 5.5.1")
		binary := "\x00\r\n\n\r.\xff"
		c.send(chunk(binary, true))
		c.expect("250 2.0.0 Ok: queued")
		if got := w.backend.kept(); len(got) != 1 || got[0].body != binary {
			t.Errorf("kept %q", got)
		}
	})
	t.Run("BD-10", testChunkCounts)
	t.Run("failed first chunk", testFailedFirstChunk)
}

// testBareInChunk: content must be canonical text, across chunks too.
func testBareInChunk(t *testing.T) {
	t.Parallel()
	for _, chunks := range [][]string{{"a\nb\r\n"}, {"a\r\n.\n\r\n"}, {"a\r", "b\r\n"}, {"a\r"}, {"a", "\nb"}, {"a\x00"}} {
		w := start(t, nil)
		c := w.login().envelope()
		for i, s := range chunks {
			c.send(chunk(s, i == len(chunks)-1))
		}
		for i := range chunks {
			if i == len(chunks)-1 {
				c.expect("554 5.6.0")
			} else {
				c.expect("250")
			}
		}
		c.alive()
		if len(w.backend.kept()) > 0 {
			t.Errorf("%q: kept", chunks)
		}
	}
	w := start(t, func(c *smtpserver.Config) { c.TextPolicy = smtp.NormaliseBare })
	c := w.login().envelope()
	c.send(chunk("a\n.\nb\r", false) + chunk("c", true))
	c.expect("250")
	c.expect("250 2.0.0 Ok: queued")
	if got := w.backend.kept(); len(got) != 1 || got[0].body != "a\r\n.\r\nb\r\nc" {
		t.Errorf("normalised: %q", got)
	}
}

func testChunkCounts(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *smtpserver.Config) { c.Limits.Chunks = 50 })
	c := w.login().envelope()
	c.send("BDAT 30000000\r\nonly this")
	eventually(t, "octets counted", func() bool { return w.cfg.Quota.InFlight() == 9 }) // what came, not what was promised
	netConn(c).Close()
	eventually(t, "session closed", func() bool { return w.backend.count("close") == 1 })
	if w.backend.count("abort") != 1 || len(w.backend.kept()) > 0 {
		t.Errorf("after a cut: %q", w.backend.log())
	}
	c = w.login().envelope()
	for range 50 {
		c.send(chunk("x", false))
		c.expect("250 2.0.0 1 octets received")
	}
	c.send(chunk("x", true))
	c.expect("421 4.7.0")
	c.gone()
	eventually(t, "session closed", func() bool { return w.backend.count("close") == 2 })
	if len(w.backend.kept()) > 0 {
		t.Error("kept")
	}
}

// testFailedFirstChunk: when the first chunk finds no taker, what follows must
// not become a message without its beginning.
func testFailedFirstChunk(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	fail := true
	w.backend.onData = func() error {
		defer func() { fail = false }()
		if fail {
			return smtp.R(452, 4, 3, 1, "no room")
		}
		return nil
	}
	c := w.login().envelope()
	c.send(chunk("Subject: first\r\n", false) + chunk("second\r\n", true))
	c.expect("452 4.3.1")
	c.expect("503 5.5.1")
	if len(w.backend.kept()) > 0 {
		t.Errorf("kept %q", w.backend.kept())
	}
}
