package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"postern/internal/relay"
)

// maxCrashes is how many deaths of the process, with an attempt of the message
// under way, take a message out of the queue.
const maxCrashes = 3

// maxWait is longer than any schedule waits (a message lives 30 days at most).
// What is due later than that was put off while the clock was wrong.
const maxWait = 31 * 24 * time.Hour

// recoverPage is how many leased recipients are recovered per batch.
const recoverPage = 2000

const (
	// All leases but those of living nodes. SQLite has one node, which is us.
	selectLeased = `SELECT message_id, n, lease, started, generation FROM recipients
		WHERE lease <> 0 AND lease <> $1 AND (message_id > $2 OR message_id = $3 AND n > $4) ORDER BY message_id, n LIMIT $5`
	selectLeasedPg = `SELECT message_id, n, lease, started, generation FROM recipients
		WHERE lease <> 0 AND lease <> $1 AND lease NOT IN (SELECT epoch FROM nodes WHERE ended_at = 0)
		AND (message_id > $2 OR message_id = $3 AND n > $4) ORDER BY message_id, n LIMIT $5`
	// The run before this one; among several nodes of this one, if it has run before:
	// others may be living, or have ended well since.
	selectLastNode   = `SELECT clean FROM nodes WHERE epoch < $1 ORDER BY epoch DESC LIMIT 1`
	selectLastNodePg = `SELECT clean FROM nodes WHERE epoch < $1 ORDER BY CASE WHEN name = $2 THEN 0 ELSE 1 END, epoch DESC LIMIT 1`
)

var (
	stmtRequeue = newStmt(`UPDATE recipients SET lease = 0, started = 0, generation = generation + 1,
		due_at = CASE WHEN due_at < $1 THEN due_at ELSE $2 END
		WHERE message_id = $3 AND n = $4 AND lease = $5 AND generation = $6`,
		`UPDATE recipients SET lease = 0, started = 0, generation = generation + 1, due_at = LEAST(due_at, $1, $2)
		WHERE message_id = $3 AND n = $4 AND lease = $5 AND generation = $6`)
	stmtInFlight = newStmt(`UPDATE recipients SET lease = 0, started = 0, generation = generation + 1, possibly_delivered = 1,
		due_at = CASE WHEN due_at < $1 THEN due_at ELSE $2 END
		WHERE message_id = $3 AND n = $4 AND lease = $5 AND generation = $6`,
		`UPDATE recipients SET lease = 0, started = 0, generation = generation + 1, possibly_delivered = 1, due_at = LEAST(due_at, $1, $2)
		WHERE message_id = $3 AND n = $4 AND lease = $5 AND generation = $6`)
	stmtUnfreeze = newStmt(`UPDATE recipients SET due_at = $1 WHERE lease = 0 AND held = 0 AND due_at > $2`)
	stmtCrashed  = newStmt(`UPDATE messages SET crashes = crashes + 1 WHERE id = $1 AND crashes = $2`)
)

// leasedRow is a recipient that a dead process held.
type leasedRow struct {
	message    relay.MessageID
	n          int64
	lease      int64
	started    int64
	generation int64
}

// recoverDead gives back what dead processes held. It is idempotent and may be
// cut off at any point: each batch leaves its recipients unleased, and the next
// run takes the rest.
//
// It returns what waits again, for those who keep lanes in memory.
func (s *Store) recoverDead(ctx context.Context) (Recovery, error) {
	var rec Recovery
	var clean int64
	query, args := selectLastNode, []any{s.epoch}
	if s.eng.dialect() == dPostgres {
		query, args = selectLastNodePg, []any{s.epoch, s.cfg.Node}
	}
	switch err := s.db.QueryRowContext(ctx, query, args...).Scan(&clean); {
	case errors.Is(err, sql.ErrNoRows):
		rec.Clean = true // nothing came before
	case err != nil:
		return rec, fmt.Errorf("recover: %w", s.readError(err))
	default:
		rec.Clean = clean != 0
	}
	_, err := s.requeueDead(ctx, &rec, func(o *op) error {
		s.w.commit([]*op{o}) // the writer does not run yet
		return o.err
	})
	if err == nil {
		err = s.unfreeze()
	}
	if err != nil {
		return rec, fmt.Errorf("recover: %w", err)
	}
	if rec.Requeued > 0 || rec.InFlight > 0 || rec.Quarantined > 0 {
		s.log.Warn("recovered what a dead process held", "requeued", rec.Requeued, "in_flight", rec.InFlight, "quarantined", rec.Quarantined)
	}
	return rec, nil
}

