package store

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"postern/internal/relay"
)

// Cursor says how far a log was read: events, logins or changes. The zero Cursor
// is the beginning. It is a value: a reading returns a new one.
//
// Events and logins are ordered per epoch only, and epochs come and go while one
// reads, so a cursor has a position in each epoch that goes on, and remembers
// those that were read to their end. Each part bears when its last epoch began:
// after a database was restored from a backup, epochs get the numbers of others
// that are lost, and those are then read from their beginning.
type Cursor struct {
	spans  []span // ascending by epoch, disjoint
	change int64  // changes: id of the last one read
	sum    string // and the beginning of its hash, in hex

	checked bool            // compared with the database's epochs by this process
	from    *Cursor         // where the reading that gave it began
	more    bool            // that reading ended for its size
	stamps  map[int64]int64 // when the epochs of that reading began
}

// span is a part of the epochs: several that were read to their end, or one that
// goes on.
type span struct {
	first, last int64
	seq         int64 // last sequence that was read; finished: all of them
	stamp       int64 // when the last epoch began
}

// finished is the seq of epochs that were read to their end.
const finished = -1

// IsZero reports whether nothing was read.
func (c Cursor) IsZero() bool { return len(c.spans) == 0 && c.change == 0 }

// String is the cursor's stored form. It has no blanks and says nothing to people.
// The zero Cursor's is empty.
func (c Cursor) String() string {
	if c.change != 0 {
		return "c" + strconv.FormatInt(c.change, 10) + "." + c.sum
	}
	var b strings.Builder
	for i, p := range c.spans {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(p.first, 10))
		switch {
		case p.seq != finished:
			b.WriteByte(':')
			b.WriteString(strconv.FormatInt(p.seq, 10))
		case p.last != p.first:
			b.WriteByte('-')
			b.WriteString(strconv.FormatInt(p.last, 10))
		}
		b.WriteByte('.')
		b.WriteString(strconv.FormatInt(p.stamp, 36))
	}
	return b.String()
}

// ParseCursor reads what String wrote. Anything else is relay.Invalid.
func ParseCursor(text string) (Cursor, error) {
	c := Cursor{}
	if text == "" {
		return c, nil
	}
	bad := relay.E(relay.Invalid, "That is no cursor.")
	if rest, ok := strings.CutPrefix(text, "c"); ok {
		id, sum, _ := strings.Cut(rest, ".")
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil || n <= 0 || strings.Trim(sum, "0123456789abcdef") != "" {
			return c, bad
		}
		c.change, c.sum = n, sum
		return c, c.canonical(text)
	}
	for part := range strings.SplitSeq(text, ",") {
		p, err := parseSpan(part)
		if err != nil || len(c.spans) > 0 && p.first <= c.spans[len(c.spans)-1].last {
			return Cursor{}, bad
		}
		c.spans = append(c.spans, p)
	}
	return c, c.canonical(text)
}

// canonical refuses other spellings of the same: cursors are compared as text.
func (c Cursor) canonical(text string) error {
	if c.String() != text {
		return relay.E(relay.Invalid, "That is no cursor.")
	}
	return nil
}

func parseSpan(text string) (span, error) {
	body, stamp, _ := strings.Cut(text, ".")
	p := span{seq: finished}
	var errs [3]error
	p.stamp, errs[0] = strconv.ParseInt(stamp, 36, 64)
	if epoch, seq, ok := strings.Cut(body, ":"); ok {
		p.first, errs[1] = strconv.ParseInt(epoch, 10, 64)
		p.seq, errs[2] = strconv.ParseInt(seq, 10, 64)
		p.last = p.first
		if p.seq < 0 || p.seq > seqMask {
			return p, fmt.Errorf("sequence %d", p.seq)
		}
	} else {
		first, last, several := strings.Cut(body, "-")
		p.first, errs[1] = strconv.ParseInt(first, 10, 64)
		if p.last = p.first; several {
			p.last, errs[2] = strconv.ParseInt(last, 10, 64)
		}
	}
	if p.first <= 0 || p.last < p.first {
		return p, fmt.Errorf("epochs %d to %d", p.first, p.last)
	}
	return p, cmp.Or(errs[0], errs[1], errs[2])
}

// at returns the last sequence read of an epoch, or finished.
func (c *Cursor) at(epoch int64) int64 {
	i, ok := slices.BinarySearchFunc(c.spans, epoch, func(p span, e int64) int {
		switch {
		case p.last < e:
			return -1
		case p.first > e:
			return 1
		}
		return 0
	})
	if !ok {
		return 0
	}
	return c.spans[i].seq
}

// set moves an epoch on to seq, or to its end. c's spans are its own.
func (c *Cursor) set(epoch, seq, stamp int64) {
	p := span{first: epoch, last: epoch, seq: seq, stamp: stamp}
	i, ok := slices.BinarySearchFunc(c.spans, epoch, func(p span, e int64) int { return cmp.Compare(p.first, e) })
	if ok {
		c.spans[i] = p
	} else {
		c.spans = slices.Insert(c.spans, i, p)
	}
	if seq != finished {
		return
	}
	if next := i + 1; next < len(c.spans) && c.spans[next].seq == finished && c.spans[next].first == epoch+1 {
		c.spans[next].first = epoch
		c.spans = slices.Delete(c.spans, i, next)
	}
	if i > 0 && c.spans[i-1].seq == finished && c.spans[i-1].last == epoch-1 {
		c.spans[i].first = c.spans[i-1].first
		c.spans = slices.Delete(c.spans, i-1, i)
	}
}

// next is a copy to be moved on.
func (c Cursor) next() Cursor {
	was := c
	was.from = nil // the chain ends here
	return Cursor{spans: slices.Clone(c.spans), change: c.change, sum: c.sum, checked: c.checked, from: &was}
}

// Start is where the reading that gave the cursor began: what a consumer's row
// must still say when its effect commits.
func (c Cursor) Start() Cursor {
	if c.from == nil {
		return Cursor{}
	}
	return *c.from
}

// After is the cursor after some of the events of the reading that gave c: the
// first ones of it, in their order.
func (c Cursor) After(events []relay.Event) Cursor {
	n := c.Start().next()
	for i := range events {
		e := &events[i]
		n.set(e.Epoch, e.Seq, c.stamps[e.Epoch])
	}
	return n
}

// Missing counts the events that are not among those of the reading that gave c,
// though others of their epochs before and after are: retention dropped them
// before they were read. A reading from the beginning misses nothing.
func (c Cursor) Missing(events []relay.Event) int64 {
	at := c.Start()
	if at.IsZero() {
		return 0
	}
	var n int64
	last := map[int64]int64{}
	for i := range events {
		e := &events[i]
		before, ok := last[e.Epoch]
		if !ok {
			before = at.at(e.Epoch)
		}
		n += e.Seq - before - 1
		last[e.Epoch] = e.Seq
	}
	return n
}
