package console

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"postern/internal/audit"
	"postern/internal/relay"
)

// column are the cells of a table under a heading, from top to bottom.
func (r *reply) column(table, head string) (out []string) {
	for _, c := range r.all("#" + table + " td") {
		if attribute(c, "data-label") == head {
			out = append(out, strings.Join(strings.Fields(text(c)), " "))
		}
	}
	return out
}

// The page says of each key what the text says: who may not send is no danger for not
// being narrowed.
func TestAuditSaysWhoCanSend(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.api.on("GET /v3/audit/report", json.RawMessage(`{"senders":[
		{"api_key_id":"k1","name":"wide","active":true,"can_send":true,"senders":[]},
		{"api_key_id":"k2","name":"narrow","active":true,"can_send":true,"senders":["a.example","b.example"]},
		{"api_key_id":"k3","name":"reader","active":true,"can_send":false,"senders":[]},
		{"api_key_id":"k4","name":"off","active":false,"can_send":true,"senders":["a.example"]},
		{"api_key_id":"k5","name":"narrow reader","active":true,"can_send":false,"senders":["a.example"]}]}`))
	r := w.get("/audit").want(200)
	if got := strings.Join(r.column("senders", "As"), "|"); got != "all of its own|a.exampleb.example|nobody|nobody|nobody" {
		t.Errorf("as whom: %s", got)
	}
	r.lacks("#senders td[data-label=As] .bad").shows("#senders td[data-label=As] .warn", "all of its own")
	if n := len(r.all("#senders td[data-label=As] .warn")); n != 1 {
		t.Errorf("%d keys are warned of", n)
	}
}

// The page has all tables that the text, print and JSON have.
func TestAuditTables(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.api.on("GET /v3/audit/report", json.RawMessage(`{"counts":{"critical":1,"low":7},"cut":12,"logins_since":"2026-02-04T00:00:00Z",
		"people":[{"username":"ann","email":"ann@example.com","role":"owner","second_factor":true,"password":true,"last_seen_at":"2026-03-03T00:00:00Z","last_seen_from":"192.0.2.9","findings":3},
			{"username":"ben","email":"ben@example.com","role":"developer","password":true,"subuser":"shop","disabled":true},{"username":"cy","email":"cy@example.com","role":"auditor"}],
		"domains":[{"id":7,"domain":"example.com","state":"verified","dmarc_policy":"none","spf_aligned":"relaxed","checked_at":"2026-03-04T00:00:00Z","findings":2},{"id":8,"domain":"example.org","subuser":"shop","state":"pending"}],
		"access_lists":[{"entries":["192.0.2.0/24","mx.example"],"monitor":true},{"subuser":"shop","entries":[]}]}`))
	r := w.get("/audit").want(200)
	for _, c := range []struct{ table, head, want string }{
		{"severities", "How bad", "critical|high|medium|low"}, {"severities", "Findings", "1|0|0|7"},
		{"people", "Name", "ann|switched off ben shop|cy"}, {"people", "Address", "ann@example.com|ben@example.com|cy@example.com"}, {"people", "Role", "Owner|Developer|Auditor"},
		{"people", "Second factor", "yes|no|by sign-on"}, {"people", "Findings", "3|0|0"},
		{"domains", "Domain", "example.com|example.org shop"}, {"domains", "State", "verified|waits for its records"}, {"domains", "DMARC", "none: only watches|"},
		{"domains", "SPF aligned", "relaxed|"}, {"domains", "DKIM aligned", "no|"}, {"domains", "Findings", "2|0"},
		{"lists", "List of", "the account|shop"}, {"lists", "Lets in", "192.0.2.0/24mx.example|everybody"}, {"lists", "Mode", "monitor|enforce"},
	} {
		if got := strings.Join(r.column(c.table, c.head), "|"); got != c.want {
			t.Errorf("%s, %s: %q, want %q", c.table, c.head, got, c.want)
		}
	}
	for i, want := range []string{"2026-03-03", "never", "never"} {
		if got := r.column("people", "Last seen")[i]; !strings.Contains(got, want) {
			t.Errorf("last seen: %q, want %q", got, want)
		}
	}
	r.says("192.0.2.9", "Logins are looked at from", "2026-02-04", "Left out of the tables", "12 rows")
	r.shows("#people a[href=/people/ann]", "ann").shows("#people a[href=/as/shop/people/ben]", "ben").shows("#domains a[href=/domains/7]", "example.com").
		shows("#domains a[href=/as/shop/domains/8]", "example.org").shows("#lists a[href=/access]", "the account").shows("#lists a[href=/as/shop/access]", "shop")
	for _, route := range []string{apiPerson, apiDomain, apiRules} {
		w.api.deny("GET " + route)
	}
	w.get("/audit").want(200).lacks("#people a").lacks("#domains a").lacks("#lists a")
	w.api.on("GET /v3/audit/report", json.RawMessage(`{}`))
	w.get("/audit").want(200).lacks("#people").never("Left out of the tables").never("Logins are looked at from")
}

