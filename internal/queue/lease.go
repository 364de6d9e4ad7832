package queue

import (
	"context"
	"errors"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// debt is a lease on which nobody works any more and that the store has not
// taken back yet. It is given back until that is done: a recipient that stays
// leased to a living process is one that nobody ever tries again.
type debt struct {
	lane   relay.Lane
	tenant relay.Tenant
	due    time.Time // when it waits for an attempt, once it is back
	refs   []store.Ref
}

// yieldTime bounds the first try to give leases back; the rest is done in the
// background.
const yieldTime = 30 * time.Second

// settleEvery is the wait between two tries to give leases back.
const settleEvery = 5 * time.Second

// yield gives the leases of jobs back that are not under way and not in a flow,
// and tells the scheduler where they wait. It does not end with the caller: one
// that hangs up has taken them out of memory already. An error means that they
// are given back later.
func (q *Queue) yield(ctx context.Context, jobs ...*job) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), yieldTime)
	defer cancel()
	debts := make([]debt, 0, len(jobs))
	for _, j := range jobs {
		debts = append(debts, j.debt())
	}
	return q.settle(ctx, debts)
}

func (j *job) debt() debt {
	d := debt{lane: relay.Lane{Pool: j.msg.Pool, Site: j.rcpts[0].Site}, tenant: j.msg.Tenant, due: j.rcpts[0].DueAt, refs: j.refs()}
	for i := range j.rcpts {
		if j.rcpts[i].DueAt.Before(d.due) {
			d.due = j.rcpts[i].DueAt
		}
	}
	return d
}

// jobsOf makes the jobs of a message whose recipients were claimed whatever
// their lanes.
func jobsOf(c *store.Job) []*job {
	var jobs []*job
	for _, g := range bySite(c.Recipients) {
		jobs = append(jobs, &job{msg: &c.Message, rcpts: g})
	}
	return jobs
}

// settle pays debts; what cannot be paid is remembered.
func (q *Queue) settle(ctx context.Context, debts []debt) error {
	var first error
	var left []debt
	for _, d := range debts {
		refs, err := q.giveBack(ctx, d.refs)
		if d.refs = refs; err != nil {
			left = append(left, d)
			if first == nil {
				first = err
			}
			continue
		}
		due := d.due
		if due.IsZero() {
			due = q.now()
		}
		q.Waiting(d.lane, d.tenant, due)
	}
	if len(left) > 0 && !over(first) {
		q.owe(left)
	}
	return first
}

// over reports that this process records nothing any more: the next one finds
// the leases of a dead epoch.
func over(err error) bool { return errors.Is(err, store.ErrStopped) || errors.Is(err, store.ErrClosed) }

func (q *Queue) owe(debts []debt) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closing {
		for _, d := range debts {
			q.leftover = append(q.leftover, d.refs...)
		}
		return
	}
	q.owed = append(q.owed, debts...)
	q.settleAt = q.now().Add(settleEvery)
	q.kick()
}

// settleDue tries again to give leases back, in the background, and returns how
// long to wait for the next try. mu is held.
func (q *Queue) settleDue(now time.Time) time.Duration {
	switch {
	case len(q.owed) == 0 || q.closing:
		return idleWait
	case now.Before(q.settleAt):
		return q.settleAt.Sub(now)
	}
	debts := q.owed
	q.owed = nil
	ctx := q.ctx
	q.work.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, yieldTime)
		defer cancel()
		if err := q.settle(ctx, debts); err != nil {
			q.log.Warn("queue: leases are given back later", "error", err)
		}
	})
	return idleWait
}

// giveBack ends leases in the store, a few at a time, and returns those that it
// could not end.
func (q *Queue) giveBack(ctx context.Context, refs []store.Ref) ([]store.Ref, error) {
	const chunk = 256
	for len(refs) > 0 {
		n := min(chunk, len(refs))
		if err := q.cfg.Store.Unlease(ctx, refs[:n]); err != nil {
			return refs, err
		}
		refs = refs[n:]
	}
	return nil, nil
}
