package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"postern/internal/relay"
)

const (
	accessColumns     = `account_id, subuser_id, rules, monitor, trial_until, before`
	selectAccessLists = `SELECT ` + accessColumns + ` FROM access_lists`
	accessOfTenant    = ` WHERE account_id = $1 AND subuser_id = $2`
	putAccessList     = `INSERT INTO access_lists (` + accessColumns + `, rev) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (account_id, subuser_id) DO UPDATE SET rules = excluded.rules, monitor = excluded.monitor,
		trial_until = excluded.trial_until, before = excluded.before, rev = excluded.rev`
	nextRule = `UPDATE settings SET value = CAST(CAST(value AS BIGINT) + 1 AS TEXT) WHERE name = 'last_rule' RETURNING CAST(value AS BIGINT)`
	// MaxAccessRules bounds a list: every node holds all of them in memory, and the
	// record of changes has the list before and after each.
	MaxAccessRules = 1000
)

func scanAccessList(r scanner) (relay.AccessList, error) {
	var l relay.AccessList
	var acct, sub []byte
	var rules, before string
	var monitor, trial int64
	if err := r.Scan(&acct, &sub, &rules, &monitor, &trial, &before); err != nil {
		return l, err
	}
	l.Account.ID, l.Subuser.ID, l.Monitor, l.TrialUntil = idOf(acct), idOf(sub), monitor != 0, timeOf(trial)
	return l, errors.Join(unpackJSON(rules, &l.Rules, "access_lists.rules"), unpackJSON(before, &l.Before, "access_lists.before"))
}

func readAccessList(ctx context.Context, q querier, t relay.Tenant, lock string) (relay.AccessList, error) {
	l, err := scanAccessList(q.QueryRowContext(ctx, selectAccessLists+accessOfTenant+lock, blob(t.Account.ID), blob(t.Subuser.ID)))
	if errors.Is(err, sql.ErrNoRows) {
		return relay.AccessList{Tenant: t}, nil // without rules: from anywhere
	}
	return l, err
}

// AccessList returns a tenant's own list. One that was never set has no rules,
// and lets everybody in.
func (s *Store) AccessList(ctx context.Context, t relay.Tenant) (relay.AccessList, error) {
	l, err := readAccessList(ctx, s.db, t, "")
	return read(s, "access list", l, err)
}

// SetAccessList replaces a tenant's list with all its rules and returns it as it
// is stored: a rule with ID 0 is new and gets one, a rule with an ID of the
// present list (or of the list before its trial) is kept and keeps its
// CreatedAt. relay.Invalid: a rule has neither or both of network and host, or
// there are more than MaxAccessRules; relay.NotFound: a rule's id is not of this list, or
// there is no such account or subuser.
func (s *Store) SetAccessList(ctx context.Context, by By, l relay.AccessList) (relay.AccessList, error) {
	return s.setAccessList(ctx, by, l, func(*relay.AccessList) error { return nil })
}

func (s *Store) setAccessList(ctx context.Context, by By, l relay.AccessList, fits func(old *relay.AccessList) error) (relay.AccessList, error) {
	var stored relay.AccessList
	err := s.change(ctx, by, func(ctx context.Context, tx *sql.Tx, rev int64) (note, error) {
		if err := s.liveSubuserOf(ctx, tx, l.Account, l.Subuser); err != nil {
			return note{}, err
		}
		old, err := readAccessList(ctx, tx, l.Tenant, s.forUpdate())
		if err != nil {
			return note{}, err
		}
		if err := fits(&old); err != nil {
			return note{}, err
		}
		if stored, err = s.prepareAccess(ctx, tx, l, &old); err != nil {
			return note{}, err
		}
		if err := writeAccessList(ctx, tx, rev, &stored); err != nil {
			return note{}, err
		}
		return note{account: l.Account, action: "access.set", subject: accessSubject(l.Tenant), before: old, after: stored}, nil
	})
	if err != nil {
		return relay.AccessList{}, err
	}
	return stored, nil
}