// A long table ends as in print, and says how much is left and where it is.
func TestAuditTablesAreCut(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	report := func(n int) audit.Report {
		r := audit.Report{}
		for i := range n {
			name := fmt.Sprint("row ", i)
			r.Findings = append(r.Findings, audit.Finding{Title: name})
			r.Senders = append(r.Senders, audit.SenderRow{Name: name})
			r.People = append(r.People, audit.PersonRow{Username: name, Role: relay.RoleOwner})
			r.Clients = append(r.Clients, audit.ClientRow{KeyName: name})
			r.Domains = append(r.Domains, audit.DomainRow{Name: name})
			r.Lists = append(r.Lists, audit.ListRow{Subuser: name})
		}
		return r
	}
	w.api.on("GET /v3/audit/report", report(audit.MaxText))
	w.get("/audit").want(200).lacks(".more")
	w.api.on("GET /v3/audit/report", report(audit.MaxText+3))
	r := w.get("/audit").want(200)
	for _, id := range []string{"findings", "senders", "people", "clients", "domains", "lists"} {
		if n := len(r.all("#" + id + " tbody tr")); n != audit.MaxText {
			t.Errorf("%s has %d rows", id, n)
		}
	}
	var said []string
	for _, p := range r.all(".more") {
		said = append(said, text(p))
	}
	want := append([]string{"… and 3 more rows, which the report for print lists."}, strings.Split(strings.Repeat("… and 3 more rows, which the report as JSON has.|", 5), "|")[:5]...)
	if strings.Join(said, "|") != strings.Join(want, "|") {
		t.Errorf("said %q, want %q", said, want)
	}
}

// A report that was kept prints as the one of now does, as it was then.
func TestKeptAuditForPrint(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.get("/audit/reports/r1").want(200).shows("a[href=/audit/reports/r1/print]", "For print")
	w.api.on("GET /v3/audit/reports/r1", audit.Report{ID: "r1", Name: hostile("acme"), Score: 640, FullScore: 1000})
	rec := w.do(request("GET", "/audit/reports/r1/print", nil))
	policy, body := rec.Header().Get("Content-Security-Policy"), rec.Body.String()
	if rec.Code != 200 || !strings.Contains(policy, "style-src 'sha256-") || strings.Contains(policy, "unsafe") || strings.Contains(body, "<script") || !strings.Contains(body, "640") || !strings.Contains(body, "report r1") {
		t.Errorf("%d %s\n%s", rec.Code, policy, body)
	}
	w.api.on("GET /v3/audit/reports/gone", relay.E(relay.NotFound, "There is no such report."))
	if rec := w.do(request("GET", "/audit/reports/gone/print", nil)); rec.Code != 404 {
		t.Errorf("one that is gone: %d", rec.Code)
	}
}
