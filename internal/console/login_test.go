package console

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

func outside(t *testing.T) *world {
	w := newWorld(t, samplePages...)
	w.cookies = map[string]string{}
	return w
}

func TestLogin(t *testing.T) {
	t.Parallel()
	w := outside(t)
	w.get("/login?next=/sample").want(200).shows("h1", "Log in").lacks("nav.nav")
	w.post("/login", "username", "anna", "password", "wrong", "next", "/sample").want(401).shows("[role=alert]", "wrong").lacks("input[value=wrong]")
	w.post("/login", "username", "anna", "password", rightPassword, "next", "/sample").goes("/login/factor?next=%2Fsample")
	half := w.cookies["postern"]
	w.get("/login/factor?next=/sample").want(200).shows("label[for=f-code]", "Code").shows("a", "recovery code")

	// AC-05: the half session opens nothing, not even with the API's words.
	w.get("/sample").goes("/login/factor?next=%2Fsample")
	w.get("/profile").goes("/login/factor?next=%2Fprofile")
	w.post("/factors/app/begin").goes("/login/factor")
	w.post("/factors/codes").goes("/login/factor")

	w.post("/login/factor", "code", "000000", "next", "/sample").want(401).shows("[role=alert]", "wrong")
	w.post("/login/factor", "code", rightCode, "next", "/sample").goes("/sample")
	if w.cookies["postern"] == half {
		t.Error("AC-10: the session keeps its token") // fixation
	}
	w.get("/sample").want(200)
	w.get("/login?next=/sample").goes("/sample")

	w.post("/logout").goes("/login")
	if len(w.cookies["postern"]) != 0 {
		t.Error("the cookie is still there")
	}
	w.get("/login").shows("[role=status]", "logged out")
	w.get("/sample").goes("/login?next=%2Fsample")
}

func TestLoginByRecoveryCode(t *testing.T) {
	t.Parallel()
	w := outside(t)
	w.post("/login", "username", "anna", "password", rightPassword).goes("/login/factor")
	w.get("/login/factor?way=recovery").shows("h1", "recovery code")
	w.post("/login/factor", "recovery", "nonsense").want(401).shows("h1", "recovery code").lacks("input[value=nonsense]")
	w.post("/login/factor", "recovery", rightRecovery, "next", "/profile").goes("/profile")
	w.get("/profile").shows("[role=status]", "9 codes left")
}

// TestLoginTookTooLong: where the half session is gone, the login starts anew.
func TestLoginTookTooLong(t *testing.T) {
	t.Parallel()
	w := outside(t)
	w.post("/login", "username", "anna", "password", rightPassword).goes("/login/factor")
	delete(w.people.visits, w.cookies["postern"])
	w.post("/login/factor", "code", rightCode).goes("/login")
}

