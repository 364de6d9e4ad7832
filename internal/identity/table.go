package identity

import (
	"hash/maphash"
	"iter"
	"maps"

	"postern/internal/relay"
)

// parts is how many maps a table has. One change copies one part: with 100,000
// keys that is 390 entries.
const parts = 256

// table is a map that is never changed once it can be seen: an edit makes a new
// table that shares the parts it did not touch. Readers need no lock.
type table[K comparable, V any] struct {
	part func(K) uint8
	maps [parts]map[K]V
}

func newTable[K comparable, V any](part func(K) uint8) *table[K, V] {
	return &table[K, V]{part: part}
}

func (t *table[K, V]) get(k K) (V, bool) {
	v, ok := t.maps[t.part(k)][k]
	return v, ok
}

// at is get for values whose zero means "none".
func (t *table[K, V]) at(k K) V { return t.maps[t.part(k)][k] }

func (t *table[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, m := range t.maps {
			for k, v := range m {
				if !yield(k, v) {
					return
				}
			}
		}
	}
}

// edit changes a table that nobody sees yet. The first touch of the table copies
// its list of parts, the first touch of a part copies that part.
type edit[K comparable, V any] struct {
	at    **table[K, V]
	begun bool
	owned [parts]bool
}

func editing[K comparable, V any](at **table[K, V]) *edit[K, V] { return &edit[K, V]{at: at} }

func (e *edit[K, V]) get(k K) (V, bool) { return (*e.at).get(k) }

func (e *edit[K, V]) own(k K) map[K]V {
	if !e.begun {
		c := **e.at
		*e.at, e.begun = &c, true
	}
	t := *e.at
	p := t.part(k)
	if !e.owned[p] {
		t.maps[p], e.owned[p] = maps.Clone(t.maps[p]), true
		if t.maps[p] == nil {
			t.maps[p] = map[K]V{}
		}
	}
	return t.maps[p]
}

func (e *edit[K, V]) set(k K, v V) { e.own(k)[k] = v }

func (e *edit[K, V]) drop(k K) {
	if _, ok := e.get(k); ok {
		delete(e.own(k), k)
	}
}

// idPart spreads ids: the last octet is random in a UUIDv7 and in a key's id.
func idPart(id relay.ID) uint8 { return id[15] }

var partSeed = maphash.MakeSeed()

func stringPart(s string) uint8 { return uint8(maphash.String(partSeed, s)) }

func numberPart(n int64) uint8 { return uint8(n) }

func tenantPart(t relay.Tenant) uint8 { return idPart(t.Account.ID) ^ idPart(t.Subuser.ID) }
