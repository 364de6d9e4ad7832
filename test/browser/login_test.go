package browser

import (
	"testing"
)

// TestLogin: by keyboard, with what is wrong and what is right; a code that was used
// is not taken again, a recovery code once.
func TestLogin(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	b, p := w.owner(t, w.account(t, "login"), "lena")
	b.press("Log out")
	b.arrives("/login")
	b.visit("/profile/sessions")
	b.arrives("/login")
	b.judge("login")
	// The first input has the focus: a name, a password, the enter key.
	b.key(p.name + "\t" + "not the password\r")
	b.sees("[role=alert]", "wrong")
	b.axe()
	b.fill("#f-username", p.email)
	b.fill("#f-password", password+"\r")
	b.arrives("/login/factor")
	b.judge("login-factor")
	b.fill("#f-code", p.wrongCode()+"\r")
	b.sees("[role=alert]", "code")
	b.fill("#f-code", p.code()+"\r")
	b.arrives("/profile/sessions")
	b.press("Log out")

	// What is known of a person is not told to a stranger: the same words for a name
	// that does not exist.
	b.arrives("/login")
	b.fill("#f-username", "nobody")
	b.fill("#f-password", "not the password\r")
	b.sees("[role=alert]", "wrong")

	b.fill("#f-username", p.name)
	b.fill("#f-password", password+"\r")
	b.arrives("/login/factor")
	b.press("Use a recovery code")
	b.judge("login-recovery")
	b.fill("#f-recovery", p.codes[3]+"\r")
	b.until(`!location.pathname.startsWith("/login")`)
	b.visit("/profile")
	b.sees("main", "9")
	b.press("Log out")
	b.arrives("/login")
	b.fill("#f-username", p.name)
	b.fill("#f-password", password+"\r")
	b.arrives("/login/factor")
	b.press("Use a recovery code")
	b.fill("#f-recovery", p.codes[3]+"\r")
	b.sees("[role=alert]", "code")
}

// TestPasskey: one is added with a virtual authenticator, and is then all that a login
// takes; the step-up takes it, too.
func TestPasskey(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	b := open(t, w.url())
	b.authenticator()
	b.visit(w.setup(t, w.account(t, "passkeys"), "pia.keyes@inbox.test"))
	b.fill("#f-username", "pia.keyes")
	b.fill("#f-password", password+"\r")
	b.arrives("/welcome")
	b.press("Use a passkey")
	b.arrives("/factors/passkey")
	b.judge("setup-passkey")
	b.press("Add the passkey")
	b.sees("h1", "Your recovery codes")
	b.press("Log out")
	b.arrives("/login")
	b.visit("/keys")
	b.arrives("/login")
	b.press("Log in with a passkey")
	b.arrives("/keys")
	b.visit("/confirm?next=/keys/new")
	b.judge("confirm")
	b.press("Use a passkey")
	b.arrives("/keys/new")
	// It stands in the profile, and cannot be taken away while it is the only one.
	b.visit("/profile")
	b.sees("main", "Passkeys")
}

// TestReset: a forgotten password is replaced by a link in a letter, and the second
// factor is still asked for.
func TestReset(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	b, p := w.owner(t, w.account(t, "reset"), "rita")
	b.press("Log out")
	b.arrives("/login")
	b.press("Forgot your password?")
	b.arrives("/forgot")
	b.judge("forgot")
	b.fill("main input:not([type=hidden])", p.email+"\r")
	l := w.arrived(t, p.email, "/reset/")
	b.visit(w.linkIn(t, l, "/reset/"))
	b.judge("reset")
	b.fill("#f-password", "another heron, another gate\r")
	b.arrives("/login")
	b.fill("#f-username", p.name)
	b.fill("#f-password", password+"\r")
	b.sees("[role=alert]", "wrong")
	b.fill("#f-username", p.name)
	b.fill("#f-password", "another heron, another gate\r")
	b.arrives("/login/factor")
	b.fill("#f-code", p.code()+"\r")
	b.until(`!location.pathname.startsWith("/login")`)
}

// TestWithoutScripts: WB: from the login to a key that is made and revoked, nothing
// needs a script.
func TestWithoutScripts(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	b := open(t, w.url())
	b.scripts(false)
	p := b.join(w.setup(t, w.account(t, "plain"), "paul@inbox.test"), "paul", "paul@inbox.test")
	b.click("form[action='/logout'] button")
	b.arrives("/login")
	b.login(p)
	b.visit("/keys/new?for=test")
	b.fill("[name=name]", "printer")
	b.click("#new-key button[type=submit]")
	b.sees("main", "shown once")
	b.visit("/keys")
	b.click("main table a")
	b.sees("h1", "printer")
	b.visit(b.at() + "/revoke")
	b.click("main button.danger")
	b.arrives("/keys")
	b.visit("/domains/new")
	b.fill("[name=domain]", "plain.test")
	b.click("main button[type=submit]")
	b.sees("h1", "plain.test")
	b.visit("/logins")
	b.sees("#logins", "TOTP")
	b.visit("/")
	// The charts are tables.
	if b.count("canvas") != 0 || b.count("main table") == 0 {
		t.Errorf("%d canvases, %d tables", b.count("canvas"), b.count("main table"))
	}
	b.click(".theme button[value=dark]")
	b.until(`document.documentElement.dataset.theme === "dark"`)
}
