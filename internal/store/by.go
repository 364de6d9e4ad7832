package store

import (
	"context"
	"database/sql"
)

// goesOn is ErrSessionOver or ErrKeyOver where that has ended in which, or by which, a
// change is made: what a thief has asked for is not done after its owner has shut them
// out, or they would leave a key or a person of theirs behind.
func goesOn(ctx context.Context, tx *sql.Tx, by By) error {
	if !by.Session.IsZero() {
		if n, err := howMany(ctx, tx, `SELECT count(*) FROM sessions WHERE id = $1`, blob(by.Session.ID)); err != nil || n == 0 {
			return over(err, ErrSessionOver)
		}
	}
	if !by.Key.IsZero() {
		if n, err := howMany(ctx, tx, `SELECT count(*) FROM keys WHERE id = $1 AND revoked_at = 0 AND disabled_at = 0`, blob(by.Key.ID)); err != nil || n == 0 {
			return over(err, ErrKeyOver)
		}
	}
	return nil
}

// over is why nothing was found: a fault, or else that it has ended.
func over(err, ended error) error {
	if err != nil {
		return err
	}
	return ended
}
