package auth

import (
	"bytes"
	"net/netip"
	"time"

	"postern/internal/relay"
)

// A place is known good to a key, or to an account, when a login of it succeeded
// from there: the address itself, and the network around it. Guessing from
// elsewhere cannot lock out who comes from a known place (AU-26).

// acquaintance is one place of one key or account.
type acquaintance struct {
	place place
	id    relay.ID
}

// familiar says how well they know each other.
type familiar struct {
	at    int64 // Unix nanoseconds of the last success
	wrong tally // secrets that were wrong from there since
}

// wrongFromKnown is how many wrong secrets a known place may bring before it is
// treated as any other for a while. A success forgets them.
var wrongFromKnown = budget{most: 20, halfLife: 15 * time.Minute, first: time.Minute, longest: time.Hour}

// A network that a key names makes its addresses known if it is no wider: each of
// them takes an entry of the table when it is tried.
const namedBits4, namedBits6 = 16, 32

// knows reports whether a place is known good to a key or its account, and has
// not brought too many wrong secrets.
func (g *Guard) knows(from place, k *relay.Key, at time.Time) bool {
	now := at.UnixNano()
	for _, p := range [...]place{from, from.network()} {
		for _, id := range [...]relay.ID{k.ID.ID, k.Account.ID} {
			met, good := false, false
			g.known.see(acquaintance{p, id}, func(f *familiar) {
				met, good = now-f.at < int64(g.cfg.KnownFor), !f.wrong.refused(now)
			})
			if met {
				return good // the nearest one decides
			}
		}
	}
	if !g.vouched(from, k, at) {
		return false
	}
	good := false
	// Known for a day: long enough to count its wrong secrets, and no success.
	lent := now - int64(g.cfg.KnownFor) + int64(min(24*time.Hour, g.cfg.KnownFor))
	g.known.touch(acquaintance{from, k.ID.ID}, func(f *familiar) {
		f.at, good = max(f.at, lent), !f.wrong.refused(now)
	})
	return good
}

// vouched reports whether a key's row itself says that a place is its own: it was
// last used there, or its owner named the network, and not a whole provider's.
func (g *Guard) vouched(from place, k *relay.Key, at time.Time) bool {
	if last, err := netip.ParseAddr(k.LastUsedFrom); err == nil && placeOf(last) == from && at.Sub(k.LastUsedAt) < g.cfg.KnownFor {
		return true
	}
	for _, n := range k.Networks {
		floor := namedBits4
		if n.Addr().Is6() {
			floor = namedBits6
		}
		if n.Bits() >= floor && n.Overlaps(from.prefix()) {
			return true
		}
	}
	return false
}

// anybody stands in an acquaintance for whoever has logged in from its place. It
// is nobody's id.
var anybody = relay.ID(bytes.Repeat([]byte{0xff}, len(relay.ID{})))

// welcomeFor is how long after a success an address is taken for one that good
// clients use.
const welcomeFor = 24 * time.Hour

// welcome reports whether anybody has logged in from an address lately.
func (g *Guard) welcome(from place, at time.Time) (yes bool) {
	g.known.see(acquaintance{from, anybody}, func(f *familiar) { yes = at.UnixNano()-f.at < int64(welcomeFor) })
	return yes
}

// meet remembers a success.
func (g *Guard) meet(from place, k *relay.Key, now int64) {
	g.known.touch(acquaintance{from, anybody}, func(f *familiar) { f.at = now })
	for _, p := range [...]place{from, from.network()} {
		for _, id := range [...]relay.ID{k.ID.ID, k.Account.ID} {
			g.known.touch(acquaintance{p, id}, func(f *familiar) { *f = familiar{at: now} })
		}
	}
}

// blunder counts a wrong secret from places that are known; of others nothing is
// kept.
func (g *Guard) blunder(from place, k *relay.Key, now int64) {
	for _, p := range [...]place{from, from.network()} {
		for _, id := range [...]relay.ID{k.ID.ID, k.Account.ID} {
			g.known.see(acquaintance{p, id}, func(f *familiar) { f.wrong.fail(now, wrongFromKnown) })
		}
	}
}
