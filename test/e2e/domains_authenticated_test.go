package e2e

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
)

// TestDomainAuthenticated is the whole way of a domain, on a signed DNS tree and
// with receivers that others wrote: it is added, what the relay prints is put into
// the zone as it is, its own name servers prove it, and what is sent from then on
// passes SPF, DKIM and DMARC, aligned.
func TestDomainAuthenticated(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("runs name servers, Postfix and its filters for most of a minute")
	}
	w := newDomainWorld(t, worldOptions{
		zones: []string{"automatic.example", "manual.example", "wrong.example", "vanish.example", "taken.example", "dangling.example", "reports.example"},
		users: []string{"bob", "other", "ann", "rival", "late"}, conf: vanishConf,
	})
	t.Run("automatic", func(t *testing.T) { t.Parallel(); w.testAuthenticated(t, "automatic.example") })
	t.Run("manual", func(t *testing.T) { t.Parallel(); w.testAuthenticated(t, "manual.example", "--manual") })
	t.Run("wrong token", func(t *testing.T) { t.Parallel(); w.testWrongToken(t, "wrong.example") })
	t.Run("records vanish", func(t *testing.T) { t.Parallel(); w.testVanish(t, "vanish.example") })
	t.Run("reports", func(t *testing.T) { t.Parallel(); w.testReports(t, "reports.example") })
	t.Run("single sender", func(t *testing.T) { t.Parallel(); w.testSingleSender(t) })
	rival := w.rival(t)
	t.Run("takeover", func(t *testing.T) { t.Parallel(); w.testTakeover(t, rival, "taken.example") })
	t.Run("dangling alias", func(t *testing.T) { t.Parallel(); w.testDangling(t, rival, "dangling.example") })
}

const policyReject = "_dmarc TXT \"v=DMARC1; p=reject; aspf=r; adkim=s\"\n"

// testAuthenticated is one form of set-up, from nothing to mail that passes.
func (w *domainWorld) testAuthenticated(t *testing.T, name string, flags ...string) {
	snippet := w.postern(t, append([]string{"domain", "add", name, "--zone", "--account", "main", "--ip", outside}, flags...)...)
	wantReply(t, "before anything is published", w.mail(t, w.APIKey, "news@"+name, "bob@receiver.example", "early"), "550 5.7.1 The from address does not match a verified Sender Identity")
	if c := w.validate(t, name); c.Valid || c.State != "pending" {
		t.Errorf("nothing is published: valid %v, %s", c.Valid, c.State)
	}
	// Whoever keeps the zone gets the same by mail, to be copied as it is.
	w.postern(t, "domain", "email", name, "other@receiver.example")
	if text := w.receiver.await(t, "other", "DNS records for "+name).text(t); !strings.Contains(text, snippet) {
		t.Errorf("the lines\n%s\nare not in the letter\n%s", snippet, text)
	}
	w.settled(t)
	w.tree.publish(t, name, policyReject+snippet)
	r := command{args: []string{w.bin, "domain", "validate", name, "--wait", "--timeout", "90s"}, env: []string{"POSTERN_DATA_DIR=" + w.dir}, limit: 2 * time.Minute}.run(t)
	if r.code != 0 {
		t.Fatalf("validate --wait: %s", r.out)
	}
	c := w.validate(t, name)
	if !c.Valid || c.State != "verified" || !c.Secure {
		t.Errorf("valid %v, %s, DNSSEC %v: %+v", c.Valid, c.State, c.Secure, c.Findings)
	}
	for _, server := range []string{"a." + name, "b." + name} {
		if !slices.Contains(c.Servers, server) {
			t.Errorf("asked %v, not %s", c.Servers, server)
		}
	}
	if shown := w.postern(t, "domain", "show", name, "--zone"); len(flags) == 0 && shown != snippet {
		t.Errorf("other records than at first:\n%s\n%s", shown, snippet)
	}

	w.bothSign(t, name, "main")
	tok := token("authentic")
	s := w.talk(t, "127.0.0.1", "client.example").in(w.APIKey)
	wantReply(t, "verified", s.send(tok, "news@"+name, "bob@receiver.example"), "250")
	l := w.receiver.await(t, "bob", tok)
	selectors := w.receiver.wantAuthentic(t, l, name, "rsa-sha256", "ed25519-sha256")
	for _, sel := range selectors {
		if _, secure, _ := w.tree.resolve(sel+"._domainkey."+name, mdns.TypeTXT); secure != (len(flags) > 0) {
			t.Errorf("%s: DNSSEC %v", sel, secure) // aliases end in the relay's zone, which is not signed
		}
	}

	// A verifier that accepts everything would have passed until here.
	w.tamper(t, l, name)
}

// tamper changes a message that passed, and has it verified again by all.
func (w *domainWorld) tamper(t *testing.T, l letter, domain string) {
	t.Helper()
	h, body, _ := strings.Cut(l.raw, "\n\n")
	path := filepath.Join(t.TempDir(), "changed")
	write(t, path, h+"\n\n"+strings.Replace(body, "x", "y", 1))
	for _, s := range w.receiver.signatures(t, path) {
		if s.Pass {
			t.Errorf("dkimpy accepts a changed body: %+v", s)
		}
	}
	tok := token("tampered")
	_, signed, _ := strings.Cut(l.raw, "DKIM-Signature: ")
	changed := "DKIM-Signature: " + strings.Replace(signed, "\n\nx", "\n\ny "+tok, 1)
	file := filepath.Join(t.TempDir(), "tampered")
	write(t, file, changed)
	r := command{args: []string{external(t, "swaks"), "--server", w.receiver.stranger(t), "--ehlo", "forger.example", "--from", "x@em." + domain, "--to", "other@receiver.example", "--data", "@" + file}}.run(t)
	if r.code != 0 {
		t.Fatalf("swaks: %s", r.out)
	}
	got := map[string]bool{}
	for _, m := range w.receiver.verdict(t, w.receiver.await(t, "other", tok)) {
		got[m.Method+"="+m.Result] = true
	}
	if !got["dkim=fail"] || !got["dmarc=fail"] || got["dkim=pass"] || got["spf=pass"] || got["dmarc=pass"] {
		t.Errorf("a changed message from elsewhere: %v", got)
	}
}

// testWrongToken is a zone with another one's records in it.
func (w *domainWorld) testWrongToken(t *testing.T, name string) {
	snippet := w.postern(t, "domain", "add", name, "--zone", "--account", "main", "--manual", "--ip", outside)
	d := w.domain(t, name)
	bad := strings.Repeat("a", len(d.Token))
	if !strings.Contains(snippet, d.Token) {
		t.Fatalf("no token %s in\n%s", d.Token, snippet)
	}
	w.tree.publish(t, name, strings.ReplaceAll(snippet, d.Token, bad))
	c := w.validate(t, name)
	if c.Valid || c.State != "pending" {
		t.Errorf("valid %v, %s", c.Valid, c.State)
	}
	for _, r := range c.Records {
		if r.Valid == (r.Key == "ownership") {
			t.Errorf("%s: valid %v, %s", r.Key, r.Valid, r.Reason)
		}
		if r.Key == "ownership" && !strings.Contains(r.Reason, "another entry") {
			t.Errorf("the finding does not say whose token it may be: %s", r.Reason)
		}
	}
	wantReply(t, "with a wrong token", w.mail(t, w.APIKey, "news@"+name, "bob@receiver.example", "no"), "550 5.7.1")
}
