package queue

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/deliver"
	"postern/internal/relay"
	"postern/internal/smtp"
	"postern/internal/store"
)

// world is a queue over fakes inside a synctest bubble.
type world struct {
	t     *testing.T
	q     *Queue
	store *fakeStore
	out   *fakeDeliverer
	stop  func()
}

func newWorld(t *testing.T, do func(context.Context, deliver.Request) deliver.Result, change ...func(*Config)) *world {
	w := &world{t: t, store: newFakeStore(t, time.Now), out: &fakeDeliverer{do: do}}
	cfg := Config{Store: w.store, Deliverer: w.out, Signer: fakeSigner{}, Notifier: &fakeNotifier{}, Directory: fakeDirectory{}, Clock: time.Now}
	for _, c := range change {
		c(&cfg)
	}
	w.q = New(cfg)
	return w
}

func (w *world) run() {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.q.Run(ctx, time.Minute) }()
	synctest.Wait()
	stopped := false
	w.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
		w.check()
	}
	w.t.Cleanup(w.stop)
}

// check asserts what must hold whatever happened: no recipient finished twice,
// no lease of ours left behind, no memory accounted to nobody.
func (w *world) check() {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	for k, n := range w.store.finished {
		if n != 1 {
			w.t.Errorf("recipient %s ended %d times", k, n)
		}
	}
	for k, r := range w.store.rcpts {
		if r.Lease != 0 {
			w.t.Errorf("recipient %s is still leased after the stop", k)
		}
	}
	ready, active, bytes := w.q.Depth()
	if ready != 0 || active != 0 || bytes != 0 {
		w.t.Errorf("after the stop: %d ready, %d active, %d octets", ready, active, bytes)
	}
}

var (
	tenantA = relay.Tenant{Account: relay.AccountID{ID: relay.ID{1}}}
	tenantB = relay.Tenant{Account: relay.AccountID{ID: relay.ID{2}}}
	poolID  = relay.PoolID{ID: relay.ID{9}}
)

var serial uint64

func makeMessage(t relay.Tenant, to ...string) (relay.Message, []relay.Recipient) {
	now := time.Now()
	serial++
	id := relay.MessageID{ID: relay.NewID(now)}
	m := relay.Message{ID: id, Tenant: t, Pool: poolID, EnvelopeFrom: "sender@acme.test", ReturnPath: "rp", State: relay.MessageQueued, AcceptedAt: now, ExpiresAt: now.Add(96 * time.Hour)}
	var rcpts []relay.Recipient
	for i, a := range to {
		_, site, _ := strings.Cut(a, "@")
		rcpts = append(rcpts, relay.Recipient{Message: id, N: i, Address: a, Site: site, DueAt: now})
	}
	return m, rcpts
}

// submit hands a message in as submit does: from memory if admitted.
func (w *world) submit(t relay.Tenant, to ...string) relay.MessageID {
	m, rcpts := makeMessage(t, to...)
	var lanes []relay.Lane
	for _, r := range rcpts {
		lanes = append(lanes, relay.Lane{Pool: m.Pool, Site: r.Site})
	}
	adm, ok := w.q.Admit(t, lanes, 1000)
	if ok {
		for i := range rcpts {
			rcpts[i].Lease, rcpts[i].Generation = fakeEpoch, 1
		}
	}
	w.store.put(m, rcpts)
	if ok {
		adm.Launch(&m, rcpts, textContent("x\r\n"))
	} else {
		for _, l := range lanes {
			w.q.Waiting(l, t, m.AcceptedAt)
		}
	}
	return m.ID
}

func ok250(_ context.Context, r deliver.Request) deliver.Result {
	return answer(r, deliver.Delivered, reply250, deliver.ConnOK)
}

func TestDeliversFromMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, ok250)
		w.run()
		w.submit(tenantA, "a@one.test", "b@one.test", "c@two.test")
		synctest.Wait()
		if n := w.store.count(relay.EventDelivered); n != 3 {
			t.Errorf("delivered %d of 3", n)
		}
		if len(w.out.order) != 2 {
			t.Errorf("%d attempts, want one for each destination", len(w.out.order))
		}
		if w.store.claims != 0 {
			t.Errorf("the store was asked %d times for mail that was in memory", w.store.claims)
		}
	})
}

