package sender

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/dmarc"
	"postern/internal/dns"
	"postern/internal/relay"
)

// put keeps a report as if it had come.
func (s *reportStore) put(t testing.TB, org, from string, day int, rows ...dmarc.Row) {
	t.Helper()
	begin := reportNow.Truncate(24*time.Hour).AddDate(0, 0, -day)
	a := &dmarc.Aggregate{Org: org, ReportID: fmt.Sprint(org, day), Begin: begin, End: begin.Add(24 * time.Hour), Published: dmarc.Published{Domain: "mail.example.com"}, Rows: rows}
	if _, err := s.AddAggregate(t.Context(), reportDomain.ID, a.Keep(netip.MustParseAddr(from), begin.Add(26*time.Hour))); err != nil {
		t.Fatal(err)
	}
}

func good(n int64) dmarc.Row {
	return dmarc.Row{Addr: ourAddr, Count: n, DKIM: true, SPF: true, HeaderFrom: "mail.example.com", Disposition: "none"}
}

func bad(n int64) dmarc.Row {
	return dmarc.Row{Addr: netip.MustParseAddr("203.0.113.5"), Count: n, HeaderFrom: "mail.example.com", Disposition: "reject"}
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		reports            func(put func(org, from string, day int, rows ...dmarc.Row))
		quarantine, reject bool
		share              float64
		counts             string // the reporters that count
		says               string
	}{
		"none": {func(func(string, string, int, ...dmarc.Row)) {}, false, false, 0, "", "no report that counts has come yet"},
		// A report proves nothing about who sent it.
		"one reporter, however much it says": {func(put func(string, string, int, ...dmarc.Row)) {
			for day := range 28 {
				put("big.test", "198.51.100.1", day, good(1_000_000))
			}
		}, false, false, 1, "big.test", "independent reporters: 1"},
		"one sender under many names": {func(put func(string, string, int, ...dmarc.Row)) {
			for day := range 28 {
				for i := range 10 {
					put(fmt.Sprintf("r%d.test", i), fmt.Sprintf("198.51.100.%d", i), day, good(1000))
				}
			}
		}, false, false, 1, "r0.test", "independent reporters: 1"},
		"many names for a day": {func(put func(string, string, int, ...dmarc.Row)) {
			for i := range 20 {
				put(fmt.Sprintf("r%d.test", i), fmt.Sprintf("198.51.%d.1", i), 1, good(1000))
			}
		}, false, false, 0, "", "no report that counts has come yet"},
		"two for a week": {func(put func(string, string, int, ...dmarc.Row)) {
			for day := range 8 {
				put("a.test", "198.51.100.1", day, good(100))
				put("b.test", "2001:db8:1::1", day, good(100))
			}
		}, true, false, 1, "a.test b.test", "reports are about 8 days, and 14 are wanted"},
		"two for two weeks": {func(put func(string, string, int, ...dmarc.Row)) {
			for day := range 15 {
				put("a.test", "198.51.100.1", day, good(100))
				put("b.test", "2001:db8:1::1", day, good(100), bad(1))
			}
		}, true, true, 0.995, "b.test a.test", "15 days 2 reporters saw 3000 messages"},
		"a loud one does not drown the others": {func(put func(string, string, int, ...dmarc.Row)) {
			for day := range 15 {
				put("loud.test", "198.51.100.1", day, good(1_000_000))
				put("b.test", "2001:db8:1::1", day, good(80), bad(20))
			}
		}, false, false, 0.9, "loud.test b.test", "90.0 % of the mail was aligned"},
		"our own mail fails": {func(put func(string, string, int, ...dmarc.Row)) {
			for day := range 15 {
				own := bad(100)
				own.Addr = ourAddr
				put("a.test", "198.51.100.1", day, good(10_000), own)
				put("b.test", "2001:db8:1::1", day, good(10_000))
			}
		}, false, false, 0.99505, "a.test b.test", "1500 messages that were sent from here failed"},
		"little mail": {func(put func(string, string, int, ...dmarc.Row)) {
			for day := range 15 {
				put("a.test", "198.51.100.1", day, good(1))
				put("b.test", "2001:db8:1::1", day, good(1))
			}
		}, false, false, 1, "a.test b.test", "30 messages, and 100 are wanted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &reportStore{}
			tt.reports(func(org, from string, day int, rows ...dmarc.Row) { s.put(t, org, from, day, rows...) })
			r := newReports(s, nil)
			sum, err := r.Summary(t.Context(), reportDomain, reportNow.Add(-ReportSpan), reportNow)
			if err != nil {
				t.Fatal(err)
			}
			got := sum.Readiness
			if got.Quarantine != tt.quarantine || got.Reject != tt.reject || got.Share-tt.share > 1e-4 || tt.share-got.Share > 1e-4 {
				t.Errorf("got %+v", got)
			}
			if all := strings.Join(got.Because, "\n"); !strings.Contains(all, tt.says) {
				t.Errorf("because %q, want %q", all, tt.says)
			}
			var counts []string
			for _, one := range sum.Reporters {
				if one.Counts {
					counts = append(counts, one.Org)
				} else if one.Why == "" {
					t.Errorf("%s does not count, and nobody says why", one.Org)
				}
			}
			if strings.Join(counts, " ") != tt.counts {
				t.Errorf("%q count, want %q", counts, tt.counts)
			}
			seen, err := r.Seen(t.Context(), reportDomain)
			if err != nil || seen != got.Seen {
				t.Errorf("seen %+v %v, want %+v", seen, err, got.Seen)
			}
		})
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	s := &reportStore{}
	other := dmarc.Row{Addr: netip.MustParseAddr("203.0.113.5"), Count: 7, HeaderFrom: "mail.example.com", Disposition: "quarantine",
		Signatures: []dmarc.Signature{{Domain: "example.net", Selector: "k", Result: "pass"}}, SPFDomain: "bounce.example.net", SPFResult: "pass"}
	half := other
	half.DKIM, half.Count, half.Disposition = true, 3, "none"
	s.put(t, "a.test", "198.51.100.1", 2, good(100), other)
	s.put(t, "a.test", "198.51.100.1", 3, good(50), half)
	s.put(t, "b.test", "2001:db8:1::1", 3, good(10))
	s.put(t, "old.test", "192.0.2.200", 40, good(1000))
	r := newReports(s, func(c *ReportsConfig) {
		c.Resolver = &dns.Static{TXTs: map[string][]string{"_dmarc.example.com": {"v=DMARC1; p=none; rua=mailto:dmarc@example.com"}}}
	})
	sum, err := r.Summary(t.Context(), reportDomain, reportNow.AddDate(0, 0, -30), reportNow)
	if err != nil {
		t.Fatal(err)
	}
	if want := (dmarc.Totals{Messages: 170, Aligned: 163, SPF: 160, DKIM: 163, Failing: 7, Quarantined: 7}); sum.Totals != want || sum.Reports != 3 {
		t.Errorf("in all %+v of %d reports", sum.Totals, sum.Reports)
	}
	if len(sum.Days) != 2 || sum.Days[0].Date != "2026-11-17" || sum.Days[0].Messages != 63 || sum.Days[1].Failing != 7 {
		t.Errorf("days %+v", sum.Days)
	}
	if len(sum.Reporters) != 2 || sum.Reporters[0].Org != "a.test" || sum.Reporters[0].Days != 2 || sum.Reporters[0].Messages != 160 || sum.Reporters[0].Why == "" {
		t.Errorf("reporters %+v", sum.Reporters)
	}
	if len(sum.Sources) != 2 || sum.Sources[0].Addr != other.Addr || sum.Sources[0].Failing != 7 || sum.Sources[0].Aligned != 3 || sum.Sources[0].Ours || !sum.Sources[1].Ours {
		t.Errorf("sources %+v", sum.Sources)
	}
	want := []string{"signs as example.net, which does not align with mail.example.com", "its envelope sender is of bounce.example.net, which does not align with mail.example.com"}
	if !slices.Equal(sum.Sources[0].Why, want) {
		t.Errorf("why %q", sum.Sources[0].Why)
	}
	rec := sum.Recommendation
	if rec == nil || rec.At != "_dmarc.mail.example.com" || rec.Step != dmarc.StepKeep || rec.Record != "v=DMARC1; p=none; rua=mailto:dmarc@example.com,mailto:dmarc-abcdefghijklmnopqrstuvwxyz@relay.test" {
		t.Errorf("recommendation %+v", rec)
	}
	list, err := r.List(t.Context(), reportDomain, reportNow.AddDate(0, 0, -60), reportNow, 2, 1)
	if err != nil || len(list) != 2 || !list[0].Begin.After(list[1].Begin.Add(-time.Second)) {
		t.Errorf("list %+v %v", list, err)
	}
	if list, err = r.List(t.Context(), reportDomain, reportNow.AddDate(0, 0, -60), reportNow, 2, 9); err != nil || len(list) != 0 {
		t.Errorf("list behind the end %+v %v", list, err)
	}

	// A DNS that is down costs the recommendation, and nothing else.
	down := newReports(s, func(c *ReportsConfig) { c.Resolver = &dns.Static{Fail: []string{"txt _dmarc.mail.example.com"}} })
	if sum, err = down.Summary(t.Context(), reportDomain, reportNow.AddDate(0, 0, -30), reportNow); err != nil || sum.Recommendation != nil || sum.Reports != 3 {
		t.Errorf("with the DNS down: %+v %v", sum, err)
	}
	// Without an address for reports none is put into the record; the domain's own
	// addresses are ours too.
	mine := reportDomain
	mine.IPs = []netip.Addr{other.Addr}
	nowhere := newReports(s, func(c *ReportsConfig) {
		c.Resolver, c.Addresses, c.Address = &dns.Static{}, nil, func(relay.Domain) string { return "" }
	})
	if sum, err = nowhere.Summary(t.Context(), mine, reportNow.AddDate(0, 0, -30), reportNow); err != nil || sum.Recommendation.Record != "v=DMARC1; p=none" || !sum.Sources[0].Ours || sum.Sources[1].Ours {
		t.Errorf("nowhere to report: %+v %v", sum, err)
	}
	s.fail = errors.New("disk on fire")
	if _, err := r.Summary(t.Context(), reportDomain, reportNow, reportNow); !errors.Is(err, s.fail) {
		t.Errorf("with the store down: %v", err)
	}
}

