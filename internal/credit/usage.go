package credit

import (
	"context"
	"time"

	"postern/internal/relay"
)

// Usage lists what an account, one of its subusers and a key have used and have
// left, in that order; nil ones are left out. Windows without a limit are listed
// with Remaining -1. What is reserved counts as used.
func (l *Ledger) Usage(ctx context.Context, account relay.Account, subuser *relay.Subuser, key *relay.Key) ([]relay.Usage, error) {
	zone := relay.Zone(account.TimeZone)
	at := momentOf(l.cfg.Now(), zone)
	var out []relay.Usage
	all := limitsOf(&Claim{Account: account, Subuser: subuser, Key: key})
	for i := range all {
		of := &all[i]
		if of.kind == "" {
			continue
		}
		us, err := l.usageOf(ctx, of, at, zone)
		if err != nil {
			return nil, err
		}
		out = append(out, us...)
	}
	return out, nil
}

func (l *Ledger) usageOf(ctx context.Context, of *limited, at moment, zone *time.Location) ([]relay.Usage, error) {
	s := newSubject(of)
	if of.any {
		var err error
		if s, err = l.acquire(ctx, of, at); err != nil {
			return nil, err
		}
		defer s.refs.Add(-1)
	} else if err := l.load(ctx, s, of.id, at); err != nil { // not kept: nothing counts it on
		return nil, unavailable(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tidy(at)
	var out []relay.Usage
	for _, lim := range of.listed() {
		out = append(out, s.usage(of, &lim, at, zone))
	}
	return out, nil
}

// listed are the windows to show: those with a limit, and hour, day and month of
// everything.
func (p *limited) listed() []limit {
	var out []limit
	credits := p.limits[limitCredits]
	for place, w := range [...]relay.Window{limitHour: relay.WindowHour, limitDay: relay.WindowDay, limitMonth: relay.WindowMonth} {
		switch {
		case p.limits[place].on:
			out = append(out, p.limits[place])
		case w != "" && (!credits.on || credits.window != w):
			out = append(out, limit{window: w})
		}
	}
	if credits.on {
		out = append(out, credits)
	}
	return out
}

// usage is one line of the list. A limit that is not on has none. mu is held.
func (s *subject) usage(of *limited, l *limit, at moment, zone *time.Location) relay.Usage {
	u := relay.Usage{Subject: of.kind, Name: of.name, Window: l.window, Limit: l.max, Used: s.used(l, at), Remaining: -1}
	if l.on {
		u.Remaining = max(l.max-u.Used, 0)
	}
	u.Used = max(u.Used, 0) // credits that were added: more may be left than the total
	switch l.window {
	case relay.WindowEver:
	case relay.WindowMinute, relay.WindowHour:
		if u.Used == 0 {
			break
		}
		if l.on && u.Remaining == 0 {
			if next := s.room(l, at, 1, zone); next != never {
				u.ResetsAt = time.Unix(next, 0).UTC()
			}
			break
		}
		u.ResetsAt = s.empty(l.window, at)
	default:
		_, last := days(l.window, at.day)
		u.ResetsAt = beginning(last+1, zone).UTC()
	}
	return u
}

// empty is when a rolling window holds nothing of what it holds now.
func (s *subject) empty(w relay.Window, at moment) time.Time {
	c, unit, now := &s.minutes, int64(60), at.min
	if w == relay.WindowMinute {
		c, unit, now = &s.seconds, 1, at.sec
	}
	newest := now
	for i := len(c.buckets) - 1; i >= 0; i-- {
		if newest = c.buckets[i].at; newest <= now {
			break
		}
	}
	return time.Unix((newest+span)*unit, 0).UTC()
}
