package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"postern/internal/dmarc"
	"postern/internal/relay"
)

const (
	insertReport = `INSERT INTO dmarc_reports (domain_id, org, report_id, begin_at, end_at, received_at, received_from, email, published, messages, aligned,
		spf, dkim, failing, quarantined, rejected, sources) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
		ON CONFLICT (domain_id, org, report_id, begin_at) DO NOTHING RETURNING id`
	insertSource = `INSERT INTO dmarc_sources (report, n, addr, header_from, disposition, spf, dkim, spf_check, signatures, reasons, count)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`
	selectReports = `SELECT org, report_id, begin_at, end_at, received_at, received_from, email, published, messages, aligned, spf, dkim, failing,
		quarantined, rejected FROM dmarc_reports`
	selectSources = `SELECT s.addr, s.header_from, s.disposition, s.spf, s.dkim, s.spf_check, s.signatures, s.reasons, CAST(sum(s.count) AS BIGINT) AS n
		FROM dmarc_reports r JOIN dmarc_sources s ON s.report = r.id`
	groupSources = ` GROUP BY s.addr, s.header_from, s.disposition, s.spf, s.dkim, s.spf_check, s.signatures, s.reasons
		ORDER BY n DESC, s.addr, s.header_from, s.disposition, s.spf, s.dkim, s.spf_check, s.signatures, s.reasons`
	selectRows = `SELECT s.addr, s.header_from, s.disposition, s.spf, s.dkim, s.spf_check, s.signatures, s.reasons, s.count
		FROM dmarc_reports r JOIN dmarc_sources s ON s.report = r.id`
	// oneReport is the key of a report.
	oneReport     = ` WHERE domain_id = $1 AND org = $2 AND report_id = $3 AND begin_at = $4`
	countReports  = `SELECT count(*), CAST(COALESCE(sum(sources), 0) AS BIGINT) FROM dmarc_reports WHERE domain_id = $1`
	oldestReports = `SELECT id, sources FROM dmarc_reports WHERE domain_id = $1 ORDER BY id`
	staleReports  = `SELECT id FROM dmarc_reports WHERE received_at < $1 ORDER BY received_at LIMIT 20`
	deleteSources = `DELETE FROM dmarc_sources WHERE report = $1`
	deleteReport  = `DELETE FROM dmarc_reports WHERE id = $1`

	// maxReports and maxSources bound what is kept about one domain: reports are the
	// word of strangers, and cost them nothing. Beyond it the first that came go.
	maxReports = 20_000
	maxSources = 100_000
	// maxCounted bounds one count, so that no sum can overflow.
	maxCounted = 1 << 40
	// maxShown bounds the sources that AggregateSources tells apart.
	maxShown = 5000
	// maxReportKey bounds the words of a reporter that are part of a report's key.
	maxReportKey = 500
)

// AddAggregate keeps an aggregate report of DMARC about a domain. One with the
// same organization, report id and begin is there already: then new is false, and
// nothing changes. Of one domain 20,000 reports with 100,000 sources are kept;
// the first that came make room. It raises no revision. relay.NotFound: there is
// no such domain, or it is deleted.
func (s *Store) AddAggregate(ctx context.Context, domain relay.DomainID, k dmarc.Kept) (new bool, err error) {
	published, err := packJSON(k.Published, false)
	if err != nil {
		return false, fmt.Errorf("add aggregate report: %w", err)
	}
	// A report may have thousands of sources, and it is mail: nobody waits for it.
	err = s.eng.transact(patiently(ctx), func(ctx context.Context, tx *sql.Tx) error {
		if _, err := s.liveDomain(ctx, tx, domain); err != nil {
			return err
		}
		var id int64
		err := tx.QueryRowContext(ctx, insertReport, blob(domain.ID), cut(k.Org), cut(k.ReportID), micros(k.Begin), micros(k.End), micros(k.ReceivedAt),
			addrText(k.From), text(k.Email), text(published), counted(k.Messages), counted(k.Aligned), counted(k.SPF), counted(k.DKIM), counted(k.Failing),
			counted(k.Quarantined), counted(k.Rejected), int64(len(k.Sources))).Scan(&id)
		if new = err == nil; errors.Is(err, sql.ErrNoRows) {
			return nil // it is there
		}
		if err != nil {
			return err
		}
		if err := putSources(ctx, tx, id, k.Sources); err != nil {
			return err
		}
		return makeRoom(ctx, tx, domain)
	})
	if err != nil {
		return false, fmt.Errorf("add aggregate report: %w", err)
	}
	return new, nil
}

