package smtpserver_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postern/internal/smtp"
	"postern/internal/smtpserver"
)

func TestRX(t *testing.T) {
	t.Parallel()
	t.Run("RX-01", testPerAddress)
	t.Run("RX-02", testPerAddress)
	t.Run("RX-03", testSlowData)
	t.Run("RX-04", testNeverReads)
	t.Run("RX-05", testChatter)
	t.Run("RX-06", testInFlight)
	t.Run("RX-10", testNoDescriptors)
	t.Run("RX-11", testTotalCap)
}

// fromListener gives connections the remote addresses that a test names.
type fromListener struct {
	net.Listener
	addrs chan string
}

func (l *fromListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &fromConn{c.(*net.TCPConn), <-l.addrs}, nil
}

type fromConn struct {
	*net.TCPConn
	addr string
}

func (c *fromConn) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(c.addr), 4711))
}

func testPerAddress(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *smtpserver.Config) {
		c.Quota = smtpserver.NewQuota(smtpserver.QuotaLimits{Connections: 20, PerAddress: 5})
	})
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := &fromListener{inner, make(chan string, 100)}
	served := make(chan error, 1)
	go func() { served <- w.srv.Serve(context.Background(), ln) }()
	w.addr = inner.Addr().String()
	from := func(addr string) *client {
		ln.addrs <- addr
		return w.dial()
	}
	for _, group := range [][]string{
		{"192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1"},
		{"2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:0:ffff::", "2001:db8::5", "2001:db8::6"},
	} {
		for i, addr := range group {
			c := from(addr)
			if i < 5 {
				c.expect("220")
				continue
			}
			c.expect("421 4.7.0")
			c.gone()
		}
	}
	begin := time.Now()
	c := from("192.0.2.2") // others are served at once
	c.expect("220")
	from("2001:db8:0:1::1").expect("220")
	c.cmd("EHLO good.test", "250")
	if d := time.Since(begin); d > 10*time.Second {
		t.Errorf("a good client waited %v", d)
	}
	c.cmd("QUIT", "221")
	w.srv.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func testTotalCap(t *testing.T) {
	t.Parallel()
	var refused atomic.Int32
	w := start(t, func(c *smtpserver.Config) {
		c.Quota = smtpserver.NewQuota(smtpserver.QuotaLimits{Connections: 2})
		c.Hooks.Refused = func(string) { refused.Add(1) }
	})
	a, _ := w.greeted(), w.greeted()
	c := w.dial()
	c.expect("421 4.3.2")
	c.gone()
	a.cmd("QUIT", "221")
	eventually(t, "a place is free", func() bool { return w.cfg.Quota.Connections() == 1 })
	w.greeted()
	if refused.Load() != 1 {
		t.Errorf("%d refusals counted", refused.Load())
	}
}

func testNeverReads(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *smtpserver.Config) {
		c.Limits.Write = 200 * time.Millisecond
		c.Limits.Commands = 1 << 30
	})
	c := w.greeted()
	c.conn.(*net.TCPConn).SetReadBuffer(4096)
	block := []byte(strings.Repeat("HELP\r\n", 10000))
	c.conn.SetWriteDeadline(time.Now().Add(patience))
	for range 1000 {
		if _, err := c.conn.Write(block); err != nil {
			break
		}
	}
	eventually(t, "session closed", func() bool { return w.backend.count("close") == 1 })
}

func testChatter(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"NOOP", "RSET", "EHLO x.test", "VRFY a", "HELP"} {
		w := start(t, nil)
		c := w.greeted()
		for n := 0; ; n++ {
			c.send(line + "\r\n")
			if r := c.reply(); r.Code == 421 {
				if r.Enhanced != (smtp.EnhancedCode{4, 7, 0}) || n < 100 || n > 102 {
					t.Errorf("%s: %v after %d", line, r, n)
				}
				break
			}
		}
	}
	w := start(t, func(c *smtpserver.Config) { c.Limits.Messages = 150 })
	c := w.login()
	for range 150 { // mail makes chatter good
		c.cmd("NOOP", "250")
		c.inData()
		c.cmd("x\r\n.", "250")
	}
	c.cmd("MAIL FROM:<a@acme.test>", "421 4.7.0")
	c.gone()
}

