package console

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"postern/internal/relay"
)

// reportPath is the page of the only report of a day.
func reportPath(t testing.TB, report string) string {
	t.Helper()
	var r dmarcReportView
	if err := json.Unmarshal([]byte(report), &r); err != nil {
		t.Fatal(err)
	}
	return "/domains/7/dmarc/reports/2026-03-02/" + r.mark()
}

func TestReportsAreListed(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.get("/domains/7/dmarc").shows("a[href=/domains/7/dmarc/reports]", "Each report")
	r := w.get("/domains/7/dmarc/reports?start_date=2026-03-01&end_date=2026-03-02").want(200)
	r.shows("#reports a[href="+reportPath(t, oneAggregate)+"]", "2026-03-02").shows("#reports", "Receiver Inc").shows("#reports", "24 hours").shows("#reports", "5.0 %")
	made := w.api.made("GET /v3/whitelabel/domains/7/dmarc/reports")
	if q, _ := url.Parse(made[0].Path); q.RawQuery != "end_date=2026-03-02&limit=100&start_date=2026-03-01" {
		t.Errorf("asked for %s", q.RawQuery)
	}
	field := "start_date"
	w.api.on("GET /v3/whitelabel/domains/7/dmarc/reports", &relay.Error{Kind: relay.Invalid, Field: field, Public: "The first day is after the last."})
	w.api.on("GET /v3/whitelabel/domains/7/dmarc", &relay.Error{Kind: relay.Invalid, Field: field, Public: "The first day is after the last."})
	for _, path := range []string{"/domains/7/dmarc/reports", "/domains/7/dmarc"} {
		w.get(path+"?start_date=2026-03-09").want(422).shows("#span-start_date-error", "The first day is after the last.").shows("#span input[autofocus]", "")
	}
	w.api.on("GET /v3/whitelabel/domains/7/dmarc/reports", map[string]any{"result": []any{}})
	w.get("/domains/7/dmarc/reports").says("No report about these days has come.", "DMARC record asks for them")
}

func TestOneReport(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	path := reportPath(t, oneAggregate)
	r := w.get(path).want(200).says("Receiver Inc", "dmarc@receiver.example", "192.0.2.25", "2026-03-02!7", "2026-03-03 06:00 UTC", "strict", "relaxed", "quarantine", "nothing is refused")
	r.says("no signature", "38", "95.0 %", "Rejected").shows("#sources", "this relay").shows("#sources", "pass else.test").shows("#sources", "others")
	if first := text(r.find("#sources tbody tr")); !strings.HasPrefix(first, "198.51.100.9") {
		t.Errorf("what fails does not come first: %s", first)
	}
	made := w.api.made("GET /v3/whitelabel/domains/7/dmarc/report")
	if q, _ := url.Parse(made[0].Path); q.Query().Encode() != "begin=2026-03-02T00%3A00%3A00Z&org_name=Receiver+Inc&report_id=2026-03-02%217" {
		t.Errorf("the rows are of %s", q.RawQuery)
	}

	file := w.get(path + "/export").want(200)
	if d := file.header.Get("Content-Disposition"); !strings.HasPrefix(d, `attachment; filename="dmarc-example.com-2026-03-02-`) {
		t.Errorf("it is %s", d)
	}
	var got, want map[string]any
	_ = json.Unmarshal([]byte(samples["GET /v3/whitelabel/domains/7/dmarc/report"]), &want)
	if err := json.Unmarshal([]byte(file.body), &got); err != nil || got["report_id"] != want["report_id"] || len(got) != len(want) {
		t.Errorf("the file (%v): %s", err, file.body)
	}
	for _, none := range []string{"/domains/7/dmarc/reports/2026-03-02/00", "/domains/7/dmarc/reports/today/" + path[strings.LastIndex(path, "/")+1:]} {
		w.get(none).want(404)
		w.get(none + "/export").want(404)
	}
	w.api.deny("GET /v3/whitelabel/domains/{domain_id}/dmarc/report")
	w.get(path).want(404)
	w.get("/domains/7/dmarc/reports").shows("#reports", "2026-03-02").lacks("#reports a")
	w.api.deny("GET /v3/whitelabel/domains/{domain_id}/dmarc/reports")
	w.get(path).want(404)
	w.get(path + "/export").want(404)
	w.get("/domains/7/dmarc").lacks("a[href=/domains/7/dmarc/reports]")
}

// A report of a day that has more of them than the API gives at once has its page.
func TestReportsOfABusyDay(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	var all []json.RawMessage
	for i := range 2*reportsOfDay + 50 {
		all = append(all, json.RawMessage(strings.Replace(oneAggregate, "2026-03-02!7", fmt.Sprint("n", i), 1)))
	}
	w.api.on("GET /v3/whitelabel/domains/7/dmarc/reports", func(r Request) (any, error) {
		u, _ := url.Parse(r.Path)
		limit, _ := strconv.Atoi(u.Query().Get("limit"))
		offset, _ := strconv.Atoi(u.Query().Get("offset"))
		rest := all[min(offset, len(all)):]
		return map[string]any{"result": rest[:min(limit, len(rest))]}, nil
	})
	w.get("/domains/7/dmarc/reports?offset=1900").shows("a[rel=next][href=/domains/7/dmarc/reports?offset=2000]", "Next page")
	last := reportPath(t, string(all[len(all)-1]))
	w.get("/domains/7/dmarc/reports?offset=2000").shows("#reports a[href="+last+"]", "2026-03-02").lacks("a[rel=next]")
	w.get(last).want(200)
	made := w.api.made("GET /v3/whitelabel/domains/7/dmarc/report")
	if q, _ := url.Parse(made[0].Path); q.Query().Get("report_id") != "n2049" {
		t.Errorf("the rows are of %s", q.RawQuery)
	}
	w.get("/domains/7/dmarc/reports/2026-03-02/00").want(404)
}

// WB-01: all of a report is the word of whoever sent it.
func TestOneReportIsText(t *testing.T) {
	t.Parallel()
	answers := sampleAnswers()
	for _, what := range []string{"GET /v3/whitelabel/domains/7/dmarc/reports", "GET /v3/whitelabel/domains/7/dmarc/report", "GET /v3/whitelabel/domains/7"} {
		var v any
		if err := json.Unmarshal([]byte(samples[what]), &v); err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(hostileJSON(v, nil))
		if err != nil {
			t.Fatal(err)
		}
		answers[what] = string(b)
	}
	var one any
	_ = json.Unmarshal([]byte(oneAggregate), &one)
	b, _ := json.Marshal(hostileJSON(one, nil))
	w := newPages(t, answers)
	path := reportPath(t, string(b))
	noHostility(t, w.get(path).want(200).says(hostile("Receiver Inc"), hostile("2026-03-02!7"), hostile("192.0.2.25"), hostile("no signature"), hostile("pass else.test")))
	noHostility(t, w.get("/domains/7/dmarc/reports").want(200).shows("#reports a[href="+path+"]", "2026-03-02"))
	file := w.get(path + "/export").want(200)
	if d := file.header.Get("Content-Disposition"); strings.ContainsAny(strings.TrimSuffix(strings.TrimPrefix(d, `attachment; filename="`), `"`), `"'<> /\`) {
		t.Errorf("it is %s", d)
	}
	if kind := file.header.Get("Content-Type"); kind != "application/json" || file.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("it is %s, %v", kind, file.header)
	}
}
