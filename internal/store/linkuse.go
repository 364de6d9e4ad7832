package store

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"postern/internal/relay"
)

// UseLink uses a link, by the SHA-256 of its token, once: however many come with it
// at a time, one gets nil. relay.NotFound: there is no such link; relay.Conflict:
// it was used, or has ended at that time. What the link does is the caller's;
// AcceptLink, ResetByLink and ConfirmEmail do it in the same step.
func (s *Store) UseLink(ctx context.Context, hash [32]byte, at time.Time) error {
	return s.changePerson(ctx, By{}, func(ctx context.Context, tx *sql.Tx) (note, error) {
		if _, err := one(ctx, tx, "link", scanLink, linkOfHash, hash[:]); err != nil {
			return note{}, err
		}
		return note{}, takeLink(ctx, tx, hash, at)
	})
}

// errLinkOver: of somebody who comes too late it does not tell why.
var errLinkOver = relay.E(relay.Conflict, "The link was used before, or its time is over.")

// takeLink marks a link as used, or relay.Conflict.
func takeLink(ctx context.Context, tx *sql.Tx, hash [32]byte, at time.Time) error {
	return hit(ctx, tx, errLinkOver, useLink, micros(at), hash[:], micros(at))
}

// AcceptLink uses a setup or invite link and makes its person, both or neither.
// What the link fixes is taken from it, whatever u says: tenant, e-mail address,
// role, scopes and restriction, and who invited. Errors are those of UseLink and
// of CreateUser; relay.NotFound also where it is another kind of link.
func (s *Store) AcceptLink(ctx context.Context, by By, hash [32]byte, u relay.User, at time.Time) error {
	return s.changePerson(ctx, by, func(ctx context.Context, tx *sql.Tx) (note, error) {
		l, err := one(ctx, tx, "link", scanLink, linkOfHash, hash[:])
		if err != nil {
			return note{}, err
		}
		if !toBe(l.Kind) {
			return note{}, notFound("link")
		}
		if err := s.liveSubuserOf(ctx, tx, l.Account, l.Subuser); err != nil {
			return note{}, err
		}
		if err := takeLink(ctx, tx, hash, at); err != nil {
			return note{}, err
		}
		p := invited(&l)
		p.ID, p.Username, p.FirstName, p.LastName, p.Password, p.PasswordAt = u.ID, u.Username, u.FirstName, u.LastName, u.Password, u.PasswordAt
		p.CreatedAt = at
		return s.addUser(ctx, tx, p)
	})
}

// ResetByLink uses a reset link and sets the password of its person as SetPassword
// does, both or neither; all sessions end. It returns the person as they are then.
// Errors are those of UseLink; relay.Conflict also where the person has got another
// password, address or authenticator app since the link was made; relay.NotFound also
// where it is another kind of link, or the person is gone.
func (s *Store) ResetByLink(ctx context.Context, by By, hash [32]byte, password string, at time.Time) (relay.User, error) {
	_, after, err := s.useOwnLink(ctx, by, hash, relay.LinkReset, at, "user.password.reset", func(ctx context.Context, tx *sql.Tx, old *relay.User, l *relay.Link) error {
		if old.PasswordAt.After(l.CreatedAt) || old.TOTPAt.After(l.CreatedAt) || !strings.EqualFold(old.Email, l.Email) {
			return errLinkOver
		}
		return writePassword(ctx, tx, old.ID, password, at, relay.SessionID{})
	})
	return after, err
}

// ConfirmEmail uses an email link: the address that it went to is its person's from
// now on, and the person's other unused links end. It returns the person as they
// were before. Errors are those of UseLink; relay.Conflict with Field "email":
// another person has the address meanwhile; relay.NotFound also where it is another
// kind of link, or the person is gone.
func (s *Store) ConfirmEmail(ctx context.Context, by By, hash [32]byte, at time.Time) (relay.User, error) {
	before, _, err := s.useOwnLink(ctx, by, hash, relay.LinkEmail, at, "user.email", func(ctx context.Context, tx *sql.Tx, old *relay.User, l *relay.Link) error {
		return writeEmail(ctx, tx, old, l.Email)
	})
	return before, err
}

// useOwnLink uses a link that belongs to a person, and changes the person in the
// same step.
func (s *Store) useOwnLink(ctx context.Context, by By, hash [32]byte, kind relay.LinkKind, at time.Time, action string,
	fn func(ctx context.Context, tx *sql.Tx, old *relay.User, l *relay.Link) error) (before, after relay.User, err error) {
	err = s.changePerson(ctx, by, func(ctx context.Context, tx *sql.Tx) (note, error) {
		l, err := one(ctx, tx, "link", scanLink, linkOfHash, hash[:])
		if err != nil {
			return note{}, err
		}
		if l.Kind != kind {
			return note{}, notFound("link")
		}
		old, err := s.liveUser(ctx, tx, l.User)
		if err != nil {
			return note{}, err
		}
		if err := takeLink(ctx, tx, hash, at); err != nil {
			return note{}, err
		}
		n, err := s.changeHeldUser(ctx, tx, old, action, func(ctx context.Context, tx *sql.Tx, old *relay.User) error { return fn(ctx, tx, old, &l) })
		if err != nil {
			return note{}, err
		}
		before, _ = n.before.(relay.User)
		after, _ = n.after.(relay.User)
		return n, nil
	})
	if err != nil {
		return relay.User{}, relay.User{}, err
	}
	return before, after, nil
}
