// Package queue decides what is sent next. It holds the lanes (where from and
// where to), is fair between the tenants in each, learns how much a destination
// takes, schedules retries, and turns the outcome of every attempt into one
// recorded state per recipient.
//
// It is not durable itself: everything that must survive stands in the store,
// and every statement about a recipient is conditional on the lease under which
// it was made. Its one invariant: a recipient that this process works on is
// leased to it, is in exactly one job, and ends in exactly one Finish or
// Unlease. DESIGN.md beside this file has the whole picture.
package queue

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"postern/internal/deliver"
	"postern/internal/relay"
	"postern/internal/store"
)

// Store is what the queue needs of the durable store; *store.Store has it.
type Store interface {
	Epoch() int64
	Claim(ctx context.Context, lane relay.Lane, tenant relay.Tenant, due time.Time, limit int) ([]store.Job, error)
	ClaimMessage(ctx context.Context, id relay.MessageID) (store.Job, error)
	Unlease(ctx context.Context, refs []store.Ref) error
	Start(ctx context.Context, refs []store.Ref) *store.Pending
	Finish(ctx context.Context, r store.Result) error
	Backlog(ctx context.Context, f func(store.Share) error) error
	NextDue(ctx context.Context, lane relay.Lane, tenant relay.Tenant) (time.Time, error)
	Content(ctx context.Context, id relay.MessageID) (store.Content, error)
	Message(ctx context.Context, id relay.MessageID) (store.Queued, error)
	Messages(ctx context.Context, f store.MessageFilter) ([]store.Queued, error)
	Quarantine(ctx context.Context, id relay.MessageID, reason string) error
}

// Deliverer makes one attempt for one destination; *deliver.Deliverer does.
type Deliverer interface {
	Route(ctx context.Context, domain string) (deliver.Route, error)
	Deliver(ctx context.Context, r deliver.Request) deliver.Result
}

// Signer makes a message's DKIM-Signature fields.
type Signer interface {
	// Sign returns complete fields, CRLF-ended, and the selectors behind them. An
	// error means that the message must not leave (it is never sent unsigned).
	Sign(ctx context.Context, m *relay.Message, c store.Content) (fields []byte, with []string, err error)
	// Current reports whether the selectors are all still to be used.
	Current(m *relay.Message) bool
}

// Notice is a DSN that is due.
type Notice struct {
	Kind       NoticeKind
	Message    *relay.Message
	Content    store.Content
	Recipients []NoticeRecipient
}

// NoticeKind is the RFC 3464 action that a DSN reports.
type NoticeKind string

// The kinds.
const (
	NoticeFailed  NoticeKind = "failed"
	NoticeDelayed NoticeKind = "delayed"
	NoticeRelayed NoticeKind = "relayed"
)

// NoticeRecipient is one recipient that a DSN is about.
type NoticeRecipient struct {
	Recipient relay.Recipient
	Reply     string // "550 5.1.1 …", ours or the remote's
	Enhanced  string
	Remote    string // MX name, "" if none was reached
	Expired   bool
}

// Notifier composes DSNs. A nil Acceptance without error means that none is to
// be sent (null reverse-path, NOTIFY=NEVER, or a sender that the account may not use).
type Notifier interface {
	Compose(ctx context.Context, n Notice) (*store.Acceptance, error)
}

// Directory answers from memory what the queue must know of accounts and pools.
type Directory interface {
	Pool(id relay.PoolID) (relay.Pool, bool)
	DefaultPool(t relay.Tenant) (relay.Pool, bool)
	Account(id relay.AccountID) (relay.Account, bool)
	Subuser(id relay.SubuserID) (relay.Subuser, bool)
	// Deleted reports a subuser that was deleted: its queued mail is dropped. One that
	// is not known is not deleted.
	Deleted(t relay.Tenant) bool
	// Sending reports whether the tenant's mail may leave at all, and if not, why.
	Sending(t relay.Tenant) (ok bool, why string)
}

