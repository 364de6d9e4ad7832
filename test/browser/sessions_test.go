package browser

import (
	"testing"
)

// TestSessions: a person sees where they are logged in, ends one of it, then all
// others; each is out at once.
func TestSessions(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	b, p := w.owner(t, w.account(t, "sessions"), "sofia")
	others := []*tab{open(t, w.url()), open(t, w.url())}
	for _, o := range others {
		o.login(p)
		o.visit("/keys")
		o.arrives("/keys")
	}
	b.visit("/profile/sessions")
	b.sees("main table", "this one")
	if n := b.count("main tbody tr"); n != 3 {
		t.Fatalf("%d sessions, want 3", n)
	}
	ended := script[string](b, `(() => { const r = [...document.querySelectorAll("main tbody tr")].find((r) => !r.innerText.includes("this one")); const f = r.querySelector("form"); f.requestSubmit(); return f.action; })()`)
	b.until(`document.querySelectorAll("main tbody tr").length === 2`)
	out := 0
	for _, o := range others {
		o.visit("/keys")
		o.until(`document.readyState === "complete" && document.querySelector("h1") !== null`)
		if o.at() != "/keys" {
			o.arrives("/login")
			out++
		}
	}
	if out != 1 {
		t.Errorf("%d sessions ended by %s, want 1", out, ended)
	}
	b.press("End all others")
	b.until(`document.querySelectorAll("main tbody tr").length === 1`)
	for _, o := range others {
		o.visit("/keys")
		o.arrives("/login")
	}
	b.visit("/keys")
	b.arrives("/keys")
}

// TestRecoveryCodes: new ones end the old ones; one of the new ones works, once.
func TestRecoveryCodes(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	b, p := w.owner(t, w.account(t, "codes"), "cora")
	old := p.codes[0]
	b.visit("/profile")
	b.press("Make new ones")
	b.arrives("/factors/codes")
	b.press("Make new codes")
	b.sees("h1", "Your recovery codes")
	p.codes = script[[]string](b, `[...document.querySelectorAll("#codes .code")].map((e) => e.textContent.trim())`)
	if len(p.codes) != 10 || p.codes[0] == old {
		t.Fatalf("%d new codes", len(p.codes))
	}
	b.press("Log out")
	try := func(code string) {
		b.arrives("/login")
		b.fill("#f-username", p.name)
		b.fill("#f-password", password+"\r")
		b.arrives("/login/factor")
		b.press("Use a recovery code")
		b.fill("#f-recovery", code+"\r")
	}
	try(old)
	b.sees("[role=alert]", "code")
	b.visit("/login")
	try(p.codes[0])
	b.until(`!location.pathname.startsWith("/login")`)
	b.visit("/profile")
	b.sees("main", "9 codes left")
}
