package queue

import (
	"math/rand/v2"
	"time"

	"postern/internal/relay"
)

// schedule merges the schedules: pool before account before product.
func schedule(pool, account, product relay.Retry) relay.Retry {
	r := product
	for _, over := range []relay.Retry{account, pool} {
		if len(over.Intervals) > 0 {
			r.Intervals = over.Intervals
		}
		if over.Lifetime > 0 {
			r.Lifetime = over.Lifetime
		}
		if over.DelayNotice > 0 {
			r.DelayNotice = over.DelayNotice
		}
	}
	return r
}

// wait is the time to the attempt after the given number of attempts (≥ 1),
// jittered by ±20 % with u in [0, 1).
func wait(r relay.Retry, attempts int, u float64) time.Duration {
	i := min(max(attempts, 1), len(r.Intervals)) - 1
	d := r.Intervals[i]
	return d - d/5 + time.Duration(u*float64(d)*2/5)
}

// leastNext is how long a recipient waits at least for a time that somebody else's
// clock told: ours may be ahead of it.
const leastNext = time.Minute

// earlier is the first of two moments.
func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// later is the last of two moments.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// nextDue is when a deferred recipient is tried again: by schedule, but once
// more at the moment it expires, so that nothing expires untried.
func nextDue(r relay.Retry, attempts int, now, expires time.Time) time.Time {
	due := now.Add(wait(r, attempts, rand.Float64()))
	if due.After(expires) && now.Before(expires) {
		due = expires
	}
	return due
}
