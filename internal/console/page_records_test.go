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
	w.api.on("GET /v3/logins", map[string]any{"result": []any{}})
	w.get("/logins?place=DE").shows("#logins", "000 logins fits this search")
	w.api.on("GET /v3/logins/summary", map[string]any{"by_result": []any{map[string]any{"name": "ok", "count": 1}}})
	w.get("/logins").lacks("#by-place").lacks("#search-place").shows("#by-result", "let in")
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
	w.get("/domains/7/history").want(200).says("domain.update")
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
