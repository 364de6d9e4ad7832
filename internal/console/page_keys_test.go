package console

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/httpx"
)

const oneKey = `{"api_key_id":"k1","name":"shop","scopes":["mail.send"],"kind":"api_key","mode":"live","senders":["example.com"],
	"networks":["192.0.2.0/24"],"per_day":1000,"created_at":"2026-01-01T00:00:00Z","created_by":"user olivia","last_used_at":"2026-03-04T11:00:00Z",
	"last_used_from":"192.0.2.7","last_used_helo":"shop.example.com","last_used_mechanism":"PLAIN","use_count":12}`

const oneUser = `{"users":[{"addr":"192.0.2.7","helo":"shop.example.com","mechanism":"PLAIN","tls":"TLSv1.3","first_at":"2026-02-01T00:00:00Z",
	"last_at":"2026-03-04T11:00:00Z","logins":12}],"messages":40}`

func keyAnswers() map[string]any {
	return map[string]any{
		"GET /v3/api_keys": `{"result":[` + oneKey + `]}`, "GET /v3/api_keys/k1": oneKey, "GET /v3/api_keys/k1/users": oneUser,
		"DELETE /v3/api_keys/k1": oneUser, "PATCH /v3/api_keys/k1": oneKey,
		"POST /v3/api_keys":           `{"api_key":"SG.abc.secret","api_key_id":"k2","name":"new"}`,
		"POST /v3/api_keys/k1/rotate": `{"api_key":"SG.abc.newer","api_key_id":"k1","previous_valid_until":"2026-03-05T12:00:00Z"}`,
	}
}

func TestKeysAreListedInWords(t *testing.T) {
	t.Parallel()
	w := newPages(t, keyAnswers())
	page := w.get("/keys")
	page.says("shop", "Send mail", "from 192.0.2.0/24", "as example.com", "at most 1 000 recipients a day", "from 192.0.2.7 (shop.example.com) by PLAIN", "active", "1 hour ago")
	page.shows("a[href=/keys/k1]", "shop")
}

func TestNoKeysSaysWhatToDo(t *testing.T) {
	t.Parallel()
	w := newPages(t, map[string]any{"GET /v3/api_keys": `{"result":[]}`})
	page := w.get("/keys")
	page.says("There is no key yet.", "Make a key")
	w.api.denied = []string{"POST /v3/api_keys"}
	w.get("/keys").never("Make a key")
	w.get("/keys/new").want(404)
}

// WB-07: a secret stands in the answer to the POST that made it, and nowhere else.
func TestSecretIsShownOnce(t *testing.T) {
	t.Parallel()
	w := newPages(t, keyAnswers())
	page := w.post("/keys/new", "for", "domain", "name", "new", "senders", "example.com", "mode", "live").want(200)
	page.says("SG.abc.secret", "mail.example.com", "This is shown once")
	for name, values := range page.header {
		if strings.Contains(strings.Join(values, " "), "secret") {
			t.Errorf("the secret is in the header %s", name)
		}
	}
	body := w.asked("POST /v3/api_keys")
	if !strings.Contains(body, `"scopes":["mail.send"]`) || !strings.Contains(body, `"senders":["example.com"]`) {
		t.Errorf("asked for %s", body)
	}
	w.get("/keys").never("SG.abc.secret")
	w.get("/keys/k1").never("SG.abc.secret")
}

func TestTemplatesDoNotMakeWiderKeys(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		form []string
		want string
	}{
		{[]string{"for", "domain", "name", "x"}, "Name the domain that it writes as."},
		{[]string{"for", "network", "name", "x"}, "Name the address or network that it works from."},
		{[]string{"for", "custom", "name", "x"}, "Choose what it may do."},
		{[]string{"for", "test", "name", "x", "per_day", "many"}, "Write a whole number."},
		{[]string{"for", "test", "name", "x", "expires_at", "soon"}, "Write a day such as"},
	} {
		w := newPages(t, keyAnswers())
		page := w.post("/keys/new", test.form...).want(422)
		page.says(test.want).shows("form", "Make the key")
		if attribute(page.find("input[name=name]"), "value") != "x" {
			t.Errorf("%v: what was typed is gone", test.form)
		}
		if calls := w.api.made("POST /v3/api_keys"); len(calls) != 0 {
			t.Errorf("%v: a key was made", test.form)
		}
	}
}

