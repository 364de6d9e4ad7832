package watch

import (
	"slices"
	"testing"
	"time"

	"postern/internal/relay"
)

// mails hands in n messages with one recipient each, a second apart.
func (w *world) mails(p *program, at time.Time, n int) {
	for i := range n {
		d := relay.EventData{Source: &relay.Source{Addr: w.addr(p), Protocol: "ESMTPSA", TLS: p.TLS, Mechanism: p.Mech}, Recipients: []string{"known@example.test"}}
		w.event(p, relay.EventReceived, at.Add(time.Duration(i)*time.Second), "", d)
	}
}

// A habit is what a key did before the night that is judged.
type habit struct {
	days, every int   // it sends on day 0, every, 2·every, … below days
	hours       []int // of such a day
	each        int   // messages in an hour
	stray       int   // and once, on day 1, messages at 02:00
}

// Each threshold of the rule about hours stands where it says: below it there is
// nothing to say, and at it there is.
func TestHoursThresholds(t *testing.T) {
	t.Parallel()
	office := []int{9, 10, 11, 12, 13, 14, 15, 16, 17, 18}
	daily := habit{days: 60, every: 1, hours: office[:2], each: 3}
	with := func(h habit, change func(*habit)) habit { change(&h); return h }
	for name, c := range map[string]struct {
		habit
		set    relay.WatchRuleSetting
		quiet  int // messages at night that say nothing
		enough int // and that are a finding; 0: no number is
	}{
		"five messages":                       {habit: daily, quiet: 4, enough: 5},
		"the account's number":                {habit: daily, set: relay.WatchRuleSetting{Floor: 12}, quiet: 11, enough: 12},
		"a lower number of the account":       {habit: daily, set: relay.WatchRuleSetting{Floor: 2}, quiet: 1, enough: 2},
		"its margin":                          {habit: daily, set: relay.WatchRuleSetting{Margin: 2}, quiet: 9, enough: 10},
		"a tenth of the usual hour":           {habit: with(daily, func(h *habit) { h.each = 90 }), quiet: 8, enough: 9},
		"off":                                 {habit: daily, set: relay.WatchRuleSetting{Off: true}, quiet: 100},
		"used in too few hours":               {habit: habit{days: 59, every: 1, hours: office[:1], each: 1}, quiet: 100},
		"used in just enough hours":           {habit: habit{days: 60, every: 1, hours: office[:1], each: 1}, quiet: 4, enough: 5},
		"known for less than five weeks":      {habit: habit{days: 35, every: 1, hours: office, each: 3}, quiet: 100},
		"known for five weeks":                {habit: habit{days: 36, every: 1, hours: office, each: 3}, quiet: 4, enough: 5},
		"used on thirteen days":               {habit: habit{days: 36, every: 3, hours: office, each: 3}, quiet: 100},
		"used on fourteen days":               {habit: habit{days: 39, every: 3, hours: office, each: 3}, quiet: 4, enough: 5},
		"the night was used":                  {habit: with(daily, func(h *habit) { h.hours = []int{3, 9} }), quiet: 100},
		"the hour beside it was used":         {habit: with(daily, func(h *habit) { h.hours = []int{2, 9} }), quiet: 100},
		"the hour after it was used":          {habit: with(daily, func(h *habit) { h.hours = []int{4, 9} }), quiet: 100},
		"two hours away":                      {habit: with(daily, func(h *habit) { h.hours = []int{1, 5} }), quiet: 4, enough: 5},
		"a stray night in few hours":          {habit: habit{days: 40, every: 1, hours: office[:7], each: 3, stray: 1}, quiet: 100},
		"a stray night in three hundred":      {habit: habit{days: 40, every: 1, hours: office, each: 3, stray: 1}, quiet: 4, enough: 5},
		"a night with more than a stray mail": {habit: habit{days: 40, every: 1, hours: office, each: 3, stray: 5}, quiet: 100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n, want := range map[int]int{c.quiet: 0, c.enough: 1} {
				w := newWorld(t, 1)
				p := w.program("shop", "192.0.2.7")
				w.live(p, c.habit)
				w.mails(p, w.at(float64(c.days), 3), n)
				fs := w.watch(func(cfg *Config) {
					cfg.Only = []relay.WatchRule{relay.WatchHours}
					cfg.Settings = func(relay.AccountID) relay.WatchSettings {
						return relay.WatchSettings{Rules: map[relay.WatchRule]relay.WatchRuleSetting{relay.WatchHours: c.set}}
					}
				})
				// What the stray night may be a finding of by itself is not asked here.
				fs = slices.DeleteFunc(fs, func(f relay.WatchFinding) bool { return f.Subject != "03:00" })
				if n > 0 && len(fs) != want {
					t.Errorf("%d messages at 03:00: %d findings, want %d", n, len(fs), want)
				}
			}
		})
	}
}

// live lets a program have a habit.
func (w *world) live(p *program, h habit) {
	for d := 0; d < h.days; d += h.every {
		if d == 1 && h.stray > 0 {
			w.mails(p, w.at(1, 2), h.stray)
		}
		for _, hour := range h.hours {
			w.mails(p, w.at(float64(d), float64(hour)), h.each)
		}
	}
}
