package queue

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/deliver"
	"postern/internal/relay"
)

var (
	tenantNews = relay.Tenant{Account: tenantA.Account, Subuser: relay.SubuserID{ID: relay.ID{5}}}
	tenantShop = relay.Tenant{Account: tenantA.Account, Subuser: relay.SubuserID{ID: relay.ID{6}}}
)

// waits puts a message into the store, to be tried later.
func (w *world) waits(t relay.Tenant, in time.Duration, to ...string) relay.MessageID {
	m, rcpts := makeMessage(t, to...)
	for i := range rcpts {
		rcpts[i].DueAt = rcpts[i].DueAt.Add(in)
	}
	w.store.put(m, rcpts)
	if w.q.started {
		for _, r := range rcpts {
			w.q.Waiting(relay.Lane{Pool: m.Pool, Site: r.Site}, t, r.DueAt)
		}
	}
	return m.ID
}

func deletable(deleted *sync.Map) func(*Config) {
	return func(c *Config) {
		c.Directory = fakeDirectory{deleted: deleted, off: map[relay.Tenant]string{tenantShop: "the subuser is disabled"}}
	}
}

// dropped counts drops, and fails for any that does not say why.
func (w *world) dropped() (n int) {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	for _, e := range w.store.events {
		var d relay.EventData
		if e.Kind != relay.EventDropped {
			continue
		}
		if err := json.Unmarshal(e.Data, &d); err != nil || d.Reason != "the subuser was deleted" || e.Tenant != tenantNews || e.Recipient == "" {
			w.t.Errorf("%+v %v", e, err)
		}
		n++
	}
	return n
}

// P5: what a deleted subuser has queued is dropped within seconds, whatever it
// waits for; others' mail, and a disabled one's, is not.
func TestDeletedSubusersMailIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deleted := &sync.Map{}
		var slow atomic.Bool
		slow.Store(true)
		w := newWorld(t, func(_ context.Context, r deliver.Request) deliver.Result {
			if r.Route.Domain == "slow.test" && slow.Load() {
				time.Sleep(time.Hour)
			}
			return answer(r, deliver.Delivered, reply250, deliver.ConnOK)
		}, deletable(deleted), func(c *Config) { c.SiteMax = 1 })
		w.out.route = func(d string) (deliver.Route, error) {
			if d == "lost.test" || d == "two.test" {
				t.Errorf("%s is looked up for mail that is dropped", d)
				return deliver.Route{}, errors.New("no answer")
			}
			return deliver.Route{Domain: d, Site: d}, nil
		}
		w.run()
		w.submit(tenantNews, "under.way@slow.test")
		synctest.Wait()
		for range 20 { // in memory, behind the one under way
			w.submit(tenantNews, "a@slow.test")
		}
		for range 200 {
			w.waits(tenantNews, 5*time.Hour, "a@one.test", "b@two.test")
		}
		w.waits(tenantNews, 50*time.Hour, "a@lost.test")
		other := w.waits(tenantA, 5*time.Hour, "a@one.test")
		disabled := w.waits(tenantShop, 0, "a@one.test")
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if n := w.dropped(); n != 0 {
			t.Fatalf("%d dropped before anything was deleted", n)
		}
		deleted.Store(tenantNews, true)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if n := w.dropped(); n != 401 {
			t.Errorf("%d of 401 recipients were dropped", n)
		}
		slow.Store(false)
		time.Sleep(time.Hour) // the one under way ends, and those behind it have their turn
		synctest.Wait()
		if n, d := w.dropped(), w.store.count(relay.EventDelivered); n != 421 || d != 1 {
			t.Errorf("%d dropped, %d delivered; want 421 and the one that was under way", n, d)
		}
		if n := len(w.store.generated); n != 0 {
			t.Errorf("%d DSNs", n)
		}
		for _, id := range []relay.MessageID{other, disabled} {
			if q, err := w.store.Message(t.Context(), id); err != nil || len(q.Recipients) != 1 {
				t.Errorf("%+v %v", q, err)
			}
		}
		time.Sleep(6 * time.Hour)
		synctest.Wait()
		if n := w.store.count(relay.EventDelivered); n != 2 {
			t.Errorf("%d delivered, want the other's as well", n)
		}
	})
}

// What a crash left of a deleted subuser's mail is dropped after the start.
func TestDeletedBeforeTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deleted := &sync.Map{}
		deleted.Store(tenantNews, true)
		w := newWorld(t, ok250, deletable(deleted))
		w.waits(tenantNews, 0, "a@one.test")
		w.waits(tenantNews, 10*time.Hour, "a@two.test")
		w.run()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if n, d := w.dropped(), w.store.count(relay.EventDelivered); n != 2 || d != 0 {
			t.Errorf("%d dropped, %d delivered", n, d)
		}
	})
}

