package smtpserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"postern/internal/smtp"
)

// ErrStopped is returned by Serve on a server that was drained or closed before.
var ErrStopped = errors.New("smtp server stopped")

// Server serves the sessions of one listener's configuration.
type Server struct {
	cfg     Config
	backend Backend
	tables  tables
	served  *served // nil: no TLS
	buffers *sync.Pool

	mu        sync.Mutex // guards what follows
	listeners map[net.Listener]struct{}
	sessions  map[*session]struct{}
	draining  bool
	closed    bool
	empty     chan struct{} // closed when draining and the last session is gone
}

// New makes a server; it starts nothing.
func New(cfg Config, b Backend) (*Server, error) {
	c, err := cfg.prepare()
	if err != nil {
		return nil, fmt.Errorf("smtp server %s: %w", cfg.Name, err)
	}
	var watched *served
	if c.TLS != nil {
		watched = watch(c.TLS)
	}
	return &Server{
		cfg: c, backend: b, served: watched, tables: newTables(c), buffers: newBufferPool(c.Limits),
		listeners: make(map[net.Listener]struct{}),
		sessions:  make(map[*session]struct{}),
		empty:     make(chan struct{}),
	}, nil
}

// Serve accepts connections until the listener fails for good or the server is
// drained or closed, which is no error. It closes ln. When ctx ends, all
// sessions are closed by force.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	if !s.addListener(ln) {
		ln.Close()
		return ErrStopped
	}
	defer s.removeListener(ln)
	defer context.AfterFunc(ctx, s.Close)()
	var wait time.Duration
	for {
		conn, err := ln.Accept()
		if err == nil {
			wait = 0
			s.ServeConn(ctx, conn)
			continue
		}
		if s.stopping() {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("smtp server %s: accept: %w", s.cfg.Name, err)
		}
		// No file descriptors left, or a client that was gone before it was taken:
		// both pass. Waiting keeps the loop from eating the processor meanwhile.
		if call := s.cfg.Hooks.Accept; call != nil {
			call(err)
		}
		if wait == 0 {
			s.cfg.Log.Error("accept", "listener", s.cfg.Name, "error", err)
		}
		wait = min(max(2*wait, 5*time.Millisecond), time.Second)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// ServeConn starts a session on a connection and returns at once. The server
// closes conn.
func (s *Server) ServeConn(ctx context.Context, conn net.Conn) {
	remote, local := addrPort(conn.RemoteAddr()), addrPort(conn.LocalAddr())
	why := s.cfg.Quota.enter(remote.Addr())
	if why != admitted {
		s.turnAway(conn, why)
		return
	}
	x := newSession(s, conn, Peer{Listener: s.cfg.Name, Role: s.cfg.Role, Remote: remote, Local: local})
	if !s.addSession(x) {
		s.cfg.Quota.leave(remote.Addr())
		s.turnAway(conn, refusedByStop)
		return
	}
	if call := s.cfg.Hooks.Opened; call != nil {
		call()
	}
	go func() {
		defer s.cfg.Quota.leave(remote.Addr())
		defer s.removeSession(x)
		x.serve(ctx)
	}()
}

// turnAway answers a connection that is not admitted. It must not hold the
// accept loop up: the reply fits any socket's empty buffer.
func (s *Server) turnAway(conn net.Conn, why refusal) {
	if call := s.cfg.Hooks.Refused; call != nil {
		call(string(why))
	}
	s.cfg.Log.Debug("smtp connection refused", "listener", s.cfg.Name, "remote", conn.RemoteAddr().String(), "cap", string(why))
	defer conn.Close()
	if s.cfg.ImplicitTLS {
		return // never an SMTP reply in plain text here
	}
	reply := replyFull
	switch why {
	case tooManyHere:
		reply = replyFullHere
	case refusedByStop:
		reply = replyShutdown
	}
	conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	conn.Write(smtp.AppendReply(nil, reply))
}

// Drain stops accepting, answers 421 4.3.2 to every session at its next command
// boundary, lets those that are receiving a message finish it, and returns when
// all are gone. When ctx ends first, the rest is closed by force, without a
// reply, and ctx's error returned.
func (s *Server) Drain(ctx context.Context) error {
	s.mu.Lock()
	first := !s.draining
	s.draining = true
	for ln := range s.listeners {
		ln.Close()
	}
	for x := range s.sessions {
		x.wake()
	}
	if first && len(s.sessions) == 0 {
		close(s.empty)
	}
	s.mu.Unlock()
	select {
	case <-s.empty:
		return nil
	case <-ctx.Done():
		s.Close()
		<-s.empty
		return fmt.Errorf("drain smtp server %s: %w", s.cfg.Name, ctx.Err())
	}
}

// Close closes listeners and sessions by force. It does not wait for them.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.draining && len(s.sessions) == 0 {
		close(s.empty)
	}
	s.draining, s.closed = true, true
	for ln := range s.listeners {
		ln.Close()
	}
	for x := range s.sessions {
		x.kill()
	}
}

// Sessions is the number of sessions that are open.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

func (s *Server) stopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}

func (s *Server) addListener(ln net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.listeners[ln] = struct{}{}
	return true
}

func (s *Server) removeListener(ln net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, ln)
	ln.Close()
}

func (s *Server) addSession(x *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.sessions[x] = struct{}{}
	return true
}

func (s *Server) removeSession(x *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, x)
	if s.draining && len(s.sessions) == 0 {
		close(s.empty)
	}
}

// addrPort is the address of a TCP peer; zero for anything else.
func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := t.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

var _ slog.LogValuer = Peer{}

// LogValue is what a log needs of a peer.
func (p Peer) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("listener", p.Listener), slog.String("remote", p.Remote.String()),
		slog.String("helo", p.Helo), slog.String("tls", p.TLS.String()))
}
