package console

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"postern/internal/audit"
	"postern/internal/relay"
)

const oneFinding = `{"id":"f1","rule":"network","api_key_id":"k1","api_key_name":"shop","subject":"198.51.100.0/24","severity":"warning","state":"open","title":"The key shop is used from a new network",
	"text":"It came from 198.51.100.0/24, where it never was.","fix":"Rotate the key if that is not you.","first_at":"2026-03-04T10:00:00Z","last_at":"2026-03-04T11:00:00Z","count":4,"answer":"tell","answered_at":"2026-03-04T10:00:01Z",
	"evidence":{"expected":2,"seen":3.5,"unit":"networks","places":[{"addr":"198.51.100.7","network":"198.51.100.0/24","country":"DE","city":"Berlin","asn":64500}],"times":["2026-03-04T10:00:00Z"],"samples":["joe@example.org"],"values":{"km":900},"was":"TLSv1.3","now":"TLSv1.2"}}`

const oneAuditFinding = `{"id":"x","code":"key_unused","section":"keys","severity":"high","weight":20,"practice":"least_privilege","standards":["NIST SP 800-63B"],"title":"The key old is not used","text":"It was never used.",
	"evidence":["made 2025-01-01"],"fix":"postern key revoke old","href":"/keys/k1","subject":{"kind":"api_key","id":"k1","name":"old"}}`

const oneReport = `{"id":"r1","account":"acme","at":"2026-03-04T11:00:00Z","score":870,"full_score":1000,"practices":[{"practice":"least_privilege","findings":1,"weight":20}],"findings":[` + oneAuditFinding + `],"omitted":2,"counts":{"high":3},"cut":4,"logins_since":"2026-02-04T00:00:00Z",
	"people":[{"username":"bob","email":"bob@example.com","role":"owner","second_factor":false,"password":true,"last_seen_at":"2026-03-03T00:00:00Z","last_seen_from":"192.0.2.9","findings":1}],
	"domains":[{"id":7,"domain":"example.com","state":"verified","dmarc_policy":"none","spf_aligned":"relaxed","dkim_aligned":"","checked_at":"2026-03-04T00:00:00Z","findings":2}],
	"access_lists":[{"entries":["192.0.2.0/24"],"monitor":true},{"subuser":"shop","entries":[]}],
	"senders":[{"api_key_id":"k1","name":"shop","kind":"api_key","active":true,"can_send":true,"senders":[],"from":["192.0.2.0/24"],"full_access":true,"last_used_at":"2026-03-04T10:00:00Z","last_used_from":"192.0.2.7","last_used_helo":"shop.example.com","findings":1}],
	"clients":[{"api_key_id":"k1","key_name":"shop","protocol":"smtp","addr":"192.0.2.7","helo":"shop.example.com","mechanism":"PLAIN","tls":"TLSv1.2","last_at":"2026-03-04T10:00:00Z","logins":9,"weak":["tls_old"]}],
	"components":[{"name":"Go","version":"1.26","released":"2026-02-01T00:00:00Z","old":true}],"trail":{"valid":false,"records":9,"problem":"Change 4 was altered."}}`

func init() {
	for what, s := range map[string]string{
		"GET /v3/watch/findings": `{"result":[` + oneFinding + `],"next":"c2"}`, "GET /v3/watch/findings/f1": oneFinding,
		"GET /v3/watch/settings": `{"rules":[{"rule":"canary","answer":"tell","default_answer":"tell","margin":1,"answers":["record","tell","slow","hold","stop"]},{"rule":"burst","answer":"slow","default_answer":"tell","margin":3,"floor":50,"answers":["record","tell","slow","hold","stop"]},
			{"rule":"sweep","off":true,"answer":"record","margin":1,"answers":["record","tell"]}],"mail_to":["ops@example.com"],"webhook":"https://hooks.example.com/x","webhook_secrets":1}`,
		"GET /v3/audit/report":     oneReport,
		"GET /v3/audit/reports":    `{"result":[{"id":"r1","at":"2026-03-01T00:00:00Z","score":800,"findings":9}]}`,
		"GET /v3/audit/reports/r1": oneReport,
		"GET /v3/audit/compare":    `{"a":{"id":"r1","at":"2026-03-01T00:00:00Z","score":800},"b":{"at":"2026-03-04T11:00:00Z","score":870},"difference":70,"mended":[` + oneAuditFinding + `],"new":[],"unchanged":[],"partial":true}`,
		"GET /v3/audit/schedule":   `{"every":"weekly","to":["ops@example.com"],"options":{"unused_days":90},"next_at":"2026-03-09T00:00:00Z","last_at":null}`,
	} {
		samples[what] = s
	}
}

