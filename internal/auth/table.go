package auth

import (
	"hash/maphash"
	"sync"
)

const (
	tableShards = 64
	// evictAmong is how many of the entries that were touched longest ago are looked
	// at when one must go: of these, the one that is worth least goes.
	evictAmong = 8
)

// table is a map that strangers may fill: it never holds more entries than it
// was made for, and locks one of its shards at a time. An entry that is touched
// moves to the front of its shard; a new one takes the place of one of those at
// the back.
type table[K comparable, V any] struct {
	seed   maphash.Seed
	worth  func(*V) float64 // nil: all alike
	shards [tableShards]shard[K, V]
}

type shard[K comparable, V any] struct {
	mu         sync.Mutex
	max        int
	index      map[K]int32
	slots      []slot[K, V]
	free       []int32
	head, tail int32 // most and least recently touched; -1: none
}

type slot[K comparable, V any] struct {
	key        K
	value      V
	prev, next int32
}

func newTable[K comparable, V any](entries int, worth func(*V) float64) *table[K, V] {
	t := &table[K, V]{seed: maphash.MakeSeed(), worth: worth}
	for i := range t.shards {
		s := &t.shards[i]
		s.max = max(entries/tableShards, 1)
		s.index = map[K]int32{}
		s.head, s.tail = -1, -1
	}
	return t
}

func (t *table[K, V]) shard(k K) *shard[K, V] {
	return &t.shards[maphash.Comparable(t.seed, k)%tableShards]
}

// see calls f with the entry of k under its lock, if there is one.
func (t *table[K, V]) see(k K, f func(*V)) bool {
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.index[k]
	if ok {
		f(&s.slots[i].value)
	}
	return ok
}

// touch calls f with the entry of k under its lock, and makes it first if there
// is none.
func (t *table[K, V]) touch(k K, f func(*V)) {
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.index[k]
	if ok {
		s.unlink(i)
	} else {
		i = s.place(t.worth)
		s.slots[i].key = k
		s.index[k] = i
	}
	s.link(i)
	f(&s.slots[i].value)
}

// drop removes the entry of k.
func (t *table[K, V]) drop(k K) bool {
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.index[k]
	if ok {
		s.unlink(i)
		s.remove(i)
		s.free = append(s.free, i)
	}
	return ok
}

// each calls f with every entry, shard by shard; f must not call the table.
func (t *table[K, V]) each(f func(K, *V)) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for j := s.head; j >= 0; j = s.slots[j].next {
			f(s.slots[j].key, &s.slots[j].value)
		}
		s.mu.Unlock()
	}
}

// size counts the entries.
func (t *table[K, V]) size() (n int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += len(s.index)
		s.mu.Unlock()
	}
	return n
}

// clear removes every entry.
func (t *table[K, V]) clear() {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		clear(s.index)
		s.slots, s.free, s.head, s.tail = nil, nil, -1, -1
		s.mu.Unlock()
	}
}

// place finds an empty slot, if need be by throwing an entry out.
func (s *shard[K, V]) place(worth func(*V) float64) int32 {
	if n := len(s.free); n > 0 {
		i := s.free[n-1]
		s.free = s.free[:n-1]
		return i
	}
	if len(s.slots) < s.max {
		s.slots = append(s.slots, slot[K, V]{})
		return int32(len(s.slots) - 1)
	}
	victim := s.tail
	if worth != nil {
		least := worth(&s.slots[victim].value)
		for i, n := s.slots[victim].prev, 1; i >= 0 && n < evictAmong; i, n = s.slots[i].prev, n+1 {
			if w := worth(&s.slots[i].value); w < least {
				victim, least = i, w
			}
		}
	}
	s.unlink(victim)
	s.remove(victim)
	return victim
}

// remove forgets what stands in a slot that is no longer linked.
func (s *shard[K, V]) remove(i int32) {
	delete(s.index, s.slots[i].key)
	s.slots[i] = slot[K, V]{}
}

func (s *shard[K, V]) link(i int32) {
	s.slots[i].prev, s.slots[i].next = -1, s.head
	if s.head >= 0 {
		s.slots[s.head].prev = i
	} else {
		s.tail = i
	}
	s.head = i
}

func (s *shard[K, V]) unlink(i int32) {
	prev, next := s.slots[i].prev, s.slots[i].next
	if prev >= 0 {
		s.slots[prev].next = next
	} else {
		s.head = next
	}
	if next >= 0 {
		s.slots[next].prev = prev
	} else {
		s.tail = prev
	}
}
