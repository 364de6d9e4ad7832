package dns

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	maxTCPConns    = 256              // at once
	maxSecondary   = 64               // of secondaries, besides
	maxPerNetwork  = 32               // of them from one /24 or /56
	tcpWrite       = 10 * time.Second // for one message to be taken
	tcpWriteAtStop = time.Second
)

// streams is the TCP listener with bounds on what others can hold: connections
// in all and from one network, and the time in which an answer must be taken.
// Secondaries have places of their own, which nobody else can take: a stranger
// with many networks could otherwise keep the zone from being transferred.
type streams struct {
	net.Listener
	ctx    context.Context // done: the server stops
	exempt func(net.Addr) bool
	slots  chan struct{}
	kept   chan struct{} // slots of secondaries

	mu   sync.Mutex
	from map[netip.Addr]int // connections by network
}

func newStreams(ctx context.Context, l net.Listener, exempt func(net.Addr) bool) *streams {
	return &streams{Listener: l, ctx: ctx, exempt: exempt, slots: make(chan struct{}, maxTCPConns), kept: make(chan struct{}, maxSecondary), from: make(map[netip.Addr]int)}
}

// Accept waits for a connection within the bounds; those beyond are closed.
func (l *streams) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if s, ok := l.admit(conn); ok {
			return s, nil
		}
		conn.Close()
	}
}

func (l *streams) admit(conn net.Conn) (*stream, bool) {
	leave, ok := l.place(conn.RemoteAddr())
	if !ok {
		return nil, false
	}
	s := &stream{Conn: conn, ctx: l.ctx, left: sync.OnceFunc(leave)}
	s.unhook = context.AfterFunc(l.ctx, func() { _ = conn.SetWriteDeadline(time.Now().Add(tcpWriteAtStop)) })
	return s, true
}

// place takes a place for a connection, if there is one. leave gives it back.
func (l *streams) place(from net.Addr) (leave func(), ok bool) {
	slots, network := l.slots, netip.Addr{} // the zero network is not counted
	if l.exempt(from) {
		slots = l.kept
	} else {
		network = limitNetwork(addrOf(from))
	}
	select {
	case slots <- struct{}{}:
	default:
		return nil, false
	}
	if network.IsValid() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.from[network] >= maxPerNetwork {
			<-slots
			return nil, false
		}
		l.from[network]++
	}
	return func() {
		if network.IsValid() {
			l.leave(network)
		}
		<-slots
	}, true
}

func (l *streams) leave(network netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.from[network]--; l.from[network] == 0 {
		delete(l.from, network)
	}
}

// stream is one connection, on which no write waits for ever.
type stream struct {
	net.Conn
	ctx    context.Context
	unhook func() bool
	left   func()
}

func (s *stream) Write(b []byte) (int, error) {
	if err := s.SetWriteDeadline(time.Now().Add(tcpWrite)); err != nil {
		return 0, err
	}
	if s.ctx.Err() != nil {
		if err := s.SetWriteDeadline(time.Now().Add(tcpWriteAtStop)); err != nil {
			return 0, err
		}
	}
	return s.Conn.Write(b)
}

func (s *stream) Close() error {
	s.unhook()
	s.left()
	return s.Conn.Close()
}
