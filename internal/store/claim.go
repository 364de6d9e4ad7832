package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"postern/internal/relay"
)

const (
	selectDue = `SELECT ` + messageColumns + `, ` + recipientColumns + ` FROM recipients r JOIN messages m ON m.id = r.message_id
		WHERE r.pool_id = $1 AND r.site = $2 AND r.account_id = $3 AND r.subuser_id = $4 AND r.due_at <= $5
		AND r.lease = 0 AND r.held = 0 ORDER BY r.due_at, r.message_id, r.n LIMIT $6`
	selectFreeOf = `SELECT ` + messageColumns + `, ` + recipientColumns + ` FROM recipients r JOIN messages m ON m.id = r.message_id
		WHERE r.message_id = $1 AND r.lease = 0 ORDER BY r.n`
	selectNextDue = `SELECT due_at FROM recipients WHERE pool_id = $1 AND site = $2 AND account_id = $3 AND subuser_id = $4
		AND lease = 0 AND held = 0 ORDER BY due_at LIMIT 1`
)

var (
	stmtClaim = newStmt(`UPDATE recipients SET lease = $1, generation = generation + 1
		WHERE message_id = $2 AND n = $3 AND generation = $4 AND lease = 0 AND held = 0`)
	stmtClaimHeld = newStmt(`UPDATE recipients SET lease = $1, generation = generation + 1
		WHERE message_id = $2 AND n = $3 AND generation = $4 AND lease = 0`)
	stmtUnlease = newStmt(`UPDATE recipients SET lease = 0, started = 0
		WHERE message_id = $1 AND n = $2 AND lease = $3 AND generation = $4`)
	stmtStart = newStmt(`UPDATE recipients SET started = $1
		WHERE message_id = $2 AND n = $3 AND lease = $4 AND generation = $5`)
)

// Claim leases up to limit recipients of a lane and tenant that are due, oldest
// first, and returns them by message. What another claimed first is left out,
// so it may return fewer than are there, or none. A row that is damaged is
// quarantined and left out.
func (s *Store) Claim(ctx context.Context, lane relay.Lane, tenant relay.Tenant, due time.Time, limit int) ([]Job, error) {
	jobs, err := s.claim(ctx, stmtClaim, selectDue, blob(lane.Pool.ID), lane.Site, blob(tenant.Account.ID), blob(tenant.Subuser.ID), micros(due), int64(limit))
	if err != nil {
		return nil, fmt.Errorf("claim lane %s: %w", lane.Site, err)
	}
	return jobs, nil
}

// NextDue is when the earliest unleased recipient of a lane and tenant is due:
// one step into the due-time index. The zero time: nothing waits.
func (s *Store) NextDue(ctx context.Context, lane relay.Lane, tenant relay.Tenant) (time.Time, error) {
	var due int64
	err := s.db.QueryRowContext(ctx, selectNextDue, blob(lane.Pool.ID), lane.Site, blob(tenant.Account.ID), blob(tenant.Subuser.ID)).Scan(&due)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("next due of lane %s: %w", lane.Site, s.readError(err))
	}
	return timeOf(due), nil
}

// ClaimMessage leases all recipients of a message that nobody has leased,
// whether due or not, held or not: for dropping or bouncing it by hand. It
// returns relay.NotFound when there is no such message, and no job when all its
// recipients are being worked on.
func (s *Store) ClaimMessage(ctx context.Context, id relay.MessageID) (Job, error) {
	jobs, err := s.claim(ctx, stmtClaimHeld, selectFreeOf, blob(id.ID))
	if err != nil {
		return Job{}, fmt.Errorf("claim message %s: %w", id, err)
	}
	if len(jobs) > 0 {
		return jobs[0], nil
	}
	if _, err := s.Message(ctx, id); err != nil {
		return Job{}, err
	}
	return Job{}, nil
}

