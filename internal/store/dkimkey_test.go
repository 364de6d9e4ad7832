package store

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"postern/internal/relay"
)

func TestChangeDKIMKeys(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newClaimant(t, s)
		a := c.account()
		row := c.row(a, "keys.test")
		key := func(selector string, generation int64, sealed string) relay.DKIMKey {
			return relay.DKIMKey{Domain: row.ID, Selector: selector, Algorithm: relay.DKIMRSA, Bits: 2048, Generation: generation,
				Sealed: []byte(sealed), Record: "v=DKIM1; p=" + sealed, CreatedAt: c.now}
		}
		s1 := key("s1", 0, "one")
		s1.Active = true
		if _, err := s.CreateDomain(ctx, testBy, row, s1); err != nil {
			t.Fatal(err)
		}
		s1.Generation, s1.ActivatedAt = 1, c.now
		s2 := key("s2", 1, "two")
		stored := func(want ...relay.DKIMKey) {
			t.Helper()
			got, err := s.DKIMKeys(ctx, row.ID)
			same(t, "keys", want, got, err)
		}
		stored(s1)
		change := func(action string, edit func([]relay.DKIMKey) ([]relay.DKIMKey, error)) error {
			return s.ChangeDKIMKeys(ctx, testBy, row.ID, action, edit)
		}
		// A rotation's switch is one change: never two keys that sign, never none.
		err := change("dkim.switch", func(keys []relay.DKIMKey) ([]relay.DKIMKey, error) {
			keys[0].Active, keys[0].RetiredAt = false, c.now
			n := s2
			n.Active, n.SeenAt, n.ActivatedAt = true, c.now, c.now
			return append(keys, n), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		s1.Active, s1.RetiredAt = false, c.now
		s2.Active, s2.SeenAt, s2.ActivatedAt = true, c.now, c.now
		stored(s1, s2)
		// Left out is left alone, and the same again is no change.
		rev := s.Revision()
		for _, keys := range [][]relay.DKIMKey{nil, {s2}, {s1, s2}} {
			if err := change("dkim.nothing", func([]relay.DKIMKey) ([]relay.DKIMKey, error) { return keys, nil }); err != nil {
				t.Error(err)
			}
		}
		stored(s1, s2)
		if s.Revision() != rev {
			t.Error("nothing changed, and the revision rose")
		}
		// Withdrawn and revealed, then the slot's next key.
		s1.WithdrawnAt, s1.Sealed, s1.Record, s1.Revealed = c.now, nil, "v=DKIM1; p=", "private"
		if err := change("dkim.withdraw", func([]relay.DKIMKey) ([]relay.DKIMKey, error) { return []relay.DKIMKey{s1}, nil }); err != nil {
			t.Fatal(err)
		}
		stored(s1, s2)
		next := key("s1", 2, "three")
		if err := change("dkim.rotate", func([]relay.DKIMKey) ([]relay.DKIMKey, error) { return []relay.DKIMKey{next}, nil }); err != nil {
			t.Fatal(err)
		}
		stored(next, s2)
		if all, err := s.Changes(ctx, ChangeFilter{Account: a}); err != nil || !slices.ContainsFunc(all, func(r StoredChange) bool { return r.Action == "dkim.withdraw" }) {
			t.Errorf("records %+v, %v", all, err)
		}
		refuse := func(what string, want relay.Kind, edit func(k1, k2 *relay.DKIMKey)) {
			t.Helper()
			err := change("dkim.bad", func(keys []relay.DKIMKey) ([]relay.DKIMKey, error) {
				keys[1].Imported = true // all or nothing: this one is sound
				edit(&keys[0], &keys[1])
				return []relay.DKIMKey{keys[1], keys[0]}, nil
			})
			if relay.KindOf(err) != want {
				t.Errorf("%s: %v", what, err)
			}
			stored(next, s2)
		}
		refuse("a generation skipped", relay.Invalid, func(k, _ *relay.DKIMKey) { k.Generation = 4 })
		refuse("a generation back", relay.Invalid, func(k, _ *relay.DKIMKey) { k.Generation = 1 })
		refuse("another private key", relay.Invalid, func(k, _ *relay.DKIMKey) { k.Sealed = []byte("other") })
		refuse("a key that signs replaced", relay.Conflict, func(_, k *relay.DKIMKey) { k.Generation, k.Sealed = 2, []byte("other") })
		refuse("a retired key that signs", relay.Invalid, func(k, _ *relay.DKIMKey) { k.Active, k.RetiredAt = true, c.now })
		refuse("a key without private part that signs", relay.Invalid, func(k, _ *relay.DKIMKey) { k.Active, k.Sealed = true, nil })
		refuse("a private key published too early", relay.Invalid, func(k, _ *relay.DKIMKey) { k.Revealed = "private" })
		refuse("a selector without name", relay.Invalid, func(k, _ *relay.DKIMKey) { k.Selector = "" })
		if err := change("dkim.bad", func([]relay.DKIMKey) ([]relay.DKIMKey, error) { return nil, errInjected }); !errors.Is(err, errInjected) {
			t.Errorf("edit's own error: %v", err)
		}
		if err := s.ChangeDKIMKeys(ctx, testBy, relay.DomainID{ID: relay.NewID(time.Now())}, "dkim.bad", func(k []relay.DKIMKey) ([]relay.DKIMKey, error) { return k, nil }); relay.KindOf(err) != relay.NotFound {
			t.Errorf("no domain: %v", err)
		}
	})
}

// Private keys that do not sign now are not handed to those who follow; those
// that sign are.
func TestSnapshotHoldsSigningKeysOnly(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newClaimant(t, s)
		row := c.row(c.account(), "keys.test")
		var keys []relay.DKIMKey
		for _, k := range []relay.DKIMKey{
			{Selector: "signs", Active: true}, {Selector: "waits"}, {Selector: "retired", RetiredAt: c.now}, {Selector: "withdrawn", RetiredAt: c.now, WithdrawnAt: c.now},
		} {
			k.Algorithm, k.Sealed, k.Record, k.CreatedAt = relay.DKIMEd25519, []byte("sealed"), "v=DKIM1; p=x", c.now
			keys = append(keys, k)
		}
		if _, err := s.CreateDomain(ctx, testBy, row, keys...); err != nil {
			t.Fatal(err)
		}
		for _, since := range []int64{0, 1} {
			snap, err := s.Snapshot(ctx, since)
			if err != nil || len(snap.DKIMKeys) != 4 {
				t.Fatalf("%+v, %v", snap, err)
			}
			for _, k := range snap.DKIMKeys {
				if got, want := string(k.Sealed), map[string]string{"signs": "sealed"}[k.Selector]; got != want {
					t.Errorf("since %d: %s comes with %q", since, k.Selector, got)
				}
			}
		}
	})
}
