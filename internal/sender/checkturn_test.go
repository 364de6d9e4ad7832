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
