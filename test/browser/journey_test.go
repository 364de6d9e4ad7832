package browser

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// makeKey makes a key on the page for it, from a template, and returns its secret.
func (b *tab) makeKey(template, name string) string {
	b.t.Helper()
	b.visit("/keys/new?for=" + template)
	b.fill("[name=name]", name)
	b.press("Make the key")
	return b.secretShown()
}

// TestMessageActions: a message that was put off is found by way of the queue, held,
// released, tried again and cancelled on its page, which tells who did it and why.
func TestMessageActions(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	account := w.account(t, "journeys")
	w.operate(t, nil, "domain", "add", "journeys.test", "--account", account, "--assert", "--quiet")
	b, _ := w.owner(t, account, "joan")
	key := b.makeKey("full", "shop")
	if err := w.deliver(t, letterTo(key, "shop@journeys.test", fullAt, "A full mailbox")); err != nil {
		t.Fatal(err)
	}
	w.wait(t, key, fullAt, "deferred")
	b.visit("/")
	b.press("Queue")
	b.arrives("/queue")
	b.later("#lanes", "inbox.test")
	b.press("inbox.test")
	b.arrives("/queue/inbox.test")
	b.sees("#mail", "A full mailbox")
	b.press("A full mailbox")
	b.sees("h1", "A full mailbox")
	message := b.at()
	b.sees(".journey", "452 4.2.2 The mailbox is full")

	do := func(button, action, reason, state string) {
		t.Helper()
		b.press(button)
		b.arrives(message + "/do/" + action)
		if reason != "" {
			b.fill("#do [name=reason]", reason)
		}
		b.click("#do button[type=submit]")
		b.arrives(message)
		b.later("main", state)
		b.later(".journey", reason)
		b.sees(".journey", "joan")
	}
	do("Hold it", "hold", "until the customer answers", "held")
	if n := b.count(`main a[href$="/do/hold"]`); n != 0 {
		t.Error("a held message can be held")
	}
	do("Release it", "release", "", "put off")
	before := b.count(".journey li")
	do("Try now", "retry", "", "put off")
	if after := b.count(".journey li"); after <= before {
		t.Errorf("%d steps, %d before it was tried again", after, before)
	}
	do("Cancel it", "cancel", "sent by mistake", "bounced")
	if n := b.count(`main a[href*="/do/"]`); n != 0 {
		t.Errorf("%d things can be done to a message that has ended", n)
	}
	b.visit("/queue")
	b.later("main", "Nothing waits")
}

// TestHeldMail: all that is held of a key is released from a search, without scripts,
// and what is held anew is cancelled.
func TestHeldMail(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	account := w.account(t, "holders")
	w.operate(t, nil, "domain", "add", "holders.test", "--account", account, "--assert", "--quiet")
	b, _ := w.owner(t, account, "hanna")
	full := b.makeKey("full", "full")
	held := w.newKey(t, full, map[string]any{"name": "newsletter", "scopes": []string{"mail.send"}, "mode": "hold"})
	hand := func(subject string, to ...string) {
		t.Helper()
		for _, address := range to {
			if err := w.deliver(t, letterTo(held.Secret, "news@holders.test", address, subject)); err != nil {
				t.Fatal(err)
			}
		}
		for _, address := range to {
			w.wait(t, full, address, "held")
		}
	}
	hand("Winter", "held1@inbox.test", "held2@inbox.test", "held3@inbox.test")
	b.visit("/keys/" + held.ID)
	b.press("Its held mail")
	b.sees("#mail", "Winter")
	b.scripts(false)
	b.press("Release all 3 held")
	b.sees("#keys", "newsletter")
	b.sees("#senders", "news@holders.test")
	b.press("Release 3 messages")
	b.sees("main", "3 messages were released.")
	b.scripts(true)
	for _, address := range []string{"held1@inbox.test", "held2@inbox.test", "held3@inbox.test"} {
		w.wait(t, full, address, "delivered")
	}
	hand("Phishing", "held4@inbox.test")
	b.visit("/mail?to=held4@inbox.test")
	b.press("Cancel the one that is held")
	b.fill("#do [name=reason]", "not ours")
	b.press("Cancel 1 message")
	b.sees("main", "1 message was cancelled.")
	w.wait(t, full, "held4@inbox.test", "bounced")
}

