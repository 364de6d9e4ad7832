package export

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// serveAs makes a target whose server does what is asked with each connection, after
// the handshake.
func serveAs(t *testing.T, do func(conn *tls.Conn)) *Syslog {
	t.Helper()
	c, s := collect(t) // for its certificate
	conf := c.conf
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			conn := tls.Server(&exact{raw.(*net.TCPConn), true}, conf)
			if conn.Handshake() == nil {
				conn.NetConn().(*exact).single = false
				do(conn)
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	s.cfg.Addr = ln.Addr().String()
	return s
}

// exact reads no more of the handshake than belongs to it, as servers in C do: what
// the client sends behind it stays with the system.
type exact struct {
	*net.TCPConn
	single bool
}

func (c *exact) Read(b []byte) (int, error) {
	if c.single {
		b = b[:min(1, len(b))]
	}
	return c.TCPConn.Read(b)
}

// many are records of a batch that no buffer of the system holds.
func many(n, size int) []Record {
	all := run(Events, 0, n)
	for i := range all {
		all[i].Name, all[i].Text = "n", strings.Repeat("t", size)
	}
	return all
}

// A server that closes in good order without having read the batch has not got it:
// such as one that does not like the certificate, or has too many connections.
func TestSyslogServerThatClosesUnread(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(conn *tls.Conn){
		"at once":          func(*tls.Conn) {},
		"its writing side": func(conn *tls.Conn) { _ = conn.CloseWrite() },
		"after a while":    func(*tls.Conn) { time.Sleep(5 * time.Millisecond) },
		"after some of it": func(conn *tls.Conn) {
			conn.NetConn().(*exact).single = true
			_, _ = conn.Read(make([]byte, 10))
		},
	} {
		s := serveAs(t, do)
		for i := range 12 {
			if n, err := s.Send(t.Context(), some(1+i%3, time.Now())); err == nil || n != 0 {
				t.Errorf("%s: connection %d: a batch that nobody has read counts as taken", name, i)
				break
			}
		}
		if n, err := s.Send(t.Context(), many(500, 8000)); err == nil || n != 0 {
			t.Errorf("%s: a large batch counts as taken", name)
		}
	}
}

// A server that sends something (none should) is heard out and holds nothing up, even
// if it does not read before all of it is taken from it.
func TestSyslogServerThatTalks(t *testing.T) {
	t.Parallel()
	for _, size := range []int{10, 64 << 10, 600 << 10} {
		var got bytes.Buffer
		s := serveAs(t, func(conn *tls.Conn) {
			got.Reset()
			if _, err := conn.Write(make([]byte, size)); err == nil {
				_, _ = io.Copy(&got, conn)
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		n, err := s.Send(ctx, many(500, 7000))
		cancel()
		if err != nil || n != 500 || got.Len() < 500*7000 {
			t.Errorf("%d octets: %d taken, %v; the server has %d octets", size, n, err, got.Len())
		}
	}
}

// One that sends without an end is no syslog server: it is left soon, and has nothing.
// So is one that sends much and does not close.
func TestSyslogServerThatNeverStops(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(conn *tls.Conn){
		"talks for ever": func(conn *tls.Conn) {
			for b := make([]byte, 16<<10); ; {
				if _, err := conn.Write(b); err != nil {
					return
				}
			}
		},
		"reads and talks for ever": func(conn *tls.Conn) {
			go func() { _, _ = io.Copy(io.Discard, conn) }()
			for b := make([]byte, 16<<10); ; {
				if _, err := conn.Write(b); err != nil {
					return
				}
			}
		},
	} {
		s := serveAs(t, do)
		begin := time.Now()
		for _, records := range [][]Record{some(1, begin), many(500, 8000)} {
			if n, err := s.Send(t.Context(), records); err == nil || n != 0 || !strings.Contains(err.Error(), "sends") {
				t.Errorf("%s: %d taken, %v", name, n, err)
			}
		}
		if took := time.Since(begin); took > 12*time.Second {
			t.Errorf("%s: it took %s", name, took)
		}
	}
	s := serveAs(t, func(conn *tls.Conn) {
		_, _ = conn.Write(make([]byte, 70<<10))
		_, _ = io.Copy(io.Discard, conn)
		time.Sleep(2 * time.Second)
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if n, err := s.Send(ctx, some(1, time.Now())); err == nil || n != 0 {
		t.Error("a server that has sent 64 KiB counts as one that has closed")
	}
}
