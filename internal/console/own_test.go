package console

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"postern/internal/httpx"
	"postern/internal/people"
	"postern/internal/relay"
)

func TestForgotAndReset(t *testing.T) {
	t.Parallel()
	w := outside(t)
	w.people.links = map[string]relay.Link{"good": {Kind: relay.LinkReset, Email: "anna@example.com"}, "invite": {Kind: relay.LinkInvite}}
	// AC-08: one answer for all.
	a := w.post("/forgot", "email", "anna@example.com").want(202)
	b := w.post("/forgot", "email", "nobody@example.com").want(202)
	if strings.ReplaceAll(a.body, "anna@", "nobody@") != b.body {
		t.Error("the answers differ")
	}
	w.get("/reset/good").want(200).shows("label[for=f-password]", "New password")
	if len(w.people.asked) != 2 {
		t.Errorf("a GET asked: %v", w.people.asked)
	}
	// AC-13: 410 for what is used, over, or another kind of link.
	w.get("/reset/used").want(410).shows("main", "Ask for a new link")
	w.get("/reset/invite").want(410)
	w.get("/invite/good").want(410)
	w.people.fails = &relay.Error{Kind: relay.Invalid, Field: "password", Public: "It is too short."}
	w.post("/reset/good", "password", "abc").want(400).shows(".wrong", "It is too short.")
	w.post("/reset/good", "password", "three unrelated words").goes("/login")
	if _, there := w.cookies["postern"]; there {
		t.Error("AC-05: a reset made a session")
	}
	w.people.fails = people.ErrLink
	w.post("/reset/good", "password", "three unrelated words").want(410)
}

func TestInvitation(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/invite/", "/setup/"} {
		w := outside(t)
		w.people.links = map[string]relay.Link{"good": {Kind: relay.LinkInvite, Email: `<i>"new@example.com`, Role: relay.RoleDeveloper}}
		w.get(path+"good").want(200).shows("strong", `<i>"new@example.com`).shows(".lead", "developer").lacks("i")
		w.people.fails = &relay.Error{Kind: relay.Conflict, Field: "username", Public: "It is taken."}
		w.post(path+"good", "username", `a"><script>`, "first_name", "A", "last_name", "B", "password", "x").want(409).
			shows(".wrong", "It is taken.").lacks("main script")
		// AC-13: what a person will be stands in the link, not in the form.
		w.post(path+"good", "username", "new", "password", "x", "role", "owner").want(400).shows("[role=alert]", "does not know")
		w.post(path+"good", "username", "new", "first_name", "A", "last_name", "B", "password", "three unrelated words").goes("/welcome")
		w.get("/welcome").want(200).shows("h1", "second factor").shows("[aria-current=step]", "Second factor")
		w.get(path + "good").want(410)
	}
}

func TestEnrolment(t *testing.T) {
	t.Parallel()
	w := newWorld(t, samplePages...)
	u := &w.visit().User
	u.TOTP, u.RecoveryCodes = nil, 0
	w.visit().Session.Level = relay.SessionEnrol
	w.get("/sample").goes("/welcome")
	w.get("/welcome").want(200).shows("a[href=/factors/passkey]", "passkey").shows("form[action=/factors/app/begin] button", "app")
	w.get("/factors/app/begin").want(405) // a GET changes nothing
	r := w.post("/factors/app/begin").want(200).shows("#totp-secret", "ABCD EFGH")
	if r.find("svg[role=img] path") == nil {
		t.Error("no QR code")
	}
	w.post("/factors/app", "code", "000000").want(403).shows("[role=alert]", "wrong").lacks("#totp-secret")
	w.post("/factors/app", "code", rightCode).want(200).shows(".code", "aaaa-bbbb").shows("a[href=/welcome]", "saved")
	// The session is another one now, and full.
	w.get("/sample").want(200)

	w = newWorld(t)
	w.visit().Session.Level, w.visit().User.RecoveryCodes = relay.SessionEnrol, 0
	w.get("/factors/passkey").want(200).shows("form[data-passkey=create]", "Add the passkey")
	if r := w.json("/factors/passkey/options", "{}"); r.status != 200 || !strings.Contains(r.body, "abc") {
		t.Errorf("options: %d %s", r.status, r.body)
	}
	w.post("/factors/passkey", "name", "My <b>phone", "handle", "handle", "credential", "{}").want(403).shows("[role=alert]", "passkey")
	w.post("/factors/passkey", "name", "My phone", "handle", "handle", "credential", rightKey).want(200).shows(".code", "aaaa-bbbb")
	if w.people.renamed != "My phone" {
		t.Errorf("name %q", w.people.renamed)
	}
}

