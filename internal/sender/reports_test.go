package sender

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/dmarc"
	"postern/internal/dns"
	"postern/internal/relay"
	"postern/internal/store"
)

var _ ReportStore = (*store.Store)(nil)

// reportStore keeps reports as the contract of ReportStore says.
type reportStore struct {
	kept []struct {
		domain relay.DomainID
		dmarc.Kept
	}
	fail error
	hold chan struct{} // AddAggregate waits for it, where it is set
}

func (s *reportStore) AddAggregate(_ context.Context, domain relay.DomainID, k dmarc.Kept) (bool, error) {
	if s.hold != nil {
		<-s.hold
	}
	if s.fail != nil {
		return false, s.fail
	}
	for _, x := range s.kept {
		if x.domain == domain && x.Org == k.Org && x.ReportID == k.ReportID && x.Begin.Equal(k.Begin) {
			return false, nil
		}
	}
	s.kept = append(s.kept, struct {
		domain relay.DomainID
		dmarc.Kept
	}{domain, k})
	return true, nil
}

func (s *reportStore) AggregateReports(_ context.Context, domain relay.DomainID, from, to time.Time, limit, offset int) ([]dmarc.Head, error) {
	var out []dmarc.Head
	for _, x := range s.kept {
		if x.domain == domain && !x.Begin.Before(from) && x.Begin.Before(to) {
			out = append(out, x.Head)
		}
	}
	slices.SortStableFunc(out, func(a, b dmarc.Head) int { return b.Begin.Compare(a.Begin) })
	out = out[min(offset, len(out)):]
	return out[:min(len(out), limit, 1000)], s.fail
}

func (s *reportStore) AggregateReport(_ context.Context, domain relay.DomainID, org, reportID string, begin time.Time) (dmarc.Kept, error) {
	for _, x := range s.kept {
		if x.domain == domain && x.Org == org && x.ReportID == reportID && x.Begin.Equal(begin) {
			return x.Kept, s.fail
		}
	}
	return dmarc.Kept{}, relay.E(relay.NotFound, "no report")
}

func (s *reportStore) AggregateSources(_ context.Context, domain relay.DomainID, from, to time.Time) ([]dmarc.Source, error) {
	sums := map[dmarc.Source]int64{}
	for _, x := range s.kept {
		if x.domain == domain && !x.Begin.Before(from) && x.Begin.Before(to) {
			for _, one := range x.Sources {
				n := one.Count
				one.Count = 0
				sums[one] += n
			}
		}
	}
	var out []dmarc.Source
	for one, n := range sums {
		one.Count = n
		out = append(out, one)
	}
	return out, s.fail
}

var (
	reportNow    = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	reportDomain = relay.Domain{ID: relay.DomainID{ID: relay.NewID(reportNow)}, Name: "mail.example.com", Token: "abcdefghijklmnopqrstuvwxyz"}
	ourAddr      = netip.MustParseAddr("192.0.2.25")
)

func newReports(s *reportStore, change func(*ReportsConfig)) *Reports {
	c := ReportsConfig{
		Store: s, Now: func() time.Time { return reportNow },
		Address:   func(d relay.Domain) string { return "dmarc-" + d.Token + "@relay.test" },
		Addresses: func(relay.Domain) []netip.Addr { return []netip.Addr{ourAddr} },
	}
	if change != nil {
		change(&c)
	}
	return NewReports(c)
}

// reportXML is a report about a domain, of one day.
func reportXML(org, id, about string, begin time.Time, records ...string) string {
	return fmt.Sprintf(`<?xml version="1.0"?><feedback><report_metadata><org_name>%s</org_name><report_id>%s</report_id><date_range><begin>%d</begin><end>%d</end></date_range></report_metadata>`+
		`<policy_published><domain>%s</domain><p>none</p></policy_published>%s</feedback>`, org, id, begin.Unix(), begin.Add(24*time.Hour).Unix(), about, strings.Join(records, ""))
}

