package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"postern/internal/relay"
)

const (
	// keepAuditReports and mostAuditReports bound what is kept of an account.
	keepAuditReports = 400 * 24 * time.Hour
	mostAuditReports = 500
	// maxAuditReport bounds one report, compressed.
	maxAuditReport = 4 << 20

	auditHeads          = `id, account_id, at, score, findings`
	insertAuditReport   = `INSERT INTO audit_reports (id, account_id, at, score, findings, body) VALUES ($1, $2, $3, $4, $5, $6)`
	selectAuditReports  = `SELECT ` + auditHeads + ` FROM audit_reports WHERE account_id = $1 ORDER BY at DESC, id DESC LIMIT $2`
	selectAuditReport   = `SELECT ` + auditHeads + `, body FROM audit_reports WHERE account_id = $1 AND id = $2`
	dropManyAuditReport = `DELETE FROM audit_reports WHERE account_id = $1 AND id NOT IN
		(SELECT id FROM audit_reports WHERE account_id = $2 ORDER BY at DESC, id DESC LIMIT $3)`
	dropOldAuditReports = `DELETE FROM audit_reports WHERE at < $1`
)

// AuditReport is a kept audit report.
type AuditReport struct {
	ID       relay.ID        `json:"id"`
	Account  relay.AccountID `json:"account_id"`
	At       time.Time       `json:"at"`
	Score    int64           `json:"score"`
	Findings int64           `json:"findings"`
	Body     []byte          `json:"-"` // as its maker wrote it; not read with lists
}

func scanAuditHead(r scanner) (AuditReport, error) {
	return scanAuditReport(r, nil)
}

func scanAuditReport(r scanner, body *[]byte) (AuditReport, error) {
	var v AuditReport
	var id, acct []byte
	var at int64
	into := []any{&id, &acct, &at, &v.Score, &v.Findings}
	if body != nil {
		into = append(into, body)
	}
	err := r.Scan(into...)
	v.ID, v.Account.ID, v.At = idOf(id), idOf(acct), timeOf(at)
	return v, err
}

// PutAuditReport keeps a report, and forgets the account's oldest where it has
// more than 500. It records who kept it, and raises no revision. relay.TooLarge:
// more than 4 MiB; relay.NotFound: there is no such account; relay.Conflict: it is
// kept already.
func (s *Store) PutAuditReport(ctx context.Context, by By, r AuditReport) error {
	if len(r.Body) > maxAuditReport {
		return relay.E(relay.TooLarge, "The report is too large to be kept.")
	}
	acct := blob(r.Account.ID)
	err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := s.record(ctx, tx, by, note{account: r.Account, action: "audit.report", subject: "report " + r.ID.String(), after: r}); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, insertAuditReport, blob(r.ID), acct, micros(r.At), r.Score, r.Findings, filled(r.Body)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, dropManyAuditReport, acct, acct, int64(mostAuditReports))
		return err
	})
	return changeError(err)
}

// AuditReports lists the reports that are kept of an account, the newest first,
// without their bodies: at most limit.
func (s *Store) AuditReports(ctx context.Context, account relay.AccountID, limit int) ([]AuditReport, error) {
	v, err := list(ctx, s.db, scanAuditHead, selectAuditReports, blob(account.ID), int64(page(limit, mostAuditReports)))
	return read(s, "audit reports", v, err)
}

// AuditReport returns one report of an account, or relay.NotFound.
func (s *Store) AuditReport(ctx context.Context, account relay.AccountID, id relay.ID) (AuditReport, error) {
	v, err := one(ctx, s.db, "audit report", func(r scanner) (AuditReport, error) {
		var body []byte
		v, err := scanAuditReport(r, &body)
		v.Body = body
		return v, err
	}, selectAuditReport, blob(account.ID), blob(id))
	return read(s, "audit report", v, err)
}

// PruneAuditReports forgets reports of more than 400 days ago.
func (s *Store) PruneAuditReports(ctx context.Context, now time.Time) (int64, error) {
	var n int64
	err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, dropOldAuditReports, now.Add(-keepAuditReports).UnixMicro())
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("prune audit reports: %w", err)
	}
	return n, nil
}
