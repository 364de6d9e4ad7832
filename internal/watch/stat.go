package watch

import "math"

// stat sums up a series of numbers: how many, their mean and variance, and the
// largest. Old ones fade: after a hundred or so the mean follows the last forty,
// and the largest halves in 140.
type stat struct {
	N    uint32  `json:"n,omitempty"`
	Mean float32 `json:"m,omitempty"`
	Var  float32 `json:"v,omitempty"`
	Max  float32 `json:"x,omitempty"`
}

const (
	slowest  = 0.05  // weight of a new number once there are many
	maxFades = 0.995 // of the largest, for each new number
)

// add takes one number in.
func (s *stat) add(x float64) { s.addFading(x, maxFades) }

// addFading is add with another fading of the largest.
func (s *stat) addFading(x, fades float64) {
	w := math.Max(1/float64(s.N+1), slowest)
	d := x - float64(s.Mean)
	s.Mean += float32(w * d)
	s.Var = float32((1 - w) * (float64(s.Var) + w*d*d))
	s.Max = max(s.Max*float32(fades), float32(x))
	if s.N < math.MaxUint32 {
		s.N++
	}
}

// sd is the standard deviation.
func (s *stat) sd() float64 { return math.Sqrt(float64(s.Var)) }

// upper is k standard deviations above the mean.
func (s *stat) upper(k float64) float64 { return float64(s.Mean) + k*s.sd() }
