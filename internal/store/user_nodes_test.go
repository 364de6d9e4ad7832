package store

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"postern/internal/relay"
)

// nodes opens what several nodes of an installation have: on PostgreSQL two stores
// on one database, on SQLite the one that there can be.
func nodes(t *testing.T, cfg Config) (s *Store, node func(i int) *Store) {
	t.Helper()
	s, _ = openTest(t, cfg)
	all := []*Store{s}
	if cfg.URL != "" {
		second, _ := openTest(t, cfg)
		all = append(all, second)
	}
	return s, func(i int) *Store { return all[i%len(all)] }
}

// AC-11: a role that somebody takes away does not come back because somebody else
// had looked at the person before, on another node.
func TestGrantsOfAnEarlierLook(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, node := nodes(t, cfg)
		ctx, c := t.Context(), newCrowd(t, s)
		a := c.account()
		c.person(a, relay.RoleOwner)
		u := c.person(a, relay.RoleAdmin)
		seen, auditor := GrantOf(&u), Grant{Role: relay.RoleAuditor}
		if err := node(1).SetGrant(ctx, testBy, u.ID, seen, auditor); err != nil {
			t.Fatal(err)
		}
		late := Grant{Role: relay.RoleAdmin, Restricted: true, Subusers: []relay.SubuserID{c.subuser(a)}}
		for what, err := range map[string]error{
			"grant":   s.SetGrant(ctx, testBy, u.ID, seen, late),
			"same":    s.SetGrant(ctx, testBy, u.ID, seen, seen),
			"disable": s.SetUserDisabled(ctx, testBy, u.ID, c.now, seen),
			"enable":  s.SetUserDisabled(ctx, testBy, u.ID, time.Time{}, seen),
			"factors": s.ResetFactors(ctx, testBy, u.ID, seen),
			"delete":  s.DeleteUser(ctx, testBy, u.ID, c.now, seen),
		} {
			wantKind(t, what, err, relay.Conflict, "")
		}
		if got := c.user(u.ID); got.Role != relay.RoleAuditor || got.Restricted || !got.DisabledAt.IsZero() {
			t.Errorf("after all of that: %+v", got)
		}
		// Whatever else is changed meanwhile stays: a grant is all that is written.
		if err := node(1).SetUserDisabled(ctx, testBy, u.ID, c.now); err != nil {
			t.Fatal(err)
		}
		if err := s.SetGrant(ctx, testBy, u.ID, auditor, Grant{Role: relay.RoleDeveloper}); err != nil {
			t.Fatal(err)
		}
		if got := c.user(u.ID); got.DisabledAt.IsZero() || got.Role != relay.RoleDeveloper {
			t.Errorf("a new role lets a disabled person in: %+v", got)
		}
		winners(t, "one look, many grants", relay.Conflict, func(i int) error {
			to := Grant{Role: relay.RoleCustom, Scopes: []string{fmt.Sprintf("scope.%d", i)}}
			return node(i).SetGrant(ctx, testBy, u.ID, Grant{Role: relay.RoleDeveloper}, to)
		})
	})
}

// Two owners who take each other's role, shut each other out or delete each other
// at the same moment: one is too late, on whatever node.
func TestOwnersAgainstEachOther(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, node := nodes(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		end := map[string]func(s *Store, u relay.User) error{
			"demote": func(s *Store, u relay.User) error {
				return s.SetGrant(ctx, testBy, u.ID, GrantOf(&u), Grant{Role: relay.RoleAdmin})
			},
			"disable": func(s *Store, u relay.User) error { return s.SetUserDisabled(ctx, testBy, u.ID, c.now, GrantOf(&u)) },
			"delete":  func(s *Store, u relay.User) error { return s.DeleteUser(ctx, testBy, u.ID, c.now, GrantOf(&u)) },
		}
		for one, first := range end {
			for two, second := range end {
				a := c.account()
				x, y := c.person(a, relay.RoleOwner), c.person(a, relay.RoleOwner)
				errs := atOnce(
					func() error { return first(node(0), x) },
					func() error { return second(node(1), y) },
				)
				if (errs[0] == nil) == (errs[1] == nil) {
					t.Errorf("%s against %s: %v, %v", one, two, errs[0], errs[1])
				}
				for _, err := range errs {
					if err != nil {
						wantKind(t, one+" against "+two, err, relay.Conflict, "role")
					}
				}
			}
		}
		checkPeople(t, s)
	})
}

