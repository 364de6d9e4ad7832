package console

import (
	"encoding/json"
	"strings"
	"testing"

	"postern/internal/relay"
)

const onePerson = `{"username":"bob","first_name":"Bob","last_name":"Brown","email":"bob@example.com","scopes":["mail.send"],"role":"developer","restricted":true,"subusers":["shop"],
	"second_factor":true,"totp":true,"passkeys":2,"recovery_codes":1,"password":true,"password_at":"2026-01-01T00:00:00Z","created_at":"2026-01-01T00:00:00Z","invited_by":"user anna",
	"last_seen_at":"2026-03-04T11:00:00Z","last_seen_from":"192.0.2.9",
	"single_sign_on":[{"id":"i1","issuer":"Staff login","live":true,"governs":false,"linked_at":"2026-02-01T00:00:00Z","last_used_at":"2026-03-01T00:00:00Z"}]}`

const oneSubuser = `{"disabled":false,"email":"shop@example.com","id":3,"username":"shop","keys":4,"pool":"main","ips":["192.0.2.70"],"created_at":"2026-01-01T00:00:00Z"}`

const someUsage = `{"result":[{"subject":"account","name":"acme","window":"month","limit":1000,"used":400,"remaining":600,"resets_at":"2026-04-01T00:00:00Z"},{"subject":"account","name":"acme","window":"day","limit":0,"used":40,"remaining":-1}]}`

func init() {
	for what, s := range map[string]string{
		"GET /v3/teammates": `{"result":[` + onePerson + `]}`, "GET /v3/teammates/bob": onePerson,
		"GET /v3/teammates/pending":          `{"result":[{"token":"t1","email":"new@example.com","role":"auditor","expires_at":"2026-03-05T00:00:00Z","expired":true,"invited_by":"user anna","created_at":"2026-02-25T00:00:00Z"}]}`,
		"GET /v3/teammates/bob/sessions":     `{"result":[{"id":"s1","level":"full","method":"password+totp","addr":"192.0.2.9","user_agent":"Browser 1","created_at":"2026-03-04T10:00:00Z","last_seen_at":"2026-03-04T11:00:00Z","current":true}]}`,
		"GET /v3/subusers":                   `[` + oneSubuser + `]`,
		"GET /v3/subusers/shop/usage":        someUsage,
		"GET /v3/subusers/shop/plan":         `{"hour":100}`,
		"GET /v3/subusers/shop/credits":      `{"type":"recurring","reset_frequency":"weekly","total":500}`,
		"DELETE /v3/subusers/shop":           `{"username":"shop","keys":4,"queued_messages":9,"domains":{"count":3,"names":["a.example","b.example"]},"senders":{"count":0},"people":{"count":1,"names":["lin"]},"invitations":{"count":1,"names":["new@example.net"]}}`,
		"GET /v3/user/username":              `{"username":"acme","user_id":1}`,
		"GET /v3/user/plan":                  `{"month":1000,"size":1048576}`,
		"GET /v3/user/usage":                 someUsage,
		"GET /v3/user/timezone":              `{"timezone":"Europe/Berlin"}`,
		"GET /v3/user/email":                 `{"email":"owner@example.com"}`,
		"GET /v3/user/settings/enforced_tls": `{"require_tls":true,"require_valid_cert":false,"version":1.2}`,
		"GET /v3/user/policy":                `{"max_key_life_seconds":7776000,"forbid_full_access":true,"mechanisms":["PLAIN"],"second_factor_optional":false,"preview_bodies":false}`,
	} {
		samples[what] = s
	}
}

func TestPeople(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.get("/people").want(200).says("Bob Brown", "Developer", "only shop", "authenticator app, 2 passkeys", "1 recovery code left", "from 192.0.2.9", "new@example.com", "over", "Withdraw")
	r := w.get("/people/bob").want(200).says("Send mail", "invited by user anna", "password and code", "this one")
	r.shows("a[href=/people/bob/do/reset-factors]", "second factor").lacks("a[href=/people/bob/do/enable]")
	w.api.denied = []string{"POST /v3/teammates/{username}/reset_factors", "PATCH /v3/teammates/{username}"}
	w.get("/people/bob").lacks("a[href=/people/bob/do/reset-factors]").lacks("a[href=/people/bob/edit]")
	w.get("/people/bob/do/reset-factors").want(404)
	w.post("/people/bob/do/reset-factors").want(404)
}

