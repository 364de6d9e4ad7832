package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/finding"
	"postern/internal/relay"
)

func TestDomainCheckRoundTrip(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx, c := context.Background(), newClaimant(t, s)
		d := c.create(c.row(c.account(), "check.test"))
		if _, err := s.DomainCheck(ctx, d.ID); relay.KindOf(err) != relay.NotFound {
			t.Errorf("never checked: %v", err)
		}
		rev := s.Revision()
		want := relay.DomainCheck{
			Domain: d.ID, At: c.now, NextAt: c.now.Add(24 * time.Hour), Valid: true, Secure: true, Servers: []string{"ns1.example.test"},
			Records: []relay.RecordCheck{{DNSRecord: relay.DNSRecord{Key: "dkim1", Type: "CNAME", Host: "s1._domainkey.check.test", Data: "x.test", Required: true},
				Found: []string{"NUL \x00 and a quote \""}, Reason: "other"}},
			Findings: []finding.Finding{{}}, Policy: "none", SPFAligned: "relaxed", DKIMAligned: "strict", Recommended: "v=DMARC1; p=quarantine", Why: "because",
		}
		if err := s.PutDomainCheck(ctx, want); err != nil {
			t.Fatal(err)
		}
		got, err := s.DomainCheck(ctx, d.ID)
		same(t, "check", want, got, err)
		// The next says something else, and does not say when it is due again.
		want.At, want.Valid, want.Unknown, want.Records = c.now.Add(time.Hour), false, true, nil
		second := want
		second.NextAt = time.Time{}
		if err := s.PutDomainCheck(ctx, second); err != nil {
			t.Fatal(err)
		}
		got, err = s.DomainCheck(ctx, d.ID)
		same(t, "second check", want, got, err)
		if s.Revision() != rev {
			t.Error("a check raised the revision")
		}
		second.Recommended = strings.Repeat("x", maxCheck)
		if err := s.PutDomainCheck(ctx, second); relay.KindOf(err) != relay.TooLarge {
			t.Errorf("a check that says too much: %v", err)
		}
		got, err = s.DomainCheck(ctx, d.ID)
		same(t, "after the one too large", want, got, err)
	})
}

// A check that finds what the last one found writes a small row and nothing else:
// what stands in the place of the findings stays there.
func TestSameFindingsAreNotWritten(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx, c := context.Background(), newClaimant(t, s)
		d := c.create(c.row(c.account(), "same.test"))
		check := relay.DomainCheck{Domain: d.ID, At: c.now, NextAt: c.now.Add(time.Hour), Recommended: "first"}
		if err := s.PutDomainCheck(ctx, check); err != nil {
			t.Fatal(err)
		}
		if err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.Exec(`UPDATE domain_findings SET found = '{"recommended":"untouched"}' WHERE domain_id = $1`, blob(d.ID.ID))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for i, found := range []string{"first", "second"} {
			check.At, check.Recommended = c.now.Add(time.Duration(i+1)*time.Hour), found
			if err := s.PutDomainCheck(ctx, check); err != nil {
				t.Fatal(err)
			}
			want := []string{"untouched", "second"}[i]
			if got, err := s.DomainCheck(ctx, d.ID); err != nil || got.Recommended != want || !got.At.Equal(check.At) {
				t.Errorf("%s: %+v, %v; want %s", found, got, err, want)
			}
		}
	})
}

