package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/deliver"
	"postern/internal/relay"
	"postern/internal/smtp"
	"postern/internal/store"
)

// flakyStore is a fakeStore whose calls fail when broken says so.
type flakyStore struct {
	*fakeStore
	mu     sync.Mutex
	broken func(call string) error
}

func (s *flakyStore) fail(call string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		return nil
	}
	return s.broken(call)
}

func (s *flakyStore) breaks(f func(call string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = f
}

// only fails the named calls.
func only(err error, calls ...string) func(string) error {
	return func(call string) error {
		for _, c := range calls {
			if c == call {
				return err
			}
		}
		return nil
	}
}

func (s *flakyStore) Claim(ctx context.Context, lane relay.Lane, t relay.Tenant, due time.Time, limit int) ([]store.Job, error) {
	if err := s.fail("claim"); err != nil {
		return nil, err
	}
	return s.fakeStore.Claim(ctx, lane, t, due, limit)
}

func (s *flakyStore) NextDue(ctx context.Context, lane relay.Lane, t relay.Tenant) (time.Time, error) {
	if err := s.fail("next due"); err != nil {
		return time.Time{}, err
	}
	return s.fakeStore.NextDue(ctx, lane, t)
}

func (s *flakyStore) ClaimMessage(ctx context.Context, id relay.MessageID) (store.Job, error) {
	if err := s.fail("claim message"); err != nil {
		return store.Job{}, err
	}
	return s.fakeStore.ClaimMessage(ctx, id)
}

func (s *flakyStore) Unlease(ctx context.Context, refs []store.Ref) error {
	if err := errors.Join(ctx.Err(), s.fail("unlease")); err != nil {
		return err
	}
	return s.fakeStore.Unlease(ctx, refs)
}

func (s *flakyStore) Start(ctx context.Context, refs []store.Ref) *store.Pending {
	if err := s.fail("start"); err != nil {
		return store.Done(err)
	}
	return s.fakeStore.Start(ctx, refs)
}

func (s *flakyStore) Finish(ctx context.Context, res store.Result) error {
	if err := s.fail("finish"); err != nil {
		return err
	}
	return s.fakeStore.Finish(ctx, res)
}

// newFlaky is a world over a flakyStore.
func newFlaky(t *testing.T, do func(context.Context, deliver.Request) deliver.Result, change ...func(*Config)) (*world, *flakyStore) {
	var s *flakyStore
	w := newWorld(t, do, append(change, func(c *Config) {
		f, _ := c.Store.(*fakeStore)
		s = &flakyStore{fakeStore: f}
		c.Store = s
	})...)
	return w, s
}

func marked(ctx context.Context, r deliver.Request) deliver.Result {
	if err := r.BeforeEnd(ctx); err != nil {
		return answer(r, deliver.Deferred, smtp.R(451, 4, 3, 0, "not recorded"), deliver.ConnOK)
	}
	return answer(r, deliver.Delivered, reply250, deliver.ConnOK)
}

// Whatever fails while a person or a bounce reaches into the queue, no recipient
// stays leased with nobody at work on it.
func TestLeasesAreGivenBackLater(t *testing.T) {
	full := store.ErrFull
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	for name, tc := range map[string]struct {
		broken func(string) error
		act    func(w *world, id relay.MessageID) error
	}{
		"recall, store full": {only(full, "unlease"), func(w *world, id relay.MessageID) error {
			_, err := w.q.Recall(context.Background(), id)
			return err
		}},
		"recall, caller gone": {nil, func(w *world, id relay.MessageID) error {
			_, err := w.q.Recall(gone, id)
			return err
		}},
		"bounce, claim fails": {only(full, "claim message"), func(w *world, id relay.MessageID) error {
			_, err := w.q.Bounce(context.Background(), id, "uid 0", "")
			return err
		}},
		"bounce, result not stored": {only(full, "finish"), func(w *world, id relay.MessageID) error {
			_, err := w.q.Bounce(context.Background(), id, "uid 0", "")
			return err
		}},
		"end, result not stored": {only(full, "finish"), func(w *world, id relay.MessageID) error {
			return w.q.End(context.Background(), id, []int{0}, nil, nil)
		}},
		"end, nothing given back": {only(full, "finish", "unlease"), func(w *world, id relay.MessageID) error {
			return w.q.End(context.Background(), id, []int{0}, nil, nil)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, s := newFlaky(t, func(ctx context.Context, r deliver.Request) deliver.Result {
					time.Sleep(time.Minute)
					return marked(ctx, r)
				}, func(c *Config) { c.SiteStart, c.SiteMax = 1, 1 })
				w.run()
				w.submit(tenantA, "first@one.test") // holds the only connection
				id := w.submit(tenantB, "a@one.test", "b@one.test")
				synctest.Wait()
				s.breaks(tc.broken)
				err := tc.act(w, id)
				if tc.broken != nil && err == nil && name != "recall, store full" {
					t.Error("no error")
				}
				time.Sleep(20 * time.Second)
				s.breaks(nil)
				time.Sleep(time.Hour)
				synctest.Wait()
				if n := w.store.count(relay.EventDelivered); n != 3 {
					t.Errorf("%d of 3 delivered; left: %v", n, len(w.store.rcpts))
				}
			})
		})
	}
}

