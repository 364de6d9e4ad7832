package bench

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHistogramBuckets(t *testing.T) {
	t.Parallel()
	for i := range buckets - 1 {
		top := upperBound(i)
		if got := bucketOf(top); got != i {
			t.Fatalf("bucketOf(upperBound(%d) = %v) = %d", i, top, got)
		}
		if got := bucketOf(top + 1); got != i+1 {
			t.Fatalf("bucketOf(%v) = %d, want %d", top+1, got, i+1)
		}
	}
	if bucketOf(-time.Second) != 0 || bucketOf(1<<62) != buckets-1 {
		t.Error("values out of range do not go to the ends")
	}
}

// Each quantile is at least the true one and at most 3.2 % above it.
func TestHistogramQuantiles(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 10, 99, 100, 101, 5000} {
		var parts [3]Histogram
		all := make([]time.Duration, n)
		for i := range all {
			all[i] = time.Duration(r.ExpFloat64() * float64(5*time.Millisecond))
			parts[i%3].Add(all[i])
		}
		var h Histogram
		for i := range parts {
			h.Merge(&parts[i])
		}
		slices.Sort(all)
		for _, q := range []float64{0.5, 0.9, 0.99, 1} {
			want := all[max(int(q*float64(n)+0.999999)-1, 0)]
			got := h.Quantile(q)
			if got < want || float64(got) > float64(want)*1.032+512 {
				t.Errorf("%d values, q = %v: %v, want %v", n, q, got, want)
			}
		}
		if h.max != all[n-1] || h.n != int64(n) {
			t.Errorf("max %v of %d, want %v of %d", h.max, h.n, all[n-1], n)
		}
		var counted int64
		for _, row := range h.rows() {
			counted += row.count
		}
		if counted != int64(n) {
			t.Errorf("the chart shows %d of %d", counted, n)
		}
	}
	if (&Histogram{}).Quantile(0.5) != 0 {
		t.Error("an empty histogram has a median")
	}
}

func TestChart(t *testing.T) {
	t.Parallel()
	var h Histogram
	for range 100 {
		h.Add(time.Millisecond)
	}
	h.Add(50 * time.Millisecond)
	var b strings.Builder
	writeChart(&b, h.rows())
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if !strings.Contains(lines[0], strings.Repeat("█", chartWidth)) || !strings.HasSuffix(lines[len(lines)-1], "1 ▏") {
		t.Errorf("chart:\n%s", b.String())
	}
}

func TestMicroseconds(t *testing.T) {
	t.Parallel()
	for in, want := range map[int64]string{0: "0 µs", 999: "999 µs", 1500: "1.5 ms", 99_949: "99.9 ms", 250_000: "250 ms", 2_500_000: "2.5 s"} {
		if got := us(in); got != want {
			t.Errorf("us(%d) = %q, want %q", in, got, want)
		}
	}
}
