package browser

import (
	"testing"
	"time"
)

// TestStepUpExpires: AC-07: some time after the login a change asks for both factors.
// Who shows them goes on with what they had typed; a wrong code does not.
func TestStepUpExpires(t *testing.T) {
	t.Parallel()
	browser(t)
	const fresh = 10 * time.Second
	w := serve(t, "[people]\nfresh = \"10s\"\n")
	b := open(t, w.url())
	b.authenticator()
	p := b.join(w.setup(t, "main", "sue@served.test"), "sue", "sue@served.test")
	form := func() {
		b.visit("/people/invite")
		for b.count("#invite") == 0 { // it took too long to come here
			b.sees("h1", "Confirm that it is you")
			b.confirm(p)
			b.visit("/people/invite")
		}
	}
	form()
	b.fill("#invite [name=email]", "late@served.test")
	b.click("#invite [name=role][value=auditor]")
	<-time.After(fresh + time.Second) // the program's own clock
	b.press("Mail the invitation")
	b.sees("h1", "Confirm that it is you")
	b.sees("main", "it counts for 10 seconds")
	b.axe()
	b.fill("#f-password", password)
	b.fill("#f-code", p.wrongCode()+"\r")
	b.sees("[role=alert]", "")
	b.fill("#f-password", password)
	b.fill("#f-code", p.code()+"\r")
	b.sees("h1", "Confirmed")
	b.press("Go on")
	b.arrives("/people")
	b.sees("#pending", "late@served.test")
	b.sees("#pending", "Auditor")

	// By passkey; and what was begun is a button alone.
	b.visit("/factors/passkey")
	for b.count("form[data-passkey=create]") == 0 {
		b.confirm(p)
		b.visit("/factors/passkey")
	}
	b.press("Add the passkey")
	b.until(`!location.pathname.startsWith("/factors/passkey")`)
	b.visit("/keys/new?for=test")
	for b.count("[name=name]") == 0 {
		b.confirm(p)
		b.visit("/keys/new?for=test")
	}
	b.fill("[name=name]", "late key")
	<-time.After(fresh + time.Second)
	b.press("Make the key")
	b.sees("h1", "Confirm that it is you")
	b.press("Use a passkey")
	b.sees("h1", "Confirmed")
	b.press("Go on")
	b.secretShown()
	b.visit("/keys")
	b.sees("main table", "late key")
}

// confirm shows both factors on the page that asks for them.
func (b *tab) confirm(p *person) {
	b.t.Helper()
	b.sees("h1", "Confirm that it is you")
	b.fill("#f-password", password)
	b.fill("#f-code", p.code()+"\r")
	b.until(`location.pathname !== "/confirm"`)
}
