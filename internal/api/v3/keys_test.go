package v3

import (
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
)

// manager has every scope of keys, and what it gives away in tests.
var manager = []string{"api_keys.create", "api_keys.delete", "api_keys.read", "api_keys.update", "mail.send"}

// keyJSON is a key as clients read it.
type keyJSON struct {
	APIKey        string    `json:"api_key"`
	Password      string    `json:"password"`
	ID            string    `json:"api_key_id"`
	Name          string    `json:"name"`
	Scopes        []string  `json:"scopes"`
	Username      string    `json:"username"`
	Kind          string    `json:"kind"`
	Login         string    `json:"login"`
	Mode          string    `json:"mode"`
	Networks      []string  `json:"networks"`
	Hosts         []string  `json:"hosts"`
	Senders       []string  `json:"senders"`
	Domains       []string  `json:"recipient_domains"`
	PerHour       int64     `json:"per_hour"`
	Hours         string    `json:"hours"`
	CRAM          bool      `json:"cram_md5"`
	ExpiresAt     time.Time `json:"expires_at"`
	CreatedBy     string    `json:"created_by"`
	DisabledAt    time.Time `json:"disabled_at"`
	RevokedAt     time.Time `json:"revoked_at"`
	LastUsedFrom  string    `json:"last_used_from"`
	PreviousUntil time.Time `json:"previous_valid_until"`
}

// SendGrid's clients see the members that they know, where they know them.
func TestKeysAsSendGrid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, manager...)
	var made keyJSON
	a := c.want("POST", "/v3/api_keys", `{"name":"My API Key","scopes":["mail.send","api_keys.read"]}`, 201, &made)
	if !strings.HasPrefix(a.Body, `{"api_key":"SG.`) || made.Name != "My API Key" || !slices.Equal(made.Scopes, []string{"api_keys.read", "mail.send"}) {
		t.Errorf("%s", a.Body)
	}
	parsed, err := secret.ParseKey(made.APIKey, "SG")
	if err != nil || parsed.IDText() != made.ID || len(made.APIKey) != 69 {
		t.Fatalf("%q: %v", made.APIKey, err)
	}
	stored := w.keys[len(w.keys)-1]
	if !secret.VerifySHA256(parsed, stored.Verifier.SHA256) || len(stored.Verifier.SCRAMStoredKey) != 32 || stored.Verifier.SealedCRAM != nil {
		t.Errorf("stored %+v", stored)
	}
	path := "/v3/api_keys/" + made.ID
	var list struct{ Result []keyJSON }
	c.want("GET", "/v3/api_keys", "", 200, &list)
	if len(list.Result) != 2 || list.Result[0].ID != c.key.ID.String() || list.Result[1].ID != made.ID || list.Result[1].Name != "My API Key" {
		t.Errorf("%+v", list)
	}
	var one keyJSON
	if a := c.want("GET", path, "", 200, &one); one.ID != made.ID || strings.Contains(a.Body, `"result"`) || one.APIKey != "" {
		t.Errorf("not flat, or a secret: %s", a.Body)
	}
	c.want("PUT", path, `{"name":"A New Hope","scopes":["mail.send"]}`, 200, &one)
	if one.Name != "A New Hope" || !slices.Equal(one.Scopes, []string{"mail.send"}) {
		t.Errorf("PUT: %+v", one)
	}
	c.want("PUT", path, `{"name":"Only the name"}`, 200, &one)
	if one.Name != "Only the name" || len(one.Scopes) != 1 {
		t.Errorf("PUT without scopes: %+v", one)
	}
	c.want("PATCH", path, `{"name":"Patched"}`, 200, &one)
	if one.ID != made.ID || one.Name != "Patched" {
		t.Errorf("PATCH: %+v", one)
	}
	if a := c.want("DELETE", path, "", 204, nil); a.Body != "" {
		t.Errorf("DELETE: %q", a.Body)
	}
	for _, method := range []string{"GET", "PUT", "PATCH", "DELETE"} {
		body := map[string]string{"PUT": `{"name":"x"}`, "PATCH": `{"name":"x"}`}[method]
		c.refused(method, path, body, 404, "not found", "")
	}
	if c.want("GET", "/v3/api_keys", "", 200, &list); len(list.Result) != 1 {
		t.Errorf("after DELETE: %+v", list)
	}
	c.refused("PUT", path, `{"scopes":[]}`, 404, "not found", "")
	c.refused("POST", "/v3/api_keys", `{"scopes":["mail.send"]}`, 400, "name is required", "name")
}

func TestRevokedKeysAreSeenWhenAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, manager...)
	k, _ := w.addKey(w.acme)
	path := "/v3/api_keys/" + k.ID.String()
	c.want("DELETE", path, "", 204, nil)
	var one keyJSON
	c.want("GET", path+"?revoked=true", "", 200, &one)
	if !one.RevokedAt.Equal(t0) {
		t.Errorf("%+v", one)
	}
	w.operator("acme").want("GET", path, "", 200, nil)
	w.operator("acme").refused("PATCH", path, `{"name":"x"}`, 404, "not found", "")
	var list struct{ Result []keyJSON }
	if c.want("GET", "/v3/api_keys?revoked=true", "", 200, &list); len(list.Result) != 2 {
		t.Errorf("%+v", list)
	}
}

// A part of a name finds keys, in any case, wherever the list comes from.
func TestKeysByName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, manager...)
	for _, name := range []string{"Web shop", "till", "old SHOP"} {
		c.want("POST", "/v3/api_keys", `{"name":"`+name+`","scopes":["mail.send"]}`, 201, nil)
	}
	w.keys[len(w.keys)-1].RevokedAt = t0
	for query, want := range map[string]string{
		"name=shop": "Web shop", "name=SHOP&revoked=true": "Web shop, old SHOP", "name=none": "", "name=none&revoked=true": "", "name=i&limit=1": "till", "name=i&offset=1": "",
	} {
		var list struct{ Result []keyJSON }
		var names []string
		c.want("GET", "/v3/api_keys?"+query, "", 200, &list)
		for _, k := range list.Result {
			names = append(names, k.Name)
		}
		if got := strings.Join(names, ", "); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}

// The keys of one maker are asked for by what created_by says, page by page.
func TestKeyListOfOneMaker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, "api_keys.read", scopeBehalf)
	var theirs []string
	for i, of := range []relay.Tenant{w.acme, w.acme, w.staging, w.globex} {
		k, _ := w.addKey(of)
		w.keys[len(w.keys)-1].CreatedBy = "user bob"
		w.addKey(of)
		if i < 3 {
			theirs = append(theirs, k.ID.String())
		}
	}
	for query, want := range map[string][]string{
		"":               theirs[:2],
		"&subusers=true": theirs, "&revoked=true": theirs[:2], "&limit=1": theirs[:1], "&limit=1&offset=1": theirs[1:2], "&offset=2": nil,
	} {
		var list struct{ Result []keyJSON }
		c.want("GET", "/v3/api_keys?created_by=user+bob"+query, "", 200, &list)
		var got []string
		for _, k := range list.Result {
			got = append(got, k.ID)
		}
		slices.Sort(got)
		if want = slices.Sorted(slices.Values(want)); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", query, got, want)
		}
	}
	if a := c.want("GET", "/v3/api_keys?created_by=user+bo", "", 200, nil); !strings.Contains(a.Body, `"result":[]`) {
		t.Errorf("by a part of the name: %s", a.Body)
	}
}

