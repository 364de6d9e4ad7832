package queue

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/deliver"
	"postern/internal/relay"
)

// DL-23: a destination that is alive and very slow keeps its own slots busy. The
// same tenant's mail to others goes at once.
func TestSlowSiteDoesNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const flood = 300
		var slow, most atomic.Int32
		w := newWorld(t, func(_ context.Context, r deliver.Request) deliver.Result {
			if r.Route.Domain == "slow.test" {
				most.Store(max(most.Load(), slow.Add(1)))
				time.Sleep(30 * time.Minute)
				slow.Add(-1)
			}
			return answer(r, deliver.Delivered, reply250, deliver.ConnOK)
		}, func(c *Config) { c.SiteMax, c.Concurrency = 5, 20 })
		w.run()
		for range flood {
			w.submit(tenantA, "a@slow.test")
		}
		time.Sleep(10 * time.Minute) // all slots that the site may have are taken
		before := w.store.count(relay.EventDelivered)
		for range 10 {
			w.submit(tenantA, "b@fast.test")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := w.store.count(relay.EventDelivered) - before; n != 10 {
			t.Errorf("%d of 10 messages to another site were delivered within a second", n)
		}
		if slow.Load() == 0 || most.Load() > 5 {
			t.Errorf("%d attempts at the slow site, at most %d at once", slow.Load(), most.Load())
		}
		time.Sleep(60 * time.Hour)
		synctest.Wait()
		if n := w.store.count(relay.EventDelivered); n != flood+10 {
			t.Errorf("delivered %d of %d", n, flood+10)
		}
	})
}
