package browser

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/security"

	"postern/internal/testkit/oidc"
)

// TestSingleSignOn: a person of a mapped group goes to the issuer by a button, agrees
// there, and comes back with the group's role; somebody without one, somebody who does
// not agree, and everybody while the issuer is down get a plain page, on which the
// password still works.
func TestSingleSignOn(t *testing.T) {
	t.Parallel()
	browser(t)
	is := oidc.New(t)
	is.Person("nora", oidc.Claims{"email": "nora@served.test", "email_verified": true, "given_name": "Nora", "family_name": "Nord", "preferred_username": "nora", "groups": []string{"staff", "mail-readers"}, "amr": []string{"mfa"}})
	is.Person("zoe", oidc.Claims{"email": "zoe@served.test", "email_verified": true, "preferred_username": "zoe", "groups": []string{"staff"}, "amr": []string{"mfa"}})
	is.Person("olaf", oidc.Claims{"email": "olaf@served.test", "email_verified": true, "preferred_username": "olaf", "groups": []string{"staff"}, "amr": []string{"mfa"}})
	dir := t.TempDir()
	files := map[string]string{"ca.pem": string(is.CAPEM()), "secret": oidc.ClientSecret}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := serve(t, fmt.Sprintf("[[sso]]\nname = \"Staff login\"\nurl = %q\nclient_id = %q\nclient_secret_file = %q\naccount = \"main\"\nprovision = true\nscopes = [\"groups\"]\n"+
		"groups = [\"mail-readers = auditor\", \"mail-admins = admin\"]\nsecond_factor = true\nca_file = %q\nprivate = true\n",
		is.URL, oidc.ClientID, filepath.Join(dir, "secret"), filepath.Join(dir, "ca.pem")))
	owner := open(t, w.url())
	p := owner.join(w.setup(t, "main", "olaf@served.test"), "olaf", "olaf@served.test")

	b := w.atIssuer(t, is)
	b.visit("/keys")
	b.arrives("/login")
	b.axe()
	b.press("Log in with Staff login")
	b.sees("h1", "Who are you?")
	b.press("Go on as nora")
	b.arrives("/keys") // where they wanted to go
	if n := b.count("main form[method=post]"); n != 0 {
		t.Errorf("an auditor is shown %d forms that change something", n)
	}
	b.visit("/keys/new")
	b.sees("main", "There is no such page, or it is not for you")
	// Who has no password shows at their issuer again who they are.
	b.visit("/profile")
	b.sees("main", "none needed: you log in by Staff login")
	b.visit("/confirm?next=/factors/passkey")
	b.sees("h1", "Confirm that it is you")
	if n := b.count("main input[type=password], main input[name=code]"); n != 0 {
		t.Errorf("asked for a password or a code that would not count, %d fields", n)
	}
	b.judge("")
	b.press("Confirm with Staff login")
	b.sees("h1", "Who are you?")
	b.press("Go on as nora")
	b.arrives("/factors/passkey")
	owner.visit("/people/nora")
	owner.sees("main", "Auditor")
	owner.sees("main", "by their groups at Staff login, set anew at each login")
	owner.sees("#sessions", "single sign-on by Staff login")
	owner.axe()
	owner.visit("/people/nora/edit")
	owner.sees("#edit-person, main", "holds until they log in by Staff login again")
	owner.visit("/people")
	owner.sees("#people", "by Staff login")
	owner.judge("")

	// Somebody of the house links it to their account, and takes it away again.
	l := w.atIssuer(t, is)
	l.login(p)
	l.visit("/profile")
	l.press("Link")
	l.sees("h1", "Who are you?")
	l.press("Go on as olaf")
	l.arrives("/profile")
	l.sees("main", "linked")
	l.axe()
	l.press("Unlink")
	l.sees("h1", "Unlink single sign-on?")
	l.judge("")
	l.press("Unlink Staff login")
	l.arrives("/profile")
	l.sees("[role=status]", "Single sign-on by Staff login is unlinked")
	l.sees("main form button", "to your account")
	l.judge("")

	// Another owner takes it away from them, and their sessions with it.
	l.press("Link")
	l.sees("h1", "Who are you?")
	l.press("Go on as olaf")
	l.arrives("/profile")
	l.sees("main", "linked")
	other := open(t, w.url())
	other.join(w.setup(t, "main", "paul@served.test"), "paul", "paul@served.test")
	other.visit("/people/olaf")
	other.sees("#single-sign-on", "lets them in")
	other.judge("person-linked")
	other.press("Unlink Staff login")
	other.sees("h1", "Unlink Staff login: ")
	other.sees("main", "a letter tells them")
	other.judge("person-unlink")
	other.press("Unlink Staff login")
	other.arrives("/people/olaf")
	other.sees("[role=status]", "Single sign-on was unlinked")
	if n := other.count("#single-sign-on"); n != 0 {
		t.Error("it is still linked")
	}
	l.visit("/profile")
	l.arrives("/login")

	for person, says := range map[string]string{"Go on as zoe": "zoe", "I do not agree": "nobody"} {
		c := w.atIssuer(t, is)
		c.visit("/login")
		c.press("Log in with Staff login")
		c.sees("h1", "Who are you?")
		c.press(person)
		c.sees("[role=alert]", "")
		c.arrives("/login/sso/callback")
		c.sees("h1", "Log in")
		c.axe()
		if c.count("#f-password") != 1 {
			t.Errorf("%s: the page has no way to log in: %s", says, c.text("main"))
		}
		c.visit("/keys")
		c.arrives("/login") // nobody is logged in
	}

	down := func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusServiceUnavailable) }
	for _, path := range []string{oidc.Discovery, oidc.JWKS, oidc.TokenPath} {
		is.Fail(path, down)
	}
	c := w.atIssuer(t, is)
	c.visit("/login")
	c.press("Log in with Staff login")
	c.sees("h1", "Who are you?") // what was read of it before is still known
	c.press("Go on as nora")
	c.sees("[role=alert]", "")
	c.login(p) // and the password is still there
	c.visit("/keys/new")
	c.sees("h1", "key")
}

// atIssuer opens a browser that may go to the issuer, too, and trusts its authority.
func (w *world) atIssuer(t testing.TB, is *oidc.Issuer) *tab {
	t.Helper()
	b := open(t, w.url())
	b.mu.Lock()
	b.also = is.URL
	b.mu.Unlock()
	tell(b, security.SetIgnoreCertificateErrors, security.SetIgnoreCertificateErrorsParams{Ignore: true})
	return b
}