func TestKeyListOfSubusers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, of := range []relay.Tenant{w.acme, w.staging, w.receipts, w.globex} {
		w.addKey(of)
	}
	var list struct{ Result []keyJSON }
	c := w.as(w.acme, "api_keys.read", scopeBehalf)
	c.want("GET", "/v3/api_keys?subusers=true", "", 200, &list)
	var owners []string
	for _, k := range list.Result {
		owners = append(owners, k.Username)
	}
	if slices.Sort(owners); !slices.Equal(owners, []string{"", "", "receipts", "staging"}) {
		t.Errorf("%q", owners)
	}
	w.as(w.acme, "api_keys.read").refused("GET", "/v3/api_keys?subusers=true", "", 403, "access forbidden", "")
	w.as(w.staging, "api_keys.read", scopeBehalf).refused("GET", "/v3/api_keys?subusers=true", "", 403, "access forbidden", "")
	c.with("on-behalf-of", "staging").refused("GET", "/v3/api_keys?subusers=true", "", 403, "access forbidden", "")
	if c.want("GET", "/v3/api_keys?limit=1&offset=1", "", 200, &list); len(list.Result) != 1 || list.Result[0].ID != c.key.ID.String() {
		t.Errorf("second page: %+v", list)
	}
	if c.want("GET", "/v3/api_keys?offset=9", "", 200, &list); len(list.Result) != 0 {
		t.Errorf("behind the end: %+v", list)
	}
}

// Everything that narrows a key comes back as it went in.
func TestKeyRestrictions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, manager...)
	var k keyJSON
	c.want("POST", "/v3/api_keys", `{"name":"web","scopes":["mail.send"],"networks":["192.0.2.7","2001:db8::/32"],"hosts":["Build.example.test"],
		"senders":["Example.test","ops@example.test"],"recipient_domains":["bücher.example"],"per_hour":5,"hours":"mon-fri 08-18","mode":"hold",
		"expires_at":"2026-04-01T00:00:00+02:00","canary":false,"cram_md5":true}`, 201, &k)
	for i := range 2 {
		if !slices.Equal(k.Networks, []string{"192.0.2.7/32", "2001:db8::/32"}) || !slices.Equal(k.Hosts, []string{"build.example.test"}) ||
			!slices.Equal(k.Senders, []string{"example.test", "ops@example.test"}) || !slices.Equal(k.Domains, []string{"xn--bcher-kva.example"}) ||
			k.PerHour != 5 || k.Hours != "mon-fri 08-18" || k.Mode != "hold" || !k.ExpiresAt.Equal(time.Date(2026, 3, 31, 22, 0, 0, 0, time.UTC)) || !k.CRAM {
			t.Errorf("reading %d: %+v", i, k)
		}
		c.want("GET", "/v3/api_keys/"+k.ID, "", 200, &k)
	}
	if sealed := string(w.keys[len(w.keys)-1].Verifier.SealedCRAM); sealed != "sealed "+k.ID {
		t.Errorf("sealed %q", sealed)
	}
	var bare keyJSON
	c.want("PATCH", "/v3/api_keys/"+k.ID, `{"networks":[],"hosts":[],"senders":[],"recipient_domains":[],"per_hour":0,"hours":"","mode":"live","expires_at":""}`, 200, &bare)
	if bare.Networks != nil || bare.Hosts != nil || bare.Senders != nil || bare.Domains != nil || bare.PerHour != 0 || bare.Hours != "" || bare.Mode != "live" || !bare.ExpiresAt.IsZero() {
		t.Errorf("cleared: %+v", bare)
	}
}

func TestKeyRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, manager...)
	long := strings.Repeat("a", 101)
	for body, want := range map[string]struct {
		status         int
		message, field string
	}{
		`{"name":"x","scopes":["smtp.send"]}`:                                                 {400, `"smtp.send"`, "scopes.0"},
		`{"name":"x","scopes":["mail.send","2fa_required"]}`:                                  {400, "2fa_required", "scopes.1"},
		`{"name":"x","scopes":["mail.send","billing.read"]}`:                                  {400, "Billing", "scopes"},
		`{"name":"x","scopes":["alerts.read"]}`:                                               {403, "alerts.read", "scopes"},
		`{"name":"x","scopes":["billing.read"]}`:                                              {403, "billing.read", "scopes"},
		`{"name":"` + long + `"}`:                                                             {400, "longer", "name"},
		`{"name":" x"}`:                                                                       {400, "spaces", "name"},
		`{"name":"a\u0000b"}`:                                                                 {400, "cannot be shown", "name"},
		`{"name":"x","mode":"fast"}`:                                                          {400, "live, test or hold", "mode"},
		`{"name":"x","kind":"password"}`:                                                      {400, "kind", "kind"},
		`{"name":"x","networks":["10.0.0.1/8"]}`:                                              {400, "10.0.0.0/8", "networks.0"},
		`{"name":"x","networks":["10.0.0.0/8","x"]}`:                                          {400, "network", "networks.1"},
		`{"name":"x","networks":["::ffff:10.0.0.0/104"]}`:                                     {400, "IPv4", "networks.0"},
		`{"name":"x","hosts":["localhost"]}`:                                                  {400, "domain name", "hosts.0"},
		`{"name":"x","hosts":["192.0.2.1"]}`:                                                  {400, "address", "hosts.0"},
		`{"name":"x","senders":["@example.test"]}`:                                            {400, "", "senders.0"},
		`{"name":"x","senders":["a b@example.test"]}`:                                         {400, "", "senders.0"},
		`{"name":"x","recipient_domains":["exa mple.test"]}`:                                  {400, "", "recipient_domains.0"},
		`{"name":"x","per_day":-1}`:                                                           {400, "no limit", "per_day"},
		`{"name":"x","per_month":1000000001}`:                                                 {400, "no limit", "per_month"},
		`{"name":"x","hours":"always"}`:                                                       {400, "", "hours"},
		`{"name":"x","expires_at":"2026-03-01T09:00:00Z"}`:                                    {400, "time to come", "expires_at"},
		`{"name":"x","expires_at":"tomorrow"}`:                                                {400, "time to come", "expires_at"},
		`{"name":"x","match":{"fingerprint":"00"}}`:                                           {400, "certificate and federated", "match"},
		`{"name":"x","kind":"app_password","scopes":["api_keys.read"]}`:                       {400, "mail.send and no other", "scopes"},
		`{"name":"x","kind":"app_password","cram_md5":true}`:                                  {400, "CRAM-MD5", "cram_md5"},
		`{"name":"x","networks":[` + strings.Repeat(`"10.0.0.0/8",`, 1000) + `"10.0.0.0/8"]}`: {400, "More than 1000", "networks"},
	} {
		c.refused("POST", "/v3/api_keys", body, want.status, want.message, want.field)
	}
	if len(w.changes) > 0 {
		t.Errorf("%q", w.changes)
	}
	k, _ := w.addKey(w.acme)
	c.refused("PATCH", "/v3/api_keys/"+k.ID.String(), `{}`, 400, "at least one member", "")
	c.refused("PATCH", "/v3/api_keys/"+k.ID.String(), `{"match":{"fingerprint":"00"}}`, 400, "certificate and federated", "match")
	c.refused("PATCH", "/v3/api_keys/not-an-id", `{"name":"x"}`, 404, "not found", "")
}

// Without scopes a key gets everything that its creator has, and no more.
func TestKeyWithoutScopes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var k keyJSON
	w.as(w.acme, manager...).want("POST", "/v3/api_keys", `{"name":"x"}`, 201, &k)
	if !slices.Equal(k.Scopes, manager) {
		t.Errorf("%q", k.Scopes)
	}
	w.as(w.acme, relay.FullAccess()...).want("POST", "/v3/api_keys", `{"name":"x","scopes":[]}`, 201, &k)
	if !relay.Full(k.Scopes) || slices.ContainsFunc(k.Scopes, relay.BillingScope) {
		t.Errorf("%q", k.Scopes)
	}
	w.operator("acme").want("POST", "/v3/api_keys", `{"name":"x"}`, 201, &k)
	if !relay.Full(k.Scopes) {
		t.Errorf("of the operator: %q", k.Scopes)
	}
	w.withToken(w.as(w.acme, relay.FullAccess()...), "api_keys.create", "mail.send").want("POST", "/v3/api_keys", `{"name":"x"}`, 201, &k)
	if !slices.Equal(k.Scopes, []string{"api_keys.create", "mail.send"}) {
		t.Errorf("of a token: %q", k.Scopes)
	}
}