func TestRetriesThenExpiresWithDSN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		begin := time.Now()
		w := newWorld(t, func(_ context.Context, r deliver.Request) deliver.Result {
			if r.Route.Domain == "acme.test" {
				return answer(r, deliver.Delivered, reply250, deliver.ConnOK)
			}
			at = append(at, time.Since(begin))
			return answer(r, deliver.Deferred, smtp.R(450, 4, 2, 0, "not now"), deliver.ConnOK)
		})
		w.run()
		w.submit(tenantA, "a@one.test")
		time.Sleep(100 * time.Hour)
		synctest.Wait()
		if n := w.store.count(relay.EventBounced); n != 1 {
			t.Fatalf("bounced %d times, want 1; attempts at %v", n, at)
		}
		if n := w.store.count(relay.EventNotified); n != 1 {
			t.Errorf("%d DSNs noted, want 1", n)
		}
		if first := at[1] - at[0]; first < 4*time.Minute || first > 6*time.Minute {
			t.Errorf("second attempt after %v, want 5m ± 20 %%", first)
		}
		if last := at[len(at)-1]; last < 96*time.Hour || last > 96*time.Hour+time.Minute {
			t.Errorf("last attempt after %v, want at the end of the lifetime", last)
		}
		if len(w.store.generated) != 1 || w.store.count(relay.EventDelivered) != 1 {
			t.Errorf("the DSN was not sent on: %d generated", len(w.store.generated))
		}
	})
}

func TestPermanentFailureBouncesOnlyItsRecipient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ context.Context, r deliver.Request) deliver.Result {
			res := answer(r, deliver.Delivered, reply250, deliver.ConnOK)
			for i := range res.Outcomes {
				if r.Recipients[i].Address == "bad@one.test" {
					res.Outcomes[i].State = deliver.Failed
					res.Outcomes[i].Reply = smtp.R(550, 5, 1, 1, "no such user")
				}
			}
			return res
		})
		w.run()
		w.submit(tenantA, "good@one.test", "bad@one.test")
		synctest.Wait()
		time.Sleep(time.Second)
		if d, b := w.store.count(relay.EventDelivered), w.store.count(relay.EventBounced); d != 2 || b != 1 {
			t.Errorf("delivered %d (want the good one and the DSN), bounced %d", d, b)
		}
	})
}

func TestDomainsOfOneSiteShareItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ context.Context, r deliver.Request) deliver.Result {
			time.Sleep(time.Second)
			return answer(r, deliver.Deferred, smtp.R(450, 4, 2, 0, "later"), deliver.ConnOK)
		}, func(c *Config) { c.SiteStart, c.SiteMax = 3, 3 })
		w.out.route = func(domain string) (deliver.Route, error) {
			return deliver.Route{Domain: domain, Site: "bigprovider"}, nil
		}
		w.run()
		for i := range 50 {
			w.submit(tenantA, fmt.Sprintf("a@d%d.test", i))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if p := w.out.peak["bigprovider"]; p != 3 {
			t.Errorf("%d at once to one site, want 3", p)
		}
	})
}

func TestConcurrencyGrowsWithSuccessAndShrinksWithTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var throttle atomic.Bool
		w := newWorld(t, func(_ context.Context, r deliver.Request) deliver.Result {
			time.Sleep(time.Second)
			if throttle.Load() {
				return answer(r, deliver.Deferred, smtp.R(421, 4, 7, 0, "slow down"), deliver.Throttled)
			}
			return answer(r, deliver.Delivered, reply250, deliver.ConnOK)
		})
		w.run()
		for range 2000 {
			w.submit(tenantA, "a@one.test")
		}
		time.Sleep(40 * time.Second)
		synctest.Wait()
		grown := w.q.Lanes()[0].Limit
		if grown < 20 {
			t.Errorf("limit %d after 40 rounds of success", grown)
		}
		throttle.Store(true)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		st := w.q.Lanes()[0]
		if st.Limit > grown/2 || st.Until.IsZero() {
			t.Errorf("after throttling: limit %d (was %d), until %v", st.Limit, grown, st.Until)
		}
	})
}

func TestDeadSiteCostsOneProbeAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int64
		w := newWorld(t, func(_ context.Context, r deliver.Request) deliver.Result {
			tries.Add(1)
			time.Sleep(10 * time.Second)
			return answer(r, deliver.Deferred, smtp.R(451, 4, 4, 1, "no answer"), deliver.ConnFailed)
		})
		w.run()
		for range 1000 {
			w.submit(tenantA, "a@dead.test")
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := tries.Load(); n > 60 {
			t.Errorf("%d tries in an hour at a dead destination", n)
		}
		for w.q.Lanes()[0].Until.IsZero() { // a probe is under way
			time.Sleep(time.Second)
			synctest.Wait()
		}
		why, err := w.q.Why(t.Context(), w.anyMessage())
		if err != nil || !strings.Contains(fmt.Sprint(why), "given a rest") {
			t.Errorf("why: %v %v", why, err)
		}
	})
}

func (w *world) anyMessage() (id relay.MessageID) {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	for _, r := range w.store.rcpts {
		return r.Message
	}
	return id
}

// An outcome that cannot be recorded must not become a second delivery, and
// nothing new is sent meanwhile.
func TestNothingIsSentWhileResultsCannotBeRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, ok250)
		w.run()
		for range 40 {
			w.store.failNext = append(w.store.failNext, store.ErrFull)
		}
		w.submit(tenantA, "a@one.test")
		synctest.Wait()
		w.submit(tenantA, "b@one.test")
		synctest.Wait()
		if n := w.out.attempts(); n != 1 {
			t.Errorf("%d attempts while the first result could not be recorded", n)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := w.store.count(relay.EventDelivered); n != 2 || w.out.attempts() != 2 {
			t.Errorf("delivered %d in %d attempts, want 2 in 2", n, w.out.attempts())
		}
	})
}

func TestStopGivesLeasesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ context.Context, r deliver.Request) deliver.Result {
			time.Sleep(5 * time.Second)
			return answer(r, deliver.Delivered, reply250, deliver.ConnOK)
		})
		w.run()
		for range 100 {
			w.submit(tenantA, "a@one.test")
		}
		synctest.Wait()
		w.stop() // check() sees that no lease is left
		if n := w.store.count(relay.EventDelivered); n != 5 {
			t.Errorf("%d attempts finished within the grace time, want the 5 under way", n)
		}
	})
}

func TestStoredBacklogIsSentAndDisabledTenantsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		off := fakeDirectory{off: map[relay.Tenant]string{tenantB: "the account is disabled"}}
		w := newWorld(t, ok250, func(c *Config) { c.Directory = off })
		for range 500 {
			m, rcpts := makeMessage(tenantA, "a@one.test", "b@two.test")
			w.store.put(m, rcpts)
		}
		m, rcpts := makeMessage(tenantB, "a@one.test")
		w.store.put(m, rcpts)
		w.run()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := w.store.count(relay.EventDelivered); n != 1000 {
			t.Errorf("delivered %d of 1000", n)
		}
		why, err := w.q.Why(t.Context(), m.ID)
		if err != nil || !strings.Contains(strings.Join(why.Text, " "), "the account is disabled") {
			t.Errorf("why: %+v %v", why, err)
		}
	})
}

// Why a message was put off when it was accepted is said until it is tried.
func TestWhySaysPutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ context.Context, r deliver.Request) deliver.Result {
			return answer(r, deliver.Deferred, smtp.R(450, 4, 2, 0, "later"), deliver.ConnOK)
		})
		m, rcpts := makeMessage(tenantA, "a@one.test")
		m.Reason, rcpts[0].DueAt = "over the limit of 2 recipients an hour", time.Now().Add(time.Hour)
		w.store.put(m, rcpts)
		w.run()
		says := func() bool {
			e, err := w.q.Why(t.Context(), m.ID)
			return err == nil && strings.Contains(strings.Join(e.Text, " "), "It was put off when it was accepted: over the limit of 2 recipients an hour.")
		}
		if !says() {
			t.Error("not said while it waits")
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if says() {
			t.Error("said though it was tried meanwhile")
		}
	})
}

