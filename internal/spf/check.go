package spf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	library "blitiri.com.ar/go/spf"
	"golang.org/x/net/idna"

	"postern/internal/dns"
)

// The results of RFC 7208 §2.6.
const (
	None      = "none"
	Neutral   = "neutral"
	Pass      = "pass"
	Fail      = "fail"
	SoftFail  = "softfail"
	TempError = "temperror"
	PermError = "permerror"
)

// errSyntax is what a record that breaks the grammar anywhere ends in.
var errSyntax = errors.New("syntax error")

// Check evaluates the identity of one message as a receiver does: mailFrom is
// the reverse-path ("": null, then helo is checked, RFC 7208 §2.4). The result
// is one of the constants; err says why and may also be set beside a result
// that is no error.
func Check(ctx context.Context, r dns.Resolver, ip netip.Addr, helo, mailFrom string) (result string, err error) {
	local, domain := "", strings.ToLower(helo)
	if at := strings.LastIndexByte(mailFrom, '@'); at >= 0 {
		local, domain = mailFrom[:at], strings.ToLower(mailFrom[at+1:])
	}
	if a, err := idna.Lookup.ToASCII(domain); err == nil && a != "" {
		domain = a
	}
	if local == "" {
		local = "postmaster" // RFC 7208 §4.3
	}
	if strings.HasPrefix(domain, "[") || !strings.Contains(domain, ".") {
		return None, fmt.Errorf("%.80q is not a domain that could publish a record", domain)
	}
	sender := strings.ReplaceAll(local, "@", "") + "@" + domain // the library splits at the first @
	// RX-13: the library keeps the limits of RFC 7208 §4.6.4 (10 look-ups, 2 void).
	res, err := library.CheckHostWithSender(net.IP(ip.Unmap().AsSlice()), helo, sender,
		library.WithContext(ctx), library.WithResolver(netResolver{r, ip.Unmap()}))
	return string(res), err
}

// netResolver shows a dns.Resolver in the shape of net.Resolver, with its kind
// of errors, which the library judges.
type netResolver struct {
	r  dns.Resolver
	ip netip.Addr // of the sender
}

func dnsError(name string, err error) error {
	if err == nil {
		return nil
	}
	missing := errors.Is(err, dns.ErrNotFound) || errors.Is(err, dns.ErrNoData)
	return &net.DNSError{Err: err.Error(), Name: name, IsNotFound: missing, IsTemporary: !missing, UnwrapErr: err}
}

// fits shortens a name that macros made too long, RFC 7208 §7.3: labels are
// taken off its left until 253 octets are left.
func fits(name string) string {
	name = strings.ReplaceAll(name, hidden, "/")
	for len(strings.TrimSuffix(name, ".")) > 253 {
		_, rest, ok := strings.Cut(name, ".")
		if !ok {
			break
		}
		name = rest
	}
	return name
}

// hidden stands for a slash within a name, which no name has: the library takes
// every slash for the beginning of a network's length, and RFC 7208 §12 only the
// last one, before digits.
const hidden = "\x1f"

// hideSlashes hides those of names from the library.
func hideSlashes(record string, terms []term) string {
	for _, t := range terms {
		if (t.name == "a" || t.name == "mx") && strings.Contains(t.spec, "/") && !strings.Contains(t.spec, "{") {
			record = strings.ReplaceAll(record, " "+t.text, " "+strings.Replace(t.text, t.spec, strings.ReplaceAll(t.spec, "/", hidden), 1))
		}
	}
	return record
}

// LookupTXT is how the library gets records, and nothing else. RFC 7208 §4.6: a
// syntax error anywhere in the record is an error of the whole; the library
// stops at the first match and takes names that the grammar does not.
func (n netResolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	txt, _, err := n.r.TXT(ctx, fits(name))
	if err != nil {
		return nil, dnsError(name, err)
	}
	for i, s := range txt {
		if !isRecord(s) {
			continue
		}
		terms, problem := parse(s)
		txt[i] = n.expandP(ctx, hideSlashes(s, terms), name)
		for _, t := range terms {
			if problem == "" && t.problem != "" {
				problem = fmt.Sprintf("%.80q: %s", t.text, t.problem)
			}
		}
		if problem != "" {
			return nil, fmt.Errorf("record of %.80q: %s: %w", name, problem, errSyntax)
		}
	}
	return txt, nil
}

func (n netResolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	mx, _, err := n.r.MX(ctx, fits(name))
	out := make([]*net.MX, len(mx))
	for i, m := range mx {
		out[i] = &net.MX{Host: m.Host, Pref: m.Preference}
	}
	return out, dnsError(name, err)
}

func (n netResolver) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	addrs, _, err := n.r.Addr(ctx, fits(host))
	out := make([]net.IPAddr, len(addrs))
	for i, a := range addrs {
		out[i] = net.IPAddr{IP: net.IP(a.AsSlice()), Zone: a.Zone()}
	}
	return out, dnsError(host, err)
}

func (n netResolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, dnsError(addr, dns.ErrNotFound)
	}
	names, _, err := n.r.PTR(ctx, ip)
	return names, dnsError(addr, err)
}
