package sender

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/dkim"
	"postern/internal/relay"
)

var automatic, manual = ptr(true), ptr(false)

func ptr[T any](v T) *T { return &v }

// TestFirstKeys: the RSA key of a new domain signs, because its record is what
// proves the domain; the Ed25519 key signs when all name servers have its record.
func TestFirstKeys(t *testing.T) {
	t.Parallel()
	for name, auto := range map[string]*bool{"automatic": automatic, "manual": manual} {
		w := newKeyWorld(t, 2, NewDomain{Automatic: auto})
		for _, sel := range []string{"s1", "s1e"} {
			if k := w.key(sel); !signs(&k) || k.SeenAt.IsZero() {
				t.Errorf("%s: %s is %+v", name, sel, describe(k))
			}
		}
	}
}

// TestFirstKeyIsNotSeen: ID-26. One name server behind is enough to wait.
func TestFirstKeyIsNotSeen(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t, 3, NewDomain{Automatic: manual})
	w.st.keys[w.d.ID] = []relay.DKIMKey{w.key("s1")}
	if _, err := w.s.Rotate(t.Context(), testBy, w.d.ID, RotateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.ownerPublishes()
	w.sync(0)
	w.sync(1)
	for range 5 {
		w.now = w.now.Add(24 * time.Hour)
		if err := w.check(); err != nil {
			t.Fatal(err)
		}
		if k := w.key("s2"); !waiting(&k) || !k.SeenAt.IsZero() {
			t.Fatalf("one name server is behind, and s2 is %+v", describe(k))
		}
	}
}

// A first key whose record some name servers have already is looked at again soon,
// and not only with the next day's check; one that was never published is not.
func TestFirstKeyIsComeBackTo(t *testing.T) {
	t.Parallel()
	for found, soon := range map[string]bool{"an old answer": true, "": false} {
		w := newKeyWorld(t, 2, NewDomain{Automatic: automatic})
		first, next := w.key("s1"), w.key("s1e")
		next.Active, next.SeenAt, next.ActivatedAt = false, time.Time{}, time.Time{}
		d, err := w.st.Domain(t.Context(), w.d.ID)
		if err != nil {
			t.Fatal(err)
		}
		d.VerifiedAt = w.now
		check := relay.DomainCheck{Domain: d.ID, At: w.now, NextAt: w.now.Add(24 * time.Hour)}
		r := relay.RecordCheck{DNSRecord: relay.DNSRecord{Key: "dkim1_ed25519"}}
		if found != "" {
			r.Found = []string{found}
		}
		check.Records = append(check.Records, r)
		w.st.due[d.ID] = check.NextAt
		if err := w.s.comeBack(t.Context(), d, []relay.DKIMKey{first, next}, check); err != nil {
			t.Fatal(err)
		}
		if due := w.st.due[d.ID]; (due.Sub(w.now) <= time.Hour) != soon {
			t.Errorf("found %q: looked at again in %s", found, due.Sub(w.now))
		}
	}
}

// TestEd25519StopsAndComesBack: its record is not required, so it may go; one check
// that misses it says little, two say enough. RSA signs on.
func TestEd25519StopsAndComesBack(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t, 2, NewDomain{Automatic: automatic})
	missing := func(valid, unknown bool) {
		t.Helper()
		c := w.look()
		c.Unknown = unknown
		for i := range c.Records {
			if c.Records[i].Key == "dkim1_ed25519" {
				c.Records[i].Valid = valid
			}
		}
		w.now = w.now.Add(24 * time.Hour)
		if err := w.s.Advance(t.Context(), w.d, c); err != nil {
			t.Fatal(err)
		}
	}
	state := func(want bool, when string) {
		t.Helper()
		if k := w.key("s1e"); k.Active != want || !k.RetiredAt.IsZero() {
			t.Fatalf("%s: %+v", when, describe(k))
		}
	}
	missing(false, false)
	state(true, "once missed")
	missing(true, false)
	missing(false, false)
	state(true, "once more, after it was there")
	missing(false, true)
	state(true, "the DNS did not answer")
	missing(false, false)
	state(false, "twice missed")
	if k := w.key("s1"); !signs(&k) {
		t.Fatal("RSA stopped too")
	}
	missing(false, false)
	state(false, "still missing")
	missing(true, false)
	state(true, "back")

	// The operator's word, and where there is no RSA key to sign.
	w.d.State = relay.DomainAsserted
	missing(false, false)
	missing(false, false)
	missing(false, false)
	state(true, "asserted")
	w.d.State = relay.DomainVerified
	w.st.keys[w.d.ID] = []relay.DKIMKey{w.key("s1e")}
	missing(false, false)
	missing(false, false)
	missing(false, false)
	state(true, "alone")
}

