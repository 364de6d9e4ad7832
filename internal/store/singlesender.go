package store

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"time"

	"postern/internal/relay"
)

const (
	senderColumns = `number, account_id, subuser_id, nickname, from_email, address, from_name, reply_to, reply_to_name, street, street2, city, state, zip,
		country, verified_at, secret, mailed_at, valid_until, created_at, deleted_at`
	selectSenders = `SELECT ` + senderColumns + ` FROM single_senders`
	insertSender  = `INSERT INTO single_senders (` + senderColumns + `, rev) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,
		$15, $16, $17, $18, $19, $20, $21, $22)`
	updateSender = `UPDATE single_senders SET nickname = $1, from_email = $2, address = $3, from_name = $4, reply_to = $5, reply_to_name = $6, street = $7,
		street2 = $8, city = $9, state = $10, zip = $11, country = $12, verified_at = $13, secret = $14, mailed_at = $15, valid_until = $16,
		deleted_at = $17, rev = $18 WHERE number = $19`
	countSenders = `SELECT count(*) FROM single_senders WHERE account_id = $1 AND subuser_id = $2 AND deleted_at = 0`
	// MaxSenders is how many single senders a tenant has at most.
	MaxSenders = 1000
	nextSender = `UPDATE settings SET value = CAST(CAST(value AS BIGINT) + 1 AS TEXT) WHERE name = 'last_sender' RETURNING CAST(value AS BIGINT)`
)

func scanSender(r scanner) (relay.SingleSender, error) {
	var v relay.SingleSender
	var acct, sub []byte
	var verified, mailed, until, created, deleted int64
	err := r.Scan(&v.Number, &acct, &sub, &v.Nickname, &v.FromEmail, &v.Address, &v.FromName, &v.ReplyTo, &v.ReplyToName, &v.Street, &v.Street2,
		&v.City, &v.State, &v.Zip, &v.Country, &verified, &v.Secret, &mailed, &until, &created, &deleted)
	v.Account.ID, v.Subuser.ID = idOf(acct), idOf(sub)
	v.VerifiedAt, v.MailedAt, v.ValidUntil, v.CreatedAt, v.DeletedAt = timeOf(verified), timeOf(mailed), timeOf(until), timeOf(created), timeOf(deleted)
	if len(v.Secret) == 0 {
		v.Secret = nil
	}
	return v, err
}

// senderArgs are the columns from nickname to valid_until.
func senderArgs(v *relay.SingleSender) []any {
	return []any{text(v.Nickname), text(v.FromEmail), text(v.Address), text(v.FromName), text(v.ReplyTo), text(v.ReplyToName), text(v.Street),
		text(v.Street2), text(v.City), text(v.State), text(v.Zip), text(v.Country), micros(v.VerifiedAt), octets(string(v.Secret)),
		micros(v.MailedAt), micros(v.ValidUntil)}
}

// CreateSender adds a single sender, gives it its Number, and returns it as it is
// stored: not proven, whatever VerifiedAt says. relay.Conflict: the tenant has the
// Address already, or MaxSenders of them; relay.NotFound: there is no such account or
// subuser.
func (s *Store) CreateSender(ctx context.Context, by By, v relay.SingleSender) (relay.SingleSender, error) {
	v.VerifiedAt, v.DeletedAt = time.Time{}, time.Time{}
	var made relay.SingleSender
	err := s.change(ctx, by, func(ctx context.Context, tx *sql.Tx, rev int64) (note, error) {
		if err := s.liveSubuserOf(ctx, tx, v.Account, v.Subuser); err != nil {
			return note{}, err
		}
		n, err := howMany(ctx, tx, countSenders, blob(v.Account.ID), blob(v.Subuser.ID))
		if err != nil {
			return note{}, err
		}
		if n >= MaxSenders {
			return note{}, relay.E(relay.Conflict, fmt.Sprintf("There are %d senders already, which is the most. Delete some, or authenticate their domains.", n))
		}
		v := v // this may run again
		if err := tx.QueryRowContext(ctx, nextSender).Scan(&v.Number); err != nil {
			return note{}, fmt.Errorf("number single sender: %w", err)
		}
		args := append([]any{v.Number, blob(v.Account.ID), blob(v.Subuser.ID)}, senderArgs(&v)...)
		if _, err := tx.ExecContext(ctx, insertSender, append(args, micros(v.CreatedAt), int64(0), rev)...); err != nil {
			return note{}, err
		}
		made, err = one(ctx, tx, "sender", scanSender, selectSenders+` WHERE number = $1`, v.Number)
		return note{account: v.Account, action: "sender.create", subject: senderSubject(&v), after: made}, err
	})
	if err != nil {
		return relay.SingleSender{}, err
	}
	return made, nil
}

func senderSubject(v *relay.SingleSender) string {
	return fmt.Sprintf("sender %d (%s)", v.Number, v.Address)
}

// Sender returns the single sender with a number that is not deleted, or
// relay.NotFound.
func (s *Store) Sender(ctx context.Context, number int64) (relay.SingleSender, error) {
	v, err := one(ctx, s.db, "sender", scanSender, selectSenders+` WHERE number = $1 AND deleted_at = 0`, number)
	return read(s, "sender", v, err)
}