func testInFlight(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *smtpserver.Config) {
		c.Quota = smtpserver.NewQuota(smtpserver.QuotaLimits{InFlight: 100000})
	})
	parked, other, third := w.login().inData(), w.login().inData(), w.login().envelope()
	parked.send(strings.Repeat(strings.Repeat("x", 98)+"\r\n", 900))
	eventually(t, "octets counted", func() bool { return w.cfg.Quota.InFlight() == 90000 })
	other.send(strings.Repeat(strings.Repeat("x", 98)+"\r\n", 900) + ".\r\n")
	other.expect("452 4.3.1")
	other.alive()
	parked.send(strings.Repeat(strings.Repeat("x", 98)+"\r\n", 100))
	eventually(t, "octets counted", func() bool { return w.cfg.Quota.InFlight() == 100000 })
	other.cmd("MAIL FROM:<a@acme.test>", "452 4.3.1")
	third.cmd("DATA", "452 4.3.1")
	third.cmd("RSET", "250")
	parked.cmd(".", "250 2.0.0")
	other.inData()
	other.cmd("x\r\n.", "250")
	if n := len(w.backend.kept()); n != 2 {
		t.Errorf("%d messages kept", n)
	}
}

// starved is a listener that has no file descriptors left, for a while.
type starved struct {
	net.Listener
	fail  atomic.Int32
	calls atomic.Int32
}

func (l *starved) Accept() (net.Conn, error) {
	l.calls.Add(1)
	if l.fail.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: fmt.Errorf("accept4: %w", syscall.EMFILE)}
	}
	return l.Listener.Accept()
}

func testNoDescriptors(t *testing.T) {
	t.Parallel()
	var told atomic.Int32
	w := start(t, func(c *smtpserver.Config) { c.Hooks.Accept = func(error) { told.Add(1) } })
	before := w.login() // a session that lives on
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := &starved{Listener: inner}
	ln.fail.Store(5)
	served := make(chan error, 1)
	begin := time.Now()
	go func() { served <- w.srv.Serve(context.Background(), ln) }()
	w.addr = inner.Addr().String()
	w.greeted()
	if d, n := time.Since(begin), ln.calls.Load(); d < 100*time.Millisecond || n > 8 || told.Load() != 5 {
		t.Errorf("%d calls of accept in %v, %d told: a busy loop?", n, d, told.Load())
	}
	before.alive()
	inner.Close()
	if err := <-served; err == nil {
		t.Error("a listener that is gone for good is no error")
	}
}

func TestPF(t *testing.T) {
	t.Parallel()
	t.Run("PF-12", func(t *testing.T) {
		t.Parallel()
		w := start(t, func(c *smtpserver.Config) {
			c.Quota = smtpserver.NewQuota(smtpserver.QuotaLimits{PerAddress: 1000})
		})
		const idle, busy = 200, 20
		var idlers, senders []*client
		for range idle {
			idlers = append(idlers, w.greeted())
		}
		for range busy {
			c := w.login().inData()
			c.send("half")
			senders = append(senders, c)
		}
		eventually(t, "content arrived", func() bool { return w.cfg.Quota.InFlight() == 4*busy })
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := w.srv.Drain(ctx); err != nil {
				t.Errorf("drain: %v", err)
			}
		})
		for _, c := range idlers {
			c.expect("421 4.3.2")
		}
		for _, c := range senders {
			c.send(" and half\r\n.\r\n")
			c.expect("250 2.0.0 Ok: queued")
			c.expect("421 4.3.2")
		}
		wg.Wait()
		if n := len(w.backend.kept()); n != busy {
			t.Errorf("%d of %d messages kept", n, busy)
		}
		if conn, err := net.Dial("tcp", w.addr); err == nil {
			conn.Close()
			t.Error("still accepting")
		}
	})
	t.Run("PF-15", testPanics)
}

