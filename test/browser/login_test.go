package browser

import (
	"testing"
	"time"

	"postern/internal/console"
)

// TestLogin: password and code, by keyboard, judged and measured on the way; then
// out again.
func TestLogin(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	b := open(t, c.url)
	b.visit("/profile")
	b.arrives("/login")
	b.axe()
	b.shoot("login")
	// The first input has the focus: a name, a password, the enter key.
	b.key("anna\t" + "wrong\r")
	b.sees("[role=alert]", "wrong")
	b.axe()
	b.fill("#f-username", "anna")
	b.fill("#f-password", rightPassword+"\r")
	b.arrives("/login/factor")
	b.axe()
	b.shoot("login-factor")
	b.fill("#f-code", rightCode+"\r")
	b.arrives("/profile")
	b.axe()
	b.shoot("profile")
	b.visit("/profile/sessions")
	b.axe()
	b.shoot("profile-sessions")
	b.press("Log out")
	b.arrives("/login")
}

// TestWithoutScripts: WB: logging in needs no script.
func TestWithoutScripts(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	b := open(t, c.url)
	b.scripts(false)
	b.visit("/login?next=/profile")
	b.fill("#f-username", "anna")
	b.fill("#f-password", rightPassword+"\r")
	b.arrives("/login/factor")
	b.fill("#f-code", rightCode+"\r")
	b.arrives("/profile")
	b.click(".theme button[value=dark]")
	b.until(`location.pathname === "/profile" && document.documentElement.dataset.theme === "dark"`)
}

// TestFirstRun: from the set-up link to a message that arrived: with an app, with
// records that turn green while they are looked at, with a key that is copied.
func TestFirstRun(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	b := open(t, c.url)
	b.visit("/setup/setup")
	b.axe()
	b.shoot("setup-password")
	b.fill("#f-first_name", "Anna")
	b.fill("#f-last_name", "Smith")
	b.fill("#f-username", "anna")
	b.fill("#f-password", "short")
	b.sees("#f-password-live", "too short")
	b.fill("#f-password", "three unrelated words")
	b.sees("#f-password-live", "will do")
	b.press("Go on")
	b.arrives("/welcome")
	b.axe()
	b.shoot("setup-factor")
	b.press("Use an app")
	b.sees("#totp-secret", "JBSW")
	b.axe()
	b.shoot("setup-app")
	b.fill("#f-code", rightCode)
	c.firstRun(t)
	b.press("Check the code")
	b.sees("h1", "Your recovery codes")
	b.axe()
	b.shoot("setup-codes")
	b.press("I have saved them")
	b.sees("h1", "Get going")
	b.axe()
	b.shoot("welcome")
	b.press("Add a domain")
	b.axe()
	b.fill("#f-domain", "example.com")
	b.press("Show me the records")
	b.arrives("/welcome/domain/7")
	b.axe()
	b.shoot("welcome-records")
	b.sees("h1", "example.com is ready") // nobody has pressed anything
	b.press("On to your first key")
	b.arrives("/welcome/key")
	b.axe()
	b.press("Make the key")
	b.sees("#new-key", "SG.secret")
	b.axe()
	b.shoot("welcome-key")
	b.press("Send the test")
	b.arrives("/welcome/message/m1")
	b.axe()
	b.shoot("welcome-journey")
	b.sees("h1", "It arrived")
}

// firstRun are the answers of the API for the first run: records that are there at
// the second look, and a message that arrives some seconds later.
func (f *fakes) firstRun(t testing.TB) {
	t.Helper()
	domain := func(valid bool) map[string]any {
		return map[string]any{"id": 7, "domain": "example.com", "valid": valid, "records": []any{
			map[string]any{"for": "Return path", "name": "em1.example.com", "type": "CNAME", "value": "u7.mail.example.com", "required": true, "valid": true},
			map[string]any{"for": "DKIM key", "name": "s1._domainkey.example.com", "type": "CNAME", "value": "s1.u7.mail.example.com", "required": true, "valid": valid, "reason": "No such name yet."},
		}}
	}
	checks := 0
	f.on("GET /v3/whitelabel/domains", func(console.Request) any {
		if f.checked(0) == 0 {
			return []any{}
		}
		return []any{domain(true)}
	})
	f.on("GET /v3/api_keys", map[string]any{"result": []any{}})
	f.on("POST /v3/whitelabel/domains", domain(false))
	f.on("GET /v3/whitelabel/domains/7", func(console.Request) any { return domain(f.checked(0) > 1) })
	f.on("POST /v3/whitelabel/domains/7/validate", func(console.Request) any { checks = f.checked(1); return checks })
	f.on("POST /v3/api_keys", map[string]any{"api_key_id": "k1", "name": "First key", "api_key": "SG.secret.example"})
	f.on("POST /v3/api_keys/k1/test", map[string]any{"message_id": "m1"})
	var asked time.Time
	f.on("GET /v3/messages/m1", func(console.Request) any {
		f.mu.Lock()
		defer f.mu.Unlock()
		if asked.IsZero() {
			asked = time.Now()
		}
		state, events := "queued", []any{map[string]any{"at": asked, "event": "received"}}
		if time.Since(asked) > 20*time.Second {
			state, events = "delivered", append(events, map[string]any{"at": time.Now(), "event": "delivered"})
		}
		return map[string]any{"from_email": "hello@example.com", "to_email": "anna@example.com", "recipients": []any{map[string]any{"state": state}}, "events": events}
	})
}

// checked counts looks at the domain's records.
func (f *fakes) checked(more int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.checks += more
	return f.checks
}

// TestPasskey: set up with a virtual authenticator, then logging in with nothing
// else.
func TestPasskey(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	b := open(t, c.url)
	b.authenticator()
	b.visit("/setup/setup")
	b.fill("#f-username", "anna")
	b.fill("#f-password", "three unrelated words\r")
	b.arrives("/welcome")
	b.press("Use a passkey")
	b.arrives("/factors/passkey")
	b.axe()
	b.shoot("setup-passkey")
	b.press("Add the passkey")
	b.sees("h1", "Your recovery codes")
	b.press("Log out")
	b.arrives("/login")
	b.visit("/profile")
	b.arrives("/login")
	b.press("Log in with a passkey")
	b.arrives("/profile")
}