// A person whom single sign-on brought is shown as such, with what that means for
// their role and their second factor; whoever was invited is not.
func TestPersonOfSingleSignOn(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.get("/people/bob").says("invited by user anna")
	if strings.Contains(text(w.get("/people/bob").find("main")), "brought them") {
		t.Error("somebody who was invited is shown as brought by single sign-on")
	}
	brought := `{"username":"nora","role":"auditor","created_at":"2026-01-01T00:00:00Z","invited_by":"sso Staff login"}`
	w.api.on("GET /v3/teammates", json.RawMessage(`{"result":[`+brought+`]}`))
	w.api.on("GET /v3/teammates/nora", json.RawMessage(brought))
	w.api.on("GET /v3/teammates/nora/sessions", json.RawMessage(`{"result":[{"id":"s1","level":"full","method":"oidc Staff login","addr":"192.0.2.9"}]}`))
	w.get("/people").shows("#people", "by Staff login").shows("#people", "none here").shows("#people", "Staff login vouches for one")
	w.get("/people/nora").says("It brought them here, and says what they may do.", "by their groups at Staff login, set anew at each login").shows("#sessions", "single sign-on by Staff login")
	w.get("/people/nora/edit").says("holds until they log in by Staff login again")
	if strings.Contains(text(w.get("/people/bob/edit").find("main")), "log in by") {
		t.Error("a role that stays is said not to")
	}
}

// Nobody is offered to switch themselves off; whom the operator made is told so.
func TestOwnPersonPage(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.api.on("GET /v3/teammates/anna", json.RawMessage(`{"username":"anna","role":"owner","invited_by":"uid 0","created_at":"2026-01-01T00:00:00Z"}`))
	r := w.get("/people/anna").want(200).says("invited by the operator (uid 0 on the host)").shows("main a[href=/profile]", "Your own profile").lacks("a[href=/people/anna/edit]")
	for _, a := range personActions {
		r.lacks("a[href=/people/anna/do/" + a.name + "]")
	}
}

func TestPersonActionsAreAskedFirst(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	for _, a := range personActions {
		path := "/v3/teammates/bob"
		if a.tail != "" {
			path += "/" + a.tail
		}
		w.get("/people/bob/do/" + a.name).want(200).says(a.text)
		if len(w.api.made(a.method+" "+path)) != 0 {
			t.Fatalf("asking did %s", a.name)
		}
		w.api.on(a.method+" "+path, relay.E(relay.Conflict, "The last owner cannot go."))
		w.post("/people/bob/do/" + a.name).goes("/people/bob")
		w.get("/people").shows("[role=alert]", "That did not work.The last owner cannot go.").lacks("[role=status]")
		w.api.on(a.method+" "+path, nil)
		r := w.post("/people/bob/do/" + a.name).want(303)
		if to := r.header.Get("Location"); to != "/people/bob" && a.name != "delete" {
			t.Errorf("%s leads to %s", a.name, to)
		}
	}
}

func TestInvite(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.get("/people/invite").want(200).says("Sees all, changes nothing.", "Nobody can be given more than you have.")
	w.api.on("POST /v3/teammates", nil)
	w.post("/people/invite", "email", "x@example.com", "role", "custom", "area", "keys:see", "restricted", "on", "subusers", "shop\r\n\r\n new, and old \r\n").goes("/people")
	if body := w.asked("POST /v3/teammates"); body != `{"email":"x@example.com","restricted":true,"role":"custom","scopes":["api_keys.read"],"subusers":["shop","new, and old"]}` {
		t.Errorf("asked for %s", body)
	}
	for _, r := range []struct {
		field string
		sent  []string
	}{
		{"area", []string{"role", "developer", "area", "keys:see"}}, {"area", []string{"role", "auditor", "scopes", "stats.read"}}, {"subusers", []string{"role", "developer", "subusers", "shop"}},
	} { // more than what was chosen is not given
		w.post("/people/invite", append(r.sent, "email", "y@example.com")...).want(422).shows("#invite-"+r.field+"-error", "").shows("input[name=email][value=y@example.com]", "")
	}
	if n := len(w.api.made("POST /v3/teammates")); n != 1 {
		t.Errorf("%d invitations", n)
	}
	w.api.on("POST /v3/teammates", &relay.Error{Kind: relay.Invalid, Field: "email", Public: "This is somebody's already."})
	w.post("/people/invite", "email", "x@example.com", "role", "auditor").want(422).shows("#invite-email-error", "already").shows("input[value=auditor][checked]", "")
	w.api.on("POST /v3/teammates/pending/t1/resend", nil)
	w.api.on("DELETE /v3/teammates/pending/t1", nil)
	w.post("/invitations/t1/resend").goes("/people")
	w.post("/invitations/t1/withdraw").goes("/people")
	w.api.on("PATCH /v3/teammates/bob", nil)
	w.post("/people/bob/edit", "role", "auditor").goes("/people/bob")
	if body := w.asked("PATCH /v3/teammates/bob"); body != `{"restricted":false,"role":"auditor"}` {
		t.Errorf("asked for %s", body)
	}
	// Of a form what stood in it already may stay.
	w.api.on("GET /v3/teammates/bob", json.RawMessage(strings.Replace(onePerson, `"developer"`, `"custom"`, 1)))
	w.post("/people/bob/edit", "role", "auditor", "area", "mail:all", "subusers", "shop").goes("/people/bob")
	w.post("/people/bob/edit", "role", "auditor", "area", "mail:all", "area", "keys:see").want(422).shows("#edit-person-area-error", "")
	w.post("/people/bob/edit", "role", "auditor", "subusers", "shop\nnews").want(422).shows("#edit-person-subusers-error", "")
	w.api.on("DELETE /v3/teammates/bob/sessions/s1", nil)
	w.post("/people/bob/sessions/s1/end").goes("/people/bob")
}

