package store

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"postern/internal/relay"
)

const (
	// keepMinutes is how long usage is kept by the minute: an hour's window, and as
	// much for clocks that differ.
	keepMinutes = 2 * time.Hour
	// keepDays is how many days of usage are kept one by one: a month's window, and
	// a year to look back on. Older ones are added to the total.
	keepDays = 400
	// maxUsage bounds one increment, far above the recipients of any message.
	maxUsage = 1 << 31
	// usagePage is how many rows of old usage one operation folds.
	usagePage = 200
)

var (
	stmtUsageMinute = newStmt(`INSERT INTO usage_minutes (subject, minute, n) VALUES ($1, $2, $3)
		ON CONFLICT (subject, minute) DO UPDATE SET n = usage_minutes.n + excluded.n`)
	stmtUsageDay = newStmt(`INSERT INTO usage_days (subject, day, n) VALUES ($1, $2, $3)
		ON CONFLICT (subject, day) DO UPDATE SET n = usage_days.n + excluded.n`)
	// On PostgreSQL another node may count on the row between two statements, so
	// what is added is what the same statement deletes.
	stmtUsageFold = newStmt(`INSERT INTO usage_totals (subject, n) SELECT subject, n FROM usage_days WHERE subject = $1 AND day = $2
		ON CONFLICT (subject) DO UPDATE SET n = usage_totals.n + excluded.n`,
		`WITH gone AS (DELETE FROM usage_days WHERE subject = $1 AND day = $2 RETURNING subject, n)
		INSERT INTO usage_totals (subject, n) SELECT subject, n FROM gone ON CONFLICT (subject) DO UPDATE SET n = usage_totals.n + excluded.n`)
	stmtUsageFolded      = newStmt(`DELETE FROM usage_days WHERE subject = $1 AND day = $2`)
	stmtUsageMinutesGone = newStmt(`DELETE FROM usage_minutes WHERE subject = $1 AND minute = $2`)
)

const (
	selectOldDays    = `SELECT subject, day FROM usage_days WHERE day < $1 ORDER BY subject, day LIMIT $2`
	selectOldMinutes = `SELECT subject, minute FROM usage_minutes WHERE minute < $1 ORDER BY subject, minute LIMIT $2`
	selectUsed       = `SELECT COALESCE((SELECT n FROM usage_totals WHERE subject = $1), 0)
		+ COALESCE((SELECT CAST(sum(n) AS BIGINT) FROM usage_days WHERE subject = $2), 0)`
)

// Used is what one subject (an account, a subuser or a key) has used, in credits.
type Used struct {
	Minutes map[int64]int64 // by Unix minute; about the last two hours are kept
	Days    map[int64]int64 // by day since 1970-01-01 of the account's time zone; 400 are kept
	Ever    int64           // in all
}

// Used reads what a subject has used: in each minute from sinceMinute on, in each
// day from sinceDay on, and in all, as of one moment. It counts what was
// committed and nothing else.
func (s *Store) Used(ctx context.Context, subject relay.ID, sinceMinute, sinceDay int64) (Used, error) {
	u := Used{Minutes: map[int64]int64{}, Days: map[int64]int64{}}
	id := blob(subject)
	err := s.reading(ctx, func(tx *sql.Tx) error {
		for _, part := range []struct {
			into  map[int64]int64
			query string
			since int64
		}{
			{u.Minutes, `SELECT minute, n FROM usage_minutes WHERE subject = $1 AND minute >= $2`, sinceMinute},
			{u.Days, `SELECT day, n FROM usage_days WHERE subject = $1 AND day >= $2`, sinceDay},
		} {
			err := eachRow(ctx, tx, part.query, []any{id, part.since}, func(r *sql.Rows) error {
				var at, n int64
				err := r.Scan(&at, &n)
				part.into[at] = n
				return err
			})
			if err != nil {
				return err
			}
		}
		return tx.QueryRowContext(ctx, selectUsed, id, id).Scan(&u.Ever)
	})
	if err != nil {
		return Used{}, fmt.Errorf("read usage: %w", s.readError(err))
	}
	return u, nil
}