// claim reads candidates and leases those whose generation is still the one
// that was read.
func (s *Store) claim(ctx context.Context, st *stmt, query string, args ...any) ([]Job, error) {
	jobs, damaged, err := s.candidates(ctx, query, args)
	if err != nil {
		return nil, s.readError(err)
	}
	for id, cause := range damaged {
		if err := s.Quarantine(ctx, id, "The stored message is damaged."); err != nil {
			return nil, err
		}
		s.log.Error("damaged message quarantined", "message_id", id.String(), "err", cause)
	}
	if len(jobs) == 0 {
		return nil, nil
	}
	o := newOp("claim")
	for i := range jobs {
		for _, r := range jobs[i].Recipients {
			o.add(st, s.epoch, blob(r.Message.ID), int64(r.N), r.Generation)
		}
		o.lock(jobs[i].Message.ID)
	}
	if err := s.w.do(ctx, o); err != nil {
		return nil, err
	}
	return s.claimed(jobs, o), nil
}

// claimed keeps what the operation really leased.
func (s *Store) claimed(jobs []Job, o *op) []Job {
	k, out := 0, jobs[:0]
	for _, j := range jobs {
		kept := j.Recipients[:0]
		for _, r := range j.Recipients {
			if o.calls[k].rows == 1 {
				r.Lease, r.Generation = s.epoch, r.Generation+1
				kept = append(kept, r)
			}
			k++
		}
		if j.Recipients = kept; len(kept) > 0 {
			out = append(out, j)
		}
	}
	return out
}

// candidates reads jobs and, apart, the messages that cannot be trusted.
func (s *Store) candidates(ctx context.Context, query string, args []any) ([]Job, map[relay.MessageID]error, error) {
	var jobs []Job
	damaged := map[relay.MessageID]error{}
	at := map[relay.MessageID]int{}
	err := eachRow(ctx, s.db, query, args, func(rows *sql.Rows) error {
		m, r, bad, err := scanJob(rows)
		if err != nil {
			return err
		}
		if bad != nil {
			damaged[m.ID] = bad
			return nil
		}
		i, ok := at[m.ID]
		if !ok {
			i = len(jobs)
			at[m.ID] = i
			jobs = append(jobs, Job{Message: m})
		}
		jobs[i].Recipients = append(jobs[i].Recipients, r)
		return nil
	})
	if err != nil || len(damaged) == 0 {
		return jobs, nil, err
	}
	sound := jobs[:0]
	for _, j := range jobs {
		if damaged[j.Message.ID] == nil {
			sound = append(sound, j)
		}
	}
	return sound, damaged, nil
}

// lock notes that the operation touches a message.
func (o *op) lock(id relay.MessageID) { o.locks = append(o.locks, blob(id.ID)) }

// Unlease gives claimed recipients back: they wait again, due as they were. Those
// that are no longer ours are left alone.
func (s *Store) Unlease(ctx context.Context, refs []Ref) error {
	if len(refs) == 0 {
		return nil
	}
	o := newOp("unlease")
	for _, r := range refs {
		o.add(stmtUnlease, blob(r.Message.ID), int64(r.N), s.epoch, r.Generation)
		o.lock(r.Message)
	}
	return s.w.do(ctx, o)
}

// Pending is a durable mark that is on its way.
type Pending struct{ o *op }

// Start queues the in-flight mark of claimed recipients and returns at once; the
// delivery goes on meanwhile and waits before it sends end-of-data. A crash after
// the mark makes the recipients possibly delivered; one before it cannot have
// delivered them.
func (s *Store) Start(_ context.Context, refs []Ref) *Pending {
	o := newOp("start")
	o.miss = ErrLeaseLost
	for _, r := range refs {
		o.must(1, stmtStart, s.epoch, blob(r.Message.ID), int64(r.N), s.epoch, r.Generation)
		o.lock(r.Message)
	}
	s.w.submit(o, false)
	return &Pending{o: o}
}

// Wait returns nil once the mark is synced. ErrLeaseLost: a recipient is no
// longer ours, and none was marked: do not send. When ctx ends first the mark may
// still be made, which is harmless.
func (p *Pending) Wait(ctx context.Context) error {
	select {
	case <-p.o.done:
	case <-ctx.Done():
		return fmt.Errorf("start: %w", ctx.Err())
	}
	if p.o.err != nil {
		return fmt.Errorf("start: %w", p.o.err)
	}
	return nil
}

// Done is a mark that needs no waiting: its outcome is err. For tests of those
// who wait for marks.
func Done(err error) *Pending {
	o := newOp("done")
	o.finish(err)
	return &Pending{o: o}
}