// Where links lead to the relay's own machine, whoever has one mailed is told.
func TestLinksThatHelpNobodyElsewhere(t *testing.T) {
	t.Parallel()
	for base, warned := range map[string]bool{"http://localhost:8025": true, "https://relay.example.org": false} {
		w := newPages(t, sampleAnswers())
		w.console.URL = func() string { return base }
		for pattern, path := range map[string]string{
			"POST /v3/teammates": "/people/invite", "POST /v3/teammates/pending/t1/resend": "/invitations/t1/resend",
			"POST /v3/teammates/bob/reset_password": "/people/bob/do/reset-password",
		} {
			w.api.on(pattern, nil)
			w.post(path, "email", "x@example.com", "role", "auditor").want(303)
			if got := strings.Contains(w.get("/people").want(200).body, "the operator sets http.url"); got != warned {
				t.Errorf("%s, %s: warned is %v", base, path, got)
			}
		}
		if got := strings.Contains(w.get("/people/invite").want(200).body, "the operator sets http.url"); got != warned {
			t.Errorf("%s: the form warns is %v", base, got)
		}
	}
}

func TestSubuserPages(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.get("/subusers").want(200).says("shop", "main", "active")
	w.get("/subusers/shop").want(200).says("Switch it off", "400", "Limits", "Allowance").shows("a[href=/as/shop]", "Look at it").shows("option[value=weekly][selected]", "each week")
	for _, call := range []string{"POST /v3/subusers", "PATCH /v3/subusers/shop", "PATCH /v3/subusers/shop/website_access", "PATCH /v3/subusers/shop/plan",
		"PUT /v3/subusers/shop/credits", "PUT /v3/subusers/shop/ips"} {
		w.api.on(call, nil)
	}
	w.post("/subusers/new", "username", "news").goes("/subusers/news")
	w.post("/subusers/shop/switch", "disabled", "on").goes("/subusers/shop")
	if body := w.asked("PATCH /v3/subusers/shop"); body != `{"disabled":true}` {
		t.Errorf("asked for %s", body)
	}
	w.post("/subusers/shop/console", "disabled", "").goes("/subusers/shop")
	if body := w.asked("PATCH /v3/subusers/shop/website_access"); body != `{"disabled":false}` {
		t.Errorf("asked for %s", body)
	}
	w.post("/subusers/shop/plan", "hour", "10", "over", "defer").goes("/subusers/shop")
	if body := w.asked("PATCH /v3/subusers/shop/plan"); body != `{"connections":0,"day":0,"hour":10,"month":0,"over":"defer","recipients":0,"size":0}` {
		t.Errorf("asked for %s", body)
	}
	w.post("/subusers/shop/plan", "hour", "ten").want(422).shows("#plan-hour-error", "whole number")
	w.post("/subusers/shop/credits", "type", "recurring", "reset_frequency", "daily", "total", "5").goes("/subusers/shop")
	if body := w.asked("PUT /v3/subusers/shop/credits"); body != `{"reset_frequency":"daily","total":5,"type":"recurring"}` {
		t.Errorf("asked for %s", body)
	}
	w.post("/subusers/shop/ips", "ips", "192.0.2.1").goes("/subusers/shop")
	w.api.on("GET /v3/subusers", json.RawMessage(`[{"username":"shop","pool":"fast","ips":["192.0.2.70","2001:db8::70"]}]`))
	shown := text(w.get("/subusers/shop").find("textarea[name=ips]"))
	if shown != "192.0.2.70 2001:db8::70" {
		t.Errorf("the addresses that it has: %q", shown)
	}
	w.post("/subusers/shop/ips", "ips", shown).goes("/subusers/shop") // saved as it was opened, it stays as it is
	if body := w.asked("PUT /v3/subusers/shop/ips"); body != `["192.0.2.70","2001:db8::70"]` {
		t.Errorf("asked for %s", body)
	}
	w.api.on("GET /v3/subusers", json.RawMessage(`[{"username":"shop","pool":"fast"}]`))
	w.get("/subusers/shop").says("No address of its pool fast is in use now.")
	w.api.on("GET /v3/subusers", json.RawMessage(`[`+oneSubuser+`]`))
	w.get("/subusers/shop").never("is in use now")
	w.get("/subusers/shop/delete").want(200).says("4 keys would be revoked, and 9 queued messages dropped.").shows("#deleted", "Domains, with their DKIM keys3a.exampleb.exampleand 1 other").
		shows("#deleted", "People1lin").shows("#deleted", "Invitations1new@example.net").never("Single senders")
	w.api.on("DELETE /v3/subusers/shop", json.RawMessage(`{"people":{"count":2}}`))
	w.get("/subusers/shop/delete").shows("#deleted", "People2").never("Which", "other")
	w.api.on("DELETE /v3/subusers/shop", json.RawMessage(`{}`))
	w.get("/subusers/shop/delete").says("It has no domains, single senders or people")
	w.post("/subusers/shop/delete").goes("/subusers")
	w.api.on("GET /v3/subusers", []any{})
	w.get("/subusers/none").want(404)
	w.get("/subusers").says("There is no subuser.")
}

