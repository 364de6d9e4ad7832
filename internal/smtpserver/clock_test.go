package smtpserver_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"strconv"
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

// heldError is a refusal that the backend wants to be late.
type heldError struct {
	smtp.Reply
	hold time.Duration
}

func (e heldError) Unwrap() error           { return e.Reply }
func (e heldError) HoldBack() time.Duration { return e.hold }

// TestHoldBack: what the backend asks for counts from the line that decided, up
// to 30 s, and never shortens the session's own delay.
func TestHoldBack(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(w *world, c *client) {
		var refusal error
		w.backend.onAuth = func(sasl.Credentials) error {
			time.Sleep(100 * time.Millisecond)
			return refusal
		}
		c.cmd("EHLO x.test", "250")
		c.startTLS()
		c.cmd("EHLO x.test", "250")
		for _, tt := range []struct {
			refusal    smtp.Reply
			hold, want time.Duration
		}{
			{refusedLogin, 3 * time.Second, 3 * time.Second},
			{refusedLogin, 0, 500 * time.Millisecond},
			{refusedLogin, -time.Second, time.Second},
			{refusedLogin, time.Second, 2 * time.Second},
			{refusedLogin, time.Hour, 30 * time.Second},
			{smtp.R(454, 4, 7, 0, "Busy"), 0, 100 * time.Millisecond},
			{smtp.R(454, 4, 7, 0, "Busy"), 5 * time.Second, 5 * time.Second},
			{smtp.R(451, 4, 7, 1, "Credits"), time.Hour, 30 * time.Second},
		} {
			refusal = fmt.Errorf("wrapped: %w", heldError{tt.refusal, tt.hold})
			c.send("AUTH PLAIN " + plainLogin + "\r\n")
			c.after(tt.want, strconv.Itoa(tt.refusal.Code))
		}
	})
}

// TestMechanismTiming: refusals of every mechanism leave at the same time after
// the line that decided them, whatever that took.
func TestMechanismTiming(t *testing.T) {
	t.Parallel()
	inBubble(t, func(c *smtpserver.Config) { c.Mechanisms = sasl.All }, func(w *world, c *client) {
		w.backend.onLogin = everyExchange(func() error {
			time.Sleep(100 * time.Millisecond)
			return refusedLogin
		})
		c.cmd("EHLO x.test", "250")
		c.startTLS()
		c.cmd("EHLO x.test", "250")
		// Both lines of the refusal come of the line with the token; the first is late.
		c.send("AUTH OAUTHBEARER " + b64("n,,\x01auth=Bearer x\x01\x01") + "\r\n")
		c.after(250*time.Millisecond, "334")
		time.Sleep(time.Minute)
		c.send(b64("\x01") + "\r\n")
		c.after(0, "535 5.7.8")
		// Not even judged: the same.
		c.send("AUTH OAUTHBEARER " + b64("n,,\x01host=other.test\x01auth=Bearer x\x01\x01") + "\r\n")
		c.after(500*time.Millisecond, "334")
		c.send("\r\n")
		c.after(0, "535 5.7.8")
		for i, user := range []string{testUser, "nobody"} { // AU-19
			m := sasl.NewSCRAMClient(user, "wrong", sasl.SCRAMBinding{})
			_, first, _ := m.Start()
			c.send("AUTH SCRAM-SHA-256 " + b64(string(first)) + "\r\n")
			begin := time.Now()
			challenge, _ := base64.StdEncoding.DecodeString(c.expect("334").Text)
			if time.Since(begin) > 0 {
				t.Error("the first message waits")
			}
			final, err := m.Next(challenge)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute) // the client's own time is not counted
			c.send(b64(string(final)) + "\r\n")
			c.after(time.Second<<i, "535 5.7.8")
		}
		c.send("AUTH SCRAM-SHA-256-PLUS " + b64("n,,n=apikey,r=x") + "\r\n")
		c.after(4*time.Second, "535 5.7.8")
		w.backend.onLogin = everyExchange(func() error { return heldError{refusedLogin, 20 * time.Second} })
		c.send("AUTH XOAUTH2 " + b64("user=\x01auth=Bearer x\x01\x01") + "\r\n")
		c.after(20*time.Second, "334")
		c.send("\r\n")
		c.after(0, "535 5.7.8")
		w.backend.onLogin = everyExchange(func() error { return smtp.R(454, 4, 7, 0, "Busy") })
		c.send("AUTH XOAUTH2 " + b64("user=\x01auth=Bearer x\x01\x01") + "\r\n")
		c.after(0, "454 4.7.0")
	})
}

// TestTarpit: a backend that lets a connection wait does not hold up a drain, and
// the client is told.
func TestTarpit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{t: t}
		rec.onConnect = func(ctx context.Context) error {
			select {
			case <-time.After(20 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		srv, err := smtpserver.New(smtpserver.Config{Role: smtpserver.RoleMX, Hostname: testHost}, rec)
		if err != nil {
			t.Fatal(err)
		}
		connect := func() *client {
			ours, theirs := net.Pipe()
			srv.ServeConn(context.Background(), theirs)
			t.Cleanup(func() { ours.Close() })
			return &client{t: t, conn: ours, br: bufio.NewReader(ours)}
		}
		c := connect()
		c.after(20*time.Second, "220")
		c.cmd("QUIT", "221")
		c = connect()
		time.Sleep(5 * time.Second)
		go srv.Drain(context.Background())
		c.after(0, "421 4.3.2")
		synctest.Wait()
		rec.checkEnd()
	})
}
