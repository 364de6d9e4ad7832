package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// personSeen is what `postern user show --json` prints.
type personSeen struct {
	Username string   `json:"username"`
	Email    string   `json:"email"`
	Role     string   `json:"role"`
	Scopes   []string `json:"scopes"`
	TOTP     bool     `json:"totp"`
	Codes    int      `json:"recovery_codes"`
	Disabled bool     `json:"disabled"`
}

// The operator's `postern user`: from the first owner to the last person.
func TestUserCommand(t *testing.T) {
	t.Parallel()
	c := &userCLI{identityRelay: newIdentityRelay(t, "")}
	c.setup(t)
	c.invitations(t)
	c.roles(t)
	c.switches(t)
	c.resets(t)
	c.end(t)
	if text := c.postern(t, "audit", "verify"); !strings.Contains(text, "sound") {
		t.Errorf("the record of changes: %s", text)
	}
}

type userCLI struct {
	*identityRelay
	owner, dora *browser
	app         string   // the secret of Dora's authenticator app
	codes       []string // her recovery codes that are left
}

func (c *userCLI) show(t *testing.T, name string) (p personSeen) {
	t.Helper()
	c.read(t, &p, "user", "show", name)
	return p
}

// fails runs a subcommand that must, with a word in what it says.
func (c *userCLI) fails(t *testing.T, word string, args ...string) {
	t.Helper()
	if res := c.tries(t, args...); res.code == 0 || !strings.Contains(res.out, word) {
		t.Errorf("postern %v: exit code %d, want a failure with %q:\n%s", args, res.code, word, res.out)
	}
}