func TestProfile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.people.signOns = []SignOn{{Issuer: "corp", Live: true}, {ID: "abc", Issuer: "staff", Live: true, CreatedAt: clock, UsedAt: clock},
		{ID: "stay", Issuer: "keeper", Live: true, Stays: "It stays, for a reason.", CreatedAt: clock}, {ID: "old", Issuer: "https://gone.test", CreatedAt: clock}}
	w.people.passkeys = []relay.Passkey{{ID: []byte{1, 2, 255}, Name: `<script>x</script>`, CreatedAt: clock}}
	w.visit().User.Username = `a"><img src=x>`
	w.get("/profile").want(200).shows("tbody th", "<script>x</script>").shows("dd", `a"><img`).lacks("main img")
	w.post("/profile/name", "first_name", "Ann", "last_name", "Lee").goes("/profile")
	w.get("/profile").shows("[role=status]", "saved")
	w.post("/profile/name", "first_name", strings.Repeat("x", 200)).want(400).shows(".wrong", "too long")
	w.post("/factors/passkey/AQL_/rename", "name", "Key").goes("/profile")
	w.post("/factors/passkey/nope/rename", "name", "Key").want(404)
	w.get("/factors/passkey/AQL_/remove").want(200).shows("dd", "<script>x</script>")
	w.post("/factors/passkey/AQL_/remove").goes("/profile")
	w.get("/profile").shows("form[action=/login/sso/corp] button", "Link").lacks("form[action=/login/sso/staff]").
		shows("a[href=/profile/sso/abc/remove]", "Unlink staff").shows("a[href=/profile/sso/old/remove]", "Unlink").
		shows("dd", "lets nobody in any more").lacks("a[href=/profile/sso/stay/remove]").shows("dd", "It stays, for a reason.").never("Your role follows")
	w.get("/profile/sso/stay/remove").want(409).says("It stays, for a reason.")
	w.get("/profile/sso/abc/remove").want(200).shows("main", "cannot log in by staff any more")
	w.post("/profile/sso/abc/remove").goes("/profile")
	w.get("/profile").shows("[role=status]", "staff is unlinked")
	w.post("/profile/sso/none/remove").want(404)
	w.post("/profile/sso/remove").want(404)
	w.people.fails = relay.E(relay.Conflict, "Without this you could not log in.")
	w.post("/profile/sso/abc/remove").want(409).shows("[role=alert]", "could not log in")
	w.get("/factors/app/remove").want(200)
	w.people.fails = relay.E(relay.Conflict, "It is your last factor.")
	w.post("/factors/app/remove").want(409).shows("[role=alert]", "last factor")
	w.post("/factors/app/remove").goes("/profile")
	// WB-07: shown once, in the answer of the POST.
	w.get("/factors/codes").want(200).lacks(".code")
	w.post("/factors/codes").want(200).shows(".code", "eeee-ffff")
	w.get("/profile/password").want(200)
	w.people.fails = &relay.Error{Kind: relay.Unauthenticated, Field: "old", Public: "It is wrong."}
	w.post("/profile/password", "old", "x", "password", "y").want(403).shows(".wrong", "It is wrong.").lacks("input[value=x]")
	w.post("/profile/password", "old", "x", "password", "y").goes("/profile")
	w.get("/profile/email").want(200)
	w.post("/profile/email", "email", "new@example.com").goes("/profile")
	w.people.links = map[string]relay.Link{"mail": {Kind: relay.LinkEmail, Email: "new@example.com"}}
	w.get("/email/mail").want(200).shows("strong", "new@example.com")
	w.post("/email/mail").goes("/profile")
	if got := strings.Join(w.people.asked, "|"); !strings.Contains(got, "name Ann Lee|rename \x01\x02\xff Key|remove \x01\x02\xff|") || !strings.Contains(got, "confirm mail") {
		t.Errorf("asked: %q", got)
	}
}

