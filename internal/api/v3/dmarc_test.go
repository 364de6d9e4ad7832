package v3

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/dmarc"
	"postern/internal/relay"
	"postern/internal/sender"
)

// The service itself is what the routes need.
var _ ReportReader = (*sender.Reports)(nil)

// fakeReportRows keeps reports as the store does.
type fakeReportRows struct {
	w    *world
	kept map[relay.DomainID][]dmarc.Kept
}

func init() {
	setups = append(setups, func(w *world, s *Services) {
		f := &fakeReportRows{w: w, kept: map[relay.DomainID][]dmarc.Kept{}}
		w.extra["reports"] = f
		s.Reports = sender.NewReports(sender.ReportsConfig{Store: f, Now: w.clock})
	})
	addFixtures(map[string]fixture{
		"GET " + pathDomain + "/dmarc":         onDomain(200, "/dmarc", ""),
		"GET " + pathDomain + "/dmarc/reports": onDomain(200, "/dmarc/reports", ""),
		"GET " + pathDomain + "/dmarc/report":  onReport(),
	})
}

// onReport is onDomain with a report about it.
func onReport() fixture {
	const query = "/dmarc/report?org_name=a.test&report_id=2026-02-27&begin=2026-02-27T00:00:00Z"
	x := onDomain(200, query, "")
	inner := x.Make
	x.Make = func(w *world, of relay.Tenant) ask {
		a := inner(w, of)
		for _, d := range domainsOf(w).rows {
			w.extra["reports"].(*fakeReportRows).report(d, "a.test", "2026-02-27", 5)
		}
		return a
	}
	return x
}

func (f *fakeReportRows) AddAggregate(_ context.Context, id relay.DomainID, k dmarc.Kept) (bool, error) {
	f.kept[id] = append(f.kept[id], k)
	return true, f.w.fail
}

func (f *fakeReportRows) AggregateReports(_ context.Context, id relay.DomainID, from, to time.Time, limit, offset int) (out []dmarc.Head, err error) {
	for _, k := range f.kept[id] {
		if !k.Begin.Before(from) && k.Begin.Before(to) {
			out = append(out, k.Head)
		}
	}
	out = out[min(offset, len(out)):]
	return out[:min(len(out), limit, 1000)], f.w.fail
}

func (f *fakeReportRows) AggregateReport(_ context.Context, id relay.DomainID, org, reportID string, begin time.Time) (dmarc.Kept, error) {
	for _, k := range f.kept[id] {
		if k.Org == org && k.ReportID == reportID && k.Begin.Equal(begin) {
			return k, f.w.fail
		}
	}
	return dmarc.Kept{}, relay.E(relay.NotFound, "no report of the store's own words")
}

func (f *fakeReportRows) AggregateSources(_ context.Context, id relay.DomainID, from, to time.Time) (out []dmarc.Source, err error) {
	for _, k := range f.kept[id] {
		if !k.Begin.Before(from) && k.Begin.Before(to) {
			out = append(out, k.Sources...)
		}
	}
	return out, f.w.fail
}

// report keeps a report of a day about a domain.
func (f *fakeReportRows) report(d relay.Domain, org, day string, failing int64) {
	begin, err := time.Parse(time.DateOnly, day)
	if err != nil {
		f.w.t.Fatal(err)
	}
	a := dmarc.Aggregate{Org: org, ReportID: day, Begin: begin, End: begin.Add(24 * time.Hour), Published: dmarc.Published{Domain: d.Name, Policy: dmarc.None}, Rows: []dmarc.Row{
		{Addr: netip.MustParseAddr("192.0.2.1"), Count: 10, DKIM: true, HeaderFrom: d.Name, Disposition: "none"},
		{Addr: netip.MustParseAddr("203.0.113.9"), Count: failing, HeaderFrom: d.Name, Disposition: "none", Signatures: []dmarc.Signature{{Domain: "else.test", Result: "pass"}}},
	}}
	f.kept[d.ID] = append(f.kept[d.ID], a.Keep(netip.MustParseAddr("198.51.100.3"), begin.Add(26*time.Hour)))
}