// atOnce runs functions at the same moment.
func atOnce(fns ...func() error) []error {
	errs := make([]error, len(fns))
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i, fn := range fns {
		wg.Go(func() {
			<-start
			errs[i] = fn()
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// What works once works once on all nodes together (AC-03, AC-06, AC-09, AC-13).
func TestOnceOnAllNodes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, node := nodes(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		u := c.person(a, relay.RoleOwner)
		invite := c.link(c.invitation(a, "new@example.test"))
		winners(t, "an invitation", relay.Conflict, func(i int) error {
			who := relay.User{ID: relay.UserID{ID: relay.NewID(time.Now())}, Username: fmt.Sprintf("guest%d", i), Password: testPassword}
			return node(i).AcceptLink(ctx, testBy, invite.Hash, who, c.now)
		})
		reset := c.link(relay.Link{Hash: [32]byte(randomBytes(32)), Kind: relay.LinkReset, User: u.ID, Email: u.Email, ExpiresAt: c.now.Add(time.Hour)})
		winners(t, "a reset link", relay.Conflict, func(i int) error {
			return created(node(i).ResetByLink(ctx, testBy, reset.Hash, testPassword, c.now))
		})
		code := [32]byte{7}
		if err := s.SetRecoveryCodes(ctx, testBy, u.ID, [][32]byte{code, {8}}); err != nil {
			t.Fatal(err)
		}
		winners(t, "a recovery code", relay.NotFound, func(i int) error { return created(node(i).UseRecoveryCode(ctx, testBy, u.ID, code, c.now)) })
		if err := s.SetTOTP(ctx, testBy, u.ID, []byte{1}, 1, c.now, relay.SessionID{}); err != nil {
			t.Fatal(err)
		}
		winners(t, "a code", relay.Conflict, func(i int) error { return node(i).UseTOTPStep(ctx, u.ID, 2) })
		winners(t, "a new passkey", relay.Conflict, func(i int) error {
			return node(i).AddPasskey(ctx, testBy, relay.Passkey{ID: []byte("key"), User: u.ID, Credential: []byte("0")})
		})
		winners(t, "an answer of a passkey", relay.Conflict, func(i int) error {
			return node(i).UsePasskey(ctx, PasskeyUse{ID: []byte("key"), Was: []byte("0"), Credential: []byte("0"), Challenge: [32]byte{1}, At: c.now, Until: c.now.Add(time.Minute)})
		})
		// One counter, judged twice: two devices have the key.
		winners(t, "a counter", relay.Conflict, func(i int) error {
			return node(i).UsePasskey(ctx, PasskeyUse{ID: []byte("key"), Was: []byte("0"), Credential: []byte("1"), Challenge: [32]byte{2, byte(i)}, At: c.now,
				Until: c.now.Add(time.Minute)})
		})
		n := rows(t, s, "links")
		if _, err := s.PruneSessions(ctx, c.now.Add(time.Minute)); err != nil || rows(t, s, "links") != n-2 {
			t.Errorf("%d links, then %d: answered challenges stay when they are over (%v)", n, rows(t, s, "links"), err)
		}
	})
}

// A new address and a new password at the same moment: each takes the other's link
// away, so one of them happens.
func TestAddressAgainstReset(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, node := nodes(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		for range 8 {
			u := c.person(a, relay.RoleOwner)
			own := func(kind relay.LinkKind, email string) relay.Link {
				return c.link(relay.Link{Hash: [32]byte(randomBytes(32)), Kind: kind, User: u.ID, Email: email, ExpiresAt: c.now.Add(time.Hour)})
			}
			reset, email := own(relay.LinkReset, u.Email), own(relay.LinkEmail, "new-"+u.Email)
			errs := atOnce(
				func() error { return created(node(0).ResetByLink(ctx, testBy, reset.Hash, testPassword, c.now)) },
				func() error { return created(node(1).ConfirmEmail(ctx, testBy, email.Hash, c.now)) },
			)
			if (errs[0] == nil) == (errs[1] == nil) {
				t.Errorf("reset: %v, address: %v", errs[0], errs[1])
			}
			if moved := c.user(u.ID).Email == email.Email; moved != (errs[1] == nil) {
				t.Errorf("moved %v, but %v", moved, errs[1])
			}
		}
	})
}

// The last two factors, removed at the same moment: one stays where the account
// demands it. And who may set up the first one cannot set up a second one.
func TestFactorsAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, node := nodes(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		for i := range 8 {
			u, one, two := c.person(a, relay.RoleOwner), fmt.Appendf(nil, "one-%d", i), fmt.Appendf(nil, "two-%d", i)
			add := func(s *Store, id []byte) error {
				return s.AddPasskey(ctx, testBy, relay.Passkey{ID: id, User: u.ID}, FirstFactor)
			}
			errs := atOnce(
				func() error {
					return node(0).SetTOTP(ctx, testBy, u.ID, []byte{1}, 1, c.now, relay.SessionID{}, FirstFactor)
				},
				func() error { return add(node(1), one) },
				func() error { return add(node(0), two) },
			)
			won := 0
			for _, err := range errs {
				if err == nil {
					won++
				} else {
					wantKind(t, "a first factor", err, relay.Conflict, "")
				}
			}
			if won != 1 {
				t.Errorf("%d first factors: %v", won, errs)
			}
			if err := s.ResetFactors(ctx, testBy, u.ID); err != nil {
				t.Fatal(err)
			}
			for _, err := range []error{s.SetTOTP(ctx, testBy, u.ID, []byte{1}, 1, c.now, relay.SessionID{}, FirstFactor), s.AddPasskey(ctx, testBy, relay.Passkey{ID: one, User: u.ID})} {
				if err != nil {
					t.Fatal(err)
				}
			}
			errs = atOnce(
				func() error { return node(0).RemoveTOTP(ctx, testBy, u.ID, relay.SessionID{}, NotLastFactor) },
				func() error {
					return node(1).DeletePasskey(ctx, testBy, u.ID, one, relay.SessionID{}, nil, NotLastFactor)
				},
			)
			if left := c.user(u.ID); !left.SecondFactor() || (errs[0] == nil) == (errs[1] == nil) {
				t.Errorf("no factor is left: %v, %v", errs[0], errs[1])
			}
		}
	})
}

