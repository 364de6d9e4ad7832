package deliver

import (
	"cmp"
	"hash/fnv"
	"net/netip"
	"slices"

	"postern/internal/relay"
)

// source is where a connection leaves from, and what it says in EHLO.
type source struct {
	addr netip.Addr // zero: the system chooses
	helo string
	// warmup is that of a new address; zero: it is warm.
	warmup relay.Warmup
}

// sources are the candidates of a pool for one message and domain, the one to
// use first. The order is the same at every attempt (greylisting hosts know the
// address they saw first), differs between messages, and an address that comes
// or goes changes the choice only for the messages that it concerns.
func (d *Deliverer) sources(p *relay.Pool, m *relay.Message, domain string) []source {
	if len(p.Addresses) == 0 {
		return []source{{helo: d.cfg.Hostname}}
	}
	type ranked struct {
		source
		rank uint64
	}
	list := make([]ranked, 0, len(p.Addresses))
	for _, a := range p.Addresses {
		if !a.DisabledAt.IsZero() || !a.Address.IsValid() {
			continue
		}
		h := fnv.New64a()
		b := a.Address.As16()
		h.Write(m.ID.ID[:])
		h.Write([]byte(domain))
		h.Write(b[:])
		list = append(list, ranked{source{a.Address.Unmap(), cmp.Or(a.Helo, d.cfg.Hostname), a.Warmup}, mix(h.Sum64())})
	}
	slices.SortFunc(list, func(a, b ranked) int { return cmp.Compare(b.rank, a.rank) })
	out := make([]source, 0, len(list))
	for _, r := range list {
		out = append(out, r.source)
	}
	return out
}

// mix spreads what FNV leaves in the low bits when only the last octets differ
// (the finalizer of MurmurHash3).
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// fits reports whether a source can reach an address of the other's family.
func (s source) fits(remote netip.Addr) bool {
	return !s.addr.IsValid() || s.addr.Is4() == remote.Unmap().Is4()
}
