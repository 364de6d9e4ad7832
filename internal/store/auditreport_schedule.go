package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"postern/internal/relay"
)

const (
	scheduleColumns     = `account_id, every, recipients, options, next_at, last_at`
	selectAuditSchedule = `SELECT ` + scheduleColumns + ` FROM audit_schedules WHERE account_id = $1`
	insertAuditSchedule = `INSERT INTO audit_schedules (account_id, every) VALUES ($1, '') ON CONFLICT (account_id) DO NOTHING`
	upsertAuditSchedule = `INSERT INTO audit_schedules (account_id, every, recipients, options, next_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (account_id) DO UPDATE SET every = excluded.every, recipients = excluded.recipients, options = excluded.options,
		next_at = excluded.next_at, claimed_until = 0`
	selectDueAudits = `SELECT ` + scheduleColumns + ` FROM audit_schedules WHERE next_at > 0 AND next_at <= $1 AND claimed_until <= $2 ORDER BY next_at, account_id LIMIT $3`
	// Of several nodes one gets it.
	claimAuditSchedule = `UPDATE audit_schedules SET claimed_until = $1 WHERE account_id = $2 AND next_at = $3 AND claimed_until <= $4`
	// What was changed meanwhile stays as it was changed.
	finishAuditSchedule = `UPDATE audit_schedules SET next_at = $1, last_at = $2, claimed_until = 0 WHERE account_id = $3 AND next_at = $4`
)

// AuditSchedule says when an account's audit report is made, and for whom.
type AuditSchedule struct {
	Account relay.AccountID `json:"-"`
	Every   string          `json:"every"` // "": never said
	To      []string        `json:"to"`
	Options json.RawMessage `json:"options,omitempty"`
	NextAt  time.Time       `json:"next_at,omitzero"` // zero: not at all
	LastAt  time.Time       `json:"-"`
}

func scanAuditSchedule(r scanner) (AuditSchedule, error) {
	var v AuditSchedule
	var acct []byte
	var to, options string
	var next, last int64
	if err := r.Scan(&acct, &v.Every, &to, &options, &next, &last); err != nil {
		return v, err
	}
	v.Account.ID, v.NextAt, v.LastAt = idOf(acct), timeOf(next), timeOf(last)
	if options != "" {
		v.Options = json.RawMessage(options)
	}
	return v, unpackJSON(to, &v.To, "audit_schedules.recipients")
}

// AuditSchedule returns the schedule of an account; the zero one, with the
// account, where nobody made any.
func (s *Store) AuditSchedule(ctx context.Context, account relay.AccountID) (AuditSchedule, error) {
	v, err := scanAuditSchedule(s.db.QueryRowContext(ctx, selectAuditSchedule, blob(account.ID)))
	if errors.Is(err, sql.ErrNoRows) {
		return AuditSchedule{Account: account}, nil
	}
	return read(s, "audit schedule", v, err)
}

// SwapAuditSchedule sets the schedule of an account, and records who did. LastAt is
// not changed. It raises no revision. relay.Conflict with ErrMeanwhile: Every, To or
// Options are not those of was any more; relay.NotFound: there is no such account.
func (s *Store) SwapAuditSchedule(ctx context.Context, by By, was, v AuditSchedule) error {
	to, err := packJSON(v.To, len(v.To) == 0)
	if err != nil {
		return fmt.Errorf("set audit schedule: %w", err)
	}
	err = s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		before, err := s.heldAuditSchedule(ctx, tx, &was)
		if err != nil {
			return err
		}
		if err := s.record(ctx, tx, by, note{account: v.Account, action: "audit.schedule", subject: "audit schedule", before: before, after: v}); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, upsertAuditSchedule, blob(v.Account.ID), text(v.Every), text(to), text(string(v.Options)), micros(v.NextAt))
		return err
	})
	return changeError(err)
}

// heldAuditSchedule locks the schedule of an account and returns it for the record, if
// it is was. As with the settings of the watch, there is always a row to lock.
func (s *Store) heldAuditSchedule(ctx context.Context, tx *sql.Tx, was *AuditSchedule) (before any, err error) {
	res, err := tx.ExecContext(ctx, insertAuditSchedule, blob(was.Account.ID))
	if err != nil {
		return nil, err
	}
	made, err := res.RowsAffected()
	if err != nil {
		return nil, err
	}
	old, err := scanAuditSchedule(tx.QueryRowContext(ctx, selectAuditSchedule+s.forUpdate(), blob(was.Account.ID)))
	if err != nil {
		return nil, err
	}
	if was.Every != old.Every || !slices.Equal(was.To, old.To) || !bytes.Equal(was.Options, old.Options) {
		return nil, meanwhile("The schedule")
	}
	if made == 0 {
		before = old
	}
	return before, nil
}

// ClaimAuditSchedules returns up to n schedules that are due, and keeps others from
// making the same report until a time: then, if it was not finished, it is due
// again.
func (s *Store) ClaimAuditSchedules(ctx context.Context, now, until time.Time, n int) ([]AuditSchedule, error) {
	due, err := list(ctx, s.db, scanAuditSchedule, selectDueAudits, micros(now), micros(now), int64(n))
	if err != nil || len(due) == 0 {
		return read(s, "audit schedules", due, err)
	}
	var mine []AuditSchedule
	for _, v := range due {
		err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
			res, err := tx.ExecContext(ctx, claimAuditSchedule, micros(until), blob(v.Account.ID), micros(v.NextAt), micros(now))
			if err != nil {
				return err
			}
			if n, err := res.RowsAffected(); err != nil || n == 0 {
				return errors.Join(err, errNotClaimed)
			}
			return nil
		})
		switch {
		case err == nil:
			mine = append(mine, v)
		case !errors.Is(err, errNotClaimed):
			return mine, fmt.Errorf("claim audit schedule: %w", err)
		}
	}
	return mine, nil
}

// errNotClaimed: another node was first.
var errNotClaimed = errors.New("claimed by another node")

// FinishAuditSchedule says that the report of a claimed schedule was made, and when
// the next one is due. A schedule that was changed meanwhile stays as it is.
func (s *Store) FinishAuditSchedule(ctx context.Context, v AuditSchedule, at, next time.Time) error {
	err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, finishAuditSchedule, micros(next), micros(at), blob(v.Account.ID), micros(v.NextAt))
		return err
	})
	if err != nil {
		return fmt.Errorf("finish audit schedule: %w", err)
	}
	return nil
}
