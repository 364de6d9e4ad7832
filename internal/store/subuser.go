package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"postern/internal/relay"
)

const (
	newSubuser     = `id, account_id, number, name, email, default_pool, tls, plan, profile, created_at, disabled_at, console_disabled_at, deleted_at`
	selectSubusers = `SELECT ` + newSubuser + `, disabled_rank FROM subusers`
	insertSubuser  = `INSERT INTO subusers (` + newSubuser + `, rev) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`
	updateSubuser  = `UPDATE subusers SET name = $1, email = $2, default_pool = $3, tls = $4, plan = $5, profile = $6, disabled_at = $7,
		console_disabled_at = $8, deleted_at = $9, disabled_rank = $10, rev = $11 WHERE id = $12`
	revokeSubuserKeys = `UPDATE keys SET revoked_at = $1, prev_sha256 = $2, prev_scram_salt = $3, prev_scram_iterations = 0, prev_scram_stored_key = $4,
		prev_scram_server_key = $5, prev_sealed_cram = $6, prev_until = 0, rev = $7 WHERE account_id = $8 AND subuser_id = $9 AND revoked_at = 0 RETURNING id`
	deleteDomainsOf = `UPDATE domains SET deleted_at = $1, disabled_at = CASE WHEN disabled_at = 0 THEN CAST($2 AS BIGINT) ELSE disabled_at END,
		is_default = 0, rev = $3 WHERE account_id = $4 AND subuser_id = $5 AND deleted_at = 0 RETURNING name`
	deleteSendersOf = `UPDATE single_senders SET deleted_at = $1, secret = $2, rev = $3 WHERE account_id = $4 AND subuser_id = $5 AND deleted_at = 0 RETURNING number`
)

func scanSubuser(r scanner) (relay.Subuser, error) {
	var u relay.Subuser
	var id, acct, pool []byte
	var tls, plan, profile string
	var created, disabled, console, deleted int64
	if err := r.Scan(&id, &acct, &u.Number, &u.Name, &u.Email, &pool, &tls, &plan, &profile, &created, &disabled, &console, &deleted,
		&u.DisabledRank); err != nil {
		return u, err
	}
	u.ID.ID, u.Account.ID, u.DefaultPool.ID, u.TLS = idOf(id), idOf(acct), idOf(pool), relay.TLSLevel(tls)
	u.CreatedAt, u.DisabledAt, u.ConsoleDisabledAt, u.DeletedAt = timeOf(created), timeOf(disabled), timeOf(console), timeOf(deleted)
	return u, errors.Join(unpackJSON(plan, &u.Plan, "subusers.plan"), unpackJSON(profile, &u.Profile, "subusers.profile"))
}

// CreateSubuser adds a subuser and gives it its Number. relay.Conflict: the id
// is taken, or the name by one that is not deleted; relay.NotFound: there is no
// such account.
func (s *Store) CreateSubuser(ctx context.Context, by By, u relay.Subuser) error {
	plan, planErr := packZero(u.Plan)
	profile, profileErr := packZero(u.Profile)
	if err := errors.Join(planErr, profileErr); err != nil {
		return err
	}
	u.DeletedAt = time.Time{}
	return s.change(ctx, by, func(ctx context.Context, tx *sql.Tx, rev int64) (note, error) {
		if err := tx.QueryRowContext(ctx, nextNumber).Scan(&u.Number); err != nil {
			return note{}, fmt.Errorf("number subuser: %w", err)
		}
		_, err := tx.ExecContext(ctx, insertSubuser, blob(u.ID.ID), blob(u.Account.ID), u.Number, text(u.Name), text(u.Email),
			blob(u.DefaultPool.ID), string(u.TLS), plan, profile, micros(u.CreatedAt), micros(u.DisabledAt), micros(u.ConsoleDisabledAt), int64(0), rev)
		return note{account: u.Account, action: "subuser.create", subject: "subuser " + u.Name, after: u}, err
	})
}

// Subuser returns one subuser, deleted or not, or relay.NotFound.
func (s *Store) Subuser(ctx context.Context, id relay.SubuserID) (relay.Subuser, error) {
	v, err := one(ctx, s.db, "subuser", scanSubuser, selectSubusers+` WHERE id = $1`, blob(id.ID))
	return read(s, "subuser", v, err)
}