// TestRotation: the whole life of a rotation, step by step.
func TestRotation(t *testing.T) {
	t.Parallel()
	for name, auto := range map[string]*bool{"automatic": automatic, "manual": manual} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newKeyWorld(t, 2, NewDomain{Automatic: auto, Selector: "org"})
			ctx := t.Context()
			r, err := w.s.Rotate(ctx, testBy, w.d.ID, RotateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if r.Publish != (auto == manual) || r.Switched || len(r.Keys) != 2 || r.Keys[0].Selector != "org2" || r.Keys[1].Selector != "org2e" || r.Text == "" {
				t.Fatalf("%+v", r)
			}
			if _, err := w.s.Rotate(ctx, testBy, w.d.ID, RotateOptions{}); relay.KindOf(err) != relay.Conflict || !strings.Contains(err.Error(), "under way") {
				t.Errorf("two rotations at once: %v", err)
			}
			if got := len(w.letters); got != map[bool]int{true: 0, false: 1}[*auto] {
				t.Errorf("%d letters: %q", got, w.letters)
			}
			w.ownerPublishes()
			w.syncAll()
			if err := w.check(); err != nil {
				t.Fatal(err)
			}
			if k := w.key("org2"); k.SeenAt.IsZero() || k.Active {
				t.Fatalf("seen, and caches may know better: %+v", describe(k))
			}
			if due := w.st.due[w.d.ID]; !due.Equal(w.key("org2").SeenAt.Add(cacheTime(w.d))) {
				t.Errorf("looked at again at %s", due)
			}
			w.now = w.st.due[w.d.ID]
			if err := w.check(); err != nil {
				t.Fatal(err)
			}
			old, next := w.key("org"), w.key("org2")
			if !signs(&next) || !retired(&old) || !old.RetiredAt.Equal(next.ActivatedAt) || old.Record != w.servers[0][keyHost(w.d, "org")] {
				t.Fatalf("old %+v, new %+v", describe(old), describe(next))
			}
			if ed := w.key("org2e"); !signs(&ed) {
				t.Errorf("Ed25519: %+v", describe(ed))
			}
			until := old.RetiredAt.Add(testSettings.KeyOverlap)
			if _, err := w.s.Rotate(ctx, testBy, w.d.ID, RotateOptions{}); relay.KindOf(err) != relay.Conflict || !strings.Contains(err.Error(), day(until)) {
				t.Errorf("the old key is needed: %v", err)
			}
			w.pass(until.Sub(w.now) - time.Minute)
			if k := w.key("org"); !retired(&k) {
				t.Fatalf("withdrawn too early: %+v", describe(k))
			}
			w.pass(time.Minute)
			if k := w.key("org"); k.WithdrawnAt.IsZero() || len(k.Sealed) > 0 || k.Record != "v=DKIM1; k=rsa; p=" || k.Revealed != "" {
				t.Fatalf("not withdrawn: %+v", describe(k))
			}
			if got := len(w.letters); got != map[bool]int{true: 0, false: 3}[*auto] {
				t.Errorf("%d letters: %q", got, w.letters)
			}
			if _, err := w.s.Rotate(ctx, testBy, w.d.ID, RotateOptions{}); err != nil {
				t.Fatal(err)
			}
			if k := w.key("org"); k.Generation != 2 || !waiting(&k) {
				t.Errorf("the slot is not used again: %+v", describe(k))
			}
		})
	}
}

