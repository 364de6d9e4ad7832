package store

import (
	"context"
	"database/sql"
	"fmt"
	"net/netip"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/relay"
	"postern/internal/testkit/pgtest"
)

// view is what somebody knows who applies one snapshot after the other.
type view struct {
	revision int64
	accounts map[relay.AccountID]relay.Account
	subusers map[relay.SubuserID]relay.Subuser
	keys     map[relay.KeyID]relay.Key
	pools    map[relay.PoolID]relay.Pool
	domains  map[relay.DomainID]relay.Domain
	dkim     map[string]relay.DKIMKey
	access   map[relay.Tenant]relay.AccessList
	tokens   map[relay.TokenID]time.Time
}

func (v *view) apply(sn *Snapshot) {
	if sn.Full || v.accounts == nil {
		*v = view{accounts: map[relay.AccountID]relay.Account{}, subusers: map[relay.SubuserID]relay.Subuser{}, keys: map[relay.KeyID]relay.Key{},
			pools: map[relay.PoolID]relay.Pool{}, domains: map[relay.DomainID]relay.Domain{}, dkim: map[string]relay.DKIMKey{},
			access: map[relay.Tenant]relay.AccessList{}, tokens: map[relay.TokenID]time.Time{}}
	}
	v.revision = sn.Revision
	for _, a := range sn.Accounts {
		v.accounts[a.ID] = a
	}
	for _, u := range sn.Subusers {
		v.subusers[u.ID] = u
	}
	for _, k := range sn.Keys {
		v.keys[k.ID] = k
	}
	for _, p := range sn.Pools {
		v.pools[p.ID] = p
	}
	for _, d := range sn.Domains {
		v.domains[d.ID] = d
	}
	for _, k := range sn.DKIMKeys {
		v.dkim[k.Domain.String()+k.Selector] = k
	}
	for _, l := range sn.Access {
		v.access[l.Tenant] = l
	}
	for id, until := range sn.RevokedTokens {
		v.tokens[id] = until
	}
}

// TestDeltasAddUpToTheWhole: after every kind of change, what has changed since,
// applied to what was known, is what a full reading gives; and it is small.
func TestDeltasAddUpToTheWhole(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx := context.Background()
		w, other := newWorld(t, s), newWorld(t, s)
		first, err := s.Snapshot(ctx, 0)
		if err != nil || !first.Full || first.Since != 0 || len(first.Keys) != 2 {
			t.Fatalf("first %+v, %v", first, err)
		}
		var v view
		v.apply(first)
		now := time.Now().UTC().Truncate(time.Microsecond)
		tenant := relay.Tenant{Account: w.account.ID, Subuser: w.subuser.ID}
		token := relay.TokenID{ID: relay.NewID(now)}
		v2 := w.key.Verifier
		v2.SHA256 = [32]byte{9}
		u, a, p, d := w.subuser, w.account, w.pool, w.domain
		u.Email, a.OwnerEmail, p.Addresses, d.Quiet = "x@example.test", "y@example.test", p.Addresses[:1], !d.Quiet
		rules := relay.AccessList{Tenant: tenant, Rules: []relay.AccessRule{{Network: netip.MustParsePrefix("192.0.2.0/24")}, {Host: "vpn.example.test"}}}
		for _, c := range []struct {
			what string
			do   func() error
			rows int // in the delta
		}{
			{"account", func() error { return editAccount(s, a) }, 1},
			{"subuser", func() error { return editSubuser(s, u) }, 1},
			{"subuser off", func() error { return s.SetSubuserDisabled(ctx, testBy, u.ID, now) }, 1},
			{"key", func() error { return s.SetKeyDisabled(ctx, testBy, w.key.ID, now) }, 1},
			{"key rotated", func() error { return s.RotateKey(ctx, testBy, w.key.ID, v2, now, now.Add(time.Hour)) }, 1},
			{"pool", func() error { return editPool(s, p) }, 1},
			{"domain", func() error { return editDomain(s, d) }, 1},
			{"DKIM key", func() error { return s.SetDKIMKeyActive(ctx, testBy, d.ID, "s1", false) }, 1},
			{"access list", func() error { _, err := s.SetAccessList(ctx, testBy, rules); return err }, 1},
			{"access list emptied", func() error { _, err := s.SetAccessList(ctx, testBy, relay.AccessList{Tenant: tenant}); return err }, 1},
			{"token", func() error { return s.RevokeToken(ctx, testBy, w.account.ID, token, now.Add(time.Hour)) }, 1},
			{"subuser deleted", func() error { return s.DeleteSubuser(ctx, testBy, u.ID, now) }, 2}, // and its key
			{"refused", func() error {
				if err := s.CreateAccount(ctx, testBy, a); relay.KindOf(err) != relay.Conflict {
					t.Errorf("same account again: %v", err)
				}
				return nil
			}, 0},
		} {
			if err := c.do(); err != nil {
				t.Fatalf("%s: %v", c.what, err)
			}
			delta, err := s.Snapshot(ctx, v.revision)
			if err != nil {
				t.Fatalf("%s: %v", c.what, err)
			}
			n := len(delta.Accounts) + len(delta.Subusers) + len(delta.Keys) + len(delta.Pools) + len(delta.Domains) + len(delta.DKIMKeys) + len(delta.Access) + len(delta.RevokedTokens)
			if delta.Full || delta.Since != v.revision || n != c.rows {
				t.Errorf("%s: %d rows since %d, want %d: %+v", c.what, n, v.revision, c.rows, delta)
			}
			v.apply(delta)
			full, err := s.Snapshot(ctx, 0)
			if err != nil {
				t.Fatal(err)
			}
			var whole view
			whole.apply(full)
			if diff := cmp.Diff(whole, v, sameAddr, cmp.AllowUnexported(view{})); diff != "" {
				t.Errorf("%s (-whole +deltas):\n%s", c.what, diff)
			}
		}
		// A delta over everything is everything, and a revision that never was (the
		// database was put back to an older copy) is answered with the whole.
		if all, err := s.Snapshot(ctx, 1); err != nil || all.Full || len(all.Keys) != 2 || len(all.Pools[0].Addresses)+len(all.Pools[1].Addresses) != 3 {
			t.Errorf("since 1: %+v, %v", all, err)
		}
		if all, err := s.Snapshot(ctx, v.revision+1000); err != nil || !all.Full || len(all.Keys) != 2 {
			t.Errorf("since the future: %+v, %v", all, err)
		}
		if _, ok := v.keys[other.key.ID]; !ok {
			t.Error("the other key is gone")
		}
	})
}

