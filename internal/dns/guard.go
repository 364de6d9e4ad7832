package dns

import (
	"errors"
	"fmt"
	"net/netip"
)

// ErrPrivate: the address is not one that the public DNS can mean. Names of
// others are never followed there: whoever owns a domain could otherwise have
// us knock at hosts inside the operator's network.
var ErrPrivate = errors.New("private or reserved address")

// notPublic are the networks of the IANA special-purpose registries, and
// multicast, in which no name server of others can be.
var notPublic = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
	"203.0.113.0/24", "224.0.0.0/3", // multicast, reserved, broadcast
	"2001::/23",     // IETF protocol assignments, Teredo and benchmarks among them
	"2001:db8::/32", // documentation
	"3fff::/20",     // documentation, RFC 9637
)

var (
	publicIPv6 = netip.MustParsePrefix("2000::/3")     // all that is global unicast, RFC 4291 §2.4
	nat64      = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052 §2.1
	sixToFour  = netip.MustParsePrefix("2002::/16")    // RFC 3056 §2
)

func prefixes(text ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(text))
	for i, s := range text {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// askable is nil for a public address and for one in allow, else an error that
// wraps ErrPrivate. An address that carries an IPv4 address is judged by that.
func askable(addr netip.Addr, allow []netip.Prefix) error {
	a := addr.Unmap()
	if !a.IsValid() || a.Zone() != "" {
		return fmt.Errorf("%s: %w", addr, ErrPrivate)
	}
	for _, p := range allow {
		if p.Contains(a) {
			return nil
		}
	}
	if four, ok := embedded(a); ok {
		if err := askable(four, allow); err != nil {
			return fmt.Errorf("%s: %w", addr, err)
		}
		return nil
	}
	if a.Is6() && !publicIPv6.Contains(a) {
		return fmt.Errorf("%s: %w", addr, ErrPrivate)
	}
	for _, p := range notPublic {
		if p.Contains(a) {
			return fmt.Errorf("%s: %w", addr, ErrPrivate)
		}
	}
	return nil
}

// embedded is the IPv4 address that packets to a would end at.
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
