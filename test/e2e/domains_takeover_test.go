package e2e

import (
	"strings"
	"testing"
)

// rival makes a second account and returns its key.
func (w *domainWorld) rival(t testing.TB) string {
	t.Helper()
	w.postern(t, "account", "add", "rival", "--owner", "rival@receiver.example")
	return w.addKey(t, "sending", "--account", "rival").APIKey
}

// testTakeover: another account claims a domain that is proven. It gets it only
// when the first one's records are gone.
func (w *domainWorld) testTakeover(t *testing.T, key, name string) {
	first := w.verified(t, name, policyReject)
	second := w.postern(t, "domain", "add", name, "--zone", "--account", "rival", "--manual", "--selector", "rival", "--ip", outside)
	c := w.validate(t, name, "--account", "rival")
	if c.Valid || c.State != "pending" {
		t.Errorf("the first one's records prove the rival's: valid %v, %s", c.Valid, c.State)
	}
	wantReply(t, "the rival, unproven", w.mail(t, key, "news@"+name, "bob@receiver.example", "no"), "550 5.7.1")

	w.tree.publish(t, name, policyReject+first+second)
	c = w.validate(t, name, "--account", "rival")
	if c.Valid || !c.Disputed {
		t.Errorf("both are in the DNS: the rival's valid %v, disputed %v, %s", c.Valid, c.Disputed, c.State)
	}
	w.receiver.await(t, "rival", name+" belongs to another account")
	wantReply(t, "the rival, in dispute", w.mail(t, key, "news@"+name, "bob@receiver.example", "no"), "550 5.7.1")
	wantReply(t, "the first", w.mail(t, w.APIKey, "news@"+name, "bob@receiver.example", token("first")), "250")

	w.tree.publish(t, name, policyReject+second)
	if c = w.validate(t, name, "--account", "main"); c.Valid || c.State != "verified" {
		t.Errorf("the first one's records are gone: valid %v, %s", c.Valid, c.State)
	}
	if c = w.validate(t, name, "--account", "rival"); !c.Valid || c.State != "verified" || c.Disputed {
		t.Fatalf("the rival's alone: valid %v, %s, disputed %v: %s", c.Valid, c.State, c.Disputed, c.Reason)
	}
	if d := w.domain(t, name, "--account", "main"); d.State != "failed" {
		t.Errorf("the first one's is %s", d.State)
	}
	w.receiver.await(t, "owner", "Mail as "+name+" is refused")
	wantReply(t, "the first, lapsed", w.mail(t, w.APIKey, "news@"+name, "bob@receiver.example", "no"), "550 5.7.1")
	w.bothSign(t, name, "rival")
	tok := token("rival")
	wantReply(t, "the rival", w.mail(t, key, "news@"+name, "bob@receiver.example", tok), "250")
	w.receiver.wantAuthentic(t, w.receiver.await(t, "bob", tok), name, "rsa-sha256", "ed25519-sha256")
}

// testDangling: an account is gone and its aliases stay in the DNS. They prove
// nothing for the next one that asks.
func (w *domainWorld) testDangling(t *testing.T, key, name string) {
	w.verified(t, name, "")
	old := w.domain(t, name, "--account", "main").Token
	w.postern(t, "domain", "remove", name, "--account", "main")
	w.postern(t, "domain", "add", name, "--account", "rival")
	d := w.domain(t, name, "--account", "rival")
	c := w.validate(t, name, "--account", "rival")
	if c.Valid || c.State != "pending" {
		t.Errorf("aliases that were left behind: valid %v, %s", c.Valid, c.State)
	}
	found := 0
	for _, f := range c.Findings {
		if f.Code != "cname_other" {
			continue
		}
		found++
		if !strings.Contains(f.Found, old) || !strings.Contains(f.Text, "or to one that was removed") || !strings.Contains(f.Fix, d.Token) {
			t.Errorf("the finding does not tell the old from the new: %+v", f)
		}
	}
	if found < 2 {
		t.Errorf("%d findings name the old target: %+v", found, c.Findings)
	}
	wantReply(t, "the new account", w.mail(t, key, "news@"+name, "bob@receiver.example", "no"), "550 5.7.1")
	wantReply(t, "the old account", w.mail(t, w.APIKey, "news@"+name, "bob@receiver.example", "no"), "550 5.7.1")
}
