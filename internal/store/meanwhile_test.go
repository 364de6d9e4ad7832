package store

import (
	"context"
	"errors"
	"testing"
	"time"

	"postern/internal/relay"
)

// AC-11: a change that is made in a session is not made where the session has ended,
// also while it waits for whoever ends it; on whatever node.
func TestChangesOfEndedSessions(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		nodes := nodesOf(t, cfg)
		s, other := nodes[0], nodes[len(nodes)-1]
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		c.person(a, relay.RoleOwner)
		u := c.person(a, relay.RoleOwner)
		session, hash := c.session(u, relay.SessionFull)
		by := testBy
		by.Session = session.ID
		key := relay.Passkey{ID: []byte("first"), User: u.ID, Credential: []byte("c")}
		if err := errors.Join(s.AddPasskey(ctx, by, key), s.SetPassword(ctx, by, u.ID, testPassword, c.now, session.ID)); err != nil || !c.open(hash) {
			t.Fatalf("in a session that goes on: %v", err)
		}
		// Whoever ends all sessions has locked the person before those others come.
		changes := map[string]func() error{
			"password":   func() error { return other.SetPassword(ctx, by, u.ID, testPassword+"x", c.now, session.ID) },
			"app":        func() error { return other.SetTOTP(ctx, by, u.ID, []byte("t"), 1, c.now, session.ID) },
			"no app":     func() error { return other.RemoveTOTP(ctx, by, u.ID, session.ID) },
			"codes":      func() error { return other.SetRecoveryCodes(ctx, by, u.ID, [][32]byte{{1}}) },
			"passkey":    func() error { return other.AddPasskey(ctx, by, relay.Passkey{ID: []byte("second"), User: u.ID}) },
			"no passkey": func() error { return other.DeletePasskey(ctx, by, u.ID, key.ID, session.ID, nil) },
			"identity": func() error {
				return other.AddIssuance(ctx, by, relay.Issuance{Issuer: "https://i.test", Subject: "s", User: u.ID})
			},
			"address": func() error {
				return other.CreateLink(ctx, by, relay.Link{Hash: [32]byte{1}, Kind: relay.LinkEmail, User: u.ID, Email: "x@example.test", ExpiresAt: c.now.Add(time.Hour)})
			},
			"invitation": func() error { return other.CreateLink(ctx, by, c.invitation(a, "x@example.test")) },
			"grant":      func() error { return other.SetGrant(ctx, by, u.ID, GrantOf(&u), Grant{Role: relay.RoleAdmin}) },
			"disable":    func() error { return other.SetUserDisabled(ctx, by, u.ID, c.now) },
			"delete":     func() error { return other.DeleteUser(ctx, by, u.ID, c.now) },
			"factors":    func() error { return other.ResetFactors(ctx, by, u.ID) },
			"sessions":   func() error { return created(other.EndSessions(ctx, by, u.ID, session.ID)) },
			"session":    func() error { return other.EndSession(ctx, by, u.ID, session.ID) },
		}
		done := make(chan error, 1)
		if cfg.URL != "" {
			tx, err := s.db.BeginTx(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.ExecContext(ctx, lockUser, blob(u.ID.ID)); err != nil {
				t.Fatal(err)
			}
			go func() { done <- changes["password"]() }()
			waitBlocked(t, s)
			if _, err := tx.ExecContext(ctx, dropSessions, blob(u.ID.ID)); err != nil {
				t.Fatal(err)
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
		} else {
			if _, err := s.EndSessions(ctx, testBy, u.ID, relay.SessionID{}); err != nil {
				t.Fatal(err)
			}
			done <- changes["password"]()
		}
		if err := <-done; !errors.Is(err, ErrSessionOver) {
			t.Errorf("a password that was under way: %v", err)
		}
		n, before := changesOf(t, s, a), c.user(u.ID)
		for what, do := range changes {
			if err := do(); !errors.Is(err, ErrSessionOver) {
				t.Errorf("%s: %v", what, err)
			}
		}
		same(t, "the person", before, c.user(u.ID), nil)
		if changesOf(t, s, a) != n {
			t.Error("something was changed")
		}
	})
}