// appendUsage adds what an acceptance uses to an operation.
func appendUsage(o *op, deltas []relay.UsageDelta) error {
	for i := range deltas {
		if d := &deltas[i]; d.Subject.IsZero() || d.N <= 0 || d.N > maxUsage {
			return fmt.Errorf("%w: usage of %d by %s", errAcceptance, d.N, d.Subject)
		}
	}
	o.usage = append(o.usage, deltas...)
	return nil
}

// usageCalls is what the operations of a batch use together: one statement for
// each row, however many messages add to it, in one order on all nodes, so that
// two batches that wait for each other's rows never block for good.
func usageCalls(ops []*op) []call {
	var minutes, days []relay.UsageDelta
	for _, o := range ops {
		for _, d := range o.usage {
			minutes = append(minutes, relay.UsageDelta{Subject: d.Subject, Minute: d.Minute, N: d.N})
			days = append(days, relay.UsageDelta{Subject: d.Subject, Day: d.Day, N: d.N})
		}
	}
	if len(minutes) == 0 {
		return nil
	}
	var calls []call
	for _, d := range merged(minutes) {
		calls = append(calls, call{st: stmtUsageMinute, args: []any{blob(d.Subject), d.Minute, d.N}, want: anyRows})
	}
	for _, d := range merged(days) {
		calls = append(calls, call{st: stmtUsageDay, args: []any{blob(d.Subject), d.Day, d.N}, want: anyRows})
	}
	return calls
}

// merged sorts increments and adds up those of the same row.
func merged(all []relay.UsageDelta) []relay.UsageDelta {
	slices.SortFunc(all, func(a, b relay.UsageDelta) int {
		return cmp.Or(bytes.Compare(a.Subject[:], b.Subject[:]), cmp.Compare(a.Minute, b.Minute), cmp.Compare(a.Day, b.Day))
	})
	out := all[:1]
	for _, d := range all[1:] {
		if last := &out[len(out)-1]; last.Subject == d.Subject && last.Minute == d.Minute && last.Day == d.Day {
			last.N += d.N
			continue
		}
		out = append(out, d)
	}
	return out
}

// sweepUsage removes minutes that no window reaches any more, and adds days that
// are too old to the totals.
func (s *Store) sweepUsage(ctx context.Context, now time.Time) error {
	err := s.sweepRows(ctx, "sweep usage minutes", selectOldMinutes, now.Add(-keepMinutes).Unix()/60, func(o *op, subject []byte, minute int64) {
		o.add(stmtUsageMinutesGone, subject, minute)
	})
	oldest := now.Unix()/(24*60*60) - keepDays
	return errors.Join(err, s.sweepRows(ctx, "fold usage days", selectOldDays, oldest, func(o *op, subject []byte, day int64) {
		o.add(stmtUsageFold, subject, day)
		if s.eng.dialect() == dSQLite {
			o.add(stmtUsageFolded, subject, day)
		}
	}))
}

// sweepRows hands the rows below a mark to add, a page to an operation.
func (s *Store) sweepRows(ctx context.Context, name, query string, before int64, add func(o *op, subject []byte, at int64)) error {
	for {
		o, n := newOp(name), 0
		err := eachRow(ctx, s.db, query, []any{before, int64(usagePage)}, func(r *sql.Rows) error {
			var subject []byte
			var at int64
			if err := r.Scan(&subject, &at); err != nil {
				return err
			}
			n++
			add(o, bytes.Clone(subject), at)
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", name, s.readError(err))
		}
		if n == 0 {
			return nil
		}
		if err := s.w.doLow(ctx, o); err != nil {
			return err
		}
		if n < usagePage {
			return nil
		}
	}
}