// RX-18: however many reporters and sources there are, the view is bounded, and
// nothing is lost from its sums.
func TestSummaryIsBounded(t *testing.T) {
	t.Parallel()
	s := &reportStore{}
	var rows []dmarc.Row
	for i := range 500 {
		one := bad(1)
		one.Addr = netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		for n := range 20 {
			one.Signatures = []dmarc.Signature{{Domain: fmt.Sprintf("d%d.test", n), Result: "pass"}}
			one.HeaderFrom = fmt.Sprintf("h%d.mail.example.com", n)
			if i == 0 {
				rows = append(rows, one)
			}
		}
		rows = append(rows, one)
	}
	for i := range 300 {
		s.put(t, fmt.Sprintf("r%d.test", i), "198.51.100.1", 1, rows[:10]...)
	}
	s.put(t, "many.test", "198.51.100.1", 2, rows...)
	sum, err := newReports(s, nil).Summary(t.Context(), reportDomain, reportNow.Add(-ReportSpan), reportNow)
	if err != nil {
		t.Fatal(err)
	}
	if len(sum.Sources) != maxSummarySources || len(sum.Reporters) != maxSummaryReporters || sum.Others.Messages != 300 {
		t.Errorf("%d sources, %d reporters, others %+v", len(sum.Sources), len(sum.Reporters), sum.Others)
	}
	total := sum.Others
	for _, one := range sum.Sources {
		total.Add(one.Totals)
		if len(one.Why) > maxSourceReasons || len(one.HeaderFrom) > maxSourceReasons {
			t.Errorf("%+v", one)
		}
	}
	if total != sum.Totals {
		t.Errorf("sources add up to %+v, reports to %+v", total, sum.Totals)
	}
}

