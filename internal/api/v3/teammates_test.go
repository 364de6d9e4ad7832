package v3

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

// SendGrid's shapes, as a client of it reads them.
func TestTeammates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.person(w.addUser(w.acme, relay.RoleOwner), true)
	var made invited
	a := owner.want("POST", "/v3/teammates", `{"email":"ann@people.example","scopes":["mail.send","stats.read"],"is_admin":false}`, 201, &made)
	if made.Email != "ann@people.example" || strings.Join(made.Scopes, " ") != "mail.send stats.read" || made.IsAdmin || len(made.Token) != 22 {
		t.Errorf("%+v", made)
	}
	if strings.Contains(a.Body, "secret") {
		t.Errorf("the answer has the secret of the link: %s", a.Body)
	}
	var pending pendingList
	owner.want("GET", "/v3/teammates/pending", "", 200, &pending)
	if len(pending.Result) != 1 || pending.Result[0].Token != made.Token || pending.Result[0].ExpirationDate != t0.Add(7*24*time.Hour).Unix() || pending.Result[0].Expired {
		t.Errorf("%+v", pending)
	}
	var again invited
	owner.want("POST", "/v3/teammates/pending/"+made.Token+"/resend", "", 200, &again)
	if again.Token == made.Token || again.Email != made.Email {
		t.Errorf("%+v", again)
	}
	owner.want("DELETE", "/v3/teammates/pending/"+made.Token, "", 404, nil)
	owner.want("DELETE", "/v3/teammates/pending/"+again.Token, "", 204, nil)

	dev := w.addUser(w.acme, relay.RoleDeveloper)
	var list teammateList
	owner.want("GET", "/v3/teammates?limit=1", "", 200, &list)
	if len(list.Result) != 1 || list.Result[0].Username != dev.Username || list.Result[0].UserType != "teammate" || !list.Result[0].SecondFactor {
		t.Errorf("%+v", list)
	}
	var one teammateView
	owner.want("PATCH", "/v3/teammates/"+dev.Username, `{"scopes":[],"is_admin":true}`, 200, &one)
	if one.UserType != "admin" || !one.IsAdmin || one.Role != relay.RoleAdmin {
		t.Errorf("%+v", one)
	}
	owner.want("GET", "/v3/teammates/"+strings.ToUpper(dev.Email), "", 200, &one)
	owner.want("DELETE", "/v3/teammates/"+dev.Username, "", 204, nil)
	owner.want("GET", "/v3/teammates/"+dev.Username, "", 404, nil)
}

// Who has a link mailed, or is shown one, is told where it does not lead.
func TestLinkWarnings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner, op := w.person(w.addUser(w.acme, relay.RoleOwner), true), w.operator("acme")
	for _, warning := range []string{"", "Links lead nowhere."} {
		peopleOf(w).linkWarning = warning
		var made, again invited
		owner.want("POST", "/v3/teammates", `{"email":"ann`+strconv.Itoa(len(warning))+`@people.example","role":"auditor"}`, 201, &made)
		owner.want("POST", "/v3/teammates/pending/"+made.Token+"/resend", "", 200, &again)
		var link setupLink
		op.want("POST", "/v3/teammates/setup", `{"email":"boss`+strconv.Itoa(len(warning))+`@people.example"}`, 201, &link)
		for _, got := range [][]string{made.Warnings, again.Warnings, link.Warnings} {
			if strings.Join(got, "|") != warning {
				t.Errorf("%q, want %q", got, warning)
			}
		}
	}
}