func TestReports(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.extra["reports"].(*fakeReportRows)
	d := domainsOf(w).have(w.acme, "example.test")
	f.report(d, "a.test", "2026-02-27", 5)
	f.report(d, "a.test", "2026-03-01", 1)
	f.report(d, "a.test", "2026-01-01", 100)
	c := w.as(w.acme, scopeDomainRead)
	path := fmt.Sprintf("/v3/whitelabel/domains/%d/dmarc", d.Number)

	var sum map[string]any
	c.want("GET", path, "", 200, &sum)
	// The shape is a promise: a change here breaks clients.
	want := `{
		"domain": "example.test", "from": "2026-01-31T00:00:00Z", "to": "2026-03-02T00:00:00Z",
		"messages": 26, "aligned": 20, "spf_aligned": 0, "dkim_aligned": 20, "failing": 6, "quarantined": 0, "rejected": 0, "reports": 2,
		"days": [
			{"date": "2026-02-27", "messages": 15, "aligned": 10, "spf_aligned": 0, "dkim_aligned": 10, "failing": 5, "quarantined": 0, "rejected": 0},
			{"date": "2026-03-01", "messages": 11, "aligned": 10, "spf_aligned": 0, "dkim_aligned": 10, "failing": 1, "quarantined": 0, "rejected": 0}
		],
		"reporters": [{"org_name": "a.test", "reports": 2, "days": 2, "last": "2026-03-02T02:00:00Z", "messages": 26, "aligned": 20, "spf_aligned": 0, "dkim_aligned": 20,
			"failing": 6, "quarantined": 0, "rejected": 0, "counts": false, "why": "its reports are about 2 days, and 3 are wanted"}],
		"sources": [
			{"source_ip": "203.0.113.9", "ours": false, "messages": 6, "aligned": 0, "spf_aligned": 0, "dkim_aligned": 0, "failing": 6, "quarantined": 0, "rejected": 0,
				"header_from": ["example.test"], "why": ["signs as else.test, which does not align with example.test"]},
			{"source_ip": "192.0.2.1", "ours": false, "messages": 20, "aligned": 20, "spf_aligned": 0, "dkim_aligned": 20, "failing": 0, "quarantined": 0, "rejected": 0,
				"header_from": ["example.test"]}
		],
		"other_sources": {"messages": 0, "aligned": 0, "spf_aligned": 0, "dkim_aligned": 0, "failing": 0, "quarantined": 0, "rejected": 0},
		"readiness": {"quarantine": false, "reject": false, "aligned_share": 0, "because": ["p=quarantine: no report that counts has come yet", "p=reject: no report that counts has come yet"]}
	}`
	var shape map[string]any
	if err := json.Unmarshal([]byte(want), &shape); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(shape, sum); diff != "" {
		t.Error(diff)
	}

	var list reportList
	c.want("GET", path+"/reports?limit=1&offset=1", "", 200, &list)
	if len(list.Result) != 1 || list.Result[0].ReportID != "2026-03-01" || list.Result[0].From.String() != "198.51.100.3" {
		t.Errorf("list %+v", list)
	}
	c.want("GET", path+"/reports?start_date=2026-01-01&end_date=2026-01-01", "", 200, &list)
	if len(list.Result) != 1 || list.Result[0].Failing != 100 {
		t.Errorf("of one day: %+v", list)
	}
	if a := c.want("GET", path+"/reports?start_date=2025-06-01&end_date=2025-06-02", "", 200, nil); a.Body != `{"result":[]}`+"\n" && strings.TrimSpace(a.Body) != `{"result":[]}` {
		t.Errorf("of no day: %s", a.Body)
	}
	for _, q := range []struct{ query, text, field string }{
		{"?start_date=yesterday", "Not a day", "start_date"}, {"?end_date=2026-13-01", "Not a day", "end_date"}, {"?end_date=0001-01-01", "Not a day", "end_date"},
		{"?start_date=2026-03-02&end_date=2026-03-01", "after the last", "start_date"}, {"?start_date=2020-01-01", "At most 400 days", "start_date"},
	} {
		c.refused("GET", path+q.query, "", 400, q.text, q.field)
		c.refused("GET", path+"/reports"+q.query, "", 400, q.text, q.field)
	}
	c.refused("GET", path+"/reports?limit=1001", "", 400, "1 to 1000", "limit")
}

