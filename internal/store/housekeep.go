package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"postern/internal/relay"
)

const (
	spaceEvery = time.Second   // free space is looked at
	sweepEvery = time.Minute   // what was left behind is removed
	daysAhead  = 2             // day tables that exist before their day
	pendingAge = 6 * time.Hour // longer than any transaction may take
	sweepPage  = 50            // bodies per commit
)

var (
	stmtSweepBody    = newStmt(`DELETE FROM bodies WHERE message_id = $1 AND EXISTS (SELECT 1 FROM pending_bodies WHERE message_id = $2)`)
	stmtSweepPending = newStmt(`DELETE FROM pending_bodies WHERE message_id = $1`)
	stmtSweepKept    = newStmt(`DELETE FROM kept_bodies WHERE message_id = $1`)
	stmtSweepChunks  = newStmt(`DELETE FROM bodies WHERE message_id = $1 AND NOT EXISTS (SELECT 1 FROM messages WHERE id = $2)`)
)

const (
	selectStalePending = `SELECT message_id FROM pending_bodies WHERE epoch <> $1 OR created_at < $2 LIMIT $3`
	// Another node's pending bodies are its own until it is dead.
	selectStalePendingPg = `SELECT message_id FROM pending_bodies WHERE epoch <> $1 AND epoch NOT IN (SELECT epoch FROM nodes WHERE ended_at = 0)
		OR created_at < $2 LIMIT $3`
	selectStaleKept = `SELECT message_id FROM kept_bodies WHERE until < $1 LIMIT $2`
)

// housekeep watches free space, removes bodies that were never accepted or whose
// time is over, makes day tables ahead and drops those past retention.
func (s *Store) housekeep(ctx context.Context) error {
	space := time.NewTicker(spaceEvery)
	defer space.Stop()
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			if errors.Is(err, ErrStopped) {
				return err
			}
			s.log.Warn("sweep", "err", err)
		}
		for again := false; !again; {
			select {
			case <-ctx.Done():
				return nil
			case <-space.C:
				if err := s.checkSpace(); err != nil {
					s.log.Warn("free space is unknown", "err", err)
				}
			case <-sweep.C:
				again = true
			}
		}
	}
}

// checkSpace compares the free space with the watermark.
func (s *Store) checkSpace() error {
	free := s.cfg.freeSpace
	if e, ok := s.eng.(*sqliteEngine); ok && free == nil {
		free = e.free
	}
	if free == nil || s.cfg.MinFree < 0 {
		return nil
	}
	n, err := free()
	if err != nil {
		return fmt.Errorf("free space: %w", err)
	}
	// A little more is needed to go on than made it stop, so that it does not flap.
	was := s.low.Load()
	now := n < s.cfg.MinFree || was && n < s.cfg.MinFree+s.cfg.MinFree/8
	if s.low.Store(now); was != now {
		s.log.Warn("free space", "low", now, "free_bytes", n, "min_free_bytes", s.cfg.MinFree)
	}
	return nil
}

// Full reports whether nothing is accepted for lack of space.
func (s *Store) Full() bool { return s.low.Load() }

func (s *Store) sweep(ctx context.Context) error {
	if err := s.sweepPending(ctx); err != nil {
		return err
	}
	if err := s.sweepKept(ctx); err != nil {
		return err
	}
	if err := s.sweepSeen(ctx); err != nil {
		return err
	}
	now := s.now()
	for ahead := range int64(daysAhead + 1) {
		day := dayOf(now + ahead*microsPerDay)
		for _, f := range families {
			if _, err := s.days.make(s, f, day); err != nil {
				return err
			}
		}
	}
	if !s.clock.steady(s.cfg.Now()) {
		s.log.Warn("the clock has jumped; nothing is dropped for its age until the next start")
		return nil
	}
	for _, part := range []func(context.Context, time.Time) error{s.sweepUsage, s.sweepTokens, s.sweepAnswers, s.sweepReports} {
		if err := part(ctx, s.cfg.Now()); err != nil {
			return err
		}
	}
	if err := s.carryHolds(ctx, now-s.cfg.KeepEvents.Microseconds()); err != nil {
		return err
	}
	for _, f := range families {
		keep := s.cfg.KeepEvents
		if f == &loginFamily || f == &loginHourFamily {
			keep = s.cfg.KeepLogins
		}
		if err := s.days.drop(ctx, s, *f, now-keep.Microseconds()); err != nil {
			return err
		}
	}
	return nil
}

// maxDrift is how far the wall clock may move away from the monotonic one. A
// clock that jumps ten years ahead must not make thirty days of events vanish.
const maxDrift = time.Hour

// clockCheck remembers what the wall clock said when the store was opened.
type clockCheck struct {
	mu   sync.Mutex
	wall time.Time // without its monotonic part
	mono time.Time
}

func (c *clockCheck) set(wall time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.mono = wall.Round(0), time.Now()
}

// steady reports whether the wall clock went on as the monotonic one did.
func (c *clockCheck) steady(wall time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return wall.Round(0).Sub(c.wall.Add(time.Since(c.mono))).Abs() < maxDrift
}

// sweepPending removes chunks that were received and never accepted. A body that
// is adopted in the same moment has no pending row any more, so it stays.
func (s *Store) sweepPending(ctx context.Context) error {
	query := selectStalePending
	if s.eng.dialect() == dPostgres {
		query = selectStalePendingPg
	}
	old := s.cfg.Now().Add(-pendingAge).UnixMicro()
	return s.sweepIDs(ctx, query, []any{s.epoch, old, int64(sweepPage)}, "sweep pending bodies", func(o *op, id []byte) {
		o.add(stmtSweepBody, id, id)
		o.add(stmtSweepPending, id)
	})
}

func (s *Store) sweepKept(ctx context.Context) error {
	return s.sweepIDs(ctx, selectStaleKept, []any{s.now(), int64(sweepPage)}, "sweep kept bodies", func(o *op, id []byte) {
		o.add(stmtSweepKept, id)
		o.add(stmtSweepChunks, id, id)
	})
}

func (s *Store) sweepIDs(ctx context.Context, query string, args []any, name string, add func(*op, []byte)) error {
	for {
		ids, err := column[[]byte](ctx, s.db, query, args...)
		if err != nil {
			return fmt.Errorf("%s: %w", name, s.readError(err))
		}
		if len(ids) == 0 {
			return nil
		}
		o := newOp(name)
		for _, id := range ids {
			o.lock(relay.MessageID{ID: idOf(id)})
			add(o, id)
		}
		if err := s.w.do(ctx, o); err != nil {
			return err
		}
		if len(ids) < sweepPage {
			return nil
		}
	}
}
