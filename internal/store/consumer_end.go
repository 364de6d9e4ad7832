package store

import (
	"context"
	"database/sql"
	"fmt"
)

// EndOfEvents is the cursor behind all events that there are now. It reads none of
// them.
func (s *Store) EndOfEvents(ctx context.Context) (Cursor, error) { return s.endOf(ctx, &eventFamily) }

// EndOfLogins is the same of login records.
func (s *Store) EndOfLogins(ctx context.Context) (Cursor, error) { return s.endOf(ctx, &loginFamily) }

// EndOfChanges is the same of administrative changes.
func (s *Store) EndOfChanges(ctx context.Context) (Cursor, error) {
	last, err := s.Changes(ctx, ChangeFilter{Newest: true, Limit: 1})
	if err != nil || len(last) == 0 {
		return Cursor{}, err
	}
	return Cursor{change: last[0].ID, sum: sumStart(last[0].Hash)}, nil
}

// endOf stands behind the last row of each epoch that goes on, and behind all of
// those that have ended.
func (s *Store) endOf(ctx context.Context, f *family) (Cursor, error) {
	var c Cursor
	epochs, err := s.openEpochs(ctx, &c)
	if err != nil {
		return Cursor{}, fmt.Errorf("end of %s: %w", f.name, s.readError(err))
	}
	for _, e := range epochs {
		if e.ended {
			c.set(e.epoch, finished, e.began)
			continue
		}
		last, err := s.lastPosition(ctx, f, e.epoch)
		if err != nil {
			return Cursor{}, fmt.Errorf("end of %s: %w", f.name, s.readError(err))
		}
		if last > 0 {
			c.set(e.epoch, last&seqMask, e.began)
		}
	}
	return c, nil
}

// lastPosition is the highest position of an epoch; 0: it has none.
func (s *Store) lastPosition(ctx context.Context, f *family, epoch int64) (int64, error) {
	var last int64
	for _, table := range s.tables(*f, 0, endOfTime) {
		var in sql.NullInt64
		err := s.db.QueryRowContext(ctx, `SELECT MAX(`+f.key()+`) FROM `+table+` WHERE `+f.key()+` > $1 AND `+f.key()+` < $2`,
			position(epoch, 0), position(epoch+1, 0)).Scan(&in)
		if err != nil {
			return 0, err
		}
		last = max(last, in.Int64)
	}
	return last, nil
}

// HasConsumer reports whether a consumer was kept once: a cursor at the beginning
// of an empty log is not the same as none.
func (s *Store) HasConsumer(ctx context.Context, name string) (bool, error) {
	var n int
	err := s.db.QueryRowContext(ctx, `SELECT COUNT(*) FROM consumers WHERE name = $1`, name).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("look for consumer %s: %w", name, s.readError(err))
	}
	return n > 0, nil
}
