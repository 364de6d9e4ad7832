package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// pgWait bounds what somebody waits for: the connection, locks, and all tries of a
	// transaction up to its COMMIT. It then was not stored.
	pgWait = 15 * time.Second
	// pgCommitWait bounds a COMMIT, which is not cut off with what came before it:
	// nobody would know its outcome.
	pgCommitWait = 15 * time.Second
)

// patienceKey marks work that nobody waits for.
type patienceKey struct{}

// patiently is for work that nobody waits for, or that is long by itself: each try of a
// transaction may take pgBatchTimeout, and there are maxBusy of them.
func patiently(ctx context.Context) context.Context {
	return context.WithValue(ctx, patienceKey{}, true)
}

// transact runs fn in a transaction of a pool connection, again after a lock or
// serialisation conflict, as long as pgWait and ctx allow. The statements of fn use the
// context that it is given. COMMIT does not end with ctx.
//
// relay.Unavailable: nothing was stored, and the same may be tried again; ErrUnknown:
// the answer to COMMIT was lost. An error of ctx means that nothing was stored.
func (e *pgEngine) transact(ctx context.Context, fn func(ctx context.Context, tx *sql.Tx) error) error {
	wait := e.wait
	if ctx.Value(patienceKey{}) == nil {
		bounded, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		ctx = bounded
	} else {
		wait = pgBatchTimeout
	}
	for try := 0; ; try++ {
		err := e.transactOnce(ctx, wait, fn)
		if err == nil || judge(err) != vBusy || try >= maxBusy {
			return e.sorted(err)
		}
		select {
		case <-ctx.Done():
			return e.sorted(err)
		case <-time.After(time.Duration(try+1) * 5 * time.Millisecond):
		}
	}
}

// transactOnce is one try, of at most wait before its COMMIT.
func (e *pgEngine) transactOnce(ctx context.Context, wait time.Duration, fn func(ctx context.Context, tx *sql.Tx) error) error {
	ctx, stop := context.WithTimeout(ctx, wait)
	defer stop()
	// The driver gives COMMIT the context that the transaction began with. This one ends
	// with ctx until then, and with a time of its own from then on.
	whole, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	follow := context.AfterFunc(ctx, end)
	tx, err := e.db.BeginTx(whole, nil)
	if err != nil {
		return errors.Join(err, ctx.Err())
	}
	if err := fn(ctx, tx); err != nil {
		_ = tx.Rollback() // the error that matters is fn's
		if errors.Is(err, context.Canceled) || errors.Is(err, sql.ErrTxDone) {
			err = errors.Join(err, ctx.Err()) // that the time is over, where it is
		}
		return err
	}
	if err := e.inject("transact"); err != nil {
		_ = tx.Rollback()
		return err
	}
	if !follow() {
		_ = tx.Rollback()
		return ctx.Err()
	}
	defer time.AfterFunc(pgCommitWait, end).Stop()
	return outcome(tx.Commit())
}

// outcome is how a COMMIT ended: ErrUnknown, unless the server has said that it stored
// nothing. To try again what may be stored would do it twice.
func outcome(err error) error {
	if err == nil || errors.Is(err, pgx.ErrTxCommitRollback) {
		return err
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && judgePg(e.Code) != vUnknown {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnknown, err)
}
