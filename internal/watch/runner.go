package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// Store is what a Runner needs; *store.Store is one.
type Store interface {
	Logs
	Consumer(ctx context.Context, name string) (store.Cursor, error)
	SetConsumer(ctx context.Context, name string, c store.Cursor) error
	LeaseConsumer(ctx context.Context, name string, ttl time.Duration) (bool, error)
	FreeConsumer(ctx context.Context, name string) error
	WatchBaselines(ctx context.Context, keys []relay.KeyID) (map[relay.KeyID][]byte, error)
	PutWatch(ctx context.Context, c store.WatchCommit) error
	OpenWatch(ctx context.Context) ([]relay.WatchFinding, error)
	UntakenWatch(ctx context.Context) ([]relay.WatchFinding, error)
	AllWatchSettings(ctx context.Context) (map[relay.AccountID]relay.WatchSettings, error)
	PruneWatch(ctx context.Context, now time.Time) (int64, error)
}

// RunnerConfig is how the watch runs.
type RunnerConfig struct {
	Store Store
	// Places, Key and Account are as in Config.
	Places  Places
	Key     func(relay.KeyID) (relay.Key, bool)
	Account func(relay.AccountID) (relay.Account, bool)
	// Answers does what is to be done about findings; nil: they are only recorded.
	Answers *Answers
	// OnFinding is told of each new finding; nil: nobody is.
	OnFinding func(relay.WatchFinding)
	// OnFailure is told why the watch stands still, and nil when it goes on; nil:
	// nobody is.
	OnFailure func(error)
	Logger    *slog.Logger
	Now       func() time.Time // nil: time.Now
	Every     time.Duration    // how often it looks; 0: 5 s
}

const (
	defaultEvery = 5 * time.Second
	leaseTime    = 30 * time.Second
	pruneEvery   = 6 * time.Hour
	longestPause = time.Minute
)

// Runner feeds an engine from the store. Several nodes may run one: the lease of
// the consumer lets one of them work, and what it keeps commits with its place.
type Runner struct {
	cfg      RunnerConfig
	engine   *Engine  // nil: to be read from the store
	at       position // up to which all is learned
	ahead    position // up to which what cannot wait is told
	prunedAt time.Time
	wake     chan struct{} // there are findings to answer
	held     atomic.Bool   // this node runs the watch

	mu       sync.Mutex
	settings map[relay.AccountID]relay.WatchSettings // guarded by mu; nil: not read. Replaced, never changed in place
	stop     context.CancelFunc                      // guarded by mu; of the answers that are on their way
}

// NewRunner makes a runner; Run starts it.
func NewRunner(cfg RunnerConfig) *Runner {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Every == 0 {
		cfg.Every = defaultEvery
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Runner{cfg: cfg, wake: make(chan struct{}, 1)}
}

// Run watches until ctx ends. An error matches store.ErrStopped: the store is
// gone. Every other failure is logged once, and tried again.
func (r *Runner) Run(ctx context.Context) error {
	defer func() { _ = r.cfg.Store.FreeConsumer(context.WithoutCancel(ctx), store.WatchEvents) }()
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); r.answer(ctx) }()
	defer func() { cancel(); <-done }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	pause, said := r.cfg.Every, ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		more, err := r.Step(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, store.ErrStopped) || errors.Is(err, store.ErrClosed):
			return fmt.Errorf("watch: %w", err)
		case err != nil:
			if said != err.Error() {
				said = err.Error()
				r.cfg.Logger.Warn("watch: stands still", "error", err)
				r.failed(err)
			}
			pause = min(2*pause, longestPause)
		default:
			if said != "" {
				r.cfg.Logger.Info("watch: goes on")
				r.failed(nil)
			}
			pause, said = r.cfg.Every, ""
		}
		if more && err == nil {
			timer.Reset(0)
		} else {
			timer.Reset(pause)
		}
	}
}

func (r *Runner) failed(err error) {
	if r.cfg.OnFailure != nil {
		r.cfg.OnFailure(err)
	}
}

// Held reports whether this node is the one that runs the watch.
func (r *Runner) Held() bool { return r.held.Load() }

