package watch

import "testing"

// TestBeyond: how many new ones, and what part of all, is beyond what the days before had.
func TestBeyond(t *testing.T) {
	t.Parallel()
	// days is what is usual: n days, at most so many new ones, their mean rate with its
	// spread, and the largest.
	type days struct {
		n                uint32
		most             float32
		mean, sd, maxOne float32
	}
	var (
		settled = days{38, 10, 0.17, 0.10, 0.18} // met its people in its first weeks: a wide spread
		even    = days{38, 10, 0.17, 0.01, 0.30}
		few     = days{2, 10, 0.53, 0.03, 0.55} // days with enough mail are rare
		none    = days{1, 10, 0.53, 0, 0.53}
		meeting = days{7, 15, 0.55, 0.10, 0.60}
	)
	for name, c := range map[string]struct {
		m         measure
		usual     days
		all, kind float32
		want      bool
	}{
		"twice the largest rate, however far they spread":   {newRecipients, settled, 90, 35, true},
		"less than twice, and less than five deviations":    {newRecipients, settled, 90, 31, false},
		"five deviations and a quarter beyond the largest":  {newRecipients, even, 90, 35, true},
		"five deviations, not beyond the largest":           {newRecipients, even, 120, 35, false},
		"not three times the largest number":                {newRecipients, days{38, 13, 0.17, 0.01, 0.18}, 60, 36, false},
		"four times the largest number: two deviations":     {newRecipients, days{38, 10, 0.17, 0.10, 0.30}, 100, 40, true},
		"four times, but not two deviations":                {newRecipients, days{38, 10, 0.17, 0.13, 0.30}, 100, 41, false},
		"two days known, nearly all are new":                {newRecipients, few, 77, 69, true},
		"two days known, most are new":                      {newRecipients, few, 92, 69, false},
		"two days known, most are new, as usual":            {newRecipients, days{2, 10, 0.62, 0.03, 0.65}, 77, 69, false},
		"two days known, not four times the largest number": {newRecipients, days{2, 18, 0.53, 0.03, 0.55}, 77, 69, false},
		"one day known": {newRecipients, none, 77, 69, false},
		"young: four times the largest number, nearly all":    {youngRecipients, meeting, 83, 68, true},
		"young: four times the largest number, most":          {youngRecipients, meeting, 98, 68, false},
		"young: not four times, nearly all":                   {youngRecipients, days{7, 18, 0.55, 0.10, 0.60}, 83, 68, false},
		"young: a far larger part":                            {youngRecipients, days{12, 24, 0.13, 0.04, 0.16}, 158, 68, true},
		"young: a larger part":                                {youngRecipients, days{12, 24, 0.13, 0.04, 0.16}, 175, 68, false},
		"young: a far larger part, but twice as many at most": {youngRecipients, days{12, 30, 0.13, 0.04, 0.16}, 158, 68, false},
		"young: under the floor":                              {youngRecipients, days{12, 14, 0.13, 0.04, 0.16}, 100, 58, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := c.usual
			r := ratio{All: c.all, Kind: c.kind, Count: stat{N: u.n, Max: u.most}, Rate: stat{N: u.n, Mean: u.mean, Var: u.sd * u.sd, Max: u.maxOne}}
			if got := r.beyond(c.m, 1); got != c.want {
				count, rate := r.limits(c.m, 1)
				t.Errorf("%.0f of %.0f (%.2f): %v; the limits are %.1f and %.2f", c.kind, c.all, c.kind/c.all, got, count, rate)
			}
		})
	}
}
