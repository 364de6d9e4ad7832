package console

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"postern/internal/relay"
)

// linkedTo is a person with some password and passkeys, and identities.
func linkedTo(rest string, identities ...string) json.RawMessage {
	return json.RawMessage(`{"username":"bob","role":"developer","second_factor":true,"single_sign_on":[` + strings.Join(identities, ",") + `]` + rest + `}`)
}

const (
	atStaff  = `{"id":"i1","issuer":"Staff login","live":true,"linked_at":"2026-02-01T00:00:00Z"}`
	atSecond = `{"id":"i2","issuer":"Second login","live":true,"linked_at":"2026-02-01T00:00:00Z"}`
	only     = `{"id":"i1","issuer":"Staff login","live":true,"stays":"Without it there is no way in.","linked_at":"2026-02-01T00:00:00Z"}`
	brings   = `{"id":"i3","issuer":"Corp","live":true,"governs":true,"stays":"They come from Corp: it stays.","linked_at":"2026-02-01T00:00:00Z"}`
	past     = `{"id":"i4","issuer":"https://gone.test","live":false,"linked_at":"2026-02-01T00:00:00Z"}`
)

// What is linked to a person is on their page, with a way to unlink it behind a
// question, unless it stays.
func TestPersonIsUnlinked(t *testing.T) {
	t.Parallel()
	const table = "#single-sign-on"
	link := func(id string) string { return "a[href=/people/bob/sso/" + id + "/remove]" }
	for what, c := range map[string]struct {
		person json.RawMessage
		goes   []string
		stays  []string
		says   string
	}{
		"a password":           {linkedTo(`,"password":true`, atStaff), []string{"i1"}, nil, "lets them in"},
		"a passkey":            {linkedTo(`,"passkeys":1`, atStaff), []string{"i1"}, nil, "never"},
		"another issuer":       {linkedTo("", atStaff, atSecond), []string{"i1", "i2"}, nil, "Second login"},
		"nothing else":         {linkedTo("", only), nil, []string{"i1"}, "Without it there is no way in."},
		"one that is no more":  {linkedTo("", only, past), []string{"i4"}, []string{"i1"}, "lets nobody in any more"},
		"only one of the past": {linkedTo("", past), []string{"i4"}, nil, "lets nobody in any more"},
		"what brought them":    {linkedTo(`,"password":true,"invited_by":"sso Corp"`, brings, atStaff), []string{"i1"}, []string{"i3"}, "They come from Corp: it stays."},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newPages(t, sampleAnswers())
			w.api.on("GET /v3/teammates/bob", c.person)
			r := w.get("/people/bob").want(200).shows(table, c.says)
			for _, id := range c.goes {
				r.shows(table+" "+link(id), "Unlink ")
				w.get("/people/bob/sso/" + id + "/remove").want(200).says("All their sessions end, and a letter tells them.")
			}
			for _, id := range c.stays {
				r.lacks(link(id))
				w.get("/people/bob/sso/" + id + "/remove").want(403)
			}
			w.get("/people/bob/sso/none/remove").want(404)
		})
	}
	w := newPages(t, sampleAnswers())
	w.api.on("GET /v3/teammates/bob", linkedTo(""))
	w.get("/people/bob").want(200).lacks(table)
	w.api.on("GET /v3/teammates/bob", linkedTo(`,"password":true`, atStaff))
	w.api.on("DELETE /v3/teammates/bob/single_sign_on/i1", relay.E(relay.Conflict, "It stays."))
	w.post("/people/bob/sso/i1/remove").goes("/people/bob")
	w.get("/people/bob").shows("[role=alert]", "It stays.")
	w.api.on("DELETE /v3/teammates/bob/single_sign_on/i1", nil)
	w.post("/people/bob/sso/i1/remove").goes("/people/bob")
	w.get("/people/bob").shows("[role=status]", "Single sign-on was unlinked")
	w.api.denied = []string{needUnlink}
	w.get("/people/bob").want(200).shows(table, "Staff login").lacks(link("i1"))
	w.get("/people/bob/sso/i1/remove").want(404)
}

// Whoever takes a second factor away is told of the ways in that this leaves.
func TestFactorsAreNotAllWaysIn(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.api.on("GET /v3/teammates/bob", linkedTo(`,"password":true`, atStaff, past, atSecond))
	w.get("/people/bob/do/reset-factors").want(200).says("Single sign-on by Staff login, Second login stays linked")
	w.api.on("GET /v3/teammates/bob", linkedTo(`,"password":true`, past))
	w.get("/people/bob/do/reset-factors").want(200).never("stays linked")
}

