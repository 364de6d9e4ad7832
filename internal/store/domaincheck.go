package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"postern/internal/relay"
)

const (
	insertCheck = `INSERT INTO domain_checks (domain_id, at, next_at) VALUES ($1, $2, $3)`
	deleteCheck = `DELETE FROM domain_checks WHERE domain_id = $1`
	deleteFound = `DELETE FROM domain_findings WHERE domain_id = $1`
	setCheckDue = `UPDATE domain_checks SET next_at = $1 WHERE domain_id = $2`
	selectCheck = `SELECT c.at, c.next_at, f.found FROM domain_checks c JOIN domain_findings f ON f.domain_id = c.domain_id WHERE c.domain_id = $1`
	// One of each account, then the next of each.
	dueInTurn = `SELECT domain_id FROM (SELECT c.domain_id, c.next_at, ROW_NUMBER() OVER (PARTITION BY d.account_id ORDER BY c.next_at) AS turn
		FROM domain_checks c JOIN domains d ON d.id = c.domain_id WHERE c.next_at > 0 AND c.next_at <= $1) AS due ORDER BY turn, next_at LIMIT $2`
	claimChecks = `UPDATE domain_checks SET next_at = $1 WHERE domain_id IN (SELECT domain_id FROM domain_checks WHERE next_at > 0 AND next_at <= $2 AND domain_id IN (`
	// maxCheck bounds what one check may say: much of it is the words of other
	// people's name servers.
	maxCheck = 256 << 10
	// MaxClaim bounds how many checks are claimed at once.
	MaxClaim = 1000
)

var (
	stmtChecked = newStmt(`UPDATE domain_checks SET at = $1, next_at = CASE WHEN next_at = 0 OR CAST($2 AS BIGINT) = 0 THEN next_at ELSE CAST($3 AS BIGINT) END WHERE domain_id = $4`)
	// What was found mostly is what was found before: then nothing is written.
	stmtFound = newStmt(`INSERT INTO domain_findings (domain_id, sum, found) VALUES ($1, $2, $3)
		ON CONFLICT (domain_id) DO UPDATE SET sum = excluded.sum, found = excluded.found WHERE domain_findings.sum <> excluded.sum`)
	stmtCheckDue = newStmt(`UPDATE domain_checks SET next_at = CASE WHEN next_at > CAST($1 AS BIGINT) THEN CAST($2 AS BIGINT) ELSE next_at END WHERE domain_id = $3`)
)

// PutDomainCheck keeps the result of a domain's last check in the place of the one
// before, and sets when it is due again: at NextAt, or, if that is zero, when it
// was. It raises no revision and waits behind mail. relay.NotFound: there is no
// such domain, or it is deleted; relay.TooLarge: it says more than 256 KiB.
func (s *Store) PutDomainCheck(ctx context.Context, c relay.DomainCheck) error {
	found, sum, err := packCheck(c)
	if err != nil {
		return err
	}
	o := newOp("put domain check")
	o.grows, o.miss = true, notFound("domain")
	o.bytes += len(found)
	next := micros(c.NextAt)
	o.must(1, stmtChecked, micros(c.At), next, next, blob(c.Domain.ID))
	o.add(stmtFound, blob(c.Domain.ID), sum, found)
	return s.w.doLow(ctx, o)
}

// packCheck is what a check found, with its hash. Domain and times are columns:
// in nothing else do most checks differ from the one before.
func packCheck(c relay.DomainCheck) (found string, sum []byte, err error) {
	id := c.Domain
	c.Domain, c.At, c.NextAt = relay.DomainID{}, time.Time{}, time.Time{}
	b, err := json.Marshal(c)
	if err != nil {
		return "", nil, fmt.Errorf("put check of domain %s: %w", id, err)
	}
	if len(b) > maxCheck {
		return "", nil, relay.E(relay.TooLarge, "The result of the check is too large.")
	}
	h := sha256.Sum256(b)
	return text(string(b)), h[:16], nil
}

// DomainCheck returns the result of a domain's last check. relay.NotFound: it was
// never checked.
func (s *Store) DomainCheck(ctx context.Context, id relay.DomainID) (relay.DomainCheck, error) {
	c, err := one(ctx, s.db, "check of the domain", scanCheck, selectCheck, blob(id.ID))
	c.Domain = id
	return read(s, "domain check", c, err)
}

func scanCheck(r scanner) (relay.DomainCheck, error) {
	var c relay.DomainCheck
	var at, next int64
	var found string
	if err := r.Scan(&at, &next, &found); err != nil {
		return c, err
	}
	err := unpackJSON(found, &c, "domain_findings.found")
	c.At, c.NextAt = timeOf(at), timeOf(next)
	return c, err
}

// ClaimChecks returns up to n domains that are due to be looked at: of each account
// the one that is so the longest, then the next of each, so that nobody who has
// thousands of them keeps the others waiting. It puts them off until a time, so
// that no other node takes them and a node that dies with them loses nothing. At
// most MaxClaim at once. Domains that are disabled or deleted are never due. It
// raises no revision, and where nothing is due it only reads.
func (s *Store) ClaimChecks(ctx context.Context, now, until time.Time, n int) ([]relay.DomainID, error) {
	// With a hundred thousand due this takes a while, and it must not hold up who writes.
	turns, err := column[[]byte](ctx, s.db, dueInTurn, micros(now), int64(min(max(n, 0), MaxClaim)))
	if err != nil {
		return nil, fmt.Errorf("claim checks: %w", s.readError(err))
	}
	if len(turns) == 0 {
		return nil, nil
	}
	args := []any{micros(until), micros(now)}
	var query strings.Builder
	query.WriteString(claimChecks)
	for i, id := range turns {
		args = append(args, id)
		fmt.Fprintf(&query, "%s$%d", strings.Repeat(", ", min(i, 1)), len(args))
	}
	query.WriteByte(')')
	if s.eng.dialect() == dPostgres {
		query.WriteString(" FOR UPDATE SKIP LOCKED")
	}
	query.WriteString(") RETURNING domain_id")
	var out []relay.DomainID
	err = s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		ids, err := column[[]byte](ctx, tx, query.String(), args...)
		out = out[:0]
		for _, id := range ids {
			out = append(out, relay.DomainID{ID: idOf(id)})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("claim checks: %w", err)
	}
	return out, nil
}

// CheckDue brings the next check of a domain forward to a time. One that is due
// earlier stays so, and one of a disabled domain is not due at all.
// relay.NotFound: there is no such domain, or it is deleted.
func (s *Store) CheckDue(ctx context.Context, id relay.DomainID, at time.Time) error {
	o := newOp("bring check forward")
	o.miss = notFound("domain")
	o.must(1, stmtCheckDue, micros(at), micros(at), blob(id.ID))
	return s.w.do(ctx, o)
}

// switchChecks follows a domain that was switched off, on, or deleted.
func (s *Store) switchChecks(ctx context.Context, tx *sql.Tx, d *relay.Domain) error {
	id := blob(d.ID.ID)
	if !d.DeletedAt.IsZero() {
		// In the order in which checks write them, so that on PostgreSQL neither waits
		// for the other for good.
		if _, err := tx.ExecContext(ctx, deleteCheck, id); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, deleteFound, id)
		return err
	}
	var next int64
	if d.DisabledAt.IsZero() {
		next = s.now()
	}
	_, err := tx.ExecContext(ctx, setCheckDue, next, id)
	return err
}
