package e2e

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// kolmogorovSmirnov compares two samples: the largest distance between their
// empirical distribution functions, and the probability of one at least as large
// if both came from the same distribution (asymptotic, with Stephens' correction
// for small samples; good to a few per cent from 20 values of each on).
func kolmogorovSmirnov(a, b []float64) (d, p float64) {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	n, m := float64(len(a)), float64(len(b))
	for i, j := 0, 0; i < len(a) && j < len(b); {
		at := min(a[i], b[j])
		for i < len(a) && a[i] == at { // ties step together
			i++
		}
		for j < len(b) && b[j] == at {
			j++
		}
		d = max(d, math.Abs(float64(i)/n-float64(j)/m))
	}
	root := math.Sqrt(n * m / (n + m))
	return d, kolmogorov((root + 0.12 + 0.11/root) * d)
}

// kolmogorov is the probability that a value of Kolmogorov's distribution is
// above x.
func kolmogorov(x float64) float64 {
	if x < 0.2 {
		return 1 // to 12 places; the series does not converge there
	}
	sum := 0.0
	for k, sign := 1.0, 1.0; k <= 100; k, sign = k+1, -sign {
		sum += sign * math.Exp(-2*k*k*x*x)
	}
	return min(max(2*sum, 0), 1)
}

// TestKolmogorovSmirnov tries the statistic on samples whose result is known, and
// on what the test of refusals relies on: samples of one distribution pass at the
// rate that p says, and a shift far below the noise of one value does not.
func TestKolmogorovSmirnov(t *testing.T) {
	t.Parallel()
	// The distribution's table.
	for x, want := range map[float64]float64{0.5: 0.963945, 0.8276: 0.5000, 1.2238: 0.1000, 1.3581: 0.0500, 1.6276: 0.0100, 1.9495: 0.0010} {
		if got := kolmogorov(x); math.Abs(got-want) > 0.0001 {
			t.Errorf("kolmogorov(%v) = %v, want %v", x, got, want)
		}
	}
	steps := func(from, n int) []float64 {
		out := make([]float64, n)
		for i := range out {
			out[i] = float64(from + i)
		}
		return out
	}
	for _, c := range []struct {
		name string
		a, b []float64
		d    float64
	}{
		{"the same", steps(0, 100), steps(0, 100), 0},
		{"moved by a tenth", steps(0, 100), steps(10, 100), 0.1},
		{"the other way round", steps(10, 100), steps(0, 100), 0.1},
		{"apart", steps(0, 50), steps(50, 70), 1},
		{"ties", []float64{1, 1, 1, 2}, []float64{1, 2, 2, 2}, 0.5},
		{"of unequal size", []float64{1, 2, 3, 4}, []float64{2.5, 3.5}, 0.5},
		{"one is wider", []float64{-2, -1, 1, 2}, []float64{-0.5, 0, 0.5}, 0.5},
	} {
		if d, _ := kolmogorovSmirnov(c.a, c.b); math.Abs(d-c.d) > 1e-12 {
			t.Errorf("%s: D = %v, want %v", c.name, d, c.d)
		}
	}
	if _, p := kolmogorovSmirnov(steps(0, 100), steps(0, 100)); p != 1 {
		t.Errorf("the same: p = %v", p)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	normal := func(n int, shift float64) []float64 {
		out := make([]float64, n)
		for i := range out {
			out[i] = rng.NormFloat64() + shift
		}
		return out
	}
	const rounds = 1000
	under := 0
	for range rounds {
		if _, p := kolmogorovSmirnov(normal(200, 0), normal(200, 0)); p < 0.05 {
			under++
		}
	}
	if under < 20 || under > 75 {
		t.Errorf("p under 0.05 in %d of %d pairs of one distribution, want about 50 or a little less", under, rounds)
	}
	// A fifth of a standard deviation: sure to be found in 2,000, not in 200.
	for range 20 {
		if _, p := kolmogorovSmirnov(normal(2000, 0), normal(2000, 0.2)); p > 0.01 {
			t.Errorf("a shift of 0.2 standard deviations was not found: p = %v", p)
		}
	}
}
