package dns

import (
	"fmt"
	"net/netip"
	"slices"

	mdns "github.com/miekg/dns"
)

// read takes what a server of zone answered to q. Only records owned by the
// name itself count, whatever else came along. down is set instead when the
// answer is a delegation to a zone between zone and the name.
func (t *Told) read(q question, zone string, r *mdns.Msg) (down *cut) {
	t.Err, t.Authoritative = nil, r.Authoritative
	switch r.Rcode {
	case mdns.RcodeSuccess, mdns.RcodeNameError:
	case mdns.RcodeRefused, mdns.RcodeNotAuth:
		t.Err = fmt.Errorf("answered %s: %w", rcodeName(r.Rcode), ErrLame)
		return nil
	default:
		t.Err = fmt.Errorf("answered %s: %w", rcodeName(r.Rcode), ErrTemporary)
		return nil
	}
	found := t.take(q, r)
	if !found && r.Rcode == mdns.RcodeSuccess {
		if down = delegation(q.name, zone, r); down != nil {
			return down
		}
	}
	switch {
	case !r.Authoritative:
		t.Err = fmt.Errorf("answered without authority: %w", ErrLame)
	case t.CNAME != "" || len(t.TXT)+len(t.MX)+len(t.NS)+len(t.Addrs) > 0:
		// RFC 6604 §3: NXDOMAIN beside an alias is about its target.
	case found:
		t.Err = fmt.Errorf("no usable value: %w", ErrTemporary)
	case r.Rcode == mdns.RcodeNameError:
		t.Err = fmt.Errorf("%s: %w", q, ErrNotFound)
	default:
		t.Err = fmt.Errorf("%s: %w", q, ErrNoData)
	}
	return nil
}

// take collects the records of the name, and reports whether there were any of
// the type asked for, or an alias.
func (t *Told) take(q question, r *mdns.Msg) (found bool) {
	var a answer
	size := 0
	for _, rr := range r.Answer {
		h := rr.Header()
		if h.Class != mdns.ClassINET || !owns(q.name, h.Name) || h.Rrtype != q.typ && h.Rrtype != mdns.TypeCNAME {
			continue
		}
		found = true
		switch rr := rr.(type) {
		case *mdns.CNAME:
			if target, err := normal(fromLibrary(rr.Target)); err == nil && t.CNAME == "" {
				t.CNAME = target
			}
		case *mdns.TXT:
			strs := make([]string, len(rr.Txt))
			for i, s := range rr.Txt {
				strs[i] = unescape(s)
				size += len(strs[i]) + 1
			}
			if size <= maxTXT {
				t.TXT = append(t.TXT, strs)
			}
		default:
			a.add(rr)
		}
	}
	a.trim()
	t.MX, t.NS, t.Addrs = a.mx, a.ns, a.addrs
	return found
}

// delegation is where a referral sends: NS records, without an SOA, of a zone
// below the one asked and at or above the name. Servers that set the authority
// flag on referrals exist, so it does not count. The addresses that came along
// are believed for hosts inside the delegated zone only, where nothing else
// could know them.
func delegation(name, zone string, r *mdns.Msg) *cut {
	if _, soa := denialTTL(r); soa {
		return nil
	}
	var c cut
	for _, rr := range r.Ns {
		ns, ok := rr.(*mdns.NS)
		if !ok || ns.Hdr.Class != mdns.ClassINET {
			continue
		}
		owner, err := normal(fromLibrary(ns.Hdr.Name))
		if err != nil || owner == zone || !within(owner, zone) || !within(name, owner) {
			continue
		}
		host, ok := hostname(ns.Ns)
		if !ok {
			continue
		}
		c.merge(cut{owner, []nameServer{{host: host}}})
	}
	if c.zone == "" {
		return nil
	}
	for i, s := range c.servers {
		if within(s.host, c.zone) {
			c.servers[i].glue = glue(s.host, r.Extra)
		}
	}
	return &c
}

func glue(host string, extra []mdns.RR) (addrs []netip.Addr) {
	var a answer
	for _, rr := range extra {
		h := rr.Header()
		if h.Class == mdns.ClassINET && (h.Rrtype == mdns.TypeA || h.Rrtype == mdns.TypeAAAA) && owns(host, h.Name) {
			a.add(rr)
		}
	}
	slices.SortStableFunc(a.addrs, netip.Addr.Compare)
	return head(unique(a.addrs), 2*maxAddrs)
}
