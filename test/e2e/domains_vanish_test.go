package e2e

import (
	"slices"
	"strings"
	"testing"

	mdns "github.com/miekg/dns"
)

// vanishConf makes what happens to a domain whose records are gone happen soon.
const vanishConf = `
[domains]
check_every = "1m"
grace = "5s"
pause = "5s"
key_overlap = "1m"
`

// without drops the lines of a snippet that are about a host.
func without(snippet, host string) string {
	var kept strings.Builder
	for line := range strings.Lines(snippet) {
		if !strings.HasPrefix(line, host) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// testVanish: a record that is required goes away. Its owner hears of it at once,
// mail goes on for the grace, waits and is put off after that, is refused in the
// end, and all heals by itself when the record is back.
func (w *domainWorld) testVanish(t *testing.T, name string) {
	snippet := w.verified(t, name, policyReject)
	host := w.domain(t, name).ReturnPath
	s := func() *smtpTalk { return w.talk(t, "127.0.0.1", "client.example").in(w.APIKey) }
	early := token("waits")
	id := idOf(t, s().send(early, "news@"+name, "late@receiver.example"))

	w.tree.publish(t, name, policyReject+without(snippet, host))
	if rrs, _, _ := w.tree.resolve(host, mdns.TypeCNAME); len(rrs) != 0 {
		t.Fatalf("%s is still there: %v", host, rrs)
	}
	c := w.validate(t, name)
	if c.Valid || c.State != "verified" {
		t.Errorf("a record is gone: valid %v, %s", c.Valid, c.State)
	}
	l := w.receiver.await(t, "owner", "Action needed: DNS records of "+name)
	if !strings.Contains(l.raw, host) || !strings.Contains(l.raw, "Mail still goes until") {
		t.Errorf("the letter does not say what is gone and for how long mail goes:\n%s", l.raw)
	}
	until(t, "an alert that records are gone", func() bool {
		return slices.ContainsFunc(w.alertTexts(t, "domain", name), func(s string) bool { return strings.Contains(s, "are not as they should be") })
	})
	tok := token("grace")
	wantReply(t, "in the grace", s().send(tok, "news@"+name, "bob@receiver.example"), "250")
	w.receiver.await(t, "bob", tok)

	w.becomes(t, name, "paused")
	reply := s().send("no", "news@"+name, "bob@receiver.example")
	if !strings.HasPrefix(reply, "450 4.7.1 ") || !strings.Contains(reply, "missing in DNS") {
		t.Errorf("paused: %q", reply)
	}
	w.receiver.await(t, "owner", "Mail as "+name+" is paused")
	// The other side is up now, and still the mail waits, and says for what.
	w.receiver.policy.open.Store(true)
	until(t, "an event that says what the mail waits for", func() bool {
		e := w.history(t, id)["deferred"]
		return strings.Contains(e.Data.Reply, name+" is paused") && strings.Contains(e.Data.Reply, host)
	})

	w.becomes(t, name, "failed")
	wantReply(t, "failed", s().send("no", "news@"+name, "bob@receiver.example"), "550 5.7.1 ")
	w.receiver.await(t, "owner", "Mail as "+name+" is refused")
	for _, m := range w.receiver.box(t, "late") {
		if strings.Contains(m.raw, early) {
			t.Error("mail of a domain that is not proven left")
		}
	}

	w.tree.publish(t, name, policyReject+snippet)
	w.becomes(t, name, "verified")
	w.receiver.wantAuthentic(t, w.receiver.await(t, "late", early), name, "rsa-sha256", "ed25519-sha256")
	wantReply(t, "as before", s().send(token("again"), "news@"+name, "bob@receiver.example"), "250")
	w.receiver.await(t, "owner", name+" is verified")
}
