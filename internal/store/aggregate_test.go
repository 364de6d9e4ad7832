package store

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/internal/dmarc"
	"postern/internal/relay"
)

func report(org, id string, begin time.Time, sources ...dmarc.Source) dmarc.Kept {
	k := dmarc.Kept{Head: dmarc.Head{Org: org, Email: "r@" + org, ReportID: id, Begin: begin, End: begin.Add(24 * time.Hour), ReceivedAt: begin.Add(30 * time.Hour),
		From: netip.MustParseAddr("192.0.2.25"), Published: dmarc.Published{Domain: "example.test", Policy: dmarc.None}}, Sources: sources}
	for i := range sources {
		k.Add(sources[i].Totals())
	}
	return k
}

func sourceOf(addr string, n int64, spf, dkim bool) dmarc.Source {
	v := dmarc.Source{HeaderFrom: "example.test", Disposition: "none", SPF: spf, DKIM: dkim, SPFCheck: "pass example.test", Signatures: "fail x", Reasons: "forwarded", Count: n}
	if addr != "" {
		v.Addr = netip.MustParseAddr(addr)
	}
	return v
}

func TestAggregates(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newClaimant(t, s)
		a := c.account()
		d, other := c.create(c.row(a, "example.test")), c.create(c.row(a, "other.test"))
		day := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
		rev := s.Revision()
		first := report("big.test", "1", day, sourceOf("192.0.2.1", 10, true, true), sourceOf("2001:db8::1", 3, false, false))
		second := report("big.test", "2", day.Add(24*time.Hour), sourceOf("192.0.2.1", 5, true, true), sourceOf("192.0.2.1", 7, false, true), sourceOf("", 2, false, false))
		add := func(id relay.DomainID, k dmarc.Kept, want bool) {
			t.Helper()
			if isNew, err := s.AddAggregate(ctx, id, k); err != nil || isNew != want {
				t.Errorf("report %s of %s: new %v, %v", k.ReportID, k.Org, isNew, err)
			}
		}
		add(d.ID, first, true)
		add(d.ID, first, false)
		again := first
		again.Sources = []dmarc.Source{sourceOf("192.0.2.66", 1000, true, true)}
		add(d.ID, again, false) // whatever it says the second time
		add(d.ID, second, true)
		add(other.ID, first, true)
		heads, err := s.AggregateReports(ctx, d.ID, time.Time{}, time.Time{}, 0, 0)
		same(t, "reports", []dmarc.Head{second.Head, first.Head}, heads, err)
		heads, err = s.AggregateReports(ctx, d.ID, day, day.Add(24*time.Hour), 0, 0)
		same(t, "reports of a day", []dmarc.Head{first.Head}, heads, err)
		heads, err = s.AggregateReports(ctx, d.ID, time.Time{}, time.Time{}, 1, 0)
		same(t, "the latest report", []dmarc.Head{second.Head}, heads, err)
		sources, err := s.AggregateSources(ctx, d.ID, time.Time{}, time.Time{})
		same(t, "sources", []dmarc.Source{sourceOf("192.0.2.1", 15, true, true), sourceOf("192.0.2.1", 7, false, true), sourceOf("2001:db8::1", 3, false, false),
			sourceOf("", 2, false, false)}, sources, err)
		sources, err = s.AggregateSources(ctx, d.ID, day.Add(24*time.Hour), time.Time{})
		same(t, "sources of the second day", second.Sources[1:2], sources[:1], err)
		for _, want := range []dmarc.Kept{first, second} {
			got, err := s.AggregateReport(ctx, d.ID, want.Org, want.ReportID, want.Begin)
			same(t, "report "+want.ReportID, want, got, err)
		}
		for what, begin := range map[string]time.Time{"2": day, "1": day.Add(time.Microsecond), "3": day} {
			if _, err := s.AggregateReport(ctx, d.ID, "big.test", what, begin); relay.KindOf(err) != relay.NotFound {
				t.Errorf("report %s of %s: %v", what, begin, err)
			}
		}
		if _, err := s.AggregateReport(ctx, other.ID, "big.test", "2", second.Begin); relay.KindOf(err) != relay.NotFound {
			t.Errorf("another domain's report: %v", err)
		}
		if s.Revision() != rev {
			t.Error("reports raised the revision")
		}
		for what, id := range map[string]relay.DomainID{"no domain": {ID: relay.NewID(time.Now())}, "deleted": deleted(t, s, c, other)} {
			if _, err := s.AddAggregate(ctx, id, second); relay.KindOf(err) != relay.NotFound {
				t.Errorf("%s: %v", what, err)
			}
		}
		// Reports come from strangers: none of their words breaks a row, and no count a sum.
		wild := report(strings.Repeat("\u00e4", 4000), "NUL \x00 and \xff", day, sourceOf("192.0.2.1", 1<<62, true, true), sourceOf("192.0.2.1", 1<<62, true, true))
		wild.Sources[0].HeaderFrom = "a\x00b\xff"
		add(d.ID, wild, true)
		add(d.ID, wild, false)
		if k, err := s.AggregateReport(ctx, d.ID, wild.Org, wild.ReportID, wild.Begin); err != nil || len(k.Sources) != 2 {
			t.Errorf("found by the reporter's own words: %+v, %v", k, err)
		}
		if got, err := s.AggregateSources(ctx, d.ID, time.Time{}, time.Time{}); err != nil || got[0].Count != 1<<40+15 && got[0].Count != 1<<40 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func deleted(t *testing.T, s *Store, c *claimant, d relay.Domain) relay.DomainID {
	t.Helper()
	if err := s.DeleteDomain(context.Background(), testBy, d.ID, c.now); err != nil {
		t.Fatal(err)
	}
	return d.ID
}

// Most reporters begin their day at midnight: of more reports of one moment than a page
// has, each stands on one page.
func TestAggregatesOfOneMoment(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newClaimant(t, s)
		a := c.account()
		d, other := c.create(c.row(a, "example.test")), c.create(c.row(a, "other.test"))
		day := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
		const many = 1100
		for i := range many {
			if _, err := s.AddAggregate(ctx, d.ID, report("big.test", fmt.Sprint(i), day)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.AddAggregate(ctx, other.ID, report("big.test", "0", day)); err != nil {
			t.Fatal(err)
		}
		var got []string
		for offset := 0; ; offset += 1000 {
			heads, err := s.AggregateReports(ctx, d.ID, day, day.Add(24*time.Hour), 5000, offset)
			if err != nil || len(heads) > 1000 {
				t.Fatal(len(heads), err)
			}
			for _, h := range heads {
				got = append(got, h.ReportID)
			}
			if len(heads) < 1000 {
				break
			}
		}
		if len(got) != many || got[0] != fmt.Sprint(many-1) || got[1000] != fmt.Sprint(many-1001) || got[many-1] != "0" {
			t.Errorf("%d reports: %q", len(got), got[:min(3, len(got))])
		}
		heads, err := s.AggregateReports(ctx, d.ID, day, day.Add(24*time.Hour), 10, many)
		same(t, "behind the last", 0, len(heads), err)
	})
}

// Reports are bounded in number and in time; the first that came go.
func TestAggregatesAreBounded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		cfg.KeepReports = 24 * time.Hour
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newClaimant(t, s)
		d := c.create(c.row(c.account(), "example.test"))
		many := make([]dmarc.Source, 26_000)
		for i := range many {
			many[i] = sourceOf(fmt.Sprintf("10.%d.%d.1", i>>8, i&255), 1, true, false)
		}
		for i := range 5 { // four are too many sources: the first goes, then the second
			if _, err := s.AddAggregate(ctx, d.ID, report("big.test", fmt.Sprint(i), c.now.Add(-time.Duration(i)*time.Hour), many...)); err != nil {
				t.Fatal(err)
			}
		}
		if n := rows(t, s, "dmarc_sources"); n != 3*len(many) {
			t.Errorf("%d sources", n)
		}
		heads, err := s.AggregateReports(ctx, d.ID, time.Time{}, time.Time{}, 0, 0)
		if err != nil || len(heads) != 3 || heads[0].ReportID != "2" || heads[2].ReportID != "4" {
			t.Errorf("reports %+v, %v", heads, err)
		}
		got, err := s.AggregateSources(ctx, d.ID, time.Time{}, time.Time{})
		var sum int64
		for i := range got {
			sum += got[i].Count
		}
		if err != nil || len(got) != maxShown+1 || got[maxShown].Addr.IsValid() || sum != int64(3*len(many)) {
			t.Errorf("%d sources with %d messages, %v", len(got), sum, err)
		}
		// They came 28, 27 and 26 hours from now, and stay for a day.
		if err := s.sweepReports(ctx, c.now.Add(51*time.Hour+30*time.Minute)); err != nil {
			t.Fatal(err)
		}
		if n := rows(t, s, "dmarc_reports"); n != 1 {
			t.Errorf("after some of them are too old: %d", n)
		}
		if err := s.sweepReports(ctx, c.now.Add(60*time.Hour)); err != nil {
			t.Fatal(err)
		}
		if n := rows(t, s, "dmarc_reports") + rows(t, s, "dmarc_sources"); n != 0 {
			t.Errorf("after all are too old: %d rows", n)
		}
	})
}