// TestMailSearch: each field of the search finds what it is for, and nothing else.
func TestMailSearch(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	account := w.account(t, "searches")
	w.operate(t, nil, "domain", "add", "searches.test", "--account", account, "--assert", "--quiet")
	b, _ := w.owner(t, account, "sam")
	shop, crm := b.makeKey("full", "shop of searches"), b.makeKey("full", "letters of searches")
	for _, m := range []message{
		letterTo(shop, "shop@searches.test", "anna.blue@inbox.test", "Blue heron seen"),
		letterTo(crm, "news@searches.test", "bert.red@inbox.test", "Red kite again"),
		letterTo(crm, "news@searches.test", goneAt, "Green finch gone"),
	} {
		if err := w.deliver(t, m); err != nil {
			t.Fatal(err)
		}
	}
	id := w.wait(t, shop, "anna.blue@inbox.test", "delivered")
	w.wait(t, shop, "bert.red@inbox.test", "delivered")
	w.wait(t, shop, goneAt, "bounced")
	part := func(secret string) string { return strings.Split(secret, ".")[1] }
	today := time.Now().UTC()
	all := []string{"Blue heron", "Red kite", "Green finch"}
	for _, test := range []struct {
		fields map[string]string
		want   []string
	}{
		{nil, all},
		{map[string]string{"to": "anna.blue@inbox.test"}, all[:1]},
		{map[string]string{"to": "anna.blue"}, nil}, // no whole address
		{map[string]string{"to": "bert", "match": "prefix"}, all[1:2]},
		{map[string]string{"from": "news@searches.test"}, all[1:]},
		{map[string]string{"from": "shop@", "match": "prefix"}, all[:1]},
		{map[string]string{"id": id}, all[:1]},
		{map[string]string{"key": "letters of searches"}, all[1:]},
		{map[string]string{"key": part(shop)}, all[:1]},
		{map[string]string{"domain": "inbox.test"}, all},
		{map[string]string{"domain": "inbox.te"}, nil},
		{map[string]string{"state": "bounced"}, all[2:]},
		{map[string]string{"state": "delivered"}, all[:2]},
		{map[string]string{"subject": "heron"}, all[:1]},
		{map[string]string{"subject": "kite red"}, all[1:2]},
		{map[string]string{"since": today.AddDate(0, 0, 1).Format(time.DateOnly)}, nil},
		{map[string]string{"since": today.AddDate(0, 0, -1).Format(time.DateOnly), "until": today.AddDate(0, 0, 1).Format(time.DateOnly)}, all},
		{map[string]string{"until": today.AddDate(0, 0, -2).Format(time.DateOnly)}, nil},
		{map[string]string{"from": "news@searches.test", "state": "delivered", "subject": "kite"}, all[1:2]},
	} {
		b.visit("/mail")
		for name, value := range test.fields {
			if selector := "#search [name=" + name + "]"; b.count("select"+strings.TrimPrefix(selector, "#search ")) > 0 {
				b.choose(selector, value)
			} else {
				b.fill(selector, value)
			}
		}
		b.press("Search")
		b.until(`location.search !== "" && document.readyState === "complete"`)
		for _, subject := range all {
			want := slices.Contains(test.want, subject)
			if got := script[bool](b, fmt.Sprintf(`document.querySelector("#mail").innerText.includes(%s)`, quote(subject))); got != want {
				t.Errorf("%v: %s found: %v, want %v\n%s", test.fields, subject, got, want, b.text("#mail"))
			}
		}
		for name, value := range test.fields { // what was asked for still stands in the form
			if got := script[string](b, `document.querySelector("#search [name=`+name+`]").value`); got != value {
				t.Errorf("%v: the field %s has %q afterwards", test.fields, name, got)
			}
		}
	}
	b.visit("/mail")
	b.fill("#search [name=since]", "yesterday\r")
	b.sees("[role=alert], .wrong", "Write a day")
}
