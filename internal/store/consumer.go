package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"postern/internal/relay"
)

// maxConsumerName bounds a consumer's name, in octets.
const maxConsumerName = 64

const (
	selectConsumer = `SELECT cursor FROM consumers WHERE name = $1`
	// Of all, with who runs them.
	selectConsumers     = `SELECT name, cursor, updated_at, 0 FROM consumers ORDER BY name`
	selectHeldConsumers = `SELECT name, cursor, updated_at,
		CASE WHEN EXISTS (SELECT 1 FROM nodes WHERE epoch = held_by AND ended_at = 0) THEN held_by ELSE 0 END FROM consumers ORDER BY name`
	addConsumer = `INSERT INTO consumers (name, cursor) VALUES ($1, '') ON CONFLICT (name) DO NOTHING`
	// Another node's lease ends by its time, or with the node. (On SQLite there is no
	// other process, and no lease.)
	leaseConsumer = `UPDATE consumers SET held_by = $1, held_until = ` + pgNow + ` + $2 WHERE name = $3 AND (held_by = $4 OR held_by = 0
		OR held_until < ` + pgNow + ` OR NOT EXISTS (SELECT 1 FROM nodes WHERE epoch = held_by AND ended_at = 0))`
	freeConsumer = `UPDATE consumers SET held_by = 0, held_until = 0 WHERE name = $1 AND held_by = $2`
)

var (
	stmtConsumerAdd = newStmt(addConsumer)
	// stmtConsumerMove moves a consumer on from where its reading began: an effect
	// that commits with it counts once, whatever was tried before.
	stmtConsumerMove = newStmt(`UPDATE consumers SET cursor = $1, updated_at = $2 WHERE name = $3 AND cursor = $4`)
	// stmtConsumerSet and stmtConsumerPass are refused while another living node has the
	// lease.
	stmtConsumerSet = newStmt(`UPDATE consumers SET cursor = $1, updated_at = $2 WHERE name = $3`,
		`UPDATE consumers SET cursor = $1, updated_at = $2 WHERE name = $3 AND (held_by IN (0, $4) OR held_until < `+pgNow+`
		OR NOT EXISTS (SELECT 1 FROM nodes WHERE epoch = held_by AND ended_at = 0))`)
	stmtConsumerPass = newStmt(`UPDATE consumers SET cursor = $1 WHERE name = $2`,
		`UPDATE consumers SET cursor = $1 WHERE name = $2 AND (held_by IN (0, $3) OR held_until < `+pgNow+`
		OR NOT EXISTS (SELECT 1 FROM nodes WHERE epoch = held_by AND ended_at = 0))`)
)

// Consumer returns how far a consumer has come. One that was never heard of is at
// the beginning.
func (s *Store) Consumer(ctx context.Context, name string) (Cursor, error) {
	var text string
	err := s.db.QueryRowContext(ctx, selectConsumer, name).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return Cursor{}, nil
	}
	if err != nil {
		return Cursor{}, fmt.Errorf("read consumer %s: %w", name, s.readError(err))
	}
	c, err := ParseCursor(text)
	if err != nil {
		return Cursor{}, fmt.Errorf("consumer %s: %w: %w", name, ErrDamaged, err)
	}
	return c, nil
}

// Consumer is a reader of a log, as it is kept.
type Consumer struct {
	Name    string
	Cursor  Cursor    // how far it has come
	MovedAt time.Time // when it last took something, or began; zero: never
	// HeldBy is the epoch of the node that runs it, 0 if none that lives does. A lease
	// that has run out counts: who waits for a target renews it late, and still runs it
	// while nobody else has taken it. (On SQLite always 0.)
	HeldBy int64
}

// Consumers returns all that are kept, by name.
func (s *Store) Consumers(ctx context.Context) ([]Consumer, error) {
	all, err := s.listConsumers(ctx, s.db)
	return read(s, "consumers", all, err)
}

func (s *Store) listConsumers(ctx context.Context, q querier) ([]Consumer, error) {
	if s.eng.dialect() == dPostgres {
		return list(ctx, q, scanConsumer, selectHeldConsumers)
	}
	return list(ctx, q, scanConsumer, selectConsumers)
}

