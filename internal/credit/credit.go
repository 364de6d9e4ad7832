// Package credit keeps count of what tenants and keys send, and says no, or not
// now, when a limit is reached. One credit is one recipient of an accepted
// message.
//
// It is exact over all connections of a process: what a message will use is
// reserved before the message is committed, against every limit of its key, its
// subuser and its account at once, or not at all. What was used is committed
// with the message (Reservation.Deltas), so that counts survive a crash as
// exactly as mail does; the ledger holds in memory only what limits need, reads
// it from the store when it is first asked for, and forgets idle subjects.
//
// Its one invariant: the credits of committed and reserved messages never
// exceed a limit in any of its windows. No lock is held while the store reads
// or commits. DESIGN.md beside this file has the windows in detail.
package credit

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// Store is where counts are read from; *store.Store is one.
type Store interface {
	// Used is what a subject used: by minute and by day from the given ones on,
	// future ones included, and in all.
	Used(ctx context.Context, subject relay.ID, sinceMinute, sinceDay int64) (store.Used, error)
}

// Config sets a Ledger up.
type Config struct {
	Store Store
	Now   func() time.Time // nil: time.Now
	// Alert is told when 80 % and 100 % of a limit are used, once per window; nil:
	// nobody is. The key is zero where the limit is a tenant's. It must not block.
	Alert func(relay.Tenant, relay.KeyID, relay.Alert)
	// Subjects is how many accounts, subusers and keys with limits are kept in
	// memory beside those that are in use; 20,000.
	Subjects int
}

// Ledger counts. All methods may be called from any goroutine.
type Ledger struct {
	cfg         Config
	table       table
	connections connections
}

// DefaultSubjects is how many idle subjects stay in memory.
const DefaultSubjects = 20000

// New makes a Ledger. It starts nothing and reads nothing yet.
func New(c Config) *Ledger {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Alert == nil {
		c.Alert = func(relay.Tenant, relay.KeyID, relay.Alert) {}
	}
	if c.Subjects <= 0 {
		c.Subjects = DefaultSubjects
	}
	l := &Ledger{cfg: c}
	l.table.init(c.Subjects)
	l.connections.open = map[relay.Tenant]int{}
	return l
}

// Claim is what a message is about to use.
type Claim struct {
	Account relay.Account
	Subuser *relay.Subuser // nil: the account's own mail
	Key     *relay.Key     // nil: none
	N       int64          // recipients
	// Deadline is the latest time that the message may be put off to; zero: it is
	// not put off.
	Deadline time.Time
}

// Exceeded is the refusal of a claim.
type Exceeded struct {
	Limit relay.Usage // the limit in the way; of several, the one that lasts longest
	// ResumesAt is when the claim would have room; zero: never, because it is larger
	// than the limit itself or the allowance is used up for good.
	ResumesAt time.Time
}

func (e *Exceeded) Error() string {
	return fmt.Sprintf("over the limit of %s: %d of %d used", describe(e.Limit), e.Limit.Used, e.Limit.Limit)
}

// Describe says in words which limit it is: "recipients an hour of subuser news".
func (e *Exceeded) Describe() string { return describe(e.Limit) }

func describe(u relay.Usage) string {
	per := map[relay.Window]string{
		relay.WindowMinute: "a minute", relay.WindowHour: "an hour", relay.WindowDay: "a day",
		relay.WindowWeek: "a week", relay.WindowMonth: "a month", relay.WindowEver: "in all",
	}[u.Window]
	who := map[string]string{subjectKey: "the key", subjectSubuser: "subuser", subjectAccount: "the account"}[u.Subject]
	return fmt.Sprintf("%d recipients %s of %s %s", u.Limit, per, who, u.Name)
}

// Reservation holds credits for a message that is being committed. It ends in
// one Settle or Cancel. The zero value holds nothing.
type Reservation struct{ r *reservation }

type reservation struct {
	ledger   *Ledger
	parties  *parties
	n        int64
	at       moment
	deferred bool
	why      *Exceeded
	deltas   []relay.UsageDelta
	alerts   []alert // of limits that this claim brings to 80 % or 100 %
	ended    atomic.Bool
}

// DueAt is when the message may leave; zero: now.
func (r Reservation) DueAt() time.Time {
	if r.r == nil || !r.r.deferred {
		return time.Time{}
	}
	return time.Unix(r.r.at.sec, 0).UTC()
}

// Why is the limit that puts the message off; nil where DueAt is zero.
func (r Reservation) Why() *Exceeded {
	if r.r == nil {
		return nil
	}
	return r.r.why
}