// TestLoginThrottled: AC-01: 429 with Retry-After, in the form; 503 with it where
// nobody's turn comes.
func TestLoginThrottled(t *testing.T) {
	t.Parallel()
	w := outside(t)
	w.people.fails = relay.E(relay.RateLimited, "Wait a while.")
	r := w.post("/login", "username", "anna", "password", rightPassword).want(429).shows("[role=alert]", "Wait a while.")
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	w.people.fails = relay.E(relay.Unavailable, "Too many at once.")
	r = w.post("/login", "username", "anna", "password", rightPassword).want(503).shows("main", "Too many at once.")
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

func TestLoginByPasskey(t *testing.T) {
	t.Parallel()
	w := outside(t)
	r := w.json("/login/passkey/options", `{}`)
	if r.status != 200 || !strings.Contains(r.body, `"handle":"handle"`) || !strings.Contains(r.body, `"options":{"challenge":"abc"}`) {
		t.Fatalf("options: %d %s", r.status, r.body)
	}
	w.post("/login/passkey", "handle", "handle", "credential", "{}", "next", "/sample").want(401).shows("h1", "Log in")
	w.post("/login/passkey", "handle", "handle", "credential", rightKey, "next", "/sample").goes("/sample")

	// As the second factor.
	w = outside(t)
	w.visit().User.Passkeys = 1
	w.post("/login", "username", "anna", "password", rightPassword).goes("/login/factor")
	w.get("/login/factor").shows("form[data-passkey=get] button", "passkey")
	w.post("/login/passkey", "handle", "handle", "credential", "{}").want(401).shows("h1", "One more step")
	w.post("/login/passkey", "handle", "handle", "credential", rightKey).goes("/")
}

func TestSingleSignOn(t *testing.T) {
	t.Parallel()
	w := outside(t)
	w.people.issuers = []string{"corp"}
	w.get("/login").shows("form[action=/login/sso/corp] button", "Log in with corp")
	// A form may not lead elsewhere (form-action): a page does.
	w.post("/login/sso/corp", "next", "/sample").want(200).shows("a[href=https://id.example/authorize?state=s]", "corp")
	w.post("/login/sso/other").want(404)
	w.get("/login/sso/callback?code=bad&state=s").want(401).shows("[role=alert]", "Single sign-on did not let you in")
	// The cookie is used up by then.
	w.get("/login/sso/callback?code=good&state=s").want(401)
	w.post("/login/sso/corp", "next", "/sample")
	w.get("/login/sso/callback?code=good&state=s").goes("/sample")
	w.post("/login/sso/corp", "for", "link", "next", "/profile").want(200)
	if got := w.people.asked[len(w.people.asked)-1]; got != "oidc corp /profile invite= visit=true fresh=false" {
		t.Error(got)
	}
}

// TestCookies: AC-10: the cookie's flags, on https and on plain loopback.
func TestCookies(t *testing.T) {
	t.Parallel()
	w := outside(t)
	plain := w.post("/login", "username", "anna", "password", rightPassword).header.Get("Set-Cookie")
	if plain != "postern=made-1; Path=/; HttpOnly; SameSite=Lax" {
		t.Errorf("plain: %s", plain)
	}
	w.console.Secure = func(*http.Request) bool { return true }
	secure := w.post("/login", "username", "anna", "password", rightPassword).header.Get("Set-Cookie")
	if secure != "__Host-postern=made-2; Path=/; HttpOnly; Secure; SameSite=Lax" {
		t.Errorf("https: %s", secure)
	}
	// The name without prefix, which a sibling domain can set, is not looked at.
	w.cookies = map[string]string{"postern": "token"}
	w.get("/sample").goes("/login?next=%2Fsample")
	// Nor is a cookie that is there twice.
	r := request("GET", "/sample", nil)
	r.Header.Set("Cookie", "__Host-postern=token; __Host-postern=made-1")
	w.cookies = nil
	if rec := w.do(r); rec.Code != http.StatusSeeOther {
		t.Errorf("two cookies: %d", rec.Code)
	}
}

func TestStepUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, samplePages...)
	w.get("/fresh").want(200)
	w.visit().Session.FreshUntil = clock.Add(time.Minute) // too short to fill in a form
	w.get("/fresh?a=1").goes("/confirm?next=%2Ffresh%3Fa%3D1")
	w.get("/confirm?next=/fresh").want(200).shows("label[for=f-password]", "Password").lacks("input[name=stash]")
	w.post("/confirm", "password", "x", "code", rightCode, "next", "/fresh").want(403).shows("[role=alert]", "wrong")
	w.post("/confirm", "password", rightPassword, "code", rightCode, "next", "/fresh").goes("/fresh")
	w.get("/fresh").want(200)
}

// TestStepUpKeepsForm: AC-07: where a form comes too late, it is kept, its secrets
// are not, and it goes on only at the press of a button.
func TestStepUpKeepsForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, page{Method: "POST", Pattern: "/made", Title: "Made", Handler: func(_ *Console, v *visit) error {
		var f struct {
			Name string   `form:"name"`
			More []string `form:"more"`
			Old  redacted `form:"old"`
		}
		if err := v.form(&f); err != nil {
			return err
		}
		return relay.E(relay.Forbidden, textReauth)
	}})
	r := w.post("/made", "name", `a"b`, "more", "1", "more", "2", "old", "secret words").want(403).shows("h1", "Confirm that it is you")
	if strings.Contains(r.body, "secret") {
		t.Error("a secret is kept in the page")
	}
	stash := attribute(r.find("input[name=stash]"), "value")
	r = w.post("/confirm", "password", rightPassword, "code", rightCode, "next", "/made", "stash", stash).want(200).shows("h1", "Confirmed")
	if got := attribute(r.find("form[action=/made] input[name=name]"), "value"); got != `a"b` {
		t.Errorf("name: %q", got)
	}
	if n := len(r.all("input[name=more]")); n != 2 {
		t.Errorf("%d of 2", n)
	}
	// It cannot be led elsewhere.
	w.post("/confirm", "password", rightPassword, "code", rightCode, "next", "//evil.example/x", "stash", "a=1").want(200).lacks("form[action=//evil.example/x]")
}