func packed(s string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, s)
	w.Close()
	return b.Bytes()
}

// wrapped puts a file into a part.
func wrapped(head string, file []byte) string {
	return head + "Content-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString(file) + "\r\n"
}

// The ways in which reporters attach their reports.
func TestReadReport(t *testing.T) {
	t.Parallel()
	text := reportXML("r.test", "7", "mail.example.com", reportNow)
	file := packed(text)
	mixed := "From: r@r.test\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nSee the attachment.\r\n"
	for name, raw := range map[string]string{
		"a file":                    text,
		"a file with a mark":        "\xef\xbb\xbf" + text,
		"a file after blank lines":  "\r\n \r\n" + text,
		"a packed file":             string(file),
		"application/gzip":          mixed + "--b\r\n" + wrapped("Content-Type: application/gzip\r\n", file) + "--b--\r\n",
		"octet-stream":              mixed + "--b\r\n" + wrapped("Content-Type: application/octet-stream; name=x\r\n", file) + "--b--\r\n",
		"by its name":               mixed + "--b\r\n" + wrapped("Content-Type: application/x-unheard-of\r\nContent-Disposition: attachment; filename=\"r!e!1!2.xml.gz\"\r\n", file) + "--b--\r\n",
		"text/xml, unpacked":        mixed + "--b\r\nContent-Type: text/xml; charset=utf-8\r\n\r\n" + text + "\r\n--b--\r\n",
		"the message itself":        "From: r@r.test\r\n" + wrapped("MIME-Version: 1.0\r\nContent-Type: application/zip; name=x.zip\r\n", file),
		"a signature beside it":     mixed + "--b\r\nContent-Type: image/png\r\n\r\nx\r\n--b\r\n" + wrapped("Content-Type: application/gzip\r\n", file) + "--b\r\n" + wrapped("Content-Type: application/gzip\r\n", []byte("junk")) + "--b--\r\n",
		"a multipart in a multpart": mixed + "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n" + wrapped("Content-Type: application/gzip\r\n", file) + "--c--\r\n--b--\r\n",
	} {
		a, err := ReadReport([]byte(raw))
		if err != nil || a.Org != "r.test" {
			t.Errorf("%s: %v", name, err)
		}
	}
	deep := ""
	for i := range 20 {
		deep += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	for name, raw := range map[string]string{
		"nothing": "", "words only": "From: a@b.test\r\n\r\nhello\r\n", "no header": "\x00\x01\x02",
		"a failure report":      "Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: auth-failure\r\n\r\n--b--\r\n",
		"within a message":      mixed + "--b\r\nContent-Type: message/rfc822\r\n\r\n" + wrapped("Content-Type: application/gzip\r\n", file) + "--b--\r\n",
		"too deep":              deep + wrapped("Content-Type: application/gzip\r\n", file),
		"junk":                  mixed + "--b\r\n" + wrapped("Content-Type: application/gzip\r\n", []byte("junk")) + "--b--\r\n",
		"a broken encoding":     mixed + "--b\r\nContent-Type: application/gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!!\r\n--b--\r\n",
		"a boundary of its own": "Content-Type: multipart/mixed\r\n\r\nx\r\n",
	} {
		if a, err := ReadReport([]byte(raw)); !errors.Is(err, dmarc.ErrReport) {
			t.Errorf("%s: %v, %v", name, a, err)
		}
	}
}

func FuzzReadReport(f *testing.F) {
	f.Add([]byte("From: r@r.test\r\n" + wrapped("MIME-Version: 1.0\r\nContent-Type: application/zip; name=x.zip\r\n", packed(reportXML("r.test", "7", "example.com", reportNow)))))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/xml\r\n\r\n<feedback/>\r\n--b--\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, err := ReadReport(raw); err != nil && !errors.Is(err, dmarc.ErrReport) {
			t.Fatalf("an error of another kind: %v", err)
		}
	})
}