// Config sets a queue up. Zero values mean the defaults named here.
type Config struct {
	Store     Store
	Deliverer Deliverer
	Signer    Signer
	Notifier  Notifier
	Directory Directory
	Logger    *slog.Logger
	Observer  Observer // nil: nobody looks
	// ReturnPath is the return path of one recipient, for pools whose return path
	// names it; nil: none does.
	ReturnPath func(m *relay.Message, n int) string

	Limits
	Concurrency int // attempts at once, over all lanes; 400
	Signers     int // signatures made at once; the number of CPUs

	// Cautious makes every attempt wait for its durable in-flight mark before its
	// first step, so that a message which kills the process is always named.
	// Set after an unclean end.
	Cautious bool
	// Shared: other processes put work into the same store; look for it.
	Shared bool

	Clock func() time.Time // time.Now, steadied; see Clock
}

// Limits are what may change while the queue runs. Zero values mean the defaults.
type Limits struct {
	Memory    int64 // octets of accepted messages kept for their first attempt; 256 MiB
	Ready     int   // jobs loaded from the store ahead of their attempts; 20,000
	SiteStart int   // connections to one destination site at first; 5
	SiteMax   int   // and at most; 50
	Retry     relay.Retry
}

func (l Limits) withDefaults() Limits {
	setDefault(&l.Memory, DefaultMemory)
	setDefault(&l.Ready, DefaultReady)
	setDefault(&l.SiteMax, DefaultSiteMax)
	setDefault(&l.SiteStart, min(DefaultSiteStart, l.SiteMax))
	if len(l.Retry.Intervals) == 0 {
		l.Retry.Intervals = DefaultRetry.Intervals
	}
	setDefault(&l.Retry.Lifetime, DefaultRetry.Lifetime)
	setDefault(&l.Retry.DelayNotice, DefaultRetry.DelayNotice)
	return l
}

// Reconfigure changes the limits. What is queued keeps the lifetime it was
// accepted with; its next wait follows the new schedule.
func (q *Queue) Reconfigure(l Limits) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.cfg.Limits = l.withDefaults()
	for _, s := range q.sites {
		s.limit = min(s.limit, float64(q.cfg.SiteMax))
	}
	q.kick()
}

// Observer is told what happens, for metrics. Calls must not block.
type Observer interface {
	Attempted(outcome string, d time.Duration) // delivered, deferred, bounced
	Depth(inMemory, active int)
}

// Queue is the scheduler. New, then Run; Admit and Launch from any goroutine.
type Queue struct {
	cfg Config
	log *slog.Logger
	now func() time.Time

	signing chan struct{} // bounds signatures
	loading chan struct{} // bounds loads from the store
	wake    chan struct{} // capacity 1: something changed for the timer
	work    sync.WaitGroup

	mu        sync.Mutex
	started   bool
	closing   bool // no new attempts
	ctx       context.Context
	lanes     map[relay.Lane]*lane
	sites     map[string]*site
	tenants   map[relay.Tenant]*tenant
	runnable  fifo[*tenant] // tenants with a runnable flow
	timers    flowHeap      // flows with work waiting in the store
	jobs      map[relay.MessageID][]*job
	active    int                // attempts under way
	ready     int                // jobs in memory, not under way
	bytes     int64              // octets held by jobs with their content in memory
	paused    map[*site]struct{} // sites that back off
	leftover  []store.Ref        // leases to give back at the end
	owed      []debt             // leases that could not be given back yet
	settleAt  time.Time          // when that is tried again
	pausedTil time.Time
}

// Defaults.
const (
	DefaultMemory      = 256 << 20
	DefaultReady       = 20000
	DefaultConcurrency = 400
	DefaultSiteStart   = 5
	DefaultSiteMax     = 50
)

// DefaultRetry is the schedule of the product: first after 5 minutes, then
// ever longer, for four days (RFC 5321 §4.5.4.1).
var DefaultRetry = relay.Retry{
	Intervals: []time.Duration{5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour,
		2 * time.Hour, 4 * time.Hour, 6 * time.Hour},
	Lifetime:    96 * time.Hour,
	DelayNotice: 4 * time.Hour,
}

