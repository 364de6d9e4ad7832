package watch

import "math"

// ratio watches what part of many things is of one kind: bounces of what was
// sent, new recipients of all. It looks at one window of time after the other
// (hours, or days), and compares the window that is open with those before.
type ratio struct {
	Window int64   `json:"w,omitempty"` // hour or day that is open
	All    float32 `json:"a,omitempty"`
	Kind   float32 `json:"k,omitempty"`
	Odd    bool    `json:"o,omitempty"` // a finding was made in it
	Count  stat    `json:"c,omitzero"`  // of Kind, by window
	Rate   stat    `json:"r,omitzero"`  // of Kind/All, of windows with enough of them
}

// enough is how many things a window must have for its rate to mean something.
const enough = 20

// roll closes the window when another begins. learn: it counts for what is usual.
// What a finding was made of counts half. The largest fades with each window.
func (r *ratio) roll(window int64, learn bool, fades float64) {
	if window <= r.Window {
		return
	}
	if learn && r.All > 0 {
		kind, rate := float64(r.Kind), float64(r.Kind/r.All)
		if r.Odd {
			kind = math.Min(kind, math.Sqrt(kind*math.Max(float64(r.Count.Max), 1)))
			rate = math.Min(rate, (rate+float64(r.Rate.Max))/2)
		}
		r.Count.addFading(kind, fades)
		if r.All >= enough {
			r.Rate.addFading(rate, fades)
		}
	}
	r.Window, r.All, r.Kind, r.Odd = window, 0, 0, false
}

// measure is how far beyond the usual a ratio must be.
type measure struct {
	floor   float64 // the least number of the kind
	least   float64 // the least rate
	factor  float64 // times the largest number of any window before
	spread  float64 // standard deviations above the mean rate
	times   float64 // times the largest rate before
	unknown float64 // the rate where too little is known of the rates before
	// jump is how many times the largest rate before is enough, however far the rates
	// spread: they do while a key meets its recipients. 0: none is.
	jump float64
	// far is from how many times the largest number on the number speaks for itself:
	// farRate and two standard deviations above the mean are enough then. 0: never.
	far, farRate float64
}

const (
	farSpread = 2
	// manyRates are enough to know how they spread. Where there are someRates, a
	// number that speaks for itself is enough if nearly all are of the kind (fewRate),
	// and usually are not (fewTimes the mean rate).
	manyRates = 5
	someRates = 2
	fewRate   = 0.75
	fewTimes  = 1.5
)

// limits are the number and the rate that would be a finding.
func (r *ratio) limits(m measure, margin float64) (count, rate float64) {
	count = math.Max(m.floor, margin*m.factor*float64(r.Count.Max))
	far := m.far > 0 && float64(r.Kind) >= margin*m.far*float64(r.Count.Max)
	if r.Rate.N < manyRates {
		if far && r.Rate.N >= someRates {
			return count, math.Max(fewRate, fewTimes*margin*float64(r.Rate.Mean))
		}
		return count, m.unknown
	}
	rate = r.Rate.upper(m.spread * margin)
	if m.jump > 0 {
		rate = math.Min(rate, m.jump*margin*float64(r.Rate.Max))
	}
	rate = math.Max(rate, m.times*margin*float64(r.Rate.Max))
	if far {
		rate = math.Min(rate, math.Max(m.farRate, r.Rate.upper(farSpread*margin)))
	}
	return count, math.Max(m.least, rate)
}

// beyond reports whether the open window is.
func (r *ratio) beyond(m measure, margin float64) bool {
	if r.All < enough || float64(r.Kind) < m.floor {
		return false
	}
	count, rate := r.limits(m, margin)
	return float64(r.Kind) >= count && float64(r.Kind/r.All) >= rate
}

// accept makes what the open window has usual.
func (r *ratio) accept(count, rate float64) {
	r.Count.Max = max(r.Count.Max, float32(count))
	r.Rate.Max = max(r.Rate.Max, float32(rate))
	r.Rate.Mean = max(r.Rate.Mean, float32(rate))
	r.Odd = false
}