func TestSettingsAndPolicy(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.get("/settings").want(200).says("acme", "1 000 recipients a month", "1.0 MiB of one message").shows("input[value=required][checked]", "").shows("#usage", "600")
	for _, call := range []string{"PATCH /v3/user/settings/enforced_tls", "PATCH /v3/user/timezone", "PUT /v3/user/email", "PATCH /v3/user/policy"} {
		w.api.on(call, nil)
	}
	w.post("/settings/tls", "level", "verified").goes("/settings")
	if body := w.asked("PATCH /v3/user/settings/enforced_tls"); body != `{"require_tls":true,"require_valid_cert":true}` {
		t.Errorf("asked for %s", body)
	}
	w.post("/settings/email", "email", "a@example.com").goes("/settings")
	w.api.on("PATCH /v3/user/timezone", &relay.Error{Kind: relay.Invalid, Field: "timezone", Public: "There is no such zone."})
	w.post("/settings/timezone", "timezone", "Mars").want(422).shows("#timezone-timezone-error", "There is no such zone.")

	w.get("/policy").want(200).says("90 days", "forbidden", "demanded", "PLAIN")
	w.get("/policy/edit").want(200).shows("input[value=PLAIN][checked]", "")
	w.post("/policy/edit", "max_key_life_seconds", "90", "mechanisms", "PLAIN", "mechanisms", "EXTERNAL", "preview_bodies", "on").goes("/policy")
	if body := w.asked("PATCH /v3/user/policy"); body != `{"bind_reply_to":false,"forbid_full_access":false,"foreign_names":false,"mechanisms":["PLAIN","EXTERNAL"],"preview_bodies":true,"require_networks":false}` {
		t.Errorf("asked for %s", body)
	}
	for _, days := range []string{"-1", "3651"} {
		w.post("/policy/edit", "max_key_life_seconds", days).want(422).shows("#policy-max_key_life_seconds-error", "days from 1 to 3650")
	}
	for seconds, want := range map[int]string{43200: "12 hours", 129600: "36 hours", 86400: "1 day"} {
		w.api.on("GET /v3/user/policy", map[string]any{"max_key_life_seconds": seconds})
		w.get("/policy").says(want)
	}
}

// Who asks for a subuser's people, or may not look at subusers, asks for one tenant's:
// the API refuses anything wider.
func TestPeopleOfOneTenant(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.tenants.subs["shop"] = relay.SubuserID{ID: relay.ID{7}}
	wide := func(path string) bool {
		t.Helper()
		w.get(path).want(200)
		made := w.api.made("GET /v3/teammates")
		return strings.Contains(made[len(made)-1].Path, "subusers=true")
	}
	if !wide("/people") {
		t.Error("the account's list leaves the people of its subusers out")
	}
	if wide("/as/shop/people") {
		t.Error("a subuser's list asks for more than the subuser's people")
	}
	w.visit().User.Role, w.visit().User.Scopes = relay.RoleCustom, []string{"teammates.read"}
	if wide("/people") {
		t.Error("somebody who may not look at subusers asks for their people")
	}
	w.visit().User.Role, w.visit().User.Subuser = relay.RoleAdmin, relay.SubuserID{ID: relay.ID{7}}
	if wide("/people") {
		t.Error("a subuser's own admin asks for more than the subuser's people")
	}
}
