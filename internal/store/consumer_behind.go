package store

import (
	"context"
	"fmt"
	"time"
)

// Behind is what a consumer has not read.
type Behind struct {
	Records int64     // those in the log; as of epochs' last sequences
	Oldest  time.Time // when the first of them happened; zero: there is none
}

// EventsBehind tells how many events a cursor has before it, and since when. What
// retention dropped of an epoch's middle counts as if it were there.
func (s *Store) EventsBehind(ctx context.Context, c Cursor) (Behind, error) {
	first, _, err := s.ReadEvents(ctx, c, 1)
	if err != nil || len(first) == 0 {
		return Behind{}, err
	}
	return s.behind(ctx, &eventFamily, c, first[0].At)
}

// LoginsBehind is EventsBehind for login records. None are behind while the first
// is not older than settled; when there are some, those that are newer count too.
func (s *Store) LoginsBehind(ctx context.Context, c Cursor, settled time.Time) (Behind, error) {
	first, _, err := s.ReadLogins(ctx, c, settled, 1)
	if err != nil || len(first) == 0 {
		return Behind{}, err
	}
	return s.behind(ctx, &loginFamily, c, first[0].At)
}

// ChangesBehind is EventsBehind for administrative changes.
func (s *Store) ChangesBehind(ctx context.Context, c Cursor) (Behind, error) {
	first, next, err := s.ReadChanges(ctx, c, 1)
	if err != nil || len(first) == 0 {
		return Behind{}, err
	}
	var last int64
	if err := s.db.QueryRowContext(ctx, selectLastChange).Scan(&last); err != nil {
		return Behind{}, fmt.Errorf("read changes: %w", s.readError(err))
	}
	return Behind{Records: 1 + max(0, last-next.change), Oldest: first[0].At}, nil
}

func (s *Store) behind(ctx context.Context, f *family, c Cursor, oldest time.Time) (Behind, error) {
	b := Behind{Oldest: oldest}
	next := c.next()
	epochs, err := s.openEpochs(ctx, &next)
	if err != nil {
		return Behind{}, fmt.Errorf("read %s: %w", f.name, s.readError(err))
	}
	for _, e := range epochs {
		last, err := s.lastPosition(ctx, f, e.epoch)
		if err != nil {
			return Behind{}, fmt.Errorf("read %s: %w", f.name, s.readError(err))
		}
		b.Records += max(0, last-position(e.epoch, next.at(e.epoch)))
	}
	return b, nil
}
