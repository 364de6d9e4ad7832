package credit

import (
	"context"
	"time"

	"postern/internal/relay"
)

// parties are the subjects that a claim counts for. Those without a limit are
// only counted in the store: no memory is kept of them.
type parties struct {
	zone *time.Location
	of   [partyCount]limited
	held [partyCount]*subject // those with a limit
}

// unlimited reports that none of a claim's subjects has a limit.
func unlimited(of *[partyCount]limited) bool {
	for i := range of {
		if of[i].any {
			return false
		}
	}
	return true
}

// parties reads what is needed of a claim's subjects. They are released by
// release.
func (l *Ledger) parties(ctx context.Context, c *Claim) (*parties, error) {
	p := &parties{zone: relay.Zone(c.Account.TimeZone), of: limitsOf(c)}
	at := p.moment(l.cfg.Now())
	for i := range p.of {
		if !p.of[i].any {
			continue
		}
		s, err := l.acquire(ctx, &p.of[i], at)
		if err != nil {
			p.release()
			return nil, err
		}
		p.held[i] = s
	}
	return p, nil
}

func (p *parties) moment(t time.Time) moment { return momentOf(t, p.zone) }

// lock locks all of them, always in the same order.
func (p *parties) lock() {
	for _, s := range p.held {
		if s != nil {
			s.mu.Lock()
		}
	}
}

func (p *parties) unlock() {
	for _, s := range p.held {
		if s != nil {
			s.mu.Unlock()
		}
	}
}

func (p *parties) release() {
	for i, s := range p.held {
		if s != nil {
			s.refs.Add(-1)
			p.held[i] = nil
		}
	}
}

func (p *parties) tidy(at moment) {
	for i, s := range p.held {
		if s != nil {
			s.tidy(at)
			s.remember(&p.of[i], at)
		}
	}
}

func (p *parties) count(at moment, n int64) {
	for _, s := range p.held {
		if s != nil {
			s.count(at, n)
		}
	}
}

// deltas is what the store counts: for every subject, limited or not.
func (p *parties) deltas(at moment, n int64) []relay.UsageDelta {
	out := make([]relay.UsageDelta, 0, partyCount)
	for i := range p.of {
		if p.of[i].kind != "" {
			out = append(out, relay.UsageDelta{Subject: p.of[i].id, Minute: at.min, Day: at.day, N: n})
		}
	}
	return out
}

// each calls f for every limit, until it says no.
func (p *parties) each(f func(of *limited, s *subject, l *limit) bool) {
	for i, s := range p.held {
		if s == nil {
			continue
		}
		for k := range p.of[i].limits {
			if l := &p.of[i].limits[k]; l.on && !f(&p.of[i], s, l) {
				return
			}
		}
	}
}

// fits reports whether every limit has room.
func (p *parties) fits(at moment, n int64) bool {
	ok := true
	p.each(func(_ *limited, s *subject, l *limit) bool {
		ok = s.next(l, at, n, p.zone) == at.sec
		return ok
	})
	return ok
}

// defers reports whether all limits in the way put mail off.
func (p *parties) defers(at moment, n int64) bool {
	ok := true
	p.each(func(_ *limited, s *subject, l *limit) bool {
		ok = l.over == relay.OverDefer || s.next(l, at, n, p.zone) == at.sec
		return ok
	})
	return ok
}

// maxSteps bounds the search for room. Each step passes at least one window that
// is full, and the search begins behind what was put off before; only the first
// one after a start steps over all of that.
const maxSteps = 10000

// postpone looks for the earliest moment at which every limit has room. ok is
// false where a limit in the way refuses, or there is none until the deadline.
func (p *parties) postpone(at moment, n int64, deadline time.Time) (moment, bool) {
	if !p.defers(at, n) || deadline.IsZero() {
		return at, false
	}
	late := deadline.Unix()
	var blocking [partyCount * limitCount]*int64
	blocked, from := 0, at.sec
	p.each(func(_ *limited, s *subject, l *limit) bool {
		if s.next(l, at, n, p.zone) != at.sec {
			blocking[blocked] = &s.tail[l.place]
			from = max(from, *blocking[blocked])
			blocked++
		}
		return true
	})
	for range maxSteps {
		if from > late {
			return at, false
		}
		m := p.moment(time.Unix(from, 0))
		next := from
		p.each(func(_ *limited, s *subject, l *limit) bool {
			next = max(next, s.next(l, m, n, p.zone))
			return true
		})
		if next == from {
			for _, tail := range blocking[:blocked] {
				*tail = from
			}
			return m, true
		}
		from = next
	}
	return at, false
}

// exceeded describes the limit in the way; of several, the one that lasts
// longest.
func (p *parties) exceeded(at moment, n int64) *Exceeded {
	var e *Exceeded
	longest := int64(0)
	p.each(func(of *limited, s *subject, l *limit) bool {
		if next := s.room(l, at, n, p.zone); next != at.sec && next > longest {
			longest = next
			e = &Exceeded{Limit: s.usage(of, l, at, p.zone)}
			if next != never {
				e.ResumesAt = time.Unix(next, 0).UTC()
			}
		}
		return true
	})
	return e
}

// room is the earliest Unix second at which one limit has room for n more, behind
// what it put off before.
func (s *subject) room(l *limit, at moment, n int64, zone *time.Location) int64 {
	for range maxSteps {
		next := s.next(l, at, n, zone)
		if next == at.sec || next == never {
			return next
		}
		at = momentOf(time.Unix(max(next, s.tail[l.place]), 0), zone)
	}
	return never
}