// unfreeze makes due what a process with a wrong clock put off for years: nothing
// else would ever look at it.
func (s *Store) unfreeze() error {
	o := newOp("unfreeze")
	now := s.cfg.Now()
	o.add(stmtUnfreeze, now.UnixMicro(), now.Add(maxWait).UnixMicro())
	s.w.commit([]*op{o}) // the writer does not run yet
	if n := o.calls[0].rows; o.err == nil && n > 0 {
		s.log.Warn("recipients were due in the far future, by a clock that was wrong; they are due now", "recipients", n)
	}
	return o.err
}

// requeueDead walks over the leases of dead epochs, in pages, and returns the
// ids of the messages it touched.
func (s *Store) requeueDead(ctx context.Context, rec *Recovery, commit func(*op) error) ([]relay.MessageID, error) {
	var touched []relay.MessageID
	crashed := map[relay.MessageID]bool{}
	afterID, afterN := noBlob, int64(-1)
	for {
		rows, err := s.leased(ctx, afterID, afterN)
		if err != nil {
			return touched, err
		}
		o, byMsg := newOp("recover"), map[relay.MessageID]bool{}
		for i := range rows {
			r := &rows[i]
			if !byMsg[r.message] {
				byMsg[r.message] = true
				touched = append(touched, r.message)
				o.lock(r.message)
			}
			if r.started == 0 {
				now := s.now()
				o.add(stmtRequeue, now, now, blob(r.message.ID), r.n, r.lease, r.generation)
				rec.Requeued++
			}
		}
		if err := s.appendCrashes(ctx, o, rows, crashed, rec); err != nil {
			return touched, err
		}
		if len(o.calls) > 0 {
			if err := commit(o); err != nil {
				return touched, err
			}
		}
		if len(rows) < recoverPage {
			return touched, nil
		}
		last := rows[len(rows)-1]
		afterID, afterN = blob(last.message.ID), last.n
	}
}

func (s *Store) leased(ctx context.Context, afterID []byte, afterN int64) ([]leasedRow, error) {
	query := selectLeased
	if s.eng.dialect() == dPostgres {
		query = selectLeasedPg
	}
	var all []leasedRow
	err := eachRow(ctx, s.db, query, []any{s.epoch, afterID, afterID, afterN, int64(recoverPage)}, func(rows *sql.Rows) error {
		var id []byte
		var r leasedRow
		if err := rows.Scan(&id, &r.n, &r.lease, &r.started, &r.generation); err != nil {
			return err
		}
		r.message.ID = idOf(id)
		all = append(all, r)
		return nil
	})
	if err != nil {
		return nil, s.readError(err)
	}
	return all, nil
}

// appendCrashes handles the recipients that were in flight: their message has
// seen one more crash.
func (s *Store) appendCrashes(ctx context.Context, o *op, rows []leasedRow, seen map[relay.MessageID]bool, rec *Recovery) error {
	for i := range rows {
		r := &rows[i]
		if r.started == 0 {
			continue
		}
		q, err := s.Message(ctx, r.message)
		if err != nil {
			return err
		}
		now := s.cfg.Now()
		// must: if another node recovers the same, only one writes the events.
		o.must(1, stmtInFlight, now.UnixMicro(), now.UnixMicro(), blob(r.message.ID), r.n, r.lease, r.generation)
		o.miss = ErrLeaseLost
		ev := s.event(relay.EventRecovered, &q.Message, int(r.n), now)
		ev.Recipient = recipientAddress(&q, int(r.n))
		ev.Data, _ = json.Marshal(relay.EventData{Duplicate: true, Reason: "A process died during the attempt."}) //nolint:errchkjson // strings and bools
		if err := s.appendEvents(o, []relay.Event{ev}); err != nil {
			return err
		}
		rec.InFlight++
		if seen[r.message] {
			continue
		}
		seen[r.message] = true
		o.add(stmtCrashed, blob(r.message.ID), int64(q.Message.Crashes))
		if q.Message.Crashes+1 >= maxCrashes && q.Message.State != relay.MessageQuarantined {
			rec.Quarantined++
			if err := s.appendQuarantine(o, &q.Message, "The process died three times while it was being delivered."); err != nil {
				return err
			}
		}
	}
	return nil
}

func recipientAddress(q *Queued, n int) string {
	for i := range q.Recipients {
		if q.Recipients[i].N == n {
			return q.Recipients[i].Address
		}
	}
	return ""
}
