package sender

import (
	"container/list"
	"sync"

	"postern/internal/dkim"
	"postern/internal/relay"
)

// maxSigningKeys is how many unsealed keys a Signer holds when it is not told: a
// few tens of MiB.
const maxSigningKeys = 20_000

// keyring holds unsealed keys of the domains that signed last. What it holds of a
// domain is replaced as a whole, so that a key which no longer signs is forgotten
// with the next message of its domain.
type keyring struct {
	max int

	mu      sync.Mutex
	used    *list.List // of *ring, that used last first
	domains map[relay.DomainID]*list.Element
	held    int // keys
}

// ring is what is held of one domain.
type ring struct {
	domain relay.DomainID
	keys   []heldKey
}

// heldKey is one key of one selector's life.
type heldKey struct {
	selector   string
	generation int64
	key        dkim.Key
}

func newKeyring(max int) *keyring {
	if max <= 0 {
		max = maxSigningKeys
	}
	return &keyring{max: max, used: list.New(), domains: map[relay.DomainID]*list.Element{}}
}

// of is what is held of a domain. The result is not to be changed.
func (r *keyring) of(id relay.DomainID) []heldKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.domains[id]
	if e == nil {
		return nil
	}
	r.used.MoveToFront(e)
	return e.Value.(*ring).keys
}

// put replaces what is held of a domain, and forgets those that were not used for
// longest where that is too much.
func (r *keyring) put(id relay.DomainID, keys []heldKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.domains[id]; e != nil {
		r.drop(e)
	}
	r.domains[id] = r.used.PushFront(&ring{id, keys})
	for r.held += len(keys); r.held > r.max && r.used.Len() > 1; {
		r.drop(r.used.Back())
	}
}

// drop forgets one domain. r.mu is held.
func (r *keyring) drop(e *list.Element) {
	g := r.used.Remove(e).(*ring)
	delete(r.domains, g.domain)
	r.held -= len(g.keys)
}

// find is the key of a selector's generation among keys.
func find(keys []heldKey, k *relay.DKIMKey) (dkim.Key, bool) {
	for i := range keys {
		if keys[i].selector == k.Selector && keys[i].generation == k.Generation {
			return keys[i].key, true
		}
	}
	return dkim.Key{}, false
}
