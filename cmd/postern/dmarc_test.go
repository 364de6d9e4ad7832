package main

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"postern/internal/dmarc"
	"postern/internal/sender"
)

// reportServer answers as the API does about one domain.
func reportServer(t *testing.T, asked *[]string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.URL.String())
		body := `{"errors":[{"message":"not found","field":null}]}`
		switch r.URL.Path {
		case "/v3/whitelabel/domains":
			body = `[{"id":7,"domain":"xn--bcher-kva.example","domain_id":"AAECAwQFBgcICQoLDA0ODw"},{"id":8,"domain":"www.xn--bcher-kva.example","domain_id":"AAECAwQFBgcICQoLDA0ODg"}]`
		case "/v3/whitelabel/domains/7/dmarc":
			body = `{"domain":"xn--bcher-kva.example","from":"2026-10-23T00:00:00Z","to":"2026-11-22T00:00:00Z","messages":1010,"aligned":1000,"spf_aligned":900,"dkim_aligned":1000,
				"failing":10,"quarantined":4,"rejected":0,"reports":2,"days":[],"reporters":[{"org_name":"evil\u001b[2J","reports":2,"days":2,"messages":1010,"failing":10,"counts":false,"why":"too few"}],
				"sources":[{"source_ip":"203.0.113.5","ours":false,"messages":10,"failing":10,"header_from":["x"],"why":["signs as else.test"]},
				{"source_ip":"192.0.2.25","ours":true,"messages":1000,"aligned":1000,"header_from":[]}],
				"other_sources":{"messages":3,"failing":2},"readiness":{"because":["p=quarantine: not yet"]},
				"recommendation":{"record":"v=DMARC1; p=none; rua=mailto:a@b.test","at":"_dmarc.xn--bcher-kva.example","why":"Because.","step":"publish none"}}`
		case "/v3/whitelabel/domains/7/dmarc/reports":
			body = `{"result":[{"org_name":"r.test","report_id":"r1","begin":"2026-11-20T00:00:00Z","end":"2026-11-21T00:00:00Z","received_at":"2026-11-21T02:00:00Z","received_from":"198.51.100.3",
				"policy_published":{"domain":"x","p":"none"},"messages":12,"aligned":11,"failing":1}]}`
		default:
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	return s
}

func TestDMARCShow(t *testing.T) {
	t.Setenv(keyVariable, "SG.id.secret")
	var asked []string
	s := reportServer(t, &asked)
	for _, tt := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"show", "Bücher.example", "--since", "2026-11-01"}, exitOK, []string{
			"messages     1010", "failing      10 (1.0 %)", "203.0.113.5        ░ ", "signs as else.test", "192.0.2.25 (ours)  ████████████████████████ ", "others",
			"evil?[2J", "no: too few", "p=quarantine: not yet", `_dmarc.xn--bcher-kva.example. IN TXT "v=DMARC1; p=none; rua=mailto:a@b.test"`, "Next: publish none. Because."}},
		{[]string{"show", "xn--bcher-kva.example", "--json"}, exitOK, []string{`"failing": 10`}},
		{[]string{"reports", "bücher.example", "--limit", "5"}, exitOK, []string{"r.test    12", "198.51.100.3", "r1"}},
		{[]string{"show", "other.example"}, exitFailed, []string{`there is no domain "other.example"`}},
		{[]string{"show", "bücher.example", "--since", "soon"}, exitFailed, []string{"neither a time"}},
		{[]string{"show"}, exitUsage, []string{"accepts 1 arg"}},
		{[]string{"read"}, exitUsage, []string{"requires at least 1 arg"}},
		{[]string{}, exitUsage, []string{"show, reports, read"}},
	} {
		code, out, errs := command(t, "", append([]string{"dmarc", "--url", s.URL}, tt.args...)...)
		if code != tt.code {
			t.Errorf("%q: exit %d", tt.args, code)
		}
		for _, want := range tt.want {
			if !strings.Contains(out+errs, want) && !(strings.Contains(want, ", ") && code == exitUsage && strings.Contains(errs, "which command")) {
				t.Errorf("%q: no %q in\n%s%s", tt.args, want, out, errs)
			}
		}
		if strings.Contains(out, "\x1b") {
			t.Errorf("%q: an escape of a reporter reached the terminal", tt.args)
		}
	}
	all := strings.Join(asked, "\n")
	for _, want := range []string{"/dmarc?start_date=2026-11-01", "/dmarc/reports?limit=5"} {
		if !strings.Contains(all, want) {
			t.Errorf("nobody asked for %s:\n%s", want, all)
		}
	}
}

func TestBar(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		aligned, failing, most int64
		want                   string
	}{
		{0, 0, 0, ""}, {0, 0, 5, ""}, {24, 0, 24, strings.Repeat(barGood, 24)}, {12, 12, 24, strings.Repeat(barGood, 12) + strings.Repeat(barBad, 12)},
		{1, 0, 1 << 40, barGood}, {1 << 40, 1, 1 << 40, strings.Repeat(barGood, 24) + barBad}, {-5, 3, 24, strings.Repeat(barBad, 3)},
	} {
		if got := bar(tt.aligned, tt.failing, tt.most); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

// A report that names many addresses does not push what fails off the screen.
func TestSourcesWorthShowing(t *testing.T) {
	t.Parallel()
	var all []sender.ReportSource
	for i := range 500 {
		s := sender.ReportSource{Addr: netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), Totals: dmarc.Totals{Messages: int64(1000 - i), Aligned: int64(1000 - i)}}
		if i == 300 {
			s.Failing, s.Why = 7, []string{"no signature"}
		}
		s.Ours = i == 400
		all = append(all, s)
	}
	var out strings.Builder
	c := &cli{streams: streams{out: &out}}
	if err := c.showSources(all, dmarc.Totals{}); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	if n := strings.Count(text, "\n"); n != mostSources+2+2 { // and the heading, and the others
		t.Errorf("%d lines:\n%s", n, text)
	}
	for _, want := range []string{"no signature", "(ours)", "others (478)"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for i := range all {
		all[i].Failing = 1
	}
	if shown, rest, hidden := worthShowing(all); len(shown) != mostSources+mostTroubles || len(shown)+hidden != len(all) || rest.Failing != int64(hidden) {
		t.Errorf("%d shown, %d hidden, %+v", len(shown), hidden, rest)
	}
}