// More reports than the store gives at once are read page by page, each once.
func TestReportsAreReadInPages(t *testing.T) {
	t.Parallel()
	s := &reportStore{}
	for i := range 1200 {
		s.put(t, fmt.Sprintf("r%d.test", i/3), "198.51.100.1", i%3, good(1))
	}
	r := newReports(s, nil)
	sum, err := r.Summary(t.Context(), reportDomain, reportNow.Add(-ReportSpan), reportNow)
	if err != nil || sum.Reports != 1200 || sum.Messages != 1200 || sum.Cut {
		t.Fatalf("%+v %v", sum, err)
	}
	for _, tt := range []struct{ limit, offset, want int }{{1000, 0, 1000}, {1000, 1000, 200}, {10, 1195, 5}, {10, 1200, 0}} {
		if list, err := r.List(t.Context(), reportDomain, reportNow.Add(-ReportSpan), reportNow, tt.limit, tt.offset); err != nil || len(list) != tt.want {
			t.Errorf("%+v: %d %v", tt, len(list), err)
		}
	}
	for i := range 1100 {
		s.put(t, fmt.Sprintf("s%d.test", i), "198.51.100.1", 5, good(1))
	}
	if sum, err = r.Summary(t.Context(), reportDomain, reportNow.Add(-ReportSpan), reportNow); err != nil || sum.Cut || sum.Reports != 2300 {
		t.Errorf("a crowd at one moment: %d reports, cut %v, %v", sum.Reports, sum.Cut, err)
	}
}

