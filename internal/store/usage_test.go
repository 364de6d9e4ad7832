package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/relay"
)

// usageOf is what a message of n recipients adds to its account and its key.
func usageOf(now time.Time, n int64, subjects ...relay.ID) []relay.UsageDelta {
	var all []relay.UsageDelta
	for _, s := range subjects {
		all = append(all, relay.UsageDelta{Subject: s, Minute: now.Unix() / 60, Day: now.Unix() / 86400, N: n})
	}
	return all
}

// wantUsed checks that a subject has used so much, by every count there is.
func wantUsed(t testing.TB, s *Store, subject relay.ID, want int64) {
	t.Helper()
	u, err := s.Used(context.Background(), subject, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	var minutes, days int64
	for n := range maps.Values(u.Minutes) {
		minutes += n
	}
	for n := range maps.Values(u.Days) {
		days += n
	}
	if minutes != want || days != want || u.Ever != want {
		t.Errorf("used %d by minutes, %d by days, %d ever; want %d", minutes, days, u.Ever, want)
	}
}

// TestUsageCommitsWithTheMessage: what is accepted counts, what is not does not,
// and mail that is kept nowhere counts too.
func TestUsageCommitsWithTheMessage(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx, now := context.Background(), time.Now()
		account, key := relay.NewID(now), relay.NewID(now)
		a := mail(t, s, 3, 10, false)
		a.Usage = usageOf(now, 3, account, key)
		accept(t, s, a)
		again := mail(t, s, 3, 0, false)
		again.Message.ID, again.Usage = a.Message.ID, usageOf(now, 3, account)
		if err := s.Accept(ctx, again); relay.KindOf(err) != relay.Conflict {
			t.Fatalf("same id: %v", err)
		}
		test := mail(t, s, 0, 0, false)
		test.Usage = usageOf(now, 2, account)
		accept(t, s, test)
		wantUsed(t, s, account, 5)
		wantUsed(t, s, key, 3)
		wantUsed(t, s, relay.NewID(now), 0)
		for _, bad := range []relay.UsageDelta{{Subject: account, N: 0}, {Subject: account, N: -1}, {N: 1}, {Subject: account, N: maxUsage + 1}} {
			a := mail(t, s, 1, 0, false)
			a.Usage = []relay.UsageDelta{bad}
			if err := s.Accept(ctx, a); !errors.Is(err, errAcceptance) {
				t.Errorf("usage %+v: %v", bad, err)
			}
		}
		u, err := s.Used(ctx, account, now.Unix()/60+5, now.Unix()/86400+2)
		if err != nil || len(u.Minutes) != 0 || len(u.Days) != 0 || u.Ever != 5 {
			t.Errorf("from later on: %+v, %v", u, err)
		}
	})
}

// TestUsageIsMerged: 200 messages of one tenant in a batch are four increments,
// in one order whoever makes them.
func TestUsageIsMerged(t *testing.T) {
	t.Parallel()
	now := time.Now()
	account, key, other := relay.ID{1}, relay.ID{2}, relay.ID{3}
	var ops []*op
	for i := range 200 {
		o := newOp("accept")
		subjects := []relay.ID{account, key}
		if i%2 == 0 {
			subjects = []relay.ID{key, account}
		}
		if err := appendUsage(o, usageOf(now, 2, subjects...)); err != nil {
			t.Fatal(err)
		}
		ops = append(ops, o)
	}
	calls := usageCalls(ops)
	if len(calls) != 4 {
		t.Fatalf("%d increments", len(calls))
	}
	for i, want := range []struct {
		st      *stmt
		subject relay.ID
	}{{stmtUsageMinute, account}, {stmtUsageMinute, key}, {stmtUsageDay, account}, {stmtUsageDay, key}} {
		b, _ := calls[i].args[0].([]byte)
		if calls[i].st != want.st || idOf(b) != want.subject || calls[i].args[2] != int64(400) {
			t.Errorf("increment %d: %v", i, calls[i].args)
		}
	}
	last := newOp("accept")
	if err := appendUsage(last, append(usageOf(now.Add(time.Minute), 1, account), usageOf(now, 1, other)...)); err != nil {
		t.Fatal(err)
	}
	if n := len(usageCalls(append(ops, last))); n != 7 { // another minute; another subject, twice
		t.Errorf("%d increments", n)
	}
	if usageCalls([]*op{newOp("finish")}) != nil {
		t.Error("increments of nothing")
	}
}

