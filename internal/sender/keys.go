package sender

import (
	"slices"
	"time"

	"postern/internal/dkim"
	"postern/internal/relay"
)

// A key of a domain is in one of these states, told from its row alone:
//
//	waiting    made, its record is to be published; never signed
//	signing    Active
//	off        signed once, and was switched off by hand
//	retired    RetiredAt: signs no more, its record stays
//	withdrawn  WithdrawnAt: its record says so; the private key is gone, or will be
//	           for all to see once nobody takes it for good any more (toReveal)
//
// DESIGN.md has the steps between them.

func signs(k *relay.DKIMKey) bool {
	return k.Active && k.RetiredAt.IsZero() && k.WithdrawnAt.IsZero()
}

func waiting(k *relay.DKIMKey) bool {
	return !k.Active && k.ActivatedAt.IsZero() && k.RetiredAt.IsZero() && k.WithdrawnAt.IsZero() && len(k.Sealed) > 0
}

func off(k *relay.DKIMKey) bool {
	return !k.Active && !k.ActivatedAt.IsZero() && k.RetiredAt.IsZero() && k.WithdrawnAt.IsZero()
}

// toReveal reports whether a withdrawn key is to be made public.
func toReveal(k *relay.DKIMKey) bool { return !k.WithdrawnAt.IsZero() && len(k.Sealed) > 0 }

func retired(k *relay.DKIMKey) bool { return !k.RetiredAt.IsZero() && k.WithdrawnAt.IsZero() }

// urgent reports whether a waiting key takes the place of one that somebody else
// may have: it was marked so by a SeenAt of the moment when it was made, which no
// key that was really seen has (see seenAt).
func urgent(k *relay.DKIMKey) bool { return waiting(k) && k.SeenAt.Equal(k.CreatedAt) }

// seenAt is now, and later than the key was made.
func seenAt(k *relay.DKIMKey, now time.Time) time.Time {
	if !now.After(k.CreatedAt) {
		return k.CreatedAt.Add(time.Microsecond)
	}
	return now
}

// defaultOverlap is how long a retired key stays published where nothing else is
// said: longer than mail is queued, plus a day.
const defaultOverlap = 7 * 24 * time.Hour

func overlapOr(d time.Duration) time.Duration {
	if d <= 0 {
		return defaultOverlap
	}
	return d
}

// keyHost is where receivers ask for a selector's record.
func keyHost(d relay.Domain, selector string) string { return selector + "._domainkey." + d.Name }

// lane is the keys of one algorithm of a domain. Rotations of the two lanes run
// side by side; that of the Ed25519 lane never holds the RSA lane up.
type lane struct {
	algorithm relay.DKIMAlgorithm
	slots     [2]string
	keys      []*relay.DKIMKey // by age, oldest first
}

// lanesOf sorts a domain's keys. The lanes point into keys.
func lanesOf(d relay.Domain, keys []relay.DKIMKey) (rsa, ed lane) {
	slots := SelectorsOf(d)
	rsa = lane{algorithm: relay.DKIMRSA, slots: slots.RSA}
	ed = lane{algorithm: relay.DKIMEd25519, slots: slots.Ed25519}
	for i := range keys {
		l := &rsa
		if keys[i].Algorithm == relay.DKIMEd25519 {
			l = &ed
		}
		l.keys = append(l.keys, &keys[i])
	}
	for _, l := range []*lane{&rsa, &ed} {
		slices.SortStableFunc(l.keys, func(a, b *relay.DKIMKey) int { return a.CreatedAt.Compare(b.CreatedAt) })
	}
	return rsa, ed
}

// afterAll is now, and later than all keys were made: which of two is the younger
// one must not depend on a clock that was set back.
func afterAll(keys []relay.DKIMKey, now time.Time) time.Time {
	for i := range keys {
		if !now.After(keys[i].CreatedAt) {
			now = keys[i].CreatedAt.Add(time.Microsecond)
		}
	}
	return now
}

// newest is the youngest key for which is holds; nil: there is none.
func (l *lane) newest(is func(*relay.DKIMKey) bool) *relay.DKIMKey {
	for _, k := range slices.Backward(l.keys) {
		if is(k) {
			return k
		}
	}
	return nil
}

// current is the key that signs. Two sign where somebody switched one on by hand;
// the youngest is current then.
func (l *lane) current() *relay.DKIMKey { return l.newest(signs) }

// next is the key that waits to take over: younger than the current one.
func (l *lane) next() *relay.DKIMKey {
	k, cur := l.newest(waiting), l.current()
	if k == nil || cur != nil && !k.CreatedAt.After(cur.CreatedAt) {
		return nil
	}
	return k
}

// old is the retired key that must stay published for longest; nil: there is none.
func (l *lane) old() (k *relay.DKIMKey) {
	for _, o := range l.keys {
		if retired(o) && (k == nil || o.RetiredAt.After(k.RetiredAt)) {
			k = o
		}
	}
	return k
}

func (l *lane) at(selector string) *relay.DKIMKey {
	for _, k := range l.keys {
		if k.Selector == selector {
			return k
		}
	}
	return nil
}

// place is where a new key goes: a selector, and its number in it.
type place struct {
	selector   string
	algorithm  relay.DKIMAlgorithm
	generation int64
}

// placeAt is the place for the next key of a selector.
func placeAt(alg relay.DKIMAlgorithm, selector string, held *relay.DKIMKey) place {
	p := place{selector: selector, algorithm: alg, generation: 1}
	if held != nil {
		p.generation = held.Generation + 1
	}
	return p
}

// free is a slot that no key needs: never used, or withdrawn for longest.
func (l *lane) free() (place, bool) {
	var best *relay.DKIMKey
	for _, s := range l.slots {
		k := l.at(s)
		if k == nil {
			return placeAt(l.algorithm, s, nil), true
		}
		if !k.WithdrawnAt.IsZero() && (best == nil || k.WithdrawnAt.Before(best.WithdrawnAt)) {
			best = k
		}
	}
	if best == nil {
		return place{}, false
	}
	return placeAt(l.algorithm, best.Selector, best), true
}

// taken is the slot that an urgent rotation takes: that of the key that waits,
// which never signed; a free one; else that of the retired key.
func (l *lane) taken() (place, bool) {
	if k := l.in(waiting); k != nil {
		return placeAt(l.algorithm, k.Selector, k), true
	}
	if p, ok := l.free(); ok {
		return p, true
	}
	if k := l.in(retired); k != nil {
		return placeAt(l.algorithm, k.Selector, k), true
	}
	return place{}, false
}

// in is the key in one of the slots for which is holds; nil: there is none.
func (l *lane) in(is func(*relay.DKIMKey) bool) *relay.DKIMKey {
	for _, s := range l.slots {
		if k := l.at(s); k != nil && is(k) {
			return k
		}
	}
	return nil
}

// withdraw ends a key: its private key is gone from here, and its record says that
// it is revoked.
func withdraw(k *relay.DKIMKey, now time.Time) {
	if k.RetiredAt.IsZero() && !k.ActivatedAt.IsZero() {
		k.RetiredAt = now
	}
	k.Active, k.WithdrawnAt, k.Sealed = false, now, nil
	k.Record, k.Revealed = dkim.Revoked(dkim.Algorithm(k.Algorithm), ""), ""
}

// put replaces or adds a key among keys.
func put(keys []relay.DKIMKey, k relay.DKIMKey) []relay.DKIMKey {
	for i := range keys {
		if keys[i].Selector == k.Selector {
			keys[i] = k
			return keys
		}
	}
	return append(keys, k)
}
