package v3

import (
	"testing"

	"postern/internal/relay"
)

// AC-11, AP-03: what was judged by a person's grant is done only while they have it.
// Another node may make them more, or less, between the look and the change.
func TestTeammatesChangedMeanwhile(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ method, suffix, body string }{
		"grant":   {"PATCH", "", `{"scopes":["mail.send"]}`},
		"disable": {"POST", "/disable", ""},
		"enable":  {"POST", "/enable", ""},
		"factors": {"POST", "/reset_factors", ""},
		"delete":  {"DELETE", "", ""},
		"unlink":  {"DELETE", "/single_sign_on/", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			f := peopleOf(w)
			hr := w.person(w.addUser(w.acme, relay.RoleCustom, "mail.send", "stats.read", "teammates.delete", "teammates.update"), true)
			u := w.addUser(w.acme, relay.RoleCustom, "mail.send", "stats.read")
			if name == "enable" {
				w.users[len(w.users)-1].DisabledAt = t0
			}
			if name == "unlink" {
				tt.suffix += f.addSignOn(&u).ID
			}
			// They become an owner, whom hr must not touch.
			f.meanwhile = func(u *relay.User) { u.Role, u.Scopes = relay.RoleOwner, nil }
			before := w.users[len(w.users)-1]
			hr.refused(tt.method, "/v3/teammates/"+u.Username+tt.suffix, tt.body, 409, "changed meanwhile", "")
			after := w.users[len(w.users)-1]
			if after.Role != relay.RoleOwner || !after.DeletedAt.IsZero() || after.DisabledAt != before.DisabledAt || after.SecondFactor() != before.SecondFactor() {
				t.Errorf("%+v", after)
			}
			if len(w.changes) > 0 || name == "unlink" && len(f.signOns[u.ID]) != 2 {
				t.Errorf("%q, %+v", w.changes, f.signOns[u.ID])
			}
		})
	}
}

// AC-11: who is shut out, or loses their role, while a request of theirs is under way
// loses their session with it: nobody is invited or switched off by it any more.
func TestTeammatesChangedByWhoIsOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := peopleOf(w)
	owner, u := w.addUser(w.acme, relay.RoleOwner), w.addUser(w.acme, relay.RoleDeveloper)
	c := w.person(owner, true)
	f.over = relay.SessionID{ID: owner.ID.ID}
	for _, ask := range [][3]string{
		{"POST", "/v3/teammates", `{"email":"new@people.example","role":"owner"}`}, {"POST", "/v3/teammates/" + u.Username + "/disable", ""},
		{"DELETE", "/v3/teammates/" + u.Username, ""}, {"PATCH", "/v3/teammates/" + u.Username, `{"role":"admin"}`},
	} {
		c.refused(ask[0], ask[1], ask[2], 401, "logged out", "")
	}
	if len(w.changes) > 0 || len(f.links) > 0 {
		t.Errorf("%q, %+v", w.changes, f.links)
	}
	w.person(w.addUser(w.acme, relay.RoleOwner), true).want("DELETE", "/v3/teammates/"+u.Username, "", 204, nil)
}

// Somebody who is shut out does not come in again by a key that they left behind,
// whatever it may do.
func TestKeysDoNotBringTheirMakerBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gone := w.addUser(w.acme, relay.RoleAdmin)
	w.users[len(w.users)-1].DisabledAt = t0
	left := w.as(w.acme, relay.Scopes...)
	for i := range w.keys {
		if w.keys[i].ID == left.key.ID {
			w.keys[i].CreatedBy = "user " + gone.Username
		}
	}
	for _, ask := range [][3]string{
		{"POST", "/v3/teammates/" + gone.Username + "/enable", ""}, {"POST", "/v3/teammates/" + gone.Email + "/reset_factors", ""},
		{"PATCH", "/v3/teammates/" + gone.Username, `{"role":"auditor"}`}, {"DELETE", "/v3/teammates/" + gone.Username + "/single_sign_on/" + peopleOf(w).addSignOn(&gone).ID, ""},
		{"PATCH", "/v3/sso/teammates/" + gone.Username, `{"first_name":"A","last_name":"B","persona":"observer"}`},
	} {
		left.refused(ask[0], ask[1], ask[2], 403, "a key that they made", "")
	}
	if len(w.changes) > 0 {
		t.Errorf("%q", w.changes)
	}
	w.as(w.acme, relay.Scopes...).want("POST", "/v3/teammates/"+gone.Username+"/enable", "", 200, nil)
}

// Nor by a key that was made with such a key, though another key's name stands in it;
// also where the one between is revoked by then.
func TestKeysOfKeysDoNotBringTheirMakerBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gone, other := w.addUser(w.acme, relay.RoleAdmin), w.addUser(w.acme, relay.RoleDeveloper)
	w.users[len(w.users)-2].DisabledAt = t0
	enable := "/v3/teammates/" + gone.Username + "/enable"
	first := w.as(w.acme, relay.Scopes...)
	made := func(k relay.KeyID, by string) {
		for i := range w.keys {
			if w.keys[i].ID == k {
				w.keys[i].CreatedBy = by
			}
		}
	}
	made(first.key.ID, "user "+gone.Username)
	second, third := w.as(w.acme, relay.Scopes...), w.as(w.acme, relay.Scopes...)
	made(second.key.ID, "key "+first.key.ID.String())
	made(third.key.ID, "key "+second.key.ID.String())
	second.refused("POST", enable, "", 403, "a key that they made", "")
	third.refused("POST", enable, "", 403, "a key that they made", "")
	for i := range w.keys {
		if w.keys[i].ID == second.key.ID {
			w.keys[i].RevokedAt = t0
		}
	}
	third.refused("POST", enable, "", 403, "a key that they made", "")
	third.want("POST", "/v3/teammates/"+other.Username+"/disable", "", 200, nil)
	for what, by := range map[string]string{"a key that is no more": "key " + relay.KeyID{ID: relay.ID{9}}.String(), "no key": "key x", "the account": "account"} {
		free := w.as(w.acme, relay.Scopes...)
		made(free.key.ID, by)
		w.users[len(w.users)-2].DisabledAt = t0
		t.Log(what)
		free.want("POST", enable, "", 200, nil)
	}
	round := w.as(w.acme, relay.Scopes...) // which cannot be
	made(round.key.ID, "key "+round.key.ID.String())
	round.refused("POST", enable, "", 403, "a key that they made", "")
}

