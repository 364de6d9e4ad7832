package spf

import (
	"context"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"postern/internal/dns"
)

// pMacro is an expansion of the macro p, RFC 7208 §7.1, which the library does
// not know.
var pMacro = regexp.MustCompile(`%\{[pP](\d*)([rR]?)([-.+,/_=]*)\}`)

// maxValidated is how many names of an address are confirmed, RFC 7208 §4.6.4.
const maxValidated = 10

// expandP writes the value of the macro p into a record.
func (n netResolver) expandP(ctx context.Context, record, domain string) string {
	if !pMacro.MatchString(record) {
		return record
	}
	name := validated(ctx, n.r, n.ip, strings.TrimSuffix(domain, "."))
	return pMacro.ReplaceAllStringFunc(record, func(s string) string {
		m := pMacro.FindStringSubmatch(s)
		split := m[3]
		if split == "" {
			split = "."
		}
		parts := strings.FieldsFunc(name, func(c rune) bool { return strings.ContainsRune(split, c) })
		if m[2] != "" {
			slices.Reverse(parts)
		}
		if keep, err := strconv.Atoi(m[1]); err == nil && keep > 0 && keep < len(parts) {
			parts = parts[len(parts)-keep:]
		}
		return strings.Join(parts, ".")
	})
}

// validated is the validated domain name of an address, RFC 7208 §5.5: the domain
// itself, else a name below it, else any; "unknown": there is none.
func validated(ctx context.Context, r dns.Resolver, ip netip.Addr, domain string) string {
	names, _, err := r.PTR(ctx, ip)
	if err != nil {
		return "unknown"
	}
	best, rank := "unknown", 0
	for _, name := range names[:min(len(names), maxValidated)] {
		addrs, _, err := r.Addr(ctx, name)
		if err != nil || !slices.Contains(addrs, ip) {
			continue
		}
		this := 1
		switch {
		case strings.EqualFold(name, domain):
			this = 3
		case strings.HasSuffix(strings.ToLower(name), "."+strings.ToLower(domain)):
			this = 2
		}
		if this > rank {
			best, rank = name, this
		}
	}
	return best
}
