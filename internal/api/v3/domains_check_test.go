package v3

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

func TestValidateDomain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := domainsOf(w)
	d := f.have(w.acme, "a.test")
	c := w.as(w.acme, scopeDomainChange, scopeDomainRead)
	c.refused("GET", pathOf(d, "/check"), "", 404, textNotFound, "")

	var v domainCheckView
	a := c.want("POST", pathOf(d, "/validate"), "", 200, &v) // not valid, and still 200
	if v.Valid || v.Number != d.Number || v.Results["mail_cname"].Valid || v.Results["mail_cname"].Reason == nil || !strings.Contains(*v.Results["mail_cname"].Reason, "found nothing") {
		t.Errorf("%s", a.Body)
	}
	if !strings.HasPrefix(a.Body, `{"id":1000,"valid":false,"validation_results":{`) || len(v.Findings) != 1 || len(v.Records) != 5 || len(v.Servers) != 1 {
		t.Errorf("%s", a.Body)
	}
	w.pass(validatePause)
	f.published = true
	a = c.want("POST", pathOf(d, "/validate"), "", 200, &v)
	if !v.Valid || v.State != relay.DomainVerified || !v.Results["dkim1"].Valid || !strings.Contains(a.Body, `"dkim1":{"valid":true,"reason":null}`) {
		t.Errorf("%s", a.Body)
	}
	var one domainView
	c.want("GET", pathOf(d, ""), "", 200, &one)
	if !one.Valid || !one.DNS["mail_cname"].Valid || one.Attempted != w.clock().Unix() {
		t.Errorf("%+v", one)
	}
	c.want("GET", pathOf(d, "/check"), "", 200, &v)
	if !v.Valid || v.NextAt.IsZero() || f.asked != 2 {
		t.Errorf("%+v, asked %d", v, f.asked)
	}
}

// DN-12: nobody has us flood somebody's name servers.
func TestValidateIsPaced(t *testing.T) {
	t.Parallel()
	state := NewState()
	w := newWorld(t, func(s *Services) { s.State = state })
	f := domainsOf(w)
	d, other := f.have(w.acme, "a.test"), f.have(w.acme, "b.test")
	c := w.as(w.acme, scopeDomainChange)
	for range 5 {
		c.want("POST", pathOf(d, "/validate"), "", 200, nil)
		w.pass(validatePause / 10)
	}
	if f.asked != 1 {
		t.Errorf("asked %d times in half the pause", f.asked)
	}
	c.want("POST", pathOf(other, "/validate"), "", 200, nil)
	w.pass(validatePause)
	c.want("POST", pathOf(d, "/validate"), "", 200, nil)
	if f.asked != 3 {
		t.Errorf("asked %d times, want 3", f.asked)
	}
	// The first check is under way: there is nothing to tell yet.
	fresh := f.have(w.acme, "c.test")
	if !state.checks.begin(fresh.ID, w.clock()) {
		t.Fatal("not begun")
	}
	if a := c.want("POST", pathOf(fresh, "/validate"), "", 429, nil); a.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

func TestPaceIsBounded(t *testing.T) {
	t.Parallel()
	var p pace
	at := t0
	for range maxPaced {
		if !p.begin(relay.DomainID{ID: relay.NewID(t0)}, at) {
			t.Fatal("refused")
		}
	}
	if p.begin(relay.DomainID{ID: relay.NewID(t0)}, at) {
		t.Error("one more than the table holds")
	}
	if !p.begin(relay.DomainID{ID: relay.NewID(t0)}, at.Add(validatePause)) || len(p.last) != 1 {
		t.Errorf("old entries stay: %d", len(p.last))
	}
}

// A domain that the DNS proves and another account has is not valid.
func TestDisputedIsNotValid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := domainsOf(w)
	f.published = true
	d := f.have(w.acme, "a.test", func(d *relay.Domain) { d.Disputed = true })
	var v domainCheckView
	w.as(w.acme, scopeDomainChange).want("POST", pathOf(d, "/validate"), "", 200, &v)
	if v.Valid || !v.Disputed {
		t.Errorf("%+v", v)
	}
}

func TestDomainRecords(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := domainsOf(w).have(w.acme, "a.test", func(d *relay.Domain) { d.Automatic = false })
	c := w.as(w.acme, scopeDomainRead)
	var v domainRecordsView
	c.want("GET", pathOf(d, "/records"), "", 200, &v)
	if len(v.Result) < 4 || v.Result[0].Name != "_postern.a.test" || v.Result[0].Value != "postern-verify=token1000" || !v.Result[0].Required {
		t.Errorf("%+v", v)
	}
	a := c.want("GET", pathOf(d, "/records?format=zone"), "", 200, nil)
	if !strings.HasPrefix(a.Header.Get("Content-Type"), "text/plain") || !strings.Contains(a.Body, "em1000.a.test. 3600 IN MX 10 relay.test.") {
		t.Errorf("%v %s", a.Header, a.Body)
	}
	c.want("GET", pathOf(d, "/records?host=cloudflare"), "", 200, &v)
	if v.Host == nil || v.Host.ID != "cloudflare" || len(v.Fields) != len(v.Result) {
		t.Errorf("%+v", v)
	}
	c.refused("GET", pathOf(d, "/records?format=xml"), "", 400, "json or zone", "format")
	c.refused("GET", pathOf(d, "/records?host=nowhere"), "", 400, "These are: cloudflare, route53", "host")
}

