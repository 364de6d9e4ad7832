package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"time"

	"postern/internal/relay"
)

const (
	accountColumns = `id, number, name, owner_email, time_zone, default_pool, tls, retry, policy, plan, profile, system, created_at, disabled_at`
	selectAccounts = `SELECT ` + accountColumns + ` FROM accounts`
	insertAccount  = `INSERT INTO accounts (` + accountColumns + `, rev) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`
	updateAccount  = `UPDATE accounts SET name = $1, owner_email = $2, time_zone = $3, default_pool = $4, tls = $5, retry = $6,
		policy = $7, plan = $8, profile = $9, disabled_at = $10, rev = $11 WHERE id = $12`
	// nextNumber counts in a settings row, which stays locked until the commit.
	nextNumber = `UPDATE settings SET value = CAST(CAST(value AS BIGINT) + 1 AS TEXT) WHERE name = 'last_number' RETURNING CAST(value AS BIGINT)`
)

// scanner is a row or rows.
type scanner interface{ Scan(into ...any) error }

func scanAccount(r scanner) (relay.Account, error) {
	var a relay.Account
	var id, pool []byte
	var tls, retry, policy, plan, profile string
	var system, created, disabled int64
	if err := r.Scan(&id, &a.Number, &a.Name, &a.OwnerEmail, &a.TimeZone, &pool, &tls, &retry, &policy, &plan, &profile,
		&system, &created, &disabled); err != nil {
		return a, err
	}
	a.ID.ID, a.DefaultPool.ID, a.TLS, a.System = idOf(id), idOf(pool), relay.TLSLevel(tls), system != 0
	a.CreatedAt, a.DisabledAt = timeOf(created), timeOf(disabled)
	return a, errors.Join(unpackJSON(retry, &a.Retry, "accounts.retry"), unpackJSON(policy, &a.Policy, "accounts.policy"),
		unpackJSON(plan, &a.Plan, "accounts.plan"), unpackJSON(profile, &a.Profile, "accounts.profile"))
}

// packZero stores a value as JSON; its zero value is "".
func packZero[T any](v T) (string, error) {
	s, err := packJSON(v, reflect.ValueOf(&v).Elem().IsZero())
	return text(s), err
}

// packRetry stores a schedule; the zero value, "as the next one up", is "".
func packRetry(r relay.Retry) (string, error) {
	return packJSON(r, len(r.Intervals) == 0 && r.Lifetime == 0 && r.DelayNotice == 0)
}

// packAccount is the columns of an account that hold JSON.
func packAccount(a *relay.Account) (retry, policy, plan, profile string, err error) {
	var errs [4]error
	retry, errs[0] = packRetry(a.Retry)
	policy, errs[1] = packZero(a.Policy)
	plan, errs[2] = packZero(a.Plan)
	profile, errs[3] = packZero(a.Profile)
	return retry, policy, plan, profile, errors.Join(errs[:]...)
}

// list reads all rows of a query.
func list[T any](ctx context.Context, q querier, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	return listInto(ctx, q, nil, scan, query, args...)
}

// listInto appends all rows of a query.
func listInto[T any](ctx context.Context, q querier, all []T, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	err := eachRow(ctx, q, query, args, func(r *sql.Rows) error {
		v, err := scan(r)
		all = append(all, v)
		return err
	})
	return all, err
}

// howMany runs a query that counts.
func howMany(ctx context.Context, q querier, query string, args ...any) (int, error) {
	var n int
	if err := q.QueryRowContext(ctx, query, args...).Scan(&n); err != nil {
		return 0, fmt.Errorf("count: %w", err)
	}
	return n, nil
}

// one reads the row of a query, or relay.NotFound.
func one[T any](ctx context.Context, q querier, what string, scan func(scanner) (T, error), query string, args ...any) (T, error) {
	v, err := scan(q.QueryRowContext(ctx, query, args...))
	if errors.Is(err, sql.ErrNoRows) {
		return v, notFound(what)
	}
	return v, err
}

// read wraps the error of a reading with what was read.
func read[T any](s *Store, what string, v T, err error) (T, error) {
	if err == nil || relay.KindOf(err) != relay.Internal {
		return v, err
	}
	return v, fmt.Errorf("read %s: %w", what, s.readError(err))
}

// forUpdate locks the row that a change starts from. SQLite has one writer.
func (s *Store) forUpdate() string {
	if s.eng.dialect() == dPostgres {
		return " FOR UPDATE"
	}
	return ""
}

// forEdit is forUpdate for a row that others refer to: they may add rows that do
// meanwhile. Who has locked a person may be waited for by who has locked the account,
// and must not wait for the account in turn.
func (s *Store) forEdit() string {
	if s.eng.dialect() == dPostgres {
		return " FOR NO KEY UPDATE"
	}
	return ""
}

