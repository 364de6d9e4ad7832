package smtpclient

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"postern/internal/smtp"
	"postern/internal/testkit/fakemx"
)

const testMessage = "From: a@example.test\r\nTo: b@example.test\r\nSubject: hello\r\n\r\n.one dot\r\n..two\r\nend\r\n"

// message makes a transaction with the given recipients.
func message(content string, rcpt ...string) *Transaction {
	t := &Transaction{From: "a@example.test", Content: strings.NewReader(content), ContentSize: int64(len(content))}
	for _, r := range rcpt {
		t.Recipients = append(t.Recipients, Recipient{Address: r})
	}
	return t
}

// countingConn counts writes, and remembers whether it was closed.
type countingConn struct {
	net.Conn
	writes  atomic.Int64
	longest atomic.Int64 // in octets
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	c.longest.Store(max(c.longest.Load(), int64(len(p))))
	return c.Conn.Write(p)
}

// dial connects to a fake.
func dial(t testing.TB, mx *fakemx.Server) *countingConn {
	t.Helper()
	conn, err := net.Dial("tcp", mx.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &countingConn{Conn: conn}
}

// open opens a session or fails the test.
func open(t testing.TB, mx *fakemx.Server, change ...func(*Options)) *Session {
	t.Helper()
	s, err := tryOpen(t, mx, change...)
	if err != nil {
		t.Fatalf("open session: %v", err)
	}
	return s
}

func tryOpen(t testing.TB, mx *fakemx.Server, change ...func(*Options)) (*Session, error) {
	t.Helper()
	opts := Options{HeloName: "client.example.test", TLS: TLSOpportunistic, TLSConfig: &tls.Config{InsecureSkipVerify: true}}
	for _, c := range change {
		c(&opts)
	}
	s, err := New(context.Background(), dial(t, mx), opts)
	if err == nil {
		t.Cleanup(func() { s.Close() })
	}
	return s, err
}

// at makes a script that takes one step at the n-th time of a stage.
func at(stage fakemx.Stage, n int, step fakemx.Step) func(fakemx.Event) fakemx.Step {
	return func(e fakemx.Event) fakemx.Step {
		if e.Stage == stage && e.N == n {
			return step
		}
		return fakemx.Step{}
	}
}

// want checks the outcomes, each written as "code stage flags".
func want(t testing.TB, res Result, outcomes ...string) {
	t.Helper()
	if len(res.Outcomes) != len(outcomes) {
		t.Fatalf("%d outcomes for %d recipients", len(res.Outcomes), len(outcomes))
	}
	for i, o := range res.Outcomes {
		if got := show(o); got != outcomes[i] {
			t.Errorf("recipient %d: %q (%s), want %q; err %v", i, got, o.Reply, outcomes[i], res.Err)
		}
	}
}

func show(o Outcome) string {
	s := smtp.Reply{Code: o.Reply.Code, Enhanced: o.Reply.Enhanced}.String() + " " + string(o.Stage)
	for _, f := range []struct {
		on   bool
		name string
	}{{o.Local, "local"}, {o.Ambiguous, "ambiguous"}, {o.TooMany, "toomany"}, {o.Open, "open"}} {
		if f.on {
			s += " " + f.name
		}
	}
	return s
}