// TestReauth: AC-07: what People refuses for want of fresh factors leads to the
// confirmation.
func TestReauth(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.visit().Session.FreshUntil = time.Time{}
	for _, path := range []string{"/factors/passkey", "/factors/app/remove", "/factors/codes", "/profile/password", "/profile/email", "/welcome/key"} {
		w.get(path).goes("/confirm?next=" + queryEscape(path))
	}
	w.people.fails = people.ErrReauth
	w.post("/factors/codes").want(403).shows("h1", "Confirm that it is you")
	w.people.fails = people.ErrReauth
	w.post("/profile/email", "email", "x@example.com").want(403).shows("h1", "Confirm that it is you")
	w.people.fails = people.ErrReauth
	w.post("/factors/app/begin").want(403).shows("h1", "Confirm that it is you")
}

func TestSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.people.others = []relay.Session{{
		ID: relay.SessionID{ID: relay.NewID(clock)}, Level: relay.SessionFull, Method: "password+totp", Addr: someAddr, SeenAt: clock.Add(-time.Hour),
		Agent: `Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0 <script>`,
	}, {ID: relay.SessionID{ID: relay.NewID(clock)}, Agent: `"><script>alert(1)</script>`, Level: relay.SessionPassword, Method: "oidc <b>"}}
	w.get("/profile/sessions").want(200).shows("tbody th", "Firefox on Linux").shows("td", "1 hour ago").shows(".badge", "this one").
		shows("tbody th", `"><script>`).shows("td", "single sign-on by <b>").lacks("main script")
	w.post("/profile/sessions/" + w.people.others[0].ID.String() + "/end").goes("/profile/sessions")
	w.post("/profile/sessions/x/end").want(404)
	w.post("/profile/sessions/others").goes("/profile/sessions")
	w.get("/profile/sessions").shows("[role=status]", "2 sessions have ended")
	w.post("/profile/sessions/" + w.visit().Session.ID.String() + "/end").goes("/login")
}

func TestPasswordHints(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for body, want := range map[string]string{
		`{"password":"short","own":[]}`:                      `{"wrong":["It is too short."]}`,
		`{"password":"anna and her long words","own":[]}`:    `{"wrong":["It holds a name."]}`,
		`{"password":"three unrelated words","own":["her"]}`: `{"wrong":[]}`,
		`{"password":"her unrelated words","own":["her"]}`:   `{"wrong":["It holds a name."]}`,
		`{"password":"` + strings.Repeat("x", 200) + `"}`:    `{"wrong":[]}`,
	} {
		if r := w.json("/password/hints", body); r.status != 200 || strings.TrimSpace(r.body) != want {
			t.Errorf("%s: %d %s", body, r.status, r.body)
		}
	}
	if r := w.json("/password/hints", `{"password":"`+strings.Repeat("x", 5000)+`"}`); r.status != 413 {
		t.Errorf("a large body: %d", r.status)
	}
}

func fullWelcome(w *world, valid bool) {
	records := []map[string]any{
		{"for": hostileText, "name": hostileText, "type": "TXT", "value": hostileText, "required": true, "valid": valid, "reason": hostileText, "found": []string{hostileText}},
		{"for": "DMARC", "name": "_dmarc.example.com", "type": "TXT", "value": "v=DMARC1; p=none", "required": false, "valid": false},
	}
	domain := map[string]any{"id": 7, "domain": "example.com", "valid": valid, "state": "pending", "reason": hostileText, "records": records, "last_validation_attempt_at": clock.Add(-time.Minute).Unix()}
	w.api.on("GET /v3/whitelabel/domains", []any{domain, map[string]any{"id": 1, "domain": "postern.internal", "system": true}})
	w.api.on("GET /v3/whitelabel/domains/7", domain)
	w.api.on("POST /v3/whitelabel/domains", domain)
	w.api.on("POST /v3/whitelabel/domains/7/validate", map[string]any{"valid": valid})
	w.api.on("GET /v3/api_keys", map[string]any{"result": []any{
		map[string]any{"api_key_id": "k1", "name": hostileText, "scopes": []string{"mail.send"}, "senders": []string{"example.com"}},
		map[string]any{"api_key_id": "k2", "name": "reader", "scopes": []string{"messages.read"}},
	}})
	w.api.on("POST /v3/api_keys", map[string]any{"api_key_id": "k1", "name": "x", "api_key": "SG.secret"})
	w.api.on("POST /v3/api_keys/k1/test", map[string]any{"message_id": "m/1"})
	w.api.on("GET /v3/messages/m1", map[string]any{
		"msg_id": "m1", "from_email": hostileText, "subject": hostileText, "why": []string{hostileText}, "queued": true,
		"recipients": []any{map[string]any{"address": hostileText, "state": "queued", "last_reply": hostileText, "last_host": hostileText, "next_attempt_at": clock.Add(time.Minute)}},
		"events":     []any{map[string]any{"at": clock, "event": "received"}, map[string]any{"at": clock, "event": "<b>odd_one"}},
	})
}

func TestFirstRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.api.on("GET /v3/whitelabel/domains", []any{})
	w.api.on("GET /v3/api_keys", map[string]any{"result": []any{}})
	w.get("/welcome").want(200).shows("a[href=/welcome/domain]", "Add a domain").shows("[aria-current=step]", "Domain")
	w.get("/welcome/test").want(200).shows(".empty", "No key")
	w.get("/welcome/key").want(200).lacks("select#f-domain")

	fullWelcome(w, false)
	w.get("/welcome").shows("a[href=/welcome/domain/7]", "Go on").shows("[aria-current=step]", "Test message")
	w.api.on("POST /v3/whitelabel/domains", &relay.Error{Kind: relay.Invalid, Field: "domain", Public: "No domain."})
	w.post("/welcome/domain", "domain", hostileText).want(400).shows(".wrong", "No domain.").lacks("main script")
	fullWelcome(w, false)
	w.post("/welcome/domain", "domain", "example.com").goes("/welcome/domain/7")
	w.get("/welcome/domain/7").want(200).shows(".badge", "not seen yet").shows("h2", hostileText).shows("code", hostileText).lacks("main script").lacks("main img").
		shows("#records[data-live=6] .faint", "1 record is still missing; last look 1 minute ago")
	w.post("/welcome/domain/7/check").goes("/welcome/domain/7")
	fullWelcome(w, true)
	w.get("/welcome/domain/7").want(200).shows("h1", "example.com is ready").shows(".badge", "found").lacks("#records[data-live]")

	w.get("/welcome/key").want(200).shows("option", "example.com")
	r := w.post("/welcome/key", "name", "First", "domain", "example.com").want(200).shows("#new-key", "SG.secret").shows("#snippet-swaks", "SG.secret").
		shows("#snippet-postfix", "[mail.example.com]:587 apikey:SG.secret").shows("#snippet-smtp", "465 (TLS from the start)")
	if strings.Contains(attribute(r.find("a[href]"), "href"), "secret") || strings.Contains(r.header.Get("Location"), "secret") {
		t.Error("WB-07: the key stands in a URL")
	}
	made := w.api.made("POST /v3/api_keys")
	if got := fmt.Sprint(made[0].Body); !strings.Contains(got, "scopes:[mail.send]") || !strings.Contains(got, "senders:[example.com]") {
		t.Errorf("least privilege: %s", got)
	}
	w.get("/welcome/key").want(200).lacks("#new-key")
	w.get("/welcome/test").want(200).shows("option", hostileText).lacks("option[value=k2]")
	w.api.on("POST /v3/api_keys/k1/test", httpx.Refuse(403, "It may not send as that."))
	w.post("/welcome/test", "key", "k1", "from", "a@example.com", "to", "b@example.com").want(403).shows("[role=alert]", "It may not send as that.")
	fullWelcome(w, true)
	w.post("/welcome/test", "key", "k1", "from", "a@example.com", "to", "b@example.com").goes("/welcome/message/m%2F1")
	w.get("/welcome/message/m1").want(200).shows("h1", "On its way").shows("q", hostileText).shows(".journey li", "Accepted").shows(".journey li", "<b>odd one").
		lacks("main script").lacks("main img").shows("main", "The next try is in 1 minute")
	w.api.on("GET /v3/messages/m1", map[string]any{"recipients": []any{map[string]any{"state": "delivered"}}})
	w.get("/welcome/message/m1").shows("h1", "It arrived").lacks("#journey[data-live]")
	w.api.on("GET /v3/messages/m1", map[string]any{"recipients": []any{map[string]any{"state": "bounced"}}})
	w.get("/welcome/message/m1").shows("h1", "It did not arrive")
}

