package credit

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"postern/internal/relay"
)

// sent is one message in the naive model: a list of all of them, in no window.
type sent struct {
	at    time.Time
	n     int64
	gone  bool // cancelled
	party [partyCount]bool
}

// model answers by looking at every message.
type model struct {
	zone *time.Location
	sent []*sent
}

// used is what lies in one window of one subject's limit around a moment: a
// rolling one is given by its first bucket.
func (m *model) used(party int, in func(at time.Time) bool) (n int64) {
	for _, s := range m.sent {
		if !s.gone && s.party[party] && in(s.at) {
			n += s.n
		}
	}
	return n
}

func rollingUnit(w relay.Window) int64 {
	if w == relay.WindowMinute {
		return 1
	}
	return 60
}

// room reports whether n fit at a moment into every window around it.
func (m *model) room(party int, l *limit, at time.Time, n int64) bool {
	switch l.window {
	case relay.WindowMinute, relay.WindowHour:
		unit := rollingUnit(l.window)
		b := at.Unix() / unit
		for first := b - 60; first <= b; first++ {
			if m.used(party, func(t time.Time) bool { k := t.Unix() / unit; return k >= first && k <= first+60 })+n > l.max {
				return false
			}
		}
		return true
	case relay.WindowEver:
		return m.used(party, func(time.Time) bool { return true })-l.base+n <= l.max
	}
	day := at.In(m.zone)
	return m.used(party, func(t time.Time) bool { return sameWindow(l.window, t.In(m.zone), day) })+n <= l.max
}

func sameWindow(w relay.Window, a, b time.Time) bool {
	switch w {
	case relay.WindowMonth:
		return a.Year() == b.Year() && a.Month() == b.Month()
	case relay.WindowWeek:
		ay, aw := a.ISOWeek()
		by, bw := b.ISOWeek()
		return ay == by && aw == bw
	}
	return a.YearDay() == b.YearDay() && a.Year() == b.Year()
}

// candidates are all moments at which room can begin: when a message leaves a
// rolling window, and when a day does.
func (m *model) candidates(from, until time.Time) []time.Time {
	out := []time.Time{from}
	add := func(t time.Time) {
		if t.After(from) && t.Before(until) {
			out = append(out, t)
		}
	}
	for _, s := range m.sent {
		add(time.Unix(s.at.Unix()+61, 0))
		add(time.Unix((s.at.Unix()/60+61)*60, 0))
	}
	y, mo, d := from.In(m.zone).Date()
	for i := 1; i <= 40; i++ {
		add(time.Date(y, mo, d+i, 0, 0, 0, 0, m.zone))
	}
	return out
}

// RX-07: over random times, limits, refusals and cancellations the ledger says
// what the model says, and puts off to the earliest moment that the model finds.
func TestAgainstAModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(150) {
		againstModel(t, seed)
	}
}