// AP-03: a key gives nothing that it does not have, neither to a new key nor to
// one that is there, and does not touch itself.
func TestKeysDoNotGrow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, manager...)
	narrow := &w.keys[len(w.keys)-1]
	narrow.Networks, narrow.Senders = prefixes("192.0.2.0/24"), []string{"example.test"}
	narrow.PerHour, narrow.Mode, narrow.ExpiresAt = 10, relay.KeyHold, t0.Add(time.Hour)

	var k keyJSON // what is not said is inherited
	c.want("POST", "/v3/api_keys", newKeyBody, 201, &k)
	if !slices.Equal(k.Networks, []string{"192.0.2.0/24"}) || !slices.Equal(k.Senders, []string{"example.test"}) || k.PerHour != 10 || k.Mode != "hold" || !k.ExpiresAt.Equal(t0.Add(time.Hour)) {
		t.Errorf("%+v", k)
	}
	for member, field := range map[string]string{
		`"networks":[]`: "networks", `"networks":["192.0.0.0/16"]`: "networks", `"hosts":["a.example.test"]`: "hosts",
		`"senders":[]`: "senders", `"senders":["other.test"]`: "senders", `"per_hour":0`: "per_hour", `"per_hour":11`: "per_hour",
		`"mode":"live"`: "mode", `"expires_at":""`: "expires_at", `"expires_at":"2026-03-01T10:00:01Z"`: "expires_at",
		`"scopes":["alerts.read"]`: "scopes",
	} {
		body := `{"name":"x","scopes":["mail.send"],` + member + `}`
		if strings.Contains(member, "scopes") {
			body = `{"name":"x",` + member + `}`
		}
		c.refused("POST", "/v3/api_keys", body, 403, "", field)
		c.refused("PATCH", "/v3/api_keys/"+k.ID, `{`+member+`}`, 403, "", field)
		c.refused("PUT", "/v3/api_keys/"+k.ID, `{"name":"x",`+member+`}`, 403, "", field)
	}
	c.want("PATCH", "/v3/api_keys/"+k.ID, `{"networks":["192.0.2.9"],"per_hour":5,"mode":"test","expires_at":"2026-03-01T09:30:00Z"}`, 200, nil)
}

func TestWiderKeysAreNotTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	wide, _ := w.addKey(w.acme, relay.FullAccess()...)
	path := "/v3/api_keys/" + wide.ID.String()
	c := w.as(w.acme, manager...)
	// Scopes may be taken away at any time, by whoever manages keys; none is given.
	var k keyJSON
	c.want("PUT", path, `{"name":"less","scopes":["alerts.read","mail.send"]}`, 200, &k)
	if !slices.Equal(k.Scopes, []string{"alerts.read", "mail.send"}) {
		t.Errorf("%q", k.Scopes)
	}
	c.refused("PATCH", path, `{"scopes":["alerts.read","alerts.create"]}`, 403, "alerts.create", "scopes")
	// Whoever rotates a key has it, and whoever sets its certificate, too.
	c.refused("POST", path+"/rotate", `{}`, 403, "alerts.read", "scopes")
	w.keys[slices.IndexFunc(w.keys, func(x relay.Key) bool { return x.ID == wide.ID })].Kind = relay.KeyCertificate
	c.refused("PATCH", path, `{"match":{"fingerprint":"`+strings.Repeat("ab", 32)+`"}}`, 403, "alerts.read", "scopes")
	w.as(w.acme, append([]string{"alerts.read"}, manager...)...).want("PATCH", path, `{"match":{"fingerprint":"`+strings.Repeat("ab", 32)+`"}}`, 200, nil)
}

