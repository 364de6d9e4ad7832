package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"postern/internal/relay"
)

const putRevoked = `INSERT INTO revoked_tokens (id, account_id, until, rev) VALUES ($1, $2, $3, $4)
	ON CONFLICT (id) DO UPDATE SET until = excluded.until, rev = excluded.rev`

var stmtTokensGone = newStmt(`DELETE FROM revoked_tokens WHERE until < $1`)

// tokenGrace is how long a revocation is kept after its token has ended anyway,
// for nodes whose clocks differ.
const tokenGrace = time.Hour

// RevokeToken ends an access token before its time; until is when it would have
// ended by itself. Revoking it again is no error. relay.NotFound: there is no
// such account.
func (s *Store) RevokeToken(ctx context.Context, by By, account relay.AccountID, id relay.TokenID, until time.Time) error {
	return s.change(ctx, by, func(tx *sql.Tx, rev int64) (note, error) {
		_, err := tx.ExecContext(ctx, putRevoked, blob(id.ID), blob(account.ID), micros(until), rev)
		return note{account: account, action: "token.revoke", subject: "token " + id.String(),
			after: map[string]any{"id": id, "until": until.UTC()}}, err
	})
}

// sweepTokens forgets revocations of tokens that have ended by themselves.
func (s *Store) sweepTokens(ctx context.Context, now time.Time) error {
	before := now.Add(-tokenGrace).UnixMicro()
	var n int64
	if err := s.db.QueryRowContext(ctx, `SELECT count(*) FROM revoked_tokens WHERE until < $1`, before).Scan(&n); err != nil {
		return fmt.Errorf("sweep revoked tokens: %w", s.readError(err))
	}
	if n == 0 {
		return nil
	}
	o := newOp("sweep revoked tokens")
	o.add(stmtTokensGone, before)
	return s.w.doLow(ctx, o)
}