func TestClaimChecks(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx, c := context.Background(), newClaimant(t, s)
		a := c.account()
		var ids []relay.DomainID
		for i, name := range []string{"one.test", "two.test", "three.test", "off.test", "deleted.test", "later.test"} {
			row := c.row(a, name)
			row.CreatedAt = c.now.Add(time.Duration(i-10) * time.Minute)
			if name == "later.test" {
				row.CreatedAt = c.now.Add(time.Minute)
			}
			ids = append(ids, c.create(row).ID)
		}
		if err := s.SetDomainDisabled(ctx, testBy, ids[3], c.now); err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteDomain(ctx, testBy, ids[4], c.now); err != nil {
			t.Fatal(err)
		}
		rev := s.Revision()
		claim := func(now time.Time, n int, want ...relay.DomainID) {
			t.Helper()
			got, err := s.ClaimChecks(ctx, now, now.Add(10*time.Minute), n)
			if err != nil || len(got) != len(want) {
				t.Fatalf("claimed %v, %v; want %v", got, err, want)
			}
			for _, id := range want {
				if !slices.Contains(got, id) {
					t.Errorf("claimed %v, want %v", got, want)
				}
			}
		}
		claim(c.now, 0)
		claim(c.now, 2, ids[0], ids[1])
		claim(c.now, 10, ids[2]) // those that are taken are not due
		claim(c.now, 10)
		claim(c.now.Add(10*time.Minute), 10, ids[0], ids[1], ids[2], ids[5]) // whoever took them died
		// A check brought forward is due; one that is due earlier is not put off.
		if err := s.CheckDue(ctx, ids[0], c.now.Add(12*time.Minute)); err != nil {
			t.Fatal(err)
		}
		if err := s.CheckDue(ctx, ids[0], c.now.Add(24*time.Hour)); err != nil {
			t.Fatal(err)
		}
		if err := s.CheckDue(ctx, ids[3], c.now); err != nil { // it is off: not due
			t.Error(err)
		}
		claim(c.now.Add(12*time.Minute), 10, ids[0])
		if s.Revision() != rev {
			t.Error("claims raised the revision")
		}
		// A check that ends after the domain was switched off does not make it due again.
		if err := s.PutDomainCheck(ctx, relay.DomainCheck{Domain: ids[3], At: c.now, NextAt: c.now}); err != nil {
			t.Error(err)
		}
		claim(c.now.Add(13*time.Minute), 10)
		if err := s.SetDomainDisabled(ctx, testBy, ids[3], time.Time{}); err != nil {
			t.Fatal(err)
		}
		claim(time.Now().Add(time.Second), 10, ids[3])
		if err := s.CheckDue(ctx, relay.DomainID{ID: relay.NewID(time.Now())}, c.now); relay.KindOf(err) != relay.NotFound {
			t.Errorf("no domain: %v", err)
		}
	})
}

// An account with any number of domains that are due gets its turn, and no more,
// while another waits.
func TestClaimsAreFair(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		c := newClaimant(t, s)
		many, few := c.account(), c.account()
		for i := range 30 {
			row := c.row(many, fmt.Sprintf("d%d.many.test", i))
			row.CreatedAt = c.now.Add(-time.Hour)
			c.create(row)
		}
		late := c.row(few, "late.test")
		late.CreatedAt = c.now.Add(-time.Minute)
		late = c.create(late)
		got, err := s.ClaimChecks(context.Background(), c.now, c.now.Add(time.Hour), 4)
		if err != nil || len(got) != 4 || !slices.Contains(got, late.ID) {
			t.Errorf("claimed %v, %v; want %s among them", got, err, late.ID)
		}
		if got, err = s.ClaimChecks(context.Background(), c.now, c.now.Add(time.Hour), 100); err != nil || len(got) != 27 {
			t.Errorf("claimed %d more, %v", len(got), err)
		}
	})
}

// Many workers claim at once, on PostgreSQL as two nodes: each domain goes to one.
func TestClaimsAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		stores := []*Store{newTest(t, cfg)}
		if cfg.URL != "" {
			stores = append(stores, newTest(t, cfg))
		}
		c := newClaimant(t, stores[0])
		a := c.account()
		const n = 60
		for i := range n {
			c.create(c.row(a, string(rune('a'+i%26))+strings.Repeat("x", i/26)+".test"))
		}
		var mu sync.Mutex
		times := map[relay.DomainID]int{}
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				for {
					ids, err := stores[i%len(stores)].ClaimChecks(context.Background(), c.now, c.now.Add(time.Hour), 7)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					for _, id := range ids {
						times[id]++
					}
					done := len(times) == n
					mu.Unlock()
					// What another holds locked at the moment is skipped: that is not the end.
					if done || len(ids) == 0 && len(stores) == 1 {
						return
					}
				}
			})
		}
		wg.Wait()
		for id, k := range times {
			if k != 1 {
				t.Errorf("%s was claimed %d times", id, k)
			}
		}
		if len(times) != n {
			t.Errorf("%d of %d were claimed", len(times), n)
		}
	})
}

// Domains are deleted while checks of them end: whichever comes first, nothing is
// left behind and nobody waits for good.
func TestDeletedWhileChecked(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx, c := context.Background(), newClaimant(t, s)
		a := c.account()
		for i := range 20 {
			d := c.create(c.row(a, strings.Repeat("x", i+1)+".test"))
			var wg sync.WaitGroup
			wg.Go(func() {
				if err := s.PutDomainCheck(ctx, relay.DomainCheck{Domain: d.ID, At: c.now}); err != nil && relay.KindOf(err) != relay.NotFound {
					t.Error(err)
				}
			})
			wg.Go(func() {
				if err := s.DeleteDomain(ctx, testBy, d.ID, c.now); err != nil {
					t.Error(err)
				}
			})
			wg.Wait()
		}
		if n := rows(t, s, "domain_checks") + rows(t, s, "domain_findings"); n != 0 {
			t.Errorf("%d rows of deleted domains", n)
		}
	})
}
