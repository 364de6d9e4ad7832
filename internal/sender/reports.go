package sender

import (
	"context"
	"time"

	"postern/internal/dmarc"
	"postern/internal/relay"
)

// ReportStore keeps aggregate reports of DMARC; *store.Store is one.
type ReportStore interface {
	// AddAggregate keeps a report. One with the same organization, report id and
	// begin is there already: then new is false, and nothing changes.
	AddAggregate(ctx context.Context, domain relay.DomainID, k dmarc.Kept) (new bool, err error)
	// AggregateReports are those that begin in [from, to), the latest first.
	AggregateReports(ctx context.Context, domain relay.DomainID, from, to time.Time, limit int) ([]dmarc.Head, error)
	// AggregateSources sums the sources of those reports.
	AggregateSources(ctx context.Context, domain relay.DomainID, from, to time.Time) ([]dmarc.Source, error)
}
