package browser

import (
	"testing"
)

// TestPeople: an auditor is invited by a letter, comes in by its link in a browser of
// their own, and sees no button that changes something; the owner looks at a subuser,
// and ends the auditor's session, which is out at once.
func TestPeople(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	account := w.account(t, "people")
	w.operate(t, nil, "subuser", "add", "branch", "--account", account)
	b, _ := w.owner(t, account, "otto")
	b.visit("/people")
	b.press("Invite somebody")
	b.arrives("/people/invite")
	b.fill("#invite [name=email]", "alma@inbox.test")
	b.click("#invite [name=role][value=auditor]")
	b.press("Mail the invitation")
	b.arrives("/people")
	b.sees("#pending", "alma@inbox.test")
	link := w.linkIn(t, w.arrived(t, "alma@inbox.test", "/invite/"), "/invite/")

	a := open(t, w.url())
	a.visit(link)
	a.sees("h1", "Join people")
	a.judge("invitation")
	a.fill("#f-username", "alma")
	a.fill("#f-password", password+"\r")
	a.arrives("/welcome")
	a.enrol(&person{name: "alma", email: "alma@inbox.test"})
	a.press("I have saved them")
	a.sees("h1", "Overview") // there is nothing for them to set up
	for _, path := range []string{"/", "/keys", "/domains", "/people", "/access", "/policy", "/subusers", "/watch", "/audit", "/settings"} {
		a.visit(path)
		if at := a.at(); at != path {
			t.Errorf("the auditor is led from %s to %s", path, at)
		}
		if n := a.count("main form[method=post]"); n != 0 {
			t.Errorf("%s shows the auditor %d forms that change something", path, n)
		}
	}
	for _, path := range []string{"/keys/new", "/people/invite", "/policy/edit", "/domains/new", "/settings/profile"} {
		a.visit(path)
		a.sees("main", "There is no such page, or it is not for you")
	}

	// Whoever has used a link cannot be it again.
	c := open(t, w.url())
	c.visit(link)
	c.sees("main", "link")
	if c.count("#f-password") != 0 {
		t.Error("a used link offers a password")
	}

	b.visit("/people")
	b.choose("#switch-to", "branch")
	b.press("Switch")
	b.arrives("/as/branch/people")
	b.sees(".behalf", "branch")
	b.visit("/as/branch/keys")
	b.sees("main", "no key yet")
	b.press("Back to people")
	b.arrives("/")

	b.visit("/people/alma")
	b.click("#sessions form button")
	b.sees("#sessions", "logged in nowhere")
	a.visit("/keys")
	a.arrives("/login")

	b.visit("/profile/sessions")
	b.sees("main table", "this one")
	if n := b.count("main tbody tr"); n != 1 {
		t.Errorf("%d sessions", n)
	}
	b.press("Log out")
	b.arrives("/login")
}
