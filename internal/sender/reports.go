package sender

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"postern/internal/dmarc"
	"postern/internal/dns"
	"postern/internal/relay"
)

// ReportStore keeps aggregate reports of DMARC; *store.Store is one.
type ReportStore interface {
	// AddAggregate keeps a report. One with the same organization, report id and
	// begin is there already: then new is false, and nothing changes.
	AddAggregate(ctx context.Context, domain relay.DomainID, k dmarc.Kept) (new bool, err error)
	// AggregateReports are those that begin in [from, to), the latest first; at most
	// 1,000, after the first offset of them.
	AggregateReports(ctx context.Context, domain relay.DomainID, from, to time.Time, limit, offset int) ([]dmarc.Head, error)
	// AggregateReport is one report with its sources. relay.NotFound: there is none.
	AggregateReport(ctx context.Context, domain relay.DomainID, org, reportID string, begin time.Time) (dmarc.Kept, error)
	// AggregateSources sums the sources of those reports.
	AggregateSources(ctx context.Context, domain relay.DomainID, from, to time.Time) ([]dmarc.Source, error)
}

// ReportsConfig sets Reports up.
type ReportsConfig struct {
	Store ReportStore
	// Resolver asks for the policy that is published, for recommendations; nil: none
	// are made.
	Resolver dns.Resolver
	// Address is the mail address where a domain's reports are taken; "": nowhere.
	// Zone.ReportAddress is one.
	Address func(d relay.Domain) string
	// Addresses are those that mail as a domain leaves from, beside its own IPs; nil:
	// not known.
	Addresses func(d relay.Domain) []netip.Addr
	Logger    *slog.Logger
	Now       func() time.Time
}

// Reports takes aggregate reports of DMARC and shows what they say. What they say
// is the word of whoever sent them: see Readiness for what follows from it.
type Reports struct {
	cfg ReportsConfig
	// turn lets one report at a time be unpacked and read: that may take 64 MiB of
	// XML, and strangers send them.
	turn chan struct{}
}

// NewReports makes Reports.
func NewReports(c ReportsConfig) *Reports {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Reports{cfg: c, turn: make(chan struct{}, 1)}
}

// The bounds of the time that a report may be about.
const (
	// maxReportAge: reports come within a day; one that is much older is a stray.
	maxReportAge = 60 * 24 * time.Hour
	// maxReportAhead: the clocks of others.
	maxReportAhead = 24 * time.Hour
	// turnWait is how long a report waits for its turn to be read.
	turnWait = 20 * time.Second
)

// errReportOther: the report is about something else.
var errReportOther = errors.New("the report is not about this domain, now")

// Take keeps the report in a message that came for a domain from an address. When
// it returns nil, the report is committed, was there already, or is of no use and
// was dropped; that is logged. An error means that it may be sent again.
func (s *Reports) Take(ctx context.Context, d relay.Domain, from netip.Addr, raw []byte) error {
	wait, cancel := context.WithTimeout(ctx, turnWait)
	defer cancel()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-wait.Done():
		return relay.E(relay.Unavailable, "Too many reports at the moment; try again later")
	}
	log := s.cfg.Logger.With("domain", d.Name, "addr", from.String())
	a, err := ReadReport(raw)
	if err == nil {
		err = s.judge(d, a)
	}
	if err != nil {
		log.Info("dmarc report dropped", "err", fmt.Sprintf("%.300q", err.Error()))
		return nil
	}
	k := a.Keep(from, s.cfg.Now().UTC())
	isNew, err := s.cfg.Store.AddAggregate(ctx, d.ID, k)
	if e, ok := errors.AsType[*relay.Error](err); ok && e.Kind == relay.NotFound {
		log.Info("dmarc report dropped", "err", "the domain was deleted")
		return nil
	}
	if err != nil {
		return fmt.Errorf("keep report for %s: %w", d.Name, err)
	}
	// The report is durable here; a crash before the answer makes its sender repeat
	// it, and it is found to be there.
	log.Info("dmarc report taken", "org", k.Org, "report_id", k.ReportID, "messages", k.Messages, "failing", k.Failing, "new", isNew)
	return nil
}

// judge refuses reports that are about something else: anybody may send one to
// any address.
func (s *Reports) judge(d relay.Domain, a *dmarc.Aggregate) error {
	about := a.Published.Domain
	// A report may be about the organization that the domain is part of, if that
	// publishes the policy; not about a public suffix.
	above := within(d.Name, about) && within(about, dmarc.ListOrganizational(d.Name))
	if !above && !within(about, d.Name) {
		return fmt.Errorf("%w: it is about %s", errReportOther, about)
	}
	now := s.cfg.Now()
	if a.End.Before(now.Add(-maxReportAge)) || a.Begin.After(now.Add(maxReportAhead)) {
		return fmt.Errorf("%w: it is about %s to %s", errReportOther, a.Begin.Format(time.RFC3339), a.End.Format(time.RFC3339))
	}
	return nil
}

// ReadReport reads an aggregate report: a file, packed or not, or a whole message
// with one attached. Errors wrap dmarc.ErrReport.
func ReadReport(raw []byte) (*dmarc.Aggregate, error) {
	if isReportFile(raw) {
		return dmarc.ParseAggregate(bytes.NewReader(raw), "file")
	}
	file, name, err := reportAttachment(raw)
	if err != nil {
		return nil, err
	}
	return dmarc.ParseAggregate(bytes.NewReader(file), name)
}

// isReportFile tells a report file from a message, by its first octets.
func isReportFile(raw []byte) bool {
	for _, magic := range []string{"\x1f\x8b", "PK\x03\x04", "\xef\xbb\xbf<", "<"} {
		if bytes.HasPrefix(raw, []byte(magic)) {
			return true
		}
	}
	return bytes.HasPrefix(bytes.TrimLeft(raw, " \t\r\n"), []byte("<"))
}
