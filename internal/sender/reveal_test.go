package sender

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/dkim"
	"postern/internal/relay"
)

// TestReveal: the private key of a withdrawn selector is in its record, where its
// owner wants that; a key that never signed is not.
func TestReveal(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t, 2, NewDomain{Automatic: automatic})
	w.d.Reveal = true
	der := w.opened("s1")
	if _, err := w.s.Rotate(t.Context(), testBy, w.d.ID, RotateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.pass(testSettings.KeyOverlap)
	host, good := keyHost(w.d, "s1"), w.servers[0][keyHost(w.d, "s1")]
	for w.key("s1").WithdrawnAt.IsZero() {
		w.checkIn(time.Minute)
	}
	hidden := func(why string) {
		t.Helper()
		k := w.key("s1")
		if k.WithdrawnAt.IsZero() || k.Record != dkim.Revoked(dkim.RSA, "") || k.Revealed != "" {
			t.Fatalf("%s: %+v", why, describe(k))
		}
		if _, err := w.s.ExportKey(t.Context(), testBy, w.d.ID, "s1"); relay.KindOf(err) != relay.NotFound {
			t.Fatalf("%s, and it is exported: %v", why, err)
		}
	}
	// While anybody still answers with the key, whoever had it could sign as the owner.
	hidden("just withdrawn")
	w.sync(0)
	w.checkIn(cacheTime(w.d))
	hidden("one name server is behind")
	if w.servers[1][host] != good {
		t.Fatal("that one has followed")
	}
	w.syncAll()
	w.st.keys[w.d.ID] = slices.Clone(w.st.keys[w.d.ID])
	at(w.st.keys[w.d.ID], "s1").WithdrawnAt = w.now
	w.checkIn(cacheTime(w.d) - time.Second)
	hidden("caches may know better")
	w.checkIn(time.Second)
	w.syncAll()
	k := w.key("s1")
	note, err := dkim.Revealed(der)
	if err != nil {
		t.Fatal(err)
	}
	if k.Revealed != base64.StdEncoding.EncodeToString(der) || len(k.Sealed) > 0 || k.Record != dkim.Revoked(dkim.RSA, note) || w.servers[0][host] != k.Record {
		t.Errorf("%+v, zone %q", describe(k), w.servers[0][host])
	}
	if _, err := w.s.Rotate(t.Context(), testBy, w.d.ID, RotateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := w.s.Cancel(t.Context(), testBy, w.d.ID); err != nil {
		t.Fatal(err)
	}
	if k := w.key("s1"); k.Revealed != "" || len(k.Sealed) > 0 || k.WithdrawnAt.IsZero() || strings.Contains(k.Record, "n=") {
		t.Errorf("a key that never signed: %+v", describe(k))
	}
}

// TestRevealOfAnOwnersRecords: what the owner publishes must be gone first; and who
// does not want it any more has the key destroyed.
func TestRevealOfAnOwnersRecords(t *testing.T) {
	t.Parallel()
	for _, wanted := range []bool{true, false} {
		w := newKeyWorld(t, 2, NewDomain{Automatic: manual})
		w.d.Reveal = true
		if _, err := w.s.Rotate(t.Context(), testBy, w.d.ID, RotateOptions{}); err != nil {
			t.Fatal(err)
		}
		w.ownerPublishes()
		w.pass(testSettings.KeyOverlap + 48*time.Hour)
		if k := w.key("s1"); !toReveal(&k) || k.Revealed != "" {
			t.Fatalf("its record is still published: %+v", describe(k))
		}
		w.d.Reveal = wanted
		w.ownerPublishes()
		w.pass(2 * time.Hour)
		k := w.key("s1")
		if k.Revealed != "" != wanted || len(k.Sealed) > 0 {
			t.Errorf("wanted %t: %+v", wanted, describe(k))
		}
		told := slices.ContainsFunc(w.letters, func(l string) bool { return strings.Contains(l, k.Record) && strings.Contains(k.Record, "n=") })
		if told != wanted {
			t.Errorf("wanted %t, and the letters: %q", wanted, w.letters)
		}
	}
}
