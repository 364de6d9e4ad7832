package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"postern/internal/relay"
)

const (
	updateUser = `UPDATE users SET username = $1, email = $2, first_name = $3, last_name = $4, role = $5, scopes = $6, restricted = $7, subusers = $8
		WHERE id = $9`
	renameUser  = `UPDATE users SET first_name = $1, last_name = $2 WHERE id = $3`
	disableUser = `UPDATE users SET disabled_at = $1 WHERE id = $2`
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

// UpdateUser replaces a person's names, e-mail address, role, scopes and
// restriction, and nothing else. With another role, other scopes or another
// restriction the person's sessions end; with another address the unused links
// that were sent to the one before. relay.Conflict: Field "username" or "email" if
// another person has it, "role" if it takes away the last owner; relay.Invalid as
// for CreateUser; relay.NotFound: there is no such person, or no such subuser.
func (s *Store) UpdateUser(ctx context.Context, by By, u relay.User) error {
	return s.changeRank(ctx, by, u.ID, "user.update", func(tx *sql.Tx, old *relay.User) error {
		u := u // this may run again
		u.Account, u.Subuser = old.Account, old.Subuser
		if err := prepareUser(&u); err != nil {
			return err
		}
		for _, sub := range u.Subusers {
			if slices.Contains(old.Subusers, sub) {
				continue // deleted since, perhaps: there is nothing to see then
			}
			if err := s.liveSubuserOf(ctx, tx, u.Account, sub); err != nil {
				return err
			}
		}
		if ruling(old) && !ruling(&relay.User{Role: u.Role, Restricted: u.Restricted}) {
			if err := oneMoreOwner(ctx, tx, old); err != nil {
				return err
			}
		}
		return writeUser(ctx, tx, old, &u)
	})
}

// SetUserName sets a person's first and last name, and leaves whatever else is
// changed meanwhile: who sets their own name must not give back to themselves what
// somebody takes from them at the same moment. relay.NotFound: there is no such
// person.
func (s *Store) SetUserName(ctx context.Context, by By, id relay.UserID, first, last string) error {
	first, last = text(first), text(last)
	return s.changeUser(ctx, by, id, "user.update", func(tx *sql.Tx, old *relay.User) error {
		if old.FirstName == first && old.LastName == last {
			return errUnchanged
		}
		_, err := tx.ExecContext(ctx, renameUser, first, last, blob(id.ID))
		return err
	})
}

// changeRank is changeUser for what may take an owner away: the account is locked
// first, so that of two owners who take each other's role one is too late.
func (s *Store) changeRank(ctx context.Context, by By, id relay.UserID, action string, fn func(tx *sql.Tx, old *relay.User) error) error {
	return s.changePerson(ctx, by, func(tx *sql.Tx) (note, error) {
		u, err := one(ctx, tx, "person", scanUser, selectUsers+` WHERE u.id = $1 AND u.deleted_at = 0`, blob(id.ID))
		if err != nil {
			return note{}, err
		}
		if err := s.holdAccount(ctx, tx, u.Account); err != nil {
			return note{}, err
		}
		if u, err = s.liveUser(ctx, tx, id); err != nil {
			return note{}, err
		}
		return s.changeHeldUser(ctx, tx, u, action, fn)
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

// writeUser stores what UpdateUser may change, and ends what it makes invalid.
func writeUser(ctx context.Context, tx *sql.Tx, old, u *relay.User) error {
	scopes, scopesErr := packJSON(u.Scopes, len(u.Scopes) == 0)
	subusers, subusersErr := packJSON(u.Subusers, len(u.Subusers) == 0)
	if err := errors.Join(scopesErr, subusersErr); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, updateUser, u.Username, u.Email, u.FirstName, u.LastName, string(u.Role), text(scopes), flag(u.Restricted), subusers,
		blob(u.ID.ID)); err != nil {
		return err
	}
	if lowerName(u.Username) != lowerName(old.Username) || lowerName(u.Email) != lowerName(old.Email) {
		if err := runEach(ctx, tx, u.ID, unnameUser); err != nil {
			return err
		}
		if err := nameUser(ctx, tx, u); err != nil {
			return err
		}
	}
	if u.Email != old.Email {
		if err := runEach(ctx, tx, u.ID, dropUserLinks); err != nil {
			return err
		}
	}
	if u.Role != old.Role || !slices.Equal(u.Scopes, old.Scopes) || u.Restricted != old.Restricted || !slices.Equal(u.Subusers, old.Subusers) {
		return runEach(ctx, tx, u.ID, dropSessions)
	}
	return nil
}

// SetUserDisabled switches a person off at a time, or on with the zero time. All
// sessions and unused links of one who is switched off end. relay.Conflict (Field
// "role"): the last owner stays; relay.NotFound: there is no such person.
func (s *Store) SetUserDisabled(ctx context.Context, by By, id relay.UserID, at time.Time) error {
	return s.changeRank(ctx, by, id, switched("user", at), func(tx *sql.Tx, old *relay.User) error {
		if old.DisabledAt.IsZero() == at.IsZero() {
			return errUnchanged
		}
		if !at.IsZero() && ruling(old) {
			if err := oneMoreOwner(ctx, tx, old); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, disableUser, micros(at), blob(id.ID)); err != nil {
			return err
		}
		if at.IsZero() {
			return nil
		}
		return runEach(ctx, tx, id, dropSessions, dropUserLinks)
	})
}

// DeleteUser ends a person for good: password, second factors, sessions, links and
// single sign-on go, user name and e-mail address are free again. The row stays,
// so that records keep their name. relay.Conflict (Field "role"): the last owner
// stays; relay.NotFound: there is none, or they were deleted before.
func (s *Store) DeleteUser(ctx context.Context, by By, id relay.UserID, at time.Time) error {
	return s.changeRank(ctx, by, id, "user.delete", func(tx *sql.Tx, old *relay.User) error {
		if ruling(old) {
			if err := oneMoreOwner(ctx, tx, old); err != nil {
				return err
			}
		}
		return endUser(ctx, tx, id, at)
	})
}

func endUser(ctx context.Context, tx *sql.Tx, id relay.UserID, at time.Time) error {
	if _, err := tx.ExecContext(ctx, deleteUser, micros(at), noBlob, blob(id.ID)); err != nil {
		return err
	}
	return runEach(ctx, tx, id, unnameUser, dropSessions, dropPasskeys, dropCodes, dropIssued, dropUserLinks)
}

// endPeople ends all people of a subuser that is deleted, and withdraws its
// invitations. It returns the user names.
func (s *Store) endPeople(ctx context.Context, tx *sql.Tx, account relay.AccountID, id relay.SubuserID, at time.Time) (names []string, err error) {
	people, err := list(ctx, tx, scanUser, selectUsers+` WHERE u.account_id = $1 AND u.subuser_id = $2 AND u.deleted_at = 0 ORDER BY u.id`+s.forUpdate(),
		blob(account.ID), blob(id.ID))
	if err != nil {
		return nil, fmt.Errorf("delete people: %w", err)
	}
	for i := range people {
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