// A link for the first owner comes out on the host, and by nothing else.
func (c *userCLI) setup(t *testing.T) {
	var link struct {
		URL       string    `json:"url"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	c.read(t, &link, "user", "setup", "omar@rcpt.test")
	if life := time.Until(link.ExpiresAt); life < 23*time.Hour || life > 24*time.Hour {
		t.Errorf("the link lives %v", life)
	}
	first := link.URL
	if text := c.postern(t, "user", "setup", "omar@rcpt.test"); !strings.Contains(text, "/setup/") || strings.Contains(text, first) {
		t.Errorf("the second link:\n%s", text)
	} else {
		link.URL = peopleLink.FindString(text)
	}
	c.owner = c.browser(t)
	wantPage(t, "the older link", c.owner.get(strings.TrimPrefix(first, c.owner.base)), 410, "does not work")
	c.owner.join(link.URL, "omar")
	c.owner.enrol()
	wantPage(t, "the owner's first page", c.owner.get("/welcome"), 200, "")
	if p := c.show(t, "omar"); p.Role != "owner" || !p.TOTP || p.Codes != 10 || p.Email != "omar@rcpt.test" {
		t.Errorf("the owner is %+v", p)
	}
	c.fails(t, "", "user", "setup", "not an address")
	c.fails(t, "", "user", "setup", "omar@rcpt.test") // somebody's already
	key := c.addKey(t, "all", "--full-access").APIKey
	wantStatus(t, "set-up over the network", c.api(t, apiRequest{key: key, method: "POST", path: "/v3/teammates/setup", body: map[string]string{"email": "eve@rcpt.test"}}), 404, "")
	if n := len(c.inbox.List()); n > 0 {
		for _, m := range c.inbox.List() {
			if strings.Contains(letterText(t, m), "/setup/") {
				t.Errorf("a set-up link was mailed:\n%s", m.Raw)
			}
		}
	}
}

func (c *userCLI) invitations(t *testing.T) {
	c.postern(t, "user", "invite", "dora@rcpt.test", "--role", "auditor")
	c.postern(t, "user", "invite", "gone@rcpt.test", "--scope", "mail.send,stats.read")
	if text := c.postern(t, "user", "list"); !strings.Contains(text, "dora@rcpt.test") || !strings.Contains(text, "invited until") || !strings.Contains(text, "omar") {
		t.Errorf("the list:\n%s", text)
	}
	old := c.lastLink(t, "dora@rcpt.test", 1)
	c.postern(t, "user", "resend", "DORA@rcpt.test")
	c.dora = c.browser(t)
	link := c.lastLink(t, "dora@rcpt.test", 2)
	wantPage(t, "the link of the first letter", c.dora.get(strings.TrimPrefix(old, c.dora.base)), 410, "does not work")
	c.dora.join(link, "dora")
	c.app, c.codes = c.dora.enrol()
	gone := c.lastLink(t, "gone@rcpt.test", 1)
	c.postern(t, "user", "withdraw", "gone@rcpt.test")
	wantPage(t, "a link that was withdrawn", c.browser(t).get(strings.TrimPrefix(gone, c.dora.base)), 410, "does not work")
	c.fails(t, "no open invitation", "user", "withdraw", "gone@rcpt.test")
	c.fails(t, "no open invitation", "user", "resend", "gone@rcpt.test")
	c.fails(t, "", "user", "invite", "dora@rcpt.test")
	c.fails(t, "", "user", "invite", "x@rcpt.test", "--role", "king")
	var list struct{ People, Invited []map[string]any }
	c.read(t, &list, "user", "list")
	if len(list.People) != 2 || len(list.Invited) != 0 {
		t.Errorf("%d people, %d invited", len(list.People), len(list.Invited))
	}
	if p := c.show(t, "dora@rcpt.test"); p.Username != "dora" || p.Role != "auditor" || !p.TOTP || p.Codes != 10 {
		t.Errorf("Dora is %+v", p)
	}
}

func (c *userCLI) roles(t *testing.T) {
	if text := c.postern(t, "user", "role", "dora", "developer"); !strings.Contains(text, "dora is developer now") {
		t.Error(text)
	}
	c.postern(t, "user", "role", "dora", "--scope", "stats.read,mail.send")
	if p := c.show(t, "dora"); p.Role != "custom" || !slices.Equal(p.Scopes, []string{"mail.send", "stats.read"}) {
		t.Errorf("Dora is %+v", p)
	}
	c.postern(t, "user", "role", "dora", "admin")
	c.postern(t, "user", "role", "dora", "owner")
	c.postern(t, "user", "role", "dora", "auditor")
	c.fails(t, "", "user", "role", "dora", "king")
	c.fails(t, "", "user", "role", "dora")
	c.fails(t, "owner", "user", "role", "omar", "auditor") // the last one
	c.fails(t, "", "user", "role", "nobody", "auditor")
}

// login logs Dora in anew, by her password and a recovery code.
func (c *userCLI) login(t *testing.T, password string) *browser {
	t.Helper()
	b := c.browser(t)
	wantTo(t, "log in", b.post("/login", "username", "dora", "password", password), "/login/factor")
	if b.in() {
		t.Error("in by the password alone")
	}
	wantTo(t, "a recovery code", b.post("/login/factor", "recovery", c.codes[0]), "/")
	if c.codes = c.codes[1:]; c.show(t, "dora").Codes != len(c.codes) {
		t.Error("the code that was used is not gone") // AC-06
	}
	return b
}

// byApp logs Dora in by the code that her app shows next: the one that set the app
// up is used up (AC-03).
func (c *userCLI) byApp(t *testing.T) *browser {
	t.Helper()
	b := c.browser(t)
	wantTo(t, "log in", b.post("/login", "username", "dora@rcpt.test", "password", aPassword), "/login/factor")
	var p page
	for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline); {
		step := time.Now().Unix() / 30
		if p = b.post("/login/factor", "code", appCode(t, c.app, time.Now())); p.status == 303 {
			return b
		}
		for time.Now().Unix()/30 == step {
			time.Sleep(200 * time.Millisecond)
		}
	}
	t.Fatalf("no way in: %d %.2000s", p.status, p.text)
	return nil
}

func (c *userCLI) sessions(t *testing.T) (ids []string) {
	t.Helper()
	var list struct {
		Result []struct{ ID, Method, Addr string }
	}
	c.read(t, &list, "user", "sessions", "dora")
	for _, s := range list.Result {
		ids = append(ids, s.ID)
		if s.ID == "" || s.Addr == "" || s.Method == "" {
			t.Errorf("session %+v", s)
		}
	}
	return ids
}

func (b *browser) in() bool { return b.get("/profile").status == 200 }

func (c *userCLI) switches(t *testing.T) {
	one, other := c.login(t, aPassword), c.byApp(t)
	if !one.in() || !other.in() {
		t.Fatal("a session does not work")
	}
	ids := c.sessions(t)
	if len(ids) < 2 {
		t.Fatalf("%d sessions", len(ids))
	}
	for _, id := range ids {
		if !one.in() {
			break
		}
		c.postern(t, "user", "sessions", "dora", "--end", id)
	}
	if one.in() {
		t.Error("an ended session goes on")
	}
	c.fails(t, "", "user", "sessions", "dora", "--end", "AAAAAAAAAAAAAAAAAAAAAA")
	c.postern(t, "user", "sessions", "dora", "--end-all")
	if other.in() || len(c.sessions(t)) != 0 {
		t.Error("a session goes on")
	}
	one = c.login(t, aPassword)
	c.postern(t, "user", "disable", "dora")
	if p := c.show(t, "dora"); !p.Disabled || one.in() {
		t.Errorf("a disabled person: %+v", p)
	}
	wantPage(t, "a disabled person's login", c.browser(t).post("/login", "username", "dora", "password", aPassword), 401, "")
	c.fails(t, "owner", "user", "disable", "omar") // the last one
	c.postern(t, "user", "enable", "dora")
	c.login(t, aPassword)
}

func (c *userCLI) resets(t *testing.T) {
	n := len(c.letters(t, "dora@rcpt.test", 2))
	c.postern(t, "user", "reset-password", "dora")
	link := ""
	for deadline := time.Now().Add(time.Minute); link == ""; time.Sleep(100 * time.Millisecond) {
		for _, text := range c.letters(t, "dora@rcpt.test", n) {
			if found := peopleLink.FindString(text); strings.Contains(found, "/reset/") {
				link = found
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("no letter with a reset link")
		}
	}
	b := c.browser(t)
	path := strings.TrimPrefix(link, b.base)
	wantPage(t, "open the reset link", b.get(path), 200, "<form")
	const other = "another 7 gravel Orchid window"
	wantTo(t, "a new password", b.post(path, "password", other), "/login")
	wantPage(t, "the link again", b.get(path), 410, "does not work")
	if b.in() {
		t.Error("the reset logged in") // AC-05
	}
	wantPage(t, "the old password", b.post("/login", "username", "dora", "password", aPassword), 401, "")
	in := c.login(t, other)
	c.postern(t, "user", "reset-factors", "dora")
	if p := c.show(t, "dora"); p.TOTP || p.Codes != 0 || in.in() {
		t.Errorf("after the reset %+v", p)
	}
	wantTo(t, "log in without a factor", b.post("/login", "username", "dora", "password", other), "/welcome")
	if b.in() {
		t.Error("in without a second factor")
	}
	b.enrol()
	if !b.in() {
		t.Error("not in with the new factor")
	}
}

func (c *userCLI) end(t *testing.T) {
	c.postern(t, "user", "remove", "dora")
	c.fails(t, "", "user", "show", "dora")
	c.fails(t, "", "user", "remove", "dora")
	c.fails(t, "owner", "user", "remove", "omar") // the last one
	c.postern(t, "user", "setup", "dora@rcpt.test")
	seen := map[string]bool{}
	for _, ch := range lines[struct{ Action, By string }](t, c.identityRelay, "log", "--changes", "--limit", "1000") {
		seen[ch.Action] = true
	}
	if !seen["user.create"] || !seen["user.delete"] {
		t.Errorf("on record: %v", seen)
	}
}
