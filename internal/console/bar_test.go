package console

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"postern/internal/relay"
)

// switchedOff is a sample that somebody has switched off.
func switchedOff(sample, by string) json.RawMessage {
	s := strings.Replace(sample, `"disabled":false`, `"disabled":true`, 1)
	if s == sample {
		s = `{"disabled":true,` + sample[1:]
	}
	return json.RawMessage(fmt.Sprintf(`{"disabled_at":"2026-03-01T00:00:00Z","disabled_by":%q,%s`, by, s[1:]))
}

// What somebody above has switched off is neither switched on nor deleted from below:
// no page offers it, each says who did it and whom to ask, and what is tried anyway the
// API refuses. Whoever stands as high may do both.
func TestSwitchedOffFromAbove(t *testing.T) {
	t.Parallel()
	const account, operator = "The account that this subuser belongs to switched ", "The operator of this relay switched "
	for _, x := range []struct {
		what, answer, sample string
		page                 string
		on                   string   // the button or link that switches it on
		more                 []string // besides it
		asks                 []string // pages that ask first
	}{
		{"person", "GET /v3/teammates/bob", onePerson, "/people/bob", "a[href=%s/people/bob/do/enable]", []string{"a[href=%s/people/bob/do/delete]"},
			[]string{"/people/bob/do/enable", "/people/bob/do/delete"}},
		{"key", "GET /v3/api_keys/k1", oneKey, "/keys/k1", "form[action=%s/keys/k1/enable]", nil, nil},
		{"domain", "GET /v3/whitelabel/domains/7", strings.Replace(oneDomain, `"username":"acme"`, `"username":"shop"`, 1), "/domains/7", "form[action=%s/domains/7/enable]",
			[]string{"a[href=%s/domains/7/delete]"}, []string{"/domains/7/delete"}},
	} {
		t.Run(x.what, func(t *testing.T) {
			t.Parallel()
			w := newPages(t, sampleAnswers())
			shop := relay.SubuserID{ID: relay.ID{7}}
			w.tenants.subs["shop"] = shop
			w.tenants.name = "acme"
			for _, c := range []struct {
				by     string
				within bool // a person of the subuser asks, not one of the account
				kept   string
			}{
				{"", true, ""}, {"account", true, account}, {"operator", true, operator},
				{"", false, ""}, {"account", false, ""}, {"operator", false, operator},
			} {
				prefix, name := "/as/shop", fmt.Sprintf("off by %q, asked within %v", c.by, c.within)
				w.visit().User.Subuser = relay.SubuserID{}
				if c.within {
					prefix, w.visit().User.Subuser = "", shop
					w.people.subuser = "shop"
				}
				w.api.on(x.answer, switchedOff(x.sample, c.by))
				r := w.get(prefix + x.page).want(200)
				for _, offered := range append([]string{x.on}, x.more...) {
					selector := fmt.Sprintf(offered, prefix)
					if c.kept != "" {
						r.lacks(selector)
					} else if r.find(selector) == nil {
						t.Errorf("%s: %s is not offered", name, selector)
					}
				}
				for _, path := range x.asks {
					if c.kept == "" {
						w.get(prefix + path).want(200)
					} else if said := w.get(prefix + path).want(403); !strings.Contains(said.body, c.kept) {
						t.Errorf("%s: %s does not say who did it", name, path)
					}
				}
				if c.kept != "" {
					r.says(c.kept, "Nobody else can", "Ask the ")
				} else {
					r.never("Nobody else can")
				}
			}
		})
	}
}

// The operator alone switches a subuser on again, or deletes it, once they have
// switched it off.
func TestSubuserSwitchedOffByTheOperator(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.api.on("GET /v3/subusers", []any{switchedOff(oneSubuser, "")})
	w.get("/subusers/shop").want(200).shows("form[action=/subusers/shop/switch]", "Switch it on").shows("a[href=/subusers/shop/delete]", "").never("Nobody else can")
	w.api.on("GET /v3/subusers", []any{switchedOff(oneSubuser, "operator")})
	w.get("/subusers/shop").want(200).lacks("form[action=/subusers/shop/switch]").lacks("a[href=/subusers/shop/delete]").
		says("The operator of this relay switched it off.", "Nobody else can switch it on again, or delete it. Ask the operator.")
	w.get("/subusers/shop/delete").want(403).says("The operator of this relay switched it off.")
	w.api.on("PATCH /v3/subusers/shop", relay.E(relay.Forbidden, "The operator switched this off."))
	w.post("/subusers/shop/switch", "disabled", "").goes("/subusers/shop")
	w.get("/subusers").shows("[role=alert]", "The operator switched this off.")
}

