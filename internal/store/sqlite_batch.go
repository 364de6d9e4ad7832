package store

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
)

// runBatch executes a batch on the writing connection: prepared statements on
// the driver's own connection, without database/sql in between. The COMMIT
// syncs the log once for all of it.
//
// A crash before the sync of COMMIT leaves nothing of the batch; after it, all.
func (e *sqliteEngine) runBatch(ops []*op) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conn == nil {
		return ErrClosed
	}
	var out error
	err := e.conn.Raw(func(raw any) error {
		c, ok := raw.(driver.ConnPrepareContext)
		if !ok {
			return errors.New("the SQLite driver has no PrepareContext")
		}
		out = e.batch(c, ops)
		return nil // out is not the connection's fault
	})
	if out == nil && err == nil {
		if err := e.noteWritten(ops); err != nil {
			// The batch is stored; the next one finds the store stopped.
			e.s.w.stop(err)
		}
	}
	return errors.Join(out, err)
}

func (e *sqliteEngine) batch(c driver.ConnPrepareContext, ops []*op) error {
	ctx := context.Background()
	if err := e.control(c); err != nil {
		return err
	}
	if _, err := e.begin.ExecContext(ctx, nil); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	for i, o := range ops {
		if err := e.runOp(ctx, c, o); err != nil {
			e.rollback(ctx)
			return &opError{index: i, err: err}
		}
	}
	for _, k := range usageCalls(ops) {
		if _, err := e.exec(ctx, c, k.st, k.args); err != nil {
			e.rollback(ctx)
			return fmt.Errorf("count usage: %w", err)
		}
	}
	if err := e.inject("commit"); err != nil {
		e.rollback(ctx)
		return fmt.Errorf("commit: %w", err)
	}
	if _, err := e.end.ExecContext(ctx, nil); err != nil {
		// The log may or may not hold the commit: a failed sync stops the store, a
		// full disk rolls back (the commit frame was not written whole).
		e.rollback(ctx)
		return fmt.Errorf("commit: %w", err)
	}
	if err := e.inject("committed"); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// rollback ends a failed transaction. SQLite may have rolled back by itself, so
// the error says nothing; a transaction that stays open makes the next BEGIN fail.
func (e *sqliteEngine) rollback(ctx context.Context) {
	if _, err := e.back.ExecContext(ctx, nil); err != nil {
		e.s.log.Debug("rollback", "err", err)
	}
}

func (e *sqliteEngine) runOp(ctx context.Context, c driver.ConnPrepareContext, o *op) error {
	if err := e.inject(o.name); err != nil {
		return err
	}
	for i := range o.calls {
		k := &o.calls[i]
		n, err := e.exec(ctx, c, k.st, k.args)
		if err != nil {
			return err
		}
		if k.rows = n; k.want != anyRows && n != k.want {
			return o.missed(k, n)
		}
	}
	for i := range o.events {
		if _, err := e.exec(ctx, c, o.events[i].st, o.events[i].args); err != nil {
			return err
		}
	}
	return nil
}

// missed is the error of a call that touched other rows than it must.
func (o *op) missed(k *call, n int64) error {
	if err := cmp.Or(k.miss, o.miss); err != nil {
		return err
	}
	return fmt.Errorf("a statement touched %d rows, want %d", n, k.want)
}

// control prepares the statements that begin and end a batch.
func (e *sqliteEngine) control(c driver.ConnPrepareContext) (err error) {
	for _, p := range []struct {
		to   *driver.StmtExecContext
		text string
	}{{&e.begin, "BEGIN IMMEDIATE"}, {&e.end, "COMMIT"}, {&e.back, "ROLLBACK"}} {
		if *p.to == nil {
			if *p.to, err = prepare(c, p.text); err != nil {
				return err
			}
		}
	}
	return nil
}

func prepare(c driver.ConnPrepareContext, text string) (driver.StmtExecContext, error) {
	st, err := c.PrepareContext(context.Background(), text)
	if err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	x, ok := st.(driver.StmtExecContext)
	if !ok {
		return nil, errors.New("the SQLite driver has no ExecContext")
	}
	return x, nil
}

// exec runs a prepared statement. context.Background costs no goroutine, and a
// batch must not be interrupted in the middle.
func (e *sqliteEngine) exec(ctx context.Context, c driver.ConnPrepareContext, st *stmt, args []any) (int64, error) {
	for len(e.stmts) <= st.slot {
		e.stmts = append(e.stmts, nil)
	}
	p := e.stmts[st.slot]
	if p == nil {
		var err error
		if p, err = prepare(c, anonymous(st.text)); err != nil {
			return 0, err
		}
		e.stmts[st.slot] = p
	}
	e.args = e.args[:0]
	for i, a := range args {
		e.args = append(e.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	res, err := p.ExecContext(ctx, e.args)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}