// TestRotationByAge starts by itself, where there is time between two.
func TestRotationByAge(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		every, own time.Duration
		state      relay.DomainState
		want       int64 // keys that s1 and s2 had after 100 days
	}{
		"never":              {0, 0, relay.DomainVerified, 1},
		"every 30 days":      {30 * 24 * time.Hour, 0, relay.DomainVerified, 4},
		"its own 50 days":    {0, 50 * 24 * time.Hour, relay.DomainVerified, 2},
		"its own never":      {30 * 24 * time.Hour, -1, relay.DomainVerified, 1},
		"not usable":         {30 * 24 * time.Hour, 0, relay.DomainFailed, 1},
		"faster than it can": {24 * time.Hour, 0, relay.DomainVerified, 17},
	} {
		w := newKeyWorld(t, 1, NewDomain{Automatic: automatic})
		w.s.Settings.RotateEvery = c.every
		w.d.Rotate, w.d.State = c.own, c.state
		for range 100 * 6 {
			w.now = w.now.Add(4 * time.Hour)
			w.syncAll()
			if err := w.check(); err != nil {
				t.Fatal(err)
			}
		}
		var n int64
		for _, k := range w.keys() {
			if k.Algorithm == relay.DKIMRSA {
				n += k.Generation
			}
		}
		if n != c.want {
			t.Errorf("%s: %d keys", name, n)
		}
	}
}

// TestManualRotationTells: what to publish, a reminder a week, and when the old
// record can go.
func TestManualRotationTells(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t, 1, NewDomain{Automatic: manual})
	w.s.Settings.RotateEvery = 30 * 24 * time.Hour
	w.pass(30 * 24 * time.Hour)
	if len(w.letters) != 1 || !strings.Contains(w.letters[0], keyHost(w.d, "s2")+". 3600 IN TXT "+dkim.ZoneTXT(w.key("s2").Record)) || !strings.Contains(w.letters[0], w.key("s2").Record) {
		t.Fatalf("%q", w.letters)
	}
	for week := range 3 { // and every hour in between a check, by several processes
		w.restart(nil)
		w.s.Settings.RotateEvery = 30 * 24 * time.Hour
		w.pass(7 * 24 * time.Hour)
		if want := week + 2; len(w.letters) != want {
			t.Fatalf("%d letters after %d weeks", len(w.letters), week+1)
		}
		if !strings.HasPrefix(w.letters[week+1], "Still missing: the new DKIM record of acme.test\n") {
			t.Errorf("%q", w.letters[week+1])
		}
	}
	w.ownerPublishes()
	w.letters = nil
	w.pass(2 * time.Hour)
	if len(w.letters) != 1 || !strings.Contains(w.letters[0], "is in use") || !strings.Contains(w.letters[0], day(w.key("s1").RetiredAt.Add(testSettings.KeyOverlap))) {
		t.Fatalf("%q", w.letters)
	}
	w.letters = nil
	w.pass(testSettings.KeyOverlap)
	if len(w.letters) != 1 || !strings.Contains(w.letters[0], "Remove the TXT record at "+keyHost(w.d, "s1")+" and at "+keyHost(w.d, "s1e")+" ") {
		t.Fatalf("%q", w.letters)
	}

	quiet := newKeyWorld(t, 1, NewDomain{Automatic: manual, Quiet: true})
	if _, err := quiet.s.Rotate(t.Context(), testBy, quiet.d.ID, RotateOptions{}); err != nil {
		t.Fatal(err)
	}
	quiet.pass(20 * 24 * time.Hour)
	if len(quiet.letters) != 0 || len(quiet.alerts) < 3 {
		t.Errorf("%d letters, %d alerts", len(quiet.letters), len(quiet.alerts))
	}
}

