package browser

import (
	"strings"
	"testing"
)

// secretShown is the secret on the page that shows it once.
func (b *tab) secretShown() string {
	b.t.Helper()
	b.sees("main", "This is shown once")
	return script[string](b, `document.querySelector("#secret").textContent.trim()`)
}

// TestKeys: a key that is made from a template sends mail and no more than it says; it is
// rotated, with the old secret good for a while, and revoked after a look at who would
// be cut off. What it did is still to be read.
func TestKeys(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	account := w.account(t, "keys")
	w.operate(t, nil, "domain", "add", "keys.test", "--account", account, "--assert", "--quiet")
	b, _ := w.owner(t, account, "kim")
	b.visit("/keys")
	b.press("Make a key")
	b.arrives("/keys/new")
	b.press("Send as one domain")
	b.fill("[name=name]", "shop")
	b.fill("[name=senders]", "keys.test")
	b.press("Make the key")
	first := b.secretShown()
	send := func(key, from string) error {
		return w.deliver(t, letterTo(key, from, "kim@inbox.test", "From "+from))
	}
	if err := send(first, "shop@keys.test"); err != nil {
		t.Fatalf("the new key: %v", err)
	}
	if err := send(first, "shop@globex.test"); err == nil {
		t.Error("the key sends as somebody else's domain")
	}
	w.arrived(t, "kim@inbox.test", "Subject: From shop@keys.test")

	b.press("Show the key")
	b.sees("h1", "shop")
	key := b.at()
	if strings.Contains(script[string](b, `document.documentElement.outerHTML`), first) {
		t.Error("the secret is shown again")
	}
	b.press("Rotate it")
	b.arrives(key + "/rotate")
	b.later("#users", "web-1.keys.test") // who needs the new one
	b.press("Make a new secret")
	second := b.secretShown()
	for name, secret := range map[string]string{"old": first, "new": second} {
		if err := send(secret, name+"@keys.test"); err != nil {
			t.Errorf("the %s secret after the rotation: %v", name, err)
		}
	}
	b.visit(key + "/revoke")
	b.later("#users", "web-1.keys.test") // who would be cut off
	if err := send(second, "look@keys.test"); err != nil {
		t.Errorf("the dry run ended the key: %v", err)
	}
	b.press("Revoke it for ever")
	b.arrives("/keys")
	for name, secret := range map[string]string{"old": first, "new": second} {
		if err := send(secret, name+"@keys.test"); err == nil {
			t.Errorf("the %s secret of a revoked key was taken", name)
		}
	}
	if b.count(`main a[href="`+key+`"]`) != 0 {
		t.Error("the revoked key is among those that work")
	}
	b.press("Revoked ones too")
	b.press("shop")
	b.arrives(key) // what is left of it
	b.sees("main", "This key was revoked.")
	b.sees("main", "by user kim")
	b.sees("#users", "web-1.keys.test")
	if strings.Contains(b.text("main"), "Rotate it") {
		t.Error("a revoked key is offered a rotation")
	}
}

// TestAccess: a list that shuts out who changes it is refused, and the way out is
// offered; a change on trial is kept, and another undone.
func TestAccess(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	b, _ := w.owner(t, w.account(t, "access"), "axel")
	b.visit("/access")
	b.sees("main", "Everybody may try to log in")
	b.fill("[name=ips]", "192.0.2.0/24")
	b.fill("[name=note]", "the office")
	b.press("Show what this would change")
	b.arrives("/access/preview")
	b.sees("main", "You would shut yourself out")
	b.sees("#effect", "shut out")
	b.press("Change the list")
	b.arrives("/access/add")
	b.sees("[role=alert]", "")
	b.sees("main", "You would shut yourself out")
	b.visit("/access")
	b.sees("main", "The list is empty") // nothing has changed

	b.fill("[name=ips]", "192.0.2.0/24")
	b.press("Show what this would change")
	b.press("Add my own address")
	b.until(`location.search.includes("127.0.0.1") || location.search.includes("%3A%3A1")`)
	b.sees("#effect", "let in")
	b.press("Change the list")
	b.arrives("/access")
	b.sees("main", "A change is on trial")
	b.sees("#rules", "you are here")
	b.press("Keep it")
	b.until(`!document.querySelector("main").innerText.includes("on trial") && document.querySelector("#rules") !== null`)

	b.fill("[name=ips]", "198.51.100.7")
	b.press("Show what this would change")
	b.press("Change the list")
	b.sees("#rules", "198.51.100.7")
	b.press("Undo it now")
	b.until(`document.querySelector("#rules") !== null && !document.querySelector("#rules").innerText.includes("198.51.100.7")`)
	b.sees("#rules", "192.0.2.0/24")
}
