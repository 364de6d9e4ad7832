package credit

import (
	"testing"
	"time"

	"postern/internal/relay"
)

// due is a send that must be put off to a time.
func (w *world) due(n int64, want time.Time) {
	w.t.Helper()
	r, err := w.send(n)
	if err != nil || !r.DueAt().Equal(want) {
		w.t.Fatalf("%d at %v: due %v, %v; want %v", n, w.now, r.DueAt(), err, want)
	}
	for _, d := range r.Deltas() {
		if d.Minute != want.Unix()/60 || d.N != n {
			w.t.Errorf("booked in another minute: %+v", d)
		}
	}
}

// RX-07: what is over the limit is put off to the window in which it has room,
// and counts there: resumed mail does not burst over the limit.
func TestPutOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Claim) {
		c.Subuser.Plan.Hour, c.Subuser.Plan.Over = 10, relay.OverDefer
		c.Deadline = start.AddDate(0, 0, 2)
	})
	w.sends(6)
	w.now = start.Add(20 * time.Minute)
	w.sends(4)
	first := start.Add(61 * time.Minute)
	w.due(6, first)
	second := start.Add(81 * time.Minute)
	w.due(4, second)
	w.due(3, first.Add(61*time.Minute))
	w.due(3, first.Add(61*time.Minute))
	w.due(1, second.Add(61*time.Minute)) // 6 of then, and 4 before: it fits only there
	w.restart()
	w.now = first.Add(time.Minute) // six were put off to a minute ago
	if u := w.usage("subuser", relay.WindowHour); u.Used != 10 {
		t.Errorf("%+v", u)
	}
	w.now = start.Add(30 * time.Minute)
	w.claim.Deadline = start.Add(60 * time.Minute)
	if e := w.refused(1); e.ResumesAt.Before(second) {
		t.Errorf("past the deadline: %+v", e)
	}
}

// Mail that is put off keeps its order: a small message does not slip in before
// a large one that waits, unless it fits now.
func TestPutOffKeepsOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Claim) {
		c.Key.PerHour, c.Subuser.Plan.Over = 10, relay.OverDefer
		c.Deadline = start.AddDate(0, 0, 2)
	})
	w.sends(5)
	w.now = start.Add(10 * time.Minute)
	w.due(8, start.Add(61*time.Minute))
	w.sends(2) // fits now, and takes nothing from the eight
	w.due(1, start.Add(71*time.Minute))
	w.due(1, start.Add(71*time.Minute))
	w.due(1, start.Add(122*time.Minute))
}

// A window in the future counts as well: now is not the only thing to look at.
func TestNowMustLeaveRoomForWhatWasPutOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Claim) {
		c.Key.PerHour, c.Subuser.Plan.Over = 10, relay.OverDefer
		c.Deadline = start.AddDate(0, 0, 2)
	})
	w.sends(8)
	w.now = start.Add(30 * time.Minute)
	w.due(10, start.Add(61*time.Minute))
	w.claim.Subuser.Plan.Over = relay.OverRefuse
	w.refused(2) // 8 + 2 fit now, but 2 + 10 would leave within one hour
}

func TestStrictestDecides(t *testing.T) {
	t.Parallel()
	const d, r = relay.OverDefer, relay.OverRefuse
	for _, tt := range []struct {
		name             string
		key              int64
		subuser, account int64
		of, parent       relay.Over
		putOff           bool
	}{
		{"key, its subuser puts off", 1, 0, 0, d, r, true},
		{"key, its subuser refuses", 1, 0, 0, r, d, false},
		{"subuser puts off", 0, 1, 0, d, r, true},
		{"subuser refuses", 0, 1, 0, r, d, false},
		{"account puts off", 0, 0, 1, r, d, true},
		{"account refuses", 0, 0, 1, d, r, false},
		{"both in the way, one refuses", 0, 1, 1, d, r, false},
		{"both put off", 1, 1, 1, d, d, true},
		{"the other has room", 0, 1, 100, d, r, true},
	} {
		w := newWorld(t, func(c *Claim) {
			c.Key.PerDay = tt.key
			c.Subuser.Plan = relay.Plan{Day: tt.subuser, Over: tt.of}
			c.Account.Plan = relay.Plan{Day: tt.account, Over: tt.parent}
			c.Deadline = start.AddDate(0, 0, 3)
		})
		w.sends(1)
		if !tt.putOff {
			w.refused(1)
			continue
		}
		w.due(1, time.Date(2026, 11, 3, 0, 0, 0, 0, time.UTC))
		w.due(1, time.Date(2026, 11, 4, 0, 0, 0, 0, time.UTC))
		if res, _ := w.reserve(1); res.Why() == nil || res.Why().Limit.Window != relay.WindowDay {
			t.Errorf("%s: %+v", tt.name, res.Why())
		}
		w.refused(1) // past the deadline
	}
}

// The limits of others have room where mail is put off to, too.
func TestPutOffPassesEveryLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Claim) {
		c.Key.PerMinute, c.Subuser.Plan.Hour, c.Account.Plan.Day = 2, 4, 6
		c.Subuser.Plan.Over, c.Account.Plan.Over = relay.OverDefer, relay.OverDefer
		c.Deadline = start.AddDate(0, 1, 0)
	})
	w.sends(2)
	w.due(2, start.Add(61*time.Second))
	w.due(2, start.Add(61*time.Minute))
	w.due(2, time.Date(2026, 11, 3, 0, 0, 0, 0, time.UTC))
	w.due(1, time.Date(2026, 11, 3, 0, 1, 1, 0, time.UTC))
	w.due(1, time.Date(2026, 11, 3, 0, 1, 1, 0, time.UTC))
	w.due(1, time.Date(2026, 11, 3, 1, 1, 0, 0, time.UTC))
	w.due(1, time.Date(2026, 11, 3, 1, 1, 0, 0, time.UTC))
	w.due(1, time.Date(2026, 11, 4, 0, 0, 0, 0, time.UTC))
}

// A cancelled reservation gives back what it took of the future.
func TestPutOffCancelled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Claim) {
		c.Subuser.Plan.Day, c.Subuser.Plan.Over = 1, relay.OverDefer
		c.Deadline = start.AddDate(0, 0, 1)
	})
	w.sends(1)
	for range 3 {
		r, err := w.reserve(1)
		if err != nil || r.DueAt().IsZero() {
			t.Fatal(r.DueAt(), err)
		}
		r.Cancel()
	}
	w.due(1, time.Date(2026, 11, 3, 0, 0, 0, 0, time.UTC))
	w.refused(1)
}

// One backlog does not make the next message slow, nor another subuser's late.
func TestLongBacklog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Claim) {
		c.Key.PerHour, c.Account.Plan.Hour = 10, 1000
		c.Subuser.Plan.Over, c.Account.Plan.Over = relay.OverDefer, relay.OverDefer
		c.Deadline = start.AddDate(1, 0, 0)
	})
	var last time.Time
	for i := range 20000 {
		r, err := w.send(1)
		if err != nil || (i >= 10) != (!r.DueAt().IsZero()) || r.DueAt().Before(last) {
			t.Fatalf("%d: %v %v", i, r.DueAt(), err)
		}
		last = r.DueAt()
	}
	if want := start.Add(1999 * 61 * time.Minute); !last.Equal(want) {
		t.Errorf("the last one leaves %v, want %v", last, want)
	}
	w.claim.Key = &relay.Key{ID: relay.KeyID{ID: relay.ID{8}}, Account: acmeID}
	w.sends(900)
}
