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
	// far is from how many times the largest number on the number speaks for itself:
	// the rate then needs only farSpread standard deviations. 0: never.
	far, farSpread float64
}

// limits are the number and the rate that would be a finding.
func (r *ratio) limits(m measure, margin float64) (count, rate float64) {
	count = math.Max(m.floor, margin*m.factor*float64(r.Count.Max))
	if r.Rate.N < 5 {
		return count, m.unknown
	}
	if m.far > 0 && float64(r.Kind) >= math.Max(2*m.floor, margin*m.far*float64(r.Count.Max)) {
		return count, math.Max(m.least, r.Rate.upper(m.farSpread*margin))
	}
	rate = math.Max(m.least, r.Rate.upper(m.spread*margin))
	if m.times > 0 {
		rate = math.Max(rate, m.times*margin*float64(r.Rate.Max))
	}
	return count, rate
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
