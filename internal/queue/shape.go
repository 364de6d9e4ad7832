package queue

import (
	"fmt"
	"time"

	"postern/internal/deliver"
)

// learn adjusts what a site is given: one more connection at once for every
// full round of successes, one less after a failure, half after a throttling
// reply, and a growing pause once connections keep failing. mu is held.
func (q *Queue) learn(s *site, t tried, now time.Time) {
	if t.back {
		return
	}
	switch t.connect {
	case deliver.ConnOK:
		s.failures = 0
		s.reason = ""
		s.limit = min(s.limit+1/s.limit, float64(q.cfg.SiteMax))
	case deliver.Throttled:
		if now.Before(s.until) {
			return // an attempt from before the rest says nothing new
		}
		s.limit = max(1, s.limit/2)
		q.backOff(s, now, throttlePause, "the destination asked to slow down", t)
	case deliver.ConnFailed:
		s.limit = max(1, s.limit-1)
		if now.Before(s.until) {
			return // an outage is one failure, however many connections it broke
		}
		s.failures++
		if s.failures >= deadAfter {
			pause := min(deadPause<<min(s.failures-deadAfter, 5), deadPauseMax)
			q.backOff(s, now, pause, fmt.Sprintf("%d connections in a row failed", s.failures), t)
		}
	}
}

// The pauses. A dead site costs one probe per pause, whatever waits for it.
const (
	throttlePause = 30 * time.Second
	deadAfter     = 3
	deadPause     = 30 * time.Second
	deadPauseMax  = 15 * time.Minute
)

func (q *Queue) backOff(s *site, now time.Time, d time.Duration, why string, t tried) {
	s.until = now.Add(d)
	s.reason = why
	if len(t.outcomes) > 0 {
		s.reason += ": " + cut(t.outcomes[0].Reply.String(), 200)
	}
	q.paused[s] = struct{}{}
	q.kick()
}
