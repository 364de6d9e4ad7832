package deliver

import (
	"fmt"
	"net/netip"
	"slices"
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
	if allowed || public(a) {
		return dialOK
	}
	return dialRefused
}

// public reports an address that a stranger's mail server may have.
func public(a netip.Addr) bool {
	if !a.IsValid() || !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	if inner, ok := embedded(a); ok {
		return public(inner)
	}
	return !slices.ContainsFunc(reserved, func(p netip.Prefix) bool { return p.Contains(a) })
}

// reserved are the networks of the IANA special-purpose registries (RFC 6890)
// that IsGlobalUnicast and IsPrivate let through, and addresses at which cloud
// providers answer their own guests.
var reserved = prefixes(
	"0.0.0.0/8",        // this network (RFC 1122 §3.2.1.3)
	"100.64.0.0/10",    // carrier-grade NAT (RFC 6598), cloud metadata in it
	"192.0.0.0/24",     // protocol assignments (RFC 6890)
	"192.0.2.0/24",     // documentation (RFC 5737)
	"192.88.99.0/24",   // 6to4 relays (RFC 7526)
	"198.18.0.0/15",    // benchmarks (RFC 2544)
	"198.51.100.0/24",  // documentation
	"203.0.113.0/24",   // documentation
	"240.0.0.0/4",      // reserved (RFC 1112 §4), broadcast in it
	"168.63.129.16/32", // a cloud's metadata service at a public address
	"::/8",             // unspecified, loopback, IPv4-compatible, reserved
	"64:ff9b:1::/48",   // local translation (RFC 8215)
	"100::/64",         // discard (RFC 6666)
	"2001::/23",        // protocol assignments, Teredo in it (RFC 2928)
	"2001:db8::/32",    // documentation (RFC 3849)
	"3fff::/20",        // documentation (RFC 9637)
	"5f00::/16",        // segment routing (RFC 9602)
	"fec0::/10",        // site-local (RFC 3879)
)

// The translations that carry an IPv4 address inside an IPv6 one.
var (
	nat64     = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052 §2.1
	sixToFour = netip.MustParsePrefix("2002::/16")    // RFC 3056
)

// embedded is the IPv4 address that a translated address leads to.
func embedded(a netip.Addr) (netip.Addr, bool) {
	b := a.As16()
	switch {
	case nat64.Contains(a):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case sixToFour.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return netip.Addr{}, false
}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(list))
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
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
