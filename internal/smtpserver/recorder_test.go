package smtpserver_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"postern/internal/sasl"
	"postern/internal/smtp"
	"postern/internal/smtpserver"
)

// message is one that was committed.
type message struct {
	from  string
	rcpts []string
	body  string
}

// recorder is a backend that keeps what it is told and enforces the contract of
// its interfaces. The functions, where set, decide.
type recorder struct {
	t         testing.TB
	onConnect func(context.Context) error
	onHelo    func(smtpserver.Peer) error
	onAuth    func(sasl.Credentials) error
	onLogin   func(*recSession, string) sasl.Exchange
	onOffers  func(mechanism string) bool
	onMail    func(smtp.Address, smtp.MailParams) error
	onRcpt    func(smtp.Address) error
	onData    func() error
	onWrite   func(total int) error
	onCommit  func(ctx context.Context) (smtp.Reply, error)

	mu       sync.Mutex // guards what follows
	events   []string
	messages []message
	open     int // sessions
	bodies   int // open ones
	peers    []smtpserver.Peer
}

var (
	refusedLogin  = smtp.R(535, 5, 7, 8, "Authentication failed: The provided authorization grant is invalid, expired, or revoked")
	errForRecords = fmt.Errorf("db: dial tcp 10.0.0.3:5432: refused")
)

func (r *recorder) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, fmt.Sprintf(format, args...))
}

// log returns the events so far.
func (r *recorder) log() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

func (r *recorder) kept() []message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.messages)
}

// count is the number of events that begin with a word.
func (r *recorder) count(prefix string) int {
	n := 0
	for _, e := range r.log() {
		if strings.HasPrefix(e, prefix) {
			n++
		}
	}
	return n
}

func (r *recorder) checkEnd() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open != 0 || r.bodies != 0 {
		r.t.Errorf("%d sessions and %d bodies were not closed", r.open, r.bodies)
	}
}

func (r *recorder) Connect(ctx context.Context, p smtpserver.Peer) (smtpserver.Session, error) {
	r.mu.Lock()
	ask := r.onConnect
	r.mu.Unlock()
	if ask != nil {
		if err := ask(ctx); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open++
	r.peers = append(r.peers, p)
	return &recSession{r: r, peer: p}, nil
}

// seen returns everybody who has connected so far.
func (r *recorder) seen() []smtpserver.Peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.peers)
}

// recSession fails the test where the server breaks its promises.
type recSession struct {
	r      *recorder
	busy   atomic.Bool
	peer   smtpserver.Peer
	in     bool // logged in
	tx     *message
	body   *recBody
	closed bool
}

// enter checks that calls come one at a time, and none after Close.
func (s *recSession) enter(what string) func() {
	if !s.busy.CompareAndSwap(false, true) {
		s.r.t.Errorf("%s: called while another call runs", what)
	}
	if s.closed {
		s.r.t.Errorf("%s: called after Close", what)
	}
	return func() { s.busy.Store(false) }
}

func (s *recSession) Helo(_ context.Context, p smtpserver.Peer) error {
	defer s.enter("Helo")()
	s.r.note("helo %s tls=%v", p.Helo, p.TLS != nil)
	s.peer = p
	if s.tx != nil {
		s.r.t.Error("Helo in a transaction")
	}
	if s.r.onHelo != nil {
		return s.r.onHelo(p)
	}
	return nil
}

func (s *recSession) Login(_ context.Context, mechanism string) sasl.Exchange {
	defer s.enter("Login")()
	if s.peer.TLS == nil || s.in || s.tx != nil || s.peer.Helo == "" {
		s.r.t.Error("Login at the wrong time")
	}
	if s.r.onLogin != nil {
		return s.r.onLogin(s, mechanism)
	}
	return sasl.Exchange{Authenticate: s.authenticate}
}

func (s *recSession) Offers(_ context.Context, mechanism string) bool {
	defer s.enter("Offers")()
	return s.r.onOffers == nil || s.r.onOffers(mechanism)
}

