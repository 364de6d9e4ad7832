package store

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"postern/internal/relay"
)

// Grant is what a person may do, and whom they see of their account.
type Grant struct {
	Role       relay.Role
	Scopes     []string // of relay.RoleCustom, sorted
	Restricted bool
	Subusers   []relay.SubuserID // with Restricted
}

// GrantOf is the grant that somebody had when they were read.
func GrantOf(u *relay.User) Grant { return Grant{u.Role, u.Scopes, u.Restricted, u.Subusers} }

// Equal reports whether two grants come to the same. Scopes are compared in the
// order in which the store keeps them.
func (g Grant) Equal(h Grant) bool {
	return g.Role == h.Role && slices.Equal(g.Scopes, h.Scopes) && g.Restricted == h.Restricted && slices.Equal(g.Subusers, h.Subusers)
}

const setGrant = `UPDATE users SET role = $1, scopes = $2, restricted = $3, subusers = $4 WHERE id = $5`

// errRegranted: whoever decided has looked at something that is no more.
var errRegranted = meanwhile("What this person may do")

// still checks that a person has the grant that a decision was made on, if one is
// named. The person is locked.
func still(u *relay.User, seen []Grant) error {
	for _, g := range seen {
		if !g.Equal(GrantOf(u)) {
			return errRegranted
		}
	}
	return nil
}

// SetGrant gives a person who has the grant was the grant to, and writes nothing
// else of them. Where anything changes their sessions end. relay.Conflict: they do
// not have was any more; or (Field "role") it takes away the last owner;
// relay.Invalid: there is no such role, or a person of a subuser is restricted;
// relay.NotFound: there is no such person, or no such subuser.
func (s *Store) SetGrant(ctx context.Context, by By, id relay.UserID, was, to Grant) error {
	return s.changeRank(ctx, by, id, "user.update", func(ctx context.Context, tx *sql.Tx, old *relay.User) error {
		if err := still(old, []Grant{was}); err != nil {
			return err
		}
		u := *old // this may run again
		u.Role, u.Scopes, u.Restricted, u.Subusers = to.Role, to.Scopes, to.Restricted, to.Subusers
		if err := prepareUser(&u); err != nil {
			return err
		}
		if GrantOf(&u).Equal(was) {
			return errUnchanged
		}
		for _, sub := range u.Subusers {
			if slices.Contains(old.Subusers, sub) {
				continue // deleted since, perhaps: there is nothing to see then
			}
			if err := s.liveSubuserOf(ctx, tx, u.Account, sub); err != nil {
				return err
			}
		}
		if ruling(old) && !ruling(&u) {
			if err := oneMoreOwner(ctx, tx, old); err != nil {
				return err
			}
		}
		return writeGrant(ctx, tx, &u)
	})
}

func writeGrant(ctx context.Context, tx *sql.Tx, u *relay.User) error {
	scopes, err := packJSON(u.Scopes, len(u.Scopes) == 0)
	if err != nil {
		return err
	}
	subusers, err := packJSON(u.Subusers, len(u.Subusers) == 0)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, setGrant, string(u.Role), text(scopes), flag(u.Restricted), subusers, blob(u.ID.ID)); err != nil {
		return err
	}
	return runEach(ctx, tx, u.ID, dropSessions)
}

// changeRank is changeUser for what may take an owner away: the account is locked
// first, so that of two owners who take each other's role one is too late.
func (s *Store) changeRank(ctx context.Context, by By, id relay.UserID, action string, fn func(ctx context.Context, tx *sql.Tx, old *relay.User) error) error {
	return s.changePerson(ctx, by, func(ctx context.Context, tx *sql.Tx) (note, error) {
		u, err := one(ctx, tx, "person", scanUser, selectUsers+` WHERE u.id = $1 AND u.deleted_at = 0`, blob(id.ID))
		if err != nil {
			return note{}, err
		}
		if err := s.holdAccount(ctx, tx, u.Account); err != nil {
			return note{}, err
		}
		if u, err = s.userBy(ctx, tx, by, id); err != nil {
			return note{}, err
		}
		return s.changeHeldUser(ctx, tx, u, action, fn)
	})
}

// SetUserDisabled switches a person off at a time, or on with the zero time. All
// sessions and unused links of one who is switched off end. seen is the grant that
// the decision was made on; without it, whatever the person may do by now is fine.
// relay.Conflict (Field "role"): the last owner stays; without a field: the grant
// is another one by now; relay.Forbidden: somebody of a higher rank switched them off;
// relay.NotFound: there is no such person.
func (s *Store) SetUserDisabled(ctx context.Context, by By, id relay.UserID, at time.Time, seen ...Grant) error {
	return s.changeRank(ctx, by, id, switched("user", at), func(ctx context.Context, tx *sql.Tx, old *relay.User) error {
		if err := still(old, seen); err != nil {
			return err
		}
		rank, err := switchedBy(by, at, old.DisabledAt, old.DisabledRank)
		if err != nil {
			return err
		}
		if old.DisabledAt.IsZero() == at.IsZero() && rank == old.DisabledRank {
			return errUnchanged
		}
		if !at.IsZero() && ruling(old) {
			if err := oneMoreOwner(ctx, tx, old); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, disableUser, micros(at), int64(rank), blob(id.ID)); err != nil {
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
// so that records keep their name. seen is as for SetUserDisabled. relay.Conflict
// (Field "role"): the last owner stays; without a field: the grant is another one
// by now; relay.Forbidden: somebody of a higher rank switched them off;
// relay.NotFound: there is none, or they were deleted before.
func (s *Store) DeleteUser(ctx context.Context, by By, id relay.UserID, at time.Time, seen ...Grant) error {
	return s.changeRank(ctx, by, id, "user.delete", func(ctx context.Context, tx *sql.Tx, old *relay.User) error {
		if err := still(old, seen); err != nil {
			return err
		}
		if err := mayDeleteUser(by, old); err != nil {
			return err
		}
		if ruling(old) {
			if err := oneMoreOwner(ctx, tx, old); err != nil {
				return err
			}
		}
		return endUser(ctx, tx, id, at)
	})
}
