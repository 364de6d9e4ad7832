package store

import (
	"context"
	"database/sql"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

// foundByAll is what every check of the benchmark finds: 3 KB.
var foundByAll = relay.DomainCheck{Valid: true, Recommended: strings.Repeat("x", 3000)}

// fillDomains puts proven domains straight into the tables, each with two RSA and
// two Ed25519 keys of which one of each signs, and the result of a check.
func fillDomains(tb testing.TB, s *Store, n int) (ids []relay.DomainID) {
	tb.Helper()
	ctx, now := context.Background(), time.Now()
	w := newWorld(tb, s)
	err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		found, err := tx.PrepareContext(ctx, `INSERT INTO domain_findings (domain_id, sum, found) VALUES ($1, $2, $3)`)
		if err != nil {
			return err
		}
		text, sum, err := packCheck(foundByAll)
		if err != nil {
			return err
		}
		for i := range n {
			id := relay.DomainID{ID: relay.NewID(now)}
			d := relay.Domain{ID: id, Number: int64(i + 10), Account: w.account.ID, Name: fmt.Sprintf("customer-%06d.example.test", i), State: relay.DomainVerified,
				VerifiedAt: now, Token: fmt.Sprintf("%026d", i), Automatic: true, Label: fmt.Sprint("em", i), ReturnPath: fmt.Sprintf("em%d.customer-%06d.example.test", i, i), CreatedAt: now}
			var keys []relay.DKIMKey
			for _, k := range []relay.DKIMKey{{Selector: "s1", Algorithm: relay.DKIMRSA, Active: true}, {Selector: "s1e", Algorithm: relay.DKIMEd25519, Active: true},
				{Selector: "s2", Algorithm: relay.DKIMRSA}, {Selector: "s2e", Algorithm: relay.DKIMEd25519}} {
				k.Sealed, k.Record, k.CreatedAt = make([]byte, 88), string(make([]byte, 66)), now
				if k.Algorithm == relay.DKIMRSA {
					k.Bits, k.Sealed, k.Record = 2048, make([]byte, 1258), fmt.Sprintf("%0411d", i)
				}
				keys = append(keys, k)
			}
			if err := s.putDomain(ctx, tx, 1, &d, keys); err != nil {
				return err
			}
			if _, err := found.ExecContext(ctx, blob(id.ID), sum, text); err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return ids
}

// BenchmarkDomains measures 100,000 domains with four keys each: reading all, one
// change, and a check that finds what the last one found.
func BenchmarkDomains(b *testing.B) {
	const many = 100_000
	s, _ := openTest(b, Config{})
	ids := fillDomains(b, s, many)
	cfg := s.cfg
	if err := s.Close(); err != nil { // what was filled in is not to be copied while we measure
		b.Fatal(err)
	}
	s = newTest(b, cfg)
	ctx := context.Background()
	b.Run("full", func(b *testing.B) {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var sn *Snapshot
		cpu := cpuTime()
		for b.Loop() {
			var err error
			if sn, err = s.Snapshot(ctx, 0); err != nil || len(sn.DKIMKeys) != 4*many+1 {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64((cpuTime()-cpu).Milliseconds())/float64(b.N), "cpu-ms/op")
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/many, "B-held/domain")
		runtime.KeepAlive(sn)
	})
	b.Run("delta", func(b *testing.B) {
		cpu, since := cpuTime(), s.Revision()
		for i := 0; b.Loop(); i++ {
			if _, err := s.SetDomainState(ctx, testBy, ids[i%many], relay.DomainStateChange{State: relay.DomainVerified, FailingSince: time.Now()}); err != nil {
				b.Fatal(err)
			}
			sn, err := s.Snapshot(ctx, since)
			if err != nil || len(sn.Domains) != 1 || sn.Full {
				b.Fatal(err)
			}
			since = sn.Revision
		}
		b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N), "cpu-us/op")
	})
	b.Run("check", func(b *testing.B) {
		// As a checker works: fifty at a time, in the order in which they are due.
		var claimed []relay.DomainID
		now := time.Now().Add(time.Hour)
		cpu, wrote, rev := cpuTime(), written(), s.Revision()
		for b.Loop() {
			if len(claimed) == 0 {
				now = now.Add(time.Minute)
				var err error
				if claimed, err = s.ClaimChecks(ctx, now, now.Add(time.Hour), 50); err != nil || len(claimed) == 0 {
					b.Fatal(err)
				}
			}
			check := foundByAll
			check.Domain, check.At, check.NextAt = claimed[0], now, now.Add(24*time.Hour)
			if err := s.PutDomainCheck(ctx, check); err != nil {
				b.Fatal(err)
			}
			claimed = claimed[1:]
		}
		b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N), "cpu-us/op")
		b.ReportMetric(float64(written()-wrote)/float64(b.N), "B-written/op")
		if s.Revision() != rev {
			b.Error("checks raised the revision")
		}
	})
}
