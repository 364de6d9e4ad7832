package store

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Time in the nodes table is the database's: nodes' clocks need not agree.
const (
	pgNow      = `CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)`
	pgBeat     = `UPDATE nodes SET heartbeat_at = ` + pgNow + ` WHERE epoch = $1 AND ended_at = 0`
	pgBury     = `UPDATE nodes SET ended_at = ` + pgNow + ` WHERE ended_at = 0 AND epoch <> $1 AND heartbeat_at < ` + pgNow + ` - $2 RETURNING epoch`
	pgUnmark   = `DELETE FROM node_batches b USING nodes n WHERE n.epoch = b.epoch AND n.ended_at <> 0`
	pgNewNode  = `INSERT INTO nodes (name, started_at, heartbeat_at) VALUES ($1, ` + pgNow + `, ` + pgNow + `) RETURNING epoch`
	pgNewMark  = `INSERT INTO node_batches (epoch, batch) VALUES ($1, 0)`
	pgRevision = `SELECT CAST(value AS BIGINT) FROM settings WHERE name = 'revision'`
)

const (
	// revisionEvery is how often the revision is looked at, notified or not.
	revisionEvery = 250 * time.Millisecond
	// takeoverEvery is how often dead nodes are looked for.
	takeoverEvery = 3 * time.Second
)

// timeAfter is time.After; waits here are short and always end.
var timeAfter = time.After

// join takes an epoch and declares dead who is silent.
func (e *pgEngine) join(ctx context.Context) error {
	err := e.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := tx.QueryRowContext(ctx, pgNewNode, e.s.cfg.Node).Scan(&e.s.epoch); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, pgNewMark, e.s.epoch)
		return err
	})
	if err != nil {
		return err
	}
	return e.buryDead(ctx)
}

// buryDead declares nodes dead whose heartbeat is too old, and takes the mark
// away from all that have ended: from then on nothing they send is stored. The
// deletion waits for a batch that is being committed.
func (e *pgEngine) buryDead(ctx context.Context) error {
	return e.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		dead, err := column[int64](ctx, tx, pgBury, e.s.epoch, e.s.cfg.LeaseTime.Microseconds())
		if err != nil {
			return err
		}
		for _, epoch := range dead {
			e.s.log.Warn("a node is dead; its work is taken over", "epoch", epoch)
		}
		_, err = tx.ExecContext(ctx, pgUnmark)
		return err
	})
}

// maintain keeps this node alive in the others' eyes, follows the revision and
// takes over from dead nodes.
func (e *pgEngine) maintain(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() { e.follow(ctx) })
	beat := time.NewTicker(e.s.cfg.Heartbeat)
	defer beat.Stop()
	takeover := time.NewTicker(min(takeoverEvery, e.s.cfg.LeaseTime))
	defer takeover.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
			if err := e.heartbeat(ctx); err != nil {
				return err
			}
		case <-takeover.C:
			if err := e.takeOver(ctx); err != nil && ctx.Err() == nil {
				e.s.log.Warn("look for dead nodes", "err", err)
			}
		}
	}
}

// heartbeat says that this node lives. It need not survive a crash of the
// database, so it waits for no standby.
func (e *pgEngine) heartbeat(ctx context.Context) error {
	var n int64
	err := e.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `SET LOCAL synchronous_commit = local`); err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, pgBeat, e.s.epoch)
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	if err != nil {
		e.s.log.Warn("heartbeat", "err", err)
		return nil // if it lasts, others will say so
	}
	if n == 0 {
		return errDeclaredDead
	}
	return nil
}

// takeOver requeues what dead nodes held and reports what waits again.
func (e *pgEngine) takeOver(ctx context.Context) error {
	if err := e.buryDead(ctx); err != nil {
		return err
	}
	var rec Recovery
	touched, err := e.s.requeueDead(ctx, &rec, func(o *op) error { return e.s.w.do(ctx, o) })
	if len(touched) == 0 {
		return err
	}
	e.s.log.Warn("took over from a dead node", "requeued", rec.Requeued, "in_flight", rec.InFlight, "quarantined", rec.Quarantined)
	lanes := map[laneTenant]Share{}
	for _, id := range touched {
		if err := e.s.addShares(ctx, id, lanes); err != nil {
			return err
		}
	}
	if f := e.s.cfg.OnTakeover; f != nil {
		var shares []Share
		for _, sh := range lanes {
			shares = append(shares, sh)
		}
		f(shares)
	}
	return err
}

// follow keeps the revision: at once when notified, and by looking every 250 ms,
// which also proves that the connection lives. It is tried four times a second for
// as long as the database is away: that is said once, and once when it is over.
func (e *pgEngine) follow(ctx context.Context) {
	broken := false
	for ctx.Err() == nil {
		err := e.listen(ctx, func() {
			if broken {
				e.s.log.Info("revision feed goes on")
			}
			broken = false
		})
		if err != nil && ctx.Err() == nil && !broken {
			e.s.log.Warn("revision feed", "err", err)
			broken = true
		}
		select {
		case <-ctx.Done():
		case <-timeAfter(revisionEvery):
		}
	}
}

// listen calls read after each revision that it has read.
func (e *pgEngine) listen(ctx context.Context, read func()) error {
	conn, err := pgx.ConnectConfig(ctx, e.cfg.Copy())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "LISTEN "+revisionChannel); err != nil {
		return err
	}
	for {
		if err := e.readRevision(ctx, conn); err != nil {
			return err
		}
		read()
		wait, cancel := context.WithTimeout(ctx, revisionEvery)
		_, err := conn.WaitForNotification(wait)
		timedOut := wait.Err() != nil
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !timedOut {
			return err
		}
	}
}

// readRevision asks within a second: an answer that comes later proves nothing.
func (e *pgEngine) readRevision(ctx context.Context, conn *pgx.Conn) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var n int64
	if err := conn.QueryRow(ctx, pgRevision).Scan(&n); err != nil {
		return fmt.Errorf("read revision: %w", err)
	}
	e.s.rev.seen(n, began)
	return nil
}
