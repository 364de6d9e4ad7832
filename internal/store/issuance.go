package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"postern/internal/relay"
)

const (
	issuanceColumns = `issuer, subject, user_id, created_at, used_at`
	selectIssuances = `SELECT ` + issuanceColumns + ` FROM issuances`
	insertIssuance  = `INSERT INTO issuances (` + issuanceColumns + `) VALUES ($1, $2, $3, $4, $5)`
	enteredSince    = `SELECT count(*) FROM issuances WHERE user_id = $1 AND used_at >= $2`
	ofIssuer        = ` WHERE issuer = $1 AND subject = $2`
	// maxIssuance bounds an issuer's URL and a subject, in octets. OpenID Connect Core
	// §2 allows a subject 255.
	maxIssuance = 1000
)

func scanIssuance(r scanner) (relay.Issuance, error) {
	var v relay.Issuance
	var user []byte
	var created, used int64
	err := r.Scan(&v.Issuer, &v.Subject, &user, &created, &used)
	v.User.ID, v.CreatedAt, v.UsedAt = idOf(user), timeOf(created), timeOf(used)
	return v, err
}

// AddIssuance says who a person is at an issuer. relay.Conflict: the identity is
// somebody's already; relay.Invalid: issuer or subject is missing or too long;
// relay.NotFound: there is no such person.
func (s *Store) AddIssuance(ctx context.Context, by By, v relay.Issuance) error {
	for field, value := range map[string]string{"issuer": v.Issuer, "subject": v.Subject} {
		// Nothing is mended: two identities must not become one.
		if value == "" || len(value) > maxIssuance || text(value) != value {
			return &relay.Error{Kind: relay.Invalid, Field: field, Public: fmt.Sprintf("The %s of an identity has 1 to %d octets of text.", field, maxIssuance)}
		}
	}
	return s.changePerson(ctx, by, func(ctx context.Context, tx *sql.Tx) (note, error) {
		u, err := s.userBy(ctx, tx, by, v.User)
		if err != nil {
			return note{}, err
		}
		_, err = tx.ExecContext(ctx, insertIssuance, v.Issuer, v.Subject, blob(v.User.ID), micros(v.CreatedAt), micros(v.UsedAt))
		if isUnique(err) {
			err = &relay.Error{Kind: relay.Conflict, Field: "subject", Public: "This identity belongs to a person already."}
		}
		return note{account: u.Account, action: "user.identity.add", subject: userSubject(&u), after: v}, err
	})
}

// IssuanceUser returns who an issuer's subject is, or relay.NotFound. Both are
// compared as they are: an issuer says which letters are the same.
func (s *Store) IssuanceUser(ctx context.Context, issuer, subject string) (relay.User, error) {
	if text(issuer) != issuer || text(subject) != subject {
		return relay.User{}, notFound("person")
	}
	v, err := one(ctx, s.db, "person", scanUser, selectUsers+` JOIN issuances i ON i.user_id = u.id WHERE i.issuer = $1 AND i.subject = $2 AND u.deleted_at = 0`,
		text(issuer), text(subject))
	return read(s, "person", v, err)
}

// Issuances lists a person's identities, by issuer.
func (s *Store) Issuances(ctx context.Context, user relay.UserID) ([]relay.Issuance, error) {
	v, err := list(ctx, s.db, scanIssuance, selectIssuances+` WHERE user_id = $1 ORDER BY issuer, subject`, blob(user.ID))
	return read(s, "identities", v, err)
}

// TouchIssuance notes when somebody logged in by an identity. It is no
// administrative change. relay.NotFound: there is no such identity.
func (s *Store) TouchIssuance(ctx context.Context, issuer, subject string, at time.Time) error {
	return s.touch(ctx, notFound("identity"), `UPDATE issuances SET used_at = CASE WHEN used_at > $1 THEN used_at ELSE $1 END WHERE issuer = $2 AND subject = $3`,
		micros(at), text(issuer), text(subject))
}

// MarkBrought writes anew who invited those of an account whom single sign-on brought:
// marks of before had the issuer's name, which may change. It is no administrative
// change, and nothing where there are none.
func (s *Store) MarkBrought(ctx context.Context, account relay.AccountID, was, mark string) error {
	return s.touch(ctx, nil, `UPDATE users SET invited_by = $1 WHERE account_id = $2 AND invited_by = $3`, text(mark), blob(account.ID), text(was))
}

// DeleteIssuance takes an identity away from a person, and ends what it let in: all
// their sessions but keep. relay.NotFound: the person has no such identity;
// what may says.
func (s *Store) DeleteIssuance(ctx context.Context, by By, user relay.UserID, issuer, subject string, keep relay.SessionID, may WayIn) error {
	return s.changePerson(ctx, by, func(ctx context.Context, tx *sql.Tx) (note, error) {
		u, err := s.userBy(ctx, tx, by, user)
		if err != nil {
			return note{}, err
		}
		old, err := one(ctx, tx, "identity", scanIssuance, selectIssuances+ofIssuer+` AND user_id = $3`, text(issuer), text(subject), blob(user.ID))
		if err != nil {
			return note{}, err
		}
		if err := may.left(ctx, tx, &u, nil, old); err != nil {
			return note{}, err
		}
		if _, err = tx.ExecContext(ctx, `DELETE FROM issuances`+ofIssuer, old.Issuer, old.Subject); err != nil {
			return note{}, err
		}
		_, err = tx.ExecContext(ctx, dropOtherLogins, blob(user.ID), blob(keep.ID))
		return note{account: u.Account, action: "user.identity.delete", subject: userSubject(&u), before: old}, err
	})
}
