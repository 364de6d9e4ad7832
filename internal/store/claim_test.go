package store

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"postern/internal/relay"
)

var testLane = relay.Lane{Pool: testPool, Site: "site.test"}

func TestClaimIsByLaneTenantAndDueTime(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx := context.Background()
		now := time.Now().UTC().Truncate(time.Microsecond)
		put := func(tenant relay.Tenant, pool relay.PoolID, site string, due time.Time, state relay.MessageState) *Acceptance {
			a := mail(t, s, 1, 10, false)
			a.Message.Tenant, a.Message.Pool, a.Message.State = tenant, pool, state
			a.Recipients[0].Site, a.Recipients[0].DueAt = site, due
			accept(t, s, a)
			return a
		}
		sub := relay.Tenant{Account: testTenant.Account, Subuser: testSubuser}
		third := put(testTenant, testPool, "site.test", now.Add(-time.Second), relay.MessageQueued)
		first := put(testTenant, testPool, "site.test", now.Add(-3*time.Second), relay.MessageQueued)
		second := put(testTenant, testPool, "site.test", now.Add(-2*time.Second), relay.MessageQueued)
		put(testTenant, testPool, "site.test", now.Add(time.Second), relay.MessageQueued)
		put(testTenant, testPool, "site.test", now.Add(-time.Second), relay.MessageHeld)
		put(testTenant, testPool, "other.test", now.Add(-time.Second), relay.MessageQueued)
		put(testTenant, relay.PoolID{}, "site.test", now.Add(-time.Second), relay.MessageQueued)
		put(sub, testPool, "site.test", now.Add(-time.Second), relay.MessageQueued)

		shares := map[string]int64{}
		if err := s.Backlog(ctx, func(sh Share) error {
			shares[fmt.Sprintf("%t %s %t", sh.Lane.Pool == testPool, sh.Lane.Site, sh.Tenant == sub)] = sh.Count
			if sh.Lane == testLane && sh.Tenant == testTenant && !sh.MinDue.Equal(now.Add(-3*time.Second)) {
				t.Errorf("min due %v", sh.MinDue)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for k, n := range map[string]int64{"true site.test false": 4, "true other.test false": 1, "false site.test false": 1, "true site.test true": 1} {
			if shares[k] != n {
				t.Errorf("share %q is %d, want %d", k, shares[k], n)
			}
		}
		var got []relay.MessageID
		for range 3 {
			jobs, err := s.Claim(ctx, testLane, testTenant, now, 2)
			if err != nil {
				t.Fatal(err)
			}
			for _, j := range jobs {
				got = append(got, j.Message.ID)
			}
		}
		want := []relay.MessageID{first.Message.ID, second.Message.ID, third.Message.ID}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("claimed %v, want %v", got, want)
		}
		if err := s.Unlease(ctx, []Ref{{Message: first.Message.ID, Generation: 1}, {Message: second.Message.ID, Generation: 99}}); err != nil {
			t.Fatal(err)
		}
		jobs, err := s.Claim(ctx, testLane, testTenant, now, 10)
		if err != nil || len(jobs) != 1 || jobs[0].Message.ID != first.Message.ID || jobs[0].Recipients[0].Generation != 2 {
			t.Errorf("after unlease: %+v, %v", jobs, err)
		}
		checkInvariants(t, s)
	})
}

// TestClaimNeverTwice lets many claim at once: each recipient goes to one.
func TestClaimNeverTwice(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		const messages, per = 30, 3
		for range messages {
			accept(t, s, mail(t, s, per, 10, false))
		}
		var mu sync.Mutex
		seen := map[string]int{}
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				for empty := 0; empty < 3; {
					jobs, err := s.Claim(context.Background(), testLane, testTenant, time.Now(), 7)
					if err != nil {
						t.Error(err)
						return
					}
					if len(jobs) == 0 {
						empty++
					}
					mu.Lock()
					for _, j := range jobs {
						for _, r := range j.Recipients {
							seen[fmt.Sprint(j.Message.ID, r.N)]++
						}
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(seen) != messages*per {
			t.Errorf("%d recipients claimed, want %d", len(seen), messages*per)
		}
		for k, n := range seen {
			if n != 1 {
				t.Errorf("%s was claimed %d times", k, n)
			}
		}
	})
}

