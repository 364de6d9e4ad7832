package store

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

// editKey edits a key as it is now.
func editKey(t testing.TB, s *Store, k relay.Key) error {
	t.Helper()
	was, err := s.Key(context.Background(), k.ID)
	if err != nil {
		t.Fatal(err)
	}
	return s.SwapKey(context.Background(), testBy, was, k)
}

// AU-16, AU-18: a rotation must not change what SCRAM tells a client before it knows which
// secret the client has.
func TestRotateKeyRefuses(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, now := context.Background(), time.Now().UTC().Truncate(time.Microsecond)
		w := newWorld(t, s)
		good := w.key.Verifier
		good.SHA256 = [32]byte{5}
		salt, iterations := good, good
		salt.SCRAMSalt, iterations.SCRAMIterations = []byte("other"), 4096
		for _, v := range []relay.Verifier{salt, iterations, {SHA256: [32]byte{5}}} {
			if err := s.RotateKey(ctx, testBy, w.key.ID, v, now, now.Add(time.Hour)); !errors.Is(err, errVerifier) {
				t.Errorf("other salt or iterations: %v", err)
			}
		}
		cert := w.key
		cert.ID, cert.Kind, cert.Login = relay.KeyID{ID: relay.NewID(now)}, relay.KeyCertificate, ""
		if err := s.CreateKey(ctx, testBy, cert); err != nil {
			t.Fatal(err)
		}
		if err := s.RotateKey(ctx, testBy, cert.ID, good, now, time.Time{}); relay.KindOf(err) != relay.Conflict {
			t.Errorf("a key without secret: %v", err)
		}
		// Without an overlap the old secret is gone at once.
		if err := s.RotateKey(ctx, testBy, w.key.ID, good, now, time.Time{}); err != nil {
			t.Fatal(err)
		}
		if k, err := s.Key(ctx, w.key.ID); err != nil || k.Previous != nil || !k.RotatedAt.Equal(now) || k.Verifier.SHA256 != good.SHA256 {
			t.Errorf("key %+v, %v", k, err)
		}
		if err := s.RevokeKey(ctx, testBy, w.key.ID, now); err != nil {
			t.Fatal(err)
		}
		if err := s.RotateKey(ctx, testBy, w.key.ID, good, now, time.Time{}); relay.KindOf(err) != relay.Conflict {
			t.Errorf("a revoked key: %v", err)
		}
	})
}

