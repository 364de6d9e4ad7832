package identity

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// The installation that issue and documentation speak of.
const (
	manySubusers = 10_000
	manyKeys     = 100_000
)

// many is a snapshot of an account with many subusers and keys, made as a store
// makes it: every string and slice is its own.
func many() *store.Snapshot {
	rnd := rand.New(rand.NewPCG(3, 4))
	id := func() (id relay.ID) {
		for i := range id {
			id[i] = byte(rnd.Uint32())
		}
		return id
	}
	s := &store.Snapshot{Revision: 1, Full: true, Accounts: []relay.Account{{ID: acme, Name: "acme", Number: 1, CreatedAt: t0}}}
	for i := range manySubusers {
		s.Subusers = append(s.Subusers, relay.Subuser{
			ID: relay.SubuserID{ID: id()}, Account: acme, Number: int64(i + 2), Name: fmt.Sprintf("stream-%05d", i),
			Email: fmt.Sprintf("stream-%05d@acme.test", i), CreatedAt: t0,
		})
	}
	for i := range manyKeys {
		k := relay.Key{
			ID: relay.KeyID{ID: id()}, Account: acme, Subuser: s.Subusers[i%manySubusers].ID, Kind: relay.KeyAPI,
			Name: fmt.Sprintf("key %d", i), Mode: relay.KeyLive, CreatedAt: t0.Add(time.Duration(i) * time.Second),
			CreatedBy: string([]byte("uid 0 on admin.sock")), Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
			Verifier: relay.Verifier{SCRAMSalt: make([]byte, 16), SCRAMIterations: 10_000, SCRAMStoredKey: make([]byte, 32), SCRAMServerKey: make([]byte, 32)},
		}
		scopes := []string{relay.ScopeMailSend}
		if i%2 == 0 {
			scopes = relay.FullAccess()
		}
		for _, sc := range scopes {
			k.Scopes = append(k.Scopes, string([]byte(sc)))
		}
		s.Keys = append(s.Keys, k)
	}
	return s
}

var sinkState *state

// BenchmarkBuild makes the whole view from a snapshot in memory: the part of a
// start that is the Directory's.
func BenchmarkBuild(b *testing.B) {
	s := many()
	for b.Loop() {
		sinkState = emptyState().with(s, newInterner(), t0)
	}
}

// BenchmarkMemory reports what the view of 100,000 keys and 10,000 subusers
// holds when the snapshot it was read from is gone.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		sinkState = nil
		var before, after runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&before)
		sinkState = emptyState().with(many(), newInterner(), t0)
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/manyKeys, "B/key")
	}
}

// BenchmarkDelta puts one changed key into a view of 100,000.
func BenchmarkDelta(b *testing.B) {
	s, in := many(), newInterner()
	st := emptyState().with(s, in, t0)
	one := &store.Snapshot{Revision: 2, Since: 1, Keys: s.Keys[manyKeys/2 : manyKeys/2+1]}
	b.ReportAllocs()
	for b.Loop() {
		sinkState = st.with(one, in, t0)
	}
}

// BenchmarkDeltaOneTenant is the same where all keys are the account's own.
func BenchmarkDeltaOneTenant(b *testing.B) {
	s, in := many(), newInterner()
	for i := range s.Keys {
		s.Keys[i].Subuser = relay.SubuserID{}
	}
	st := emptyState().with(s, in, t0)
	one := &store.Snapshot{Revision: 2, Since: 1, Keys: s.Keys[manyKeys/2 : manyKeys/2+1]}
	b.ReportAllocs()
	for b.Loop() {
		sinkState = st.with(one, in, t0)
	}
}

// BenchmarkLookup is what a login asks of the Directory: the key, whether it is
// alive, whether the view is fresh, the access lists.
func BenchmarkLookup(b *testing.B) {
	s := many()
	d := &Directory{source: newRows()}
	d.state.Store(emptyState().with(s, newInterner(), t0))
	b.ReportAllocs()
	var i int
	for b.Loop() {
		k, ok := d.Key(s.Keys[i%manyKeys].ID)
		if !ok || d.Alive(k, t0) != relay.LoginOK || !d.Fresh(b.Context(), time.Now()) {
			b.Fatal("not found")
		}
		d.AccessLists(relay.Tenant{Account: k.Account, Subuser: k.Subuser})
		i += 7919
	}
}