// Each way to fail has its words.
func TestExplain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ signatures, spf, reasons, want string }{
		{"", "", "", "does not sign as mail.example.com"},
		{"pass example.net s1", "", "", "signs as example.net, which does not align with mail.example.com"},
		{"fail example.net s1", "", "", "does not sign as mail.example.com"},
		{"fail mail.example.com s1", "", "", "its signature as mail.example.com (selector s1) does not verify: the mail was changed on its way, or the key is another"},
		{"permerror example.com", "", "", "the key of its signature as example.com was not found"},
		{"pass example.com s1", "", "", "signs as example.com (selector s1), which is not mail.example.com: the policy is strict, or the receiver sees another organization"},
		{"fail mail.example.com s1, pass list.example.org k", "", "", "its signature as mail.example.com (selector s1) does not verify: the mail was changed on its way, or the key is another|signs as list.example.org, which does not align with mail.example.com"},
		{"", "pass example.net", "", "does not sign as mail.example.com|its envelope sender is of example.net, which does not align with mail.example.com"},
		{"", "softfail em1.mail.example.com", "", "does not sign as mail.example.com|its address is not in the SPF record of em1.mail.example.com (softfail)"},
		{"", "none mail.example.com", "", "does not sign as mail.example.com|mail.example.com has no SPF record"},
		{"", "permerror example.com", "", "does not sign as mail.example.com|the SPF record of example.com cannot be used: permerror"},
		{"", "fail example.net", "", "does not sign as mail.example.com|its envelope sender is of example.net, and SPF says fail"},
		{"", "pass example.com", "", "does not sign as mail.example.com|its envelope sender is of example.com, which is not mail.example.com: the policy is strict, or the receiver sees another organization"},
		{"", "none", "forwarded, local_policy", "does not sign as mail.example.com|the receiver takes it for forwarded mail"},
		{"", "", "local_policy, mailing_list", "does not sign as mail.example.com|the receiver takes it for mail of a mailing list"},
	} {
		got := Explain(&dmarc.Source{Signatures: tt.signatures, SPFCheck: tt.spf, Reasons: tt.reasons, HeaderFrom: "mail.example.com"}, "x.test")
		if strings.Join(got, "|") != tt.want {
			t.Errorf("%q %q %q: %q\nwant %q", tt.signatures, tt.spf, tt.reasons, got, tt.want)
		}
	}
}
