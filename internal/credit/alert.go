package credit

import (
	"fmt"

	"postern/internal/relay"
)

// alert is one that is due: of a limit that a claim brings to 80 % or 100 %.
type alert struct {
	s     *subject
	of    *limited
	limit limit
	at    moment
	level int8
	used  int64
}

const (
	levelNone int8 = 0
	level80   int8 = 80
	level100  int8 = 100
)

// level is how far a limit is used.
func level(used, max int64) int8 {
	switch {
	case used >= max:
		return level100
	case used >= max-max/5:
		return level80
	}
	return levelNone
}

// spanSeconds is how long the alert about a rolling window is not repeated.
func spanSeconds(w relay.Window) int64 {
	switch w {
	case relay.WindowMinute:
		return 60
	case relay.WindowHour:
		return 60 * 60
	}
	return 0
}

// knows reports whether a level was told of the window around a moment. mu is
// held.
func (s *subject) knows(l *limit, at moment, lv int8) bool {
	t := &s.told[l.place]
	if t.level < lv || t.max != l.max {
		return false
	}
	if d := spanSeconds(l.window); d > 0 {
		return at.sec < t.at+d
	}
	return t.window == l.number(at)
}

// note records that a level was told. mu is held.
func (s *subject) note(l *limit, at moment, lv int8) {
	s.told[l.place] = told{window: l.number(at), at: at.sec, max: l.max, level: lv}
}

// remember takes, once after a load, what is used already as told: a restart does
// not repeat alerts. mu is held.
func (s *subject) remember(of *limited, at moment) {
	if s.judged {
		return
	}
	s.judged = true
	for i := range of.limits {
		if l := &of.limits[i]; l.on {
			s.note(l, at, level(s.used(l, at), l.max))
		}
	}
}

// reached lists the alerts about limits that have no room for a claim: whatever
// is left of them, they are reached.
func (p *parties) reached(at moment, n int64) (due []alert) {
	p.each(func(of *limited, s *subject, l *limit) bool {
		if s.next(l, at, n, p.zone) != at.sec && n <= l.max && !s.knows(l, at, level100) {
			due = append(due, alert{s, of, *l, at, level100, s.used(l, at)})
		}
		return true
	})
	return due
}

// crossed adds the alerts about limits that are used to 80 % or 100 % now.
func (p *parties) crossed(due []alert, at moment) []alert {
	p.each(func(of *limited, s *subject, l *limit) bool {
		used := s.used(l, at)
		if lv := level(used, l.max); lv != levelNone && !s.knows(l, at, lv) {
			due = append(due, alert{s, of, *l, at, lv, used})
		}
		return true
	})
	return due
}

// raise tells of alerts that nobody else has told of meanwhile.
func (l *Ledger) raise(due []alert) {
	for _, a := range due {
		a.s.mu.Lock()
		known := a.s.knows(&a.limit, a.at, a.level)
		if !known {
			a.s.note(&a.limit, a.at, a.level)
		}
		a.s.mu.Unlock()
		if !known {
			l.cfg.Alert(a.of.tenant, a.of.key, a.text())
		}
	}
}

func (a *alert) text() relay.Alert {
	u := relay.Usage{Subject: a.of.kind, Name: a.of.name, Window: a.limit.window, Limit: a.limit.max}
	out := relay.Alert{Kind: relay.AlertUsage80, Limit: a.of.kind + " " + string(a.limit.window), Used: a.used, Total: a.limit.max}
	state := "80 % of the limit is used"
	if a.level == level100 {
		out.Kind = relay.AlertUsage100
		state = "The limit is reached"
	}
	then := "More is refused until it has room again"
	if a.limit.over == relay.OverDefer {
		then = "More is put off until it has room again"
	}
	out.Text = fmt.Sprintf("%s: %d of %s. %s; raise the limit if this is wanted, else look at what sends so much.", state, a.used, describe(u), then)
	return out
}
