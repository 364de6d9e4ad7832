// Package event runs the consumers of the store's logs: search and counts, the
// watch, export. A Follower reads batches after its consumer's cursor, hands them
// to a function, and keeps the cursor. It never stands in the way of mail: it reads
// what has committed, and writes behind it.
//
// Its one invariant: the kept cursor never passes what was not applied. Where the
// effect is in the same database it commits with the cursor (Commits), and counts
// exactly once; elsewhere it comes first, and after a crash some of it comes again.
package event

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// Log is what a Follower needs of the store.
type Log interface {
	Consumer(ctx context.Context, name string) (store.Cursor, error)
	SetConsumer(ctx context.Context, name string, c store.Cursor) error
	PassConsumer(ctx context.Context, name string, c store.Cursor) error
	LeaseConsumer(ctx context.Context, name string, ttl time.Duration) (bool, error)
	FreeConsumer(ctx context.Context, name string) error
	Committed() <-chan struct{}
}

const (
	// DefaultBatch is how many records a batch has at most.
	DefaultBatch = 1000
	// defaultEvery is how often other nodes' records are looked for.
	defaultEvery = time.Second
	// defaultGather is how long records gather after a commit of this node: a batch
	// of some hundred costs much less than as many of one.
	defaultGather = 200 * time.Millisecond
	// leaseTime is how long a node that fell silent keeps others from going on.
	leaseTime = 30 * time.Second
	// firstPause and longestPause bound the wait after a failure; it doubles.
	firstPause   = 100 * time.Millisecond
	longestPause = 30 * time.Second
	// lagEvery is how often the backlog is measured while there is one.
	lagEvery = 10 * time.Second
)

// Follower hands a log to a function, batch by batch, in order. Several nodes may
// run the same one: the consumer's lease lets one of them work.
type Follower[T any] struct {
	// Name is the consumer's: what it has read is kept under it.
	Name string
	Log  Log
	// Read reads on from a cursor: Store.ReadEvents, or its like.
	Read func(ctx context.Context, c store.Cursor, limit int) ([]T, store.Cursor, error)
	// Apply does what the consumer is for. An error (or a panic) leaves the batch for
	// another try, later and in smaller parts. It may see a batch again after a crash,
	// unless it Commits. It may be called without records, to keep a cursor.
	Apply func(ctx context.Context, batch []T, next store.Cursor) error
	// Commits says that Apply stores the cursor with its effect. store.ErrLeaseLost
	// from it means that another node was there first.
	Commits bool
	// Batch is how many records Apply gets at most; 0: DefaultBatch.
	Batch int
	// Every is how often it looks without being told; 0: 1 s. Gather is how long it
	// waits after being told; 0: 200 ms, negative: not at all.
	Every, Gather time.Duration
	// Behind measures the backlog, and OnLag gets it: what is unread, and for how long
	// the oldest has waited. Both may be nil.
	Behind func(ctx context.Context, c store.Cursor) (store.Behind, error)
	OnLag  func(records int64, age time.Duration)
	// OnFailure gets the failure that begins or changes, and nil when it ends; nil:
	// nobody is told.
	OnFailure func(error)
	// Missing counts what a batch lacks since retention was faster; nil: unknown.
	Missing func(batch []T, next store.Cursor) int64
	// Logger gets failures when they begin and end; nil: slog.Default.
	Logger *slog.Logger
	// Now is the wall clock; nil: time.Now.
	Now func() time.Time
}

// Events makes a Follower of the message events.
func Events(name string, s *store.Store, apply func(context.Context, []relay.Event, store.Cursor) error) *Follower[relay.Event] {
	return &Follower[relay.Event]{Name: name, Log: s, Read: s.ReadEvents, Apply: apply, Behind: s.EventsBehind,
		Missing: func(batch []relay.Event, next store.Cursor) int64 { return next.Missing(batch) }}
}

// Logins makes a Follower of the login records, once their counts no longer rise.
func Logins(name string, s *store.Store, apply func(context.Context, []store.StoredLogin, store.Cursor) error) *Follower[store.StoredLogin] {
	settled := func() time.Time { return time.Now().Add(-store.LoginSettle) }
	return &Follower[store.StoredLogin]{Name: name, Log: s, Apply: apply, Every: 5 * time.Second, Gather: 5 * time.Second,
		Read: func(ctx context.Context, c store.Cursor, limit int) ([]store.StoredLogin, store.Cursor, error) {
			return s.ReadLogins(ctx, c, settled(), limit)
		},
		Behind: func(ctx context.Context, c store.Cursor) (store.Behind, error) {
			return s.LoginsBehind(ctx, c, settled())
		}}
}

// Changes makes a Follower of the administrative changes.
func Changes(name string, s *store.Store, apply func(context.Context, []store.StoredChange, store.Cursor) error) *Follower[store.StoredChange] {
	return &Follower[store.StoredChange]{Name: name, Log: s, Read: s.ReadChanges, Apply: apply, Behind: s.ChangesBehind}
}

// Run follows the log until ctx ends, and returns nil then, or an error that
// matches store.ErrStopped when the store has stopped. What was being applied has
// been, or not; the lease is given back.
func (f *Follower[T]) Run(ctx context.Context) error {
	r := run[T]{Follower: f, size: f.batch()}
	defer r.free(context.WithoutCancel(ctx))
	for ctx.Err() == nil {
		told := f.Log.Committed() // before reading, so that nothing falls between
		more, err := r.step(ctx)
		if errors.Is(err, store.ErrStopped) || errors.Is(err, store.ErrClosed) {
			if ctx.Err() != nil {
				break
			}
			return fmt.Errorf("consumer %s: %w", f.Name, err)
		}
		if ctx.Err() != nil {
			break
		}
		r.judge(err)
		switch {
		case err != nil:
			r.sleep(ctx, r.pause)
		case more:
		case !r.held:
			r.sleep(ctx, leaseTime/3)
		default:
			r.await(ctx, told)
		}
	}
	return nil
}

