package console

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestLoginsInWords(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	r := w.get("/logins").want(200).says("wrong secret", "3 times within a minute.", "shop.example.com", "TLSv1.3", "192.0.2.0/24", "By mechanism")
	r.shows("section[data-live-events=/logins/tail]", "wrong secret").shows("a[href=/keys/k1]", "SG.abc")
	if r := w.get("/logins?addr=192.0.2.7&since=2026-03-01"); r.find("[data-live-events]") != nil {
		t.Error("a search is no tail")
	}
	calls := w.api.made("GET /v3/logins")
	if path := calls[len(calls)-1].Path; path != "/v3/logins?addr=192.0.2.7&limit=200&newest=true&since=2026-03-01T00%3A00%3A00Z" {
		t.Errorf("asked for %s", path)
	}
	w.get("/logins?since=yesterday").want(200).shows(".wrong", "Write a day such as")
	csv := w.get("/logins/export?result=wrong")
	if csv.status != 200 || !strings.Contains(csv.body, "result=wrong") || !strings.HasPrefix(csv.header.Get("Content-Disposition"), "attachment") {
		t.Errorf("export: %d %v %s", csv.status, csv.header, csv.body)
	}
}

// Where the operator has a file of places, logins are summed up by country; and the
// sums say of which days they are.
func TestLoginsByPlace(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	r := w.get("/logins").want(200).says("All logins from 2026-02-25 12:00 UTC to 2026-03-04 12:00 UTC")
	r.shows("#by-place", "DE9090.0 %").shows("#by-place", "in no country that is known").shows("#by-place", "networks with few logins").shows("#by-place meter", "")
	r.shows("#by-place a[href=/logins?place=DE]", "DE").shows("#by-place a[href=/logins?place=unknown]", "in no country").shows("#by-network a[href=/logins?network=192.0.2.0%2F24]", "192.0.2.0/24")
	r.shows("#logins .badge", "NL").shows("label[for=search-place]", "Country")
	if n := len(r.all("#by-place a")); n != 2 {
		t.Errorf("%d of the sums lead to logins", n)
	}
	w.get("/logins?place=DE&since=2026-03-01").shows("#by-place a[href=/logins?place=DE&since=2026-03-01]", "DE")
	calls := w.api.made("GET /v3/logins")
	if path := calls[len(calls)-1].Path; path != "/v3/logins?limit=200&newest=true&place=DE&since=2026-03-01T00%3A00%3A00Z" {
		t.Errorf("asked for %s", path)
	}
	w.api.on("GET /v3/logins/summary", map[string]any{"by_result": []any{map[string]any{"name": "ok", "count": 1}}})
	w.get("/logins").lacks("#by-place").lacks("#search-place").shows("#by-result", "let in")
}

// Each row of the sums leads to the logins that it counts, by what the search knows.
func TestSumsLeadToTheirLogins(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.api.on("GET /v3/logins/summary", json.RawMessage(`{"by_result":[{"name":"wrong","count":1}],"by_mechanism":[{"name":"PLAIN","count":3},{"name":"","count":1},{"name":"other","count":1}],
		"by_tls":[{"name":"TLSv1.3","count":8},{"name":"TLSv1.2","count":1},{"name":"","count":1}],"by_network":[{"name":"","count":1},{"name":"other","count":1}]}`))
	r := w.get("/logins").shows("#by-result a[href=/logins?result=wrong]", "wrong secret").shows("#by-mechanism a[href=/logins?mechanism=PLAIN]", "PLAIN").shows("#by-mechanism a[href=/logins?mechanism=none]", "none")
	r.shows("#by-tls a[href=/logins?tls=1.3]", "TLSv1.3").shows("#by-tls a[href=/logins?tls=1.2]", "TLSv1.2").shows("#by-tls a[href=/logins?tls=none]", "none")
	r.shows("#by-mechanism", "names with few logins").shows("#by-network", "not known").lacks("#by-network a")
	if n := len(r.all("#by-mechanism a")); n != 2 {
		t.Errorf("%d mechanisms lead to logins", n)
	}
	r = w.get("/logins?tls=1.2&mechanism=PLAIN&network=192.0.2.0%2F24&since=2026-03-01").shows("#search-tls option[selected]", "TLS 1.2").shows("#by-tls a[href=/logins?since=2026-03-01&tls=1.3]", "TLSv1.3")
	r.shows("#search-network[value=192.0.2.0/24]", "").shows("#search-mechanism[value=PLAIN]", "")
	calls := w.api.made("GET /v3/logins")
	if path := calls[len(calls)-1].Path; path != "/v3/logins?limit=200&mechanism=PLAIN&network=192.0.2.0%2F24&newest=true&since=2026-03-01T00%3A00%3A00Z&tls=1.2" {
		t.Errorf("asked for %s", path)
	}
	w.get("/logins?tls=1.1").shows("#search-tls option[selected]", "1.1")
	// The sums of what is looked back to are those of the days before.
	w.get("/logins?until=2026-01-20+08:30:15")
	calls = w.api.made("GET /v3/logins/summary")
	if path := calls[len(calls)-1].Path; path != "/v3/logins/summary?since=2026-01-13T08%3A30%3A15Z&until=2026-01-20T08%3A30%3A15Z" {
		t.Errorf("asked for %s", path)
	}
}

