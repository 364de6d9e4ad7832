package store

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"time"

	"postern/internal/relay"
)

// Depth is how many messages and recipients are queued, by state.
type Depth struct {
	Messages    int64 // queued
	Held        int64
	Quarantined int64
	Waiting     int64 // recipients free to claim
	Leased      int64 // recipients that a node works on
}

// Stats are figures for metrics and health checks.
type Stats struct {
	Depth
	WALBytes      int64 // length of the write-ahead log; SQLite only
	FreeBytes     int64 // left on the disk; SQLite only, -1 unknown
	Low           bool  // nothing is accepted for lack of space
	LoginsDropped int64 // records (logins, key use, access activity, alerts) that found no room since the start
	Stopped       error // why the store has stopped; nil while it works
}

// statsEvery is how old counted figures may be: counting a million rows takes a
// moment.
const statsEvery = 10 * time.Second

// Stats returns the figures; those that need counting are up to 10 s old.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	st := Stats{WALBytes: s.eng.walSize(), FreeBytes: -1, Low: s.low.Load(), LoginsDropped: s.rec.dropped.Load(), Stopped: s.w.failure()}
	if e, ok := s.eng.(*sqliteEngine); ok {
		if n, err := e.free(); err == nil {
			st.FreeBytes = n
		}
	}
	d, err := s.stats.depth(ctx, s)
	st.Depth = d
	return st, err
}

func (s *Store) countDepth(ctx context.Context) (Depth, error) {
	var d Depth
	err := eachRow(ctx, s.db, `SELECT state, count(*) FROM messages GROUP BY state`, nil, func(r *sql.Rows) error {
		var state string
		var n int64
		err := r.Scan(&state, &n)
		switch relay.MessageState(state) {
		case relay.MessageQueued:
			d.Messages = n
		case relay.MessageHeld:
			d.Held = n
		case relay.MessageQuarantined:
			d.Quarantined = n
		}
		return err
	})
	if err == nil {
		err = s.db.QueryRowContext(ctx, `SELECT count(*) FROM recipients WHERE lease = 0 AND held = 0`).Scan(&d.Waiting)
	}
	if err == nil {
		err = s.db.QueryRowContext(ctx, `SELECT count(*) FROM recipients WHERE lease <> 0`).Scan(&d.Leased)
	}
	if err != nil {
		return d, fmt.Errorf("count queue: %w", s.readError(err))
	}
	return d, nil
}

// statsCache keeps counted figures for a while. One counts, the others wait for
// it.
type statsCache struct {
	mu   sync.Mutex
	last Depth
	at   time.Time
}

func (c *statsCache) depth(ctx context.Context, s *Store) (Depth, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.at.IsZero() && time.Since(c.at) < statsEvery {
		return c.last, nil
	}
	d, err := s.countDepth(ctx)
	if err == nil {
		c.last, c.at = d, time.Now()
	}
	return d, err
}