func (s *recSession) authenticate(_ context.Context, c sasl.Credentials) error {
	defer s.enter("Authenticate")()
	s.r.note("auth %s %s", c.Mechanism, c.User)
	if s.peer.TLS == nil || s.in || s.tx != nil || s.peer.Helo == "" {
		s.r.t.Error("Authenticate at the wrong time")
	}
	var err error
	switch {
	case s.r.onAuth != nil:
		err = s.r.onAuth(c)
	case c.User != testUser || c.Secret.Reveal() != testSecret:
		err = refusedLogin
	}
	s.in = err == nil
	return err
}

func (s *recSession) LoginFailed(_ context.Context, mechanism string, why smtpserver.LoginFault) {
	defer s.enter("LoginFailed")()
	s.r.note("login failed %s %s", mechanism, why)
	s.in = false
}

func (s *recSession) Mail(_ context.Context, from smtp.Address, p smtp.MailParams) error {
	defer s.enter("Mail")()
	s.r.note("mail %s", from)
	if s.tx != nil || s.peer.Helo == "" || s.peer.Role == smtpserver.RoleSubmission && !s.in {
		s.r.t.Error("Mail at the wrong time")
	}
	if s.r.onMail != nil {
		if err := s.r.onMail(from, p); err != nil {
			return err
		}
	}
	s.tx = &message{from: from.String()}
	return nil
}

func (s *recSession) Rcpt(_ context.Context, to smtp.Address, _ smtp.RcptParams) error {
	defer s.enter("Rcpt")()
	s.r.note("rcpt %s", to)
	if s.tx == nil || s.body != nil {
		s.r.t.Error("Rcpt at the wrong time")
	}
	if s.r.onRcpt != nil {
		if err := s.r.onRcpt(to); err != nil {
			return err
		}
	}
	s.tx.rcpts = append(s.tx.rcpts, to.String())
	return nil
}

func (s *recSession) Data(context.Context) (smtpserver.Body, error) {
	defer s.enter("Data")()
	s.r.note("data")
	if s.tx == nil || len(s.tx.rcpts) == 0 || s.body != nil {
		s.r.t.Error("Data at the wrong time")
	}
	if s.r.onData != nil {
		if err := s.r.onData(); err != nil {
			return nil, err
		}
	}
	s.body = &recBody{s: s}
	s.r.mu.Lock()
	s.r.bodies++
	s.r.mu.Unlock()
	return s.body, nil
}

func (s *recSession) Reset(context.Context) {
	defer s.enter("Reset")()
	s.r.note("reset")
	if s.tx == nil || s.body != nil {
		s.r.t.Error("Reset at the wrong time")
	}
	s.tx = nil
}

func (s *recSession) Close() {
	defer s.enter("Close")()
	s.r.note("close")
	if s.tx != nil || s.body != nil {
		s.r.t.Error("Close with something open")
	}
	s.closed = true
	s.r.mu.Lock()
	s.r.open--
	s.r.mu.Unlock()
}

type recBody struct {
	s    *recSession
	text strings.Builder
	bad  bool
}

func (b *recBody) end(what string) {
	b.s.r.note("%s", what)
	if b.s.body != b {
		b.s.r.t.Errorf("%s of a body that is over", what)
	}
	b.s.body = nil
	b.s.r.mu.Lock()
	b.s.r.bodies--
	b.s.r.mu.Unlock()
}

func (b *recBody) Write(p []byte) (int, error) {
	defer b.s.enter("Write")()
	if b.s.body != b || b.bad {
		b.s.r.t.Error("Write to a body that is over")
	}
	if b.s.r.onWrite != nil {
		if err := b.s.r.onWrite(b.text.Len() + len(p)); err != nil {
			b.bad = true
			return 0, err
		}
	}
	return b.text.Write(p)
}

func (b *recBody) Commit(ctx context.Context) (smtp.Reply, error) {
	defer b.s.enter("Commit")()
	b.end("commit")
	m := *b.s.tx
	b.s.tx = nil
	m.body = b.text.String()
	if b.s.r.onCommit != nil {
		if r, err := b.s.r.onCommit(ctx); err != nil || r.Code != 0 {
			return r, err
		}
	}
	b.s.r.mu.Lock()
	b.s.r.messages = append(b.s.r.messages, m)
	b.s.r.mu.Unlock()
	return smtp.R(250, 2, 0, 0, "Ok: queued as AZOr2Xc_cACb9qfHkrV0Sg"), nil
}

func (b *recBody) Abort() {
	defer b.s.enter("Abort")()
	b.end("abort")
}
