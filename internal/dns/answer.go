package dns

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	mdns "github.com/miekg/dns"
)

// question is what is asked and what an answer is kept under.
type question struct {
	name string // normal
	typ  uint16
}

func (q question) String() string { return mdns.TypeToString[q.typ] + " " + q.name }

// answer is the outcome of one question: values, or one of the two denials.
type answer struct {
	mx     []MX
	addrs  []netip.Addr
	txt    []string
	names  []string // PTR, or the one target of CNAME
	ns     []string
	tlsa   []TLSA
	secure bool
	denial error         // ErrNotFound, ErrNoData or nil
	ttl    time.Duration // how long it may be kept; 0: not at all
}

// size estimates the memory that the answer takes, in octets.
func (a *answer) size() int {
	n := 200 + 48*len(a.mx) + 24*len(a.addrs)
	for _, m := range a.mx {
		n += len(m.Host)
	}
	for _, s := range a.txt {
		n += 16 + len(s)
	}
	for _, s := range a.names {
		n += 16 + len(s)
	}
	for _, s := range a.ns {
		n += 16 + len(s)
	}
	for _, t := range a.tlsa {
		n += 32 + len(t.Data)
	}
	return n
}

// clone is a copy that shares nothing that a caller could change.
func (a *answer) clone() *answer {
	c := *a
	c.mx, c.addrs = slices.Clone(a.mx), slices.Clone(a.addrs)
	c.txt, c.names, c.ns = slices.Clone(a.txt), slices.Clone(a.names), slices.Clone(a.ns)
	c.tlsa = slices.Clone(a.tlsa)
	for i := range c.tlsa {
		c.tlsa[i].Data = slices.Clone(c.tlsa[i].Data)
	}
	return &c
}

func (a *answer) empty() bool {
	return len(a.mx)+len(a.addrs)+len(a.txt)+len(a.names)+len(a.ns)+len(a.tlsa) == 0
}

// read makes an answer of a response to q. Only the answer section counts, and
// there only records owned by the name asked for or by what it is an alias of:
// nothing that a server adds unasked is believed. next is set instead when the
// response ends in an alias whose target has to be asked for separately.
func read(q question, r *mdns.Msg, hops int) (a *answer, next string, used int, err error) {
	a = &answer{ttl: maxTTL}
	owner := q.name
	for q.typ != mdns.TypeCNAME && q.typ != mdns.TypeNS {
		target, ttl, ok, err := alias(r, owner)
		if err != nil {
			return nil, "", 0, err
		}
		if !ok {
			break
		}
		if used++; hops+used > maxChain {
			return nil, "", 0, fmt.Errorf("%s: more than %d aliases: %w", q, maxChain, ErrTemporary)
		}
		a.ttl = min(a.ttl, ttl)
		owner = target
	}
	found := false
	for _, rr := range r.Answer {
		h := rr.Header()
		if h.Class != mdns.ClassINET || h.Rrtype != q.typ || !owns(owner, h.Name) {
			continue
		}
		found = true
		a.ttl = min(a.ttl, seconds(h.Ttl))
		a.add(rr)
	}
	a.trim()
	switch {
	case !a.empty():
		return a, "", used, nil
	case found:
		// Not "no such record": that would send mail to the host itself.
		return nil, "", 0, fmt.Errorf("%s: no usable value: %w", q, ErrTemporary)
	}
	keep, soa := denialTTL(r)
	a.ttl = min(a.ttl, keep)
	switch {
	case r.Rcode == mdns.RcodeNameError:
		a.denial = ErrNotFound
	case used > 0 && !soa:
		return a, owner, used, nil
	case q.typ == mdns.TypeNS && isAlias(r, owner):
		a.denial = ErrNoData // no zone begins at an alias (RFC 2181 §10.1)
	case !soa && !r.Authoritative && hasNS(r):
		// A referral: the server does not recurse for us.
		return nil, "", 0, fmt.Errorf("%s: referral: %w", q, ErrLame)
	default:
		a.denial = ErrNoData
	}
	return a, "", used, nil
}

// alias finds the CNAME record of owner in the response.
func alias(r *mdns.Msg, owner string) (target string, ttl time.Duration, ok bool, err error) {
	for _, rr := range r.Answer {
		c, is := rr.(*mdns.CNAME)
		if !is || c.Hdr.Class != mdns.ClassINET || !owns(owner, c.Hdr.Name) {
			continue
		}
		target, err := normal(c.Target)
		if err != nil {
			return "", 0, false, fmt.Errorf("alias of %s is %.80q: %w", owner, c.Target, ErrTemporary)
		}
		return target, seconds(c.Hdr.Ttl), true, nil
	}
	return "", 0, false, nil
}

func isAlias(r *mdns.Msg, owner string) bool {
	_, _, ok, err := alias(r, owner)
	return ok || err != nil
}