// AP-03, AP-04: nobody gives what they do not have, by whatever member.
func TestTeammatesGiveNoMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner, admin := w.addUser(w.acme, relay.RoleOwner), w.addUser(w.acme, relay.RoleAdmin)
	hr := w.addUser(w.acme, relay.RoleCustom, "teammates.create", "teammates.read", "teammates.update", "mail.send")
	dev := w.addUser(w.acme, relay.RoleDeveloper)
	weak := w.addUser(w.acme, relay.RoleCustom, "mail.send")
	off := w.addUser(w.acme, relay.RoleDeveloper)
	off.DisabledAt = t0
	w.users[len(w.users)-1] = off
	program := w.as(w.acme, relay.Scopes...)
	mail := `{"email":"new@people.example",`
	for name, tt := range map[string]struct {
		c                  *client
		method, path, body string
		status             int
		message, field     string
	}{
		"scope":               {w.person(hr, true), "POST", "", mail + `"scopes":["api_keys.create"]}`, 403, "do not have the scope", "scopes"},
		"own scope":           {w.person(hr, true), "POST", "", mail + `"scopes":["mail.send"]}`, 201, "", ""},
		"admin":               {w.person(hr, true), "POST", "", mail + `"is_admin":true}`, 403, "do not have the scope", "scopes"},
		"role":                {w.person(hr, true), "POST", "", mail + `"role":"auditor"}`, 403, "do not have the scope", "scopes"},
		"owner by admin":      {w.person(admin, true), "POST", "", mail + `"role":"owner"}`, 403, "Only an owner", "role"},
		"owner by a key":      {program, "POST", "", mail + `"role":"owner"}`, 403, "Only an owner", "role"},
		"owner by owner":      {w.person(owner, true), "POST", "", mail + `"role":"owner"}`, 201, "", ""},
		"owner as read":       {w.person(owner, true), "POST", "", `{"email":"second@people.example","role":"owner","is_admin":true}`, 201, "", ""},
		"widen":               {w.person(hr, true), "PATCH", weak.Username, `{"scopes":["mail.send","stats.read"]}`, 403, "do not have the scope", "scopes"},
		"promote":             {w.person(hr, true), "PATCH", weak.Username, `{"role":"admin"}`, 403, "do not have the scope", "scopes"},
		"own role":            {w.person(hr, true), "PATCH", hr.Username, `{"scopes":["mail.send"]}`, 403, "Nobody changes", ""},
		"own role by email":   {w.person(hr, true), "PATCH", hr.Email, `{"scopes":["mail.send"]}`, 403, "Nobody changes", ""},
		"own switch":          {w.person(hr, true), "POST", hr.Username + "/disable", "", 403, "Nobody changes", ""},
		"own factors":         {w.person(hr, true), "POST", hr.Username + "/reset_factors", "", 403, "Nobody changes", ""},
		"owner's role":        {w.person(admin, true), "PATCH", owner.Username, `{"role":"auditor"}`, 403, "Only an owner", ""},
		"owner's factors":     {w.person(admin, true), "POST", owner.Username + "/reset_factors", "", 403, "Only an owner", ""},
		"owner's password":    {w.person(admin, true), "POST", owner.Username + "/reset_password", "", 403, "Only an owner", ""},
		"own single sign-on":  {w.person(hr, true), "DELETE", hr.Username + "/single_sign_on/" + peopleOf(w).addSignOn(&hr).ID, "", 403, "Nobody changes", ""},
		"owner's sign-on":     {w.person(admin, true), "DELETE", owner.Username + "/single_sign_on/" + peopleOf(w).addSignOn(&owner).ID, "", 403, "Only an owner", ""},
		"admin's sign-on":     {w.person(hr, true), "DELETE", admin.Username + "/single_sign_on/" + peopleOf(w).addSignOn(&admin).ID, "", 403, "another admin", ""},
		"owner's sessions":    {w.person(admin, true), "POST", owner.Username + "/end_sessions", "", 403, "Only an owner", ""},
		"disable an owner":    {program, "POST", owner.Username + "/disable", "", 403, "Only an owner", ""},
		"delete an owner":     {w.person(admin, true), "DELETE", owner.Username, "", 403, "Only an owner", ""},
		"make owner":          {w.person(admin, true), "PATCH", dev.Username, `{"role":"owner"}`, 403, "Only an owner", "role"},
		"factors of stronger": {w.person(hr, true), "POST", dev.Username + "/reset_factors", "", 403, "do not have the scope", "scopes"},
		"enable stronger":     {w.person(hr, true), "POST", off.Username + "/enable", "", 403, "do not have the scope", "scopes"},
		"admin's role":        {w.person(hr, true), "PATCH", admin.Username, `{"scopes":["mail.send"]}`, 403, "another admin", ""},
		"admin's switch":      {w.person(hr, true), "POST", admin.Username + "/disable", "", 403, "another admin", ""},
		"admin's factors":     {w.person(hr, true), "POST", admin.Username + "/reset_factors", "", 403, "another admin", ""},
		"admin's password":    {w.person(hr, true), "POST", admin.Username + "/reset_password", "", 403, "another admin", ""},
		"admin's sessions":    {w.person(hr, true), "POST", admin.Username + "/end_sessions", "", 403, "another admin", ""},
		"an admin's end":      {w.as(w.acme, "teammates.delete", "teammates.update"), "DELETE", admin.Username, "", 403, "another admin", ""},
		"admin by SSO":        {w.as(w.acme, "sso.teammates.update"), "PATCH", "../sso/teammates/" + admin.Username, `{"first_name":"A","last_name":"B","persona":"observer"}`, 403, "another admin", ""},
		"auto scope":          {w.person(owner, true), "POST", "", mail + `"scopes":["2fa_required"]}`, 400, "cannot be given", "scopes.0"},
		"password scope":      {w.person(owner, true), "POST", "", mail + `"scopes":["user.password.update"]}`, 400, "cannot be given", "scopes.0"},
		"unknown scope":       {w.person(owner, true), "POST", "", mail + `"scopes":["root"]}`, 400, "There is no scope", "scopes.0"},
		"no scope":            {w.person(owner, true), "POST", "", mail + `"scopes":[]}`, 400, "at least one", "scopes"},
		"nothing":             {w.person(owner, true), "POST", "", `{"email":"new@people.example"}`, 400, "Give scopes", "scopes"},
		"unknown role":        {w.person(owner, true), "POST", "", mail + `"role":"root"}`, 400, "The role must be", "role"},
		"role and scopes":     {w.person(owner, true), "POST", "", mail + `"role":"admin","scopes":["mail.send"]}`, 400, "Only people with the role custom", "scopes"},
		"role and is_admin":   {w.person(owner, true), "POST", "", mail + `"role":"auditor","is_admin":true}`, 400, "contradict", "is_admin"},
		"mass assignment":     {w.person(owner, true), "PATCH", weak.Username, `{"scopes":["mail.send"],"account_id":"x"}`, 400, "no such member", "account_id"},
		"password member":     {w.person(owner, true), "PATCH", weak.Username, `{"password":"x"}`, 400, "no such member", "password"},
		"not an address":      {w.person(owner, true), "POST", "", `{"email":"x","role":"auditor"}`, 400, "Not an email", "email"},
		"there already":       {w.person(owner, true), "POST", "", `{"email":"` + strings.ToUpper(dev.Email) + `","role":"auditor"}`, 400, "exists", "email"},
		"empty patch":         {w.person(owner, true), "PATCH", weak.Username, `{}`, 400, "at least one", ""},
		"no admin, no scopes": {w.person(owner, true), "PATCH", admin.Username, `{"is_admin":false}`, 400, "which scopes", "scopes"},
	} {
		t.Run(name, func(t *testing.T) {
			peopleOf(w).links = nil
			path := "/v3/teammates"
			if tt.path != "" {
				path = strings.Replace(path+"/"+tt.path, "teammates/../", "", 1)
			}
			if tt.status < 300 {
				tt.c.want(tt.method, path, tt.body, tt.status, nil)
				return
			}
			before := len(w.changes)
			tt.c.refused(tt.method, path, tt.body, tt.status, tt.message, tt.field)
			if len(w.changes) > before {
				t.Errorf("changed %q", w.changes[before:])
			}
		})
	}
}

