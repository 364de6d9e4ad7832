package credit

import (
	"cmp"
	"slices"
)

// bucket is what was used in one second, minute or day.
type bucket struct{ at, n int64 }

// counter is use over time, in buckets, oldest first; empty ones are not kept.
// Some may lie in the future: mail that was put off.
type counter struct{ buckets []bucket }

// add changes one bucket.
func (c *counter) add(at, n int64) {
	last := len(c.buckets) - 1
	switch {
	case n == 0:
		return
	case last < 0 || c.buckets[last].at < at:
		c.buckets = append(c.buckets, bucket{at, n})
		return
	}
	i := last
	if c.buckets[last].at != at {
		var found bool
		if i, found = c.search(at); !found {
			c.buckets = slices.Insert(c.buckets, i, bucket{at, n})
			return
		}
	}
	if c.buckets[i].n += n; c.buckets[i].n == 0 {
		c.buckets = slices.Delete(c.buckets, i, i+1)
	}
}

func (c *counter) search(at int64) (int, bool) {
	return slices.BinarySearchFunc(c.buckets, at, func(b bucket, at int64) int { return cmp.Compare(b.at, at) })
}

// sum is the use from first to last, both included.
func (c *counter) sum(first, last int64) (n int64) {
	i := 0
	if len(c.buckets) > 0 && c.buckets[0].at < first {
		i, _ = c.search(first)
	}
	for ; i < len(c.buckets) && c.buckets[i].at <= last; i++ {
		n += c.buckets[i].n
	}
	return n
}

// trim forgets what lies before a bucket.
func (c *counter) trim(before int64) {
	if len(c.buckets) == 0 || c.buckets[0].at >= before {
		return
	}
	i, _ := c.search(before)
	c.buckets = c.buckets[i:]
}

// rolling returns the first bucket from at on that can take n more, so that no
// span of width buckets in a row holds more than max: spans that end in the
// future count too. It takes one step: a result after at must be asked for again.
// n is at most max.
func (c *counter) rolling(at, n, max, width int64) int64 {
	// The fullest spans begin at a bucket with use. The last one that is too full is
	// looked for, because no bucket in it will do. What lies width or more after at
	// shares no span with it.
	end := len(c.buckets)
	if end > 0 && c.buckets[end-1].at >= at+width {
		end, _ = c.search(at + width)
	}
	sum := int64(0) // of the buckets from i to end that lie in the span from i
	for i := end - 1; i >= 0 && c.buckets[i].at > at-width; i-- {
		sum += c.buckets[i].n
		for c.buckets[end-1].at >= c.buckets[i].at+width {
			end--
			sum -= c.buckets[end].n
		}
		if sum > max-n {
			return c.buckets[i].at + width
		}
	}
	return at
}
