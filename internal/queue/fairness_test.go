package queue

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/deliver"
	"postern/internal/relay"
)

// One tenant's flood must not hold up another's single message (P5).
func TestFloodDoesNotHoldUpAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const flood = 20000
		w := newWorld(t, func(_ context.Context, r deliver.Request) deliver.Result {
			time.Sleep(100 * time.Millisecond)
			return answer(r, deliver.Delivered, reply250, deliver.ConnOK)
		}, func(c *Config) { c.SiteMax = 5 })
		w.run()
		for range flood {
			w.submit(tenantA, "a@one.test")
		}
		id := w.submit(tenantB, "b@one.test")
		time.Sleep(time.Second)
		synctest.Wait()
		w.out.mu.Lock()
		place := -1
		for i, o := range w.out.order {
			if o == id {
				place = i
			}
		}
		w.out.mu.Unlock()
		if place < 0 || place > 20 {
			t.Errorf("the single message was attempt number %d behind a flood of %d", place, flood)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if n := w.store.count(relay.EventDelivered); n != flood+1 {
			t.Errorf("delivered %d of %d", n, flood+1)
		}
	})
}

// A flood over many destinations takes every slot there is; another tenant's
// message still gets its turn.
func TestFloodOverManyLanesDoesNotHoldUpAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ context.Context, r deliver.Request) deliver.Result {
			time.Sleep(time.Second)
			return answer(r, deliver.Delivered, reply250, deliver.ConnOK)
		}, func(c *Config) { c.Concurrency = 10 })
		w.run()
		for i := range 2000 {
			w.submit(tenantA, fmt.Sprintf("a@d%d.test", i))
		}
		id := w.submit(tenantB, "b@other.test")
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		w.out.mu.Lock()
		defer w.out.mu.Unlock()
		for i, o := range w.out.order {
			if o == id {
				// Ten at a time: of the third ten at most, whose order is chance.
				if i >= 30 {
					t.Errorf("attempt number %d", i)
				}
				return
			}
		}
		t.Error("not tried within 2.5 s")
	})
}