func putSources(ctx context.Context, tx *sql.Tx, report int64, sources []dmarc.Source) error {
	put, err := tx.PrepareContext(ctx, insertSource)
	if err != nil {
		return err
	}
	defer func() { _ = put.Close() }()
	for i := range sources {
		v := &sources[i]
		if _, err := put.ExecContext(ctx, report, int64(i), addrText(v.Addr), text(v.HeaderFrom), text(v.Disposition), flag(v.SPF), flag(v.DKIM),
			text(v.SPFCheck), text(v.Signatures), text(v.Reasons), counted(v.Count)); err != nil {
			return err
		}
	}
	return nil
}

// makeRoom drops the first reports of a domain that has too many.
func makeRoom(ctx context.Context, tx *sql.Tx, domain relay.DomainID) error {
	var reports, sources int64
	if err := tx.QueryRowContext(ctx, countReports, blob(domain.ID)).Scan(&reports, &sources); err != nil {
		return err
	}
	if reports <= maxReports && sources <= maxSources {
		return nil
	}
	var drop []int64
	err := eachRow(ctx, tx, oldestReports, []any{blob(domain.ID)}, func(r *sql.Rows) error {
		var id, n int64
		if err := r.Scan(&id, &n); err != nil {
			return err
		}
		if reports > maxReports || sources > maxSources {
			drop = append(drop, id)
			reports, sources = reports-1, sources-n
		}
		return nil
	})
	if err != nil {
		return err
	}
	return dropReports(ctx, tx, drop)
}

func dropReports(ctx context.Context, tx *sql.Tx, ids []int64) error {
	for _, id := range ids {
		if _, err := tx.ExecContext(ctx, deleteSources, id); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, deleteReport, id); err != nil {
			return err
		}
	}
	return nil
}

func counted(n int64) int64 { return min(max(n, 0), maxCounted) }

func cut(s string) string {
	if len(s) > maxReportKey {
		s = strings.ToValidUTF8(s[:maxReportKey], "")
	}
	return text(s)
}

// aggregatesOf restricts to reports about a domain that begin in [from, to); the
// zero times do not restrict.
func aggregatesOf(domain relay.DomainID, from, to time.Time, prefix string) *where {
	w := &where{}
	w.and(prefix+"domain_id = ?", blob(domain.ID))
	if !from.IsZero() {
		w.and(prefix+"begin_at >= ?", micros(from))
	}
	if !to.IsZero() {
		w.and(prefix+"begin_at < ?", micros(to))
	}
	return w
}

// AggregateReports lists the reports about a domain that begin in [from, to), the
// latest first, of one moment the last that came; at most limit (0: 100; 1,000),
// after the first offset of them. Zero times do not restrict.
func (s *Store) AggregateReports(ctx context.Context, domain relay.DomainID, from, to time.Time, limit, offset int) ([]dmarc.Head, error) {
	w := aggregatesOf(domain, from, to, "")
	v, err := list(ctx, s.db, scanReport, selectReports+w.String()+` ORDER BY begin_at DESC, id DESC LIMIT `+strconv.Itoa(page(limit, 1000))+
		` OFFSET `+strconv.Itoa(max(offset, 0)), w.args...)
	return read(s, "aggregate reports", v, err)
}