// TestPreviousUse: who still uses the old secret is told apart, and starts anew
// with each rotation.
func TestPreviousUse(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		stop := runTest(t, s)
		ctx, now := context.Background(), time.Now().UTC().Truncate(time.Microsecond)
		w := newWorld(t, s)
		flush := func() {
			t.Helper()
			if last, err := s.rec.flush(); err != nil {
				t.Fatal(err)
			} else if last != nil {
				<-last.done
			}
		}
		v := w.key.Verifier
		rotate := func(at time.Time) {
			t.Helper()
			v.SHA256[0]++
			if err := s.RotateKey(ctx, testBy, w.key.ID, v, at, at.Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		rotate(now)
		old, fresh := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
		s.RecordKeyUse(w.key.ID, now.Add(time.Second), old, "PLAIN", "old.test", true)
		s.RecordKeyUse(w.key.ID, now.Add(2*time.Second), old, "PLAIN", "old.test", true)
		s.RecordKeyUse(w.key.ID, now.Add(3*time.Second), fresh, "LOGIN", "new.test", false)
		flush()
		k, err := s.Key(ctx, w.key.ID)
		if err != nil || k.UseCount != 3 || k.LastUsedFrom != "192.0.2.2" || k.LastUsedMechanism != "LOGIN" ||
			k.PreviousUseCount != 2 || k.PreviousUsedFrom != "192.0.2.1" || k.PreviousUsedHelo != "old.test" || !k.PreviousUsedAt.Equal(now.Add(2*time.Second)) {
			t.Errorf("key %+v, %v", k, err)
		}
		rotate(now.Add(time.Minute))
		// A use of the secret before last, handed in late.
		s.RecordKeyUse(w.key.ID, now.Add(4*time.Second), old, "PLAIN", "old.test", true)
		flush()
		if k, err = s.Key(ctx, w.key.ID); err != nil || k.UseCount != 4 || k.PreviousUseCount != 0 || !k.PreviousUsedAt.IsZero() || k.PreviousUsedFrom != "" || k.PreviousUsedHelo != "" {
			t.Errorf("after the second rotation: %+v, %v", k, err)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestUpdateKeyKeepsWhatItMustNotChange: an edit of a key changes neither its
// secret nor what is known of its use.
func TestUpdateKeyKeepsWhatItMustNotChange(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, now := context.Background(), time.Now().UTC().Truncate(time.Microsecond)
		w := newWorld(t, s)
		if err := s.SetKeyReminded(ctx, w.key.ID, now); err != nil {
			t.Fatal(err)
		}
		rev := s.Revision()
		if n, err := readRevision(ctx, s.db); err != nil || n != rev {
			t.Errorf("a reminder raised the revision to %d, %v", n, err)
		}
		if err := s.SetKeyReminded(ctx, relay.KeyID{ID: relay.NewID(now)}, now); relay.KindOf(err) != relay.NotFound {
			t.Errorf("reminder of no key: %v", err)
		}
		edit := relay.Key{ID: w.key.ID, Name: "new", Mode: relay.KeyHold, ExpiresAt: w.key.ExpiresAt, Subuser: w.key.Subuser, Kind: relay.KeyFederated,
			Login: "other", CreatedBy: "mallory", UseCount: 99, RevokedAt: now, Verifier: relay.Verifier{SHA256: [32]byte{7}}}
		want := relay.Key{ID: w.key.ID, Name: "new", Mode: relay.KeyHold, ExpiresAt: w.key.ExpiresAt, Subuser: w.key.Subuser, Account: w.key.Account,
			Kind: w.key.Kind, Login: w.key.Login, CreatedBy: w.key.CreatedBy, CreatedAt: w.key.CreatedAt, Verifier: w.key.Verifier, RemindedAt: now}
		if err := editKey(t, s, edit); err != nil {
			t.Fatal(err)
		}
		k, err := s.Key(ctx, w.key.ID)
		same(t, "key", want, k, err)
		edit.ExpiresAt = now.Add(48 * time.Hour) // a new end is reminded of anew
		if err := editKey(t, s, edit); err != nil {
			t.Fatal(err)
		}
		if k, err := s.Key(ctx, w.key.ID); err != nil || !k.RemindedAt.IsZero() {
			t.Errorf("reminded at %v, %v", k.RemindedAt, err)
		}
		same := w.key
		same.ID = relay.KeyID{ID: relay.NewID(now)}
		if err := s.CreateKey(ctx, testBy, same); relay.KindOf(err) != relay.Conflict {
			t.Errorf("a second app password of one login: %v", err)
		}
		same.Login, same.Kind = "", ""
		if err := s.CreateKey(ctx, testBy, same); err != nil {
			t.Error(err)
		}
		if k, err := s.Key(ctx, same.ID); err != nil || k.Kind != relay.KeyAPI {
			t.Errorf("kind %q, %v", k.Kind, err)
		}
	})
}

// AU-31: a deleted subuser's keys die in the same change, its name is free, and
// nothing more can be done with it.
func TestDeleteSubuser(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, now := context.Background(), time.Now().UTC().Truncate(time.Microsecond)
		w, other := newWorld(t, s), newWorld(t, s)
		own := w.key
		own.ID, own.Subuser, own.Login = relay.KeyID{ID: relay.NewID(now)}, relay.SubuserID{}, ""
		gone := w.key
		gone.ID, gone.Login = relay.KeyID{ID: relay.NewID(now)}, ""
		if err := errors.Join(s.CreateKey(ctx, testBy, own), s.CreateKey(ctx, testBy, gone), s.RevokeKey(ctx, testBy, gone.ID, now.Add(-time.Hour)),
			s.DeleteSubuser(ctx, testBy, w.subuser.ID, now)); err != nil {
			t.Fatal(err)
		}
		for id, want := range map[relay.KeyID]time.Time{w.key.ID: now, gone.ID: now.Add(-time.Hour), own.ID: {}, other.key.ID: {}} {
			if k, err := s.Key(ctx, id); err != nil || !k.RevokedAt.Equal(want) {
				t.Errorf("key revoked at %v, want %v (%v)", k.RevokedAt, want, err)
			}
		}
		w.subuser.DeletedAt = now
		u, err := s.Subuser(ctx, w.subuser.ID)
		same(t, "deleted subuser", w.subuser, u, err)
		if all, err := s.Subusers(ctx, w.account.ID); err != nil || len(all) != 0 {
			t.Errorf("subusers %+v, %v", all, err)
		}
		if all, err := s.Subusers(ctx, relay.AccountID{}); err != nil || len(all) != 1 {
			t.Errorf("all subusers %+v, %v", all, err)
		}
		key := own
		key.ID, key.Subuser = relay.KeyID{ID: relay.NewID(now)}, w.subuser.ID
		own.Subuser = w.subuser.ID
		for what, err := range map[string]error{
			"delete":          s.DeleteSubuser(ctx, testBy, w.subuser.ID, now),
			"update":          editSubuser(s, w.subuser),
			"enable":          s.SetSubuserDisabled(ctx, testBy, w.subuser.ID, time.Time{}),
			"new key":         s.CreateKey(ctx, testBy, key),
			"key moved to it": editKey(t, s, own),
		} {
			if relay.KindOf(err) != relay.NotFound {
				t.Errorf("%s of a deleted subuser: %v", what, err)
			}
		}
		// The domain that was shared with it is not everybody's now, and can be edited.
		w.domain.ReturnPath = "other.example.test"
		if err := editDomain(s, w.domain); err != nil {
			t.Error(err)
		}
		if d, err := s.Domain(ctx, w.domain.ID); err != nil || len(d.Subusers) != 1 {
			t.Errorf("domain %+v, %v", d, err)
		}
		second := w.subuser
		second.ID, second.DeletedAt = relay.SubuserID{ID: relay.NewID(now)}, time.Time{}
		if err := s.CreateSubuser(ctx, testBy, second); err != nil {
			t.Errorf("the name is not free: %v", err)
		}
		changes, err := s.Changes(ctx, ChangeFilter{Account: w.account.ID, Action: "subuser.delete"})
		if err != nil || len(changes) != 1 || !strings.Contains(string(changes[0].After), w.key.ID.String()) || strings.Contains(string(changes[0].After), own.ID.String()) {
			t.Errorf("record %+v, %v", changes, err)
		}
	})
}

