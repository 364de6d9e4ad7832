package v3

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"postern/internal/relay"
)

// parseRule reads what a client wrote for one entry of an allow-list: an address,
// a network, an IPv4 address whose last parts are "*" (192.168.*.*), or a host
// name. Networks come out masked and IPv4 always as IPv4: AP-06, an address is
// let in or not whichever way it is spelt.
func parseRule(field, text string) (relay.AccessRule, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return relay.AccessRule{}, invalid(field, "An address, a network or a host name is required.")
	}
	if len(text) > 255 {
		return relay.AccessRule{}, invalid(field, "This is too long for an address, a network or a host name.")
	}
	if strings.Contains(text, "*") {
		network, err := wildcard(field, text)
		return relay.AccessRule{Network: network}, err
	}
	if looksLikeAddress(text) {
		network, err := parseNetwork(field, text)
		return relay.AccessRule{Network: network}, err
	}
	host, err := parseHost(field, text)
	return relay.AccessRule{Host: host}, err
}

// looksLikeAddress tells a mistyped address from a host name, whose last label is
// never all digits (RFC 3696 §2).
func looksLikeAddress(s string) bool {
	if strings.ContainsAny(s, ":/") {
		return true
	}
	s = strings.TrimSuffix(s, ".")
	last := s[strings.LastIndexByte(s, '.')+1:]
	return strings.IndexFunc(last, func(r rune) bool { return !unicode.IsDigit(r) }) < 0
}

// wildcard reads 192.168.*.*: SendGrid's other spelling of 192.168.0.0/16.
func wildcard(field, s string) (netip.Prefix, error) {
	bad := invalid(field, "%q: write four parts of which the last ones are \"*\", such as 192.168.*.*, or a network such as 192.168.0.0/16.", s)
	parts := strings.Split(s, ".")
	if len(parts) != 4 {
		return netip.Prefix{}, bad
	}
	fixed := len(parts)
	for i, p := range parts {
		switch {
		case p == "*":
			fixed = min(fixed, i)
			parts[i] = "0"
		case fixed < i:
			return netip.Prefix{}, bad // 192.*.1.1 is no network
		}
	}
	addr, err := netip.ParseAddr(strings.Join(parts, "."))
	if err != nil {
		return netip.Prefix{}, bad
	}
	return netip.PrefixFrom(addr, 8*fixed), nil
}

func parseNetwork(field, s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		addr = addr.Unmap()
		if addr.Zone() != "" || addr.IsUnspecified() || addr.IsMulticast() {
			return netip.Prefix{}, invalid(field, "%q is not an address that anybody comes from.", s)
		}
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, invalid(field, "%q is neither an address nor a network such as 192.0.2.0/24.", s)
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, invalid(field, "%q is an IPv4 network in IPv6 form; write it as IPv4.", s)
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if p != p.Masked() {
		return netip.Prefix{}, invalid(field, "%q has bits set behind its length; is %s meant?", s, p.Masked())
	}
	return p, nil
}

// parseHost reads a host name into A-labels in lower case.
func parseHost(field, s string) (string, error) {
	name, err := idna.Lookup.ToASCII(strings.TrimSuffix(s, "."))
	name = strings.ToLower(name)
	bad := err != nil || !utf8.ValidString(s) || len(name) > 253 || !strings.Contains(name, ".")
	for label := range strings.SplitSeq(name, ".") {
		bad = bad || label == ""
	}
	// What is stored must read back as itself.
	if again, err := idna.Lookup.ToASCII(name); bad || err != nil || again != name {
		return "", invalid(field, "%q is neither an address, nor a network, nor a full host name.", s)
	}
	return name, nil
}

// everywhere reports whether a rule lets a whole address family in, which makes
// a list pointless.
func everywhere(r *relay.AccessRule) bool { return r.Network.IsValid() && r.Network.Bits() == 0 }

// sameRule reports whether two entries let the same in.
func sameRule(a, b *relay.AccessRule) bool { return a.Network == b.Network && a.Host == b.Host }

// ruleText is a rule as clients wrote or could have written it.
func ruleText(r *relay.AccessRule) string {
	if r.Network.IsValid() {
		return r.Network.String()
	}
	return r.Host
}

// parseRuleID reads the id in a path. One that cannot be is as absent as any other.
func parseRuleID(s string) (int64, error) {
	id, err := strconv.ParseInt(s, 10, 64)
	if err != nil || id < 1 || strconv.FormatInt(id, 10) != s {
		return 0, notFound()
	}
	return id, nil
}