func (f *Follower[T]) batch() int {
	if f.Batch > 0 {
		return f.Batch
	}
	return DefaultBatch
}

// run is what a Follower knows while it runs.
type run[T any] struct {
	*Follower[T]
	held    bool      // we have the lease, and c is what is kept
	renewed time.Time // monotonic
	c       store.Cursor
	size    int // of the next batch: smaller after a failure
	pause   time.Duration
	failed  string // the failure that goes on
	lagAt   time.Time
}

// step reads and applies one batch. It reports whether there may be more.
func (r *run[T]) step(ctx context.Context) (more bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			r.size = max(1, r.size/2)
		}
	}()
	if err := r.lease(ctx); err != nil {
		return false, err
	}
	if !r.held {
		r.lag(ctx, true) // it is the other node's to tell now
		return false, nil
	}
	batch, next, err := r.Read(ctx, r.c, r.size)
	if err != nil {
		return false, err
	}
	if len(batch) == 0 && next.String() == r.c.String() {
		r.c = next // the same, and known to be sound
		r.lag(ctx, true)
		return false, nil
	}
	if r.Missing != nil && len(batch) > 0 {
		if n := r.Missing(batch, next); n > 0 {
			r.logger().Warn("records were dropped by retention before they were read", "consumer", r.Name, "records", n)
		}
	}
	full := len(batch) >= r.size || next.More()
	if err := r.apply(ctx, batch, next); err != nil {
		r.held = r.held && !errors.Is(err, store.ErrLeaseLost) // read anew how far it is
		r.size = max(1, len(batch)/2)
		r.lag(ctx, false)
		return false, err
	}
	r.c, r.size = next, min(2*r.size, r.batch())
	r.lag(ctx, !full)
	return full, nil
}

func (r *run[T]) apply(ctx context.Context, batch []T, next store.Cursor) error {
	if len(batch) > 0 || r.Commits {
		if err := r.Apply(ctx, batch, next); err != nil || r.Commits {
			return err
		}
	}
	if len(batch) == 0 { // what there was has gone, and was not taken
		return r.Log.PassConsumer(ctx, r.Name, next)
	}
	return r.Log.SetConsumer(ctx, r.Name, next)
}

// lease takes or renews the consumer's lease, and reads its cursor when it was
// somebody else's before.
func (r *run[T]) lease(ctx context.Context) error {
	if r.held && time.Since(r.renewed) < leaseTime/3 {
		return nil
	}
	began := time.Now()
	held, err := r.Log.LeaseConsumer(ctx, r.Name, leaseTime)
	if err != nil {
		r.held = r.held && time.Since(r.renewed) < leaseTime
		return err
	}
	if held && !r.held {
		if r.c, err = r.Log.Consumer(ctx, r.Name); err != nil {
			return err
		}
	}
	r.held, r.renewed = held, began
	return nil
}

func (r *run[T]) free(ctx context.Context) {
	if !r.held {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaseTime/3)
	defer cancel()
	if err := r.Log.FreeConsumer(ctx, r.Name); err != nil {
		r.logger().Debug("give a consumer's lease back", "consumer", r.Name, "err", err)
	}
}

// judge sets the pause after a failure and logs what has changed.
func (r *run[T]) judge(err error) {
	if err == nil {
		if r.failed != "" {
			r.logger().Info("consumer goes on", "consumer", r.Name)
			r.tell(nil)
		}
		r.failed, r.pause = "", 0
		return
	}
	r.pause = min(max(2*r.pause, firstPause), longestPause)
	if text := err.Error(); text != r.failed {
		r.failed = text
		r.logger().Warn("consumer waits and tries again", "consumer", r.Name, "pause", r.pause, "err", err)
		r.tell(err)
	}
}

func (r *run[T]) tell(err error) {
	if r.OnFailure != nil {
		r.OnFailure(err)
	}
}

// lag reports the backlog: none, or what Behind counts, now and then.
func (r *run[T]) lag(ctx context.Context, none bool) {
	if r.OnLag == nil {
		return
	}
	if none {
		r.OnLag(0, 0)
		return
	}
	if r.Behind == nil || time.Since(r.lagAt) < lagEvery {
		return
	}
	r.lagAt = time.Now()
	b, err := r.Behind(ctx, r.c)
	if err != nil || b.Records == 0 {
		return // the next reading meets the same error
	}
	r.OnLag(b.Records, max(0, r.now().Sub(b.Oldest)))
}

// await returns when there may be something new.
func (r *run[T]) await(ctx context.Context, told <-chan struct{}) {
	every, gather := r.Every, r.Gather
	if every <= 0 {
		every = defaultEvery
	}
	if gather == 0 {
		gather = defaultGather
	}
	poll := time.NewTimer(every)
	defer poll.Stop()
	select {
	case <-ctx.Done():
	case <-poll.C:
	case <-told:
		r.sleep(ctx, gather)
	}
}

func (r *run[T]) sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (r *run[T]) logger() *slog.Logger {
	if r.Logger != nil {
		return r.Logger
	}
	return slog.Default()
}

func (r *run[T]) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}
