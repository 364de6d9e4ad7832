package v3

import (
	"context"
	"net/http"
	"time"

	"postern/internal/dmarc"
	"postern/internal/relay"
	"postern/internal/sender"
)

// ReportServices is what the routes about aggregate reports need.
type ReportServices struct {
	// Reports shows what aggregate reports say of a domain; *sender.Reports does. nil:
	// no reports are taken here.
	Reports ReportReader
}

// ReportReader shows reports that begin in [from, to).
type ReportReader interface {
	Summary(ctx context.Context, d relay.Domain, from, to time.Time) (*sender.ReportSummary, error)
	List(ctx context.Context, d relay.Domain, from, to time.Time, limit, offset int) ([]dmarc.Head, error)
	// Report is one of them. relay.NotFound: there is none.
	Report(ctx context.Context, d relay.Domain, org, reportID string, begin time.Time) (*sender.Report, error)
}

var reportDates = []Param{
	{Name: "start_date", Type: "string", Doc: "the first day, YYYY-MM-DD in UTC; 29 days before the last if it is not given"},
	{Name: "end_date", Type: "string", Doc: "the last day; today if it is not given"},
}

var reportRoutes = []Route{
	{
		Method: "GET", Pattern: pathDomain + "/dmarc", Scope: scopeDomainRead,
		Summary: "Show what aggregate reports of DMARC say of a domain: who sends as it from where, what fails and why, and how ready it is for a stricter policy",
		Query:   reportDates, Answers: map[int]any{200: sender.ReportSummary{}}, Handler: (*API).showReports,
	},
	{
		Method: "GET", Pattern: pathDomain + "/dmarc/reports", Scope: scopeDomainRead,
		Summary: "List aggregate reports about a domain, the latest first",
		Query:   append(append([]Param{}, reportDates...), paging...), Answers: map[int]any{200: reportList{}}, Handler: (*API).listReports,
	},
	{
		Method: "GET", Pattern: pathDomain + "/dmarc/report", Scope: scopeDomainRead,
		Summary: "Show one aggregate report about a domain with its rows; what names it is of the list of reports",
		Query: []Param{
			{Name: "org_name", Type: "string", Doc: "who sent it, by their own word"},
			{Name: "report_id", Type: "string", Doc: "their number for it"},
			{Name: "begin", Type: "string", Doc: "when the time begins that it is about, as the list has it"},
		},
		Answers: map[int]any{200: sender.Report{}}, Handler: (*API).showReport,
	},
}

type reportList struct {
	Result []dmarc.Head `json:"result"`
}

// The bounds of a list of reports, and of the time that it is about.
const (
	usualReports = 100
	mostReports  = 1000
	mostDays     = 400
)

// reportDomain is the domain of the path, if its reports are the caller's to see:
// they tell of all mail as the domain, so they are not for those it is shared with.
func (a *API) reportDomain(c *Call) (relay.Domain, error) {
	d, err := a.pathDomain(c)
	switch {
	case err != nil:
		return d, err
	case !c.mayChange(&d):
		return relay.Domain{}, refused("", "This domain is shared with you; reports about it are for its owner.")
	case a.Reports == nil:
		return relay.Domain{}, relay.E(relay.Unavailable, "Reports are not taken here.")
	}
	return d, nil
}

// reportSpan is the time from the first day to the end of the last.
func reportSpan(c *Call) (from, to time.Time, err error) {
	last := c.Now.UTC().Truncate(24 * time.Hour)
	if last, err = reportDate(c, "end_date", last); err != nil {
		return from, to, err
	}
	first, err := reportDate(c, "start_date", last.AddDate(0, 0, -29))
	switch {
	case err != nil:
		return from, to, err
	case first.After(last):
		return from, to, invalid("start_date", "The first day is after the last.")
	case last.Sub(first) >= mostDays*24*time.Hour:
		return from, to, invalid("start_date", "At most %d days can be asked for.", mostDays)
	}
	return first, last.AddDate(0, 0, 1), nil
}

func reportDate(c *Call, name string, fallback time.Time) (time.Time, error) {
	text := c.Text(name)
	if text == "" {
		return fallback, nil
	}
	t, err := time.Parse(time.DateOnly, text)
	if err != nil || t.Year() < 1970 {
		return t, invalid(name, "Not a day such as 2026-03-01.")
	}
	return t, nil
}

func (a *API) showReports(c *Call) error {
	d, err := a.reportDomain(c)
	if err != nil {
		return err
	}
	from, to, err := reportSpan(c)
	if err != nil {
		return err
	}
	sum, err := a.Reports.Summary(c.R.Context(), d, from, to)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, sum)
}

func (a *API) listReports(c *Call) error {
	d, err := a.reportDomain(c)
	if err != nil {
		return err
	}
	from, to, err := reportSpan(c)
	if err != nil {
		return err
	}
	limit, offset, err := c.Page(usualReports, mostReports)
	if err != nil {
		return err
	}
	list, err := a.Reports.List(c.R.Context(), d, from, to, limit, offset)
	if err != nil {
		return err
	}
	if list == nil {
		list = []dmarc.Head{}
	}
	return c.JSON(http.StatusOK, reportList{list})
}

func (a *API) showReport(c *Call) error {
	d, err := a.reportDomain(c)
	if err != nil {
		return err
	}
	begin, err := time.Parse(time.RFC3339, c.Text("begin"))
	if err != nil || begin.Year() < 1970 {
		return invalid("begin", "Not a time such as 2026-03-01T00:00:00Z.")
	}
	r, err := a.Reports.Report(c.R.Context(), d, c.Text("org_name"), c.Text("report_id"), begin)
	if err != nil {
		return hidden(err)
	}
	return c.JSON(http.StatusOK, r)
}
