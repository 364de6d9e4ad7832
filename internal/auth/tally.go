package auth

import (
	"math"
	"time"
)

// tally counts the failures of one subject. Old ones count for less and less:
// the score halves with every half-life.
type tally struct {
	score    float64
	at       int64 // Unix nanoseconds: the moment that score is of
	since    int64 // of the first failure that still counted when the last one came
	until    int64 // refused until then; 0: not
	eased    int64 // when a success last took one failure off
	failures int64 // all since since, undiminished
	strikes  uint8 // how often refused, for the length of the next time
}

// easeEvery is how often a success takes a failure off. Somebody who has one
// good key must not buy guesses with it.
const easeEvery = int64(time.Minute)

// strikesLast is how long after its last refusal a subject is treated as new.
const strikesLast = int64(24 * time.Hour)

// level is the score at a moment. A clock that went back changes nothing.
func (t *tally) level(now int64, halfLife time.Duration) float64 {
	if d := now - t.at; d > 0 && t.score > 0 {
		return t.score * math.Exp2(-float64(d)/float64(halfLife))
	}
	return t.score
}

// refused reports whether the subject is refused at a moment.
func (t *tally) refused(now int64) bool { return t.until > now }

// worth compares entries of different ages without knowing the time: the
// logarithm of what the score is at any one moment.
func (t *tally) worth(halfLife time.Duration) float64 {
	return math.Log2(t.score+1e-9) + float64(t.at)/float64(halfLife) + float64(t.strikes)
}

// budget is how much a subject may fail.
type budget struct {
	most     float64 // score at which it is refused
	halfLife time.Duration
	first    time.Duration // of the first refusal; each one doubles
	longest  time.Duration
}

// fail counts one failure. It reports whether the subject is refused from now on
// and was not before.
func (t *tally) fail(now int64, b budget) (shut bool) {
	level := t.level(now, b.halfLife)
	if level < 0.5 {
		t.since, t.failures = now, 0
	}
	t.score, t.at = level+1, max(now, t.at)
	t.failures++
	// The last half is for the decay between failures that came at once.
	if t.score < b.most-0.5 || t.refused(now) {
		return false
	}
	if t.until != 0 && now-t.until > strikesLast {
		t.strikes = 0
	}
	wait := b.longest
	if t.strikes < 30 && b.first<<t.strikes < b.longest {
		wait = b.first << t.strikes
	}
	t.strikes = min(t.strikes+1, 30)
	t.until = now + int64(wait)
	return true
}

// succeed takes one failure off, at most once a minute, and never all of them.
func (t *tally) succeed(now int64, halfLife time.Duration) {
	if now-t.eased < easeEvery {
		return
	}
	if level := t.level(now, halfLife); level > 2 {
		t.score, t.at, t.eased = level-1, max(now, t.at), now
	}
}
