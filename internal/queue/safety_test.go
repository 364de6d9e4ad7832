package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/deliver"
	"postern/internal/relay"
	"postern/internal/store"
)

type brokenSigner struct{ until time.Time }

func (s brokenSigner) Sign(context.Context, *relay.Message, store.Content) ([]byte, []string, error) {
	if time.Now().Before(s.until) {
		return nil, nil, errors.New("the key cannot be read")
	}
	return []byte("DKIM-Signature: x\r\n"), []string{"s1"}, nil
}
func (brokenSigner) Current(*relay.Message) bool { return true }

// ID-25: mail waits when it cannot be signed, and is never sent unsigned.
func TestNeverSentUnsigned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unsigned := 0
		w := newWorld(t, func(_ context.Context, r deliver.Request) deliver.Result {
			if len(r.Prefix) == 0 {
				unsigned++
			}
			return answer(r, deliver.Delivered, reply250, deliver.ConnOK)
		}, func(c *Config) { c.Signer = brokenSigner{until: time.Now().Add(time.Hour)} })
		w.run()
		id := w.submit(tenantA, "a@one.test")
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if len(w.out.order) != 0 {
			t.Errorf("%d attempts without a signature", len(w.out.order))
		}
		if why, err := w.q.Why(t.Context(), id); err != nil || !strings.Contains(fmt.Sprint(why), "cannot be signed") {
			t.Errorf("why: %v %v", why, err)
		}
		time.Sleep(10 * time.Hour)
		synctest.Wait()
		if n := w.store.count(relay.EventDelivered); n != 1 || unsigned != 0 {
			t.Errorf("delivered %d, unsigned %d", n, unsigned)
		}
	})
}

// What the signer says for everybody is in the event; nothing else of it is.
func TestUnsignedReply(t *testing.T) {
	t.Parallel()
	secret := errors.New("key file is gone")
	for want, err := range map[string]error{
		"451 4.3.0 cannot be signed now":                      secret,
		"451 4.7.1 cannot be signed now: domain a.test waits": fmt.Errorf("sign: %w", &relay.Error{Kind: relay.Unavailable, Public: "domain a.test waits", Err: secret}),
	} {
		if got := unsignedReply(err).String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A message with damaged content is taken out; nothing of it is sent.
func TestDamagedContentIsQuarantined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, ok250, func(c *Config) { c.Signer = damagedSigner{} })
		w.run()
		id := w.submit(tenantA, "a@one.test")
		other := w.submit(tenantB, "b@one.test")
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		for _, m := range []relay.MessageID{id, other} {
			if q, err := w.store.Message(t.Context(), m); err != nil || q.Message.State != relay.MessageQuarantined {
				t.Errorf("%v: %v %v", m, q.Message.State, err)
			}
		}
		if len(w.out.order) != 0 {
			t.Errorf("%d attempts", len(w.out.order))
		}
	})
}

type damagedSigner struct{}

func (damagedSigner) Sign(context.Context, *relay.Message, store.Content) ([]byte, []string, error) {
	return nil, nil, store.ErrDamaged
}
func (damagedSigner) Current(*relay.Message) bool { return true }

// A panic in an attempt fails that attempt and nothing else.
func TestPanicFailsItsAttemptOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ context.Context, r deliver.Request) deliver.Result {
			if r.Recipients[0].Address == "bad@one.test" && r.Recipients[0].Attempts == 0 {
				panic("boom")
			}
			return answer(r, deliver.Delivered, reply250, deliver.ConnOK)
		})
		w.run()
		w.submit(tenantA, "bad@one.test")
		w.submit(tenantA, "good@one.test")
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := w.store.count(relay.EventDelivered); n != 2 {
			t.Errorf("delivered %d of 2", n)
		}
	})
}

func TestReturnPathPerRecipient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var paths []string
		w := newWorld(t, func(_ context.Context, r deliver.Request) deliver.Result {
			paths = append(paths, fmt.Sprint(r.Message.ReturnPath, " ", len(r.Recipients)))
			return answer(r, deliver.Delivered, reply250, deliver.ConnOK)
		}, func(c *Config) {
			c.Directory = perRecipient{}
			c.ReturnPath = func(m *relay.Message, n int) string { return fmt.Sprint(m.ReturnPath, n) }
		})
		w.run()
		w.submit(tenantA, "a@one.test", "b@one.test")
		synctest.Wait()
		if fmt.Sprint(paths) != "[rp0 1 rp1 1]" || w.store.count(relay.EventDelivered) != 2 {
			t.Errorf("transactions %v", paths)
		}
	})
}

type perRecipient struct{ fakeDirectory }

func (perRecipient) Pool(id relay.PoolID) (relay.Pool, bool) {
	return relay.Pool{ID: id, ReturnPathPerRecipient: true}, true
}

// Mail whose pool was switched off leaves from its tenant's default pool.
func TestPoolSwitchedOffWhileMailWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var used relay.PoolID
		w := newWorld(t, func(_ context.Context, r deliver.Request) deliver.Result {
			used = r.Pool.ID
			return answer(r, deliver.Delivered, reply250, deliver.ConnOK)
		}, func(c *Config) { c.Directory = poolOff{} })
		w.run()
		w.submit(tenantA, "a@one.test")
		synctest.Wait()
		if used != (relay.PoolID{ID: relay.ID{42}}) {
			t.Errorf("left from pool %v", used)
		}
	})
}

type poolOff struct{ fakeDirectory }

func (poolOff) Pool(id relay.PoolID) (relay.Pool, bool) {
	return relay.Pool{ID: id, DisabledAt: time.Now()}, true
}

func (poolOff) DefaultPool(relay.Tenant) (relay.Pool, bool) {
	return relay.Pool{ID: relay.PoolID{ID: relay.ID{42}}}, true
}

// A result that the store refuses for good is one message's trouble: the others
// go on.
func TestRefusedResultHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, ok250)
		w.store.refuse = map[relay.MessageID]bool{}
		w.run()
		m, rcpts := makeMessage(tenantA, "a@one.test")
		w.store.refuse[m.ID] = true
		w.store.put(m, rcpts)
		w.q.Waiting(relay.Lane{Pool: m.Pool, Site: "one.test"}, tenantA, time.Now())
		time.Sleep(200 * time.Millisecond)
		w.submit(tenantB, "b@two.test")
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if n := w.store.count(relay.EventDelivered); n != 1 {
			t.Errorf("delivered %d: the other message waits", n)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if q, err := w.store.Message(t.Context(), m.ID); err != nil || q.Message.State != relay.MessageQuarantined {
			t.Errorf("%v %v", q.Message.State, err)
		}
		// What a dead process leaves is the store's to recover.
		w.store.mu.Lock()
		w.store.rcpts[rkey(m.ID, 0)].Lease = 0
		w.store.mu.Unlock()
	})
}