// as is a person of the account with some role and, with the role custom, scopes.
func (w *world) as(role relay.Role, scopes ...string) {
	w.visit().User.Role, w.visit().User.Scopes = role, scopes
}

// Nobody is offered to change somebody who may do more than they; whoever may is.
func TestWhoChangesWhom(t *testing.T) {
	t.Parallel()
	all := []string{"edit", "do/disable", "do/reset-factors", "do/reset-password", "do/end-sessions", "do/delete"}
	ends := "form[action=/people/bob/sessions/s1/end]"
	helper := []string{"teammates.delete", "teammates.read", "teammates.update"}
	for _, c := range []struct {
		name    string
		role    relay.Role
		scopes  []string
		whom    relay.Role
		offered []string
		says    string
	}{
		{"an owner, an owner", relay.RoleOwner, nil, relay.RoleOwner, all, ""},
		{"an owner, an admin", relay.RoleOwner, nil, relay.RoleAdmin, all, ""},
		{"an admin, an owner", relay.RoleAdmin, nil, relay.RoleOwner, nil, "They are an owner."},
		{"an admin, an admin", relay.RoleAdmin, nil, relay.RoleAdmin, all, ""},
		{"a helper, an admin", relay.RoleCustom, helper, relay.RoleAdmin, nil, "They are an admin."},
		{"a helper, a developer", relay.RoleCustom, helper, relay.RoleDeveloper, []string{"edit", "do/disable", "do/reset-password", "do/end-sessions", "do/delete"}, "They may do more than you."},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newPages(t, sampleAnswers())
			w.as(c.role, c.scopes...)
			person := relay.User{Role: c.whom}
			b, err := json.Marshal(map[string]any{"username": "bob", "role": c.whom, "scopes": person.Granted(), "second_factor": true, "password": true,
				"single_sign_on": []any{map[string]any{"id": "i1", "issuer": "Staff login", "live": true}}})
			if err != nil {
				t.Fatal(err)
			}
			w.api.on("GET /v3/teammates/bob", json.RawMessage(b))
			r := w.get("/people/bob").want(200)
			for _, path := range all {
				want := 403
				if strings.Contains(strings.Join(c.offered, " "), path) {
					r.shows("a[href=/people/bob/"+path+"]", "")
					want = 200
				} else {
					r.lacks("a[href=/people/bob/" + path + "]")
				}
				w.get("/people/bob/" + path).want(want)
			}
			want, unlink := 403, "/people/bob/sso/i1/remove"
			if len(c.offered) > 0 {
				want = 200
			}
			if got := r.find("a[href="+unlink+"]") != nil; got != (want == 200) {
				t.Errorf("unlinking single sign-on is offered: %v", got)
			}
			w.get(unlink).want(want)
			if got := r.find(ends) != nil; got != (len(c.offered) > 0) {
				t.Errorf("the end of a session is offered: %v", got)
			}
			if c.says == "" {
				r.never("They are", "They may do more")
			} else {
				r.says(c.says)
			}
		})
	}
}

// Of roles and invitations only those are offered that the person may give.
func TestRolesThatCanBeGiven(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	offered := func() (out string) {
		r := w.get("/people/invite").want(200)
		for _, o := range roleOptions {
			if r.find("input[name=role][value="+o.Value+"]") != nil {
				out += o.Value + " "
			}
		}
		if len(r.all("input[name=role][checked]")) != 1 {
			t.Error("no role is chosen")
		}
		return out
	}
	pending := func(role relay.Role) (out string) {
		u := relay.User{Role: role}
		b, err := json.Marshal(map[string]any{"result": []any{map[string]any{"token": "t1", "email": "new@example.com", "role": role, "scopes": u.Granted()}}})
		if err != nil {
			t.Fatal(err)
		}
		w.api.on("GET /v3/teammates/pending", json.RawMessage(b))
		r := w.get("/people").want(200)
		for _, do := range []string{"resend", "withdraw"} {
			if r.find("form[action=/invitations/t1/"+do+"]") != nil {
				out += do + " "
			}
		}
		return out
	}
	for _, c := range []struct {
		as                     relay.Role
		scopes                 []string
		roles, owner, auditors string
	}{
		{relay.RoleOwner, nil, "owner admin developer auditor custom ", "resend withdraw ", "resend withdraw "},
		{relay.RoleAdmin, nil, "admin developer auditor custom ", "", "resend withdraw "},
		{relay.RoleCustom, []string{"teammates.create", "teammates.read"}, "custom ", "", "withdraw "},
	} {
		w.as(c.as, c.scopes...)
		if got := offered(); got != c.roles {
			t.Errorf("%s may give %q, want %q", c.as, got, c.roles)
		}
		if got := pending(relay.RoleOwner); got != c.owner {
			t.Errorf("%s may do %q to an owner's invitation, want %q", c.as, got, c.owner)
		}
		if got := pending(relay.RoleAuditor); got != c.auditors {
			t.Errorf("%s may do %q to an auditor's invitation, want %q", c.as, got, c.auditors)
		}
	}
}

