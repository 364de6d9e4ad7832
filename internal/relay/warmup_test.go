package relay_test

import (
	"testing"
	"time"

	"postern/internal/relay"
)

func TestWarmupRamp(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 1, 9, 30, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for _, c := range []struct {
		after time.Duration
		held  int
		day   int
		want  int
		warm  bool
	}{
		{-time.Hour, 0, 0, 20, false}, // a clock behind the one that set it
		{0, 0, 0, 20, false},
		{day - time.Second, 0, 0, 20, false},
		{day, 0, 1, 28, false},
		{2 * day, 0, 2, 39, false},
		{3 * day, 0, 3, 55, false},
		{4 * day, 0, 4, 77, false},
		{5 * day, 0, 5, 108, false},
		{6 * day, 0, 6, 151, false},
		{7 * day, 0, 7, 211, false},
		{10 * day, 0, 10, 579, false},
		{12 * day, 0, 12, 1134, false},
		{20 * day, 0, 20, 16734, false},
		{40*day + 23*time.Hour, 0, 40, 14000754, false},
		{41 * day, 0, 41, 0, true},
		{12 * day, 3, 9, 413, false}, // three days did not count
		{2 * day, 9, 0, 20, false},   // never below the first day
		{41 * day, 1, 40, 14000754, false},
		{42 * day, 1, 41, 0, true},
		{12 * day, -3, 12, 1134, false}, // a row that was tampered with gives nothing
	} {
		w, now := relay.Warmup{Since: begin, Held: c.held}, begin.Add(c.after)
		if got := w.Day(now); got != c.day {
			t.Errorf("after %s, held %d: day %d, want %d", c.after, c.held, got, c.day)
		}
		if got := w.Warming(now); got == c.warm {
			t.Errorf("after %s, held %d: warming %v", c.after, c.held, got)
		}
		if got := w.Allowance(now); !c.warm && got != c.want {
			t.Errorf("after %s, held %d: %d an hour, want %d", c.after, c.held, got, c.want)
		}
		if over := !now.Before(w.Until()); over != c.warm {
			t.Errorf("after %s, held %d: over by Until: %v", c.after, c.held, over)
		}
	}
	if (relay.Warmup{}).Warming(begin) {
		t.Error("an address that is not in warm-up warms up")
	}
}
