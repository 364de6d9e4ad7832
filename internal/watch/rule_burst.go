package watch

import (
	"fmt"
	"math"
	"time"

	"postern/internal/relay"
)

const (
	burstFloor = 30 // recipients beyond the usual in an hour that are worth a finding
	// steadyShare is up to which part of the week's mail in one hour a key counts as
	// one that sends all the time.
	steadyShare = 0.05
	burstAge    = 35 * day // a month, with the run at its end
	// youngBurst is when a key that sends day and night, all week, is known well
	// enough for what dwarfs its largest hour. One that keeps office hours may still
	// have its first monthly run before it.
	youngBurst  = 21 * day
	youngDays   = 14
	youngHours  = week / 2 // hours of the week with mail
	youngBeyond = 5        // times the largest hour
	smallPeak   = 100      // recipients in the largest hour of a small key
)

// burst looks for far more mail in an hour than the key ever sent at that hour of
// the week. How far is far, each key says itself: the worst hour of each of its
// days, measured against the usual of that hour, makes the scale. For a key that
// sends in batches a batch at another time is no burst; more than the largest
// batch is.
func (s *scene) burst(b *baseline) {
	set, on := s.set(relay.WatchBurst)
	v := &b.volume
	n, usual := float64(v.Now), v.usual(s.slot)
	if !on || n-usual < floor(set, burstFloor) || n < usual+8*math.Sqrt(usual+1) {
		return
	}
	limit, ok := v.burstLimit(b, s.clock, usual, set.Margin)
	if !ok || n < limit {
		return
	}
	v.Burst = true
	severity := relay.WatchWarning
	if n > 10*float64(v.Peak) {
		severity = relay.WatchCritical
	}
	s.report(relay.WatchFinding{
		Rule: relay.WatchBurst, Severity: severity,
		Title: fmt.Sprintf("Key %s sends far more than ever: %s recipients in an hour", s.keyShort(), number(n)),
		Text: fmt.Sprintf("%s sent to %s recipients within the hour until %s. On %s it usually sends to %s, and its largest hour so far had %s.",
			s.theKey(), number(n), s.when(), hourWords(s.slot), number(math.Ceil(usual)), number(float64(v.Peak))),
		Fix: "If this is a campaign of yours, dismiss this and teach the watch. If not, hold the key's mail, look at what it sent, and rotate the key. A limit per hour would have kept it small.",
		Evidence: relay.WatchEvidence{Expected: math.Ceil(limit), Seen: n, Unit: "recipients in an hour", Times: []time.Time{s.at.UTC()},
			Values: map[string]float64{"usual": math.Ceil(usual), "peak": float64(v.Peak), "limit": math.Ceil(limit)}},
	})
}

// burstLimit is the number of recipients in an hour from which on it is a burst;
// ok is false while too little is known.
func (v *volume) burstLimit(b *baseline, c clock, usual, margin float64) (limit float64, ok bool) {
	age, peak := b.age(c), float64(v.Peak)
	least := 0.0
	switch {
	case age >= burstAge && (v.Excess.N >= 10 || v.Excess.N >= 4 && age >= 2*burstAge):
	case age >= youngBurst && v.Excess.N >= youngDays && v.busy() >= youngHours:
		least = youngBeyond * margin * peak
	default:
		return 0, false
	}
	scale := v.Excess.upper(4)
	worst := float64(v.Excess.Max)
	scale = math.Max(scale, worst+math.Log(1.5))
	scale = math.Min(scale, worst+math.Log(4))
	scale = math.Max(scale, math.Log(4)) + math.Log(margin)
	few := 5 + 0.02*peak
	at := func(scale float64) float64 { return math.Exp(scale)*(usual+few) - few }
	// Beyond its scale and the largest hour that it ever had: the more so the more
	// its days differ.
	beyond := math.Min(math.Max(1.5, math.Exp(2*v.Excess.sd())), 4)
	limit = math.Max(at(scale), beyond*margin*peak)
	if v.share() < steadyShare {
		// A key that sends all the time has no batches that could come at another
		// time: what is far beyond its hour counts, although other hours have as much.
		limit = math.Min(limit, math.Max(at(scale+math.Log(1.5)), 0.2*peak))
	}
	// Of a small key, a few more than its largest hour are chance: the more the more
	// its days differ, too.
	limit = math.Max(limit, math.Min(peak, smallPeak)+burstFloor*margin*math.Min(math.Exp(3*v.Excess.sd()), 4))
	return math.Max(limit, least), true
}