// A key that may do more than the person is not theirs to rotate or to switch on; one
// that was revoked, or cannot send, is offered nothing that would be refused.
func TestKeysThatCannotBeChanged(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	key := func(more string) *reply {
		w.api.on("GET /v3/api_keys/k1", json.RawMessage(`{`+more+`,`+oneKey[1:]))
		return w.get("/keys/k1").want(200)
	}
	full := `"scopes":["mail.send","teammates.delete"],` // members that come later win
	wide := strings.Replace(oneKey, `"scopes":["mail.send"]`, strings.TrimSuffix(full, ","), 1)
	w.as(relay.RoleDeveloper)
	w.api.on("GET /v3/api_keys/k1", json.RawMessage(wide))
	w.get("/keys/k1").want(200).lacks("a[href=/keys/k1/rotate]").shows("a[href=/keys/k1/revoke]", "").shows("form[action=/keys/k1/disable]", "").says("This key may do more than you.")
	w.get("/keys/k1/rotate").want(403).says("ask somebody who has them")
	w.api.on("GET /v3/api_keys/k1", switchedOff(wide, ""))
	w.get("/keys/k1").lacks("form[action=/keys/k1/enable]").says("switching it on again")
	w.as(relay.RoleOwner)
	w.get("/keys/k1").shows("form[action=/keys/k1/enable]", "").shows("a[href=/keys/k1/rotate]", "").never("more than you")

	w.as(relay.RoleDeveloper) // a form that is refused does not say it twice
	w.api.on("GET /v3/api_keys/k1", json.RawMessage(wide))
	w.api.on("POST /v3/api_keys/k1/test", relay.E(relay.Invalid, "Nobody is there."))
	if n := strings.Count(w.post("/keys/k1/test", "from", "a@example.com", "to", "b@example.com").want(422).says("Nobody is there.").body, "This key may do more than you."); n != 1 {
		t.Errorf("said %d times what the key may", n)
	}
	w.as(relay.RoleOwner)

	key(`"x":1`).shows("form[action=/keys/k1/test]", "")
	for _, cannot := range []string{`"canary":true`, `"expires_at":"2026-03-01T00:00:00Z"`, `"disabled_at":"2026-03-01T00:00:00Z"`} {
		name, _, _ := strings.Cut(cannot, ":")
		if strings.Contains(oneKey, name) {
			w.api.on("GET /v3/api_keys/k1", json.RawMessage(strings.TrimSuffix(oneKey, "}")+","+cannot+"}"))
			w.get("/keys/k1").want(200).lacks("form[action=/keys/k1/test]")
			continue
		}
		key(cannot).lacks("form[action=/keys/k1/test]")
	}
	r := key(`"revoked_at":"2026-03-01T00:00:00Z"`).says("This key was revoked.")
	for _, selector := range []string{"a[href=/keys/k1/edit]", "a[href=/keys/k1/rotate]", "a[href=/keys/k1/revoke]", "form[action=/keys/k1/enable]", "form[action=/keys/k1/disable]", "form[action=/keys/k1/test]"} {
		r.lacks(selector)
	}
	r.lacks("main form[method=post]")
	w.get("/keys/k1/edit").want(403)
}

// A domain that is shared with a subuser is looked at there; its owner changes it. The
// relay's own stays on.
func TestDomainsOfOthers(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.tenants.subs["shop"] = relay.SubuserID{ID: relay.ID{7}}
	w.tenants.name = "acme"
	r := w.get("/as/shop/domains/7").want(200).says("This domain belongs to the account.", "The record dkim1 is missing.")
	if forms := r.all("main form[method=post]"); len(forms) != 0 {
		t.Errorf("%d forms change a domain that is only shared", len(forms))
	}
	for _, path := range []string{"edit", "delete", "rotate", "import"} {
		r.lacks("a[href=/as/shop/domains/7/" + path + "]")
		w.get("/as/shop/domains/7/" + path).want(403).says("The account changes it, and gets the reports about it.")
	}
	r.lacks("a[href=/as/shop/domains/7/dmarc]")
	w.get("/as/shop/domains/7/dmarc").want(403)
	w.get("/as/shop/domains/7/dmarc/reports").want(403)
	r.shows("a[href=/as/shop/domains/7/zone]", "")
	w.get("/domains/7").shows("a[href=/domains/7/edit]", "").shows("form[action=/domains/7/disable]", "").never("belongs to the account")
	w.api.on("GET /v3/whitelabel/domains/7", json.RawMessage(`{"system":true,`+oneDomain[1:]))
	w.get("/domains/7").lacks("a[href=/domains/7/delete]").lacks("form[action=/domains/7/disable]").shows("a[href=/domains/7/edit]", "").says("the relay's own mail")
}