// CreateAccount adds an account and gives it its Number. relay.Conflict: the id
// or name is taken.
func (s *Store) CreateAccount(ctx context.Context, by By, a relay.Account) error {
	retry, policy, plan, profile, err := packAccount(&a)
	if err != nil {
		return err
	}
	return s.change(ctx, by, func(ctx context.Context, tx *sql.Tx, rev int64) (note, error) {
		if err := tx.QueryRowContext(ctx, nextNumber).Scan(&a.Number); err != nil {
			return note{}, fmt.Errorf("number account: %w", err)
		}
		_, err := tx.ExecContext(ctx, insertAccount, blob(a.ID.ID), a.Number, text(a.Name), text(a.OwnerEmail), text(a.TimeZone),
			blob(a.DefaultPool.ID), string(a.TLS), retry, policy, plan, profile, flag(a.System), micros(a.CreatedAt), micros(a.DisabledAt), rev)
		return note{account: a.ID, action: "account.create", subject: "account " + a.Name, after: a}, err
	})
}

// Account returns one account, or relay.NotFound.
func (s *Store) Account(ctx context.Context, id relay.AccountID) (relay.Account, error) {
	v, err := one(ctx, s.db, "account", scanAccount, selectAccounts+` WHERE id = $1`, blob(id.ID))
	return read(s, "account", v, err)
}

// Accounts lists all accounts by name.
func (s *Store) Accounts(ctx context.Context) ([]relay.Account, error) {
	v, err := list(ctx, s.db, scanAccount, selectAccounts+` ORDER BY name`)
	return read(s, "accounts", v, err)
}

// SwapAccount replaces what may change of an account: all but id, Number, System and
// CreatedAt. It neither disables nor enables: who read the account before it was
// switched off must not switch it on. relay.Conflict with ErrMeanwhile: it is not was
// any more; without: the name is taken.
func (s *Store) SwapAccount(ctx context.Context, by By, was, a relay.Account) error {
	return s.changeAccount(ctx, by, a.ID, "account.update", func(old relay.Account) (relay.Account, error) {
		return editedAccount(a, &old), unmoved("The account", editedAccount(was, &old), old)
	})
}

// editedAccount is an account with what an edit does not change as it is stored.
func editedAccount(a relay.Account, old *relay.Account) relay.Account {
	a.ID, a.Number, a.System, a.CreatedAt, a.DisabledAt = old.ID, old.Number, old.System, old.CreatedAt, old.DisabledAt
	return a
}

// SetAccountDisabled switches an account off at a time, or on again with the
// zero time. The sessions of its people, and of its subusers' people, end with it.
// Queued mail stays and is delivered: hold it where it must not be.
func (s *Store) SetAccountDisabled(ctx context.Context, by By, id relay.AccountID, at time.Time) error {
	return s.changeAccount(ctx, by, id, switched("account", at), func(a relay.Account) (relay.Account, error) {
		a.DisabledAt = at
		return a, nil
	})
}

// switched names the action of switching something off or on.
func switched(what string, at time.Time) string {
	if at.IsZero() {
		return what + ".enable"
	}
	return what + ".disable"
}

// switchedBy is who has switched something off once by switches it off at a time, or
// on with the zero time. was and rank are since when it is off, and by whom: of two
// who switch it off the higher one counts. relay.Forbidden: it stays off.
func switchedBy(by By, at, was time.Time, rank relay.Rank) (relay.Rank, error) {
	switch {
	case was.IsZero() && at.IsZero():
		return relay.RankOwn, nil
	case was.IsZero():
		return by.Rank, nil
	case !at.IsZero():
		return max(rank, by.Rank), nil
	case rank > by.Rank:
		return rank, relay.E(relay.Forbidden, "The "+rank.String()+" switched this off. Nobody else can switch it on again.")
	}
	return relay.RankOwn, nil
}

func (s *Store) changeAccount(ctx context.Context, by By, id relay.AccountID, action string, edit func(relay.Account) (relay.Account, error)) error {
	return s.change(ctx, by, func(ctx context.Context, tx *sql.Tx, rev int64) (note, error) {
		old, err := one(ctx, tx, "account", scanAccount, selectAccounts+` WHERE id = $1`+s.forEdit(), blob(id.ID))
		if err != nil {
			return note{}, err
		}
		a, err := edit(old)
		if err != nil {
			return note{}, err
		}
		retry, policy, plan, profile, err := packAccount(&a)
		if err != nil {
			return note{}, err
		}
		_, err = tx.ExecContext(ctx, updateAccount, text(a.Name), text(a.OwnerEmail), text(a.TimeZone), blob(a.DefaultPool.ID),
			string(a.TLS), retry, policy, plan, profile, micros(a.DisabledAt), rev, blob(id.ID))
		if err == nil && old.DisabledAt.IsZero() && !a.DisabledAt.IsZero() {
			err = s.endSessionsOf(ctx, tx, ofAccount(id))
		}
		return note{account: id, action: action, subject: "account " + a.Name, before: old, after: a}, err
	})
}
