package console

import (
	"strings"
	"testing"

	"postern/internal/httpx"
	"postern/internal/relay"
)

func TestDomainShowsFoundAgainstExpected(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	r := w.get("/domains/7").want(200)
	r.shows("#records", "p1._domainkey.example.com").shows("#records", "differs").shows("#records", "other.example").shows("#records", "found")
	r.shows("#record-0-value", "p1.dkim.relay.example.net").shows("button[data-copy=record-0-value]", "Copy")
	r.shows("#findings", "Let it point to").shows("#dkim", "2048").says("Publish the records below.", "The record dkim1 is missing.", "Give the change of keys up")
	w.get("/domains").says("example.com", "waits for its records", "1 of 2", "none: only watches")
	w.get("/domains/7?host=cloudflare").shows("#host-fields", "DNS only").says("In the zone example.com: DNS > Records.")
}

func TestDomainIsAddedAndLookedAt(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.api.on("POST /v3/whitelabel/domains", map[string]any{"id": 7})
	w.post("/domains/new", "domain", "example.com", "default", "on").goes("/domains/7")
	if body := w.asked("POST /v3/whitelabel/domains"); body != `{"all_subusers":false,"default":true,"domain":"example.com","subdomains":false}` {
		t.Errorf("asked for %s", body)
	}
	w.api.on("POST /v3/whitelabel/domains", relay.E(relay.Conflict, "This domain is there already."))
	w.post("/domains/new", "domain", "example.com").want(422).says("This domain is there already.")
	for _, test := range []struct {
		answer      any
		where, want string
	}{
		{map[string]bool{"valid": true}, ".notice.ok[role=status]", "All records are there"},
		{map[string]bool{"unknown": true}, ".notice.warn[role=status]", "did not answer"},
		{map[string]bool{}, ".notice.warn[role=status]", "not there yet"},
		{httpx.Refuse(429, "This domain is being checked."), ".notice.bad[role=alert]", "This domain is being checked."},
	} {
		w.api.on("POST /v3/whitelabel/domains/7/validate", test.answer)
		w.post("/domains/7/validate").goes("/domains/7")
		w.get("/domains/7").shows(test.where, test.want)
	}
}

// While the DNS does not answer, no record is called missing: its owner would
// publish once more what is there.
func TestRecordsAreNotMissingWhileTheDNSIsSilent(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	silent := map[string]any{"id": 7, "domain": "example.com", "state": "verified", "last_validation_attempt_at": 1772600000, "unknown": true, "records": []map[string]any{
		{"key": "dkim1", "for": "DKIM key", "name": "p1._domainkey.example.com", "type": "CNAME", "value": "p1.dkim.relay.example.net", "required": true, "reason": "The name servers do not answer."}}}
	w.api.on("GET /v3/whitelabel/domains/7", silent)
	w.get("/domains/7").shows("#records", "not known").shows("#records", "The name servers do not answer.").lacks("#records .badge.bad")
	silent["unknown"] = false
	w.api.on("GET /v3/whitelabel/domains/7", silent)
	w.get("/domains/7").shows("#records", "missing")
}

func TestDomainChanges(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	for _, call := range []string{"PATCH /v3/whitelabel/domains/7", "DELETE /v3/whitelabel/domains/7", "POST /v3/whitelabel/domains/7/rotate",
		"DELETE /v3/whitelabel/domains/7/rotate", "POST /v3/whitelabel/domains/7/subuser", "DELETE /v3/whitelabel/domains/7/subuser",
		"POST /v3/whitelabel/domains/7/disable", "POST /v3/whitelabel/dns/email"} {
		w.api.on(call, nil)
	}
	w.post("/domains/7/edit", "default", "on", "rotate_every_days", "-1").goes("/domains/7")
	if body := w.asked("PATCH /v3/whitelabel/domains/7"); body != `{"all_subusers":false,"default":true,"notify":false,"reveal_retired_keys":false,"rotate_every_days":-1,"subdomains":false}` {
		t.Errorf("asked for %s", body)
	}
	w.post("/domains/7/edit", "rotate_every_days", "often").want(422).shows(".wrong", "Write a whole number.")
	w.post("/domains/7/rotate", "now", "on").goes("/domains/7")
	w.post("/domains/7/cancel").goes("/domains/7")
	w.post("/domains/7/share", "username", "shop").goes("/domains/7")
	w.post("/domains/7/unshare", "username", "shop").goes("/domains/7")
	if calls := w.api.made("DELETE /v3/whitelabel/domains/7/subuser"); len(calls) != 1 || calls[0].Path != "/v3/whitelabel/domains/7/subuser?username=shop" {
		t.Errorf("calls: %+v", calls)
	}
	w.post("/domains/7/letter", "email", "dns@example.net").goes("/domains/7")
	w.post("/domains/7/disable").goes("/domains/7")
	w.get("/domains/7/delete").want(200).says("Nobody can send as example.com afterwards.")
	if calls := w.api.made("DELETE /v3/whitelabel/domains/7"); len(calls) != 0 {
		t.Fatal("asking deleted it")
	}
	w.post("/domains/7/delete").goes("/domains")

	w.api.on("POST /v3/whitelabel/domains/7/subuser", httpx.Refuse(404, "not found"))
	w.post("/domains/7/share", "username", "nobody").want(422).says("There is no subuser of that name.")
}