// What the operator has stopped is not offered to be released.
func TestMailThatTheOperatorHolds(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	message := func(state, kept string, anew ...bool) *reply {
		b, err := json.Marshal(map[string]any{"msg_id": "m1", "state": state, "queued": true, "kept": kept, "may_hold_anew": len(anew) > 0,
			"events": []any{map[string]any{"event": "held", "at": clock, "data": map[string]any{"by": "account"}}}})
		if err != nil {
			t.Fatal(err)
		}
		w.api.on("GET /v3/messages/m1", json.RawMessage(b))
		return w.get("/mail/m1").want(200)
	}
	release := "a[href=/mail/m1/do/release]"
	message("held", "").shows(release, "").never("Ask the operator").never("ask them").lacks("a[href=/mail/m1/do/hold]")
	message("held", "", true).shows(release, "").shows("a[href=/mail/m1/do/hold]", "Hold it")
	message("held", "operator_holds").lacks(release).says("The operator of this relay holds this message.", "Ask the operator.").shows("a[href=/mail/m1/do/cancel]", "")
	w.get("/mail/m1/do/release").want(403).says("Ask the operator.")
	message("held", "account_holds").lacks(release).says("Your account holds this message.", "ask them").shows("a[href=/mail/m1/do/cancel]", "")
	message("quarantined", "quarantined").lacks(release).says("Only the operator of this relay releases it.")
	message("queued", "").never("Ask the operator").shows("a[href=/mail/m1/do/hold]", "")
}

// A key is on the pages of whom it belongs to: what an account sees of its subusers leads
// there, and to no page where it is not.
func TestKeysOfSubusersAreLedTo(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	theirs := "a[href=/as/shop/keys/k9]"
	w.api.on("GET /v3/messages/m1", json.RawMessage(`{"msg_id":"m1","subuser":"shop","key":{"id":"k9","name":"till"}}`))
	w.get("/mail/m1").shows(theirs, "till")
	w.api.on("GET /v3/api_keys", json.RawMessage(`{"result":[{"api_key_id":"k9","name":"till","username":"shop"},{"api_key_id":"k1","name":"own"}]}`))
	w.get("/keys?subusers=1").shows(theirs, "till").shows("a[href=/keys/k1]", "own")
	w.api.on("GET /v3/logins", json.RawMessage(`{"result":[{"api_key_id":"k9","tried":"till","subuser_id":"s7"},{"api_key_id":"k8","tried":"gone","subuser_id":"s8"},{"api_key_id":"k1","tried":"own"}]}`))
	w.api.on("GET /v3/subusers", json.RawMessage(`[{"username":"shop","subuser_id":"s7"}]`))
	w.get("/logins").shows(theirs, "till").says("of shop").shows("a[href=/keys/k1]", "own").shows("a[href=/logins?key=k8]", "gone").lacks("a[href=/keys/k8]").lacks("a[href=/keys/k9]")
	w.tenants.subs["shop"] = relay.SubuserID{ID: relay.ID{7}}
	w.get("/as/shop/logins").shows(theirs, "till")
}

// Who has no list of logins is not led to it.
func TestAccessWithoutLogins(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	led := func() bool { return strings.Contains(w.get("/access").want(200).body, `<a href="/logins?addr=`) }
	if !led() {
		t.Error("an address does not lead to its logins")
	}
	w.api.denied = []string{"GET " + apiLogins}
	if led() {
		t.Error("somebody without the list of logins is led to it")
	}
}

// While two secrets of a key work, a third one can only end both.
func TestRotatingTwice(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	rotate := func(until string) *reply {
		var k map[string]any
		if err := json.Unmarshal([]byte(oneKey), &k); err != nil {
			t.Fatal(err)
		}
		k["previous_valid_until"] = until
		w.api.on("GET /v3/api_keys/k1", k)
		return w.get("/keys/k1/rotate").want(200)
	}
	rotate("2026-03-04T11:00:00Z").shows("option[value=86400]", "a day").never("ends both")
	rotate("2026-03-05T12:00:00Z").lacks("option[value=86400]").shows("option[value=0]", "it ends now").says("works until 2026-03-05 12:00 UTC", "ends both")
}