func TestEachTemplateHasAForm(t *testing.T) {
	t.Parallel()
	w := newPages(t, keyAnswers())
	w.get("/keys/new").want(200)
	for _, kind := range keyTemplates {
		page := w.get("/keys/new?for=" + kind.id)
		page.says(kind.title, "Make the key")
	}
}

// A change tells the API what differs: the policy judges what is given, and the hour at
// which a key ends is not moved by who leaves its day.
func TestEditGivesWhatDiffers(t *testing.T) {
	t.Parallel()
	ends := `{"expires_at":"2026-06-01T10:00:00Z","per_minute":5,"hours":"mon-fri 08-18","hosts":["a.example.com"],` + oneKey[1:]
	as := []string{"name", "shop", "area", "mail:all", "scopes", "", "senders", "example.com", "networks", "192.0.2.0/24\r\na.example.com", "recipient_domains", "",
		"per_hour", "", "per_day", "1000", "hours", "mon-fri 08-18", "expires_at", "2026-06-01", "mode", "live"}
	for _, test := range []struct{ name, value, want string }{
		{"name", "till", `{"name":"till"}`},
		{"expires_at", "2026-06-02", `{"expires_at":"2026-06-02T23:59:59Z","name":"shop"}`},
		{"expires_at", "", `{"expires_at":"","name":"shop"}`},
		{"networks", "a.example.com", `{"hosts":["a.example.com"],"name":"shop","networks":[]}`},
		{"senders", "", `{"name":"shop","senders":[]}`},
		{"recipient_domains", "example.net", `{"name":"shop","recipient_domains":["example.net"]}`},
		{"area", "keys:see", `{"name":"shop","scopes":["api_keys.read"]}`},
		{"per_hour", "10", `{"name":"shop","per_hour":10}`},
		{"per_day", "", `{"name":"shop","per_day":0}`},
		{"hours", "", `{"hours":"","name":"shop"}`},
		{"mode", "hold", `{"mode":"hold","name":"shop"}`},
	} {
		w := newPages(t, keyAnswers())
		w.api.on("GET /v3/api_keys/k1", json.RawMessage(ends))
		sent := slices.Clone(as)
		sent[slices.Index(sent, test.name)+1] = test.value
		w.post("/keys/k1/edit", sent...).goes("/keys/k1")
		if body := w.asked("PATCH /v3/api_keys/k1"); body != test.want {
			t.Errorf("%s %q: %s instead of %s", test.name, test.value, body, test.want)
		}
		w.post("/keys/k1/edit", append(slices.Clone(as), "canary", "on")...).goes("/keys/k1")
		if body := w.asked("PATCH /v3/api_keys/k1"); body != `{"canary":true,"name":"shop"}` {
			t.Errorf("a decoy: %s", body)
		}
	}
}

// A key for a job lives no longer than 30 days, which is all that many a policy allows.
func TestJobsKeyLivesNoLonger(t *testing.T) {
	t.Parallel()
	w := newPages(t, keyAnswers())
	day, err := time.Parse(time.DateOnly, attribute(w.get("/keys/new?for=ci").find("input[name=expires_at]"), "value"))
	if end := day.AddDate(0, 0, 1); err != nil || end.After(clock.AddDate(0, 0, 30)) || end.Before(clock.AddDate(0, 0, 29)) {
		t.Errorf("it lives until %s (%v)", end, err)
	}
}

