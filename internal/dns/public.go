package dns

import (
	"net/netip"
	"slices"
)

// notPublic are the networks of the IANA special-purpose registries (RFC 6890)
// and others where no host of strangers can be, and addresses at which cloud
// providers answer their own guests.
var notPublic = prefixes(
	"0.0.0.0/8",        // this network (RFC 1122 §3.2.1.3)
	"10.0.0.0/8",       // private (RFC 1918)
	"100.64.0.0/10",    // carrier-grade NAT (RFC 6598), cloud metadata in it
	"127.0.0.0/8",      // loopback
	"169.254.0.0/16",   // link-local, cloud metadata in it
	"172.16.0.0/12",    // private
	"192.0.0.0/24",     // protocol assignments (RFC 6890)
	"192.0.2.0/24",     // documentation (RFC 5737)
	"192.88.99.0/24",   // 6to4 relays (RFC 7526)
	"192.168.0.0/16",   // private
	"198.18.0.0/15",    // benchmarks (RFC 2544)
	"198.51.100.0/24",  // documentation
	"203.0.113.0/24",   // documentation
	"224.0.0.0/3",      // multicast, reserved, broadcast
	"168.63.129.16/32", // a cloud's metadata service at a public address
	"2001::/23",        // protocol assignments, Teredo in it (RFC 2928)
	"2001:db8::/32",    // documentation (RFC 3849)
	"3fff::/20",        // documentation (RFC 9637)
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

// Public reports whether a stranger's host on the Internet can have an address.
// One that carries an IPv4 address is judged by that. Names of strangers are
// never followed elsewhere: whoever owns a domain could otherwise have us knock
// at hosts inside the operator's network.
func Public(addr netip.Addr) bool {
	a := addr.Unmap()
	if !a.IsValid() || a.Zone() != "" {
		return false
	}
	if four, ok := embedded(a); ok {
		return Public(four)
	}
	if a.Is6() && !publicIPv6.Contains(a) {
		return false
	}
	return !slices.ContainsFunc(notPublic, func(p netip.Prefix) bool { return p.Contains(a) })
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