// Who has single sign-on and no password is mailed no link, and the page says why.
func TestNoResetLinkBesideSingleSignOn(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	const link, says = "a[href=/people/bob/do/reset-password]", "They log in by single sign-on only."
	w.api.on("GET /v3/teammates/bob", linkedTo("", atStaff))
	w.get("/people/bob").want(200).lacks(link).says(says)
	w.get("/people/bob/do/reset-password").want(403).says(says, "they can set one in their profile")
	w.api.on("GET /v3/teammates/bob", linkedTo(`,"invited_by":"sso Staff login"`, atStaff))
	w.get("/people/bob").want(200).lacks(link).says(says).never("they can set one in their profile")
	w.api.on("GET /v3/teammates/bob", linkedTo("", past))
	w.get("/people/bob").want(200).lacks(link).says("While it is linked, no link for a new password is mailed").never(says)
	w.get("/people/bob/do/reset-password").want(403).says("Unlink it first")
	w.api.on("GET /v3/teammates/bob", linkedTo(`,"invited_by":"sso https://former.test","password":true`))
	w.get("/people/bob").want(200).lacks(link).says("a password would not let them in")
	for _, rest := range []json.RawMessage{linkedTo(`,"password":true`, atStaff), linkedTo("")} {
		w.api.on("GET /v3/teammates/bob", rest)
		w.get("/people/bob").want(200).shows(link, "").never(says)
	}
}

// The keys that somebody made are on their page, and on the questions before they are
// shut out: those go on without them. All are asked for, however many they are.
func TestKeysThatSomebodyMade(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	const many = keysAtOnce + 2
	w.api.on("GET /v3/api_keys", func(r Request) (any, error) {
		u, err := url.Parse(r.Path)
		if err != nil {
			return nil, err
		}
		q := u.Query()
		if by := q.Get("created_by"); by != "user bob" {
			return nil, fmt.Errorf("asked for keys of %q", by)
		}
		var list []any
		for i := range many {
			k := map[string]any{"api_key_id": fmt.Sprint("k", i), "name": fmt.Sprint("key ", i), "created_by": "user bob", "last_used_at": "2026-03-01T00:00:00Z"}
			if i == many-1 && q.Get("subusers") == "true" {
				k["username"] = "shop"
			}
			list = append(list, k)
		}
		if q.Get("offset") == "0" {
			return map[string]any{"result": list[:keysAtOnce]}, nil
		}
		return map[string]any{"result": list[keysAtOnce:]}, nil
	})
	for _, path := range []string{"/people/bob", "/people/bob/do/disable", "/people/bob/do/delete"} {
		r := w.get(path).want(200).shows("#keys-made", "Keys that they made").shows("#keys-made a[href=/keys/k0]", "key 0").shows("#keys-made a[href=/as/shop/keys/k501]", "key 501")
		if n := len(r.all("#keys-made a")); n != many {
			t.Errorf("%s: %d keys, want %d", path, n, many)
		}
	}
	w.get("/people/bob/do/end-sessions").want(200).lacks("#keys-made")
	w.as(relay.RoleCustom, "teammates.read", "api_keys.read")
	w.get("/people/bob").want(200).shows("#keys-made a[href=/keys/k501]", "key 501") // subusers are not for them to see
	w.api.on("GET /v3/api_keys", map[string]any{"result": []any{}})
	w.get("/people/bob").want(200).shows("#keys-made", "They made none of the keys that there are.")
	asked := len(w.api.made("GET /v3/api_keys"))
	w.api.denied = []string{"GET " + apiKeys}
	w.get("/people/bob").want(200).lacks("#keys-made")
	w.get("/people/bob/do/disable").want(200).lacks("#keys-made")
	if len(w.api.made("GET /v3/api_keys")) != asked {
		t.Error("keys were asked for by somebody who may not see any")
	}
}

// A person's page leads to their logins, where there are any to be seen.
func TestLoginsOfSomebody(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.get("/people/bob").shows("a[href=/logins?tried=bob]", "Their logins")
	w.get("/logins?tried=bob").want(200)
	made := w.api.made("GET /v3/logins")
	if last := made[len(made)-1].Path; !strings.Contains(last, "tried=bob") {
		t.Errorf("asked for %s", last)
	}
	w.api.denied = []string{"GET " + apiLogins}
	w.get("/people/bob").lacks("a[href=/logins?tried=bob]")
}
