package watch

import (
	"fmt"
	"math"
	"time"

	"postern/internal/relay"
)

var newRecipients = measure{floor: 30, least: 0.10, factor: 3, spread: 5, times: 1.25, jump: 2, unknown: 2, far: 4}

// youngRecipients is for the weeks before recipientsAge. A first monthly run to people
// who had no mail yet is usual then, so only what is far from all that was is told: by
// a key that wrote to the same people day by day, far more new ones, and a far larger
// part. A young key is stolen as easily as an old one.
var youngRecipients = measure{floor: 60, least: 0.3, factor: 2.5, spread: 5, times: 2.5, jump: 2.5, unknown: 2, far: 4, farRate: 0.7}

const (
	// recipientsAge is how long it takes until those who get mail once a month have
	// had theirs.
	recipientsAge = 35 * day
	// youngAge is when a key is known well enough for what is far from all that was:
	// its first two weeks, when all are new, teach nothing.
	youngAge = 21 * day
)

// recipients looks for a jump of recipients to whom the key never wrote: a bought
// or stolen list.
func (s *scene) recipients(b *baseline, to []string) {
	p := &b.people
	for _, r := range to {
		sampled, fresh, weight := p.Known.add(r)
		if !sampled {
			continue
		}
		p.NewHour.All += weight
		p.NewDay.All += weight
		if fresh {
			p.NewHour.Kind += weight
			p.NewDay.Kind += weight
			p.Sampled++
			p.SampledH++
		}
	}
	set, on := s.set(relay.WatchRecipients)
	if !on || !b.known(s.clock, youngAge, 10) {
		return
	}
	m := newRecipients
	if b.age(s.clock) < recipientsAge {
		m = youngRecipients
	}
	m.floor = floor(set, m.floor)
	w, unit := &p.NewDay, "new recipients in a day"
	switch {
	case p.SampledH >= 8 && p.NewHour.beyondDay(&p.NewDay, m, set.Margin):
		w, unit = &p.NewHour, "new recipients in an hour"
	case p.Sampled >= 8 && p.NewDay.beyond(m, set.Margin):
	default:
		return
	}
	count, rate := p.NewDay.limits(m, set.Margin)
	p.NewHour.Odd, p.NewDay.Odd = true, true
	part := float64(w.Kind / w.All)
	f := relay.WatchFinding{
		Rule: relay.WatchRecipients, Severity: relay.WatchWarning,
		Title: fmt.Sprintf("Key %s writes to many for the first time: %s of %s", s.keyShort(), number(float64(w.Kind)), number(float64(w.All))),
		Text: fmt.Sprintf("%s wrote to %s recipients, and %s of them (%.0f %%) never had mail from it before, until %s. Usually %.0f %% are new, and no day had more than %s.",
			s.theKey(), number(float64(w.All)), number(float64(w.Kind)), part*100, s.when(), float64(p.NewDay.Rate.Mean)*100, number(float64(p.NewDay.Count.Max))),
		Fix: "If you have a new list, dismiss this and teach the watch. If not, hold the key's mail and look at what it sent: a stolen key is used for lists like this.",
		Evidence: relay.WatchEvidence{Expected: math.Ceil(count), Seen: float64(w.Kind), Unit: unit, Times: []time.Time{s.at.UTC()}, Samples: firsts(to),
			Values: map[string]float64{"rate": round3(part), "rate_limit": round3(rate), "usual_rate": round3(float64(p.NewDay.Rate.Mean)), "most_in_a_day": float64(p.NewDay.Count.Max)}},
	}
	s.report(f)
}

// beyondDay reports whether the open hour alone is beyond what days have: then it
// need not be looked at together with the day before it.
func (r *ratio) beyondDay(d *ratio, m measure, margin float64) bool {
	if r.All < enough || d.Rate.N < 5 {
		return false
	}
	count, rate := d.limits(m, margin)
	return float64(r.Kind) >= count && float64(r.Kind/r.All) >= rate
}

func firsts(to []string) []string {
	var out []string
	for _, r := range to {
		if len(out) == 3 {
			break
		}
		out = append(out, printable(r, 100))
	}
	return out
}

func round3(x float64) float64 { return math.Round(x*1000) / 1000 }