func TestAccessLists(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		at := time.Now().UTC().Truncate(time.Microsecond)
		cfg.Now = func() time.Time { return at }
		s, _ := openTest(t, cfg)
		ctx := context.Background()
		w, other := newWorld(t, s), newWorld(t, s)
		tenant := relay.Tenant{Account: w.account.ID}
		none, err := s.AccessList(ctx, tenant)
		same(t, "no list", relay.AccessList{Tenant: tenant}, none, err)
		office, vpn := netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/48")
		first, err := s.SetAccessList(ctx, testBy, relay.AccessList{Tenant: tenant, Rules: []relay.AccessRule{{Network: office, Note: "office"}, {Host: "vpn.example.test"}}})
		if err != nil || first.Rules[0].ID == 0 || first.Rules[0].ID == first.Rules[1].ID || !first.Rules[1].CreatedAt.Equal(at) {
			t.Fatalf("first %+v, %v", first, err)
		}
		made := at
		at = at.Add(time.Hour)
		// A trial: one rule is kept, one changed, one new; the list of before comes along.
		trial := relay.AccessList{Tenant: tenant, Monitor: true, TrialUntil: at.Add(time.Minute), Before: &first,
			Rules: []relay.AccessRule{{ID: first.Rules[0].ID, Network: office, Note: "office"}, {ID: first.Rules[1].ID, Host: "vpn2.example.test"}, {Network: vpn}}}
		second, err := s.SetAccessList(ctx, testBy, trial)
		if err != nil {
			t.Fatal(err)
		}
		r := second.Rules
		if r[0] != first.Rules[0] || !r[1].CreatedAt.Equal(made) || !r[1].UpdatedAt.Equal(at) || r[2].ID <= r[1].ID || !r[2].CreatedAt.Equal(at) {
			t.Errorf("rules %+v", r)
		}
		got, err := s.AccessList(ctx, tenant)
		same(t, "stored list", second, got, err)
		same(t, "list of before", first.Rules, got.Before.Rules, nil)
		if back := got.At(at.Add(time.Minute)); len(back.Rules) != 2 || back.Tenant != tenant {
			t.Errorf("after the trial: %+v", back)
		}
		// Back to the list of before: its rules are still known.
		back, err := s.SetAccessList(ctx, testBy, *got.Before)
		same(t, "reverted", first, back, err)
		sub := relay.Tenant{Account: w.account.ID, Subuser: w.subuser.ID}
		foreign := relay.Tenant{Account: w.account.ID, Subuser: other.subuser.ID}
		many := make([]relay.AccessRule, MaxAccessRules+1)
		for i := range many {
			many[i].Network = office
		}
		for _, c := range []struct {
			what string
			l    relay.AccessList
			want relay.Kind
		}{
			{"another list's rule", relay.AccessList{Tenant: sub, Rules: []relay.AccessRule{{ID: first.Rules[0].ID, Network: office}}}, relay.NotFound},
			{"neither", relay.AccessList{Tenant: tenant, Rules: []relay.AccessRule{{Note: "x"}}}, relay.Invalid},
			{"both", relay.AccessList{Tenant: tenant, Rules: []relay.AccessRule{{Network: office, Host: "x.test"}}}, relay.Invalid},
			{"too many", relay.AccessList{Tenant: tenant, Rules: many}, relay.Invalid},
			{"too many before", relay.AccessList{Tenant: tenant, Before: &relay.AccessList{Rules: many}}, relay.Invalid},
			{"another account's subuser", relay.AccessList{Tenant: foreign}, relay.NotFound},
			{"no account", relay.AccessList{Tenant: relay.Tenant{Account: relay.AccountID{ID: relay.NewID(at)}}}, relay.NotFound},
		} {
			if _, err := s.SetAccessList(ctx, testBy, c.l); relay.KindOf(err) != c.want {
				t.Errorf("%s: %v", c.what, err)
			}
		}
		if p, err := s.VerifyChanges(ctx, w.account.ID); err != nil {
			t.Errorf("proof %+v, %v", p, err)
		}
	})
}

