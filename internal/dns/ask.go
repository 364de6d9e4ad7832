package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	mdns "github.com/miekg/dns"
)

// target is one address of one name server, or the reason why there is none.
type target struct {
	host string
	addr netip.Addr
	err  error
}

// reply is what came of asking a target: what it told, or where it sent us.
type reply struct {
	told Told
	down *cut // a delegation to a zone that is closer to the name
}

// descend asks the servers of a zone and, where they say that the name is in a
// zone further down, the servers of that one. A server that answers with
// authority where another refers is kept: the two disagree.
func (a *Authority) descend(ctx context.Context, q question, at cut) (cut, []Told) {
	var kept []Told
	before := make(map[netip.Addr]reply)
	for depth := 0; ; depth++ {
		var ask []target
		var told []Told
		for _, t := range a.targets(ctx, at) {
			switch r, asked := before[t.addr]; {
			case !asked || !t.addr.IsValid():
				ask = append(ask, t)
			case r.down != nil:
				r.told.Err = fmt.Errorf("delegates %s to itself and does not answer for it: %w", at.zone, ErrLame)
				told = append(told, r.told)
			case !decided(r.told):
				told = append(told, r.told)
			}
		}
		var down *cut
		for _, r := range a.askAll(ctx, q, at.zone, ask) {
			before[r.told.Addr] = r
			switch {
			case r.down == nil:
				told = append(told, r.told)
			case depth == maxReferrals:
				r.told.Err = fmt.Errorf("another delegation after %d: %w", maxReferrals, ErrLame)
				told = append(told, r.told)
			case down == nil:
				down = r.down
			default:
				down.merge(*r.down)
			}
		}
		if down == nil {
			return at, append(kept, told...)
		}
		for _, t := range told {
			if decided(t) {
				kept = append(kept, t)
			}
		}
		at = *down
	}
}

// decided reports an answer with authority, yes or no.
func decided(t Told) bool {
	return t.Authoritative && (t.Err == nil || errors.Is(t.Err, ErrNotFound) || errors.Is(t.Err, ErrNoData))
}

// merge adds the servers that another referral to the same zone names. Of two
// zones the one closer to the name stays.
func (c *cut) merge(d cut) {
	if c.zone != d.zone {
		if len(d.zone) > len(c.zone) {
			*c = d
		}
		return
	}
	for _, s := range d.servers {
		i := slices.IndexFunc(c.servers, func(have nameServer) bool { return have.host == s.host })
		switch {
		case i >= 0:
			c.servers[i].glue = head(unique(append(c.servers[i].glue, s.glue...)), 2*maxAddrs)
		case len(c.servers) < maxServers:
			c.servers = append(c.servers, s)
		}
	}
}

// targets are the addresses of a zone's servers, as many as may be asked: the
// first of each server before the second of any.
func (a *Authority) targets(ctx context.Context, at cut) []target {
	found := make([][]target, len(at.servers))
	var wg sync.WaitGroup
	for i, s := range at.servers {
		wg.Go(func() { found[i] = a.addresses(ctx, s) })
	}
	wg.Wait()
	limit := maxTargets
	if parent(at.zone) == "" {
		limit = maxRegistry
	}
	seen := make(map[netip.Addr]bool)
	var out []target
	for n := 0; len(out) < limit; n++ {
		more := false
		for _, ts := range found {
			if n >= len(ts) || len(out) == limit {
				continue
			}
			more = true
			if t := ts[n]; !t.addr.IsValid() || !seen[t.addr] {
				seen[t.addr] = true
				out = append(out, t)
			}
		}
		if !more {
			break
		}
	}
	return out
}

// addresses finds where a name server is, and which of that may be asked.
func (a *Authority) addresses(ctx context.Context, s nameServer) []target {
	addrs := s.glue
	if len(addrs) == 0 {
		var err error
		addrs, _, err = a.resolver.Addr(ctx, s.host)
		switch {
		case errors.Is(err, ErrTemporary):
			return []target{{host: s.host, err: fmt.Errorf("address of the name server: %w", ErrTemporary)}}
		case err != nil || len(addrs) == 0:
			return []target{{host: s.host, err: fmt.Errorf("the name server has no address: %w", ErrLame)}}
		}
	}
	out := make([]target, len(addrs))
	for i, addr := range addrs {
		addr = addr.Unmap()
		out[i] = target{host: s.host, addr: addr, err: askable(addr, a.allow)}
	}
	return a.near(out)
}

// near leaves out addresses that this machine has no way to, for want of IPv6,
// say, of a server that has others: they would take the place of those.
func (a *Authority) near(ts []target) []target {
	far := func(t target) bool { return t.err == nil && !a.path(netip.AddrPortFrom(t.addr, a.port)) }
	if near := slices.DeleteFunc(slices.Clone(ts), far); len(near) > 0 {
		return near
	}
	return ts
}

// hasPath asks the system for a way to an address. Nothing is sent.
func hasPath(to netip.AddrPort) bool {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return !noPath(err)
	}
	conn.Close()
	return true
}

// askAll asks all targets, several at once: a domain whose servers are all silent
// does not take every place there is.
func (a *Authority) askAll(ctx context.Context, q question, zone string, targets []target) []reply {
	out := make([]reply, len(targets))
	var wg sync.WaitGroup
	room := make(chan struct{}, askAtOnce)
	for i, t := range targets {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			out[i] = a.askOne(ctx, q, zone, t)
		})
	}
	wg.Wait()
	return out
}

// noPath reports that the machine has no way to the address at all, which says
// nothing about the server.
func noPath(err error) bool {
	return errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)
}

// askOne asks one address, and again where it stays silent.
func (a *Authority) askOne(ctx context.Context, q question, zone string, t target) (out reply) {
	out.told = Told{Server: t.host, Addr: t.addr, Err: t.err}
	if t.err != nil {
		return out
	}
	if a.quiet.is(zone, t.addr, time.Now()) {
		out.told.Err = fmt.Errorf("it did not answer a moment ago: %w", ErrTemporary)
		return out
	}
	late := 0
	for range askTries {
		r, err := a.askOnce(ctx, q, zone, t.addr)
		if err == nil {
			r.told.Server = t.host
			return r
		}
		out.told.Err = fmt.Errorf("%w: %w", ErrTemporary, err)
		if noPath(err) || ctx.Err() != nil {
			break
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			late++
		}
	}
	if late == askTries {
		a.quiet.note(zone, t.addr, time.Now())
	}
	return out
}

// exchange asks one address once: by UDP, without EDNS if it does not know
// that, and by TCP if the answer is cut.
func (a *Authority) exchange(ctx context.Context, q question, addr netip.Addr) (*mdns.Msg, error) {
	m := new(mdns.Msg)
	m.SetQuestion(q.name+".", q.typ) // the library draws the ID from crypto/rand
	m.RecursionDesired = false       // what the server knows by itself, nothing that it fetches
	m.SetEdns0(ednsSize, false)
	x := exchanger{timeout: a.timeout, before: func(ctx context.Context) (func(), error) { return a.turn(ctx, addr) }}
	return x.exchange(ctx, netip.AddrPortFrom(addr, a.port).String(), m)
}

// turn waits until the server may be asked and there is room for one more
// question. after gives the room back.
func (a *Authority) turn(ctx context.Context, addr netip.Addr) (after func(), err error) {
	if err := a.pace.wait(ctx, addr); err != nil {
		return nil, err
	}
	select {
	case a.slots <- struct{}{}:
		return func() { <-a.slots }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrTemporary, context.Cause(ctx))
	}
}