// Deltas is what to commit with the message.
func (r Reservation) Deltas() []relay.UsageDelta {
	if r.r == nil {
		return nil
	}
	return r.r.deltas
}

// Cancel gives the credits back: the message was not committed.
func (r Reservation) Cancel() {
	if r.r == nil || r.r.ended.Swap(true) {
		return
	}
	r.r.parties.lock()
	r.r.parties.count(r.r.at, -r.r.n)
	r.r.parties.unlock()
	r.r.parties.release()
}

// Settle ends the reservation of a message that was committed with its Deltas.
func (r Reservation) Settle() {
	if r.r == nil || r.r.ended.Swap(true) {
		return
	}
	r.r.ledger.raise(r.r.alerts)
	r.r.parties.release()
}

// Reserve takes credits for a message, of its key, its subuser and its account:
// of all or of none. Over a limit the plan of the limit's tenant decides (a key
// has its tenant's): where all limits in the way put mail off, the credits are
// taken at the earliest time at which every limit has room, until the claim's
// deadline; else the claim is refused.
//
// The error is an *Exceeded, or a relay.Error of kind Unavailable when the store
// cannot say what was used so far.
func (l *Ledger) Reserve(ctx context.Context, c Claim) (Reservation, error) {
	if c.N <= 0 {
		return Reservation{}, nil
	}
	p, err := l.parties(ctx, &c)
	if err != nil {
		return Reservation{}, err
	}
	now := l.cfg.Now()
	at := p.moment(now)
	r := &reservation{ledger: l, parties: p, n: c.N, at: at}
	p.lock()
	p.tidy(at)
	if !p.fits(at, c.N) {
		r.why = p.exceeded(at, c.N)
		r.alerts = p.reached(at, c.N)
		due, ok := p.postpone(at, c.N, c.Deadline)
		if !ok {
			p.unlock()
			p.release()
			l.raise(r.alerts)
			return Reservation{}, r.why
		}
		r.at, r.deferred = due, true
	}
	p.count(r.at, c.N)
	if !r.deferred { // of a later window one is told when it has begun
		r.alerts = p.crossed(r.alerts, at)
	}
	p.unlock()
	r.deltas = p.deltas(r.at, c.N)
	return Reservation{r}, nil
}

// Exhausted reports a limit that leaves no room for even one recipient now, where
// the plan refuses: for AUTH and MAIL. nil: there is room, or the mail would be
// put off, or the store cannot say now (the commit asks again).
func (l *Ledger) Exhausted(ctx context.Context, account relay.Account, subuser *relay.Subuser, key *relay.Key) *Exceeded {
	c := Claim{Account: account, Subuser: subuser, Key: key}
	if of := limitsOf(&c); !unlimited(&of) {
		return l.exhausted(ctx, &c)
	}
	return nil // as most are, at each AUTH and MAIL: nothing is allocated
}

func (l *Ledger) exhausted(ctx context.Context, c *Claim) *Exceeded {
	p, err := l.parties(ctx, c)
	if err != nil {
		return nil
	}
	defer p.release()
	at := p.moment(l.cfg.Now())
	p.lock()
	defer p.unlock()
	p.tidy(at)
	if p.fits(at, 1) || p.defers(at, 1) {
		return nil
	}
	return p.exceeded(at, 1)
}

// Most is how many recipients one message can have at most within the limits of
// its windows: with more it would never have room. 0: no limit.
func Most(account relay.Account, subuser *relay.Subuser, key *relay.Key) int64 {
	var most int64
	of := limitsOf(&Claim{Account: account, Subuser: subuser, Key: key})
	for i := range of {
		for _, l := range of[i].limits {
			if l.on && !l.credits && (most == 0 || l.max < most) {
				most = l.max
			}
		}
	}
	return most
}

// connections counts who is logged in.
type connections struct {
	mu   sync.Mutex
	open map[relay.Tenant]int
}

// Connect counts a connection that logged in. ok is false when the tenant has as
// many as the limit already (0: no limit); else release ends it. It may be called
// more than once. A connection of a subuser is counted twice by its caller: for
// the subuser, and for the account (a Tenant without a subuser), whose plan bounds
// all of them together.
func (l *Ledger) Connect(t relay.Tenant, limit int) (release func(), ok bool) {
	c := &l.connections
	c.mu.Lock()
	defer c.mu.Unlock()
	if limit > 0 && c.open[t] >= limit {
		return nil, false
	}
	c.open[t]++
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.open[t]--; c.open[t] == 0 {
			delete(c.open, t)
		}
	}), true
}