// answer answers findings beside the reading: a receiver that is slow must not
// keep the watch from noticing.
func (r *Runner) answer(ctx context.Context) {
	tick := time.NewTicker(r.cfg.Every)
	defer tick.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-r.wake:
		}
		switch err := r.work(ctx); {
		case ctx.Err() != nil:
			return
		case err == nil:
			said = ""
		case said != err.Error():
			said = err.Error()
			r.cfg.Logger.Warn("watch: findings are not answered yet", "error", err)
		}
	}
}

// work answers what is due, where this node runs the watch and only while it does. Not
// before it has read the settings, and by those that it has read then: an answer that
// they ask for would count as done without it.
func (r *Runner) work(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.mu.Lock()
	known := r.settings
	r.stop = cancel
	r.mu.Unlock()
	if known == nil || !r.held.Load() || r.cfg.Answers == nil {
		return nil
	}
	err := r.cfg.Answers.Work(ctx, func(account relay.AccountID) relay.WatchSettings { return known[account] })
	if ctx.Err() != nil {
		return nil // another node goes on, or this one when it runs the watch again
	}
	return err
}

// Step takes in one piece of the logs, and keeps what was learned of it.
// more: there is more to read already. An error leaves the runner to
// begin anew from what is kept.
func (r *Runner) Step(ctx context.Context) (more bool, err error) {
	held, err := r.cfg.Store.LeaseConsumer(ctx, store.WatchEvents, leaseTime)
	r.held.Store(err == nil && held)
	if err != nil || !held {
		r.engine = nil
		r.set(nil) // old when this node runs the watch again
		return false, err
	}
	defer func() {
		if err != nil {
			r.engine = nil // what is in memory may be ahead of what is kept
		}
	}()
	if err := r.prepare(ctx); err != nil {
		return false, err
	}
	taken, decideErr := r.decisions(ctx)
	first, err := nextSlice(ctx, r.cfg.Store, r.ahead, r.cfg.Now(), urgentSettle)
	if err != nil {
		return false, err
	}
	// What cannot wait is kept by itself: nothing that is wrong with the rest keeps
	// it from being told.
	if fresh := r.engine.Urgent(first.events, first.logins); len(r.engine.changed) > 0 {
		if err := r.keep(ctx, r.at, first.next, taken); err != nil {
			return false, err
		}
		r.tell(fresh)
		taken = nil
	}
	if decideErr != nil {
		return false, decideErr
	}
	s, err := nextSlice(ctx, r.cfg.Store, r.at, r.cfg.Now(), store.LoginSettle)
	if err != nil {
		return false, err
	}
	fresh, err := r.engine.Observe(ctx, s.events, s.logins)
	if err != nil {
		return false, err
	}
	if err := r.keep(ctx, s.next, first.next, taken); err != nil {
		return false, err
	}
	r.tell(fresh)
	return s.more || first.more, r.prune(ctx)
}

// tell passes new findings on.
func (r *Runner) tell(fresh []relay.WatchFinding) {
	for i := range fresh {
		f := &fresh[i]
		r.cfg.Logger.Info("watch: finding", "rule", string(f.Rule), "severity", string(f.Severity), "account", f.Account.String(), "key", f.Key.String(), "title", f.Title)
		if r.cfg.OnFinding != nil {
			r.cfg.OnFinding(*f)
		}
	}
	if len(fresh) > 0 {
		select {
		case r.wake <- struct{}{}:
		default: // it is awake already
		}
	}
}

// prepare reads settings, and what is kept where nothing is in memory.
func (r *Runner) prepare(ctx context.Context) error {
	settings, err := r.cfg.Store.AllWatchSettings(ctx)
	if err != nil {
		return err
	}
	r.set(settings)
	if r.engine != nil {
		return nil
	}
	e := New(Config{Places: r.cfg.Places, Settings: r.Settings, Key: r.cfg.Key, Account: r.cfg.Account, Load: r.cfg.Store.WatchBaselines, Damaged: r.damaged, Ahead: true})
	if err := r.places(ctx); err != nil {
		return err
	}
	shared, err := r.cfg.Store.WatchBaselines(ctx, []relay.KeyID{{}})
	if err != nil {
		return err
	}
	open, err := r.cfg.Store.OpenWatch(ctx)
	if err != nil {
		return err
	}
	e.Restore(shared[relay.KeyID{}], open)
	r.engine = e
	return nil
}

