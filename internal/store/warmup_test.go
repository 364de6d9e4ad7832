package store

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/relay"
)

// warmupsOf are the warm-ups that the pools' addresses show, by address.
func warmupsOf(t *testing.T, s *Store, pools ...relay.PoolID) map[string]relay.Warmup {
	t.Helper()
	out := map[string]relay.Warmup{}
	for _, id := range pools {
		p, err := s.Pool(context.Background(), id)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range p.Addresses {
			if !a.Warmup.IsZero() {
				out[p.Name+" "+a.Address.String()] = a.Warmup
			}
		}
	}
	return out
}

func TestWarmup(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx := context.Background()
		w := newWorld(t, s)
		now := time.Now().UTC().Truncate(time.Microsecond)
		addr := w.pool.Addresses[0].Address
		second := relay.Pool{ID: relay.PoolID{ID: relay.NewID(now)}, Name: "second", CreatedAt: now, Addresses: []relay.PoolAddress{{Address: addr, Helo: "c.example.test"}}}
		if err := s.CreatePool(ctx, testBy, second); err != nil {
			t.Fatal(err)
		}
		before, err := s.Snapshot(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		kind := func(what string, err error, want relay.Kind) {
			t.Helper()
			if relay.KindOf(err) != want {
				t.Errorf("%s: %v, want kind %v", what, err, want)
			}
		}
		kind("an address of no pool", s.StartWarmup(ctx, testBy, netip.MustParseAddr("203.0.113.250"), now, now), relay.NotFound)
		kind("stop before the start", s.StopWarmup(ctx, testBy, addr), relay.NotFound)
		if err := s.StartWarmup(ctx, testBy, addr, now, now); err != nil {
			t.Fatal(err)
		}
		kind("a second start", s.StartWarmup(ctx, testBy, addr, now.Add(time.Hour), now), relay.Conflict)

		// The same in both pools, and news to whoever follows the revision.
		want := map[string]relay.Warmup{w.pool.Name + " " + addr.String(): {Since: now}, "second " + addr.String(): {Since: now}}
		if diff := cmp.Diff(want, warmupsOf(t, s, w.pool.ID, second.ID)); diff != "" {
			t.Error(diff)
		}
		delta, err := s.Snapshot(ctx, before.Revision)
		if err != nil || len(delta.Pools) != 2 || delta.Pools[0].Addresses[0].Warmup.IsZero() && delta.Pools[1].Addresses[0].Warmup.IsZero() {
			t.Errorf("the change is not in the next snapshot: %+v, %v", delta.Pools, err)
		}

		// What is counted stays with the warm-up that it was counted for.
		state := relay.WarmupState{Address: addr, Warmup: relay.Warmup{Since: now, Held: 2}, Counts: []byte("counts")}
		old := relay.WarmupState{Address: addr, Warmup: relay.Warmup{Since: now.Add(-time.Hour), Held: 9}, Counts: []byte("old")}
		if err := s.PutWarmups(ctx, []relay.WarmupState{state, old}); err != nil {
			t.Fatal(err)
		}
		if all, err := s.Warmups(ctx); err != nil || !cmp.Equal(all, []relay.WarmupState{state}, sameAddr) {
			t.Errorf("%+v, %v", all, err)
		}
		if err := s.PutWarmups(ctx, []relay.WarmupState{{Address: addr, Warmup: state.Warmup, Counts: make([]byte, maxWarmupCounts+1)}}); err == nil {
			t.Error("counts without a bound are kept")
		}

		// Giving a pool other addresses does not end it, nor does it come back as new.
		p := w.pool
		p.Addresses = nil
		if err := editPool(s, p); err != nil {
			t.Fatal(err)
		}
		if err := editPool(s, w.pool); err != nil {
			t.Fatal(err)
		}
		if got := warmupsOf(t, s, w.pool.ID); got[w.pool.Name+" "+addr.String()].Held != 2 {
			t.Errorf("after the pool was changed: %v", got)
		}

		// When it is over, a new one may begin.
		later := now.Add(60 * 24 * time.Hour)
		if err := s.StartWarmup(ctx, testBy, addr, later, later); err != nil {
			t.Error(err)
		}
		if err := s.StopWarmup(ctx, testBy, addr); err != nil {
			t.Error(err)
		}
		if got := warmupsOf(t, s, w.pool.ID, second.ID); len(got) != 0 {
			t.Errorf("after the stop: %v", got)
		}
		warmupChanges(t, s, w.account.ID)
	})
}

