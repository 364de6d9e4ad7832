package store

import (
	"context"
	"database/sql"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"postern/internal/relay"
)

// holdRevision locks what each change locks first, until release.
func holdRevision(t *testing.T, s *Store) (release func()) {
	t.Helper()
	tx, err := s.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.bump(context.Background(), tx); err != nil {
		t.Fatal(err)
	}
	return func() { _ = tx.Rollback() }
}

// A change that others keep waiting ends in time, with nothing stored and an answer
// that says to try again; and at once where whoever asked has gone. Work that nobody
// waits for goes on waiting.
func TestAChangeDoesNotWaitForGood(t *testing.T) {
	t.Parallel()
	s, _ := openTest(t, Config{URL: sharedPg(t).Database(t), LeaseTime: time.Hour})
	w := newWorld(t, s)
	changes := rows(t, s, "changes")
	disable := func(ctx context.Context) error {
		return s.SetAccountDisabled(ctx, testBy, w.account.ID, time.Now())
	}
	release := holdRevision(t, s)
	s.eng.(*pgEngine).wait = 300 * time.Millisecond
	if err := disable(t.Context()); relay.KindOf(err) != relay.Unavailable || errors.Is(err, ErrUnknown) {
		t.Errorf("a change that had to wait: %v", err)
	}
	s.eng.(*pgEngine).wait = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() { gone <- disable(ctx) }()
	waitBlocked(t, s)
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnknown) {
		t.Errorf("a change for nobody: %v", err)
	}
	s.eng.(*pgEngine).wait = 0
	done := make(chan error, 1)
	go func() { done <- disable(patiently(t.Context())) }()
	waitBlocked(t, s)
	if n := rows(t, s, "changes"); n != changes {
		t.Errorf("%d changes are recorded that nobody was told of", n-changes)
	}
	release()
	if err := <-done; err != nil {
		t.Errorf("work that is patient: %v", err)
	}
}

// All connections are in use: a change does not wait for one for good either.
func TestAChangeDoesNotWaitForAConnection(t *testing.T) {
	t.Parallel()
	s, _ := openTest(t, Config{URL: sharedPg(t).Database(t), LeaseTime: time.Hour})
	w := newWorld(t, s)
	for range pgPool {
		c, err := s.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
	}
	s.eng.(*pgEngine).wait = 50 * time.Millisecond
	if err := s.SetAccountDisabled(t.Context(), testBy, w.account.ID, time.Now()); relay.KindOf(err) != relay.Unavailable {
		t.Errorf("without a connection: %v", err)
	}
}

// Conflicts are tried again for as long as somebody waits, and not longer.
func TestTriesAreBounded(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"55P03", "40P01", "40001"} {
		var tries, most atomic.Int64
		s, _ := openTest(t, Config{URL: sharedPg(t).Database(t), LeaseTime: time.Hour, fault: func(point string) error {
			if point == "transact" && most.Load() > 0 {
				if tries.Add(1) <= most.Load() {
					return &pgconn.PgError{Code: code}
				}
			}
			return nil
		}})
		do := func(ctx context.Context) error {
			tries.Store(0)
			return s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error { return nil })
		}
		most.Store(3)
		if err := do(t.Context()); err != nil || tries.Load() != 4 {
			t.Errorf("%s: %d tries, %v", code, tries.Load(), err)
		}
		most.Store(1000)
		if err := do(patiently(t.Context())); relay.KindOf(err) != relay.Unavailable || tries.Load() != maxBusy+1 {
			t.Errorf("%s, patient: %d tries, %v", code, tries.Load(), err)
		}
		s.eng.(*pgEngine).wait = 100 * time.Millisecond
		if err := do(t.Context()); relay.KindOf(err) != relay.Unavailable || tries.Load() > maxBusy/2 {
			t.Errorf("%s, a tenth of a second: %d tries, %v", code, tries.Load(), err)
		}
	}
}
