package bench

import (
	"math/bits"
	"time"
)

// Histogram counts durations in buckets whose width grows with their value:
// 32 to every power of two, so that a percentile is at most 3.2 % too large. The
// zero value is empty. It is not safe for concurrent use: each worker has its
// own, and they are merged.
type Histogram struct {
	counts [buckets]uint32
	n      int64
	sum    time.Duration
	max    time.Duration
}

// subBits is the binary logarithm of the buckets per power of two; units are
// nanoseconds >> unitShift (about a quarter of a microsecond).
const (
	subBits   = 5
	unitShift = 8
	buckets   = (48 - unitShift) << subBits
)

// bucketOf returns the bucket of a duration.
func bucketOf(d time.Duration) int {
	u := uint64(max(d, 0)) >> unitShift
	if u < 1<<subBits {
		return int(u)
	}
	shift := bits.Len64(u) - subBits - 1
	return min((shift+1)<<subBits+int(u>>shift)-1<<subBits, buckets-1)
}

// upperBound is the largest duration that falls into a bucket.
func upperBound(i int) time.Duration {
	if i < 1<<subBits {
		return time.Duration(i+1)<<unitShift - 1
	}
	shift := i>>subBits - 1
	u := uint64(i&(1<<subBits-1)|1<<subBits) + 1
	return time.Duration(u<<shift<<unitShift) - 1
}

// Add counts one duration.
func (h *Histogram) Add(d time.Duration) {
	h.counts[bucketOf(d)]++
	h.n++
	h.sum += d
	h.max = max(h.max, d)
}

// Merge adds the counts of another.
func (h *Histogram) Merge(o *Histogram) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.sum += o.sum
	h.max = max(h.max, o.max)
}

// Quantile returns a duration that at least the share q (0 to 1) does not exceed.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	want := max(int64(q*float64(h.n)+0.999999), 1)
	var seen int64
	for i, c := range h.counts {
		if seen += int64(c); seen >= want {
			return min(upperBound(i), h.max)
		}
	}
	return h.max
}

// Summary is a histogram in few numbers, in microseconds.
type Summary struct {
	Count int64 `json:"count"`
	Mean  int64 `json:"mean_us"`
	P50   int64 `json:"p50_us"`
	P90   int64 `json:"p90_us"`
	P99   int64 `json:"p99_us"`
	Max   int64 `json:"max_us"`
}

// Summary returns the few numbers.
func (h *Histogram) Summary() Summary {
	s := Summary{
		Count: h.n, P50: h.Quantile(0.50).Microseconds(), P90: h.Quantile(0.90).Microseconds(),
		P99: h.Quantile(0.99).Microseconds(), Max: h.max.Microseconds(),
	}
	if h.n > 0 {
		s.Mean = (h.sum / time.Duration(h.n)).Microseconds()
	}
	return s
}

// row is one line of a chart: how many took more than from and at most to.
type row struct {
	from, to time.Duration
	count    int64
}

// rows groups the counts by powers of two, from the first that is not empty to the last.
func (h *Histogram) rows() []row {
	var all []row
	for i, c := range h.counts {
		power := i >> subBits
		for len(all) <= power {
			last := len(all)
			r := row{to: upperBound((last+1)<<subBits - 1)}
			if last > 0 {
				r.from = all[last-1].to
			}
			all = append(all, r)
		}
		all[power].count += int64(c)
	}
	first, last := 0, len(all)-1
	for first < last && all[first].count == 0 {
		first++
	}
	for last > first && all[last].count == 0 {
		last--
	}
	return all[first : last+1]
}
