package sender

import (
	"context"
	"errors"
	"sync"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// Checker looks at all domains again and again, each when it is due, and not more
// of them in a minute than PerMinute. Several nodes share the work: each domain
// is claimed by one.
type Checker struct {
	Domains   *Domains
	PerMinute int // 0: 70, which is 100,000 a day
}

const (
	checksPerMinute = 70
	checksAtOnce    = 8                // domains under way on this node
	claimAtMost     = 16               // domains claimed at a time: those claimed later wait for these
	claimFor        = 15 * time.Minute // until another node may take them
	checkTimeout    = 5 * time.Minute  // of one domain: many name servers, all silent
	checkIdle       = 15 * time.Second // between looks for domains that are due
	checkPause      = time.Minute      // after the store failed
)

// byChecker is who changes a domain's state by its own checks.
var byChecker = store.By{Who: "postern", From: "domain check"}

// Run checks domains until ctx is done. A domain that cannot be checked does not
// keep the others waiting; a store that cannot be reached is tried again.
func (c *Checker) Run(ctx context.Context) error {
	per := c.PerMinute
	if per <= 0 {
		per = checksPerMinute
	}
	w := &checkRun{Checker: c, ctx: ctx, interval: time.Minute / time.Duration(per), slots: make(chan struct{}, checksAtOnce)}
	defer w.running.Wait()
	batch := min(max(per/2, 1), claimAtMost)
	for {
		n, err := w.round(batch)
		wait := checkIdle
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			w.trouble("sender: domains to check not found out", err)
			wait = checkPause
		case n == batch: // there may be more
			w.trouble("", nil)
			continue
		default:
			w.trouble("", nil)
		}
		if !pause(ctx, wait) {
			return nil
		}
	}
}

// checkRun is one Run.
type checkRun struct {
	*Checker
	ctx      context.Context
	interval time.Duration
	slots    chan struct{}
	running  sync.WaitGroup
	told     string // the trouble that was logged last
}

// round claims domains that are due and begins a check of each, at the pace.
func (w *checkRun) round(n int) (int, error) {
	now := w.Domains.now()
	ids, err := w.Domains.Store.ClaimChecks(w.ctx, now, now.Add(claimFor), n)
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		select {
		case <-w.ctx.Done():
			return len(ids), nil
		case w.slots <- struct{}{}:
		}
		w.running.Go(func() {
			defer func() { <-w.slots }()
			w.check(id)
		})
		if !pause(w.ctx, w.interval) {
			return len(ids), nil
		}
	}
	return len(ids), nil
}

// check looks at one domain. One that was claimed and not checked is due again
// when the claim is over.
func (w *checkRun) check(id relay.DomainID) {
	ctx, cancel := context.WithTimeout(w.ctx, checkTimeout)
	defer cancel()
	_, err := w.Domains.Check(ctx, byChecker, id)
	switch {
	case err == nil, w.ctx.Err() != nil, relay.KindOf(err) == relay.NotFound: // removed meanwhile
	case errors.Is(err, context.DeadlineExceeded):
		w.Domains.log().Warn("sender: check of a domain took too long", "domain_id", id.String())
	default:
		w.Domains.log().Warn("sender: domain not checked", "domain_id", id.String(), "error", err)
	}
}

// trouble logs when it begins, changes or ends.
func (w *checkRun) trouble(text string, err error) {
	now := ""
	if err != nil {
		now = err.Error()
	}
	if now == w.told {
		return
	}
	if w.told = now; err != nil {
		w.Domains.log().Warn(text, "error", err)
		return
	}
	w.Domains.log().Info("sender: domains are checked again")
}

// pause waits, and reports false if ctx is done first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