func againstModel(t *testing.T, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 7))
	pick := func(max int64) int64 {
		if r.IntN(3) > 0 {
			return 0
		}
		return 1 + r.Int64N(max)
	}
	w := newWorld(t, func(c *Claim) {
		c.Account.TimeZone = []string{"UTC", "Asia/Tokyo", "Europe/Berlin", "America/St_Johns"}[r.IntN(4)]
		c.Account.Plan = relay.Plan{Hour: pick(60), Day: pick(150), Month: pick(600)}
		c.Subuser.Plan = relay.Plan{Hour: pick(40), Day: pick(100), Month: pick(400)}
		c.Subuser.Plan.Credits = relay.Credits{
			Type:  []relay.CreditType{"", relay.CreditsRecurring, relay.CreditsNonrecurring}[r.IntN(3)],
			Reset: []string{"daily", "weekly", "monthly"}[r.IntN(3)], Total: 1 + r.Int64N(300),
		}
		c.Key.PerMinute, c.Key.PerHour, c.Key.PerDay = pick(15), pick(30), pick(80)
		if seed%2 == 0 {
			c.Account.Plan.Over, c.Subuser.Plan.Over = relay.OverDefer, relay.OverDefer
		}
	})
	w.now = time.Date(2027, 10, 29, r.IntN(24), r.IntN(60), 0, 0, time.UTC) // around a change of the clock, and a new month
	m := &model{zone: relay.Zone(w.claim.Account.TimeZone)}
	tail := map[*limit]time.Time{}
	limits := limitsOf(&w.claim)
	each := func(f func(party int, l *limit)) {
		for p := range limits {
			for i := range limits[p].limits {
				if l := &limits[p].limits[i]; l.on {
					f(p, l)
				}
			}
		}
	}
	fits := func(at time.Time, n int64) bool {
		ok := true
		each(func(p int, l *limit) { ok = ok && m.room(p, l, at, n) })
		return ok
	}
	for step := range 120 {
		w.now = w.now.Add(time.Duration(r.Int64N([]int64{1, 20, 300, 5000}[r.IntN(4)])) * time.Second)
		n := 1 + r.Int64N(12)
		w.claim.Deadline = w.now.Add(4 * 24 * time.Hour)
		free := fits(w.now, n)
		from := w.now
		var blocking []*limit
		each(func(p int, l *limit) {
			if !m.room(p, l, w.now, n) {
				blocking = append(blocking, l)
				if tail[l].After(from) {
					from = tail[l]
				}
			}
		})
		res, err := w.reserve(n)
		if e, ok := errors.AsType[*Exceeded](err); err != nil && (!ok || e.Limit.Window == "") {
			t.Fatalf("seed %d step %d: %v", seed, step, err)
		}
		at := w.now
		switch {
		case free != (err == nil && res.DueAt().IsZero()):
			t.Fatalf("seed %d step %d: %d at %v: model has room: %v, ledger: due %v, %v", seed, step, n, w.now, free, res.DueAt(), err)
		case err == nil && !free:
			at = res.DueAt()
			if !fits(at, n) || at.Before(from) {
				t.Fatalf("seed %d step %d: %d put off to %v, where the model has no room", seed, step, n, at)
			}
			for _, l := range blocking {
				tail[l] = at
			}
			fallthrough
		case err != nil && w.claim.Subuser.Plan.Over == relay.OverDefer:
			until := at
			if err != nil {
				until = w.claim.Deadline
			}
			for _, c := range m.candidates(from, until) {
				if c.Before(until) && fits(c, n) {
					t.Fatalf("seed %d step %d: %d at %v: room at %v, put off to %v, %v", seed, step, n, w.now, c, res.DueAt(), err)
				}
			}
		}
		if err != nil {
			continue
		}
		s := &sent{at: at, n: n, party: [partyCount]bool{true, true, true}}
		m.sent = append(m.sent, s)
		if r.IntN(6) == 0 {
			res.Cancel()
			s.gone = true
			continue
		}
		w.store.commit(res.Deltas())
		res.Settle()
		if r.IntN(20) == 0 && w.claim.Key.PerMinute == 0 && w.claim.Subuser.Plan.Over == relay.OverRefuse {
			w.restart() // what is in the store says the same, but for seconds and order
		}
	}
	m.check(t, seed, each)
}

// check looks at every window there can be, to the second: not one holds more
// than its limit.
func (m *model) check(t *testing.T, seed uint64, each func(func(int, *limit))) {
	t.Helper()
	each(func(p int, l *limit) {
		for _, s := range m.sent {
			var length time.Duration
			switch l.window {
			case relay.WindowMinute:
				length = time.Minute
			case relay.WindowHour:
				length = time.Hour
			default:
				continue
			}
			if n := m.used(p, func(at time.Time) bool { return !at.Before(s.at) && at.Before(s.at.Add(length)) }); n > l.max {
				t.Errorf("seed %d: %d in the %s from %v, limit %d", seed, n, l.window, s.at, l.max)
			}
		}
	})
}

// The counter against a map.
func TestCounter(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var c counter
		want := map[int64]int64{}
		for range 60 {
			at, n := r.Int64N(100), r.Int64N(5)-1
			if want[at]+n < 0 {
				continue
			}
			c.add(at, n)
			want[at] += n
		}
		low := r.Int64N(50)
		c.trim(low)
		for range 20 {
			first := low + r.Int64N(100)
			last := first + r.Int64N(60) - 5
			var sum int64
			for at := first; at <= last; at++ {
				sum += want[at]
			}
			if got := c.sum(first, last); got != sum {
				t.Fatalf("sum %d to %d is %d, want %d", first, last, got, sum)
			}
		}
		if !slices.IsSortedFunc(c.buckets, func(a, b bucket) int { return int(a.at - b.at) }) {
			t.Fatalf("%v", c.buckets)
		}
		for _, b := range c.buckets {
			if b.n == 0 || b.at < low {
				t.Fatalf("%v is kept", b)
			}
		}
	}
}
