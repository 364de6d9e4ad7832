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
