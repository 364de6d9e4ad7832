package auth

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"postern/internal/relay"
)

const (
	maxManual = 1000   // bans that people set
	maxListed = 10_000 // bans that Bans returns
	// A network that a person shuts out is at least this narrow, so that a typing
	// error does not shut the world out.
	minBits4, minBits6 = 8, 16
)

// ErrBan: a ban that cannot be set. Its text says why and may be shown.
var ErrBan = errors.New("no such ban can be set")

// manualBans is one immutable set.
type manualBans struct {
	bans map[netip.Prefix]relay.Ban
	bits [129]bool // lengths of prefix in use: what a look-up tries
}

// find returns the ban in force on an address.
func (m *manualBans) find(addr netip.Addr, now time.Time) (relay.Ban, bool) {
	if len(m.bans) == 0 {
		return relay.Ban{}, false
	}
	for bits := addr.BitLen(); bits >= 0; bits-- {
		if !m.bits[bits] {
			continue
		}
		if p, err := addr.Prefix(bits); err == nil {
			if b, ok := m.bans[p]; ok && now.Before(b.Until) {
				return b, true
			}
		}
	}
	return relay.Ban{}, false
}

func manualOf(bans map[netip.Prefix]relay.Ban) *manualBans {
	m := &manualBans{bans: bans}
	for p := range bans {
		m.bits[p.Bits()] = true
	}
	return m
}

// Set shuts an address or a network out until b.Until; who does so stands in
// b.By. IPv6 addresses are shut out as their /64. At most 1,000 such bans stand
// at once. The error wraps ErrBan.
func (g *Guard) Set(b relay.Ban) error {
	p, err := banned(b.Scope, b.Subject)
	now := g.cfg.Now()
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrBan, err)
	case !b.Until.After(now):
		return fmt.Errorf("%w: it would be over already", ErrBan)
	}
	g.manualMu.Lock()
	defer g.manualMu.Unlock()
	bans := maps.Clone(g.manual.Load().bans)
	if bans == nil {
		bans = map[netip.Prefix]relay.Ban{}
	}
	maps.DeleteFunc(bans, func(_ netip.Prefix, b relay.Ban) bool { return !b.Until.After(now) })
	if _, there := bans[p]; !there && len(bans) >= maxManual {
		return fmt.Errorf("%w: %d are set", ErrBan, len(bans))
	}
	b.Subject, b.Manual = subjectOf(b.Scope, p), true
	if b.Since.IsZero() {
		b.Since = now
	}
	bans[p] = b
	g.manual.Store(manualOf(bans))
	g.change()
	return nil
}

// banned reads the subject of a ban on an address or a network.
func banned(scope relay.BanScope, subject string) (netip.Prefix, error) {
	if scope != relay.BanAddress && scope != relay.BanNetwork {
		return netip.Prefix{}, fmt.Errorf("scope %q: addresses and networks are shut out; of keys and accounts say disable", printable(string(scope), 20))
	}
	p, err := prefixOf(subject)
	if err != nil {
		return p, err
	}
	floor := minBits4
	if p.Addr().Is6() {
		floor = minBits6
	}
	switch {
	case scope == relay.BanAddress && p != placeOf(p.Addr()).prefix():
		return p, errors.New("not one address (or IPv6 /64): the scope is network")
	case p.Bits() < floor:
		return p, fmt.Errorf("a network of /%d is too wide; at least /%d", p.Bits(), floor)
	}
	return p, nil
}

// prefixOf reads an address or a network; an IPv6 address is its /64.
func prefixOf(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return placeOf(a).prefix(), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, errors.New("neither an address nor a network such as 192.0.2.0/24")
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return p, errors.New("a network of IPv4-mapped addresses")
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// subjectOf is the one spelling of a subject.
func subjectOf(scope relay.BanScope, p netip.Prefix) string {
	if scope == relay.BanAddress {
		return placeOf(p.Addr()).String()
	}
	return p.String()
}

// Bans lists what is refused at a moment, the longest first, at most 10,000.
func (g *Guard) Bans(now time.Time) []relay.Ban {
	var all []relay.Ban
	nano := now.UnixNano()
	add := func(scope relay.BanScope, subject string, t *tally) {
		if t.refused(nano) {
			all = append(all, relay.Ban{
				Scope: scope, Subject: subject, Failures: t.failures,
				Since: time.Unix(0, t.since).UTC(), Until: time.Unix(0, t.until).UTC(),
			})
		}
	}
	g.addresses.each(func(p place, t *tally) { add(relay.BanAddress, p.String(), t) })
	g.networks.each(func(p place, t *tally) { add(relay.BanNetwork, p.String(), t) })
	g.accounts.each(func(id relay.ID, t *tally) { add(relay.BanAccount, id.String(), t) })
	g.keys.each(func(id relay.ID, t *tally) { add(relay.BanKey, id.String(), t) })
	for _, b := range g.manual.Load().bans {
		if b.Until.After(now) {
			all = append(all, b)
		}
	}
	slices.SortFunc(all, func(a, b relay.Ban) int {
		return cmp.Or(b.Until.Compare(a.Until), cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.Subject, b.Subject))
	})
	return all[:min(len(all), maxListed)]
}

// Lift ends a ban and forgets the failures behind it. It reports whether there
// was one in force.
func (g *Guard) Lift(scope relay.BanScope, subject string) bool {
	defer g.change()
	now := g.cfg.Now()
	switch scope {
	case relay.BanAccount, relay.BanKey:
		id, err := relay.ParseID(subject)
		if err != nil {
			return false
		}
		tab := g.keys
		if scope == relay.BanAccount {
			tab = g.accounts
		}
		return lift(tab, id, now)
	case relay.BanAddress, relay.BanNetwork:
		p, err := prefixOf(subject)
		if err != nil {
			return false
		}
		lifted := g.liftManual(scope, p, now)
		if at := placeOf(p.Addr()); scope == relay.BanAddress && p == at.prefix() {
			return lift(g.addresses, at, now) || lifted
		} else if near := at.network(); scope == relay.BanNetwork && p == near.prefix() {
			return lift(g.networks, near, now) || lifted
		}
		return lifted
	}
	return false
}

func lift[K comparable](tab *table[K, tally], k K, now time.Time) bool {
	refused := false
	tab.see(k, func(t *tally) { refused = t.refused(now.UnixNano()) })
	return refused && tab.drop(k)
}

func (g *Guard) liftManual(scope relay.BanScope, p netip.Prefix, now time.Time) bool {
	g.manualMu.Lock()
	defer g.manualMu.Unlock()
	b, ok := g.manual.Load().bans[p]
	if !ok || b.Scope != scope {
		return false
	}
	bans := maps.Clone(g.manual.Load().bans)
	delete(bans, p)
	g.manual.Store(manualOf(bans))
	return b.Until.After(now)
}