// The last owner stays one.
func TestLastOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, two := w.addUser(w.acme, relay.RoleOwner), w.addUser(w.acme, relay.RoleOwner)
	c := w.person(two, true)
	c.want("POST", "/v3/teammates/"+one.Username+"/disable", "", 200, nil)
	w.operator("acme").refused("DELETE", "/v3/teammates/"+two.Username, "", 409, "last owner", "")
	w.operator("acme").want("POST", "/v3/teammates/"+one.Username+"/enable", "", 200, nil)
	w.operator("acme").want("PATCH", "/v3/teammates/"+two.Username, `{"role":"auditor"}`, 200, nil)
}

// Who is restricted sees subusers by name, and more of them is more.
func TestRestrictedTeammates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := w.person(w.addUser(w.acme, relay.RoleOwner), true)
	hr := w.person(w.addUser(w.acme, relay.RoleCustom, "mail.send", "teammates.create", "teammates.update"), true)
	post := func(body string) string { return `{"email":"new@people.example",` + body + `}` }
	owner.refused("POST", "/v3/teammates", post(`"role":"developer","restricted":true`), 400, "Name the subusers", "subusers")
	owner.refused("POST", "/v3/teammates", post(`"role":"developer","subusers":["staging"]`), 400, "set restricted", "subusers")
	owner.refused("POST", "/v3/teammates", post(`"role":"developer","restricted":true,"subusers":["branch"]`), 400, "no such subuser", "subusers.0")
	owner.refused("POST", "/v3/teammates", post(`"role":"owner","restricted":true,"subusers":["staging"]`), 400, "owner sees everything", "restricted")
	hr.refused("POST", "/v3/teammates", post(`"scopes":["mail.send"],"restricted":true,"subusers":["staging"]`), 403, "sight of subusers", "subusers")
	w.person(w.addUser(w.staging, relay.RoleOwner), true).refused("POST", "/v3/teammates", post(`"role":"developer","restricted":true,"subusers":["staging"]`), 400, "that subuser only", "restricted")
	owner.want("POST", "/v3/teammates", post(`"role":"developer","restricted":true,"subusers":["staging","staging"]`), 201, nil)
	if l := peopleOf(w).links[0]; !l.Restricted || len(l.Subusers) != 1 || l.Subusers[0] != w.staging.Subuser {
		t.Errorf("%+v", l)
	}
	// Named, a subuser is somebody's who could not act for any before: they would make
	// keys there.
	dev := w.addUser(w.acme, relay.RoleDeveloper)
	hr.refused("PATCH", "/v3/teammates/"+dev.Username, `{"restricted":true,"subusers":["staging"]}`, 403, "sight of subusers", "subusers")
	sees := w.person(w.addUser(w.acme, relay.RoleCustom, "mail.send", "subusers.read", "teammates.update"), true)
	sees.refused("PATCH", "/v3/teammates/"+dev.Username, `{"restricted":true,"subusers":["staging"]}`, 403, "do not have the scope", "scopes")
	// Who could act for all of them is only held to one.
	wide := w.addUser(w.acme, relay.RoleCustom, "api_keys.create", "subusers.read")
	sees.want("PATCH", "/v3/teammates/"+wide.Username, `{"restricted":true,"subusers":["staging"]}`, 200, nil)
	weak := w.restrict(w.addUser(w.acme, relay.RoleDeveloper), w.staging)
	// Freed of the restriction, a developer's scopes would count for the account.
	hr.refused("PATCH", "/v3/teammates/"+weak.Username, `{"restricted":false}`, 403, "do not have the scope", "scopes")
	hr.refused("PATCH", "/v3/teammates/"+weak.Username, `{"subusers":["staging","receipts"]}`, 403, "sight of subusers", "subusers")
	var v teammateView
	owner.want("PATCH", "/v3/teammates/"+weak.Username, `{"restricted":false}`, 200, &v)
	if v.Restricted || len(v.Subusers) > 0 {
		t.Errorf("%+v", v)
	}
}