func TestClaimMessageTakesHeldAndEarly(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx := context.Background()
		a := mail(t, s, 3, 10, false)
		a.Recipients[0].Lease, a.Recipients[0].Generation = s.Epoch(), 1
		a.Recipients[1].DueAt = time.Now().Add(time.Hour)
		accept(t, s, a)
		if _, err := s.Hold(ctx, By{Who: "test"}, MessageFilter{IDs: []relay.MessageID{a.Message.ID}}, "x"); err != nil {
			t.Fatal(err)
		}
		job, err := s.ClaimMessage(ctx, a.Message.ID)
		if err != nil || len(job.Recipients) != 2 || job.Recipients[0].N != 1 {
			t.Fatalf("claim message: %+v, %v", job, err)
		}
		if job, err := s.ClaimMessage(ctx, a.Message.ID); err != nil || len(job.Recipients) != 0 {
			t.Errorf("again: %+v, %v", job, err)
		}
		if err := s.Finish(ctx, final(a.Message.ID, append(job.Recipients, a.Recipients[0]))); err != nil {
			t.Fatal(err)
		}
		wantRows(t, s, 0, 0, 0, 0)
		if _, err := s.ClaimMessage(ctx, a.Message.ID); relay.KindOf(err) != relay.NotFound {
			t.Errorf("gone: %v", err)
		}
	})
}

func TestHoldReleaseRetry(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx := context.Background()
		by := By{Who: "uid 0", From: "admin.sock"}
		later := time.Now().Add(time.Hour)
		const n = actionPage + 5
		var last *Acceptance
		for range n {
			last = mail(t, s, 1, 0, false)
			last.Recipients[0].DueAt = later
			accept(t, s, last)
		}
		id := MessageFilter{IDs: []relay.MessageID{last.Message.ID}}
		done, err := s.Retry(ctx, by, MessageFilter{Site: "site.test"})
		if err != nil || done.Messages != n || len(done.Lanes) != 1 || done.Lanes[0].Count != n || done.Lanes[0].Lane != testLane {
			t.Fatalf("retry: %+v, %v", done, err)
		}
		if done.Lanes[0].MinDue.After(time.Now()) {
			t.Error("not due now")
		}
		if done, err = s.Hold(ctx, by, MessageFilter{Account: testTenant.Account}, "spam?"); err != nil || done.Messages != n || len(done.Lanes) != 0 {
			t.Fatalf("hold: %+v, %v", done, err)
		}
		if jobs, err := s.Claim(ctx, testLane, testTenant, later, 10); err != nil || len(jobs) != 0 {
			t.Errorf("claimed held mail: %v", err)
		}
		if done, err = s.Retry(ctx, by, id); err != nil || done.Messages != 0 {
			t.Errorf("retry of held mail: %+v, %v", done, err)
		}
		if done, err = s.Release(ctx, by, id); err != nil || done.Messages != 1 || len(done.Lanes) != 1 {
			t.Errorf("release: %+v, %v", done, err)
		}
		if done, err = s.Release(ctx, by, id); err != nil || done.Messages != 0 {
			t.Errorf("release twice: %+v, %v", done, err)
		}
		gone := MessageFilter{IDs: []relay.MessageID{last.Message.ID, {ID: relay.NewID(time.Now())}}}
		if _, err := s.Hold(ctx, by, gone, ""); relay.KindOf(err) != relay.NotFound {
			t.Errorf("unknown id: %v", err)
		}
		if err := s.Quarantine(ctx, last.Message.ID, "damaged"); err != nil {
			t.Fatal(err)
		}
		if err := s.Quarantine(ctx, last.Message.ID, "damaged"); err != nil {
			t.Fatal(err)
		}
		q, err := s.Messages(ctx, MessageFilter{State: relay.MessageQuarantined})
		if err != nil || len(q) != 1 || q[0].Message.Reason != "damaged" {
			t.Errorf("quarantined: %+v, %v", q, err)
		}
		var kinds []relay.EventKind
		h, _ := s.MessageHistory(ctx, last.Message.ID)
		for _, e := range h {
			kinds = append(kinds, e.Kind)
		}
		if fmt.Sprint(kinds) != "[received retried held released quarantined]" {
			t.Errorf("events %v", kinds)
		}
		if n, err := s.References(ctx, MessageFilter{Pool: testPool}); err != nil || n != actionPage+5 {
			t.Errorf("references %d, %v", n, err)
		}
		checkInvariants(t, s)
	})
}