// TestFirstRunOfOthers: who may not make domains is not offered it.
func TestFirstRunOfOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.api.denied = []string{"POST /v3/whitelabel/domains", "POST /v3/api_keys", "GET /v3/api_keys", "POST /v3/api_keys/{api_key_id}/test"}
	w.get("/welcome").goes("/") // where there is something for them
	w.get("/welcome/domain").want(404)
	w.post("/welcome/domain", "domain", "example.com").want(404)
	w.get("/welcome/key").want(404)
	w.get("/welcome/test").want(404)
	if len(w.api.calls) != 0 {
		t.Errorf("calls: %+v", w.api.calls)
	}
}

// TestStepsAreOnesOwn: the steps of the set-up are those that the person may take, from
// the link of the invitation on.
func TestStepsAreOnesOwn(t *testing.T) {
	t.Parallel()
	names := func(r *reply) string {
		var out []string
		for _, s := range r.all("ol.steps li") {
			name := strings.TrimSuffix(text(s), "(done)")
			if attribute(s, "aria-current") != "" {
				name = "*" + name
			}
			out = append(out, strings.TrimSpace(name))
		}
		return strings.Join(out, ", ")
	}
	for _, c := range []struct {
		denied []string
		rest   string
	}{
		{nil, ", Domain, Key, Test message"},
		{[]string{"POST /v3/whitelabel/domains", "POST /v3/api_keys", "POST /v3/api_keys/{api_key_id}/test"}, ""}, // an auditor
		{[]string{"POST /v3/whitelabel/domains"}, ", Key, Test message"},
	} {
		w := outside(t)
		w.api.denied = c.denied
		w.visit().User.RecoveryCodes = 0 // they are made with the first factor
		w.people.links = map[string]relay.Link{"good": {Kind: relay.LinkInvite, Email: "new@example.com", Role: relay.RoleAuditor}}
		for _, at := range []struct{ got, want string }{
			{names(w.get("/invite/good")), "*Password, Second factor, Recovery codes"},
			{names(w.post("/invite/good", "username", "new", "role", "owner")), "*Password, Second factor, Recovery codes"},
			{names(func() *reply {
				w.post("/invite/good", "username", "new", "password", "three unrelated words").goes("/welcome")
				return w.get("/welcome")
			}()), "Password, *Second factor, Recovery codes"},
			{names(w.post("/factors/app/begin")), "Password, *Second factor, Recovery codes"},
			{names(w.post("/factors/app", "code", rightCode)), "Password, Second factor, *Recovery codes"},
		} {
			if at.got != at.want+c.rest {
				t.Errorf("without %q: %q instead of %q", c.denied, at.got, at.want+c.rest)
			}
		}
	}
	// Who may make keys and no domains begins with the key.
	w := newWorld(t)
	w.api.denied = []string{"POST /v3/whitelabel/domains"}
	w.api.on("GET /v3/api_keys", map[string]any{"result": []any{}})
	if got := names(w.get("/welcome").want(200)); got != "Password, Second factor, Recovery codes, *Key, Test message" {
		t.Error(got)
	}
	// Of somebody who will see subusers only, nothing of the account's own is theirs.
	w = outside(t)
	w.people.links = map[string]relay.Link{"good": {Kind: relay.LinkInvite, Role: relay.RoleDeveloper, Restricted: true}}
	if got := names(w.get("/invite/good")); got != "*Password, Second factor, Recovery codes" {
		t.Error(got)
	}
}

func TestUnknownErrorsStayInside(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.api.on("GET /v3/whitelabel/domains", errors.New("disk on fire"))
	if r := w.get("/welcome").want(500).shows("code", ""); strings.Contains(r.body, "fire") {
		t.Error("an internal error is shown")
	}
}