func TestRefusalStandsBesideItsField(t *testing.T) {
	t.Parallel()
	answers := keyAnswers()
	field := "networks.0"
	answers["POST /v3/api_keys"] = &httpx.Refusal{Status: 400, Items: []httpx.ErrorItem{{Message: "Not a network: 192.0.2.999.", Field: &field}}}
	w := newPages(t, answers)
	w.post("/keys/new", "for", "network", "name", "x", "networks", "192.0.2.999").want(422).
		shows("#new-key-networks-error", "Not a network: 192.0.2.999.").shows("textarea[aria-invalid=true]", "192.0.2.999")
	field = "hosts.0" // names of hosts are typed there, too
	w.post("/keys/new", "for", "network", "name", "x", "networks", "no_host").want(422).shows("#new-key-networks-error", "Not a network: 192.0.2.999.").lacks("[role=alert]")
}

func TestRevokeShowsWhoIsCutOff(t *testing.T) {
	t.Parallel()
	w := newPages(t, keyAnswers())
	w.get("/keys/k1/revoke").want(200).says("1 would be cut off at once", "shop.example.com", "40 recipients", "Revoke it for ever")
	if calls := w.api.made("DELETE /v3/api_keys/k1"); len(calls) != 1 || !strings.Contains(calls[0].Path, "dry_run=true") {
		t.Fatalf("looking called %+v", calls)
	}
	w.post("/keys/k1/revoke").goes("/keys")
	if calls := w.api.made("DELETE /v3/api_keys/k1"); len(calls) != 2 || strings.Contains(calls[1].Path, "dry_run") {
		t.Errorf("revoking called %+v", calls)
	}
}

func TestRotationSaysHowLongTheOldSecretWorks(t *testing.T) {
	t.Parallel()
	w := newPages(t, keyAnswers())
	w.get("/keys/k1/rotate").says("shop.example.com", "The old secret works on for")
	w.post("/keys/k1/rotate", "overlap_seconds", "3600").want(200).says("SG.abc.newer", "The secret of before works until 2026-03-05 12:00 UTC")
	if body := w.asked("POST /v3/api_keys/k1/rotate"); body != `{"overlap_seconds":3600}` {
		t.Errorf("asked for %s", body)
	}
}

func TestKeyPage(t *testing.T) {
	t.Parallel()
	w := newPages(t, keyAnswers())
	page := w.get("/keys/k1")
	page.says("shop", "Send mail", "Who used it in the last 30 days", "Switch it off", "Rotate it", "Revoke it")
	w.api.denied = []string{"PATCH " + apiKey, "POST " + apiKey + "/rotate", "DELETE " + apiKey, "POST " + apiKey + "/disable", "POST " + apiKey + "/test"}
	w.get("/keys/k1").never("Switch it off", "Rotate it", "Revoke it", "Change it", "Send a test message")
	w.api.on("GET /v3/api_keys/k1", json.RawMessage(`{"expires_at":"2026-03-10T00:00:00Z",`+oneKey[1:]))
	w.get("/keys/k1").says("This key ends soon.", "A rotation does not move that day")
}

// A revoked key is still to be read, with what it did and who ended it: what leads to it
// does not lead nowhere.
func TestRevokedKey(t *testing.T) {
	t.Parallel()
	w := newPages(t, keyAnswers())
	gone := `{"revoked_at":"2026-03-01T00:00:00Z","previous_valid_until":"2026-03-05T00:00:00Z","previous_last_used_at":"2026-02-28T00:00:00Z",` + oneKey[1:]
	w.api.on("GET /v3/api_keys/k1", json.RawMessage(gone))
	w.api.on("GET /v3/changes", json.RawMessage(`{"result":[{"by":"user anna","action":"key.revoke","subject":"key k1 shop"}]}`))
	w.get("/keys/k1").want(200).says("This key was revoked.", "user olivia", "Send mail", "from 192.0.2.7 (shop.example.com) by PLAIN", "2026-03-01 00:00 UTC", "by user anna", "Who used it in the last 400 days").
		shows("#users", "shop.example.com").never("Give it the new one")
	if calls := w.api.made("GET /v3/api_keys/k1/users"); len(calls) != 1 || !strings.Contains(calls[0].Path, "days=400") {
		t.Errorf("its users: %+v", calls)
	}
	if calls := w.api.made("GET /v3/changes"); len(calls) != 1 || !strings.Contains(calls[0].Path, "action=key.revoke&limit=1&newest=true&subject=key+k1") {
		t.Errorf("who revoked it: %+v", calls)
	}
	w.api.on("GET /v3/api_keys/k1/users", map[string]any{"users": []any{}})
	w.get("/keys/k1").says("Nobody used it in the last 400 days.").never("If no program needs it")
	w.api.denied = []string{"GET /v3/changes"}
	w.get("/keys/k1").want(200).says("2026-03-01 00:00 UTC").never("by user anna")
	for _, path := range []string{"edit", "rotate", "revoke"} {
		w.get("/keys/k1/" + path).want(403).says("This key was revoked.")
	}
}