func TestMailRecords(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := domainsOf(w)
	d := f.have(w.acme, "a.test")
	c := w.as(w.acme, scopeDomainChange)
	body := func(email, message string) string {
		text, err := json.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`{"link_id":0,"domain_id":%d,"email":%q,"message":%s}`, d.Number, email, text)
	}
	c.want("POST", "/v3/whitelabel/dns/email", body("dns@example.test", "Please do for a.test, e.g. now.\n\nThanks"), 204, nil)
	if len(f.letters) != 1 {
		t.Fatalf("%d letters", len(f.letters))
	}
	for _, want := range []string{"dns@example.test\nDNS records for a.test\n", "acme sends mail as a.test", "> Please do for a.test, e.g. now.\n> \n> Thanks\n", "em1000.a.test", "s1._domainkey.a.test. 3600 IN CNAME"} {
		if !strings.Contains(f.letters[0], want) {
			t.Errorf("no %q in\n%s", want, f.letters[0])
		}
	}
	for _, bad := range []struct{ body, message, field string }{
		{body("nobody", ""), "Not an email address", "email"},
		{body("a@b.test", strings.Repeat("é", 501)), "500 characters", "message"},
		{body("a@b.test", "see https://evil.test"), "without links", "message"},
		{body("a@b.test", "see WWW.evil.test"), "without links", "message"},
		{body("a@b.test", "see evil.test/login"), "without links", "message"},
		{body("a@b.test", "see evil。test"), "without links", "message"},
		{body("a@b.test", "see a.test.evil.test"), "without links", "message"},
		{body("a@b.test", "write to me@evil.test"), "without links", "message"},
		{body("a@b.test", "bell\a"), "plain text", "message"},
		{`{"link_id":7,"domain_id":1,"email":"a@b.test"}`, "Branded links", "link_id"},
		{`{"email":"a@b.test"}`, "A domain is required", "domain_id"},
	} {
		c.refused("POST", "/v3/whitelabel/dns/email", bad.body, 400, bad.message, bad.field)
	}
	// They go to strangers: 20 a day, whoever of the tenant asks.
	for i := range maxLetters - 1 {
		c.want("POST", "/v3/whitelabel/dns/email", body(fmt.Sprintf("dns%d@example.test", i%4), ""), 204, nil)
	}
	w.as(w.acme, scopeDomainChange).refused("POST", "/v3/whitelabel/dns/email", body("other@example.test", ""), 429, "20 letters", "")
	theirs := f.have(w.globex, "b.test")
	other := w.as(w.globex, scopeDomainChange)
	to := func(email string) string { return fmt.Sprintf(`{"domain_id":%d,"email":%q}`, theirs.Number, email) }
	other.want("POST", "/v3/whitelabel/dns/email", to("a@b.test"), 204, nil)
	// And five to one address, whoever asks and however it is spelled.
	other.refused("POST", "/v3/whitelabel/dns/email", to("DNS0@Example.test"), 429, "5 letters", "")
	w.pass(24 * time.Hour)
	c.want("POST", "/v3/whitelabel/dns/email", body("dns@example.test", ""), 204, nil)
	if len(f.letters) != maxLetters+2 { // one of the other tenant, and one of the next day
		t.Errorf("%d letters", len(f.letters))
	}
	none := newWorld(t, func(s *Services) { s.DomainServices.Letter = nil })
	x := domainsOf(none).have(none.acme, "a.test")
	none.as(none.acme, scopeDomainChange).refused("POST", "/v3/whitelabel/dns/email", fmt.Sprintf(`{"domain_id":%d,"email":"a@b.test"}`, x.Number), 503, "mails no records", "")
}

// An account cannot have a stranger's mailbox filled through its many subusers,
// and the table does not grow without end.
func TestLettersAreCounted(t *testing.T) {
	t.Parallel()
	var l letters
	var account relay.AccountID
	account.ID[0] = 1
	sent := 0
	for i := range 1000 {
		var sub relay.SubuserID
		sub.ID[0], sub.ID[1] = byte(i), byte(i>>8)
		if l.take(relay.Tenant{Account: account, Subuser: sub}, fmt.Sprintf("a%d@b.test", i), t0) == "" {
			sent++
		}
	}
	if sent != maxAccountLetters {
		t.Errorf("%d letters of one account in a day, want %d", sent, maxAccountLetters)
	}
	for i := range 2 * maxLetterEntries {
		var other relay.AccountID
		other.ID[0], other.ID[1], other.ID[2] = byte(i), byte(i>>8), byte(i>>16)
		other.ID[3] = 1
		l.take(relay.Tenant{Account: other}, fmt.Sprint(i), t0)
	}
	if len(l.sent) > maxLetterEntries {
		t.Errorf("%d entries", len(l.sent))
	}
}

func TestHasLink(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"": false, "Please, and soon.Thank you": true, "Please, e.g. today at 10.30": false, "for a.test.": false, "(a.test)": false, "A.TEST": false,
		"b.test": true, "x@y.test": true, "evil.xn--p1ai": true, "http://a": true, "a.test/x": true, "www.": true, "münchen.de": true, "evil．test": true, "evil｡test": true,
	} {
		if hasLink(text, "a.test") != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}