// AC-09: a reset link does nothing once its person has got another password, address or
// app since it was made.
func TestResetLinkIsJudgedWhenItIsUsed(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		for what, v := range map[string]struct {
			made time.Time
			do   func(u relay.User) error
		}{
			"nothing": {made: c.now, do: func(relay.User) error { return nil }},
			"app": {made: c.now, do: func(u relay.User) error {
				return s.SetTOTP(ctx, testBy, u.ID, []byte("t"), 1, c.now.Add(time.Second), relay.SessionID{})
			}},
			"older": {made: c.now.Add(-time.Second), do: func(relay.User) error { return nil }}, // than the password
		} {
			u := c.person(a, relay.RoleOwner)
			l := c.link(relay.Link{Hash: [32]byte(randomBytes(32)), Kind: relay.LinkReset, User: u.ID, Email: u.Email, CreatedAt: v.made, ExpiresAt: c.now.Add(time.Hour)})
			if err := v.do(u); err != nil {
				t.Fatal(err)
			}
			_, err := s.ResetByLink(ctx, testBy, l.Hash, testPassword+"x", c.now.Add(time.Minute))
			if what == "nothing" {
				if err != nil || c.user(u.ID).Password == testPassword {
					t.Errorf("%s: %v", what, err)
				}
				continue
			}
			wantKind(t, what, err, relay.Conflict, "")
			if c.user(u.ID).Password != testPassword {
				t.Errorf("%s: the password was set", what)
			}
		}
	})
}

// AP-03: a key that was revoked or switched off, and a session that has ended, make no
// other key, nor anything else, by a request that was under way.
func TestNothingIsMadeByWhatHasEnded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		nodes := nodesOf(t, cfg)
		s, other := nodes[0], nodes[len(nodes)-1]
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		u := c.person(a, relay.RoleOwner)
		session, _ := c.session(u, relay.SessionFull)
		key := func() relay.Key {
			return relay.Key{ID: relay.KeyID{ID: relay.NewID(time.Now())}, Account: a, Kind: relay.KeyCertificate, CreatedAt: c.now}
		}
		revoked, off := key(), key()
		if err := errors.Join(s.CreateKey(ctx, testBy, revoked), s.CreateKey(ctx, testBy, off)); err != nil {
			t.Fatal(err)
		}
		by := func(change func(*By)) By { b := testBy; change(&b); return b }
		for what, v := range map[string]struct {
			by   By
			end  func() error
			want error
		}{
			"revoked":      {by(func(b *By) { b.Key = revoked.ID }), func() error { return s.RevokeKey(ctx, testBy, revoked.ID, c.now) }, ErrKeyOver},
			"switched off": {by(func(b *By) { b.Key = off.ID }), func() error { return s.SetKeyDisabled(ctx, testBy, off.ID, c.now) }, ErrKeyOver},
			"logged out":   {by(func(b *By) { b.Session = session.ID }), func() error { return s.EndSession(ctx, testBy, u.ID, session.ID) }, ErrSessionOver},
		} {
			made := key()
			if err := errors.Join(s.CreateKey(ctx, v.by, made), v.end()); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			n := changesOf(t, s, a)
			for ask, err := range map[string]error{
				"a key":         other.CreateKey(ctx, v.by, key()),
				"revoke":        other.RevokeKey(ctx, v.by, made.ID, c.now),
				"a subuser":     other.CreateSubuser(ctx, v.by, relay.Subuser{ID: relay.SubuserID{ID: relay.NewID(time.Now())}, Account: a, Name: "thiefs"}),
				"an invitation": other.CreateLink(ctx, v.by, c.invitation(a, "x@example.test")),
				"a grant":       other.SetGrant(ctx, v.by, u.ID, GrantOf(&u), Grant{Role: relay.RoleAuditor}),
			} {
				if !errors.Is(err, v.want) {
					t.Errorf("%s, %s: %v", what, ask, err)
				}
			}
			if changesOf(t, s, a) != n {
				t.Errorf("%s: something was changed", what)
			}
		}
	})
}