// damaged says what the watch has to learn anew.
func (r *Runner) damaged(key relay.KeyID, err error) {
	if key.IsZero() {
		r.cfg.Logger.Error("watch: what was known of failed logins is damaged and is learned anew", "error", err)
		return
	}
	r.cfg.Logger.Error("watch: a baseline is damaged and is learned anew", "key", key.String(), "error", err)
}

// places reads how far the watch has come. Where nothing was read ahead yet, by a
// release that did not, that begins where the rest is: what is before it was found.
func (r *Runner) places(ctx context.Context) error {
	for _, c := range []struct {
		name  string
		at    *store.Cursor
		begin *store.Cursor
	}{
		{store.WatchEvents, &r.at.events, nil}, {store.WatchLogins, &r.at.logins, nil},
		{store.WatchEventsAhead, &r.ahead.events, &r.at.events}, {store.WatchLoginsAhead, &r.ahead.logins, &r.at.logins},
	} {
		var err error
		if *c.at, err = r.cfg.Store.Consumer(ctx, c.name); err != nil {
			return err
		}
		if c.begin == nil || !c.at.IsZero() || c.begin.IsZero() {
			continue
		}
		if err := r.cfg.Store.SetConsumer(ctx, c.name, *c.begin); err != nil {
			return err
		}
		*c.at = *c.begin
	}
	return nil
}

func (r *Runner) set(settings map[relay.AccountID]relay.WatchSettings) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settings = settings
	if settings == nil && r.stop != nil {
		r.stop()
	}
}

// Settings are those of an account, as they were when the last step began.
func (r *Runner) Settings(account relay.AccountID) relay.WatchSettings {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.settings[account]
}

// decisions tells the engine what people decided. With an error it returns those
// that the engine knows of.
func (r *Runner) decisions(ctx context.Context) ([]relay.WatchID, error) {
	decided, err := r.cfg.Store.UntakenWatch(ctx)
	if err != nil {
		return nil, err
	}
	var taken []relay.WatchID
	for _, f := range decided {
		if err := r.engine.Decide(ctx, f); err != nil {
			return taken, err
		}
		taken = append(taken, f.ID)
	}
	return taken, nil
}

// keep commits what was learned with the places in the logs. A crash before it
// repeats the piece from what was kept before; after it, nothing is repeated.
func (r *Runner) keep(ctx context.Context, at, ahead position, taken []relay.WatchID) error {
	c, err := r.engine.Changes()
	if err != nil {
		return err
	}
	commit := store.WatchCommit{Keys: c.Keys, Findings: c.Findings, Taken: taken, Read: map[string]store.Cursor{}}
	if c.Shared != nil {
		commit.Keys[relay.KeyID{}] = c.Shared
	}
	for name, was := range map[string][2]store.Cursor{
		store.WatchEvents: {r.at.events, at.events}, store.WatchLogins: {r.at.logins, at.logins},
		store.WatchEventsAhead: {r.ahead.events, ahead.events}, store.WatchLoginsAhead: {r.ahead.logins, ahead.logins},
	} {
		if was[0].String() != was[1].String() {
			commit.Read[name] = was[1]
		}
	}
	if len(commit.Keys)+len(commit.Findings)+len(taken)+len(commit.Read) > 0 {
		if err := r.cfg.Store.PutWatch(ctx, commit); err != nil {
			return err
		}
	}
	r.at, r.ahead = at, ahead
	r.engine.Saved()
	return nil
}

func (r *Runner) prune(ctx context.Context) error {
	now := r.cfg.Now()
	if now.Sub(r.prunedAt) < pruneEvery {
		return nil
	}
	r.prunedAt = now
	_, err := r.cfg.Store.PruneWatch(ctx, now)
	return err
}