// Subusers lists an account's subusers that are not deleted, by name; the zero
// account: all.
func (s *Store) Subusers(ctx context.Context, account relay.AccountID) ([]relay.Subuser, error) {
	w := ofAccount(account)
	w.and("deleted_at = 0")
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

// SwapSubuser replaces what may change of a subuser: all but id, Account, Number,
// CreatedAt and DeletedAt. It neither disables nor enables, as SwapAccount. Where
// ConsoleDisabledAt is set by it, the sessions of the subuser's people end.
// relay.Conflict with ErrMeanwhile: it is not was any more; without: the name is
// taken; relay.NotFound: there is none, or it is deleted.
func (s *Store) SwapSubuser(ctx context.Context, by By, was, u relay.Subuser) error {
	return s.changeSubuser(ctx, by, u.ID, "subuser.update", func(old relay.Subuser) (relay.Subuser, error) {
		return editedSubuser(u, &old), unmoved("The subuser", editedSubuser(was, &old), old)
	})
}

// editedSubuser is a subuser with what an edit does not change as it is stored.
func editedSubuser(u relay.Subuser, old *relay.Subuser) relay.Subuser {
	u.ID, u.Account, u.Number, u.CreatedAt, u.DeletedAt = old.ID, old.Account, old.Number, old.CreatedAt, old.DeletedAt
	u.DisabledAt, u.DisabledRank = old.DisabledAt, old.DisabledRank
	return u
}

// SetSubuserDisabled switches a subuser off at a time, or on with the zero time. The
// sessions of its people end with it. relay.Forbidden: the operator switched it off.
func (s *Store) SetSubuserDisabled(ctx context.Context, by By, id relay.SubuserID, at time.Time) error {
	return s.changeSubuser(ctx, by, id, switched("subuser", at), func(u relay.Subuser) (_ relay.Subuser, err error) {
		u.DisabledRank, err = switchedBy(by, at, u.DisabledAt, u.DisabledRank)
		u.DisabledAt = at
		return u, err
	})
}

func (s *Store) changeSubuser(ctx context.Context, by By, id relay.SubuserID, action string, edit func(relay.Subuser) (relay.Subuser, error)) error {
	return s.change(ctx, by, func(ctx context.Context, tx *sql.Tx, rev int64) (note, error) {
		old, err := s.liveSubuser(ctx, tx, id)
		if err != nil {
			return note{}, err
		}
		u, err := edit(old)
		if err != nil {
			return note{}, err
		}
		if err := putSubuser(ctx, tx, rev, &u); err != nil {
			return note{}, err
		}
		if shutsOut(&old, &u) {
			w := ofAccount(old.Account)
			w.and("subuser_id = ?", blob(id.ID))
			err = s.endSessionsOf(ctx, tx, w)
		}
		return note{account: old.Account, action: action, subject: "subuser " + u.Name, before: old, after: u}, err
	})
}

// shutsOut reports whether a change keeps a subuser's people out of the console.
func shutsOut(old, u *relay.Subuser) bool {
	return old.DisabledAt.IsZero() && !u.DisabledAt.IsZero() || old.ConsoleDisabledAt.IsZero() && !u.ConsoleDisabledAt.IsZero()
}

// liveSubuser reads and locks a subuser that is not deleted, or relay.NotFound.
func (s *Store) liveSubuser(ctx context.Context, tx *sql.Tx, id relay.SubuserID) (relay.Subuser, error) {
	u, err := one(ctx, tx, "subuser", scanSubuser, selectSubusers+` WHERE id = $1`+s.forUpdate(), blob(id.ID))
	if err == nil && !u.DeletedAt.IsZero() {
		return u, notFound("subuser")
	}
	return u, err
}

func putSubuser(ctx context.Context, tx *sql.Tx, rev int64, u *relay.Subuser) error {
	plan, planErr := packZero(u.Plan)
	profile, profileErr := packZero(u.Profile)
	if err := errors.Join(planErr, profileErr); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, updateSubuser, text(u.Name), text(u.Email), blob(u.DefaultPool.ID), string(u.TLS), plan, profile,
		micros(u.DisabledAt), micros(u.ConsoleDisabledAt), micros(u.DeletedAt), int64(u.DisabledRank), rev, blob(u.ID.ID))
	return err
}

