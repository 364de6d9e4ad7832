package deliver

import (
	"fmt"
	"net/netip"
	"slices"

	"postern/internal/dns"
)

// verdict is what the guard says of an address.
type verdict uint8

const (
	dialOK      verdict = iota
	dialRefused         // not a public address
	dialOwn             // one of this relay's
)

// guard judges addresses before they are dialled, so that no zone in the DNS
// can make this relay talk to its own networks (or itself).
type guard struct {
	own   []netip.Addr
	allow []netip.Prefix
	all   bool // everything that is not our own
}

func (d *Deliverer) guard() guard {
	g := guard{allow: d.cfg.Allow, all: d.cfg.AllowPrivate}
	if d.cfg.OwnAddrs != nil {
		g.own = d.cfg.OwnAddrs()
	}
	return g
}

// judge looks at an address in its plain form: an IPv4 address in IPv6 clothes
// is judged as what it leads to.
func (g *guard) judge(a netip.Addr) verdict {
	a = a.Unmap().WithZone("")
	allowed := g.all || slices.ContainsFunc(g.allow, func(p netip.Prefix) bool { return p.Contains(a) })
	// In a lab several hosts share the loopback interface with the relay.
	if slices.Contains(g.own, a) && !(allowed && a.IsLoopback()) {
		return dialOwn
	}
	if allowed || dns.Public(a) {
		return dialOK
	}
	return dialRefused
}

// refusedError is the dialler's word for an address that the guard refused.
type refusedError struct {
	addr netip.Addr
	own  bool
}

func (e *refusedError) Error() string {
	if e.own {
		return fmt.Sprintf("%s is an address of this relay", e.addr)
	}
	return fmt.Sprintf("%s is not a public address", e.addr)
}