func TestBounceByAPerson(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ context.Context, r deliver.Request) deliver.Result {
			return answer(r, deliver.Deferred, smtp.R(450, 4, 2, 0, "later"), deliver.ConnOK)
		})
		w.run()
		id := w.submit(tenantA, "a@one.test", "b@two.test")
		synctest.Wait()
		n, err := w.q.Bounce(t.Context(), id, "uid 0", "not wanted")
		if n != 2 || err != nil {
			t.Fatalf("bounced %d, %v", n, err)
		}
		if b := w.store.count(relay.EventBounced); b != 2 {
			t.Errorf("%d bounced events", b)
		}
		if _, err := w.q.Why(t.Context(), relay.MessageID{}); relay.KindOf(err) != relay.NotFound {
			t.Errorf("why of nothing: %v", err)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ context.Context, r deliver.Request) deliver.Result {
			time.Sleep(time.Second)
			return answer(r, deliver.Delivered, reply250, deliver.ConnOK)
		}, func(c *Config) { c.Memory = 100 * (1000 + admitOverhead) })
		w.run()
		for range 1000 {
			w.submit(tenantA, "a@one.test")
			if _, _, b := w.q.Depth(); b > w.q.cfg.Memory {
				t.Fatalf("%d octets held, limit %d", b, w.q.cfg.Memory)
			}
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := w.store.count(relay.EventDelivered); n != 1000 {
			t.Errorf("delivered %d of 1000", n)
		}
	})
}

// Whatever the remotes say, every recipient ends exactly once and nothing of it
// is forgotten.
func TestEveryRecipientEndsOnce(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rnd := rand.New(&lockedSource{pcg: rand.NewPCG(seed, 1)})
				w := newWorld(t, func(_ context.Context, r deliver.Request) deliver.Result {
					time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond)
					res := answer(r, deliver.Delivered, reply250, deliver.ConnOK)
					for i := range res.Outcomes {
						switch rnd.IntN(4) {
						case 0:
							res.Outcomes[i].State, res.Outcomes[i].Reply = deliver.Deferred, smtp.R(450, 4, 2, 0, "later")
						case 1:
							res.Outcomes[i].State, res.Outcomes[i].Reply = deliver.Failed, smtp.R(550, 5, 1, 1, "no")
						}
					}
					if rnd.IntN(10) == 0 {
						return answer(r, deliver.Deferred, smtp.R(451, 4, 4, 1, "gone"), deliver.ConnFailed)
					}
					return res
				}, func(c *Config) { c.Concurrency, c.Memory = 20, 64<<10 })
				w.run()
				total := 0
				for range 300 {
					var to []string
					for i := range 1 + rnd.IntN(4) {
						to = append(to, fmt.Sprintf("r%d@d%d.test", i, rnd.IntN(12)))
					}
					total += len(to)
					w.submit([]relay.Tenant{tenantA, tenantB}[rnd.IntN(2)], to...)
					time.Sleep(time.Duration(rnd.IntN(200)) * time.Millisecond)
				}
				time.Sleep(200 * time.Hour)
				synctest.Wait()
				w.stop()
				ended := 0
				for range w.store.finished {
					ended++
				}
				if want := total + len(w.store.generated); ended != want || len(w.store.rcpts) != 0 {
					t.Errorf("%d recipients ended, %d left, of %d", ended, len(w.store.rcpts), want)
				}
			})
		})
	}
}

func TestClockDoesNotJump(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour, 10 * 365 * 24 * time.Hour, -10 * 365 * 24 * time.Hour} {
		wall := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
		var mono time.Duration
		c := newClock(func() time.Time { return wall }, func() time.Duration { return mono })
		pass := func(d time.Duration) { wall, mono = wall.Add(d), mono+d }
		before := c.Now()
		wall = wall.Add(jump)
		pass(time.Second)
		if d := c.Now().Sub(before); d < 0 || d > 2*time.Second {
			t.Errorf("a jump of %v moved the steadied clock by %v", jump, d)
		}
		pass(100 * time.Second)
		if d := c.Now().Sub(before); d < 95*time.Second || d > 107*time.Second {
			t.Errorf("100 s after a jump of %v the steadied clock moved %v", jump, d)
		}
		if jump == time.Hour {
			for range 24 * 60 {
				pass(time.Minute)
				c.Now()
			}
			if d := c.Now().Sub(wall); d != 0 {
				t.Errorf("a day after a jump of %v the difference is still %v", jump, d)
			}
		}
	}
}

// The sender of a message that a person has cancelled is told why; without a reason
// nobody is named, since it may have been somebody of the account.
func TestReturnedReply(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]string{"": "550 5.7.1 Cancelled before it was delivered", "a false alarm": "550 5.7.1 a false alarm"} {
		if got := returnedReply(reason).String(); got != want {
			t.Errorf("%q: %s", reason, got)
		}
	}
}
