package queue

import (
	"context"
	"errors"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// deletedReason is why mail of a deleted subuser is dropped, in its events.
const deletedReason = "the subuser was deleted"

// whenever is later than anything is due: all mail of a deleted subuser is
// claimed, whatever it waits for.
var whenever = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// sweepDeleted makes the mail of deleted subusers due: it is then claimed and
// dropped, without an attempt. mu is held.
func (q *Queue) sweepDeleted(now time.Time) {
	gone := map[*tenant]bool{}
	for id, t := range q.tenants {
		if q.cfg.Directory.Deleted(id) {
			gone[t] = true
		}
	}
	if len(gone) == 0 {
		return
	}
	for _, l := range q.lanes {
		for _, f := range l.flows {
			if gone[f.tenant] && !f.due.IsZero() {
				q.setDue(f, now)
			}
		}
	}
}

// drop is the outcome of a job that is not to be sent any more.
func (b *resultBuilder) drop(reason string) {
	for i := range b.j.rcpts {
		r := &b.j.rcpts[i]
		b.res.Recipients = append(b.res.Recipients, store.RecipientResult{N: r.N, Generation: r.Generation, Final: true})
		b.event(relay.EventDropped, r, relay.EventData{
			EnvelopeFrom: b.j.msg.EnvelopeFrom, Attempt: r.Attempts, Reason: reason, Duplicate: r.PossiblyDelivered,
			Categories: b.j.msg.Categories, UniqueArgs: b.j.msg.UniqueArgs,
		})
	}
}

// dropPage is how many messages Drop looks at at once.
const dropPage = 500

// Drop ends at once all that a deleted subuser has in the queue: also what is
// held or quarantined, which the scheduler never looks at. Each recipient gets an
// event that says why, nobody gets a DSN. Attempts under way end first; what they
// leave queued the scheduler drops. It returns how many recipients it dropped.
//
// A tenant that the directory does not know as deleted is relay.Conflict: nothing
// is dropped for want of knowledge. It may be called again after an error, and
// costs two commits a message.
func (q *Queue) Drop(ctx context.Context, t relay.Tenant) (n int, err error) {
	if t.Subuser.IsZero() || !q.cfg.Directory.Deleted(t) {
		return 0, relay.E(relay.Conflict, "The subuser is not deleted.")
	}
	f := store.MessageFilter{Account: t.Account, Subuser: t.Subuser, Limit: dropPage}
	for {
		page, err := q.cfg.Store.Messages(ctx, f)
		if err != nil {
			return n, err
		}
		for i := range page {
			dropped, err := q.dropMessage(ctx, page[i].Message.ID)
			if n += dropped; err != nil && relay.KindOf(err) != relay.NotFound { // it ended meanwhile
				return n, err
			}
		}
		if len(page) < dropPage {
			return n, nil
		}
		f.After = page[len(page)-1].Message.ID
	}
}

func (q *Queue) dropMessage(ctx context.Context, id relay.MessageID) (int, error) {
	if _, err := q.Recall(ctx, id); err != nil {
		return 0, err
	}
	claimed, err := q.cfg.Store.ClaimMessage(ctx, id)
	if err != nil || len(claimed.Recipients) == 0 {
		return 0, err
	}
	now := q.now()
	res, _ := q.result(ctx, &job{msg: &claimed.Message, rcpts: claimed.Recipients}, tried{drop: deletedReason}, now, now)
	if err := q.cfg.Store.Finish(context.WithoutCancel(ctx), res); err != nil {
		return 0, errors.Join(err, q.yield(ctx, jobsOf(&claimed)...))
	}
	return len(claimed.Recipients), nil
}