func scanConsumer(r scanner) (Consumer, error) {
	var c Consumer
	var cursor string
	var moved int64
	if err := r.Scan(&c.Name, &cursor, &moved, &c.HeldBy); err != nil {
		return c, err
	}
	c.MovedAt = timeOf(moved)
	var err error
	if c.Cursor, err = ParseCursor(cursor); err != nil {
		return c, fmt.Errorf("consumer %s: %w: %w", c.Name, ErrDamaged, err)
	}
	return c, nil
}

// SetConsumer keeps how far a consumer has come whose effect is elsewhere: call it
// after the effect, so that a crash repeats some and loses nothing. ErrLeaseLost:
// another node runs the consumer. It waits behind mail, and for its commit.
func (s *Store) SetConsumer(ctx context.Context, name string, c Cursor) error {
	return s.keepConsumer(ctx, name, stmtConsumerSet, c.String(), s.now(), name)
}

// PassConsumer is SetConsumer for a consumer that took nothing: there is nothing left
// of what lay before the cursor. When it last took something stays as it was.
func (s *Store) PassConsumer(ctx context.Context, name string, c Cursor) error {
	return s.keepConsumer(ctx, name, stmtConsumerPass, c.String(), name)
}

func (s *Store) keepConsumer(ctx context.Context, name string, how *stmt, args ...any) error {
	if err := checkConsumerName(name); err != nil {
		return err
	}
	o := newOp("set consumer")
	o.add(stmtConsumerAdd, name)
	if s.eng.dialect() == dPostgres {
		args = append(args, s.epoch)
	}
	o.must(1, how, args...)
	o.miss = ErrLeaseLost
	return s.w.doLow(ctx, o)
}

// moveConsumer puts into an operation that a consumer moves on from where the
// reading that gave c began. If it is elsewhere, nothing of the operation is
// stored, and it ends with ErrLeaseLost.
func (s *Store) moveConsumer(o *op, name string, c Cursor) {
	o.add(stmtConsumerAdd, name)
	o.must(1, stmtConsumerMove, c.String(), s.now(), name, c.Start().String())
	o.calls[len(o.calls)-1].miss = ErrLeaseLost
}

// LeaseConsumer makes this node the one that runs a consumer, for ttl, or goes on
// with it; false: another node does. The lease of a node that has ended is free. It
// keeps nodes out of each other's way; that an effect counts once does not depend
// on it.
func (s *Store) LeaseConsumer(ctx context.Context, name string, ttl time.Duration) (bool, error) {
	if err := checkConsumerName(name); err != nil {
		return false, err
	}
	if s.eng.dialect() == dSQLite {
		return true, nil
	}
	var n int64
	err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, addConsumer, name); err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, leaseConsumer, s.epoch, ttl.Microseconds(), name, s.epoch)
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	if err != nil {
		return false, fmt.Errorf("lease consumer %s: %w", name, err)
	}
	return n == 1, nil
}

// FreeConsumer gives a lease back, so that another node goes on at once.
func (s *Store) FreeConsumer(ctx context.Context, name string) error {
	if s.eng.dialect() == dSQLite {
		return nil
	}
	err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, freeConsumer, name, s.epoch)
		return err
	})
	if err != nil {
		return fmt.Errorf("free consumer %s: %w", name, err)
	}
	return nil
}

func checkConsumerName(name string) error {
	if name == "" || len(name) > maxConsumerName {
		return relay.E(relay.Invalid, "A consumer has a name of at most 64 octets.")
	}
	return nil
}

// news tells those who wait that events have committed.
type news struct {
	mu sync.Mutex
	ch chan struct{}
}

// wait returns a channel that is closed by the next tell.
func (n *news) wait() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch == nil {
		n.ch = make(chan struct{})
	}
	return n.ch
}

func (n *news) tell() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch != nil {
		close(n.ch)
		n.ch = nil
	}
}

// Committed returns a channel that is closed when this node has committed events.
// Take it before reading, so that none falls between. What other nodes commit is
// found by reading now and then.
func (s *Store) Committed() <-chan struct{} { return s.w.news.wait() }
