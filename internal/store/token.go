package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"time"

	"postern/internal/relay"
)

const putRevoked = `INSERT INTO revoked_tokens (id, account_id, until, rev) VALUES ($1, $2, $3, $4)
	ON CONFLICT (id) DO UPDATE SET rev = excluded.rev,
		until = CASE WHEN revoked_tokens.until > excluded.until THEN revoked_tokens.until ELSE excluded.until END
	WHERE revoked_tokens.account_id = excluded.account_id`

var stmtTokensGone = newStmt(`DELETE FROM revoked_tokens WHERE until < $1`)

// tokenGrace is how long a revocation is kept after its token has ended anyway,
// for nodes whose clocks differ.
const tokenGrace = time.Hour

// RevokeToken ends an access token before its time; until is when it would have
// ended by itself. Revoking it again is no error. relay.NotFound: there is no
// such account, or the token is another's.
func (s *Store) RevokeToken(ctx context.Context, by By, account relay.AccountID, id relay.TokenID, until time.Time) error {
	return s.change(ctx, by, func(ctx context.Context, tx *sql.Tx, rev int64) (note, error) {
		res, err := tx.ExecContext(ctx, putRevoked, blob(id.ID), blob(account.ID), micros(until), rev)
		if err != nil {
			return note{}, err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return note{}, cmp.Or(err, notFound("token"))
		}
		return note{account: account, action: "token.revoke", subject: "token " + id.String(),
			after: map[string]any{"id": id, "until": until.UTC()}}, nil
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
