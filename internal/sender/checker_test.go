package sender

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/dns"
	"postern/internal/relay"
)

// manyDomains makes n verified domains with their records in one lab.
func manyDomains(tb testing.TB, n int) *testBench {
	tb.Helper()
	b := newBench(tb, true)
	b.s.Settings = Settings{CheckEvery: time.Hour, Grace: time.Hour, Pause: time.Hour}
	for i := 1; i < n; i++ {
		b.add(tb, relay.Domain{Account: acme, Name: fmt.Sprintf("d%d.acme.test", i), Automatic: true, State: relay.DomainPending, ReturnPath: AutoReturnPath})
		b.lab.publish(Records(b.s.Zone, b.d, b.keys))
	}
	return b
}

// run runs a Checker in the bubble until the test ends it.
func run(t *testing.T, c *Checker) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

// counted counts the checks that are stored.
type counted struct {
	*domainMemory
	n atomic.Int64
}

func (c *counted) PutDomainCheck(ctx context.Context, check relay.DomainCheck) error {
	c.n.Add(1)
	return c.domainMemory.PutDomainCheck(ctx, check)
}

func TestCheckerPacesAndComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := manyDomains(t, 60)
		store := &counted{domainMemory: b.m}
		b.s.Store = store
		stop := run(t, &Checker{Domains: b.s, PerMinute: 30})
		time.Sleep(time.Minute - time.Second)
		synctest.Wait()
		if n := store.n.Load(); n < 25 || n > 31 {
			t.Errorf("%d checks in the first minute, want 30", n)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := store.n.Load(); n != 60 {
			t.Errorf("%d checks of 60 domains", n)
		}
		for _, d := range b.m.domains {
			if d.State != relay.DomainVerified {
				t.Errorf("%s is %s", d.Name, d.State)
			}
		}
		time.Sleep(time.Hour + 20*time.Minute)
		synctest.Wait()
		stop()
		// Once more for the Ed25519 keys, which nobody serves here, and once after an hour.
		if n := store.n.Load(); n < 180 || n > 190 {
			t.Errorf("%d checks after an hour, want 180", n)
		}
		var least, most time.Time
		for _, c := range b.m.checks {
			if least.IsZero() || c.NextAt.Before(least) {
				least = c.NextAt
			}
			if c.NextAt.After(most) {
				most = c.NextAt
			}
		}
		if most.Sub(least) < 3*time.Minute {
			t.Errorf("the next checks are all within %s", most.Sub(least))
		}
	})
}

func TestCheckerOutlivesTrouble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := manyDomains(t, 3)
		b.m.fail = errors.New("database is away")
		stop := run(t, &Checker{Domains: b.s, PerMinute: 600})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		b.m.mu.Lock()
		tried := b.m.failed
		b.m.fail = nil
		b.m.mu.Unlock()
		if tried < 5 || tried > 12 {
			t.Errorf("tried %d times in 10 minutes", tried)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if len(b.m.checks) != 3 {
			t.Errorf("%d checks after it", len(b.m.checks))
		}
		stop()
	})
}

// Domains whose name servers hang do not keep more than a few goroutines, and do
// not stop the others.
func TestCheckerBoundsWhatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := manyDomains(t, 40)
		var now, most atomic.Int64
		b.s.Authority = askerFunc(func(ctx context.Context, name, typ string) (dns.Asked, error) {
			if !within(name, "d7.acme.test") {
				most.Store(max(most.Load(), now.Add(1)))
				defer now.Add(-1)
				<-ctx.Done()
				return dns.Asked{}, fmt.Errorf("%w: %w", dns.ErrTemporary, ctx.Err())
			}
			return b.lab.Ask(ctx, name, typ)
		})
		stop := run(t, &Checker{Domains: b.s, PerMinute: 6000})
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := most.Load(); n > checksAtOnce*inFlight {
			t.Errorf("%d questions at once", n)
		}
		if len(b.m.checks) != 1 {
			t.Errorf("%d checks kept, want that of the one domain that answers", len(b.m.checks))
		}
		stop()
		if n := now.Load(); n != 0 {
			t.Errorf("%d questions are still under way after Run", n)
		}
	})
}

// A pending domain is looked at often at first, and less with time.
func TestCheckerPending(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, true)
		b.s.Settings.CheckEvery = 24 * time.Hour
		b.lab.drop(b.rec("dkim1").Host)
		store := &counted{domainMemory: b.m}
		b.s.Store = store
		stop := run(t, &Checker{Domains: b.s})
		for _, tt := range []struct {
			after     time.Duration
			least, at int64
		}{{20 * time.Minute, 4, 7}, {24 * time.Hour, 25, 36}, {40 * 24 * time.Hour, 95, 130}} {
			time.Sleep(tt.after)
			synctest.Wait()
			if n := store.n.Load(); n < tt.least || n > tt.at {
				t.Errorf("%d checks after %s more", n, tt.after)
			}
		}
		b.lab.publish(b.rs[1:2])
		time.Sleep(8 * 24 * time.Hour)
		synctest.Wait()
		stop()
		if d := b.m.domains[b.d.ID]; d.State != relay.DomainVerified {
			t.Errorf("published at last: %s", d.State)
		}
	})
}
