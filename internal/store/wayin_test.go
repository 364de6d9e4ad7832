package store

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/relay"
)

// nodesOf is a store, and on PostgreSQL a second node of its database beside it.
func nodesOf(t *testing.T, cfg Config) []*Store {
	t.Helper()
	s, _ := openTest(t, cfg)
	nodes := []*Store{s}
	if cfg.URL != "" {
		second, _ := openTest(t, cfg)
		nodes = append(nodes, second)
	}
	return nodes
}

// Who has no password keeps a passkey to log in with, also when all of them are
// removed at once, on whatever nodes. An app is no way in by itself.
func TestTheLastWayInStays(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		nodes := nodesOf(t, cfg)
		s := nodes[0]
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		for what, v := range map[string]struct {
			password string
			identity bool
			left     int
		}{
			"a passkey only": {left: 1}, "a password": {password: testPassword}, "an issuer": {identity: true},
		} {
			row := c.row(a, relay.RoleOwner)
			row.Password, row.TOTP = v.password, []byte("sealed")
			u := c.add(row)
			if v.identity {
				if err := s.AddIssuance(ctx, testBy, relay.Issuance{Issuer: "https://issuer.test", Subject: "s", User: u.ID, CreatedAt: c.now}); err != nil {
					t.Fatal(err)
				}
			}
			const n = 6
			for i := range n {
				if err := s.AddPasskey(ctx, testBy, relay.Passkey{ID: append([]byte{byte(i)}, what...), User: u.ID}); err != nil {
					t.Fatal(err)
				}
			}
			var wg sync.WaitGroup
			errs := make([]error, n)
			for i := range n {
				wg.Go(func() {
					errs[i] = nodes[i%len(nodes)].DeletePasskey(ctx, testBy, u.ID, append([]byte{byte(i)}, what...), relay.SessionID{}, stays)
				})
			}
			wg.Wait()
			refused := 0
			for _, err := range errs {
				if err != nil {
					refused++
					wantKind(t, what, err, relay.Conflict, "way")
				}
			}
			if left := c.user(u.ID).Passkeys; left != v.left || refused != v.left {
				t.Errorf("%s: %d passkeys are left, %d refused, want %d", what, left, refused, v.left)
			}
		}
	})
}

// stays keeps whoever has no password a passkey, or an identity at an issuer that is
// not called dead.
func stays(u *relay.User, keys []relay.Passkey, identities []relay.Issuance) error {
	if u.Password != "" || len(keys) > 0 || slices.ContainsFunc(identities, func(i relay.Issuance) bool { return !strings.Contains(i.Issuer, "dead") }) {
		return nil
	}
	return &relay.Error{Kind: relay.Conflict, Field: "way", Public: "The only way in."}
}

// The same of the identities at issuers, and of both kinds at once: those at issuers
// that let nobody in do not count.
func TestTheLastIdentityStays(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		nodes := nodesOf(t, cfg)
		s := nodes[0]
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		for what, v := range map[string]struct {
			password string
			issuers  []string
			passkeys int
			live     int // ways in that are left
		}{
			"identities only": {issuers: []string{"a", "b", "dead-1"}, live: 1}, "a password": {password: testPassword, issuers: []string{"a", "b"}},
			"one of each": {issuers: []string{"a", "dead-1", "dead-2"}, passkeys: 1, live: 1}, "passkeys and dead ones": {issuers: []string{"dead-1"}, passkeys: 2, live: 1},
		} {
			row := c.row(a, relay.RoleOwner)
			row.Password = v.password
			u := c.add(row)
			var away []func(*Store) error
			for i := range v.passkeys {
				id := append([]byte{byte(i)}, what...)
				if err := s.AddPasskey(ctx, testBy, relay.Passkey{ID: id, User: u.ID}); err != nil {
					t.Fatal(err)
				}
				away = append(away, func(s *Store) error { return s.DeletePasskey(ctx, testBy, u.ID, id, relay.SessionID{}, stays) })
			}
			for _, name := range v.issuers {
				issuer := "https://" + name + ".test"
				if err := s.AddIssuance(ctx, testBy, relay.Issuance{Issuer: issuer, Subject: what, User: u.ID, CreatedAt: c.now}); err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(name, "dead") {
					away = append(away, func(s *Store) error {
						return s.DeleteIssuance(ctx, testBy, u.ID, issuer, what, relay.SessionID{}, stays)
					})
				}
			}
			var wg sync.WaitGroup
			errs := make([]error, len(away))
			for i, fn := range away {
				wg.Go(func() { errs[i] = fn(nodes[i%len(nodes)]) })
			}
			wg.Wait()
			refused := 0
			for _, err := range errs {
				if err != nil {
					refused++
					wantKind(t, what, err, relay.Conflict, "way")
				}
			}
			if refused != v.live {
				t.Errorf("%s: %d of %d were refused, want %d: %v", what, refused, len(away), v.live, errs)
			}
		}
	})
}

// A login by an identity that was unlinked since it was shown opens no session; the
// clock of another login at the same moment does not matter.
func TestSessionOfAnUnlinkedIdentity(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		u := c.add(c.row(c.account(), relay.RoleOwner))
		i := relay.Issuance{Issuer: "https://a.test", Subject: "s", User: u.ID, CreatedAt: c.now}
		if err := s.AddIssuance(ctx, testBy, i); err != nil {
			t.Fatal(err)
		}
		login := func(after time.Duration) error {
			v, hash := c.login(u, relay.SessionFull)
			v.Method, v.CreatedAt = "oidc Corp", c.now.Add(after)
			return s.CreateSession(ctx, v, hash)
		}
		wantKind(t, "by one that was not shown", login(0), relay.Conflict, "")
		for _, at := range []time.Duration{time.Second, 0} { // the slower of two logins comes last
			if err := s.TouchIssuance(ctx, i.Issuer, i.Subject, c.now.Add(at)); err != nil {
				t.Fatal(err)
			}
		}
		for _, at := range []time.Duration{0, time.Second} {
			if err := login(at); err != nil {
				t.Errorf("a login of %s: %v", at, err)
			}
		}
		if err := s.DeleteIssuance(ctx, testBy, u.ID, i.Issuer, i.Subject, relay.SessionID{}, nil); err != nil {
			t.Fatal(err)
		}
		wantKind(t, "after it was unlinked", login(time.Second), relay.Conflict, "")
		if all, err := s.Sessions(ctx, u.ID); err != nil || len(all) != 0 {
			t.Errorf("sessions %v, %v", all, err)
		}
	})
}

// Marks of whom single sign-on brought are written anew, of one account, and of nobody
// whom something else brought.
func TestMarkBrought(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		a, other := c.account(), c.account()
		by := func(account relay.AccountID, mark string) relay.UserID {
			row := c.row(account, relay.RoleOwner)
			row.InvitedBy = mark
			return c.add(row).ID
		}
		want := map[relay.UserID]string{by(a, "sso Corp"): "sso https://corp.test", by(a, "sso Corp Ltd"): "sso Corp Ltd", by(a, "user Corp"): "user Corp", by(other, "sso Corp"): "sso Corp"}
		for range 2 { // the second start finds none
			if err := s.MarkBrought(ctx, a, "sso Corp", "sso https://corp.test"); err != nil {
				t.Fatal(err)
			}
		}
		for id, mark := range want {
			if got := c.user(id).InvitedBy; got != mark {
				t.Errorf("marked %q, want %q", got, mark)
			}
		}
	})
}
