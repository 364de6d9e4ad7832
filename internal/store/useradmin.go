package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"postern/internal/relay"
)

const (
	renameUser  = `UPDATE users SET first_name = $1, last_name = $2 WHERE id = $3`
	moveUser    = `UPDATE users SET email = $1 WHERE id = $2`
	disableUser = `UPDATE users SET disabled_at = $1, disabled_rank = $2 WHERE id = $3`
	// deleteUser keeps the row for the records, without what proves who somebody is.
	deleteUser = `UPDATE users SET deleted_at = $1, password = '', password_at = 0, totp = $2, totp_step = 0, totp_at = 0 WHERE id = $3`
	// otherOwners are the owners that are left besides one.
	otherOwners = `SELECT count(*) FROM users WHERE account_id = $1 AND subuser_id = $2 AND id <> $3 AND role = 'owner' AND restricted = 0
		AND disabled_at = 0 AND deleted_at = 0`
	unnameUser   = `DELETE FROM user_names WHERE user_id = $1`
	dropSessions = `DELETE FROM sessions WHERE user_id = $1`
	dropPasskeys = `DELETE FROM passkeys WHERE user_id = $1`
	dropCodes    = `DELETE FROM recovery_codes WHERE user_id = $1`
	dropIssued   = `DELETE FROM issuances WHERE user_id = $1`
	// dropUserLinks ends the links of a person that were not used: what they were
	// sent for is no longer so.
	dropUserLinks = `DELETE FROM links WHERE user_id = $1 AND used_at = 0`
)

// runEach runs statements that take a user's id.
func runEach(ctx context.Context, tx *sql.Tx, id relay.UserID, queries ...string) error {
	for _, query := range queries {
		if _, err := tx.ExecContext(ctx, query, blob(id.ID)); err != nil {
			return err
		}
	}
	return nil
}

// SetUserName sets a person's first and last name, and leaves whatever else is
// changed meanwhile: who sets their own name must not give back to themselves what
// somebody takes from them at the same moment. relay.NotFound: there is no such
// person.
func (s *Store) SetUserName(ctx context.Context, by By, id relay.UserID, first, last string) error {
	first, last = text(first), text(last)
	return s.changeUser(ctx, by, id, "user.update", func(ctx context.Context, tx *sql.Tx, old *relay.User) error {
		if old.FirstName == first && old.LastName == last {
			return errUnchanged
		}
		_, err := tx.ExecContext(ctx, renameUser, first, last, blob(id.ID))
		return err
	})
}

// ruling reports whether somebody is an owner who can act as one.
func ruling(u *relay.User) bool {
	return u.Role == relay.RoleOwner && !u.Restricted && u.DisabledAt.IsZero()
}

// oneMoreOwner is relay.Conflict where somebody is the last owner of their account,
// or of their subuser's people. The account is locked.
func oneMoreOwner(ctx context.Context, tx *sql.Tx, u *relay.User) error {
	var n int64
	if err := tx.QueryRowContext(ctx, otherOwners, blob(u.Account.ID), blob(u.Subuser.ID), blob(u.ID.ID)).Scan(&n); err != nil {
		return fmt.Errorf("count owners: %w", err)
	}
	if n == 0 {
		return &relay.Error{Kind: relay.Conflict, Field: "role", Public: "This is the last owner. Make somebody else an owner first."}
	}
	return nil
}

// writeEmail stores a person's new address, and ends the unused links that were sent
// to the one before. The person is locked.
func writeEmail(ctx context.Context, tx *sql.Tx, old *relay.User, email string) error {
	u := *old
	u.Email = email
	if err := prepareUser(&u); err != nil {
		return err
	}
	if u.Email == old.Email {
		return nil
	}
	if _, err := tx.ExecContext(ctx, moveUser, u.Email, blob(u.ID.ID)); err != nil {
		return err
	}
	if err := runEach(ctx, tx, u.ID, unnameUser, dropUserLinks); err != nil {
		return err
	}
	return nameUser(ctx, tx, &u)
}

func endUser(ctx context.Context, tx *sql.Tx, id relay.UserID, at time.Time) error {
	if _, err := tx.ExecContext(ctx, deleteUser, micros(at), noBlob, blob(id.ID)); err != nil {
		return err
	}
	return runEach(ctx, tx, id, unnameUser, dropSessions, dropPasskeys, dropCodes, dropIssued, dropUserLinks)
}

// endPeople ends all people of a subuser that is deleted, and withdraws its
// invitations. It returns the user names. relay.Forbidden: somebody above by has
// switched one of them off.
func (s *Store) endPeople(ctx context.Context, tx *sql.Tx, by By, account relay.AccountID, id relay.SubuserID, at time.Time) (names []string, err error) {
	people, err := list(ctx, tx, scanUser, selectUsers+` WHERE u.account_id = $1 AND u.subuser_id = $2 AND u.deleted_at = 0 ORDER BY u.id`+s.forUpdate(),
		blob(account.ID), blob(id.ID))
	if err != nil {
		return nil, fmt.Errorf("delete people: %w", err)
	}
	for i := range people {
		if err := mayDeleteWithin(by, people[i].DisabledAt, people[i].DisabledRank, people[i].Username); err != nil {
			return nil, err
		}
		if err := endUser(ctx, tx, people[i].ID, at); err != nil {
			return nil, fmt.Errorf("delete people: %w", err)
		}
		names = append(names, people[i].Username)
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM links WHERE account_id = $1 AND subuser_id = $2 AND used_at = 0`, blob(account.ID), blob(id.ID)); err != nil {
		return nil, fmt.Errorf("delete links: %w", err)
	}
	return names, nil
}
