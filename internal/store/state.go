package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

const (
	selectStored = `SELECT data FROM states WHERE name = $1`
	// maxState bounds what one service may keep.
	maxState = 16 << 20
)

var stmtStatePut = newStmt(`INSERT INTO states (name, data, updated_at) VALUES ($1, $2, $3)
	ON CONFLICT (name) DO UPDATE SET data = excluded.data, updated_at = excluded.updated_at`)

// PutState keeps what a service wants to find again after a restart, in the
// place of what it kept under that name before. It waits behind mail, and for
// its commit. At most 16 MiB.
func (s *Store) PutState(ctx context.Context, name string, data []byte) error {
	if len(data) > maxState {
		return fmt.Errorf("put state %s: %d octets, at most %d", name, len(data), maxState)
	}
	o := newOp("put state")
	o.grows = true
	o.bytes += len(data)
	o.add(stmtStatePut, text(name), filled(data), s.now())
	return s.w.doLow(ctx, o)
}

// State reads what PutState kept; nil if there is nothing.
func (s *Store) State(ctx context.Context, name string) ([]byte, error) {
	var data []byte
	err := s.db.QueryRowContext(ctx, selectStored, text(name)).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read state %s: %w", name, s.readError(err))
	}
	return filled(data), nil
}