// The list of keys leaves revoked ones out until they are asked for.
func TestKeyListWithRevokedOnes(t *testing.T) {
	t.Parallel()
	w := newPages(t, keyAnswers())
	w.api.on("GET /v3/api_keys", json.RawMessage(`{"result":[`+oneKey+`,{"api_key_id":"k2","name":"till","revoked_at":"2026-03-01T00:00:00Z"}]}`))
	w.get("/keys").never("till").shows("a[href=/keys?revoked=1]", "Revoked ones too").shows("a[href=/keys?subusers=1]", "Those of subusers too")
	w.get("/keys?revoked=1").shows("a[href=/keys/k2]", "till").says("revoked").lacks("a[href=/keys?revoked=1]").shows("a[href=/keys?revoked=1&subusers=1]", "Those of subusers too")
	w.get("/keys?subusers=1").shows("a[href=/keys?revoked=1&subusers=1]", "Revoked ones too").lacks("a[href=/keys?subusers=1]")
}

func TestScopesInWords(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		scopes []string
		want   string
	}{
		{nil, "Nothing"},
		{[]string{"mail.send"}, "Send mail"},
		{areas[2].scopes(true), "See keys"},
		{areas[2].scopes(false), "Change keys"},
		{areas[5].scopes(false), "See figures"}, // there is nothing to change
		{[]string{"api_keys.create"}, "Some of keys"},
		{[]string{"api_keys.read", "api_keys.update"}, "See keys, and change some"},
		{[]string{"mail.send", "templates.read"}, "Send mail; 1 other scope"},
	} {
		if got := strings.Join(scopeWords(test.scopes), "; "); got != test.want {
			t.Errorf("%v: %q instead of %q", test.scopes, got, test.want)
		}
	}
}

// Where the operator has a file of places, a key says from which countries it is used.
func TestKeyShowsItsPlaces(t *testing.T) {
	t.Parallel()
	w := newPages(t, keyAnswers())
	w.get("/keys/k1").lacks("#places").shows("#users", "192.0.2.7")
	if text(w.get("/keys/k1").find("#users thead")) != "FromByTLSFirstLastLogins" {
		t.Error("there is a column of countries without any")
	}
	user := func(place string, n int) map[string]any {
		return map[string]any{"addr": "192.0.2.7", "place": place, "logins": n}
	}
	w.api.on("GET /v3/api_keys/k1/users", map[string]any{"users": []any{user("DE", 2), user("", 1), user("NL", 9), user("DE", 8)}})
	r := w.get("/keys/k1").want(200).shows("#users", "NL").shows("#places a[href=/logins?key=k1&place=DE]", "DE").shows("#places a[href=/logins?key=k1&place=unknown]", "in no country")
	if got := text(r.find("#places tbody tr")); !strings.HasPrefix(got, "DE1050.0 %") {
		t.Errorf("first is %q", got)
	}
	w.api.deny("GET /v3/logins")
	w.get("/keys/k1").shows("#places", "DE").lacks("#places a")
}
