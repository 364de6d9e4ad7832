package smtpserver_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"postern/internal/smtp"
	"postern/internal/smtpserver"
)

// FuzzSession sends any octets to a session, by the whole and octet by octet.
// The recorder fails the test where the server breaks its contract; replies must
// be well-formed; and how the octets were cut must not matter.
func FuzzSession(f *testing.F) {
	hello := "EHLO x.test\r\n"
	for _, s := range []string{
		"", hello + "QUIT\r\n", hello + "MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\na\r\n.\r\nQUIT\r\n",
		hello + "MAIL FROM:<>\r\nRCPT TO:<c@d.test>\r\n" + chunk("a\r\n", false) + chunk("b", true) + "RSET\r\n",
		hello + "MAIL FROM:<>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n.\n\r\n.\r\nNOOP\r\n", hello + "AUTH PLAIN\r\n*\r\n", "GET / HTTP/1.1\r\n\r\n",
		hello + "BDAT 5\r\nNOOP\r\nDATA\r\nfoo\r\n.\r\n", "\x16\x03\x01", "NOOP\nNOOP\r\n", hello + "MAIL FROM:<a@b.test> SMTPUTF8\r\nRCPT TO:<\xc3\xbc@d.test>\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 4096 {
			return
		}
		whole, one := fuzzRun(t, in, len(in)+1), fuzzRun(t, in, 1)
		if !slices.Equal(whole.events, one.events) || !slices.Equal(whole.replies, one.replies) {
			t.Fatalf("%q\nby the whole:\n%q\n%q\nby the octet:\n%q\n%q", in, whole.events, whole.replies, one.events, one.replies)
		}
	})
}

// script is a connection whose client sends fixed octets in pieces, then closes.
type script struct {
	in    []byte
	piece int
	out   bytes.Buffer
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.piece)], s.in)
	s.in = s.in[n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error)      { return s.out.Write(p) }
func (s *script) Close() error                     { return nil }
func (s *script) LocalAddr() net.Addr              { return nil }
func (s *script) RemoteAddr() net.Addr             { return nil }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

type fuzzResult struct {
	events, replies []string
}

func fuzzRun(t *testing.T, in []byte, piece int) fuzzResult {
	rec := &recorder{t: t}
	done := make(chan struct{})
	srv, err := smtpserver.New(smtpserver.Config{Role: smtpserver.RoleMX, Hostname: testHost, Hooks: smtpserver.Hooks{
		Panicked: func() { t.Errorf("panic on %q", in) },
		Closed:   func(time.Duration) { close(done) },
	}}, rec)
	if err != nil {
		t.Fatal(err)
	}
	conn := &script{in: in, piece: piece}
	srv.ServeConn(context.Background(), conn)
	<-done
	rec.checkEnd()
	res := fuzzResult{events: rec.log()}
	for br := bufio.NewReader(&conn.out); ; {
		r, err := smtp.ReadReply(br)
		if err == io.EOF {
			return res
		}
		if err != nil {
			t.Fatalf("%q: replies end with %v", in, err)
		}
		checkEnhanced(t, r)
		res.replies = append(res.replies, r.String())
	}
}