// New checks the configuration and makes a queue. It starts nothing.
func New(cfg Config) *Queue {
	cfg.Limits = cfg.Limits.withDefaults()
	setDefault(&cfg.Concurrency, DefaultConcurrency)
	setDefault(&cfg.Signers, defaultSigners())
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Observer == nil {
		cfg.Observer = nobody{}
	}
	if cfg.Clock == nil {
		cfg.Clock = NewClock(time.Now).Now
	}
	return &Queue{
		cfg:     cfg,
		log:     cfg.Logger,
		now:     cfg.Clock,
		signing: make(chan struct{}, cfg.Signers),
		loading: make(chan struct{}, 4),
		wake:    make(chan struct{}, 1),
		lanes:   map[relay.Lane]*lane{},
		sites:   map[string]*site{},
		tenants: map[relay.Tenant]*tenant{},
		jobs:    map[relay.MessageID][]*job{},
		paused:  map[*site]struct{}{},
	}
}

func setDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

type nobody struct{}

func (nobody) Attempted(string, time.Duration) {}
func (nobody) Depth(int, int)                  {}

// Run reads what waits in the store, then schedules until ctx ends; then it
// starts nothing new, lets the attempts under way finish until grace runs out,
// gives every other lease back, and returns.
func (q *Queue) Run(ctx context.Context, grace time.Duration) error {
	// Attempts outlive ctx by the grace: they are cut by hard, not by ctx.
	hard, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	q.mu.Lock()
	q.ctx = hard
	q.started = true
	q.mu.Unlock()
	if err := q.readBacklog(ctx); err != nil && ctx.Err() == nil { // told to stop while starting: no fault
		return err
	}
	q.kick()
	q.loop(ctx)
	return q.stop(hard, cut, grace)
}

// loop waits for timers and wakes until ctx ends.
func (q *Queue) loop(ctx context.Context) {
	rescan := time.NewTicker(rescanEvery)
	defer rescan.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	rescans := 0
	for {
		q.mu.Lock()
		wait := q.tick(q.now())
		q.cfg.Observer.Depth(q.ready, q.active)
		q.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		case <-timer.C:
		case <-rescan.C:
			q.mu.Lock()
			q.forgetSites(q.now())
			q.sweepDeleted(q.now())
			q.mu.Unlock()
			if rescans++; q.cfg.Shared || rescans%rescanOwn == 0 {
				if err := q.readBacklog(ctx); err != nil && ctx.Err() == nil {
					q.log.Warn("queue: backlog not read", "error", err)
				}
			}
		}
	}
}

// rescanEvery is how often a shared store is asked for what others put into it.
// A store of our own is asked every rescanOwn times: nothing should be found, but
// a wake that was lost for any reason then costs minutes and not for ever.
const (
	rescanEvery = 15 * time.Second
	rescanOwn   = 40
)

// kick makes the loop look again. Never blocks.
func (q *Queue) kick() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// readBacklog learns what waits in the store, by lane and tenant: one entry of
// memory each, however many recipients are behind it.
func (q *Queue) readBacklog(ctx context.Context) error {
	return q.cfg.Store.Backlog(ctx, func(s store.Share) error {
		q.Waiting(s.Lane, s.Tenant, s.MinDue)
		return nil
	})
}

// stop ends Run: see there.
func (q *Queue) stop(ctx context.Context, cut context.CancelFunc, grace time.Duration) error {
	q.mu.Lock()
	q.closing = true
	refs := q.takeReady()
	for _, d := range q.owed {
		refs = append(refs, d.refs...)
	}
	q.owed = nil
	q.mu.Unlock()

	done := make(chan struct{})
	go func() { q.work.Wait(); close(done) }()
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		q.log.Warn("queue: attempts cut at the end of the grace time", "grace", grace)
		cut()
		<-done
	}
	q.mu.Lock()
	refs = append(refs, q.leftover...)
	q.mu.Unlock()
	// A crash before this leaves leases of a dead epoch: recovery frees them.
	_, err := q.giveBack(context.WithoutCancel(ctx), refs)
	return err
}