// AggregateReport returns one report about a domain with its sources, as it was kept:
// that of an organization, with its number for it, that begins at a moment.
// relay.NotFound: there is none, any more.
func (s *Store) AggregateReport(ctx context.Context, domain relay.DomainID, org, reportID string, begin time.Time) (dmarc.Kept, error) {
	key := []any{blob(domain.ID), cut(org), cut(reportID), micros(begin)}
	head, err := one(ctx, s.db, "report", scanReport, selectReports+oneReport, key...)
	if err != nil {
		return dmarc.Kept{}, fmt.Errorf("read aggregate report: %w", s.readError(err))
	}
	k := dmarc.Kept{Head: head}
	err = eachRow(ctx, s.db, selectRows+oneReport+` ORDER BY s.n`, key, func(r *sql.Rows) error {
		v, err := scanSource(r)
		k.Sources = append(k.Sources, v)
		return err
	})
	if err != nil {
		return dmarc.Kept{}, fmt.Errorf("read aggregate report: %w", s.readError(err))
	}
	return k, nil
}

func scanReport(r scanner) (dmarc.Head, error) {
	var h dmarc.Head
	var begin, end, received int64
	var from, published string
	if err := r.Scan(&h.Org, &h.ReportID, &begin, &end, &received, &from, &h.Email, &published, &h.Messages, &h.Aligned, &h.SPF, &h.DKIM,
		&h.Failing, &h.Quarantined, &h.Rejected); err != nil {
		return h, err
	}
	h.Begin, h.End, h.ReceivedAt = timeOf(begin), timeOf(end), timeOf(received)
	h.From, _ = netip.ParseAddr(from) // "": not known
	return h, unpackJSON(published, &h.Published, "dmarc_reports.published")
}

// AggregateSources sums the sources of those reports: those that differ in
// nothing but their count are one, and those with the most messages come first.
// Of more than 5,000 the rest is summed without addresses, so that the counts
// always add up.
func (s *Store) AggregateSources(ctx context.Context, domain relay.DomainID, from, to time.Time) ([]dmarc.Source, error) {
	w := aggregatesOf(domain, from, to, "r.")
	var out, rest []dmarc.Source
	at := map[dmarc.Source]int{}
	err := eachRow(ctx, s.db, selectSources+w.String()+groupSources, w.args, func(r *sql.Rows) error {
		v, err := scanSource(r)
		if err != nil || len(out) < maxShown {
			out = append(out, v)
			return err
		}
		key := dmarc.Source{Disposition: v.Disposition, SPF: v.SPF, DKIM: v.DKIM}
		i, ok := at[key]
		if !ok {
			i, at[key] = len(rest), len(rest)
			rest = append(rest, key)
		}
		rest[i].Count += v.Count
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read aggregate sources: %w", s.readError(err))
	}
	return append(out, rest...), nil
}

func scanSource(r *sql.Rows) (dmarc.Source, error) {
	var v dmarc.Source
	var addr string
	var spf, dkim int64
	err := r.Scan(&addr, &v.HeaderFrom, &v.Disposition, &spf, &dkim, &v.SPFCheck, &v.Signatures, &v.Reasons, &v.Count)
	v.Addr, _ = netip.ParseAddr(addr) // "": what was left of a report with too many
	v.SPF, v.DKIM = spf != 0, dkim != 0
	return v, err
}

// sweepReports forgets reports that came too long ago, some in each transaction.
func (s *Store) sweepReports(ctx context.Context, now time.Time) error {
	before := now.Add(-s.cfg.KeepReports).UnixMicro()
	for {
		stale, err := column[int64](ctx, s.db, staleReports, before)
		if err != nil {
			return fmt.Errorf("sweep aggregate reports: %w", s.readError(err))
		}
		if len(stale) == 0 {
			return nil
		}
		if err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error { return dropReports(ctx, tx, stale) }); err != nil {
			return fmt.Errorf("sweep aggregate reports: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}
