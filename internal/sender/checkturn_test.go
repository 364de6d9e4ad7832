package sender

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/relay"
)

// One account's checks wait for each other, and nobody else's for them.
func TestAccountLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l accountLines
		var inside atomic.Int64
		results := make(chan error, 100)
		for range 100 {
			go func() {
				leave, err := l.enter(t.Context(), acme, checksOnDemand)
				if err == nil {
					inside.Add(1)
					<-time.After(time.Minute) // longer than the others wait
					leave()
				}
				results <- err
			}()
		}
		synctest.Wait()
		if n := inside.Load(); n != checksOnDemand {
			t.Errorf("%d at once", n)
		}
		other, err := l.enter(t.Context(), globex, checksOnDemand)
		if err != nil {
			t.Errorf("another account: %v", err)
		}
		for range 100 - checksOnDemand {
			if err := <-results; relay.KindOf(err) != relay.RateLimited {
				t.Fatalf("in line: %v", err)
			}
		}
		gone, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("gone"))
		if _, err := l.enter(gone, acme, checksOnDemand); err == nil || err.Error() != "gone" {
			t.Errorf("who gives up: %v", err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		other()
		if len(l.of) != 0 {
			t.Errorf("%d lines are left", len(l.of))
		}
	})
}

// What a tenant asks for waits in line; the Checker's own checks do not.
func TestChecksOnDemandAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, true)
		for range checksOnDemand {
			if _, err := b.s.looking.enter(t.Context(), b.d.Account, checksOnDemand); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.s.Check(t.Context(), testBy, b.d.ID); relay.KindOf(err) != relay.RateLimited {
			t.Errorf("on demand: %v", err)
		}
		if _, err := b.s.Check(t.Context(), byChecker, b.d.ID); err != nil {
			t.Errorf("by the Checker: %v", err)
		}
		if _, err := b.s.making.enter(t.Context(), b.d.Account, keysOnDemand); err != nil {
			t.Fatal(err)
		}
		if _, err := b.s.Rotate(t.Context(), testBy, b.d.ID, RotateOptions{}); relay.KindOf(err) != relay.RateLimited {
			t.Errorf("rotate: %v", err)
		}
		if _, _, err := b.s.Add(t.Context(), testBy, NewDomain{Account: b.d.Account, Name: "more.test"}); relay.KindOf(err) != relay.RateLimited {
			t.Errorf("add: %v", err)
		}
	})
}

// A domain that comes and goes with every look at it does not fill anybody's mailbox.
func TestLettersAboutADomainArePaced(t *testing.T) {
	t.Parallel()
	b := newBench(t, true)
	now, letters := zoneNow, 0
	b.s.Now = func() time.Time { return now }
	b.s.Tell = func(context.Context, relay.Tenant, string, string) error { letters++; return nil }
	r := b.rec("dkim1")
	for i := range 40 {
		if i%2 == 0 {
			b.lab.publish([]relay.DNSRecord{r})
		} else {
			b.lab.drop(r.Host)
		}
		now = now.Add(3 * time.Second)
		if _, err := b.s.Check(t.Context(), testBy, b.d.ID); err != nil {
			t.Fatal(err)
		}
	}
	if letters != paceDomain {
		t.Errorf("%d letters in two minutes", letters)
	}
	now = now.Add(paceSpan)
	b.lab.publish([]relay.DNSRecord{r})
	if _, err := b.s.Check(t.Context(), testBy, b.d.ID); err != nil || letters != paceDomain+1 {
		t.Errorf("%d letters the day after, %v", letters, err)
	}
}
