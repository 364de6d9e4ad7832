package smtpserver_test

import (
	"bufio"
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/sasl"
	"postern/internal/smtp"
	"postern/internal/smtpserver"
)

// inBubble runs f against a session with the default limits, over a pipe, in
// fake time: what it measures is exact.
func inBubble(t *testing.T, edit func(*smtpserver.Config), f func(*world, *client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, backend: &recorder{t: t}}
		w.cfg = smtpserver.Config{Role: smtpserver.RoleMX, Hostname: testHost, TLS: serverTLS(), Quota: smtpserver.NewQuota(smtpserver.QuotaLimits{})}
		if edit != nil {
			edit(&w.cfg)
		}
		var err error
		if w.srv, err = smtpserver.New(w.cfg, w.backend); err != nil {
			t.Fatal(err)
		}
		ours, theirs := net.Pipe()
		w.srv.ServeConn(context.Background(), theirs)
		c := &client{t: t, conn: ours, br: bufio.NewReader(ours)}
		c.expect("220")
		f(w, c)
		ours.Close()
		w.srv.Close()
		time.Sleep(time.Hour) // whoever still writes finds out
		synctest.Wait()
		w.backend.checkEnd()
		if w.srv.Sessions() != 0 {
			t.Errorf("%d sessions are left", w.srv.Sessions())
		}
	})
}

// after reads a reply, and checks how long it took.
func (c *client) after(want time.Duration, text string) {
	c.t.Helper()
	begin := time.Now()
	c.expect(text)
	if d := time.Since(begin); d != want {
		c.t.Errorf("%s after %v, want %v", text, d, want)
	}
}

// testIdle holds OR-17 and the like, with the default limits.
func testIdle(t *testing.T) {
	t.Parallel()
	t.Run("between commands", testIdleClock)
	t.Run("within a command", testSlowCommandClock)
	t.Run("between blocks", testDataBlockClock)
	t.Run("whole message", testMessageClock)
	t.Run("whole message in chunks", testChunksClock)
}

func testIdleClock(t *testing.T) {
	inBubble(t, nil, func(w *world, c *client) {
		for range 3 {
			time.Sleep(5*time.Minute - time.Second)
			c.cmd("NOOP", "250")
		}
		c.after(5*time.Minute, "421 4.4.2")
	})
}

func testSlowCommandClock(t *testing.T) {
	inBubble(t, nil, func(w *world, c *client) {
		go func() { // a line that trickles in does not buy time
			for {
				time.Sleep(time.Minute)
				if _, err := c.conn.Write([]byte("x")); err != nil {
					return
				}
			}
		}()
		c.after(5*time.Minute, "421 4.4.2")
	})
}

func testDataBlockClock(t *testing.T) {
	inBubble(t, nil, func(w *world, c *client) {
		c.cmd("EHLO x.test", "250")
		c.inData()
		c.send("Subject: x\r\n")
		c.after(3*time.Minute, "421 4.4.2")
		if w.backend.count("abort") != 1 {
			t.Errorf("log %q", w.backend.log())
		}
	})
}

// testChunksClock: waiting between chunks does not stretch a message's time.
func testChunksClock(t *testing.T) {
	inBubble(t, nil, func(w *world, c *client) {
		c.cmd("EHLO x.test", "250")
		c.envelope()
		for range 16 { // the last one begins after an hour
			c.send(chunk("x", false))
			c.expect("250")
			time.Sleep(4 * time.Minute)
		}
		c.send("BDAT 5 LAST\r\n")
		c.after(0, "421 4.4.2")
	})
}

// testSlowData is RX-03.
func testSlowData(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(w *world, c *client) {
		c.cmd("EHLO x.test", "250")
		c.inData()
		begin := time.Now()
		go func() { // a byte every ten seconds
			for {
				time.Sleep(10 * time.Second)
				if _, err := c.conn.Write([]byte("x")); err != nil {
					return
				}
			}
		}()
		c.expect("421 4.4.2")
		if d := time.Since(begin); d < 60*time.Second || d > 80*time.Second {
			t.Errorf("a byte every ten seconds lasted %v", d)
		}
		synctest.Wait()
		if len(w.backend.kept()) > 0 || w.backend.count("abort") != 1 {
			t.Errorf("log %q", w.backend.log())
		}
	})
}

func testMessageClock(t *testing.T) {
	inBubble(t, nil, func(w *world, c *client) {
		c.cmd("EHLO x.test", "250")
		c.inData()
		begin := time.Now()
		go func() { // fast enough, and for ever
			for {
				time.Sleep(time.Minute)
				if _, err := c.conn.Write([]byte(strings.Repeat("x", 7998) + "\r\n")); err != nil {
					return
				}
			}
		}()
		c.expect("421 4.4.2")
		if d := time.Since(begin); d != time.Hour {
			t.Errorf("a message that does not end lasted %v", d)
		}
	})
}

// testAuthTiming: a 535 leaves 250 ms after its response line, then 500 ms, and
// so on to 8 s, whatever the backend took; nothing else waits.
func testAuthTiming(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(w *world, c *client) {
		work := time.Duration(0)
		w.backend.onAuth = func(c sasl.Credentials) error {
			time.Sleep(work)
			switch c.User {
			case "busy":
				return smtp.R(454, 4, 7, 0, "Temporary authentication failure")
			case "ok":
				return nil
			}
			return refusedLogin
		}
		c.cmd("EHLO x.test", "250")
		c.startTLS()
		c.cmd("EHLO x.test", "250")
		guess := "AUTH PLAIN " + b64("\x00apikey\x00wrong") + "\r\n"
		for i, want := range []time.Duration{250, 500, 1000, 2000, 4000, 8000, 8000} {
			work = time.Duration(i*100) * time.Millisecond
			c.send(guess)
			c.after(want*time.Millisecond, "535 5.7.8")
		}
		c.send("AUTH PLAIN " + b64("victim\x00apikey\x00x") + "\r\n") // not even asked: the same
		c.after(8*time.Second, "535 5.7.8")
		c.send("AUTH PLAIN " + b64("\x00busy\x00x") + "\r\n")
		c.after(600*time.Millisecond, "454 4.7.0") // as soon as it is known
		work = 10 * time.Second
		c.send(guess)
		c.after(10*time.Second, "535 5.7.8") // late already: it does not wait once more
		c.send("NOOP\r\n" + guess)           // the last one, and what came before it does not wait
		c.after(0, "250")
		c.after(10*time.Second, "421 4.7.0")
	})
	inBubble(t, nil, func(w *world, c *client) {
		c.cmd("EHLO x.test", "250")
		c.startTLS()
		c.cmd("EHLO x.test", "250")
		c.send("AUTH LOGIN\r\n")
		c.after(0, "334")
		c.send(b64("nobody") + "\r\n")
		c.after(0, "334")
		time.Sleep(time.Minute) // the client's own time is not counted
		c.send(b64("x") + "\r\n")
		c.after(250*time.Millisecond, "535 5.7.8")
		c.send("AUTH PLAIN " + plainLogin + "\r\n")
		c.after(0, "235")
	})
}

// TestRefusalDrain: a session that holds a refusal back does not hold up a drain.
func TestRefusalDrain(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(w *world, c *client) {
		c.cmd("EHLO x.test", "250")
		c.startTLS()
		c.cmd("EHLO x.test", "250")
		c.send("AUTH PLAIN " + b64("\x00apikey\x00wrong") + "\r\n")
		time.Sleep(100 * time.Millisecond)
		go w.srv.Drain(context.Background())
		c.after(0, "421 4.3.2")
	})
}