func TestTake(t *testing.T) {
	t.Parallel()
	from := netip.MustParseAddr("198.51.100.9")
	day := reportNow.Truncate(24*time.Hour).AddDate(0, 0, -1)
	for name, tt := range map[string]struct {
		raw  string
		kept int
		says string
	}{
		"about the domain":            {reportXML("r.test", "1", "mail.example.com", day), 1, "taken"},
		"about a name below":          {reportXML("r.test", "1", "a.mail.example.com", day), 1, "taken"},
		"about the organization":      {reportXML("r.test", "1", "example.com", day), 1, "taken"},
		"about a public suffix":       {reportXML("r.test", "1", "com", day), 0, "about com"},
		"about a sibling":             {reportXML("r.test", "1", "www.example.com", day), 0, "about www.example.com"},
		"about a stranger":            {reportXML("r.test", "1", "example.net", day), 0, "about example.net"},
		"about a name that ends so":   {reportXML("r.test", "1", "notmail.example.com", day), 0, "about notmail"},
		"about half a year ago":       {reportXML("r.test", "1", "mail.example.com", day.AddDate(0, -6, 0)), 0, "not about this domain, now"},
		"about next week":             {reportXML("r.test", "1", "mail.example.com", day.AddDate(0, 0, 7)), 0, "not about this domain, now"},
		"no report":                   {"Subject: hello\r\n\r\nhello\r\n", 0, "no attachment"},
		"hostile texts in the record": {reportXML("r\u202e&#10;evil=1", "1", "mail.example.com", day), 1, "taken"},
	} {
		var log bytes.Buffer
		s := &reportStore{}
		r := newReports(s, func(c *ReportsConfig) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		for range 2 { // the second time it is there already, or as useless as before
			if err := r.Take(t.Context(), reportDomain, from, []byte(tt.raw)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if len(s.kept) != tt.kept || strings.Count(log.String(), tt.says) != 2 || strings.Count(log.String(), "\n") != 2 || strings.Contains(log.String(), "\u202e") {
			t.Errorf("%s: %d kept, log %s", name, len(s.kept), log.String())
		}
		if tt.kept > 0 && (s.kept[0].From != from || !s.kept[0].ReceivedAt.Equal(reportNow) || s.kept[0].domain != reportDomain.ID) {
			t.Errorf("%s: kept %+v", name, s.kept[0])
		}
	}
	s := &reportStore{fail: errors.New("disk on fire")}
	if err := newReports(s, nil).Take(t.Context(), reportDomain, from, []byte(reportXML("r.test", "1", "mail.example.com", day))); !errors.Is(err, s.fail) {
		t.Errorf("a store that fails: %v, want an error so that it is sent again", err)
	}
	s.fail = relay.E(relay.NotFound, "No such domain.")
	if err := newReports(s, nil).Take(t.Context(), reportDomain, from, []byte(reportXML("r.test", "1", "mail.example.com", day))); err != nil {
		t.Errorf("a domain that was just deleted: %v, want it dropped", err)
	}
}

// RX-18: reports are read one at a time, and none waits for ever.
func TestTakeWaitsForItsTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &reportStore{hold: make(chan struct{})}
		r := newReports(s, nil)
		raw := []byte(reportXML("r.test", "1", "mail.example.com", reportNow.AddDate(0, 0, -1)))
		first := make(chan error)
		go func() { first <- r.Take(t.Context(), reportDomain, ourAddr, raw) }()
		synctest.Wait()
		begin := time.Now()
		err := r.Take(t.Context(), reportDomain, ourAddr, raw)
		if e, ok := errors.AsType[*relay.Error](err); !ok || e.Kind != relay.Unavailable || time.Since(begin) != turnWait {
			t.Errorf("the second one: %v after %s", err, time.Since(begin))
		}
		close(s.hold)
		if err := <-first; err != nil {
			t.Error(err)
		}
		if err := r.Take(t.Context(), reportDomain, ourAddr, raw); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

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