// TestRotateNow: a key that somebody else has is of no use to them from the moment
// in which the next one signs.
func TestRotateNow(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t, 3, NewDomain{Automatic: automatic})
	w.st.changed = func() { w.sync(0) } // our own name server answers from the store
	sign := signerOf(w)
	m := relay.Message{Domain: w.d.ID}
	fields, with, err := sign.Sign(t.Context(), &m, mail)
	if err != nil {
		t.Fatal(err)
	}
	m.Signatures, m.SignedWith = fields, with
	r, err := w.s.Rotate(t.Context(), testBy, w.d.ID, RotateOptions{Now: true})
	if err != nil || !r.Switched || r.Publish || !strings.Contains(r.Text, "may fail to verify") {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, sel := range []string{"s1", "s1e"} {
		if k := w.key(sel); k.WithdrawnAt.IsZero() || len(k.Sealed) > 0 {
			t.Errorf("%s is not withdrawn: %+v", sel, describe(k))
		}
	}
	for _, sel := range []string{"s2", "s2e"} {
		if k := w.key(sel); !signs(&k) {
			t.Errorf("%s does not sign: %+v", sel, describe(k))
		}
	}
	if sign.Current(&m) {
		t.Error("queued mail would leave with the signature of the key that somebody else has")
	}
	w.syncAll()
	if fields, _, err = sign.Sign(t.Context(), &m, mail); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(keyTTL)
	if err := w.arrive(&sent{fields: string(fields)}); err != nil {
		t.Errorf("signed anew: %v", err)
	}

	// At once again: the slots that are taken are used all the same.
	if r, err = w.s.Rotate(t.Context(), testBy, w.d.ID, RotateOptions{Now: true}); err != nil || !r.Switched || w.key("s1").Generation != 2 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestRotateNowOverAnother: while a rotation is under way, and while the old key of
// the last must stay: neither holds up who has lost a key, and what was made before
// is not trusted.
func TestRotateNowOverAnother(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]time.Duration{"under way": 0, "old key stays": 3 * time.Hour} {
		w := newKeyWorld(t, 1, NewDomain{Automatic: automatic})
		if _, err := w.s.Rotate(t.Context(), testBy, w.d.ID, RotateOptions{}); err != nil {
			t.Fatal(err)
		}
		w.pass(first)
		before := map[string]bool{}
		for _, k := range w.keys() {
			before[k.Record] = true
		}
		w.now = w.now.Add(time.Minute)
		w.st.changed = w.syncAll
		if r, err := w.s.Rotate(t.Context(), testBy, w.d.ID, RotateOptions{Now: true}); err != nil || !r.Switched {
			t.Fatalf("%s: %+v, %v", name, r, err)
		}
		n := 0
		for _, k := range w.keys() {
			if !k.WithdrawnAt.IsZero() {
				continue
			}
			if n++; before[k.Record] || !signs(&k) {
				t.Errorf("%s: %+v is left", name, describe(k))
			}
		}
		if n != 2 {
			t.Errorf("%s: %d keys are left", name, n)
		}
	}
}

// TestRotateNowWaits: where no name server of ours answers yet, the switch comes
// with a later check, also after a restart; the owner of a manual domain has to
// act first.
func TestRotateNowWaits(t *testing.T) {
	t.Parallel()
	for name, auto := range map[string]*bool{"automatic": automatic, "manual": manual} {
		synctest.Test(t, func(t *testing.T) {
			w := newKeyWorld(t, 2, NewDomain{Automatic: auto})
			r, err := w.s.Rotate(t.Context(), testBy, w.d.ID, RotateOptions{Now: true})
			if err != nil || r.Switched || r.Publish == *auto {
				t.Fatalf("%s: %+v, %v", name, r, err)
			}
			if k := w.key("s1"); !signs(&k) {
				t.Fatalf("%s: nothing signs until then: %+v", name, describe(k))
			}
			w.restart(nil)
			w.ownerPublishes()
			w.sync(0)
			if err := w.check(); err != nil {
				t.Fatal(err)
			}
			// One of ours is enough; of others' all are needed.
			if k := w.key("s1"); (auto == automatic) == k.WithdrawnAt.IsZero() {
				t.Errorf("%s: %+v", name, describe(k))
			}
			w.sync(1)
			if err := w.check(); err != nil {
				t.Fatal(err)
			}
			if k := w.key("s1"); k.WithdrawnAt.IsZero() {
				t.Errorf("%s: %+v", name, describe(k))
			}
		})
	}
}