// AP-01: a subuser's people never touch the account's, and learn nothing of them.
func TestTeammatesApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	boss, sub := w.addUser(w.acme, relay.RoleOwner), w.addUser(w.staging, relay.RoleOwner)
	peer := w.addUser(w.staging, relay.RoleDeveloper)
	c := w.person(sub, true)
	for _, path := range []string{boss.Username, boss.Email, w.addUser(w.globex, relay.RoleOwner).Username} {
		for _, what := range []struct{ method, suffix, body string }{
			{"GET", "", ""}, {"PATCH", "", `{"role":"auditor"}`}, {"DELETE", "", ""}, {"POST", "/disable", ""}, {"POST", "/reset_factors", ""}, {"POST", "/reset_password", ""},
			{"GET", "/sessions", ""}, {"POST", "/end_sessions", ""}, {"DELETE", "/single_sign_on/of-" + path, ""},
		} {
			c.refused(what.method, "/v3/teammates/"+path+what.suffix, what.body, 404, textNotFound, "")
		}
	}
	c.want("PATCH", "/v3/teammates/"+peer.Username, `{"role":"auditor"}`, 200, nil)
	w.person(boss, true).with("on-behalf-of", "staging").want("POST", "/v3/teammates", `{"email":"kin@people.example","role":"developer"}`, 201, nil)
	if l := peopleOf(w).links[0]; l.Subuser != w.staging.Subuser || l.CreatedBy != "account" {
		t.Errorf("%+v", l)
	}
	// That an address is a person of another account is told to nobody.
	c.want("POST", "/v3/teammates", `{"email":"`+boss.Email+`","role":"auditor"}`, 201, nil)
	var list teammateList
	w.person(boss, true).want("GET", "/v3/teammates?subusers=true", "", 200, &list)
	if len(list.Result) != 3 || list.Result[0].Subuser != "staging" {
		t.Errorf("%+v", list.Result)
	}
	w.as(w.acme, "teammates.read").refused("GET", "/v3/teammates?subusers=true", "", 403, textNoScope, "")
}

func TestTeammateSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.addUser(w.acme, relay.RoleOwner)
	f := peopleOf(w)
	mine, other := f.addSession(u), f.addSession(u)
	q := w.inside(u, "GET", "/v3/teammates/"+u.Username+"/sessions", nil)
	q.Principal.Session = mine.ID
	var list sessionList
	if err := w.direct.Call(t.Context(), q, &list); err != nil || len(list.Result) != 2 || !list.Result[0].Current || list.Result[1].Current {
		t.Fatalf("%+v, %v", list, err)
	}
	if strings.ContainsRune(list.Result[0].Agent, 0x1b) {
		t.Errorf("the agent is shown as it came: %q", list.Result[0].Agent)
	}
	q.Method, q.Path = "POST", "/v3/teammates/"+u.Username+"/end_sessions"
	if err := w.direct.Call(t.Context(), q, nil); err != nil || len(f.sessions[u.ID]) != 1 || f.sessions[u.ID][0].ID != mine.ID {
		t.Errorf("left %+v, %v", f.sessions[u.ID], err)
	}
	c := w.person(u, true)
	c.refused("DELETE", "/v3/teammates/"+u.Username+"/sessions/"+other.ID.String(), "", 404, textNotFound, "")
	c.refused("DELETE", "/v3/teammates/"+u.Username+"/sessions/x", "", 404, textNotFound, "")
	c.want("DELETE", "/v3/teammates/"+u.Username+"/sessions/"+mine.ID.String(), "", 204, nil)
	w.pass(2 * time.Hour)
	f.addSession(u)
	list = sessionList{}
	c = w.person(u, true)
	c.want("GET", "/v3/teammates/"+u.Username+"/sessions", "", 200, &list)
	if len(list.Result) != 0 {
		t.Errorf("one that has ended is listed: %+v", list)
	}
}

