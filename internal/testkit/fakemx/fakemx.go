// Package fakemx is a receiving mail server for tests whose every answer can be
// scripted: replies, silence, delays, drops, garbage, TLS that works or does
// not. It records what it was told and what it took. It is deliberately not
// built on the product's own SMTP code, so that a shared misreading of the RFCs
// does not cancel out.
//
// Its one invariant: a transaction is recorded as complete only when the whole
// message, terminator included, was read.
package fakemx

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// Stage is a point in a session at which the server speaks.
type Stage string

// The stages.
const (
	Banner    Stage = "banner"    // on connection
	Ehlo      Stage = "ehlo"      // EHLO
	Helo      Stage = "helo"      // HELO
	StartTLS  Stage = "starttls"  // the STARTTLS command
	Handshake Stage = "handshake" // after the 220 to STARTTLS, in place of the handshake
	Auth      Stage = "auth"      // AUTH
	Mail      Stage = "mail"      // MAIL
	Rcpt      Stage = "rcpt"      // RCPT
	Data      Stage = "data"      // DATA
	Body      Stage = "body"      // while the message arrives, after Step.After octets of it
	End       Stage = "end"       // after the terminator or BDAT LAST
	Chunk     Stage = "bdat"      // after a BDAT chunk that is not the last
	Rset      Stage = "rset"      // RSET
	Quit      Stage = "quit"      // QUIT
	Other     Stage = "other"     // any other command
)

// Event is what a script is asked about.
type Event struct {
	Session int    // 0-based, in order of connection
	Stage   Stage  //
	Line    string // the command, without CRLF
	N       int    // how often this session was at this stage before
	TLS     bool
}

// Step is what the server does at a stage. The zero Step answers as a friendly
// server would.
type Step struct {
	Delay time.Duration // first wait
	After int           // Body only: read so many octets of the message first
	Reply string        // then say this; CRLF is added; "" is the default reply
	Raw   string        // instead of Reply: write exactly this
	Extra string        // write exactly this after the reply, in the same write
	Close bool          // then close the connection
	Reset bool          // then reset it (RST)
	Stall bool          // instead of all else: say nothing until the client goes away
}

func (s Step) ends() bool { return s.Close || s.Reset || s.Stall }

// Config describes a server. The zero value is a friendly one without TLS.
type Config struct {
	Name       string   // said in the banner and to EHLO; "mx.example.test"
	Extensions []string // EHLO lines but STARTTLS; nil: DefaultExtensions
	TLS        *tls.Config
	Script     func(Event) Step // nil: always the zero Step
	// SlowRead, if set, is waited before each line of a message is read.
	SlowRead time.Duration
}

// DefaultExtensions is what a server offers unless told otherwise.
var DefaultExtensions = []string{"PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN", "CHUNKING", "BINARYMIME", "SIZE 10485760"}

// Transaction is one mail transaction as the server saw it.
type Transaction struct {
	Session  int
	Remote   netip.AddrPort
	TLS      bool
	Helo     string
	Mail     string   // argument of MAIL, as "FROM:<a@example.test> SIZE=12"
	Rcpt     []string // arguments of the accepted RCPTs
	Body     []byte   // the message, dots undone
	Wire     []byte   // what arrived after DATA, terminator included; nil for BDAT
	Complete bool     // the whole message was read
	Accepted bool     // and answered with 2yz
}

// Server is a running fake. Its methods are safe for concurrent use.
type Server struct {
	config Config
	ln     net.Listener // nil for one made by New
	wg     sync.WaitGroup

	mu           sync.Mutex
	sessions     int
	open         map[net.Conn]struct{}
	lines        [][]string // per session
	transactions []*Transaction
	changed      chan struct{} // closed and replaced whenever something ends
	closed       bool
}

// New makes a server without a listener, for use with Serve over pipes.
func New(config Config) *Server {
	if config.Name == "" {
		config.Name = "mx.example.test"
	}
	if config.Extensions == nil {
		config.Extensions = DefaultExtensions
	}
	return &Server{config: config, open: make(map[net.Conn]struct{}), changed: make(chan struct{})}
}

// Start runs a server on a free loopback port until the test ends. The test
// fails if a connection is still open then: a client leaked it.
func Start(tb testing.TB, config Config) *Server {
	tb.Helper()
	return StartOn(tb, "127.0.0.1:0", config)
}

// StartOn is Start on a given address.
func StartOn(tb testing.TB, addr string, config Config) *Server {
	tb.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		tb.Fatalf("fake MX: %v", err)
	}
	s := New(config)
	s.ln = ln
	s.wg.Go(s.accept)
	tb.Cleanup(func() {
		s.Drain(tb)
		s.Close()
	})
	return s
}

func (s *Server) accept() {
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() { s.Serve(conn) })
	}
}

// Addr is where the server listens.
func (s *Server) Addr() netip.AddrPort {
	return s.ln.Addr().(*net.TCPAddr).AddrPort()
}

// Close stops listening and drops what is connected. It waits for the sessions
// that Start's listener took.
func (s *Server) Close() {
	if s.ln != nil {
		s.ln.Close()
	}
	s.mu.Lock()
	s.closed = true
	for conn := range s.open {
		conn.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// Drain waits up to ten seconds until no client is connected, and fails the test
// otherwise.
func (s *Server) Drain(tb testing.TB) {
	tb.Helper()
	if err := s.wait(func() bool { return len(s.open) == 0 }); err != nil {
		tb.Errorf("fake MX: connections leaked: %d open", s.Open())
	}
}

// WaitTransactions waits up to ten seconds for n complete messages.
func (s *Server) WaitTransactions(tb testing.TB, n int) []Transaction {
	tb.Helper()
	err := s.wait(func() bool {
		done := 0
		for _, t := range s.transactions {
			if t.Complete {
				done++
			}
		}
		return done >= n
	})
	if err != nil {
		tb.Fatalf("fake MX: waited for %d messages, have %d", n, len(s.Complete()))
	}
	return s.Complete()
}

// wait waits until done, called under the lock, reports true.
func (s *Server) wait(done func() bool) error {
	limit := time.NewTimer(10 * time.Second)
	defer limit.Stop()
	for {
		s.mu.Lock()
		ok, changed := done(), s.changed
		s.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-limit.C:
			return errors.New("timed out")
		}
	}
}

// update runs change under the lock and wakes those who wait.
func (s *Server) update(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

// Open is the number of connections now open.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// Sessions is the number of connections taken so far.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions
}

// Lines returns the commands that session n sent, in order.
func (s *Server) Lines(n int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n >= len(s.lines) {
		return nil
	}
	return append([]string(nil), s.lines[n]...)
}

// Transactions returns every transaction that got as far as an accepted MAIL.
func (s *Server) Transactions() []Transaction {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Transaction, 0, len(s.transactions))
	for _, t := range s.transactions {
		out = append(out, *t)
	}
	return out
}

// Complete returns the transactions whose message was read to its end.
func (s *Server) Complete() []Transaction {
	var out []Transaction
	for _, t := range s.Transactions() {
		if t.Complete {
			out = append(out, t)
		}
	}
	return out
}