// From a list that is full, and from a search that took too long, there is a way back.
func TestOlderLogins(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.get("/logins").lacks("a[rel=next]")
	full := make([]json.RawMessage, loginsAtOnce)
	for i := range full {
		full[i] = json.RawMessage(oneLogin)
	}
	w.api.on("GET /v3/logins", map[string]any{"result": full})
	w.get("/logins").shows("a[rel=next][href=/logins?until=2026-03-04+11%3A59%3A01]", "Next page")
	w.get("/logins?tls=1.2&until=2026-03-04+11%3A59%3A01").shows("a[rel=next][href=/logins?tls=1.2&until=2026-03-04T11%3A59%3A00Z]", "Next page")
	w.api.on("GET /v3/logins", json.RawMessage(`{"result":[`+oneLogin+`],"searched_since":"2026-02-01T00:00:00Z"}`))
	w.get("/logins?tls=1.2").shows("a[rel=next][href=/logins?tls=1.2&until=2026-02-01+00%3A00%3A01]", "Next page")
	w.api.on("GET /v3/logins", json.RawMessage(`{"result":[],"searched_since":"2026-02-01T00:00:00Z"}`))
	w.get("/logins?tls=1.2").shows("#logins", "No login since 2026-02-01 00:00 UTC fits").shows("#logins a[href=/logins?tls=1.2&until=2026-02-01+00%3A00%3A01]", "Look further back").shows("#logins a[href=/logins]", "Show all logins")
}

// What is not found is said to be not found, with the way back.
func TestLoginsThatNobodyFinds(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.api.on("GET /v3/logins", map[string]any{"result": []any{}})
	w.get("/logins").shows("#logins", "Nobody has tried to log in")
	w.get("/logins?tried=x").shows("#logins", "No login fits this search.").shows("#logins a[href=/logins]", "Show all logins")
	w.get("/logins?since=yesterday").shows(".wrong", "Write a day such as").lacks("#logins").shows("#search input[autofocus]", "")
}

func TestChangesAndTheirProof(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.get("/changes").want(200).says("user anna", "domain.update", "default: false → true", "note: old → new")
	w.get("/changes/proof").want(200).says("The record is whole.", "abcd")
	w.api.on("GET /v3/changes/verify", json.RawMessage(`{"result":[{"username":"acme","valid":false,"problem":"Change 4 was altered."}]}`))
	w.get("/changes/proof").want(200).shows("[role=alert]", "Change 4 was altered.")
	w.get("/domains/7/history").want(200).says("domain.update").shows("a[href=/changes?subject=DKIM+keys+of+example.com]", "Changes of its keys")
}