// TestSightIsOfOneKey: what the DNS said of a key says nothing of the one that came
// into its slot while it was asked: two nodes at work, and an urgent rotation.
func TestSightIsOfOneKey(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t, 1, NewDomain{Automatic: manual})
	for range 2 {
		if _, err := w.s.Rotate(t.Context(), testBy, w.d.ID, RotateOptions{Now: true}); err != nil {
			t.Fatal(err)
		}
		w.ownerPublishes()
		if k := w.key("s2"); k.Generation == 1 {
			w.syncAll()
			continue
		}
		check := w.look() // its record is not at the name server, that of the one before is
		before := w.key("s2")
		before.Generation--
		seen := sights{seenOf(&before): {all: true, some: true}}
		if st := w.s.nextStep(w.d, w.keys(), seen); st != nil && st.action == actionSwitch {
			t.Errorf("generation %d signs, and generation %d was seen (%v)", w.key("s2").Generation, before.Generation, check.Valid)
		}
	}
}

// TestCancel gives a rotation up, and none begins at once in its place.
func TestCancel(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t, 1, NewDomain{Automatic: automatic})
	ctx := t.Context()
	if err := w.s.Cancel(ctx, testBy, w.d.ID); relay.KindOf(err) != relay.Conflict {
		t.Errorf("nothing to cancel: %v", err)
	}
	w.s.Settings.RotateEvery = 10 * 24 * time.Hour
	w.now = w.now.Add(10 * 24 * time.Hour)
	if err := w.check(); err != nil {
		t.Fatal(err)
	}
	if k := w.key("s2"); !waiting(&k) {
		t.Fatalf("%+v", describe(k))
	}
	if err := w.s.Cancel(ctx, testBy, w.d.ID); err != nil {
		t.Fatal(err)
	}
	w.pass(9 * 24 * time.Hour)
	if k := w.key("s2"); k.WithdrawnAt.IsZero() || k.Generation != 1 {
		t.Errorf("began anew: %+v", describe(k))
	}
	w.pass(24*time.Hour + time.Hour)
	if k := w.key("s2"); k.Generation != 2 {
		t.Errorf("did not begin anew: %+v", describe(k))
	}
}

// TestSwitchedByHand: the operator's word. Two keys sign then; the older one ends
// when the younger is seen, and what was switched off frees its slot.
func TestSwitchedByHand(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t, 1, NewDomain{Automatic: manual})
	if _, err := w.s.Rotate(t.Context(), testBy, w.d.ID, RotateOptions{}); err != nil {
		t.Fatal(err)
	}
	keys := w.st.keys[w.d.ID]
	s2 := at(keys, "s2")
	s2.Active, s2.ActivatedAt = true, w.now
	if err := w.check(); err != nil {
		t.Fatal(err)
	}
	if k := w.key("s1"); !signs(&k) {
		t.Fatalf("s2 is not seen, and s1 is %+v", describe(k))
	}
	w.ownerPublishes()
	w.syncAll()
	w.st.tb = nopTB{w.tb} // two signed, by the operator's word
	if err := w.check(); err != nil {
		t.Fatal(err)
	}
	if k := w.key("s1"); !retired(&k) {
		t.Errorf("%+v", describe(k))
	}
}

// describe is a key without its sealed octets.
func describe(k relay.DKIMKey) relay.DKIMKey {
	k.Sealed = k.Sealed[:min(1, len(k.Sealed))]
	return k
}

// nopTB lets a check of invariants pass that a person overrode.
type nopTB struct{ testing.TB }

func (nopTB) Fatal(...any)          {}
func (nopTB) Fatalf(string, ...any) {}