// AP-03: what holds for people who manage people holds for keys that do.
func TestKeysAmongPeople(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner, admin, dev := w.addUser(w.acme, relay.RoleOwner), w.addUser(w.acme, relay.RoleAdmin), w.addUser(w.acme, relay.RoleDeveloper)
	weak := w.addUser(w.acme, relay.RoleCustom, "mail.send")
	held := w.restrict(w.addUser(w.acme, relay.RoleCustom, "mail.send"), w.staging)
	key := w.as(w.acme, "mail.send", "teammates.create", "teammates.delete", "teammates.read", "teammates.update")
	for name, tt := range map[string]struct{ method, path, body, message, field string }{
		"invite with more": {"POST", "", `{"email":"x@people.example","scopes":["api_keys.create"]}`, "do not have the scope", "scopes"},
		"invite an admin":  {"POST", "", `{"email":"x@people.example","is_admin":true}`, "do not have the scope", "scopes"},
		"widen":            {"PATCH", "/" + weak.Username, `{"scopes":["mail.send","stats.read"]}`, "do not have the scope", "scopes"},
		"promote":          {"PATCH", "/" + weak.Username, `{"role":"developer"}`, "do not have the scope", "scopes"},
		"show a subuser":   {"PATCH", "/" + weak.Username, `{"restricted":true,"subusers":["staging"]}`, "sight of subusers", "subusers"},
		"show another":     {"PATCH", "/" + held.Username, `{"subusers":["receipts"]}`, "sight of subusers", "subusers"},
		"factors of more":  {"POST", "/" + dev.Username + "/reset_factors", "", "do not have the scope", "scopes"},
		"an admin":         {"DELETE", "/" + admin.Username, "", "another admin", ""},
		"an owner":         {"DELETE", "/" + owner.Username, "", "Only an owner", ""},
	} {
		t.Run(name, func(t *testing.T) {
			key.refused(tt.method, "/v3/teammates"+tt.path, tt.body, 403, tt.message, tt.field)
		})
	}
	if len(w.changes) > 0 {
		t.Errorf("%q", w.changes)
	}
	// Freed of a restriction, their scopes would count for the account: as many as the
	// key has.
	key.want("PATCH", "/v3/teammates/"+held.Username, `{"restricted":false}`, 200, nil)
}

// AP-01: who is restricted to some subusers sees and changes people of no others,
// and none of the account's, whatever scopes they have.
func TestRestrictedPersonAmongPeople(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	scopes := []string{"subusers.read", "teammates.create", "teammates.delete", "teammates.read", "teammates.update"}
	c := w.person(w.restrict(w.addUser(w.acme, relay.RoleCustom, scopes...), w.staging), true)
	boss, kin, stranger := w.addUser(w.acme, relay.RoleDeveloper), w.addUser(w.staging, relay.RoleCustom, "teammates.read"), w.addUser(w.receipts, relay.RoleDeveloper)
	for _, u := range []relay.User{boss, kin, stranger} {
		c.refused("GET", "/v3/teammates/"+u.Username, "", 403, textNoScope, "") // for the account
	}
	c.refused("GET", "/v3/teammates", "", 403, textNoScope, "")
	c.refused("GET", "/v3/teammates?subusers=true", "", 403, textNoScope, "")
	at := c.with("on-behalf-of", "staging")
	var list teammateList
	at.want("GET", "/v3/teammates", "", 200, &list)
	if len(list.Result) != 1 || list.Result[0].Username != kin.Username {
		t.Errorf("%+v", list.Result)
	}
	at.refused("GET", "/v3/teammates?subusers=true", "", 403, textNoScope, "")
	for _, u := range []relay.User{boss, stranger} {
		for _, ask := range [][3]string{
			{"GET", "", ""}, {"GET", "/sessions", ""}, {"PATCH", "", `{"scopes":["teammates.read"]}`}, {"DELETE", "", ""}, {"POST", "/disable", ""},
			{"POST", "/reset_factors", ""}, {"POST", "/reset_password", ""}, {"POST", "/end_sessions", ""},
		} {
			at.refused(ask[0], "/v3/teammates/"+u.Username+ask[1], ask[2], 404, textNotFound, "")
		}
	}
	at.refused("POST", "/v3/teammates", `{"email":"new@people.example","scopes":["mail.send"]}`, 403, "do not have the scope", "scopes")
	at.want("PATCH", "/v3/teammates/"+kin.Username, `{"scopes":["teammates.create"]}`, 200, nil)
	c.with("on-behalf-of", "receipts").refused("GET", "/v3/teammates", "", 404, textNotFound, "")
}
