package queue

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/deliver"
	"postern/internal/relay"
	"postern/internal/smtp"
)

// hourly is a deliverer whose only address may send so much an hour, and says
// when what is beyond it has a chance: a new one's way of going on.
type hourly struct {
	mu      sync.Mutex
	allowed int
	hour    int64
	sent    int
	turned  int
	most    int // sent in any hour
}

const warmupText = "203.0.113.7 is being warmed up: its 20 recipients for the mail servers of one.test in this hour are used"

func (h *hourly) deliver(_ context.Context, r deliver.Request) deliver.Result {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := time.Now().Unix() / 3600; now != h.hour {
		h.hour, h.sent, h.turned = now, 0, 0
	}
	if h.sent < h.allowed {
		h.sent++
		h.most = max(h.most, h.sent)
		return answer(r, deliver.Delivered, reply250, deliver.ConnOK)
	}
	next := time.Unix((h.hour+1+int64(h.turned/h.allowed))*3600+1, 0)
	h.turned++
	res := answer(r, deliver.Deferred, smtp.R(451, 4, 4, 5, warmupText), deliver.Untried)
	for i := range res.Outcomes {
		res.Outcomes[i].NextAt, res.Outcomes[i].Host = next, ""
	}
	return res
}

// Mail beyond what a new address may send waits for its hour, not for the
// schedule, and asks as rarely as can be.
func TestWarmupWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hourly{allowed: 20}
		w := newWorld(t, h.deliver)
		w.run()
		for range 100 {
			w.submit(tenantA, "a@one.test")
		}
		synctest.Wait()
		if n := w.store.count(relay.EventDelivered); n != 20 {
			t.Fatalf("%d delivered in the first hour", n)
		}
		e, err := w.q.Why(t.Context(), w.anyMessage())
		if err != nil || !strings.Contains(e.Recipients[0].Text, `postern said: "451 4.4.5 `+warmupText) || !strings.Contains(e.Recipients[0].Text, "The next attempt is due in ") {
			t.Errorf("%+v, %v", e, err)
		}
		if s := w.q.Lanes()[0]; s.Limit < DefaultSiteStart || !s.Until.IsZero() {
			t.Errorf("the destination is blamed: %+v", s)
		}
		time.Sleep(6 * time.Hour)
		synctest.Wait()
		if n := w.store.count(relay.EventDelivered); n != 100 {
			t.Errorf("%d delivered after six hours", n)
		}
		if n := w.out.attempts(); n > 200 || h.most > 20 {
			t.Errorf("%d attempts, at most %d in an hour", n, h.most)
		}
	})
}

// It waits no longer than the message's life: then it ends like any other.
func TestWarmupWithinLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hourly{allowed: 20}
		w := newWorld(t, h.deliver)
		w.run()
		begin := time.Now()
		for range 100 {
			m, rcpts := makeMessage(tenantA, "a@one.test")
			m.ExpiresAt, m.EnvelopeFrom = begin.Add(150*time.Minute), "" // nobody is told
			w.store.put(m, rcpts)
			w.q.Waiting(relay.Lane{Pool: m.Pool, Site: "one.test"}, tenantA, begin)
		}
		time.Sleep(151 * time.Minute)
		synctest.Wait()
		delivered, bounced := w.store.count(relay.EventDelivered), w.store.count(relay.EventBounced)
		if delivered != 60 || bounced != 40 {
			t.Errorf("%d delivered, %d bounced", delivered, bounced)
		}
	})
}

// A time that lies behind us, by another clock, is no reason to try without pause.
func TestNextAtBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ context.Context, r deliver.Request) deliver.Result {
			res := answer(r, deliver.Deferred, smtp.R(451, 4, 4, 5, "later"), deliver.Untried)
			res.Outcomes[0].NextAt = time.Now().Add(-time.Hour)
			return res
		})
		w.run()
		w.submit(tenantA, "a@one.test")
		time.Sleep(10*time.Minute + time.Second)
		synctest.Wait()
		if n := w.out.attempts(); n < 2 || n > 11 {
			t.Errorf("%d attempts in ten minutes", n)
		}
	})
}