// Of a day with more reports than an answer has, all are listed, and each can be shown.
func TestReportsOfABusyDay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.extra["reports"].(*fakeReportRows)
	d := domainsOf(w).have(w.acme, "example.test")
	const many = mostReports + 50
	for i := range many {
		f.report(d, fmt.Sprintf("org%d.test", i), "2026-02-27", 1)
	}
	c := w.as(w.acme, scopeDomainRead)
	path := fmt.Sprintf("/v3/whitelabel/domains/%d/dmarc", d.Number)
	seen := map[string]bool{}
	for offset := 0; offset < many; offset += mostReports {
		var list reportList
		c.want("GET", fmt.Sprintf("%s/reports?start_date=2026-02-27&end_date=2026-02-27&limit=%d&offset=%d", path, mostReports, offset), "", 200, &list)
		for _, h := range list.Result {
			seen[h.Org] = true
		}
	}
	if len(seen) != many {
		t.Errorf("%d reports, want %d", len(seen), many)
	}
	var sum sender.ReportSummary
	c.want("GET", path, "", 200, &sum)
	if sum.Reports != many || sum.Cut {
		t.Errorf("%d reports are summed, cut %v", sum.Reports, sum.Cut)
	}
}

func TestOneReport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.extra["reports"].(*fakeReportRows)
	d := domainsOf(w).have(w.acme, "example.test", func(d *relay.Domain) { d.IPs = []netip.Addr{netip.MustParseAddr("192.0.2.1")} })
	f.report(d, "a.test", "2026-02-27", 5)
	f.report(d, "b.test", "2026-02-27", 7) // of another, about the same day
	c := w.as(w.acme, scopeDomainRead)
	path := fmt.Sprintf("/v3/whitelabel/domains/%d/dmarc/report", d.Number)
	var got map[string]any
	c.want("GET", path+"?org_name=a.test&report_id=2026-02-27&begin=2026-02-27T01:00:00%2B01:00", "", 200, &got)
	want := `{
		"org_name": "a.test", "report_id": "2026-02-27", "begin": "2026-02-27T00:00:00Z", "end": "2026-02-28T00:00:00Z", "received_at": "2026-02-28T02:00:00Z", "received_from": "198.51.100.3",
		"policy_published": {"domain": "example.test", "p": "none"}, "messages": 15, "aligned": 10, "spf_aligned": 0, "dkim_aligned": 10, "failing": 5, "quarantined": 0, "rejected": 0,
		"records": [
			{"source_ip": "192.0.2.1", "ours": true, "messages": 10, "header_from": "example.test", "disposition": "none", "spf_aligned": false, "dkim_aligned": true},
			{"source_ip": "203.0.113.9", "ours": false, "messages": 5, "header_from": "example.test", "disposition": "none", "spf_aligned": false, "dkim_aligned": false,
				"dkim": "pass else.test", "why": ["signs as else.test, which does not align with example.test"]}
		]
	}`
	var shape map[string]any
	if err := json.Unmarshal([]byte(want), &shape); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(shape, got); diff != "" {
		t.Error(diff)
	}
	for _, q := range []string{"", "?org_name=a.test&report_id=2026-02-27", "?org_name=a.test&report_id=2026-02-27&begin=2026-02-27"} {
		c.refused("GET", path+q, "", 400, "Not a time", "begin")
	}
	for _, q := range []string{"?begin=2026-02-27T00:00:00Z", "?org_name=c.test&report_id=2026-02-27&begin=2026-02-27T00:00:00Z", "?org_name=a.test&report_id=2026-02-27&begin=2026-02-27T00:00:01Z"} {
		c.refused("GET", path+q, "", 404, "not found", "")
	}
}

// Reports tell of all mail as a domain: whom it is shared with does not see them.
func TestReportsAreTheOwners(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := domainsOf(w).have(w.acme, "example.test", func(d *relay.Domain) { d.AllSubusers = true })
	path := fmt.Sprintf("/v3/whitelabel/domains/%d/dmarc", d.Number)
	for _, p := range []string{path, path + "/reports", path + "/report"} {
		w.as(w.staging, scopeDomainRead).refused("GET", p, "", 403, "for its owner", "")
	}
	off := newWorld(t, func(s *Services) { s.Reports = nil })
	d = domainsOf(off).have(off.acme, "example.test")
	off.as(off.acme, scopeDomainRead).refused("GET", fmt.Sprintf("/v3/whitelabel/domains/%d/dmarc", d.Number), "", 503, "not taken here", "")
}