// Senders lists the single senders of exactly this tenant by number, without
// deleted ones; the zero tenant: all.
func (s *Store) Senders(ctx context.Context, t relay.Tenant) ([]relay.SingleSender, error) {
	w := &where{}
	if t != (relay.Tenant{}) {
		w.and("account_id = ?", blob(t.Account.ID))
		w.and("subuser_id = ?", blob(t.Subuser.ID))
	}
	w.and("deleted_at = 0")
	v, err := list(ctx, s.db, scanSender, selectSenders+w.String()+` ORDER BY number`, w.args...)
	return read(s, "senders", v, err)
}

const ofSecret = ` WHERE secret = $1 AND length(secret) > 0 AND deleted_at = 0`

// SenderBySecret returns whose link a token is, by the token's SHA-256, without
// using it. relay.NotFound: there is no such link, or it was used. One that has
// ended (ValidUntil) is returned too.
func (s *Store) SenderBySecret(ctx context.Context, sha256 []byte) (relay.SingleSender, error) {
	v, err := one(ctx, s.db, "link", scanSender, selectSenders+ofSecret, octets(string(sha256)))
	return read(s, "sender", v, err)
}

// VerifySender uses a link, by its token's SHA-256: its sender is proven from now
// on, and the link is gone. relay.NotFound: there is no such link, it was used, or
// it has ended at that time.
func (s *Store) VerifySender(ctx context.Context, by By, sha256 []byte, at time.Time) (relay.SingleSender, error) {
	var v relay.SingleSender
	err := s.change(ctx, by, func(ctx context.Context, tx *sql.Tx, rev int64) (note, error) {
		old, err := one(ctx, tx, "link", scanSender, selectSenders+ofSecret+s.forUpdate(), octets(string(sha256)))
		if err != nil {
			return note{}, err
		}
		if !at.Before(old.ValidUntil) {
			return note{}, notFound("link")
		}
		v = old
		v.VerifiedAt, v.Secret = timeOf(micros(at)), nil
		return note{account: v.Account, action: "sender.verify", subject: senderSubject(&v), before: old, after: v}, writeSender(ctx, tx, rev, &v)
	})
	if err != nil {
		return relay.SingleSender{}, err
	}
	return v, nil
}

// SwapSender replaces what may change of a single sender: all but Number, Tenant,
// VerifiedAt, CreatedAt and DeletedAt. With another Address it is no longer proven,
// and a link that was mailed to the one before proves nothing any more; one that is
// proven needs no link, and has none. relay.Conflict with ErrMeanwhile: it is not was
// any more; without: the tenant has the Address already; relay.NotFound: there is no
// such sender.
func (s *Store) SwapSender(ctx context.Context, by By, was, v relay.SingleSender) error {
	return s.changeSender(ctx, by, v.Number, "sender.update", func(old relay.SingleSender) (relay.SingleSender, error) {
		n := editedSender(v, &old)
		switch {
		case n.Address != old.Address:
			n.VerifiedAt = time.Time{}
			if bytes.Equal(n.Secret, old.Secret) {
				n.Secret = nil
			}
		case !old.VerifiedAt.IsZero():
			n.Secret = nil
		}
		return n, unmoved("The sender", editedSender(was, &old), old)
	})
}

// editedSender is a single sender with what an edit does not change as it is stored.
func editedSender(v relay.SingleSender, old *relay.SingleSender) relay.SingleSender {
	v.Number, v.Tenant, v.VerifiedAt, v.CreatedAt, v.DeletedAt = old.Number, old.Tenant, old.VerifiedAt, old.CreatedAt, old.DeletedAt
	return v
}

// DeleteSender ends a single sender for good. relay.NotFound: there is none.
func (s *Store) DeleteSender(ctx context.Context, by By, number int64, at time.Time) error {
	return s.changeSender(ctx, by, number, "sender.delete", func(v relay.SingleSender) (relay.SingleSender, error) {
		v.DeletedAt, v.Secret = at, nil
		return v, nil
	})
}

func (s *Store) changeSender(ctx context.Context, by By, number int64, action string, edit func(relay.SingleSender) (relay.SingleSender, error)) error {
	return s.change(ctx, by, func(ctx context.Context, tx *sql.Tx, rev int64) (note, error) {
		old, err := one(ctx, tx, "sender", scanSender, selectSenders+` WHERE number = $1 AND deleted_at = 0`+s.forUpdate(), number)
		if err != nil {
			return note{}, err
		}
		v, err := edit(old)
		if err != nil {
			return note{}, err
		}
		return note{account: old.Account, action: action, subject: senderSubject(&v), before: old, after: v}, writeSender(ctx, tx, rev, &v)
	})
}

func writeSender(ctx context.Context, tx *sql.Tx, rev int64, v *relay.SingleSender) error {
	_, err := tx.ExecContext(ctx, updateSender, append(senderArgs(v), micros(v.DeletedAt), rev, v.Number)...)
	return err
}