func TestTeammateReset(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.addUser(w.acme, relay.RoleDeveloper)
	owner := w.addUser(w.acme, relay.RoleOwner)
	c := w.person(owner, true)
	c.want("POST", "/v3/teammates/"+u.Username+"/reset_password", "", 202, nil)
	if f := peopleOf(w); len(f.reset) != 1 || f.reset[0] != u.Email+" user "+owner.Username {
		t.Errorf("mailed %q", f.reset)
	}
	peopleOf(w).notMailed = relay.E(relay.Conflict, "A link was mailed a few minutes ago.")
	c.refused("POST", "/v3/teammates/"+u.Username+"/reset_password", "", 409, "a few minutes ago", "")
	var v teammateView
	c.want("POST", "/v3/teammates/"+u.Username+"/reset_factors", "", 200, &v)
	if v.SecondFactor || v.TOTP {
		t.Errorf("%+v", v)
	}
}

// What is linked to a person is seen by whoever sees them, and taken away by whoever may
// change them; what brought them stays.
func TestTeammateSignOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := peopleOf(w)
	u := w.addUser(w.acme, relay.RoleDeveloper)
	c := w.person(w.addUser(w.acme, relay.RoleOwner), true)
	path := "/v3/teammates/" + u.Username
	var v teammateWhole
	if a := c.want("GET", path, "", 200, &v); len(v.SingleSignOn) != 0 || !strings.Contains(a.Body, `"single_sign_on":[]`) {
		t.Errorf("with none: %s", a.Body)
	}
	s := f.addSignOn(&u)
	f.addSession(u)
	c.want("GET", path, "", 200, &v)
	if want := (signOnView{ID: s.ID, Issuer: "Staff login", Live: true, LinkedAt: t0}); len(v.SingleSignOn) != 1 || v.SingleSignOn[0] != want || v.Username != u.Username {
		t.Errorf("%+v", v)
	}
	w.as(w.acme, "teammates.read").refused("DELETE", path+"/single_sign_on/"+s.ID, "", 403, textNoScope, "")
	c.refused("DELETE", path+"/single_sign_on/x", "", 404, textNotFound, "")
	f.signOns[u.ID][0].Governs = true
	c.refused("DELETE", path+"/single_sign_on/"+s.ID, "", 409, "brought them", "")
	f.signOns[u.ID][0].Governs = false
	c.want("DELETE", path+"/single_sign_on/"+s.ID, "", 204, nil)
	if c.want("GET", path, "", 200, &v); len(v.SingleSignOn) != 0 || len(f.sessions[u.ID]) != 0 {
		t.Errorf("after: %+v, %+v", v.SingleSignOn, f.sessions)
	}
}

func TestInvitationsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.person(w.addUser(w.acme, relay.RoleOwner), true)
	for range maxPending {
		peopleOf(w).addInvite(w.acme, relay.NewID(t0).String()+"@people.example", relay.RoleAuditor)
	}
	c.refused("POST", "/v3/teammates", `{"email":"one@people.example","role":"auditor"}`, 403, "no more can be made", "")
	l := peopleOf(w).links[3]
	c.refused("POST", "/v3/teammates", `{"email":"`+l.Email+`","role":"auditor"}`, 400, "invited already", "email")
}

func TestTeammateAccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.person(w.addUser(w.acme, relay.RoleOwner), true)
	dev := w.restrict(w.addUser(w.acme, relay.RoleDeveloper), w.staging)
	var got accessOfTeammate
	c.want("GET", "/v3/teammates/"+dev.Username+"/subuser_access", "", 200, &got)
	if !got.Restricted || len(got.Access) != 1 || got.Access[0].Username != "staging" || got.Access[0].Permission != "restricted" || got.Metadata.Next != nil {
		t.Errorf("%+v", got)
	}
	admin := w.addUser(w.acme, relay.RoleAdmin)
	got = accessOfTeammate{}
	c.want("GET", "/v3/teammates/"+admin.Username+"/subuser_access?limit=1", "", 200, &got)
	if got.Restricted || len(got.Access) != 1 || got.Access[0].Permission != "admin" || got.Metadata.Next == nil {
		t.Fatalf("%+v", got)
	}
	first := got.Access[0].ID
	got = accessOfTeammate{}
	c.want("GET", "/v3/teammates/"+admin.Username+"/subuser_access?limit=1&after_subuser_id=100", "", 200, &got)
	if len(got.Access) != 1 || got.Access[0].ID <= first || got.Metadata.Next != nil {
		t.Errorf("%+v", got)
	}
	plain := w.addUser(w.acme, relay.RoleDeveloper)
	got = accessOfTeammate{}
	c.want("GET", "/v3/teammates/"+plain.Username+"/subuser_access", "", 200, &got)
	if len(got.Access) != 0 {
		t.Errorf("a developer without %s acts for %+v", scopeBehalf, got.Access)
	}
}