func TestWatchFindings(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.get("/watch").want(200).says("The key shop is used from a new network", "4 times since", "tell me").shows("a[href=/keys/k1]", "shop").shows("a[rel=next]", "Next")
	if path := w.api.made("GET /v3/watch/findings")[0].Path; path != "/v3/watch/findings?state=open" {
		t.Errorf("asked for %s", path)
	}
	w.get("/watch?state=all&key=k1")
	if path := w.api.made("GET /v3/watch/findings")[1].Path; path != "/v3/watch/findings?key=k1" {
		t.Errorf("asked for %s", path)
	}
	w.get("/watch/f1").want(200).says("Rotate the key if that is not you.", "3.5 networks", "2 networks", "Berlin", "AS64500", "joe@example.org", "TLSv1.2", "It is real", "Dismiss it")
	// A failure says whether it is tried again.
	again := "Not done yet, and tried again: webhook: 503"
	for _, c := range []struct {
		was, is string
		tried   bool
	}{
		{`"answered_at":"2026-03-04T10:00:01Z"`, `"answer_error":"webhook: 503"`, true},
		{`"answered_at":"2026-03-04T10:00:01Z"`, `"answered_at":"2026-03-04T10:00:01Z","answer_error":"webhook: 503"`, false},
		{`"state":"open"`, `"state":"confirmed","answer_error":"webhook: 503"`, false},
	} {
		w.api.on("GET /v3/watch/findings/f1", json.RawMessage(strings.Replace(oneFinding, c.was, c.is, 1)))
		if page := w.get("/watch/f1").says("webhook: 503"); c.tried {
			page.says(again)
		} else {
			page.never(again)
		}
	}
	w.api.on("GET /v3/watch/findings/f1", json.RawMessage(oneFinding))
	w.api.on("POST /v3/watch/findings/f1/dismiss", nil)
	w.api.on("POST /v3/watch/findings/f1/confirm", nil)
	w.get("/watch/f1").shows("input[name=teach][checked]", "")
	// Nobody has a use for a decoy key: that somebody tries it is usual only for who says so.
	w.api.on("GET /v3/watch/findings/f1", json.RawMessage(strings.Replace(oneFinding, `"rule":"network"`, `"rule":"canary"`, 1)))
	w.get("/watch/f1").shows("input[name=teach]", "").lacks("input[name=teach][checked]")
	w.api.on("GET /v3/watch/findings/f1", json.RawMessage(oneFinding))
	w.post("/watch/f1/dismiss", "teach", "on").goes("/watch/f1")
	if body := w.asked("POST /v3/watch/findings/f1/dismiss"); body != `{"teach":true}` {
		t.Errorf("asked for %s", body)
	}
	w.post("/watch/f1/confirm").goes("/watch/f1")
	w.api.denied = []string{"POST /v3/watch/findings/{finding_id}/dismiss", "POST /v3/watch/findings/{finding_id}/confirm"}
	w.get("/watch/f1").never("It is real", "Dismiss it")
	w.api.on("GET /v3/watch/findings", map[string]any{})
	w.get("/watch").says("The watch has noticed nothing here.")
}

