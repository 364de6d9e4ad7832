package watch

import (
	"fmt"
	"math"
	"time"

	"postern/internal/relay"
)

var (
	bounceMeasure  = measure{floor: 15, least: 0.05, factor: 3, spread: 5, times: 2, unknown: 0.3}
	unknownMeasure = measure{floor: 12, least: 0.04, factor: 3, spread: 5, times: 2, unknown: 0.2}
)

// endsAge is how long the ends of a key's mail are learned.
const endsAge = 21 * day

// bounces looks for a jump of bounces of any kind; where most are of recipients
// that do not exist, unknown says so better.
func (s *scene) bounces(b *baseline, ev *relay.Event, d *detail) {
	if b.UnknownDay.Kind >= 0.6*b.BounceDay.Kind {
		return
	}
	e := &b.ends
	s.jump(b, relay.WatchBounces, bounceMeasure, &e.BounceHour, &e.BounceDay, ev, d)
}

// unknown looks for a jump of recipients that do not exist: a list that somebody
// guessed or bought.
func (s *scene) unknown(b *baseline, ev *relay.Event, d *detail) {
	e := &b.ends
	s.jump(b, relay.WatchUnknown, unknownMeasure, &e.UnknownHour, &e.UnknownDay, ev, d)
}

func (s *scene) jump(b *baseline, rule relay.WatchRule, m measure, hour, whole *ratio, ev *relay.Event, d *detail) {
	set, on := s.set(rule)
	if !on || !b.known(s.clock, endsAge, 5) {
		return
	}
	m.floor = floor(set, m.floor)
	w, span := whole, "day"
	switch {
	case whole.beyond(m, set.Margin):
	case hour.Rate.N >= 20 && hour.beyond(m, set.Margin):
		w, span = hour, "hour"
	default:
		return
	}
	count, rate := w.limits(m, set.Margin)
	hour.Odd, whole.Odd = true, true
	part := float64(w.Kind / w.All)
	what, title := "bounced", "bounces"
	if rule == relay.WatchUnknown {
		what, title = "went to recipients that do not exist", "unknown recipients"
	}
	f := relay.WatchFinding{
		Rule: rule, Severity: relay.WatchWarning,
		Title: fmt.Sprintf("Key %s has a jump of %s: %.0f %%", s.keyShort(), title, part*100),
		Text: fmt.Sprintf("Of %s recipients of mail by %s whose end came in the %s until %s, %s (%.0f %%) %s. Usually it is %.1f %%, and no %s had more than %s.",
			number(float64(w.All)), lowerFirst(s.theKey()), span, s.when(), number(float64(w.Kind)), part*100, what, float64(w.Rate.Mean)*100, span, number(float64(w.Count.Max))),
		Fix: "Stop the list that this mail goes to and look where its addresses are from; receivers block those who write to many that do not exist. If nobody of yours sent it, rotate the key.",
		Evidence: relay.WatchEvidence{Expected: math.Ceil(count), Seen: float64(w.Kind), Unit: title + " in " + map[string]string{"day": "a day", "hour": "an hour"}[span],
			Times: []time.Time{s.at.UTC()}, Samples: []string{printable(ev.Recipient, 100) + ": " + printable(d.Reply, 150)},
			Values: map[string]float64{"rate": round3(part), "rate_limit": round3(rate), "usual_rate": round3(float64(w.Rate.Mean))}},
	}
	s.report(f)
}

// lowerFirst is a name that began a sentence, inside one.
func lowerFirst(s string) string {
	if len(s) > 0 && s[0] >= 'A' && s[0] <= 'Z' {
		return string(s[0]+'a'-'A') + s[1:]
	}
	return s
}
