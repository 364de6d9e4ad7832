package console

import (
	"encoding/json"
	"strings"
	"testing"
)

// A DKIM key has a page with its record, and what its state asks of people.
func TestDKIMKey(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.get("/domains/7").shows("#dkim a[href=/domains/7/keys/p1]", "p1")
	r := w.get("/domains/7/keys/p1").want(200).says("Mail is signed with it.", "rsa, 2048 bits", "2026-01-02 00:00 UTC")
	r.shows("#dkim-name", "p1._domainkey.example.com").shows("#dkim-value", "v=DKIM1; k=rsa; p=MIIB").shows("button[data-copy=dkim-value]", "Copy")
	r.shows("a[href=/domains/7/keys/p1/export]", "zone file").shows("a[href=/domains/7/rotate]", "Change the keys")
	w.get("/domains/7/keys/p2").says("It does not sign yet.", "Publish the record below")
	for state, says := range map[string]string{"retired": "may still be on its way", "withdrawn": "you can delete it", "off": "Ask the operator"} {
		w.api.on("GET /v3/whitelabel/domains/7/keys", map[string]any{"result": []any{map[string]any{"selector": "old", "state": state}}})
		w.get("/domains/7/keys/old").want(200).says(says, state).lacks("a[href=/domains/7/keys/old/export]")
		w.get("/domains/7/keys/old/export").want(404)
	}
	w.get("/domains/7/keys/none").want(404)
	w.get("/domains/7/keys/none/export").want(404)
}

func TestDKIMKeyOfTheRelaysZone(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.api.on("GET /v3/whitelabel/domains/7", map[string]any{"id": 7, "domain": "example.com", "automatic_security": true})
	w.get("/domains/7/keys/p2").says("there is nothing to do", "in the relay's own zone")
	w.get("/domains/7/keys/p1").says("Leave the alias in your DNS")
}

// The public record is a line that a name server takes; what a record holds makes
// neither another line nor another file name.
func TestDKIMRecordAsAFile(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	long := "v=DKIM1; k=rsa; p=" + strings.Repeat("A", 300)
	w.api.on("GET /v3/whitelabel/domains/7/keys", map[string]any{"result": []any{
		map[string]any{"selector": "p1", "name": "p1._domainkey.example.com", "record": long},
		map[string]any{"selector": "x", "name": "x\";\r\nSet-Cookie: a=b", "record": "v=DKIM1; p=\"\nevil. IN A 192.0.2.1"},
	}})
	r := w.get("/domains/7/keys/p1/export").want(200)
	if want := `p1._domainkey.example.com. IN TXT "` + long[:255] + `" "` + long[255:] + "\"\n"; r.body != want {
		t.Errorf("the file is\n%s", r.body)
	}
	if d := r.header.Get("Content-Disposition"); d != `attachment; filename="p1._domainkey.example.com.txt"` || r.header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("it is %s", d)
	}
	r = w.get("/domains/7/keys/x/export").want(200)
	if strings.Count(r.body, "\n") != 1 || !strings.Contains(r.body, `\"`) {
		t.Errorf("the file is\n%s", r.body)
	}
	if d := r.header.Get("Content-Disposition"); strings.ContainsAny(strings.TrimSuffix(strings.TrimPrefix(d, `attachment; filename="`), `"`), "\"; \r\n") || r.header.Get("Set-Cookie") != "" {
		t.Errorf("it is %s", d)
	}
}

func TestDKIMKeysAreForWhomMaySeeThem(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.api.deny("GET /v3/whitelabel/domains/{domain_id}/keys")
	w.get("/domains/7").shows("#dkim code", "p1").lacks("#dkim a")
	w.get("/domains/7/keys/p1").want(404)
	w.get("/domains/7/keys/p1/export").want(404)
}

// A change of keys can be given up while a key waits that is younger than the one that
// signs; a second algorithm that was never published is none.
func TestWhenAChangeOfKeysIsUnderWay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		keys string
		want bool
	}{
		{``, false},
		{`{"algorithm":"rsa-sha256","state":"waiting","created_at":"2026-01-01T00:00:00Z"}`, false},
		{`{"algorithm":"rsa-sha256","state":"signing","created_at":"2026-01-01T00:00:00Z"},{"algorithm":"ed25519-sha256","state":"waiting","created_at":"2026-01-01T00:00:01Z"}`, false},
		{`{"algorithm":"rsa-sha256","state":"signing","created_at":"2026-01-01T00:00:00Z"},{"algorithm":"rsa-sha256","state":"waiting","created_at":"2026-01-01T00:00:00Z"}`, false},
		{`{"algorithm":"rsa-sha256","state":"waiting","created_at":"2026-02-01T00:00:00Z"},{"algorithm":"rsa-sha256","state":"signing","created_at":"2026-01-01T00:00:00Z"}`, true},
		{`{"algorithm":"rsa-sha256","state":"retired","created_at":"2026-01-01T00:00:00Z"},{"algorithm":"rsa-sha256","state":"waiting","created_at":"2026-02-01T00:00:00Z"}`, false},
	} {
		w := newPages(t, sampleAnswers())
		w.api.on("GET /v3/whitelabel/domains/7", json.RawMessage(`{"id":7,"domain":"example.com","dkim":[`+c.keys+`]}`))
		if got := w.get("/domains/7").want(200).find("form[action=/domains/7/cancel]") != nil; got != c.want {
			t.Errorf("%s: can be given up: %v", c.keys, got)
		}
	}
}