func TestDMARCPage(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.get("/domains/7/dmarc").want(200).says("98.0 %", "this relay", "no signature", "v=DMARC1; p=quarantine", "98 % of the mail is aligned").
		shows("#dmarc tbody", "2026-03-02").shows("script[src]", "")
}

func TestSenders(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.get("/single-senders").says("News", "waits for its link", "hard.example", "soft.example", "Mail a new link")
	w.get("/single-senders/5").says("news@example.net")
	w.get("/single-senders/6").want(404)
	w.api.on("POST /v3/verified_senders", map[string]any{"id": 6, "verified": true, "warnings": []string{"Receivers may doubt it."}})
	w.post("/single-senders/new", "nickname", "A", "from_email", "a@example.com", "reply_to", "a@example.com").goes("/single-senders")
	w.get("/single-senders").shows("[role=status]", "Receivers may doubt it.")
	field := "from_email"
	w.api.on("PATCH /v3/verified_senders/5", &httpx.Refusal{Status: 400, Items: []httpx.ErrorItem{{Message: "already exists", Field: &field}}})
	w.post("/single-senders/5", "nickname", "A").want(422).shows("#sender-from_email-error", "Already exists.")
	w.api.on("DELETE /v3/verified_senders/5", nil)
	w.get("/single-senders/5/delete").says("Mail as news@example.net is refused afterwards.")
	w.post("/single-senders/5/delete").goes("/single-senders")
}

// What fewer people need of a domain: addresses of its own, and a key from elsewhere,
// which is not shown again.
func TestDomainAddressesAndForeignKeys(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.get("/domains/7").shows("#spf", "192.0.2.70").shows("#spf-add", "IP address").says("Bring a key from elsewhere")
	w.api.on("POST /v3/whitelabel/domains/7/ips", map[string]any{"id": 7})
	w.post("/domains/7/ips", "ip", " 2001:db8::7 ").goes("/domains/7")
	if body := w.asked("POST /v3/whitelabel/domains/7/ips"); body != `{"ip":"2001:db8::7"}` {
		t.Errorf("asked for %s", body)
	}
	field := "ip"
	w.api.on("POST /v3/whitelabel/domains/7/ips", &relay.Error{Kind: relay.Invalid, Field: field, Public: "Not an IP address."})
	w.post("/domains/7/ips", "ip", "<none>").want(422).shows("#spf-add", "Not an IP address.")
	w.api.on("DELETE /v3/whitelabel/domains/7/ips/2001:db8::7", nil)
	w.post("/domains/7/ips/remove", "ip", "2001:db8::7").goes("/domains/7")
	if calls := w.api.made("DELETE /v3/whitelabel/domains/7/ips/2001:db8::7"); len(calls) != 1 {
		t.Errorf("calls: %+v", calls)
	}

	w.get("/domains/7/import").want(200).shows("#import-key", "Selector")
	w.api.on("POST /v3/whitelabel/domains/7/keys", map[string]any{"selector": "s1"})
	w.post("/domains/7/import", "selector", "s1", "private_key", "-----BEGIN PRIVATE KEY-----\r\nAAAA\r\n-----END PRIVATE KEY-----\r\n").goes("/domains/7")
	if body := w.asked("POST /v3/whitelabel/domains/7/keys"); body != `{"private_key":"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----","selector":"s1"}` {
		t.Errorf("asked for %s", body)
	}
	w.api.on("POST /v3/whitelabel/domains/7/keys", &relay.Error{Kind: relay.Invalid, Field: "private_key", Public: "Not a private key."})
	r := w.post("/domains/7/import", "selector", "s1", "private_key", "my secret key").want(422).says("Not a private key.")
	if strings.Contains(r.body, "my secret key") {
		t.Error("the page shows the private key again")
	}
}
