package store

import (
	"context"
	"fmt"
	"sync"
	"testing"

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
					errs[i] = nodes[i%len(nodes)].DeletePasskey(ctx, testBy, u.ID, append([]byte{byte(i)}, what...), relay.SessionID{}, NotLastWayIn)
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

// The same of the identities at issuers: the last one stays where there is neither a
// password nor a passkey, and where identities let nobody in they are none.
func TestTheLastIdentityStays(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		nodes := nodesOf(t, cfg)
		s := nodes[0]
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		for what, v := range map[string]struct {
			password string
			passkey  bool
			rule     FactorRule
			left     int
		}{
			"identities only": {rule: NotLastWayIn, left: 1}, "a password": {password: testPassword, rule: NotLastWayIn}, "a passkey": {passkey: true, rule: NotLastWayIn},
			"none that lets in": {rule: NotLastOwnWay, left: 4}, "none, but a passkey": {passkey: true, rule: NotLastOwnWay},
		} {
			row := c.row(a, relay.RoleOwner)
			row.Password = v.password
			u := c.add(row)
			if v.passkey {
				if err := s.AddPasskey(ctx, testBy, relay.Passkey{ID: []byte(what), User: u.ID}); err != nil {
					t.Fatal(err)
				}
			}
			const n = 4
			issuer := func(i int) string { return fmt.Sprintf("https://%d.test", i) }
			for i := range n {
				if err := s.AddIssuance(ctx, testBy, relay.Issuance{Issuer: issuer(i), Subject: what, User: u.ID, CreatedAt: c.now}); err != nil {
					t.Fatal(err)
				}
			}
			var wg sync.WaitGroup
			errs := make([]error, n)
			for i := range n {
				wg.Go(func() {
					errs[i] = nodes[i%len(nodes)].DeleteIssuance(ctx, testBy, u.ID, issuer(i), what, relay.SessionID{}, v.rule)
				})
			}
			wg.Wait()
			for _, err := range errs {
				if err != nil {
					wantKind(t, what, err, relay.Conflict, "way")
				}
			}
			if left, err := s.Issuances(ctx, u.ID); err != nil || len(left) != v.left {
				t.Errorf("%s: %d identities are left, %v, want %d", what, len(left), err, v.left)
			}
			if v.passkey {
				wantKind(t, what+": the passkey then", s.DeletePasskey(ctx, testBy, u.ID, []byte(what), relay.SessionID{}, v.rule), relay.Conflict, "way")
			}
		}
	})
}
