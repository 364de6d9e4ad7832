package queue

import (
	"runtime"
	"sync"
	"time"
)

// Clock is the wall clock without its jumps. A step of the wall clock (NTP, a
// person, a machine that slept) must neither make every queued message due at
// once nor push it years away; so time goes on by the monotonic clock, and a
// difference to the wall clock is made up slowly: at most one second in twenty.
type Clock struct {
	wall func() time.Time
	mono func() time.Duration // since any fixed moment

	mu   sync.Mutex
	now  time.Time     // the steadied time at the last reading
	last time.Duration // mono at the last reading
}

// NewClock starts a clock at the wall's time.
func NewClock(wall func() time.Time) *Clock {
	start := time.Now()
	return newClock(wall, func() time.Duration { return time.Since(start) })
}

func newClock(wall func() time.Time, mono func() time.Duration) *Clock {
	return &Clock{wall: wall, mono: mono, now: wall().Round(0).UTC(), last: mono()}
}

// slew is how much of elapsed time may go into making up a difference.
const slew = 20

// Now returns the steadied time, UTC.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.mono()
	elapsed := max(m-c.last, 0)
	c.last = m
	c.now = c.now.Add(elapsed)
	behind := c.wall().Round(0).Sub(c.now)
	budget := elapsed / slew
	c.now = c.now.Add(min(max(behind, -budget), budget))
	return c.now
}

// Now is the queue's time, by which everything in it is due and expires. Those who
// put mail into it use it for that, and the wall clock for what people read.
func (q *Queue) Now() time.Time { return q.now() }

func defaultSigners() int { return runtime.GOMAXPROCS(0) }
