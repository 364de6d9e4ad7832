package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"postern/internal/relay"
)

const (
	linkColumns = `hash, kind, account_id, subuser_id, user_id, email, role, scopes, restricted, subusers, created_at, created_by, expires_at, used_at`
	selectLinks = `SELECT ` + linkColumns + ` FROM links`
	linkOfHash  = selectLinks + ` WHERE hash = $1`
	insertLink  = `INSERT INTO links (` + linkColumns + `, address) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0, $14)`
	// useLink is conditional: of two who come with one link at once, one is too late.
	useLink     = `UPDATE links SET used_at = $1 WHERE hash = $2 AND used_at = 0 AND expires_at > $3`
	dropOlder   = `DELETE FROM links WHERE user_id = $1 AND kind = $2 AND used_at = 0`
	dropInvited = `DELETE FROM links WHERE account_id = $1 AND subuser_id = $2 AND address = $3 AND kind = $4 AND used_at = 0`
	dropAddress = `DELETE FROM links WHERE account_id = $1 AND subuser_id = $2 AND address = $3 AND kind = $4 AND used_at = 0`
	// countInvited are a tenant's people, and the invitations that were not used, as of
	// one moment: who accepts one is in one of the two.
	countInvited = `SELECT (SELECT count(*) FROM users WHERE account_id = $1 AND subuser_id = $2 AND deleted_at = 0),
		(SELECT count(*) FROM links WHERE account_id = $3 AND subuser_id = $4 AND kind = 'invite' AND used_at = 0)`
	// MaxPeople is how many people a tenant has at most, invited ones among them;
	// MaxInvited is how many are invited at once: each is a letter to a stranger. Whoever
	// runs the installation may invite more.
	MaxPeople  = 1000
	MaxInvited = 100
	ofAddress  = ` WHERE account_id = $1 AND subuser_id = $2 AND address = $3 AND kind = $4 AND used_at = 0 ORDER BY created_at, hash`
)

func scanLink(r scanner) (relay.Link, error) {
	var l relay.Link
	var hash, acct, sub, user []byte
	var kind, role, scopes, subusers string
	var restricted, created, expires, used int64
	if err := r.Scan(&hash, &kind, &acct, &sub, &user, &l.Email, &role, &scopes, &restricted, &subusers, &created, &l.CreatedBy, &expires, &used); err != nil {
		return l, err
	}
	if len(hash) != len(l.Hash) {
		return l, fmt.Errorf("%w: links.hash has %d octets", ErrDamaged, len(hash))
	}
	l.Hash, l.Kind, l.Role, l.Restricted = [32]byte(hash), relay.LinkKind(kind), relay.Role(role), restricted != 0
	l.Account.ID, l.Subuser.ID, l.User.ID = idOf(acct), idOf(sub), idOf(user)
	l.CreatedAt, l.ExpiresAt, l.UsedAt = timeOf(created), timeOf(expires), timeOf(used)
	return l, errors.Join(unpackJSON(scopes, &l.Scopes, "links.scopes"), unpackJSON(subusers, &l.Subusers, "links.subusers"))
}

// toBe reports whether a link makes a person; otherwise it belongs to one.
func toBe(k relay.LinkKind) bool { return k == relay.LinkSetup || k == relay.LinkInvite }

// invited is the person that a link makes, as far as it says who that is.
func invited(l *relay.Link) relay.User {
	return relay.User{Account: l.Account, Subuser: l.Subuser, Email: l.Email, Role: l.Role, Scopes: l.Scopes, Restricted: l.Restricted,
		Subusers: l.Subusers, InvitedBy: l.CreatedBy}
}

// prepareLink checks a new link, and puts it into the form that is stored.
func prepareLink(l *relay.Link) error {
	l.UsedAt = time.Time{}
	switch l.Kind {
	case relay.LinkSetup, relay.LinkInvite:
		u := invited(l)
		u.Username = "-" // which the person chooses later
		if err := prepareUser(&u); err != nil {
			return err
		}
		l.User, l.Email, l.Scopes, l.Subusers = relay.UserID{}, u.Email, u.Scopes, u.Subusers
	case relay.LinkReset, relay.LinkEmail:
		if l.Email == "" || len(l.Email) > maxUserName {
			return &relay.Error{Kind: relay.Invalid, Field: "email", Public: fmt.Sprintf("An e-mail address has 1 to %d octets.", maxUserName)}
		}
		l.Email, l.Role, l.Scopes, l.Restricted, l.Subusers = text(l.Email), "", nil, false, nil
	default:
		return &relay.Error{Kind: relay.Invalid, Field: "kind", Public: "There is no such kind of link."}
	}
	return nil
}

// CreateLink adds a one-time link in the place of those that were not used: of the
// same kind for the same person, or (setup, invite) for the same address at the
// same tenant. relay.Invalid: it does not say for whom or for what; relay.NotFound:
// there is no such account, subuser or person; relay.Conflict: the hash is taken;
// relay.Forbidden: the tenant has MaxPeople or MaxInvited, which are counted here, in
// the step that invites.
func (s *Store) CreateLink(ctx context.Context, by By, l relay.Link) error {
	if err := prepareLink(&l); err != nil {
		return err
	}
	return s.changePerson(ctx, by, func(ctx context.Context, tx *sql.Tx) (note, error) {
		if err := s.clearWay(ctx, tx, by, &l); err != nil {
			return note{}, err
		}
		if err := goesOn(ctx, tx, by); err != nil {
			return note{}, err
		}
		if err := putLink(ctx, tx, &l); err != nil {
			return note{}, err
		}
		return note{account: l.Account, action: "link.create", subject: linkSubject(&l), after: l}, nil
	})
}

