package store

import (
	"context"
	"database/sql"
	"time"

	"postern/internal/relay"
)

const (
	subuserColumns = `id, account_id, name, email, default_pool, created_at, disabled_at`
	selectSubusers = `SELECT ` + subuserColumns + ` FROM subusers`
	insertSubuser  = `INSERT INTO subusers (` + subuserColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7)`
	updateSubuser  = `UPDATE subusers SET name = $1, email = $2, default_pool = $3, disabled_at = $4 WHERE id = $5`
)

func scanSubuser(r scanner) (relay.Subuser, error) {
	var u relay.Subuser
	var id, acct, pool []byte
	var created, disabled int64
	err := r.Scan(&id, &acct, &u.Name, &u.Email, &pool, &created, &disabled)
	u.ID.ID, u.Account.ID, u.DefaultPool.ID = idOf(id), idOf(acct), idOf(pool)
	u.CreatedAt, u.DisabledAt = timeOf(created), timeOf(disabled)
	return u, err
}

// CreateSubuser adds a subuser. relay.Conflict: the id or name is taken;
// relay.NotFound: there is no such account.
func (s *Store) CreateSubuser(ctx context.Context, by By, u relay.Subuser) error {
	return s.change(ctx, by, func(tx *sql.Tx) (note, error) {
		_, err := tx.ExecContext(ctx, insertSubuser, blob(u.ID.ID), blob(u.Account.ID), text(u.Name), text(u.Email),
			blob(u.DefaultPool.ID), micros(u.CreatedAt), micros(u.DisabledAt))
		return note{account: u.Account, action: "subuser.create", subject: "subuser " + u.Name, after: u}, err
	})
}

// Subuser returns one subuser, or relay.NotFound.
func (s *Store) Subuser(ctx context.Context, id relay.SubuserID) (relay.Subuser, error) {
	v, err := one(ctx, s.db, "subuser", scanSubuser, selectSubusers+` WHERE id = $1`, blob(id.ID))
	return read(s, "subuser", v, err)
}

// Subusers lists an account's subusers by name; the zero account: all.
func (s *Store) Subusers(ctx context.Context, account relay.AccountID) ([]relay.Subuser, error) {
	w := ofAccount(account)
	v, err := list(ctx, s.db, scanSubuser, selectSubusers+w.String()+` ORDER BY name`, w.args...)
	return read(s, "subusers", v, err)
}

// ofAccount restricts to an account, if one is named.
func ofAccount(account relay.AccountID) *where {
	w := &where{}
	if !account.IsZero() {
		w.and("account_id = ?", blob(account.ID))
	}
	return w
}

// UpdateSubuser replaces what may change: all but id, Account and CreatedAt.
func (s *Store) UpdateSubuser(ctx context.Context, by By, u relay.Subuser) error {
	return s.changeSubuser(ctx, by, u.ID, "subuser.update", func(old relay.Subuser) relay.Subuser {
		u.Account, u.CreatedAt = old.Account, old.CreatedAt
		return u
	})
}

// SetSubuserDisabled switches a subuser off at a time, or on with the zero time.
func (s *Store) SetSubuserDisabled(ctx context.Context, by By, id relay.SubuserID, at time.Time) error {
	return s.changeSubuser(ctx, by, id, switched("subuser", at), func(u relay.Subuser) relay.Subuser {
		u.DisabledAt = at
		return u
	})
}

func (s *Store) changeSubuser(ctx context.Context, by By, id relay.SubuserID, action string, edit func(relay.Subuser) relay.Subuser) error {
	return s.change(ctx, by, func(tx *sql.Tx) (note, error) {
		old, err := one(ctx, tx, "subuser", scanSubuser, selectSubusers+` WHERE id = $1`+s.forUpdate(), blob(id.ID))
		if err != nil {
			return note{}, err
		}
		u := edit(old)
		_, err = tx.ExecContext(ctx, updateSubuser, text(u.Name), text(u.Email), blob(u.DefaultPool.ID), micros(u.DisabledAt), blob(id.ID))
		return note{account: old.Account, action: action, subject: "subuser " + u.Name, before: old, after: u}, err
	})
}