// A lease that an attempt did not use is given back in the end, even when the
// store could not take it back at once.
func TestUnusedAttemptGivesItsLeaseBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newFlaky(t, marked, func(c *Config) { c.Cautious = true })
		w.run()
		s.breaks(only(store.ErrFull, "start", "unlease"))
		w.submit(tenantA, "a@one.test")
		time.Sleep(10 * time.Minute)
		s.breaks(nil)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := w.store.count(relay.EventDelivered); n != 1 {
			t.Errorf("%d of 1 delivered", n)
		}
	})
}

// A connection that was given to a flow stays that of its site, also when the
// lane's route changes before the flow's turn comes.
func TestRouteChangeKeepsSiteCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenants := make([]relay.Tenant, 6)
		for i := range tenants {
			tenants[i].Account.ID = relay.ID{byte(i + 1)}
		}
		a, b, c, d, e, f := tenants[0], tenants[1], tenants[2], tenants[3], tenants[4], tenants[5]
		var mu sync.Mutex
		site := "old"
		w := newWorld(t, func(_ context.Context, r deliver.Request) deliver.Result {
			time.Sleep(20 * time.Second)
			return answer(r, deliver.Delivered, reply250, deliver.ConnOK)
		}, func(c *Config) { c.Concurrency, c.SiteStart, c.SiteMax = 2, 1, 1 })
		w.out.route = func(domain string) (deliver.Route, error) {
			mu.Lock()
			defer mu.Unlock()
			if domain == "lane.test" {
				return deliver.Route{Domain: domain, Site: site}, nil
			}
			return deliver.Route{Domain: domain, Site: domain}, nil
		}
		w.run()
		step := func(t relay.Tenant, to string) {
			w.submit(t, to)
			synctest.Wait()
			time.Sleep(time.Second)
		}
		for t, site := range map[relay.Tenant]string{d: "other2.test", f: "other3.test"} {
			w.q.Waiting(relay.Lane{Pool: poolID, Site: site}, t, time.Now().Add(time.Hour)) // their lanes, and so their routes, stay known
		}
		step(d, "0@other2.test")
		step(f, "0@other3.test")
		time.Sleep(25 * time.Second)
		step(a, "1@lane.test")   // runs
		step(b, "2@lane.test")   // waits for the site
		step(c, "1@other1.test") // takes the other slot
		step(d, "1@other2.test") // next in turn: gets the slot that a leaves, as b gets its connection
		step(e, "3@lane.test")   // gets the slot that c leaves, and asks for the route again
		step(f, "1@other3.test") // takes that slot instead; b's turn comes when the route has changed
		mu.Lock()
		site = "new"
		mu.Unlock()
		w.q.Due([]store.Share{{Lane: relay.Lane{Pool: poolID, Site: "lane.test"}, Tenant: e}})
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := w.store.count(relay.EventDelivered); n != 8 {
			t.Errorf("delivered %d of 8", n)
		}
		w.q.mu.Lock()
		defer w.q.mu.Unlock()
		for k, s := range w.q.sites {
			if s.active != 0 || s.waiting.len() != 0 {
				t.Errorf("site %s: %d active, %d waiting, after the end", k[16:], s.active, s.waiting.len())
			}
		}
	})
}