// Drop ends what the scheduler never looks at, too, and only where it is known
// that the subuser was deleted.
func TestDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deleted := &sync.Map{}
		w := newWorld(t, ok250, deletable(deleted)) // not running: the scheduler would drop its share
		held := w.waits(tenantNews, 0, "a@one.test", "b@two.test")
		if err := w.store.Quarantine(t.Context(), held, "a test"); err != nil {
			t.Fatal(err)
		}
		for range 2*dropPage + 3 {
			w.waits(tenantNews, time.Hour, "a@one.test")
		}
		w.waits(tenantA, time.Hour, "a@one.test")
		for _, who := range []relay.Tenant{tenantNews, tenantA, tenantShop} {
			if n, err := w.q.Drop(t.Context(), who); n != 0 || relay.KindOf(err) != relay.Conflict {
				t.Errorf("%v: %d, %v", who, n, err)
			}
		}
		deleted.Store(tenantNews, true)
		if n, err := w.q.Drop(t.Context(), tenantNews); n != 2*dropPage+5 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if n, g := w.dropped(), len(w.store.generated); n != 2*dropPage+5 || g != 0 {
			t.Errorf("%d dropped, %d DSNs", n, g)
		}
		if n, err := w.q.Drop(t.Context(), tenantNews); n != 0 || err != nil {
			t.Errorf("again: %d, %v", n, err)
		}
		w.check()
	})
}

// Drop and the scheduler at once end each recipient once.
func TestDropWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deleted := &sync.Map{}
		w := newWorld(t, ok250, deletable(deleted))
		w.run()
		for range 300 {
			w.waits(tenantNews, time.Hour, "a@one.test", "b@two.test")
		}
		deleted.Store(tenantNews, true)
		w.waits(tenantNews, 0, "a@one.test") // wakes the scheduler
		if _, err := w.q.Drop(t.Context(), tenantNews); err != nil {
			t.Error(err)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if n := w.dropped(); n != 601 {
			t.Errorf("%d of 601 dropped", n)
		}
	})
}

// A drop that cannot be recorded leaves the mail where the next one finds it.
func TestDropFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deleted := &sync.Map{}
		deleted.Store(tenantNews, true)
		w := newWorld(t, ok250, deletable(deleted))
		w.waits(tenantNews, time.Hour, "a@one.test", "b@two.test")
		w.store.failNext = []error{errors.New("disk on fire")}
		if n, err := w.q.Drop(t.Context(), tenantNews); n != 0 || err == nil {
			t.Errorf("%d, %v", n, err)
		}
		if n, err := w.q.Drop(t.Context(), tenantNews); n != 2 || err != nil || w.dropped() != 2 {
			t.Errorf("%d, %v", n, err)
		}
		w.check()
	})
}

func TestWhySaysDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deleted := &sync.Map{}
		deleted.Store(tenantNews, true)
		w := newWorld(t, ok250, deletable(deleted))
		for tenant, want := range map[relay.Tenant]string{
			tenantNews: "Its subuser was deleted", tenantShop: "Nothing of its sender leaves now: the subuser is disabled.",
		} {
			e, err := w.q.Why(t.Context(), w.waits(tenant, time.Hour, "a@one.test"))
			if err != nil || !strings.Contains(strings.Join(e.Text, " "), want) {
				t.Errorf("%q, %v; want %q", e.Text, err, want)
			}
		}
	})
}

// The strongest of pool, account and subuser is what a delivery must have.
func TestStrongestTLS(t *testing.T) {
	t.Parallel()
	const o, r, v = relay.TLSOpportunistic, relay.TLSRequired, relay.TLSVerified
	for _, tt := range []struct {
		pool, account, subuser, want relay.TLSLevel
	}{
		{o, o, o, o}, {r, o, o, r}, {o, r, o, r}, {o, o, r, r}, {o, o, v, v}, {v, o, r, v}, {r, v, o, v}, {o, r, v, v}, {v, r, o, v},
	} {
		w := newWorld(t, ok250, func(c *Config) {
			c.Directory = fakeDirectory{
				pool: relay.Pool{TLS: tt.pool}, account: relay.Account{ID: tenantNews.Account, TLS: tt.account},
				subuser: relay.Subuser{ID: tenantNews.Subuser, Account: tenantNews.Account, TLS: tt.subuser},
			}
		})
		if _, got := w.q.egress(&relay.Message{Tenant: tenantNews}); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
		if _, got := w.q.egress(&relay.Message{Tenant: tenantA}); got != strongest(tt.pool, tt.account) {
			t.Errorf("%+v: %q for the account's own mail", tt, got)
		}
	}
}