// Who was switched off stays so, whatever else of them is changed by somebody who
// had looked at them before.
func TestNothingIsSwitchedOnByTheWay(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, node := nodes(t, cfg)
		ctx, w := t.Context(), newWorld(t, s)
		account, err := s.Account(ctx, w.account.ID)
		if err != nil {
			t.Fatal(err)
		}
		sub, err := s.Subuser(ctx, w.subuser.ID)
		if err != nil {
			t.Fatal(err)
		}
		key, err := s.Key(ctx, w.key.ID)
		if err != nil {
			t.Fatal(err)
		}
		at := time.Now().UTC().Truncate(time.Microsecond)
		account.Name, sub.Email, key.Name = "renamed", "new@example.test", "renamed"
		for what, err := range map[string]error{
			"account off": node(1).SetAccountDisabled(ctx, testBy, account.ID, at), "subuser off": node(1).SetSubuserDisabled(ctx, testBy, sub.ID, at),
			"key off": node(1).SetKeyDisabled(ctx, testBy, key.ID, at),
		} {
			if err != nil {
				t.Fatal(what, err)
			}
		}
		for what, err := range map[string]error{
			"account": editAccount(s, account), "subuser": editSubuser(s, sub), "key": editKey(t, s, key),
		} {
			if err != nil {
				t.Error(what, err)
			}
		}
		if a, err := s.Account(ctx, account.ID); err != nil || !a.DisabledAt.Equal(at) || a.Name != "renamed" {
			t.Errorf("account: %+v, %v", a, err)
		}
		if u, err := s.Subuser(ctx, sub.ID); err != nil || !u.DisabledAt.Equal(at) || u.Email != "new@example.test" {
			t.Errorf("subuser: %+v, %v", u, err)
		}
		if k, err := s.Key(ctx, key.ID); err != nil || !k.DisabledAt.Equal(at) || k.Name != "renamed" {
			t.Errorf("key: %+v, %v", k, err)
		}
	})
}

// An access list is changed by who knows it: of several at once, one.
func TestAccessListsOfAnEarlierLook(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, node := nodes(t, cfg)
		ctx, c := t.Context(), newCrowd(t, s)
		tenant := relay.Tenant{Account: c.account()}
		for range 2 { // of none, and of one that is there
			was, err := s.AccessList(ctx, tenant)
			if err != nil {
				t.Fatal(err)
			}
			winners(t, "one look, many lists", relay.Conflict, func(i int) error {
				next := was
				next.Rules = append(slices.Clone(was.Rules), relay.AccessRule{Network: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 32)})
				return created(node(i).SwapAccessList(ctx, testBy, was, next))
			})
			if now, err := s.AccessList(ctx, tenant); err != nil || len(now.Rules) != len(was.Rules)+1 {
				t.Errorf("%+v, %v", now, err)
			}
		}
	})
}

// The watch holds a key's mail while somebody renames the key: it stays held.
func TestKeysOfAnEarlierLook(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, node := nodes(t, cfg)
		ctx, w := t.Context(), newWorld(t, s)
		was, err := s.Key(ctx, w.key.ID)
		if err != nil {
			t.Fatal(err)
		}
		held, renamed := was, was
		held.Mode, renamed.Name = relay.KeyHold, "renamed"
		if err := editKey(t, node(1), held); err != nil {
			t.Fatal(err)
		}
		wantKind(t, "renamed", s.SwapKey(ctx, testBy, was, renamed), relay.Conflict, "")
		if was, err = s.Key(ctx, w.key.ID); err != nil || was.Mode != relay.KeyHold {
			t.Fatalf("%+v, %v", was, err)
		}
		// What is known of its use is no change of it.
		use := was
		use.UseCount, use.LastUsedAt = 99, time.Now()
		winners(t, "one look, many names", relay.Conflict, func(i int) error {
			to := use
			to.Name = fmt.Sprint("name ", i)
			return node(i).SwapKey(ctx, testBy, use, to)
		})
		if k, err := s.Key(ctx, w.key.ID); err != nil || k.Mode != relay.KeyHold || k.UseCount != was.UseCount {
			t.Errorf("%+v, %v", k, err)
		}
	})
}