// TestUsageIsExactUnderFaults: faults of single operations in the same batches,
// and of commits whose answer is lost; the counts are the sum of what the callers
// were told is stored.
func TestUsageIsExactUnderFaults(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		var n atomic.Int64
		cfg.fault = func(point string) error {
			switch i := n.Add(1); {
			case point == "accept" && i%7 == 0:
				return fmt.Errorf("%w %d", errInjected, i)
			case cfg.URL != "" && (point == "commit" && i%31 == 0 || point == "committed" && i%37 == 0):
				return errInjected // the connection breaks; the outcome is read
			}
			return nil
		}
		s := newTest(t, cfg)
		now := time.Now()
		account := relay.NewID(now)
		taken := mail(t, s, 1, 0, false).Message.ID
		var sum atomic.Int64
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for i := range 25 {
					a := mail(t, s, 1+i%3, 0, false)
					if i%5 == 0 {
						a.Message.ID = taken // the database refuses all but one
					}
					count := int64(len(a.Recipients))
					a.Usage = usageOf(now.Add(time.Duration(g%2)*time.Minute), count, account)
					if err := s.Accept(context.Background(), a); err == nil {
						sum.Add(count)
					}
				}
			})
		}
		wg.Wait()
		if sum.Load() == 0 {
			t.Fatal("nothing was accepted")
		}
		wantUsed(t, s, account, sum.Load())
		if got := rows(t, s, "recipients"); int64(got) != sum.Load() {
			t.Errorf("%d recipients, %d told", got, sum.Load())
		}
		checkInvariants(t, s)
	})
}

// TestUsageSurvivesAKill: what was told accepted is counted once after a kill, in
// both outcomes of the commit that it met.
func TestUsageSurvivesAKill(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		point string
		want  int64
	}{{"commit", 4}, {"committed", 6}} {
		t.Run(c.point, func(t *testing.T) {
			t.Parallel()
			var f faults
			s, _ := openTest(t, Config{fault: f.hook})
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- s.Run(ctx) }()
			now := time.Now()
			account := relay.NewID(now)
			for range 2 {
				a := mail(t, s, 2, 10, false)
				a.Usage = usageOf(now, 2, account)
				accept(t, s, a)
			}
			f.set(c.point, 1, errInjected)
			a := mail(t, s, 2, 10, false)
			a.Usage = usageOf(now, 2, account)
			if err := s.Accept(context.Background(), a); !errors.Is(err, ErrStopped) {
				t.Fatalf("accept: %v", err)
			}
			<-done
			cfg := killed(t, s, s.cfg)
			cfg.fault = nil
			s2, _ := openTest(t, cfg)
			wantUsed(t, s2, account, c.want)
			if got := rows(t, s2, "recipients"); int64(got) != c.want {
				t.Errorf("%d recipients, %d counted", got, c.want)
			}
		})
	}
}

// TestTwoNodesCountOneTenant: batches of two nodes wait for each other's rows and
// never block for good, and nothing is lost.
func TestTwoNodesCountOneTenant(t *testing.T) {
	t.Parallel()
	url := sharedPg(t).Database(t)
	nodes := []*Store{newTest(t, Config{URL: url, LeaseTime: time.Hour}), newTest(t, Config{URL: url, LeaseTime: time.Hour})}
	now := time.Now()
	subjects := []relay.ID{relay.NewID(now), relay.NewID(now), relay.NewID(now)}
	const workers, each = 6, 15
	var wg sync.WaitGroup
	for i := range workers {
		s := nodes[i%2]
		wg.Go(func() {
			for j := range each {
				a := mail(t, s, 1, 0, false)
				order := []relay.ID{subjects[(i+j)%3], subjects[(i+j+1)%3], subjects[(i+j+2)%3]}
				a.Usage = usageOf(now, 1, order...)
				if err := s.Accept(context.Background(), a); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, id := range subjects {
		wantUsed(t, nodes[0], id, workers*each)
	}
}

// TestOldUsageIsFolded: minutes go after two hours, days after 400 days, and the
// sum stays.
func TestOldUsageIsFolded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx, now := context.Background(), time.Now()
		var subjects []relay.ID
		for range usagePage/100 + 1 {
			subjects = append(subjects, relay.NewID(now))
		}
		count := func(at time.Time, n int64) {
			a := mail(t, s, 0, 0, false)
			a.Usage = usageOf(at, n, subjects...)
			accept(t, s, a)
		}
		for i := range 120 { // more than a page of each
			count(now.Add(-time.Duration(i)*2*time.Minute), 1)
			count(now.AddDate(0, 0, -390-i), 10)
		}
		for range 2 { // again: nothing is folded twice
			if err := s.sweep(ctx); err != nil {
				t.Fatal(err)
			}
			for _, id := range subjects {
				u, err := s.Used(ctx, id, 0, 0)
				if err != nil || u.Ever != 120+1200 {
					t.Fatalf("ever %d, %v", u.Ever, err)
				}
				if len(u.Minutes) < 60 || len(u.Minutes) > 61 || len(u.Days) < 11 || len(u.Days) > 13 {
					t.Errorf("%d minutes and %d days are left", len(u.Minutes), len(u.Days))
				}
			}
		}
		count(now, 5)
		if u, err := s.Used(ctx, subjects[0], now.Unix()/60-1, now.Unix()/86400); err != nil || u.Ever != 1325 {
			t.Errorf("used %+v, %v", u, err)
		}
		if n := rows(t, s, "usage_totals"); n != len(subjects) {
			t.Errorf("%d totals", n)
		}
	})
}