func TestMessageFilters(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx := context.Background()
		a, b := mail(t, s, 2, 0, false), mail(t, s, 1, 0, false)
		b.Message.HeaderFrom, b.Message.Subuser = "other@example.test", testSubuser
		b.Message.Key, b.Message.Domain, b.Message.Pool = relay.KeyID{ID: relay.NewID(time.Now())}, relay.DomainID{ID: relay.NewID(time.Now())}, relay.PoolID{}
		b.Recipients[0].Site, b.Recipients[0].Address = "else.test", "x@else.test"
		b.Message.ID = relay.MessageID{ID: relay.NewID(time.Now().Add(time.Second))} // after a
		accept(t, s, a)
		accept(t, s, b)
		for name, c := range map[string]struct {
			f    MessageFilter
			want int
		}{
			"all": {MessageFilter{}, 2}, "account": {MessageFilter{Account: testTenant.Account}, 2},
			"no such account": {MessageFilter{Account: relay.AccountID{ID: relay.NewID(time.Now())}}, 0},
			"subuser":         {MessageFilter{Subuser: testSubuser}, 1}, "key": {MessageFilter{Key: b.Message.Key}, 1},
			"domain": {MessageFilter{Domain: b.Message.Domain}, 1}, "pool": {MessageFilter{Pool: testPool}, 1},
			"site": {MessageFilter{Site: "else.test"}, 1}, "recipient": {MessageFilter{Recipient: "r1@site.test"}, 1},
			"from": {MessageFilter{Sender: "other@example.test"}, 1}, "envelope sender": {MessageFilter{Sender: "a@example.test"}, 2},
			"state": {MessageFilter{State: relay.MessageHeld}, 0}, "page": {MessageFilter{Limit: 1}, 1},
			"after the first": {MessageFilter{After: a.Message.ID}, 1}, "ids": {MessageFilter{IDs: []relay.MessageID{b.Message.ID}}, 1},
			"id and other site": {MessageFilter{IDs: []relay.MessageID{b.Message.ID}, Site: "site.test"}, 0},
		} {
			got, err := s.Messages(ctx, c.f)
			if err != nil || len(got) != c.want {
				t.Errorf("%s: %d messages, want %d (%v)", name, len(got), c.want, err)
			}
		}
	})
}

// How somebody stood to a message's tenant is noted when they act: their name may be
// somebody else's later.
func TestHoldNotesRank(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx := context.Background()
		sub := relay.SubuserID{ID: relay.NewID(time.Now())}
		for _, v := range []struct {
			of   relay.SubuserID
			by   By
			want string
		}{
			{relay.SubuserID{}, By{Who: "user boss"}, "own"}, {sub, By{Who: "user boss"}, "account"}, {sub, By{Who: "user ann", Subuser: sub}, "own"},
			{sub, By{Who: "user eve", Restricted: true}, "restricted"}, {sub, By{Who: "user eve", Restricted: true, Rank: relay.RankAccount}, "restricted"},
			{relay.SubuserID{}, By{Who: "uid 0", Rank: relay.RankOperator}, "operator"}, {sub, By{Who: "uid 0", Rank: relay.RankOperator}, "operator"},
		} {
			a := mail(t, s, 1, 0, false)
			a.Message.Subuser = v.of
			accept(t, s, a)
			if done, err := s.Hold(ctx, v.by, MessageFilter{IDs: []relay.MessageID{a.Message.ID}}, ""); err != nil || done.Messages != 1 {
				t.Fatalf("%+v, %v", done, err)
			}
			events, err := s.Events(ctx, EventFilter{Message: a.Message.ID})
			if err != nil {
				t.Fatal(err)
			}
			var d relay.EventData
			if err := json.Unmarshal(events[len(events)-1].Data, &d); err != nil || d.ByRank != v.want || d.By != v.by.Who {
				t.Errorf("%+v: %+v, %v, want %s", v.by, d, err, v.want)
			}
		}
	})
}

// Whoever stands above those who hold a message holds it anew; nobody else does, and
// nobody what is quarantined.
func TestHoldOverAHold(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx := context.Background()
		sub := relay.SubuserID{ID: relay.NewID(time.Now())}
		a := mail(t, s, 1, 0, false)
		a.Message.Subuser = sub
		a.Message.State = relay.MessageHeld // by the mode of its key
		accept(t, s, a)
		f := MessageFilter{IDs: []relay.MessageID{a.Message.ID}}
		own, account, operator := By{Who: "user ann", Subuser: sub}, By{Who: "user boss"}, By{Who: "uid 0", Rank: relay.RankOperator}
		for i, step := range []struct {
			by   By
			want int64
		}{
			{own, 0}, {By{Who: "user eve", Restricted: true}, 0}, {account, 1}, {account, 0}, {own, 0}, {operator, 1}, {account, 0}, {operator, 0},
		} {
			if done, err := s.Hold(ctx, step.by, f, step.by.Who); err != nil || done.Messages != step.want {
				t.Errorf("step %d: %+v, %v", i, done, err)
			}
		}
		q, err := s.Message(ctx, a.Message.ID)
		if err != nil || q.Message.State != relay.MessageHeld || q.Message.Reason != "uid 0" {
			t.Errorf("%+v, %v", q.Message, err)
		}
		var d relay.EventData
		if e, err := s.LastHold(ctx, a.Message.ID); err != nil || json.Unmarshal(e.Data, &d) != nil || d.ByRank != "operator" {
			t.Errorf("%+v, %v", e, err)
		}
		if err := s.Quarantine(ctx, a.Message.ID, "test"); err != nil {
			t.Fatal(err)
		}
		if done, err := s.Hold(ctx, operator, f, ""); err != nil || done.Messages != 0 {
			t.Errorf("of a quarantined one: %+v, %v", done, err)
		}
		checkInvariants(t, s)
	})
}
