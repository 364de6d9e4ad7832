package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	notifyDelay    = time.Second     // changes that come together are told together
	notifyEvery    = 5 * time.Second // a secondary is told at most this often
	notifyTries    = 6
	notifyFirst    = 2 * time.Second // wait for the answer to the first; doubled each time
	defaultDNSPort = 53
)

// notifier tells secondaries that a zone changed (RFC 1996).
type notifier struct {
	wake         chan struct{} // holds one
	delay, every time.Duration // notifyDelay, notifyEvery
	// tell sends one NOTIFY and waits for the answer until ctx is done.
	tell func(ctx context.Context, origin string, to netip.AddrPort) error

	mu      sync.Mutex
	pending map[string]bool // by origin
}

func newNotifier(tell func(context.Context, string, netip.AddrPort) error) *notifier {
	return &notifier{wake: make(chan struct{}, 1), delay: notifyDelay, every: notifyEvery, tell: tell, pending: make(map[string]bool)}
}

func (n *notifier) changed(origin string) {
	n.mu.Lock()
	n.pending[origin] = true
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// run tells the secondaries of what changed until ctx is done. Whoever is still
// being told of an older change is told of the newer one instead.
func (n *notifier) run(ctx context.Context, to []netip.AddrPort, failed func(origin string, to netip.AddrPort, err error)) {
	type key struct {
		origin string
		to     netip.AddrPort
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	telling := make(map[key]context.CancelFunc)
	defer func() {
		for _, cancel := range telling {
			cancel()
		}
	}()
	for since := n.delay; ; since = n.every {
		if !n.next(ctx, since) {
			return
		}
		n.mu.Lock()
		changed := n.pending
		n.pending = make(map[string]bool)
		n.mu.Unlock()
		for origin := range changed {
			for _, addr := range to {
				k := key{origin, addr}
				if cancel := telling[k]; cancel != nil {
					cancel()
				}
				one, cancel := context.WithCancel(ctx)
				telling[k] = cancel
				wg.Go(func() {
					if err := n.insist(one, origin, addr); err != nil && one.Err() == nil {
						failed(origin, addr, err)
					}
				})
			}
		}
	}
}

// next returns true when a change is to be told: that long since the last time,
// and the delay after the first change.
func (n *notifier) next(ctx context.Context, since time.Duration) bool {
	pause := time.NewTimer(since - n.delay)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
		return false
	}
	select {
	case <-n.wake:
	case <-ctx.Done():
		return false
	}
	delay := time.NewTimer(n.delay)
	defer delay.Stop()
	select {
	case <-delay.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// insist tells one secondary until it answers, with longer and longer waits
// (RFC 1996 §3.6). Its refresh timer is left for one that never does.
func (n *notifier) insist(ctx context.Context, origin string, to netip.AddrPort) (err error) {
	for i := range notifyTries {
		try, cancel := context.WithTimeout(ctx, notifyFirst<<i)
		if err = n.tell(try, origin, to); err == nil {
			cancel()
			return nil
		}
		<-try.Done() // an ICMP error comes at once; the next try keeps its distance
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return fmt.Errorf("no answer after %d tries: %w", notifyTries, err)
}

// Changed says that the zone of that origin changed: its secondaries are told
// within a few seconds, and again until they answer, for about two minutes.
// Changes that come together are told once. It never blocks, and does nothing
// for a zone that the server does not have.
func (s *ZoneServer) Changed(origin string) {
	n, err := normal(origin)
	if err != nil || len(s.secondaries) == 0 {
		return
	}
	if _, ok := (*s.zones.Load())[n]; ok {
		s.notifier.changed(n)
	}
}

// notify sends one NOTIFY over UDP and waits for the answer. Any answer is one:
// what a secondary refuses now it will refuse in a minute.
func (s *ZoneServer) notify(ctx context.Context, origin string, to netip.AddrPort) error {
	z, ok := (*s.zones.Load())[origin]
	if !ok {
		return nil
	}
	m := new(mdns.Msg)
	m.SetNotify(origin + ".")
	m.Answer = []mdns.RR{z.current()} // RFC 1996 §3.7: a hint
	d := net.Dialer{LocalAddr: s.notifyFrom(to.Addr())}
	conn, err := d.DialContext(ctx, "udp", to.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	co := &mdns.Conn{Conn: conn, UDPSize: ednsSize}
	if err := co.WriteMsg(m); err != nil {
		return err
	}
	for range maxStray {
		r, err := co.ReadMsg()
		switch {
		case r == nil && err != nil:
			return err
		case err != nil || r.Id != m.Id || !r.Response || r.Opcode != mdns.OpcodeNotify:
			continue
		}
		if r.Rcode != mdns.RcodeSuccess {
			s.log.Warn("secondary does not take notice of a changed zone", "zone", origin, "secondary", to.String(), "answer", rcodeName(r.Rcode))
		}
		return nil
	}
	return errStray
}

// notifyFrom is the address that we answer at, from which secondaries expect
// NOTIFY (RFC 1996 §3.10); nil where the system has to choose.
func (s *ZoneServer) notifyFrom(to netip.Addr) net.Addr {
	own := s.Addr().Addr().Unmap()
	if own.IsUnspecified() || own.Is4() != to.Is4() || own.IsLoopback() != to.IsLoopback() {
		return nil
	}
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(own, 0))
}