func TestSSOTeammates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.person(w.addUser(w.acme, relay.RoleOwner), true)
	post := func(body string) string {
		peopleOf(w).links = nil
		return `{"email":"new@people.example","first_name":"Ann","last_name":"O",` + body + `}`
	}
	for name, tt := range map[string]struct {
		body string
		role relay.Role
		has  string
		not  string
	}{
		"developer":  {`"persona":"developer"`, relay.RoleDeveloper, "api_keys.create", "teammates.create"},
		"observer":   {`"persona":"observer"`, relay.RoleAuditor, "stats.read", "api_keys.create"},
		"accountant": {`"persona":"accountant"`, relay.RoleCustom, "billing.read", "mail.send"},
		"marketer":   {`"persona":"marketer"`, relay.RoleCustom, "stats.read", "api_keys.create"},
		"admin":      {`"is_admin":true`, relay.RoleAdmin, "api_keys.create", "billing.read"},
		"scopes":     {`"scopes":["mail.send"]`, relay.RoleCustom, "mail.send", "stats.read"},
		"subuser":    {`"has_restricted_subuser_access":true,"subuser_access":[{"id":100,"permission_type":"restricted","scopes":["mail.send"]}]`, relay.RoleCustom, "mail.send", "stats.read"},
	} {
		t.Run(name, func(t *testing.T) {
			var got ssoTeammate
			c.want("POST", "/v3/sso/teammates", post(tt.body), 201, &got)
			l := peopleOf(w).links[0]
			u := relay.User{Role: l.Role, Scopes: l.Scopes}
			if l.Role != tt.role || !u.Allows(tt.has) || u.Allows(tt.not) || !got.IsSSO || got.FirstName != "Ann" {
				t.Errorf("%+v %+v", l, got)
			}
			if restricted := name == "subuser"; got.Restricted != restricted || restricted && (len(got.Access) != 1 || got.Access[0].Username != "staging") {
				t.Errorf("%+v", got)
			}
		})
	}
	c.refused("POST", "/v3/sso/teammates", post(`"persona":"king"`), 400, "The persona must be", "persona")
	c.refused("POST", "/v3/sso/teammates", post(`"persona":"developer","is_admin":true`), 400, "Give one of", "persona")
	c.refused("POST", "/v3/sso/teammates", post(`"subuser_access":[{"id":102,"permission_type":"admin"}],"has_restricted_subuser_access":true`), 400, "no such subuser", "subuser_access.0.id")
	c.refused("POST", "/v3/sso/teammates", post(`"subuser_access":[{"id":100,"permission_type":"admin"},{"id":101,"permission_type":"restricted"}],"has_restricted_subuser_access":true`), 400, "same scopes", "subuser_access.1")
	c.refused("POST", "/v3/sso/teammates", post(`"subuser_access":[{"id":100,"permission_type":"root"}],"has_restricted_subuser_access":true`), 400, "admin or restricted", "subuser_access.0.permission_type")

	u := w.addUser(w.acme, relay.RoleDeveloper)
	var v teammateView
	c.want("PATCH", "/v3/sso/teammates/"+u.Username, `{"first_name":"Bo","last_name":"P","persona":"observer"}`, 200, &v)
	if v.FirstName != "Bo" || v.Role != relay.RoleAuditor {
		t.Errorf("%+v", v)
	}
}
