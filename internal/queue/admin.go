package queue

import (
	"context"
	"errors"
	"slices"
	"time"

	"postern/internal/deliver"
	"postern/internal/relay"
	"postern/internal/store"
)

// Recall takes a message's jobs that are in memory and not under way back to
// the store, so that a person's word (hold, bounce) finds them there. It
// returns how many of its recipients have an attempt under way: these end
// first, and what then stays queued obeys the word. An error means that some are
// given back later.
func (q *Queue) Recall(ctx context.Context, id relay.MessageID) (running int, err error) {
	q.mu.Lock()
	var idle []*job
	for _, j := range append([]*job(nil), q.jobs[id]...) {
		if j.running {
			running += len(j.rcpts)
			continue
		}
		j.gone = true
		q.ready--
		idle = append(idle, j)
		q.drop(j)
	}
	q.mu.Unlock()
	return running, q.yield(ctx, idle...)
}

// Bounce ends a queued message now, as a person asked: every recipient without
// an attempt under way is bounced, with a DSN as for any other bounce.
func (q *Queue) Bounce(ctx context.Context, id relay.MessageID, by, reason string) (n int, err error) {
	if _, err := q.Recall(ctx, id); err != nil {
		return 0, err
	}
	claimed, err := q.cfg.Store.ClaimMessage(ctx, id)
	if err != nil {
		return 0, err
	}
	if len(claimed.Recipients) == 0 {
		return 0, nil
	}
	j := &job{msg: &claimed.Message, rcpts: claimed.Recipients}
	now := q.now()
	reply := returnedReply(reason)
	res, _ := q.result(ctx, j, tried{outcomes: failAll(j, reply, deliver.Failed)}, now, now)
	for i := range res.Events {
		if res.Events[i].Kind == relay.EventBounced {
			res.Events[i].Data = eventData(relay.EventData{
				EnvelopeFrom: j.msg.EnvelopeFrom, Code: reply.Code, Enhanced: reply.Enhanced.String(), Reply: reply.String(), By: by, Reason: "returned by a person",
			})
		}
	}
	if err := q.cfg.Store.Finish(context.WithoutCancel(ctx), res); err != nil {
		return 0, errors.Join(err, q.yield(ctx, jobsOf(&claimed)...))
	}
	q.generated(res)
	return len(j.rcpts), nil
}

// Due tells the scheduler that shares of the store became due: after a release,
// or a retry that a person asked for. Back-off of their sites ends with it.
func (q *Queue) Due(shares []store.Share) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, s := range shares {
		f := q.flow(s.Lane, s.Tenant)
		if l := f.lane; l.site != nil {
			l.site.until, l.site.failures = time.Time{}, 0
		}
		f.lane.routed = time.Time{}
		due := s.MinDue
		if due.IsZero() {
			due = q.now()
		}
		q.setDue(f, due)
	}
	q.kick()
}

// LaneStatus is what the queue knows of one lane.
type LaneStatus struct {
	Lane    relay.Lane `json:"lane"`
	Site    string     `json:"site,omitempty"` // the mail exchangers' key, once known
	Ready   int        `json:"ready"`          // jobs in memory, waiting for their turn
	Active  int        `json:"active"`         // connections to the site now, all lanes
	Limit   int        `json:"limit"`          // and how many it is given
	NextDue time.Time  `json:"next_due,omitzero"`
	Until   time.Time  `json:"backing_off_until,omitzero"`
	Reason  string     `json:"reason,omitempty"`
	NoRoute string     `json:"no_route,omitempty"`
}

// Lanes lists what is known of every lane that has work.
func (q *Queue) Lanes() []LaneStatus {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := make([]LaneStatus, 0, len(q.lanes))
	for _, l := range q.lanes {
		out = append(out, q.laneStatus(l))
	}
	return out
}

func (q *Queue) laneStatus(l *lane) LaneStatus {
	s := LaneStatus{Lane: l.key}
	for _, f := range l.flows {
		s.Ready += f.ready.len()
		if !f.due.IsZero() && (s.NextDue.IsZero() || f.due.Before(s.NextDue)) {
			s.NextDue = f.due
		}
	}
	if l.failure != nil {
		s.NoRoute = l.failure.Error()
	}
	if l.site != nil {
		s.Site, s.Active, s.Limit = l.site.name, l.site.active, int(l.site.limit)
		if q.now().Before(l.site.until) {
			s.Until, s.Reason = l.site.until, l.site.reason
		}
	}
	return s
}

// Depth is how much is in memory: jobs ready, attempts under way, octets held.
func (q *Queue) Depth() (ready, active int, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ready, q.active, q.bytes
}

// End records ends that were learnt from outside (a bounce that came back),
// with their events and the notice that is due, in one commit. Recipients that
// are still queued leave the queue; those that left it long ago only get their
// event. An attempt under way is not disturbed: its own result counts, too.
func (q *Queue) End(ctx context.Context, id relay.MessageID, recipients []int, events []relay.Event, notice *store.Acceptance) error {
	if _, err := q.Recall(ctx, id); err != nil {
		return err
	}
	claimed, err := q.cfg.Store.ClaimMessage(ctx, id)
	if err != nil && relay.KindOf(err) != relay.NotFound {
		return err
	}
	res := store.Result{Message: id, Events: events}
	back := store.Job{Message: claimed.Message}
	for _, r := range claimed.Recipients {
		if slices.Contains(recipients, r.N) {
			res.Recipients = append(res.Recipients, store.RecipientResult{N: r.N, Generation: r.Generation, Final: true})
		} else {
			back.Recipients = append(back.Recipients, r)
		}
	}
	if notice != nil {
		res.Generated = []*store.Acceptance{notice}
	}
	if err := q.cfg.Store.Finish(context.WithoutCancel(ctx), res); err != nil {
		return errors.Join(err, q.yield(ctx, jobsOf(&claimed)...))
	}
	q.generated(res)
	if err := q.yield(ctx, jobsOf(&back)...); err != nil {
		// What was to be recorded is recorded; the rest is given back later.
		q.log.Warn("queue: leases are given back later", "message", id.String(), "error", err)
	}
	return nil
}