// testPanics makes the backend panic in each of its methods: one session dies,
// with 421 4.3.0, and nothing is kept of it.
func testPanics(t *testing.T) {
	t.Parallel()
	boom := func() error { panic("boom at 10.0.0.3") }
	steps := map[string]struct {
		set  func(*recorder)
		play func(*world) *client
	}{
		"connect": {func(r *recorder) { r.onConnect = func(context.Context) error { return boom() } }, func(w *world) *client { return w.dial() }},
		"helo":    {func(r *recorder) { r.onHelo = func(smtpserver.Peer) error { return boom() } }, func(w *world) *client { c := w.greeted(); c.send("EHLO x.test\r\n"); return c }},
		"mail": {func(r *recorder) { r.onMail = func(smtp.Address, smtp.MailParams) error { return boom() } },
			func(w *world) *client { c := w.login(); c.send("MAIL FROM:<a@acme.test>\r\n"); return c }},
		"rcpt": {func(r *recorder) { r.onRcpt = func(smtp.Address) error { return boom() } },
			func(w *world) *client {
				c := w.login()
				c.cmd("MAIL FROM:<a@acme.test>", "250")
				c.send("RCPT TO:<b@inbox.test>\r\n")
				return c
			}},
		"data":  {func(r *recorder) { r.onData = boom }, func(w *world) *client { c := w.login().envelope(); c.send("DATA\r\n"); return c }},
		"write": {func(r *recorder) { r.onWrite = func(int) error { return boom() } }, func(w *world) *client { c := w.login().inData(); c.send("x\r\n.\r\n"); return c }},
		"commit": {func(r *recorder) {
			r.onCommit = func(context.Context) (smtp.Reply, error) { return smtp.Reply{}, boom() }
		},
			func(w *world) *client { c := w.login().inData(); c.send("x\r\n.\r\n"); return c }},
	}
	for name, step := range steps {
		t.Run(name, func(t *testing.T) {
			var panics atomic.Int32
			var out lockedBuffer
			w := start(t, func(c *smtpserver.Config) {
				c.Hooks.Panicked = func() { panics.Add(1) }
				c.Log = slog.New(slog.NewTextHandler(&out, nil))
			})
			bystander := w.login()
			w.backend.mu.Lock()
			step.set(w.backend)
			w.backend.mu.Unlock()
			c := step.play(w)
			if r := c.expect("421 4.3.0"); strings.Contains(r.Text, "boom") {
				t.Errorf("shown: %q", r.Text)
			}
			c.gone()
			bystander.alive()
			if panics.Load() != 1 || !strings.Contains(out.String(), "boom") {
				t.Errorf("%d panics counted, log %s", panics.Load(), out.String())
			}
			if len(w.backend.kept()) > 0 {
				t.Errorf("kept %q", w.backend.kept())
			}
		})
	}
}

// TestBackendErrors: an error at any step is answered with its own reply, or
// with a temporary failure that shows nothing, and the session goes on.
func TestBackendErrors(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"reply": {smtp.R(550, 5, 7, 1, "policy"), "550 5.7.1 policy"}, "wrapped": {fmt.Errorf("deep: %w", smtp.R(450, 4, 7, 1, "later")), "450 4.7.1 later"},
		"internal": {errForRecords, "451 4.3.0 Temporary failure"}, "odd reply": {smtp.R(250, 2, 0, 0, "fine?"), "451 4.3.0"}, "context": {context.Canceled, "451 4.3.0"},
		"eof": {errors.New("EOF"), "451 4.3.0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, nil)
			r := w.backend
			c := w.login()
			r.onMail = func(smtp.Address, smtp.MailParams) error { return tt.err }
			c.cmd("MAIL FROM:<a@acme.test>", tt.want)
			r.onMail = nil
			c.cmd("RCPT TO:<b@inbox.test>", "503")
			c.cmd("MAIL FROM:<a@acme.test>", "250")
			r.onRcpt = func(smtp.Address) error { return tt.err }
			c.cmd("RCPT TO:<b@inbox.test>", tt.want)
			r.onRcpt = nil
			c.cmd("RCPT TO:<b@inbox.test>", "250")
			r.onData = func() error { return tt.err }
			c.cmd("DATA", tt.want)
			r.onData = nil
			c.cmd("DATA", "354")
			r.onWrite = func(int) error { return tt.err }
			c.send("x\r\n" + strings.Repeat("y", 50000) + "\r\n.\r\n")
			c.expect(tt.want)
			r.onWrite = nil
			c.inData()
			r.onCommit = func(context.Context) (smtp.Reply, error) { return smtp.Reply{}, tt.err }
			c.cmd("x\r\n.", tt.want)
			r.onCommit = nil
			c.cmd("RCPT TO:<b@inbox.test>", "503")
			c.inData()
			c.cmd("x\r\n.", "250 2.0.0")
			if len(r.kept()) != 1 {
				t.Errorf("kept %q", r.kept())
			}
		})
	}
}
