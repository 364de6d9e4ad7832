package smtpserver_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/smtp"
	"postern/internal/smtpserver"
)

// TestHalfClosed: a client that has said all it has to say, and closed its side,
// still gets every reply.
func TestHalfClosed(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *smtpserver.Config) { c.Role = smtpserver.RoleMX })
	c := w.dial()
	c.send("EHLO x.test\r\nMAIL FROM:<>\r\nRCPT TO:<b@inbox.test>\r\n" + chunk("Subject: x\r\n\r\nhello\r\n", true) + "NOOP\r\n")
	if err := c.conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"220", "250", "250 2.1.0", "250 2.1.5", "250 2.0.0 Ok: queued", "250 2.0.0 Ok"} {
		c.expect(want)
	}
	c.gone()
	if len(w.backend.kept()) != 1 {
		t.Errorf("kept %q", w.backend.kept())
	}
	c = w.dial() // and one that closed it in the middle of a message gets none
	c.send("EHLO x.test\r\nMAIL FROM:<>\r\nRCPT TO:<b@inbox.test>\r\nDATA\r\nSubject: x\r\n")
	c.conn.(*net.TCPConn).CloseWrite()
	for _, want := range []string{"220", "250", "250", "250", "354"} {
		c.expect(want)
	}
	c.gone()
	if len(w.backend.kept()) != 1 || w.backend.count("abort") != 1 {
		t.Errorf("kept %q", w.backend.kept())
	}
}

// TestNormalise: a listener may be set to take bare line ends; what the backend
// sees is canonical, and the end of the data is still CRLF.CRLF alone.
func TestNormalise(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *smtpserver.Config) { c.TextPolicy = smtp.NormaliseBare })
	c := w.login().inData()
	c.send("Subject: x\n\na\n.\nb\rc\r\r\n.\r\r\n..d\n\r\n.\r\n")
	c.expect("250 2.0.0")
	c.alive()
	want := "Subject: x\r\n\r\na\r\n.\r\nb\r\nc\r\n\r\n\r\n\r\n.d\r\n\r\n"
	if got := w.backend.kept(); len(got) != 1 || got[0].body != want {
		t.Errorf("kept %q, want %q", got, want)
	}
	c.inData()
	c.send("a\x00b\n.\r\nMAIL FROM:<forged@victim.test>\r\n\r\n.\r\n")
	c.expect("554 5.6.0")
	c.alive()
}

// TestHooks counts what happens in one session.
func TestHooks(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got []string
	say := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, s)
	}
	codes := map[int]int{}
	w := start(t, func(c *smtpserver.Config) {
		c.Hooks = smtpserver.Hooks{
			Opened: func() { say("opened") }, Closed: func(time.Duration) { say("closed") },
			Handshake: func(v *smtpserver.TLS, err error) {
				if v == nil || v.Version == 0 || err != nil {
					t.Errorf("handshake: %v, %v", v, err)
				}
				say("handshake")
			},
			Login: func(m string, ok bool) {
				if ok {
					say("login " + m)
				} else {
					say("no login " + m)
				}
			},
			Replied: func(code int) { mu.Lock(); codes[code]++; mu.Unlock() },
			Message: func(size int64, rcpts, code int) {
				if size != 3 || rcpts != 1 || code != 250 {
					t.Errorf("message of %d octets to %d: %d", size, rcpts, code)
				}
				say("message")
			},
		}
	})
	c := w.secure()
	c.cmd("AUTH PLAIN "+b64("\x00apikey\x00wrong"), "535")
	c.cmd("AUTH PLAIN "+plainLogin, "235")
	c.inData()
	c.cmd("x\r\n.", "250")
	c.cmd("QUIT", "221")
	c.gone()
	want := []string{"opened", "handshake", "no login PLAIN", "login PLAIN", "message", "closed"}
	eventually(t, "all told", func() bool { mu.Lock(); defer mu.Unlock(); return slices.Equal(got, want) })
	mu.Lock()
	defer mu.Unlock()
	for code, n := range map[int]int{220: 2, 250: 5, 535: 1, 235: 1, 354: 1, 221: 1} {
		if codes[code] != n {
			t.Errorf("%d replies %d, want %d", codes[code], code, n)
		}
	}
	if len(got) != len(want) {
		t.Errorf("told %q", got)
	}
}

// TestStop: what becomes of a server and its listeners.
func TestStop(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	c := w.greeted()
	ctx, cancel := context.WithCancel(context.Background())
	second := listen(t)
	served := make(chan error, 1)
	go func() { served <- w.srv.Serve(ctx, second) }()
	cancel() // closes by force
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	if rest, err := io.ReadAll(c.br); len(rest) > 0 {
		t.Errorf("said %q, %v", rest, err)
	}
	if err := w.srv.Serve(context.Background(), listen(t)); !errors.Is(err, smtpserver.ErrStopped) {
		t.Errorf("serving again: %v", err)
	}
	ours, theirs := net.Pipe()
	go w.srv.ServeConn(context.Background(), theirs)
	if b, _ := io.ReadAll(ours); !strings.HasPrefix(string(b), "421 4.3.2 ") {
		t.Errorf("a connection after the end: %q", b)
	}
	if err := w.srv.Drain(context.Background()); err != nil {
		t.Errorf("drain after close: %v", err)
	}
}

// TestCommitOutlivesTheClient: once the message is complete, neither the client
// nor a stop takes it back.
func TestCommitOutlivesTheClient(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	begun, finish := make(chan struct{}), make(chan struct{})
	w.backend.onCommit = func(ctx context.Context) (smtp.Reply, error) {
		close(begun)
		<-finish
		return smtp.Reply{}, ctx.Err()
	}
	c := w.login().inData()
	c.send("x\r\n.\r\n")
	<-begun
	netConn(c).Close()
	w.srv.Close()
	close(finish)
	eventually(t, "session closed", func() bool { return w.backend.count("close") == 1 })
	if len(w.backend.kept()) != 1 {
		t.Errorf("log %q", w.backend.log())
	}
}

// TestLastReplyArrives: a client that is still sending when the server closes
// gets the last reply and an orderly end, not a reset.
func TestLastReplyArrives(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	for name, c := range map[string]*client{"plain text": w.greeted(), "TLS": w.secure()} {
		c.send("GET / HTTP/1.1\r\n" + strings.Repeat("X-Header: value\r\n", 10000))
		c.expect("421 4.7.0")
		if _, err := c.br.ReadByte(); err != io.EOF {
			t.Errorf("%s: after the last reply: %v", name, err)
		}
	}
}

// TestCommitWithoutWords: a backend that has no reply of its own is given one.
func TestCommitWithoutWords(t *testing.T) {
	t.Parallel()
	srv, err := smtpserver.New(smtpserver.Config{Role: smtpserver.RoleMX, Hostname: testHost}, discard{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, addr: serve(t, srv)}
	c := w.greeted()
	c.cmd("EHLO x.test", "250")
	c.inData()
	c.cmd("x\r\n.", "250 2.0.0 Ok")
	c.alive()
}
