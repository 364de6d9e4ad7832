package identity

import (
	"slices"
	"strings"
	"unique"

	"postern/internal/relay"
)

// maxLists bounds how many distinct scope lists are remembered. Beyond it a key
// keeps a list of its own.
const maxLists = 1024

// interner lets keys share what is the same in most of them: a full-access key
// names some 250 scopes, 4 KB for every key if each had its own list.
type interner struct{ lists map[string][]string }

func newInterner() *interner { return &interner{lists: map[string][]string{}} }

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
	name := strings.Join(given, "\x00")
	if l, ok := in.lists[name]; ok {
		return l
	}
	l := make([]string, len(given))
	for i, s := range given {
		if at, ok := slices.BinarySearch(relay.Scopes, s); ok {
			l[i] = relay.Scopes[at]
			continue
		}
		l[i] = unique.Make(s).Value()
	}
	if len(in.lists) < maxLists {
		in.lists[name] = l
	}
	return l
}
