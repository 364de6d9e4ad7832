package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	pgMark = `UPDATE node_batches SET batch = $1 WHERE epoch = $2`
	// Messages are locked in one order by all nodes, so that batches wait for each
	// other and never block for good; and a message's last recipient is then seen
	// by exactly one of two batches that end recipients of it.
	pgLock    = `SELECT id FROM messages WHERE id = ANY($1) ORDER BY id FOR UPDATE`
	pgOutcome = `SELECT batch FROM node_batches WHERE epoch = $1 FOR UPDATE`
)

// runBatch executes a batch in one transaction: its statements in one round
// trip, then COMMIT. A node that was declared dead has no mark any more, and
// nothing of its batch is stored.
func (e *pgEngine) runBatch(ops []*op) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), pgBatchTimeout)
	defer cancel()
	conn, err := e.connect(ctx)
	if err != nil {
		return err
	}
	for i, o := range ops {
		if err := e.inject(o.name); err != nil {
			return &opError{index: i, err: err}
		}
	}
	e.batch++
	if _, err := conn.Exec(ctx, "BEGIN"); err != nil {
		return e.broken(err)
	}
	if err := e.send(ctx, conn, ops); err != nil {
		if _, rbErr := conn.Exec(ctx, "ROLLBACK"); rbErr != nil || conn.IsClosed() {
			return e.broken(err)
		}
		return err
	}
	return e.commit(conn)
}

// broken drops a connection on which something failed before COMMIT. Nothing was
// stored, and it is no operation's fault.
func (e *pgEngine) broken(err error) error {
	e.disconnect()
	return fmt.Errorf("%w: %s", errConnLost, err.Error()) // not wrapped: it is judged as a lost connection
}

// send runs all statements of a batch in one pipeline and checks their rows.
func (e *pgEngine) send(ctx context.Context, conn *pgx.Conn, ops []*op) error {
	b := &pgx.Batch{}
	b.Queue(pgMark, e.batch, e.s.epoch)
	locks := lockOrder(ops)
	if len(locks) > 0 {
		b.Queue(pgLock, locks)
	}
	for _, o := range ops {
		for i := range o.calls {
			b.Queue(o.calls[i].st.pg, o.calls[i].args...)
		}
		for i := range o.events {
			b.Queue(o.events[i].st.pg, o.events[i].args...)
		}
	}
	usage := usageCalls(ops) // last: its rows are locked no longer than need be
	for i := range usage {
		b.Queue(usage[i].st.pg, usage[i].args...)
	}
	res := conn.SendBatch(ctx, b)
	err := e.collect(res, ops, len(locks) > 0)
	for i := 0; err == nil && i < len(usage); i++ {
		_, err = res.Exec()
	}
	return errors.Join(err, closeBatch(res, err))
}

// closeBatch ends the pipeline. An error that was seen already is not repeated.
func closeBatch(res pgx.BatchResults, seen error) error {
	if err := res.Close(); err != nil && seen == nil {
		return err
	}
	return nil
}

func (e *pgEngine) collect(res pgx.BatchResults, ops []*op, locked bool) error {
	tag, err := res.Exec()
	if err != nil {
		return err
	}
	if tag.RowsAffected() != 1 {
		return errDeclaredDead
	}
	if locked {
		if _, err := res.Exec(); err != nil {
			return err
		}
	}
	for i, o := range ops {
		for j := range o.calls {
			k := &o.calls[j]
			tag, err := res.Exec()
			if err != nil {
				return &opError{index: i, err: err}
			}
			if k.rows = tag.RowsAffected(); k.want != anyRows && k.rows != k.want {
				return &opError{index: i, err: o.missed(k, k.rows)}
			}
		}
		for range o.events {
			if _, err := res.Exec(); err != nil {
				return &opError{index: i, err: err}
			}
		}
	}
	return nil
}

// lockOrder is the ids of all messages that a batch touches, each once, sorted.
func lockOrder(ops []*op) [][]byte {
	var ids [][]byte
	for _, o := range ops {
		ids = append(ids, o.locks...)
	}
	slices.SortFunc(ids, bytes.Compare)
	return slices.CompactFunc(ids, bytes.Equal)
}

// commit ends the transaction. From here on the outcome is the server's: when
// the answer is lost, it is read. COMMIT has no deadline of ours: with a
// synchronous standby away it waits, and so does everyone who waits for 250.
func (e *pgEngine) commit(conn *pgx.Conn) error {
	_ = e.warning() // older ones do not count
	if err := e.inject("commit"); err != nil {
		e.disconnect()
		return e.resolve(err)
	}
	tag, err := conn.Exec(context.Background(), "COMMIT")
	if err == nil {
		err = e.inject("committed")
	}
	if err != nil {
		e.disconnect()
		return e.resolve(err)
	}
	if tag.String() != "COMMIT" {
		return fmt.Errorf("commit answered %q: %w", tag, errNotStored)
	}
	if warn := e.warning(); warn != nil {
		// Committed here, and perhaps nowhere else.
		return fmt.Errorf("%w: %w", errUnknown, warn)
	}
	return nil
}

// resolve finds out what became of a COMMIT whose answer was lost: the batch's
// number stands in the node's row, or not. The row's lock waits for the old
// transaction's end. Writing the row and committing again proves that the first
// commit is as durable as this one, on the standbys too.
func (e *pgEngine) resolve(cause error) error {
	ctx, cancel := context.WithTimeout(context.Background(), pgResolveTimeout)
	defer cancel()
	e.s.away.Store(true) // others are refused at once meanwhile
	defer e.s.away.Store(false)
	e.s.log.Warn("the answer to a commit was lost; reading the outcome", "err", cause)
	for tries := 0; ctx.Err() == nil && tries < pgEndTries; {
		stored, err := e.outcome(ctx)
		switch {
		case err == nil && stored:
			return nil
		case err == nil:
			return fmt.Errorf("%w: %w", errNotStored, cause)
		case errors.Is(err, errUnknown) || errors.Is(err, errDeclaredDead):
			return err
		}
		e.disconnect()
		time.Sleep(awayPause)
		select {
		case <-e.s.ending:
			tries++
		default:
		}
	}
	return fmt.Errorf("%w: %w", errUnknown, cause)
}

func (e *pgEngine) outcome(ctx context.Context) (bool, error) {
	conn, err := e.connect(ctx)
	if err != nil {
		return false, err
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // after Commit it does nothing
	var n int64
	err = tx.QueryRow(ctx, pgOutcome, e.s.epoch).Scan(&n)
	if errors.Is(err, pgx.ErrNoRows) {
		// Declared dead meanwhile: the batch may or may not have come first.
		return false, fmt.Errorf("%w: %w", errUnknown, errDeclaredDead)
	}
	if err != nil {
		return false, err
	}
	if _, err := tx.Exec(ctx, pgMark, n, e.s.epoch); err != nil {
		return false, err
	}
	_ = e.warning()
	if err := tx.Commit(ctx); err != nil {
		return false, err
	}
	if warn := e.warning(); warn != nil {
		return false, fmt.Errorf("%w: %w", errUnknown, warn)
	}
	return n == e.batch, nil
}