// clearWay locks whom a link is for, ends the links that it replaces, and sees whether
// there is room for another one.
func (s *Store) clearWay(ctx context.Context, tx *sql.Tx, by By, l *relay.Link) error {
	if !toBe(l.Kind) {
		u, err := s.liveUser(ctx, tx, l.User)
		if err != nil {
			return err
		}
		l.Account, l.Subuser = u.Account, u.Subuser
		_, err = tx.ExecContext(ctx, dropOlder, blob(l.User.ID), string(l.Kind))
		return err
	}
	if err := s.holdAccount(ctx, tx, l.Account); err != nil {
		return err
	}
	for _, sub := range append([]relay.SubuserID{l.Subuser}, l.Subusers...) {
		if err := s.liveSubuserOf(ctx, tx, l.Account, sub); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, dropInvited, blob(l.Account.ID), blob(l.Subuser.ID), strings.ToLower(l.Email), string(l.Kind)); err != nil {
		return err
	}
	if l.Kind != relay.LinkInvite || by.Rank == relay.RankOperator {
		return nil
	}
	return mayInvite(ctx, tx, l)
}

// mayInvite counts the people of a tenant whose account is locked, so that of several
// invitations at once none is one too many.
func mayInvite(ctx context.Context, tx *sql.Tx, l *relay.Link) error {
	var people, invited int
	acct, sub := blob(l.Account.ID), blob(l.Subuser.ID)
	if err := tx.QueryRowContext(ctx, countInvited, acct, sub, acct, sub).Scan(&people, &invited); err != nil {
		return fmt.Errorf("count people: %w", err)
	}
	if invited >= MaxInvited || people+invited >= MaxPeople {
		return relay.E(relay.Forbidden, fmt.Sprintf("There are %d people and %d invitations already, and no more can be made.", people, invited))
	}
	return nil
}

func putLink(ctx context.Context, tx *sql.Tx, l *relay.Link) error {
	scopes, scopesErr := packJSON(l.Scopes, len(l.Scopes) == 0)
	subusers, subusersErr := packJSON(l.Subusers, len(l.Subusers) == 0)
	if err := errors.Join(scopesErr, subusersErr); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, insertLink, l.Hash[:], string(l.Kind), blob(l.Account.ID), blob(l.Subuser.ID), blob(l.User.ID), l.Email, string(l.Role),
		text(scopes), flag(l.Restricted), subusers, micros(l.CreatedAt), text(l.CreatedBy), micros(l.ExpiresAt), strings.ToLower(l.Email))
	return err
}

func linkSubject(l *relay.Link) string { return string(l.Kind) + " link for " + l.Email }

// LinkByHash returns a link by the SHA-256 of its token, used and ended ones too,
// without using it. relay.NotFound: there is no such link.
func (s *Store) LinkByHash(ctx context.Context, hash [32]byte) (relay.Link, error) {
	v, err := one(ctx, s.db, "link", scanLink, linkOfHash, hash[:])
	return read(s, "link", v, err)
}

// Links lists the links of an account that were not used, of these kinds (none:
// all), oldest first; the zero account: all. Those that have ended are among them
// until they are pruned.
func (s *Store) Links(ctx context.Context, account relay.AccountID, kinds ...relay.LinkKind) ([]relay.Link, error) {
	w := ofAccount(account)
	w.and("used_at = 0")
	if len(kinds) > 0 {
		args := make([]any, len(kinds))
		for i, k := range kinds {
			args[i] = string(k)
		}
		w.and("kind IN (?"+strings.Repeat(", ?", len(kinds)-1)+")", args...)
	}
	v, err := list(ctx, s.db, scanLink, selectLinks+w.String()+` ORDER BY created_at, hash`, w.args...)
	return read(s, "links", v, err)
}

// DeleteLinks withdraws the unused links of a kind that went to an address, in any
// case, on behalf of a tenant. Those of its account's other tenants stay.
// relay.NotFound: there are none.
func (s *Store) DeleteLinks(ctx context.Context, by By, of relay.Tenant, email string, kind relay.LinkKind) error {
	args := []any{blob(of.Account.ID), blob(of.Subuser.ID), strings.ToLower(text(email)), string(kind)}
	return s.changePerson(ctx, by, func(ctx context.Context, tx *sql.Tx) (note, error) {
		old, err := list(ctx, tx, scanLink, selectLinks+ofAddress+s.forUpdate(), args...)
		if err != nil {
			return note{}, err
		}
		if len(old) == 0 {
			return note{}, notFound("link")
		}
		_, err = tx.ExecContext(ctx, dropAddress, args...)
		return note{account: of.Account, action: "link.delete", subject: linkSubject(&old[0]), before: old}, err
	})
}