// warmupChanges: each start and stop is in the record of who may see it; the
// address is in pools of an account and of all, so it is the installation's.
func warmupChanges(t *testing.T, s *Store, account relay.AccountID) {
	t.Helper()
	got := map[string]int{}
	all, err := s.Changes(context.Background(), ChangeFilter{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if c.Action == "pool.address.warmup.start" || c.Action == "pool.address.warmup.stop" {
			got[c.Action]++
			if c.Account == account || c.By != testBy.Who {
				t.Errorf("%+v", c)
			}
		}
	}
	if diff := cmp.Diff(map[string]int{"pool.address.warmup.start": 2, "pool.address.warmup.stop": 1}, got); diff != "" {
		t.Error(diff)
	}
}

func TestWarmupOfOneAccount(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx := context.Background()
		w := newWorld(t, s)
		now := time.Now().UTC().Truncate(time.Microsecond)
		addr := netip.MustParseAddr("198.51.100.77")
		p := relay.Pool{ID: relay.PoolID{ID: relay.NewID(now)}, Account: w.account.ID, Name: "own", CreatedAt: now, Addresses: []relay.PoolAddress{{Address: addr, Helo: "d.example.test"}}}
		if err := s.CreatePool(ctx, testBy, p); err != nil {
			t.Fatal(err)
		}
		// An IPv4 address in IPv6 clothes is the same address.
		if err := s.StartWarmup(ctx, testBy, netip.AddrFrom16(addr.As16()), now, now); err != nil {
			t.Fatal(err)
		}
		changes, err := s.Changes(ctx, ChangeFilter{Account: w.account.ID, Action: "pool.address.warmup.start"})
		if err != nil || len(changes) != 1 || changes[0].Subject != "address "+addr.String() {
			t.Errorf("%+v, %v", changes, err)
		}
	})
}

// An address that comes into its first pool may begin to warm up with the same
// commit: it never sends without.
func TestWarmupOfNewAddresses(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx := context.Background()
		w := newWorld(t, s)
		now := time.Now().UTC().Truncate(time.Microsecond)
		warm := relay.Warmup{Since: now}
		address := func(a string, up relay.Warmup) relay.PoolAddress {
			return relay.PoolAddress{Address: netip.MustParseAddr(a), Helo: "out.example.test", Warmup: up}
		}
		old := w.pool.Addresses[0] // in a pool, and warm
		old.Warmup = warm
		p := relay.Pool{ID: relay.PoolID{ID: relay.NewID(now)}, Account: w.account.ID, Name: "own", CreatedAt: now,
			Addresses: []relay.PoolAddress{address("198.51.100.1", warm), address("198.51.100.2", relay.Warmup{}), old}}
		if err := s.CreatePool(ctx, testBy, p); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]relay.Warmup{"own 198.51.100.1": warm}, warmupsOf(t, s, p.ID, w.pool.ID)); diff != "" {
			t.Error(diff)
		}
		// Written again as it was read: nothing begins, and nothing ends.
		got, err := s.Pool(ctx, p.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.StopWarmup(ctx, testBy, p.Addresses[0].Address); err != nil {
			t.Fatal(err)
		}
		got.Addresses = append(got.Addresses, address("198.51.100.3", warm))
		if err := editPool(s, got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]relay.Warmup{"own 198.51.100.3": warm}, warmupsOf(t, s, p.ID)); diff != "" {
			t.Error(diff)
		}
	})
}