// deletedSubuser is the image of a subuser's deletion.
type deletedSubuser struct {
	relay.Subuser
	RevokedKeys []relay.KeyID `json:"revoked_keys,omitempty"`
	Domains     []string      `json:"deleted_domains,omitempty"`
	Senders     []int64       `json:"deleted_senders,omitempty"`
	People      []string      `json:"deleted_people,omitempty"` // user names
}

// DeleteSubuser ends a subuser for good: its keys are revoked, and its domains,
// single senders and people deleted, in the same change; its name, those of its
// domains and those of its people are free again. Its row stays, so that its records keep their
// name, and so does what is queued: the caller drops that. relay.NotFound: there
// is none, or it was deleted before; relay.Forbidden: the operator has switched it
// off, or one of its people or domains, and somebody else deletes it.
func (s *Store) DeleteSubuser(ctx context.Context, by By, id relay.SubuserID, at time.Time) error {
	return s.change(ctx, by, func(ctx context.Context, tx *sql.Tx, rev int64) (note, error) {
		old, err := s.liveSubuser(ctx, tx, id)
		if err != nil {
			return note{}, err
		}
		if err := mayDelete(by, old.DisabledAt, old.DisabledRank, "this subuser", "it could be made again."); err != nil {
			return note{}, err
		}
		u := deletedSubuser{Subuser: old}
		u.DeletedAt = at
		if err := putSubuser(ctx, tx, rev, &u.Subuser); err != nil {
			return note{}, err
		}
		revoked, err := column[[]byte](ctx, tx, revokeSubuserKeys, micros(at), noBlob, noBlob, noBlob, noBlob, noBlob, rev, blob(old.Account.ID), blob(id.ID))
		if err != nil {
			return note{}, fmt.Errorf("revoke keys: %w", err)
		}
		for _, k := range revoked {
			u.RevokedKeys = append(u.RevokedKeys, relay.KeyID{ID: idOf(k)})
		}
		if u.Domains, u.Senders, err = s.deleteOwned(ctx, tx, by, rev, old.Account, id, at); err != nil {
			return note{}, err
		}
		if u.People, err = s.endPeople(ctx, tx, by, old.Account, id, at); err != nil {
			return note{}, err
		}
		return note{account: old.Account, action: "subuser.delete", subject: "subuser " + old.Name, before: old, after: u}, nil
	})
}

// deleteOwned ends what a subuser sends as.
func (s *Store) deleteOwned(ctx context.Context, tx *sql.Tx, by By, rev int64, account relay.AccountID, id relay.SubuserID, at time.Time) (domains []string, senders []int64, err error) {
	off, err := list(ctx, tx, scanDomain, selectOff, blob(account.ID))
	if err != nil {
		return nil, nil, fmt.Errorf("delete domains: %w", err)
	}
	for i := range off {
		if off[i].Subuser != id {
			continue
		}
		if err := mayDeleteWithin(by, off[i].DisabledAt, off[i].DisabledRank, off[i].Name); err != nil {
			return nil, nil, err
		}
	}
	owner := []any{blob(account.ID), blob(id.ID)}
	for _, query := range []string{`DELETE FROM domain_checks`, `DELETE FROM domain_findings`} {
		if _, err := tx.ExecContext(ctx, query+` WHERE domain_id IN (SELECT id FROM domains WHERE account_id = $1 AND subuser_id = $2)`, owner...); err != nil {
			return nil, nil, fmt.Errorf("delete checks: %w", err)
		}
	}
	if domains, err = column[string](ctx, tx, deleteDomainsOf, micros(at), micros(at), rev, owner[0], owner[1]); err != nil {
		return nil, nil, fmt.Errorf("delete domains: %w", err)
	}
	if err := endDomainWatch(ctx, tx, relay.Tenant{Account: account, Subuser: id}, at, domains...); err != nil {
		return nil, nil, err
	}
	if senders, err = column[int64](ctx, tx, deleteSendersOf, micros(at), noBlob, rev, owner[0], owner[1]); err != nil {
		return nil, nil, fmt.Errorf("delete senders: %w", err)
	}
	return domains, senders, nil
}