// AP-03: who manages keys and has less cannot make a stronger key work where it
// does not: its secret may be in the caller's hands already, be it as bait.
func TestStrongKeysAreNotLetLoose(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	strong, _ := w.addKey(w.acme, relay.FullAccess()...)
	k := &w.keys[slices.IndexFunc(w.keys, func(x relay.Key) bool { return x.ID == strong.ID })]
	k.Canary, k.DisabledAt, k.ExpiresAt, k.Hours, k.PerDay = true, t0.Add(-time.Hour), t0.Add(time.Hour), "mon 08-09", 5
	k.Networks, k.Senders, k.RecipientDomains = prefixes("192.0.2.0/24"), []string{"example.test"}, []string{"example.test"}
	path := "/v3/api_keys/" + strong.ID.String()
	weak, peer := w.as(w.acme, manager...), w.as(w.acme, relay.FullAccess()...)
	for _, ask := range [][2]string{
		{"/enable", ""}, {"", `{"canary":false}`}, {"", `{"networks":[]}`}, {"", `{"networks":["192.0.2.0/24","198.51.100.7"]}`}, {"", `{"hosts":["a.example.test"]}`},
		{"", `{"senders":[]}`}, {"", `{"recipient_domains":["example.test","other.test"]}`}, {"", `{"per_day":6}`}, {"", `{"per_day":0}`},
		{"", `{"hours":""}`}, {"", `{"expires_at":""}`}, {"", `{"expires_at":"2026-03-01T11:00:00Z"}`}, {"", `{"name":"x","networks":["198.51.100.7"]}`},
	} {
		method := "PATCH"
		if ask[0] != "" {
			method = "POST"
		}
		weak.refused(method, path+ask[0], ask[1], 403, "", "scopes")
	}
	if len(w.changes) > 0 {
		t.Errorf("%q", w.changes)
	}
	// It can be bound tighter, and its equal can do all of that.
	weak.want("PATCH", path, `{"name":"x","networks":["192.0.2.7"],"per_day":4,"mode":"test","expires_at":"2026-03-01T09:30:00Z"}`, 200, nil)
	peer.want("PATCH", path, `{"canary":false,"networks":[],"hosts":["a.example.test"],"senders":[],"per_day":0,"hours":"","mode":"live","expires_at":""}`, 200, nil)
	peer.want("POST", path+"/enable", "", 200, nil)
}

func TestKeyCannotManageItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, relay.FullAccess()...)
	path := "/v3/api_keys/" + c.key.ID.String()
	for _, c := range []*client{c, w.withToken(c, relay.FullAccess()...)} {
		for _, ask := range [][3]string{
			{"PUT", path, `{"name":"x"}`}, {"PATCH", path, `{"scopes":["mail.send"]}`}, {"PATCH", path, `{"networks":[]}`}, {"DELETE", path, ""},
			{"POST", path + "/rotate", `{}`}, {"POST", path + "/disable", ""}, {"POST", path + "/enable", ""},
		} {
			c.refused(ask[0], ask[1], ask[2], 403, "cannot manage itself", "")
		}
		c.want("GET", path, "", 200, nil)
	}
	if len(w.changes) > 0 {
		t.Errorf("%q", w.changes)
	}
}

func TestMaxKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, manager...)
	for range defaultMaxKeys - 1 {
		w.addKey(w.acme)
	}
	w.addKey(w.staging)
	c.refused("POST", "/v3/api_keys", newKeyBody, 403, "100 API keys", "")
	w.operator("acme").want("POST", "/v3/api_keys", newKeyBody, 201, nil)
	w.as(w.globex, manager...).want("POST", "/v3/api_keys", newKeyBody, 201, nil)
	w.keys[1].RevokedAt, w.keys[2].RevokedAt = t0, t0
	c.want("POST", "/v3/api_keys", newKeyBody, 201, nil)
}

func TestKeyForSubuser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var k keyJSON
	w.as(w.acme, append([]string{scopeBehalf}, manager...)...).with("on-behalf-of", "staging").want("POST", "/v3/api_keys", newKeyBody, 201, &k)
	if stored := w.keys[len(w.keys)-1]; stored.Subuser != w.staging.Subuser || stored.Account != w.acme.Account || k.Username != "staging" {
		t.Errorf("%+v", stored)
	}
	w.operator("").refused("POST", "/v3/api_keys", newKeyBody, 400, "2 accounts", "account-id")
	w.operator("system").refused("POST", "/v3/api_keys", newKeyBody, 403, "postern's own mail", "")
}