// fillTenants puts accounts, subusers and keys straight into the tables.
func fillTenants(tb testing.TB, s *Store, subusers, keys int) (some []relay.KeyID) {
	tb.Helper()
	ctx, now := context.Background(), time.Now()
	w := newWorld(tb, s)
	var subs []relay.SubuserID
	err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		add, err := tx.PrepareContext(ctx, insertSubuser)
		if err != nil {
			return err
		}
		for i := range subusers {
			id := relay.SubuserID{ID: relay.NewID(now)}
			if _, err := add.ExecContext(ctx, blob(id.ID), blob(w.account.ID.ID), int64(100+i), fmt.Sprintf("sub%06d", i), "s@example.test", noBlob, "", "", "",
				micros(now), int64(0), int64(0), int64(0), int64(1)); err != nil {
				return err
			}
			subs = append(subs, id)
		}
		put, err := tx.PrepareContext(ctx, insertKey)
		if err != nil {
			return err
		}
		for i := range keys {
			k := relay.Key{ID: relay.KeyID{ID: relay.NewID(now)}, Account: w.account.ID, Subuser: subs[i%len(subs)], Kind: relay.KeyAPI, Name: fmt.Sprintf("key %06d", i),
				Scopes: []string{"mail.send", "stats.read"}, Mode: relay.KeyLive, CreatedAt: now, Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
				Verifier: relay.Verifier{SHA256: [32]byte{byte(i)}, SCRAMSalt: make([]byte, 16), SCRAMIterations: 10_000, SCRAMStoredKey: make([]byte, 32), SCRAMServerKey: make([]byte, 32)}}
			args, err := keyArgs(&k, 1)
			if err != nil {
				return err
			}
			if _, err := put.ExecContext(ctx, args...); err != nil {
				return err
			}
			some = append(some, k.ID)
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return some
}

// BenchmarkSnapshot reads 10,000 subusers and 100,000 keys: all of them, and
// what one change has changed.
func BenchmarkSnapshot(b *testing.B) {
	for name, cfg := range map[string]func(b *testing.B) Config{
		"sqlite": func(b *testing.B) Config { return Config{Path: filepath.Join(b.TempDir(), "postern.db")} },
		"postgres": func(b *testing.B) Config {
			pg, err := pgtest.New()
			if err != nil {
				b.Skip(err)
			}
			b.Cleanup(pg.Close)
			return Config{URL: pg.Database(b), LeaseTime: time.Hour}
		},
	} {
		b.Run(name, func(b *testing.B) {
			s, _ := openTest(b, cfg(b))
			ids := fillTenants(b, s, 10_000, 100_000)
			ctx := context.Background()
			b.Run("full", func(b *testing.B) {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				var sn *Snapshot
				cpu := cpuTime()
				for b.Loop() {
					var err error
					if sn, err = s.Snapshot(ctx, 0); err != nil || len(sn.Keys) != 100_001 {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64((cpuTime()-cpu).Milliseconds())/float64(b.N), "cpu-ms/op")
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/100_000, "B-held/key")
				runtime.KeepAlive(sn)
			})
			b.Run("delta", func(b *testing.B) {
				for i := 0; b.Loop(); i++ {
					b.StopTimer()
					since := s.Revision()
					if err := s.SetKeyDisabled(ctx, testBy, ids[i%len(ids)], time.Now()); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
					if sn, err := s.Snapshot(ctx, since); err != nil || len(sn.Keys) != 1 || sn.Full {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
