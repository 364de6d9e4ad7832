package store

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"time"
)

// revision counts the changes to what authentication and submission hold in
// memory: accounts, subusers, keys, pools, domains, DKIM keys.
type revision struct {
	mu      sync.Mutex
	n       int64
	changed chan struct{}
	checked time.Time // monotonic; when n was last known to be the database's
	live    bool      // changes come from this process only
}

func (r *revision) load(ctx context.Context, s *Store) error {
	n, err := readRevision(ctx, s.db)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n, r.changed, r.checked = n, make(chan struct{}), time.Now()
	r.live = s.eng.dialect() == dSQLite
	return nil
}

func readRevision(ctx context.Context, q querier) (int64, error) {
	var n int64
	if err := q.QueryRowContext(ctx, `SELECT CAST(value AS BIGINT) FROM settings WHERE name = 'revision'`).Scan(&n); err != nil {
		return 0, fmt.Errorf("read revision: %w", err)
	}
	return n, nil
}

// revisionChannel is what PostgreSQL notifies about a new revision.
const revisionChannel = "postern_revision"

// bump raises the revision within a transaction and returns it.
func (s *Store) bump(ctx context.Context, tx *sql.Tx) (int64, error) {
	if s.eng.dialect() == dPostgres {
		if _, err := tx.ExecContext(ctx, `SELECT pg_notify($1, '')`, revisionChannel); err != nil {
			return 0, err
		}
	}
	var n int64
	err := tx.QueryRowContext(ctx, `UPDATE settings SET value = CAST(CAST(value AS BIGINT) + 1 AS TEXT) WHERE name = 'revision'
		RETURNING CAST(value AS BIGINT)`).Scan(&n)
	return n, err
}

// seen notes the database's revision as of a reading that began at t.
func (r *revision) seen(n int64, t time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.After(r.checked) {
		r.checked = t
	}
	if n > r.n {
		r.n = n
		close(r.changed)
		r.changed = make(chan struct{})
	}
}

// Revision is the number of the newest known state of accounts, keys and the
// like. It only rises.
func (s *Store) Revision() int64 {
	s.rev.mu.Lock()
	defer s.rev.mu.Unlock()
	return s.rev.n
}

// Changed returns a channel that is closed when the revision rises. Take it
// before the snapshot, so that no change falls between.
func (s *Store) Changed() <-chan struct{} {
	s.rev.mu.Lock()
	defer s.rev.mu.Unlock()
	return s.rev.changed
}

// LastChecked is when the revision was last known to be the database's. On
// SQLite every change goes through this process, so that is now; on PostgreSQL
// it is the last successful poll. Authentication refuses when it is too old.
func (s *Store) LastChecked() time.Time {
	s.rev.mu.Lock()
	defer s.rev.mu.Unlock()
	if s.rev.live {
		return time.Now()
	}
	return s.rev.checked
}
