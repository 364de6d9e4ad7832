package auth

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/sasl"
	"postern/internal/secret"
)

// discard keeps nothing: what records cost is the store's to measure.
type discard struct{}

func (discard) RecordLogin(relay.Login) {}
func (discard) RecordKeyUse(relay.KeyID, time.Time, netip.Addr, string, string, bool) {
}
func (discard) RecordAccess(relay.AccessSeen) {}

// benched is a world with many keys, as a large installation has it.
func benched(b *testing.B, keys int) (*world, secret.Key) {
	b.Helper()
	w := newWorld(b, func(c *Config) { c.Recorder, c.Activity, c.Now = discard{}, discard{}, time.Now })
	w.cfg.Guard = NewGuard(GuardConfig{})
	w.dir.access = [2]*relay.AccessList{rules("192.0.2.0/24"), rules("10.0.0.0/8", "192.0.0.0/16")}
	key, row := w.apiKey(b, func(k *relay.Key) { k.Networks = prefixes("192.0.2.0/24") })
	for i := range keys {
		k := *row
		k.ID = relay.KeyID{ID: relay.ID{1, byte(i), byte(i >> 8), byte(i >> 16)}}
		w.dir.keys[k.ID] = &k
	}
	return w, key
}

// BenchmarkLogin is the CPU of one successful AUTH, without SQL (there is none)
// and without the network.
func BenchmarkLogin(b *testing.B) {
	w, key := benched(b, 100_000)
	ctx := context.Background()
	at := w.attempt("PLAIN")
	token, _, err := w.MintToken(&relay.Principal{Key: w.dir.keys[relay.KeyID{ID: key.ID}]}, nil, 0)
	if err != nil {
		b.Fatal(err)
	}
	in := func(*relay.Principal) {}
	for _, bm := range []struct {
		name string
		run  func() error
	}{
		{"PLAIN", func() error {
			return w.Exchange(at, in).Authenticate(ctx, sasl.Credentials{Mechanism: "PLAIN", User: "apikey", Secret: key.Text()})
		}},
		{"SCRAM", func() error {
			x := w.Exchange(at, in)
			x.SCRAM(ctx, key.IDText())
			return x.Proved(ctx, sasl.Proof{Mechanism: "SCRAM-SHA-256", User: key.IDText(), Key: 0})
		}},
		{"CRAM-MD5", func() error {
			return w.Exchange(at, in).CRAM(ctx, key.IDText(), func(s secret.Redacted) bool { return s == key.Text() })
		}},
		{"token", func() error {
			return w.Exchange(at, in).Bearer(ctx, sasl.Bearer{Mechanism: "XOAUTH2", Token: token})
		}},
		{"HTTP", func() error {
			http := at
			http.Protocol, http.Mechanism, http.Secret = "http", "BEARER", key.Text()
			_, err := w.Bearer(ctx, http)
			return err
		}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := bm.run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFlood is a flood of failures on all CPUs: from one address, which is
// soon refused unseen, and from everywhere, which fills the tables.
func BenchmarkFlood(b *testing.B) {
	for _, everywhere := range []bool{false, true} {
		b.Run(fmt.Sprintf("everywhere=%v", everywhere), func(b *testing.B) {
			w, key := benched(b, 1000)
			wrong, err := secret.NewSecret("SG", key.ID)
			if err != nil {
				b.Fatal(err)
			}
			pass := wrong.Text()
			ctx := context.Background()
			var n atomic.Uint32
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				at := w.attempt("PLAIN")
				at.User, at.Secret = "apikey", pass
				for pb.Next() {
					if everywhere {
						i := n.Add(1)
						at.Addr = netip.AddrFrom4([4]byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)})
					}
					if _, err := w.Login(ctx, at); err == nil {
						b.Fatal("let in")
					}
				}
			})
			if n := w.cfg.Guard.addresses.size(); n > 65_536 {
				b.Fatalf("%d addresses", n)
			}
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	w, key := benched(b, 100_000)
	ctx, addr := context.Background(), netip.MustParseAddr(home)
	p := &relay.Principal{Key: w.dir.keys[relay.KeyID{ID: key.ID}]}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Check(ctx, p, addr); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGuardSave is what a full Guard costs to save, in time and size.
func BenchmarkGuardSave(b *testing.B) {
	g := NewGuard(GuardConfig{})
	k := &relay.Key{}
	now := time.Now()
	for i := range 200_000 {
		s := g.stand(netip.AddrFrom4([4]byte{byte(i >> 16), byte(i >> 8), byte(i), 1}), now)
		k.ID.ID, k.Account.ID = relay.ID{byte(i), byte(i >> 8), byte(i >> 16)}, relay.ID{1, byte(i), byte(i >> 8), byte(i >> 16)}
		g.failed(s, k, now)
		g.succeeded(s, k, now)
	}
	var n int
	for b.Loop() {
		n = len(g.Save())
	}
	b.ReportMetric(float64(n), "octets")
}