// owns compares a normal name with one as the library spells it.
func owns(owner, name string) bool {
	return strings.EqualFold(owner, strings.TrimSuffix(fromLibrary(name), "."))
}

// denialTTL is how long a denial may be kept, RFC 2308 §5: the smaller of the
// SOA's TTL and its MINIMUM field; without an SOA it is not kept.
func denialTTL(r *mdns.Msg) (keep time.Duration, soa bool) {
	for _, rr := range r.Ns {
		if s, ok := rr.(*mdns.SOA); ok {
			return min(seconds(s.Hdr.Ttl), seconds(s.Minttl), maxDenialTTL), true
		}
	}
	return 0, false
}

func hasNS(r *mdns.Msg) bool {
	return slices.ContainsFunc(r.Ns, func(rr mdns.RR) bool { return rr.Header().Rrtype == mdns.TypeNS })
}

// seconds reads a TTL. RFC 2181 §8: one with the top bit set is zero.
func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

// add takes one record's value, unless the value cannot be used.
func (a *answer) add(rr mdns.RR) {
	switch rr := rr.(type) {
	case *mdns.MX:
		if rr.Mx == "." {
			a.mx = append(a.mx, MX{Host: ".", Preference: rr.Preference})
		} else if host, ok := hostname(rr.Mx); ok {
			a.mx = append(a.mx, MX{Host: host, Preference: rr.Preference})
		}
	case *mdns.A:
		if ip, ok := netip.AddrFromSlice(rr.A.To4()); ok {
			a.addrs = append(a.addrs, ip)
		}
	case *mdns.AAAA:
		// Unmapped, so that ::ffff:127.0.0.1 is judged as what it reaches.
		if ip, ok := netip.AddrFromSlice(rr.AAAA.To16()); ok {
			a.addrs = append(a.addrs, ip.Unmap())
		}
	case *mdns.TXT:
		var b strings.Builder
		for _, s := range rr.Txt {
			b.WriteString(unescape(s))
		}
		a.txt = append(a.txt, b.String())
	case *mdns.PTR:
		if host, ok := hostname(rr.Ptr); ok {
			a.names = append(a.names, host)
		}
	case *mdns.NS:
		if host, ok := hostname(rr.Ns); ok {
			a.ns = append(a.ns, host)
		}
	case *mdns.CNAME:
		if host, err := normal(rr.Target); err == nil {
			a.names = append(a.names, host)
		}
	case *mdns.TLSA:
		if data, err := hex.DecodeString(rr.Certificate); err == nil {
			a.tlsa = append(a.tlsa, TLSA{Usage: rr.Usage, Selector: rr.Selector, MatchingType: rr.MatchingType, Data: data})
		}
	}
}

// trim sorts and applies the caps.
func (a *answer) trim() {
	slices.SortStableFunc(a.mx, func(x, y MX) int {
		if x.Preference != y.Preference {
			return int(x.Preference) - int(y.Preference)
		}
		return strings.Compare(x.Host, y.Host)
	})
	a.mx = slices.Compact(a.mx)
	if len(a.mx) > 1 { // RFC 7505 §3: "." among others says nothing
		a.mx = slices.DeleteFunc(a.mx, func(m MX) bool { return m.Host == "." })
		if len(a.mx) == 0 {
			a.mx = []MX{{Host: "."}}
		}
	}
	a.mx = head(a.mx, maxMX)
	a.addrs = head(unique(a.addrs), maxAddrs)
	a.names = head(unique(a.names), maxNames)
	a.ns = head(unique(a.ns), maxServers)
	a.tlsa = head(a.tlsa, maxTLSA)
	total := 0
	for i, s := range a.txt {
		if total += len(s); total > maxTXT {
			a.txt = a.txt[:i]
			break
		}
	}
}

func head[T any](s []T, n int) []T { return s[:min(len(s), n)] }

func unique[T comparable](s []T) []T {
	seen := make(map[T]bool, len(s))
	return slices.DeleteFunc(s, func(v T) bool {
		was := seen[v]
		seen[v] = true
		return was
	})
}

// unescape undoes the presentation form (RFC 1035 §5.1) in which the library
// keeps character-strings.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b = append(b, s[i])
			continue
		}
		i++
		if i+2 < len(s) && digit(s[i]) && digit(s[i+1]) && digit(s[i+2]) {
			b = append(b, (s[i]-'0')*100+(s[i+1]-'0')*10+(s[i+2]-'0'))
			i += 2
			continue
		}
		b = append(b, s[i])
	}
	return string(b)
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// escape is the inverse of unescape.
func escape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c > '~':
			b = fmt.Appendf(b, "\\%03d", c)
		default:
			b = append(b, c)
		}
	}
	return string(b)
}
