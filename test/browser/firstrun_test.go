package browser

import (
	"testing"
)

// record is one that a page says is to be published.
type record struct{ Kind, Name, Value string }

// recordsShown reads the records of the page as a person does who copies them.
func (b *tab) recordsShown() []record {
	b.t.Helper()
	return script[[]record](b, `[...document.querySelectorAll("#records section")].map((s) => ({
		Kind: s.querySelector("dd code").textContent.trim(),
		Name: s.querySelector("[id^=name-]").textContent.trim(),
		Value: s.querySelector("[id^=value-]").textContent.trim()}))`)
}

// TestFirstRun: the owner of a new account goes from the set-up link to a test message
// that was delivered: password, app, recovery codes, a domain whose records turn green
// while they are looked at, a key, a message.
func TestFirstRun(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	account := w.account(t, "hooli")
	b := open(t, w.url())
	b.visit(w.setup(t, account, "anna@inbox.test"))
	b.sees("h1", "Set up hooli")
	b.judge("setup-password")
	b.fill("#f-first_name", "Anna")
	b.fill("#f-last_name", "Smith")
	b.fill("#f-username", "anna.hooli")
	b.fill("#f-password", "short")
	b.sees("#f-password-live", "15")
	b.fill("#f-password", password)
	b.sees("#f-password-live", "will do")
	b.press("Go on")
	b.arrives("/welcome")
	b.judge("setup-factor")
	p := &person{name: "anna.hooli", email: "anna@inbox.test"}
	b.enrol(p)
	b.judge("setup-codes")
	b.press("I have saved them")
	b.sees("h1", "Get going")
	b.judge("welcome")

	b.press("Add a domain")
	b.arrives("/welcome/domain")
	b.judge("welcome-domain")
	b.fill("#f-domain", "hooli.test")
	b.press("Show me the records")
	b.sees("h1", "Publish these records")
	b.judge("welcome-records")
	records := b.recordsShown()
	if len(records) < 3 {
		t.Fatalf("records: %+v", records)
	}
	for _, r := range records {
		w.publish(t, r.Name, r.Kind, r.Value)
	}
	w.publish(t, "_dmarc.hooli.test", "TXT", "v=DMARC1; p=reject")
	// Nobody presses anything: the page looks by itself.
	b.sees("h1", "hooli.test is ready")
	b.judge("welcome-ready")
	b.press("On to your first key")
	b.arrives("/welcome/key")
	b.judge("welcome-key")
	b.press("Make the key")
	b.sees("h1", "Your key is ready")
	b.judge("welcome-key-made")
	// A page that shows a secret is not kept: neither by the browser nor in its store.
	if n := script[int](b, `localStorage.length + sessionStorage.length`); n != 0 {
		t.Errorf("the page keeps %d items in the browser", n)
	}
	for _, words := range []string{"swaks", "curl", "PHP", "relayhost", w.Hostname} {
		if !script[bool](b, `document.querySelector("main").textContent.includes(`+quote(words)+`)`) {
			t.Errorf("no snippet has %q", words)
		}
	}
	w.runSnippets(t, b, "hello@hooli.test", "anna@inbox.test")
	b.press("Send the test")
	b.sees("h1", "It arrived")
	b.judge("welcome-journey")
	if l := w.arrived(t, "anna@inbox.test", "From: hello@hooli.test"); l.DMARC != "pass" {
		t.Errorf("the test message arrived with DMARC %s:\n%s", l.DMARC, l.Raw)
	}
	b.press("To the overview")
	b.arrives("/")
	b.sees("h1", "Overview")
}

// judge has axe look at a page, measures it and takes its pictures.
func (b *tab) judge(name string) {
	b.t.Helper()
	b.axe()
	b.shoot(name)
}
