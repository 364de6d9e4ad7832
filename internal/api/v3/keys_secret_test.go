package v3

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/secret"
	"postern/internal/store"
)

func TestAppPasswords(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, manager...)
	var k keyJSON
	c.want("POST", "/v3/api_keys", `{"name":"printer","kind":"app_password"}`, 201, &k)
	p, err := secret.ParseAppPassword(k.Password)
	stored := w.keys[len(w.keys)-1]
	if err != nil || !secret.IsAppLogin(k.Login) || k.APIKey != "" || !p.Fits(stored.Verifier.SHA256) || stored.Login != k.Login || !slices.Equal(k.Scopes, []string{"mail.send"}) {
		t.Errorf("%+v: %v", k, err)
	}
	old := k.Password
	c.want("POST", "/v3/api_keys/"+k.ID+"/rotate", `{}`, 200, &k)
	p, err = secret.ParseAppPassword(k.Password)
	if stored = w.keys[len(w.keys)-1]; err != nil || k.Password == old || !p.Fits(stored.Verifier.SHA256) || stored.Login == "" {
		t.Errorf("rotated %+v: %v", k, err)
	}
	off := newWorld(t, func(s *Services) { s.AppPasswords = false })
	off.as(off.acme, manager...).refused("POST", "/v3/api_keys", `{"name":"printer","kind":"app_password"}`, 403, "switched off", "kind")
}

func TestKindsWithoutSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, manager...)
	fingerprint := strings.Repeat("AB:", 31) + "AB"
	ca, err := json.Marshal(testCA(t, true))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := json.Marshal(testCA(t, false))
	if err != nil {
		t.Fatal(err)
	}
	claims := func(claims string) string {
		return `"kind":"federated","match":{"issuer":"https://issuer.example","audience":"postern","claims":{` + claims + `}}`
	}
	for _, tt := range []struct {
		members        string
		message, field string // "": taken
	}{
		{`"kind":"certificate","match":{"fingerprint":"` + fingerprint + `"}`, "", ""},
		{`"kind":"certificate","match":{"ca":` + string(ca) + `,"name":"web.example.test"}`, "", ""},
		{claims(`"sub":"repo:acme/shop:*"`), "", ""},
		{claims(`"sub":"x","ref":"*"`), "", ""},
		{`"kind":"certificate"`, "Say which", "match"},
		{`"kind":"certificate","match":{}`, "either", "match"},
		{`"kind":"certificate","match":{"fingerprint":"abcd"}`, "SHA-256", "match.fingerprint"},
		{`"kind":"certificate","match":{"fingerprint":"` + fingerprint + `","name":"x"}`, "either", "match"},
		{`"kind":"certificate","match":{"ca":` + string(ca) + `}`, "either", "match"},
		{`"kind":"certificate","match":{"ca":"x","name":"web.example.test"}`, "PEM", "match.ca"},
		{`"kind":"certificate","match":{"ca":` + string(leaf) + `,"name":"web.example.test"}`, "PEM", "match.ca"},
		{`"kind":"certificate","match":{"ca":` + string(ca) + `,"name":"*.example.test"}`, "exactly", "match.name"},
		{`"kind":"certificate","match":{"issuer":"https://issuer.example"}`, "federated", "match"},
		{`"kind":"federated"`, "Say which", "match"},
		{`"kind":"federated","match":{"fingerprint":"00"}`, "certificate", "match"},
		{`"kind":"federated","match":{"issuer":"https://other.example","audience":"a","claims":{"sub":"x"}}`, "does not take", "match.issuer"},
		{`"kind":"federated","match":{"issuer":"https://issuer.example","claims":{"sub":"x"}}`, "audience", "match.audience"},
		{claims(``), "1 to 16", "match.claims"},
		{claims(`"sub":"*"`), "every token", "match.claims"},
		{claims(`"sub":"a*b"`), "end of a value", "match.claims"},
		{claims(`"sub":""`), "a name and a value", "match.claims"},
	} {
		body := `{"name":"x",` + tt.members + `}`
		if tt.message != "" {
			c.refused("POST", "/v3/api_keys", body, 400, tt.message, tt.field)
			continue
		}
		var k keyJSON
		c.want("POST", "/v3/api_keys", body, 201, &k)
		stored := w.keys[len(w.keys)-1]
		if k.APIKey != "" || k.Password != "" || stored.Verifier.SHA256 != [32]byte{} || stored.Match == nil || !slices.Equal(k.Scopes, []string{"mail.send"}) {
			t.Errorf("%s: %+v", body, k)
		}
		c.refused("POST", "/v3/api_keys/"+k.ID+"/rotate", `{}`, 400, "no secret", "")
	}
	if got := w.keys[len(w.keys)-4].Match.Fingerprint; got != strings.Repeat("ab", 32) {
		t.Errorf("fingerprint %q", got)
	}
}

func TestCRAMOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *Services) { s.SealCRAM = nil })
	w.as(w.acme, manager...).refused("POST", "/v3/api_keys", `{"name":"x","cram_md5":true}`, 400, "not switched on", "cram_md5")
}