func TestRevokedTokens(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx, now := context.Background(), time.Now().UTC().Truncate(time.Microsecond)
		w := newWorld(t, s)
		live, over := relay.TokenID{ID: relay.NewID(now)}, relay.TokenID{ID: relay.NewID(now)}
		if err := errors.Join(s.RevokeToken(ctx, testBy, w.account.ID, live, now.Add(time.Hour)), s.RevokeToken(ctx, testBy, w.account.ID, live, now.Add(time.Hour)),
			s.RevokeToken(ctx, testBy, w.account.ID, over, now.Add(-2*tokenGrace))); err != nil {
			t.Fatal(err)
		}
		if err := s.RevokeToken(ctx, testBy, relay.AccountID{ID: relay.NewID(now)}, over, now); relay.KindOf(err) != relay.NotFound {
			t.Errorf("of no account: %v", err)
		}
		snap, err := s.Snapshot(ctx, 0)
		if err != nil || len(snap.RevokedTokens) != 1 || !snap.RevokedTokens[live].Equal(now.Add(time.Hour)) {
			t.Errorf("revoked %v, %v", snap.RevokedTokens, err)
		}
		if err := s.sweep(ctx); err != nil {
			t.Fatal(err)
		}
		if n := rows(t, s, "revoked_tokens"); n != 1 {
			t.Errorf("%d rows after the sweep", n)
		}
	})
}

func TestStates(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx := context.Background()
		if b, err := s.State(ctx, "guard"); b != nil || err != nil {
			t.Errorf("absent: %v, %v", b, err)
		}
		for _, want := range []string{"one", "", "two"} {
			if err := s.PutState(ctx, "guard", []byte(want)); err != nil {
				t.Fatal(err)
			}
			if b, err := s.State(ctx, "guard"); b == nil || string(b) != want || err != nil {
				t.Errorf("%q, want %q (%v)", b, want, err)
			}
		}
		if err := s.PutState(ctx, "guard", make([]byte, maxState+1)); err == nil {
			t.Error("too much was stored")
		}
	})
}