// A flood over the many domains of one provider holds up nobody's single message
// to that provider (P5).
func TestFloodOverOneProvidersDomains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ context.Context, r deliver.Request) deliver.Result {
			time.Sleep(time.Second)
			return answer(r, deliver.Delivered, reply250, deliver.ConnOK)
		}, func(c *Config) { c.SiteStart, c.SiteMax = 2, 2 })
		w.out.route = func(domain string) (deliver.Route, error) {
			return deliver.Route{Domain: domain, Site: "bigprovider"}, nil
		}
		w.run()
		for i := range 500 {
			w.submit(tenantA, fmt.Sprintf("a@d%d.test", i))
		}
		synctest.Wait()
		id := w.submit(tenantB, "b@single.test")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		w.out.mu.Lock()
		defer w.out.mu.Unlock()
		for i, o := range w.out.order {
			if o == id {
				if i > 10 {
					t.Errorf("attempt number %d", i)
				}
				return
			}
		}
		t.Error("not tried within 10 s")
	})
}

// One outage is one failure, however many connections were under way.
func TestOneOutageIsOneFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		w := newWorld(t, func(_ context.Context, r deliver.Request) deliver.Result {
			time.Sleep(time.Second)
			if d := time.Since(begin); d > 40*time.Second && d < 45*time.Second {
				return answer(r, deliver.Deferred, smtp.R(451, 4, 4, 1, "no answer"), deliver.ConnFailed)
			}
			return answer(r, deliver.Delivered, reply250, deliver.ConnOK)
		})
		w.run()
		for range 3000 {
			w.submit(tenantA, "a@one.test")
		}
		time.Sleep(46 * time.Second)
		synctest.Wait()
		if rest := time.Until(w.q.Lanes()[0].Until); rest > 35*time.Second {
			t.Errorf("a blink of 5 s makes the site rest for %v", rest)
		}
	})
}

// A panic after the end of the data may be a delivery: the next attempt says so.
func TestPanicIsAmbiguous(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ context.Context, r deliver.Request) deliver.Result {
			if r.Recipients[0].Attempts == 0 {
				panic("after the end of the data")
			}
			return answer(r, deliver.Delivered, reply250, deliver.ConnOK)
		})
		w.run()
		w.submit(tenantA, "a@one.test")
		synctest.Wait()
		w.store.mu.Lock()
		defer w.store.mu.Unlock()
		if len(w.store.events) == 0 || !bytes.Contains(w.store.events[0].Data, []byte(`"ambiguous":true`)) {
			t.Errorf("events: %+v", w.store.events)
		}
	})
}

// A deliverer that forgets a recipient, or names one twice, leaves none leased.
func TestOutcomesThatDoNotFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ context.Context, r deliver.Request) deliver.Result {
			res := answer(r, deliver.Delivered, reply250, deliver.ConnOK)
			if len(res.Outcomes) > 1 {
				res.Outcomes = append(res.Outcomes[:1:1], res.Outcomes[0])
			}
			return res
		})
		w.run()
		w.submit(tenantA, "a@one.test", "b@one.test", "c@one.test")
		time.Sleep(10 * time.Hour)
		synctest.Wait()
		if n := w.store.count(relay.EventDelivered); n != 3 {
			t.Errorf("delivered %d of 3", n)
		}
	})
}

type brittleNotifier struct{ fakeNotifier }

func (n *brittleNotifier) Compose(ctx context.Context, no Notice) (*store.Acceptance, error) {
	if no.Content != nil {
		panic("the original cannot be read")
	}
	return n.fakeNotifier.Compose(ctx, no)
}

// A DSN goes without the original rather than not at all.
func TestNoticeWithoutTheOriginal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ context.Context, r deliver.Request) deliver.Result {
			if r.Route.Domain == "acme.test" {
				return answer(r, deliver.Delivered, reply250, deliver.ConnOK)
			}
			return answer(r, deliver.Failed, smtp.R(550, 5, 1, 1, "no"), deliver.ConnOK)
		}, func(c *Config) { c.Notifier = &brittleNotifier{} })
		w.run()
		w.submit(tenantA, "a@one.test")
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(w.store.generated) != 1 {
			t.Errorf("%d DSNs", len(w.store.generated))
		}
	})
}

// After a while without recording, work goes on at once, not with the next timer.
func TestWorkGoesOnWhenThePauseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newFlaky(t, func(ctx context.Context, r deliver.Request) deliver.Result {
			time.Sleep(time.Second)
			return ok250(ctx, r)
		}, func(c *Config) { c.Concurrency = 1 })
		w.run()
		w.submit(tenantA, "a@one.test")
		w.submit(tenantB, "b@two.test")
		synctest.Wait()
		s.breaks(only(store.ErrFull, "finish"))
		time.Sleep(1050 * time.Millisecond)
		s.breaks(nil)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n := w.store.count(relay.EventDelivered); n != 2 {
			t.Errorf("%d of 2 delivered 5 s after a blink of the store", n)
		}
	})
}
