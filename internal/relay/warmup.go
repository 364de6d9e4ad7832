package relay

import (
	"math"
	"net/netip"
	"time"
)

// The ramp of an address that is being warmed up: so many recipients an hour to
// one destination site on its first day, and by WarmupGrowth more on each day
// after it. After WarmupDays the address is warm.
const (
	WarmupFirst  = 20
	WarmupGrowth = 1.4
	WarmupDays   = 41
)

// A day on which receivers complained is not followed by growth: at least
// WarmupBadLeast recipients were refused or put off because of who sent or how
// much, and they are more than WarmupBadPercent of what was sent.
const (
	WarmupBadLeast   = 10
	WarmupBadPercent = 5
)

// Warmup says since when an address is new to the receivers of its mail. The zero
// value means that it is not.
type Warmup struct {
	Since time.Time `json:"since"`
	// Held is on how many days the allowance did not grow, because the day before
	// had gone badly.
	Held int `json:"held_days,omitempty"`
}

// WarmupState is what is kept of one address in warm-up.
type WarmupState struct {
	Address netip.Addr
	Warmup
	// Counts is what was sent of late, as whoever counts writes it.
	Counts []byte
}

// IsZero reports that there is no warm-up.
func (w Warmup) IsZero() bool { return w.Since.IsZero() }

// Elapsed is how many whole days of 24 hours have gone by since the beginning; 0
// before it.
func (w Warmup) Elapsed(now time.Time) int {
	if now.Before(w.Since) {
		return 0
	}
	return int(now.Sub(w.Since) / (24 * time.Hour))
}

// Day is how far the ramp is: the days gone by without those on which it did not
// grow, from 0.
func (w Warmup) Day(now time.Time) int { return max(0, w.Elapsed(now)-max(0, w.Held)) }

// Warming reports whether the allowance counts now.
func (w Warmup) Warming(now time.Time) bool { return !w.IsZero() && w.Day(now) < WarmupDays }

// Until is when it is over, if every day from now on goes well.
func (w Warmup) Until() time.Time {
	return w.Since.Add(time.Duration(WarmupDays+max(0, w.Held)) * 24 * time.Hour)
}

// Allowance is how many recipients the address may send to in an hour of the
// clock, at each destination site.
func (w Warmup) Allowance(now time.Time) int {
	return int(math.Round(WarmupFirst * math.Pow(WarmupGrowth, float64(min(w.Day(now), WarmupDays)))))
}
