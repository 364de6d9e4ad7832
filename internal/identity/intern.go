package identity

import (
	"hash/maphash"
	"slices"
	"unique"

	"postern/internal/relay"
)

// maxLists bounds how many distinct scope lists are remembered. Beyond it a key
// keeps a list of its own.
const maxLists = 1024

// interner lets keys share what is the same in most of them: a full-access key
// names some 250 scopes, 4 KB for every key if each had its own list.
type interner struct{ lists map[uint64][]string } // by hash

func newInterner() *interner { return &interner{lists: map[uint64][]string{}} }

// key is a copy of k that shares its parts.
func (in *interner) key(k *relay.Key) *relay.Key {
	c := *k
	c.Scopes = in.scopes(k.Scopes)
	c.CreatedBy = unique.Make(k.CreatedBy).Value()
	c.Kind = relay.KeyKind(unique.Make(string(k.Kind)).Value())
	c.Mode = relay.KeyMode(unique.Make(string(k.Mode)).Value())
	c.Hours = unique.Make(k.Hours).Value()
	return &c
}

func (in *interner) scopes(given []string) []string {
	if len(given) == 0 {
		return nil
	}
	var h maphash.Hash
	h.SetSeed(partSeed)
	for _, s := range given {
		_, _ = h.WriteString(s) // never fails
		_ = h.WriteByte(0)
	}
	known, ok := in.lists[h.Sum64()]
	if ok && slices.Equal(known, given) {
		return known
	}
	l := make([]string, len(given))
	for i, s := range given {
		if at, ok := slices.BinarySearch(relay.Scopes, s); ok {
			l[i] = relay.Scopes[at]
			continue
		}
		l[i] = unique.Make(s).Value()
	}
	if !ok && len(in.lists) < maxLists {
		in.lists[h.Sum64()] = l
	}
	return l
}