// hostileText is shown as text wherever it appears (WB-01).
const hostileText = `"><script>alert(1)</script><img src=x onerror=alert(2)>{{.}}`

// Whom an issuer brought is offered no password: it would not let them in.
func TestProfileOfSomebodyBrought(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.get("/profile").shows("a[href=/profile/password]", "Change")
	w.people.signOns = []SignOn{{ID: "gov", Issuer: "Corp", Live: true, Governs: true, Stays: "It brought you.", CreatedAt: clock}}
	w.get("/profile").want(200).lacks("a[href=/profile/password]").shows("dd", "none needed: you log in by Corp").shows("dd", "Your role follows your groups there")
	w.get("/profile/password").want(409).says("You log in by Corp")
}

// Everybody can show again who they are: each by what they have that counts.
func TestConfirmByWhatThereIs(t *testing.T) {
	t.Parallel()
	live := []SignOn{{Issuer: "Lab", Live: true}, {ID: "a", Issuer: "Corp", Live: true}, {ID: "b", Issuer: "Corp", Live: true}, {ID: "c", Issuer: "https://gone.test"}}
	for what, c := range map[string]struct {
		edit                    func(*relay.User)
		method                  string
		signOns                 []SignOn
		password, code, passkey bool
		corp                    int
	}{
		"password and app":        {func(*relay.User) {}, "password+totp", nil, true, true, false, 0},
		"single sign-on and app":  {func(u *relay.User) { u.Password = "" }, "oidc Corp+totp", live, false, false, false, 1},
		"single sign-on and code": {func(u *relay.User) { u.Password = "" }, "oidc Corp+recovery", live, false, false, false, 1},
		"single sign-on and key":  {func(u *relay.User) { u.Password, u.TOTP, u.Passkeys = "", nil, 1 }, "oidc Corp+passkey", live, false, false, true, 1},
		"all of them":             {func(u *relay.User) { u.Passkeys = 1 }, "password+totp", live, true, true, true, 1},
		"a password alone":        {func(u *relay.User) { u.TOTP = nil }, "password", nil, true, false, false, 0},
		"password and key":        {func(u *relay.User) { u.TOTP, u.Passkeys = nil, 1 }, "password+passkey", nil, false, false, true, 0},
		"nothing any more":        {func(u *relay.User) { u.Password = "" }, "oidc Corp+totp", live[3:], false, false, false, 0},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			v := w.visit()
			c.edit(&v.User)
			v.Session.Method, w.people.signOns = c.method, c.signOns
			r := w.get("/confirm?next=/keys").want(200)
			there := func(selector string, want bool) {
				t.Helper()
				if n := len(r.all(selector)); (n > 0) != want {
					t.Errorf("%s: %d", selector, n)
				}
			}
			there("input[name=password]", c.password)
			there("input[name=code]", c.code)
			there("form[action=/confirm/passkey]", c.passkey)
			there("form[action=/login/sso/Lab]", false)
			if n := len(r.all("form[action=/login/sso/Corp]")); n != c.corp {
				t.Errorf("%d buttons of Corp", n)
			}
			// A key that proves no user is the second factor of a login, and nothing here.
			if only := c.passkey && !c.password && c.corp == 0; only {
				r.says("If yours does not: log out and log in again")
			} else {
				r.never("log in again, which counts")
			}
			if !c.password && !c.passkey && c.corp == 0 {
				r.says("nothing to show that counts here")
			}
		})
	}
}

func TestMethodInWords(t *testing.T) {
	t.Parallel()
	for method, want := range map[string]string{
		"password": "password", "password+totp": "password and code", "password+recovery": "password and recovery code", "password+passkey": "password and passkey",
		"passkey": "passkey", "oidc Corp": "single sign-on by Corp", "oidc Corp+none": "single sign-on by Corp", "oidc Corp+totp": "single sign-on by Corp and code", "oidc A+B+passkey": "single sign-on by A+B and passkey",
	} {
		if got := methodText(method); got != want {
			t.Errorf("%s: %q, want %q", method, got, want)
		}
	}
}