func TestWatchSettings(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	page := w.get("/watch/settings").want(200).shows("option[value=slow][selected]", "slow down").shows("option[value=off][selected]", "do not look").
		shows("option[value=3][selected]", "3 times").shows("textarea[name=mail_to]", "ops@example.com")
	// Each rule is a row: what it looks for, what it does now, and inputs with names of
	// their own, which belong to the one form.
	page.shows("#rules tbody th[scope=row]", "A decoy key is tried").shows("#rules td", "the default")
	var answers []string
	for _, o := range page.all("select[name=rules.burst] option") {
		answers = append(answers, text(o))
	}
	if d := cmp.Diff([]string{"record only", "tell me", "slow down", "hold for release", "stop the key", "do not look for it"}, answers); d != "" {
		t.Errorf("answers of a burst: %s", d)
	}
	page.shows("label[for=watch-rules.burst]", "What is done: A key sends far more").shows("label[for=watch-rules.burst.margin]", "How far beyond the usual: A key sends").
		shows("label[for=watch-rules.burst.floor]", "At least: A key sends").shows("#watch-rules.burst.floor-hint", "recipients in an hour beyond the usual; by default 30").shows("#watch-rules.burst.margin-hint", "what the rule asks: ").
		shows("select[name=rules.burst][form=watch]", "stop the key").lacks("[name=rules.canary.margin]").lacks("[name=rules.canary.floor]").
		lacks("form[id=watch] [name=rules.burst]").shows("form[id=watch] button", "Save all settings")
	if v := page.all("input[name=rules.burst.floor]"); len(v) != 1 || attribute(v[0], "value") != "50" {
		t.Errorf("the floor of a burst: %v", v)
	}
	for _, r := range relay.WatchRules {
		if ruleWords[r] == "" {
			t.Errorf("the rule %s has no words", r)
		}
	}
	w.api.on("PATCH /v3/watch/settings", nil)
	w.post("/watch/settings", "rules.canary", "stop", "rules.sweep", "off", "rules.burst", "hold", "rules.burst.margin", "2", "rules.burst.floor", "", "rules.sweep.floor", "9", "mail_to", "a@example.com", "no_mail", "on").goes("/watch/settings")
	body := w.asked("PATCH /v3/watch/settings")
	for _, want := range []string{`"canary":{"off":false,"answer":"stop","margin":1}`, `"sweep":{"off":true,"answer":"record","margin":1,"floor":9}`, `"burst":{"off":false,"answer":"hold","margin":2,"floor":0}`, `"mail_to":["a@example.com"]`, `"no_mail":true`} {
		if !strings.Contains(body, want) {
			t.Errorf("%s lacks %s", body, want)
		}
	}
	if n := len(w.get("/watch/settings").all("select[name=rules.sweep] option")); n != 3 { // record, tell, off
		t.Errorf("a sweep can be answered in %d ways", n)
	}
	w.api.on("PATCH /v3/watch/settings", map[string]string{"webhook_secret": "whsec_once"})
	w.post("/watch/settings", "webhook", "https://hooks.example.com/y", "rotate_secret", "on").want(200).says("whsec_once", "This is shown once.")
	if body := w.asked("PATCH /v3/watch/settings"); !strings.Contains(body, `"rotate_secret":true`) {
		t.Errorf("asked for %s", body)
	}
	w.get("/watch/settings").never("whsec_once")
	w.api.on("PATCH /v3/watch/settings", &relay.Error{Kind: relay.Invalid, Field: "webhook", Public: "It must begin with https."})
	w.post("/watch/settings", "webhook", "http://x").want(422).shows("#watch-webhook-error", "https")
	w.post("/watch/settings", "rules.burst", "hold", "rules.burst.floor", "many").want(422).shows("#rules .wrong", "Write a whole number.").shows("option[value=hold][selected]", "hold")
	w.api.on("PATCH /v3/watch/settings", &relay.Error{Kind: relay.Invalid, Field: "rules.burst", Public: "A floor is a number from 0."})
	w.post("/watch/settings", "rules.burst.floor", "-1").want(422).shows("#watch-rules.burst-error", "A floor is a number")
	w.api.denied = []string{"PATCH /v3/watch/settings"}
	w.get("/watch/settings").want(200).shows("#rules", "slow down").lacks("form[id=watch]").lacks("#rules select").lacks("#rules input")
}

