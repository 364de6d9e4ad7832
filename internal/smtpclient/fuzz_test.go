package smtpclient

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"postern/internal/smtp"
)

// scripted is a connection to a host whose every word is given: one piece at the
// start and one for each write, then the end.
type scripted struct {
	pieces [][]byte
	in     []byte
	out    bytes.Buffer
}

func newScripted(script []byte) *scripted {
	c := &scripted{pieces: bytes.Split(script, []byte("|"))}
	c.next()
	return c
}

func (c *scripted) next() {
	if len(c.pieces) > 0 {
		c.in, c.pieces = append(c.in, c.pieces[0]...), c.pieces[1:]
	}
}

func (c *scripted) Read(p []byte) (int, error) {
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *scripted) Write(p []byte) (int, error) {
	c.out.Write(p)
	c.next()
	return len(p), nil
}

func (c *scripted) Close() error                     { return nil }
func (c *scripted) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *scripted) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *scripted) SetDeadline(time.Time) error      { return nil }
func (c *scripted) SetReadDeadline(time.Time) error  { return nil }
func (c *scripted) SetWriteDeadline(time.Time) error { return nil }

// FuzzSession lets a hostile host say anything at all. Whatever it says, every
// recipient has one honest outcome.
func FuzzSession(f *testing.F) {
	for _, seed := range []string{
		"220 mx|250-mx\r\n250 PIPELINING\r\n|250 Ok\r\n250 Ok\r\n550 5.1.1 No\r\n354 Go\r\n|250 2.0.0 Ok\r\n|221 Bye\r\n",
		"220 mx\r\n|250-mx\r\n250-PIPELINING\r\n250 SIZE 1000\r\n|250 Ok\r\n250 Ok\r\n550 5.1.1 No\r\n354 Go\r\n|250 2.0.0 Ok\r\n|250 Ok\r\n",
		"220 mx\r\n|502 What\r\n|250 mx\r\n|250 Ok\r\n|250 Ok\r\n|250 Ok\r\n|354 Go\r\n|250 Ok\r\n|221 Bye\r\n",
		"220 mx\r\n|250 mx\r\n|450 4.7.1 Later\r\n|250 Ok\r\n|452 4.5.3 Too many\r\n|",
		"220 mx\r\n|250-mx\r\n250 pipelining\r\n|250 Ok\r\n550 No\r\n550 No\r\n354 Go\r\n|554 No\r\n|250 Ok\r\n250 Ok\r\n250 Ok\r\n250 Ok\r\n354\r\n|421 Bye\r\n",
		"220 mx\r\n|250-mx\r\n250-LIMITS RCPTMAX=1 MAILMAX=1\r\n250 PIPELINING\r\n|250 Ok\r\n250 Ok\r\n354 Go\r\n|250-\r\n250 \r\n",
		"421 Busy\r\n", "220-a\r\n220\r\n|250\r\n|250\r\n|250\r\n|250\r\n|354\r\n|250\r\n", "|||", "220 a\r\n250 b\r\n|250 c\r\n",
		"220 mx\r\n|250-mx\r\n250-CHUNKING\r\n250 BINARYMIME\r\n|250 Ok\r\n|250 Ok\r\n|250 Ok\r\n|250 Ok\r\n|250 Ok\r\n",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, script []byte, binary bool) {
		conn := newScripted(script)
		s, err := New(context.Background(), conn, Options{HeloName: "client.example.test"})
		if err != nil {
			e, ok := err.(*Error)
			if !ok || e.Code/100 != 4 && e.Code/100 != 5 || len(e.Text) > maxText+32 {
				t.Fatalf("error %#v", err)
			}
			return
		}
		for s.Usable() && s.started < 5 {
			conn.out.Reset()
			tx := message(testMessage, "b@example.test", "c@example.test")
			if binary {
				tx.Body = smtp.BodyBinary
			}
			ended := false
			tx.BeforeEnd = func(context.Context) error { ended = true; return nil }
			before := s.started
			checkResult(t, s.Send(context.Background(), tx), ended, conn.out.String())
			if s.started == before {
				break // refused before it began
			}
		}
		s.Quit(context.Background())
	})
}

func checkResult(t *testing.T, res Result, ended bool, wire string) {
	t.Helper()
	if len(res.Outcomes) != 2 {
		t.Fatalf("%d outcomes", len(res.Outcomes))
	}
	if n := strings.Count(wire, "\r\n.\r\n"); n > 1 {
		t.Fatalf("%d ends of data: %q", n, wire)
	}
	for _, o := range res.Outcomes {
		class := o.Reply.Code / 100
		switch {
		case class == 2 && (o.Stage != StageEnd || !ended || o.Ambiguous || o.Open || o.TooMany || o.Local || !o.Delivered()):
			t.Fatalf("positive outcome %s", show(o))
		case class != 2 && class != 4 && class != 5:
			t.Fatalf("outcome %s", show(o))
		case o.Ambiguous && (!ended || class != 4):
			t.Fatalf("ambiguous %s, end sent %v", show(o), ended)
		case o.Open && (ended || class != 4 || res.Err == nil):
			t.Fatalf("open %s, end sent %v", show(o), ended)
		case len(o.Reply.Text) > maxText || sanitise(o.Reply.Text) != o.Reply.Text:
			t.Fatalf("text %q", o.Reply.Text)
		}
	}
}