func TestRotate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, manager...)
	var k, rotated keyJSON
	c.want("POST", "/v3/api_keys", `{"name":"web","cram_md5":true,"expires_at":"2026-03-03T09:00:00Z"}`, 201, &k)
	path := "/v3/api_keys/" + k.ID
	c.want("POST", path+"/rotate", `{}`, 200, &rotated)
	stored := w.keys[len(w.keys)-1]
	parsed, err := secret.ParseKey(rotated.APIKey, "SG")
	if err != nil || rotated.ID != k.ID || rotated.Name != "web" || rotated.APIKey == k.APIKey || !rotated.PreviousUntil.Equal(t0.Add(24*time.Hour)) {
		t.Fatalf("%+v: %v", rotated, err)
	}
	first, err := secret.ParseKey(k.APIKey, "SG")
	if err != nil || !secret.VerifySHA256(parsed, stored.Verifier.SHA256) || !secret.VerifySHA256(first, stored.Previous.SHA256) || stored.Verifier.SealedCRAM == nil {
		t.Errorf("stored %+v: %v", stored, err)
	}
	c.refused("POST", path+"/rotate", `{"overlap_seconds":60}`, 409, "would end it early", "overlap_seconds")
	var seen keyJSON
	c.want("GET", path, "", 200, &seen)
	if !seen.PreviousUntil.Equal(t0.Add(24 * time.Hour)) {
		t.Errorf("the overlap is not shown: %+v", seen)
	}
	c.want("POST", path+"/rotate", `{"overlap_seconds":0}`, 200, &seen)
	if !seen.PreviousUntil.IsZero() && w.keys[len(w.keys)-1].Previous != nil {
		t.Errorf("the old secret lives: %+v", seen)
	}
	var capped keyJSON // the old secret ends with the key
	c.want("POST", path+"/rotate", `{"overlap_seconds":2592000}`, 200, &capped)
	if !capped.PreviousUntil.Equal(time.Date(2026, 3, 3, 9, 0, 0, 0, time.UTC)) {
		t.Errorf("%v", capped.PreviousUntil)
	}
	for _, seconds := range []int64{-1, 2592001} {
		c.refused("POST", path+"/rotate", fmt.Sprintf(`{"overlap_seconds":%d}`, seconds), 400, "Not a number", "overlap_seconds")
	}
}

func TestDisableEnable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, manager...)
	other := w.as(w.acme, "mail.send")
	path := "/v3/api_keys/" + other.key.ID.String()
	var k keyJSON
	for range 2 {
		c.want("POST", path+"/disable", "", 200, &k)
		if !k.DisabledAt.Equal(t0) {
			t.Errorf("%+v", k)
		}
	}
	other.want("GET", "/v3/scopes", "", 401, nil)
	k = keyJSON{}
	for range 2 {
		if c.want("POST", path+"/enable", "", 200, &k); !k.DisabledAt.IsZero() {
			t.Errorf("%+v", k)
		}
	}
	other.want("GET", "/v3/scopes", "", 200, nil)
	if len(w.changes) != 2 {
		t.Errorf("a change that changes nothing is recorded: %q", w.changes)
	}
}

func TestKeyUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *Services) {
		s.Place = func(a netip.Addr) string { return map[string]string{"192.0.2.1": "DE"}[a.String()] }
	})
	c := w.as(w.acme, manager...)
	k, _ := w.addKey(w.acme)
	w.keys[len(w.keys)-1].LastUsedAt = t0.Add(-time.Hour)
	f := coreOf(w)
	f.users = []store.KeyUser{{Addr: "192.0.2.1", Helo: "web", Mechanism: "PLAIN", TLS: "TLSv1.3", First: t0.Add(-2 * time.Hour), Last: t0.Add(-time.Hour), Logins: 3}}
	today := dayNumber(t0, time.UTC)
	f.used[k.ID.ID] = store.Used{Days: map[int64]int64{today: 2, today - 7: 30, today - 8: 500}}
	type report struct {
		Users      []map[string]any `json:"users"`
		Messages   int64            `json:"messages"`
		LastUsedAt time.Time        `json:"last_used_at"`
	}
	path := "/v3/api_keys/" + k.ID.String()
	var a, b report
	c.want("GET", path+"/users?days=7", "", 200, &a)
	if len(a.Users) != 1 || a.Users[0]["addr"] != "192.0.2.1" || a.Users[0]["logins"] != 3.0 || a.Users[0]["place"] != "DE" || a.Messages != 32 || !a.LastUsedAt.Equal(t0.Add(-time.Hour)) || !f.since.Equal(t0.AddDate(0, 0, -7)) {
		t.Errorf("%+v since %v", a, f.since)
	}
	c.want("DELETE", path+"?dry_run=true&days=30", "", 200, &b)
	if len(b.Users) != 1 || b.Messages != 532 || len(w.changes) > 0 {
		t.Errorf("%+v, changes %q", b, w.changes)
	}
	c.refused("GET", path+"/users?days=0", "", 400, "from 1 to 400", "days")
	c.refused("DELETE", path+"?dry_run=true&days=401", "", 400, "from 1 to 400", "days")
	c.want("DELETE", path, "", 204, nil)
	c.refused("DELETE", path+"?dry_run=true", "", 404, "not found", "")
	c.refused("DELETE", path+"?dry_run=true&revoked=true", "", 404, "not found", "")
	c.refused("GET", path+"/users", "", 404, "not found", "")
	if c.want("GET", path+"/users?days=7&revoked=true", "", 200, &a); len(a.Users) != 1 || a.Messages != 32 {
		t.Errorf("of the revoked key: %+v", a)
	}
	w.operator("acme").want("GET", path+"/users", "", 200, nil)
}
