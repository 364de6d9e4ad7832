package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	rotates  = "automatic.example"
	rotatesM = "manual.example"
)

// TestRotationUnderMail: the DKIM keys of a domain change while mail flows, once
// where the relay publishes them and once where a person does as the letter says,
// and not one message fails to verify: not when it arrives, and not later, while
// the old record is to stay published. Hours of that are waiting; the relay's
// clock is moved over them, and the resolver's cache is as short.
func TestRotationUnderMail(t *testing.T) {
	t.Parallel()
	if testing.Short() || !mustHaveAll() {
		t.Skip("builds the binary with another clock; POSTERN_TEST_EXTERNAL=1 runs it")
	}
	w := newDomainWorld(t, worldOptions{zones: []string{rotates, rotatesM}, users: []string{"bob"}, jumpy: true, conf: vanishConf})
	w.verified(t, rotates, policyReject)
	old := w.verified(t, rotatesM, policyReject, "--manual")

	a := w.watch(t)
	fast, slow := w.flow(rotates, 30), w.flow(rotatesM, 8)
	w.signedBy(t, a, rotates, "s1", "s1e")
	w.signedBy(t, a, rotatesM, "s1", "s1e")

	if out := w.postern(t, "domain", "rotate", rotates); !strings.Contains(out, "there is nothing to do") {
		t.Errorf("rotate of an automatic domain:\n%s", out)
	}
	if out := w.postern(t, "domain", "rotate", rotatesM); !strings.Contains(out, "s2._domainkey."+rotatesM) {
		t.Errorf("rotate of a manual domain:\n%s", out)
	}
	added := w.asTheLetterSays(t)
	w.tree.publish(t, rotatesM, policyReject+old+added)
	w.settled(t)

	// The new keys are seen everywhere, and still the old ones sign: caches may not
	// know better.
	for _, name := range []string{rotates, rotatesM} {
		w.eachSeen(t, name)
		if d := w.domain(t, name); !slices.Equal(d.inState("signing"), []string{"s1", "s1e"}) || !slices.Equal(d.inState("waiting"), []string{"s2", "s2e"}) {
			t.Fatalf("%s: signing %v, waiting %v", name, d.inState("signing"), d.inState("waiting"))
		}
	}
	w.jump(t, 10*time.Minute)
	w.switched(t, a, rotates)
	if d := w.domain(t, rotatesM); !slices.Equal(d.inState("signing"), []string{"s1", "s1e"}) {
		t.Errorf("%s: %v sign: a person's caches are given an hour", rotatesM, d.inState("signing"))
	}
	w.jump(t, 50*time.Minute)
	w.switched(t, a, rotatesM)
	w.receiver.await(t, "owner", "The new DKIM key of "+rotatesM+" is in use")

	sent := map[string]int{rotates: fast.stop(t, 5), rotatesM: slow.stop(t, 1)}
	a.settle(t, sent)
	if n := a.again(t); n < sent[rotates]+sent[rotatesM] {
		t.Errorf("%d messages verified at the end, %d sent", n, sent[rotates]+sent[rotatesM])
	}
	w.withdrawn(t, a)
}

// signedBy waits until mail of a domain arrives that these selectors signed.
func (w *domainWorld) signedBy(t testing.TB, a *arrivals, domain string, selectors ...string) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for _, sel := range selectors {
		for _, n := a.count(domain, sel); n < 30; _, n = a.count(domain, sel) {
			if time.Now().After(deadline) {
				t.Fatalf("%d messages of %s signed by %s after a minute", n, domain, sel)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// asTheLetterSays returns the lines for the zone file in the letter to the owner.
func (w *domainWorld) asTheLetterSays(t testing.TB) (zone string) {
	t.Helper()
	until(t, "an alert that a record is to be published", func() bool {
		return slices.ContainsFunc(w.alertTexts(t, "dkim", rotatesM), func(s string) bool { return strings.Contains(s, "publish the record of s2 and s2e") })
	})
	text := w.receiver.await(t, "owner", "Publish a new DKIM record for "+rotatesM).text(t)
	parts := strings.Split(text, "In a zone file:\n")
	for _, p := range parts[1:] {
		line, _, _ := strings.Cut(p, "\n")
		zone += strings.TrimRight(line, "\r") + "\n"
	}
	if strings.Count(zone, "\n") != 2 || !strings.Contains(zone, "s2._domainkey."+rotatesM+". 3600 IN TXT ") {
		t.Fatalf("lines for the zone file:\n%s\nof the letter\n%s", zone, text)
	}
	return zone
}

// eachSeen has the relay look until it has seen the records of the keys that wait.
func (w *domainWorld) eachSeen(t testing.TB, name string) {
	t.Helper()
	var c checkSeen
	for range 10 {
		c = w.validate(t, name)
		missing := 0
		for _, k := range w.domain(t, name).Keys {
			if k.State == "waiting" && k.SeenAt.IsZero() {
				missing++
			}
		}
		if missing == 0 {
			return
		}
	}
	t.Fatalf("the next keys of %s are not seen: %+v\n%+v", name, c.Findings, w.domain(t, name).Keys)
}

// switched has the relay look until the next keys sign, and waits for mail that
// they signed.
func (w *domainWorld) switched(t testing.TB, a *arrivals, name string) {
	t.Helper()
	for range 10 {
		w.validate(t, name)
		d := w.domain(t, name)
		if slices.Equal(d.inState("signing"), []string{"s2", "s2e"}) {
			if got := d.inState("retired"); !slices.Equal(got, []string{"s1", "s1e"}) {
				t.Errorf("%s: retired %v", name, got)
			}
			w.signedBy(t, a, name, "s2", "s2e")
			return
		}
	}
	t.Fatalf("the next keys of %s do not sign: %+v", name, w.domain(t, name).Keys)
}

// withdrawn goes to the end of the overlap: the old keys are revoked, and what
// they signed verifies no more, so that the verifiers before were no yes-men.
func (w *domainWorld) withdrawn(t testing.TB, a *arrivals) {
	t.Helper()
	first := ""
	for name := range a.seen {
		if l := readLetter(t, name); strings.Contains(l.raw, "Subject: flow of "+rotates+", message 1.\n") {
			first = name
		}
	}
	revoked := func() bool {
		rrs, _, _ := w.tree.resolve("s1._domainkey."+rotates, mdns.TypeTXT)
		return len(rrs) == 1 && strings.HasSuffix(strings.ReplaceAll(rrs[0], `"`, ""), "p=")
	}
	if revoked() {
		t.Error("the old record is gone while it has to stay")
	}
	w.jump(t, 11*24*time.Hour)
	for range 10 {
		if w.validate(t, rotates); len(w.domain(t, rotates).inState("withdrawn")) == 2 {
			break
		}
	}
	w.settled(t)
	time.Sleep((cacheLife + 1) * time.Second)
	if !revoked() {
		t.Errorf("the old record is not revoked: %+v", w.domain(t, rotates).Keys)
	}
	for _, s := range a.v.signatures(t, first) {
		if s.Pass || !strings.HasPrefix(s.S, "s1") {
			t.Errorf("a signature of a revoked key: %+v", s)
		}
	}
	for range 10 {
		if w.validate(t, rotatesM); len(w.domain(t, rotatesM).inState("withdrawn")) == 2 {
			break
		}
	}
	w.receiver.await(t, "owner", "The old DKIM record of "+rotatesM+" can be removed")
}