// The key of a subuser's finding is shown on the subuser's pages, and whose it is.
func TestFindingOfASubuser(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	const one = `{"id":"f1","title":"t","state":"open","severity":"warning","api_key_id":"k1","api_key_name":"till","username":"shop"}`
	w.api.on("GET /v3/watch/findings", json.RawMessage(`{"result":[`+one+`]}`))
	w.api.on("GET /v3/watch/findings/f1", json.RawMessage(one))
	w.get("/watch").want(200).shows("#findings a[href=/as/shop/keys/k1]", "till")
	w.get("/watch/f1").want(200).shows("a[href=/as/shop/keys/k1]", "till").says("shop")
}

func TestAuditReport(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	r := w.get("/audit").want(200).shows(".score", "870 of 1000").says("The key old is not used", "NIST SP 800-63B", "postern key revoke old", "full access", "tls_old", "2026-02-01", "Change 4 was altered.", "2 further findings")
	r.shows("a[href=/keys/k1]", "Mend it on its page")
	w.get("/audit/reports").want(200).says("800").shows("option[value=r1]", "score 800")
	w.get("/audit/reports/r1").want(200).shows("a[href=/audit/compare?a=r1]", "Compare with now")
	w.get("/audit/compare?a=r1&b=now").want(200).says("The score went from 800 to 870.", "1 finding mended, 0 new ones.", "Nothing is new.", "does not list all")
	w.api.on("GET /v3/audit/compare", relay.E(relay.Invalid, "Name a report."))
	w.get("/audit/compare").goes("/audit/reports")
	w.api.on("POST /v3/audit/reports", nil)
	w.post("/audit/keep").goes("/audit/reports")
	w.api.on("PATCH /v3/audit/schedule", nil)
	w.get("/audit/schedule").want(200).says("weekly", "2026-03-09")
	w.post("/audit/schedule", "every", "monthly", "to", "a@example.com", "options.unused_days", "30").goes("/audit/schedule")
	if body := w.asked("PATCH /v3/audit/schedule"); body != `{"every":"monthly","options":{"unused_days":30},"to":["a@example.com"]}` {
		t.Errorf("asked for %s", body)
	}
	w.post("/audit/schedule", "options.login_days", "x").want(422).shows(".wrong", "whole number")
}

// The page for print has a style sheet in it, which only its own policy allows.
func TestAuditForPrint(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.api.on("GET /v3/audit/report", audit.Report{Name: hostile("acme"), Score: 870, FullScore: 1000})
	rec := w.do(request("GET", "/audit/print", nil))
	policy := rec.Header().Get("Content-Security-Policy")
	if rec.Code != 200 || !strings.Contains(policy, "style-src 'sha256-") || strings.Contains(policy, "unsafe") || strings.Contains(rec.Body.String(), "<script") {
		t.Errorf("%d %s\n%s", rec.Code, policy, rec.Body)
	}
}

func TestMeasure(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{"1 attempt": measure(1, "attempts"), "0 attempts": measure(0, "attempts"), "2 networks": measure(2, "networks"), "1 km/h": measure(1, "km/h")} {
		if got != want {
			t.Errorf("%q instead of %q", got, want)
		}
	}
}

// Without a file of places a finding has no empty columns.
func TestTableIsSlim(t *testing.T) {
	t.Parallel()
	tab := table{Head: []string{"Address", "Country", "City"}, Rows: []row{{Cells: []cell{words("192.0.2.1"), {}, {}}}, {Cells: []cell{words("192.0.2.2"), {}, tagged("x", toneOK)}}}}
	tab.slim()
	if len(tab.Head) != 2 || tab.Head[1] != "City" || len(tab.Rows[0].Cells) != 2 || tab.Rows[1].Cells[1].Badges == nil {
		t.Errorf("%+v", tab)
	}
}