func TestChangesByWhoAndWhat(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	last := func() string {
		calls := w.api.made("GET /v3/changes")
		return calls[len(calls)-1].Path
	}
	r := w.get("/changes?by=user+anna&subject=domain+example.com&action=domain.update&since=2026-03-01").want(200).says("domain.update")
	if path := last(); path != "/v3/changes?action=domain.update&by=user+anna&limit=200&newest=true&since=2026-03-01T00%3A00%3A00Z&subject=domain+example.com" {
		t.Errorf("asked for %s", path)
	}
	r.shows("a[href=/changes/export?action=domain.update&by=user+anna&since=2026-03-01T00%3A00%3A00Z&subject=domain+example.com]", "As a file")
	w.get("/changes?by=anna&subject=key").shows("#search-by[value=anna]", "").shows("#search-subject[value=key]", "")
	w.get("/domains/7/history").want(200)
	if path := last(); path != "/v3/changes?limit=200&newest=true&subject=domain+example.com" {
		t.Errorf("a domain's history asked for %s", path)
	}
	w.api.on("GET /v3/changes", json.RawMessage(`{"result":[]}`))
	w.get("/changes").shows("#changes", "Nothing was changed yet.").lacks("#changes a")
	w.get("/changes?by=otto").shows("#changes", "No change fits this search.").shows("#changes a[href=/changes]", "Show all changes")
	w.get("/domains/7/history").shows("#changes", "Nothing happened to it")
	w.get("/changes?since=yesterday&by=otto").shows(".wrong", "Write a day such as").shows("#search-by[value=otto]", "").lacks("#changes")
}

// What has a history leads to it, for those who may read the record.
func TestLinksToChanges(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.api.on("GET /v3/api_keys/k1", json.RawMessage(oneKey))
	w.api.on("GET /v3/teammates/bob", json.RawMessage(onePerson))
	w.api.on("GET /v3/subusers", json.RawMessage(`[`+oneSubuser+`]`))
	links := map[string]string{"/keys/k1": "a[href=/changes?subject=key+k1]", "/people/bob": "a[href=/changes?by=user+bob]",
		"/subusers/shop": "a[href=/changes?subject=subuser+shop]", "/domains/7": "a[href=/domains/7/history]"}
	for page, link := range links {
		w.get(page).want(200).shows(link, "")
	}
	w.api.denied = []string{"GET /v3/changes"}
	for page, link := range links {
		w.get(page).want(200).lacks(link)
	}
}

// Each page of the changes leads to the one before it, by the place of its oldest; the
// last one leads nowhere.
func TestOlderChanges(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.get("/changes").want(200).lacks("a[rel=next]")
	w.api.on("GET /v3/changes", json.RawMessage(`{"result":[{"cursor":"c8","seq":8,"action":"eight"},{"cursor":"c9","seq":9,"action":"nine"}],"after":"c9","more":true}`))
	r := w.get("/changes?by=anna").shows("a[rel=next][href=/changes?before=c8&by=anna]", "Next page")
	var got []string
	for _, c := range r.all("#changes td code") {
		got = append(got, text(c))
	}
	if strings.Join(got, " ") != "nine eight" {
		t.Errorf("shown as %q", got)
	}
	w.get("/changes?by=anna&before=c20").shows("a[rel=next][href=/changes?before=c8&by=anna]", "")
	calls := w.api.made("GET /v3/changes")
	if path := calls[len(calls)-1].Path; path != "/v3/changes?before=c20&by=anna&limit=200&newest=true" {
		t.Errorf("asked for %s", path)
	}
	w.get("/domains/7/history").shows("a[rel=next][href=/domains/7/history?before=c8]", "Next page")
}

// A change of the IP list says which networks came and which went.
func TestChangeOfAnIPList(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.api.on("GET /v3/changes", json.RawMessage(`{"result":[{"seq":9,"at":"2026-03-04T11:00:00Z","by":"user anna","action":"access.set","subject":"access list of the account",
		"before":{"rules":[{"id":1,"network":"192.0.2.0/24","note":"office"}],"monitor":true},
		"after":{"rules":[{"id":2,"network":"2001:db8::/32","note":"<b>home"},{"id":3,"host":"vpn.example.com"}]}}]}`))
	r := w.get("/changes").want(200).lacks("main b")
	var got []string
	for _, line := range r.all("#changes .lines li") {
		got = append(got, text(line))
	}
	want := []string{"monitor: true → nothing", "rules, added: network 2001:db8::/32, note <b>home", "rules, added: host vpn.example.com", "rules, removed: network 192.0.2.0/24, note office"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%q", got)
	}
}
