package credit

import (
	"math"
	"time"

	"postern/internal/relay"
)

// The kinds of subjects, as Usage names them.
const (
	subjectAccount = "account"
	subjectSubuser = "subuser"
	subjectKey     = "api_key"
)

// limit is one bound of a subject.
type limit struct {
	on      bool
	place   int  // in the subject's limits
	credits bool // the plan's allowance, which counts from base
	window  relay.Window
	max     int64
	base    int64
	over    relay.Over
}

// The places of a subject's limits.
const (
	limitMinute = iota
	limitHour
	limitDay
	limitMonth
	limitCredits
	limitCount
)

// limited is a subject with its limits, as a claim names it.
type limited struct {
	kind   string
	id     relay.ID
	name   string
	tenant relay.Tenant
	key    relay.KeyID // of a key; else zero
	any    bool        // some limit is on
	limits [limitCount]limit
}

// The subjects of a claim, in the order in which they are locked.
const (
	partyAccount = iota
	partySubuser
	partyKey
	partyCount
)

// limitsOf lists the subjects that a claim counts for. Those that are not there
// have no kind.
func limitsOf(c *Claim) (of [partyCount]limited) {
	tenant := relay.Tenant{Account: c.Account.ID}
	of[partyAccount] = limited{kind: subjectAccount, id: c.Account.ID.ID, name: c.Account.Name, tenant: tenant}
	of[partyAccount].plan(&c.Account.Plan)
	over := c.Account.Plan.Over
	if s := c.Subuser; s != nil {
		tenant.Subuser = s.ID
		of[partySubuser] = limited{kind: subjectSubuser, id: s.ID.ID, name: s.Name, tenant: tenant}
		of[partySubuser].plan(&s.Plan)
		over = s.Plan.Over
	}
	if k := c.Key; k != nil {
		of[partyKey] = limited{kind: subjectKey, id: k.ID.ID, name: k.Name, tenant: tenant, key: k.ID}
		p := &of[partyKey]
		p.set(limitMinute, relay.WindowMinute, k.PerMinute, over)
		p.set(limitHour, relay.WindowHour, k.PerHour, over)
		p.set(limitDay, relay.WindowDay, k.PerDay, over)
		p.set(limitMonth, relay.WindowMonth, k.PerMonth, over)
	}
	return of
}

func (p *limited) set(place int, w relay.Window, max int64, over relay.Over) {
	if max > 0 {
		p.limits[place] = limit{on: true, place: place, window: w, max: max, over: over}
		p.any = true
	}
}

func (p *limited) plan(plan *relay.Plan) {
	p.set(limitHour, relay.WindowHour, plan.Hour, plan.Over)
	p.set(limitDay, relay.WindowDay, plan.Day, plan.Over)
	p.set(limitMonth, relay.WindowMonth, plan.Month, plan.Over)
	c := plan.Credits
	l := limit{on: true, place: limitCredits, credits: true, max: max(c.Total, 0), base: c.Base, over: plan.Over}
	switch {
	case c.Type == relay.CreditsNonrecurring:
		l.window = relay.WindowEver
	case c.Type == relay.CreditsRecurring && c.Reset == "daily":
		l.window = relay.WindowDay
	case c.Type == relay.CreditsRecurring && c.Reset == "weekly":
		l.window = relay.WindowWeek
	case c.Type == relay.CreditsRecurring:
		l.window = relay.WindowMonth
	default:
		return
	}
	p.limits[limitCredits], p.any = l, true
}

// span is how many buckets "any 60 seconds" and "any 60 minutes" touch: a window
// that does not begin with a bucket touches one more.
const span = 60 + 1

// never is a time that does not come.
const never = math.MaxInt64

// used is what counts against a limit at a moment.
func (s *subject) used(l *limit, at moment) int64 {
	switch l.window {
	case relay.WindowMinute:
		return s.seconds.sum(at.sec-span+1, at.sec)
	case relay.WindowHour:
		return s.minutes.sum(at.min-span+1, at.min)
	case relay.WindowEver:
		return s.ever - l.base
	}
	first, last := days(l.window, at.day)
	n := s.days.sum(first, last)
	if l.credits {
		// A base within this period: the allowance counts from there. What was used
		// before the period began is everything but what was used since.
		before := s.ever - s.days.sum(first, math.MaxInt64)
		n -= max(l.base-before, 0)
	}
	return n
}

// next is the earliest Unix second from at on at which a limit may have room for
// n more: at itself when it has. Any other answer must be asked about again.
func (s *subject) next(l *limit, at moment, n int64, zone *time.Location) int64 {
	switch l.window {
	case relay.WindowMinute:
		if n > l.max {
			return never
		}
		return s.seconds.rolling(at.sec, n, l.max, span)
	case relay.WindowHour:
		if n > l.max {
			return never
		}
		if m := s.minutes.rolling(at.min, n, l.max, span); m != at.min {
			return m * 60
		}
		return at.sec
	}
	switch {
	case s.used(l, at) <= l.max-n:
		return at.sec
	case n > l.max || l.window == relay.WindowEver:
		return never
	}
	_, last := days(l.window, at.day)
	return beginning(last+1, zone).Unix()
}

// number tells one calendar window of a limit from the next; rolling ones have
// none.
func (l *limit) number(at moment) int64 {
	switch l.window {
	case relay.WindowEver:
		return l.base
	case relay.WindowMinute, relay.WindowHour:
		return 0
	}
	first, _ := days(l.window, at.day)
	return first
}