// SwapAccessList is SetAccessList for who has read the list before: relay.Conflict
// with ErrMeanwhile if it is another one by now, so that nobody's change is lost, on whatever node.
func (s *Store) SwapAccessList(ctx context.Context, by By, was, next relay.AccessList) (relay.AccessList, error) {
	return s.setAccessList(ctx, by, next, func(old *relay.AccessList) error {
		then, err := json.Marshal(was)
		if err != nil {
			return err
		}
		now, err := json.Marshal(old)
		if err == nil && !bytes.Equal(then, now) {
			err = meanwhile("The list")
		}
		return err
	})
}

func accessSubject(t relay.Tenant) string {
	if t.Subuser.IsZero() {
		return "access list of the account"
	}
	return "access list of subuser " + t.Subuser.String()
}

// prepareAccess gives ids and times to a list and to the one that a trial may
// return to. A rule may stand in both, as it is and as it was.
func (s *Store) prepareAccess(ctx context.Context, tx *sql.Tx, l relay.AccessList, old *relay.AccessList) (relay.AccessList, error) {
	known := map[int64][]relay.AccessRule{}
	for _, r := range old.Rules {
		known[r.ID] = append(known[r.ID], r)
	}
	if old.Before != nil {
		for _, r := range old.Before.Rules {
			known[r.ID] = append(known[r.ID], r)
		}
	}
	now := s.cfg.Now().UTC().Truncate(time.Microsecond)
	prepare := func(rules []relay.AccessRule) ([]relay.AccessRule, error) {
		if len(rules) > MaxAccessRules {
			return nil, relay.E(relay.Invalid, fmt.Sprintf("An access list has at most %d rules.", MaxAccessRules))
		}
		var out []relay.AccessRule
		for _, r := range rules {
			if r.Network.IsValid() == (r.Host != "") {
				return nil, relay.E(relay.Invalid, "An access rule has either a network or a host name.")
			}
			r, err := prepareRule(ctx, tx, r, known, now)
			if err != nil {
				return nil, err
			}
			out = append(out, r)
		}
		return out, nil
	}
	var err error
	if l.Before != nil { // first: the list may keep its rules, with their ids
		before := *l.Before
		if before.Rules, err = prepare(before.Rules); err != nil {
			return l, err
		}
		before.Tenant, before.TrialUntil, before.Before = l.Tenant, time.Time{}, nil // one step back, not many
		l.Before = &before
	}
	l.Rules, err = prepare(l.Rules)
	l.TrialUntil = timeOf(micros(l.TrialUntil))
	return l, err
}

func prepareRule(ctx context.Context, tx *sql.Tx, r relay.AccessRule, known map[int64][]relay.AccessRule, now time.Time) (relay.AccessRule, error) {
	r.Host, r.Note = text(r.Host), text(r.Note)
	if r.ID == 0 {
		if err := tx.QueryRowContext(ctx, nextRule).Scan(&r.ID); err != nil {
			return r, fmt.Errorf("number access rule: %w", err)
		}
		r.CreatedAt, r.UpdatedAt = now, now
		return r, nil
	}
	versions := known[r.ID]
	if len(versions) == 0 {
		return r, notFound("access rule")
	}
	r.CreatedAt, r.UpdatedAt = versions[0].CreatedAt, now
	for _, v := range versions {
		if r.Network == v.Network && r.Host == v.Host && r.Note == v.Note {
			r.UpdatedAt = v.UpdatedAt
			break
		}
	}
	return r, nil
}

func writeAccessList(ctx context.Context, tx *sql.Tx, rev int64, l *relay.AccessList) error {
	rules, rulesErr := packJSON(l.Rules, len(l.Rules) == 0)
	before, beforeErr := packJSON(l.Before, l.Before == nil)
	if err := errors.Join(rulesErr, beforeErr); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, putAccessList, blob(l.Account.ID), blob(l.Subuser.ID), rules, flag(l.Monitor), micros(l.TrialUntil), before, rev)
	return err
}
