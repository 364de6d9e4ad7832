package store

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/relay"
)

// A person's own name is set beside whatever else is changed: somebody who sets it
// over and over does not keep a role that is taken from them meanwhile (AC-11).
func TestNamesBringNoRankBack(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := t.Context(), newCrowd(t, s)
		u := c.person(c.account(), relay.RoleAdmin)
		down := u
		down.Role, down.Email = relay.RoleAuditor, "moved-"+u.Email
		if err := errors.Join(c.regrant(down), c.move(u, down.Email)); err != nil {
			t.Fatal(err)
		}
		session, hash := c.session(u, relay.SessionFull)
		if err := s.SetUserName(ctx, testBy, u.ID, "Ann", "Miller"); err != nil {
			t.Fatal(err)
		}
		if got := c.user(u.ID); got.Role != relay.RoleAuditor || got.Email != down.Email || got.FirstName != "Ann" || got.LastName != "Miller" {
			t.Errorf("after setting a name: %+v", got)
		}
		if !c.open(hash) {
			t.Errorf("setting a name ends session %s", session.ID)
		}
		wantKind(t, "nobody", s.SetUserName(ctx, testBy, relay.UserID{ID: relay.NewID(c.now)}, "A", "B"), relay.NotFound, "")
	})
}

// The account has an owner, whatever is done; and so have a subuser's people.
func TestTheLastOwnerStays(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		sub, second := c.subuser(a), c.subuser(a)
		of := func(sub relay.SubuserID, role relay.Role) relay.User {
			u := c.row(a, role)
			u.Subuser = sub
			return c.add(u)
		}
		for _, group := range []relay.SubuserID{{}, sub} {
			owner := of(group, relay.RoleOwner)
			of(group, relay.RoleAdmin)
			of(second, relay.RoleOwner) // another's
			off := of(group, relay.RoleOwner)
			if err := s.SetUserDisabled(ctx, testBy, off.ID, c.now); err != nil {
				t.Fatal(err)
			}
			if group.IsZero() {
				some := c.row(a, relay.RoleOwner) // sees one subuser: cannot act for the account
				some.Restricted, some.Subusers = true, []relay.SubuserID{sub}
				c.add(some)
				narrow := owner
				narrow.Restricted, narrow.Subusers = true, []relay.SubuserID{sub}
				wantKind(t, "restricted", c.regrant(narrow), relay.Conflict, "role")
			}
			lower := owner
			lower.Role = relay.RoleAdmin
			wantKind(t, "demoted", c.regrant(lower), relay.Conflict, "role")
			wantKind(t, "disabled", s.SetUserDisabled(ctx, testBy, owner.ID, c.now), relay.Conflict, "role")
			wantKind(t, "deleted", s.DeleteUser(ctx, testBy, owner.ID, c.now), relay.Conflict, "role")
			if err := errors.Join(s.SetUserName(ctx, testBy, owner.ID, "still free", "to change"), c.regrant(owner)); err != nil {
				t.Error(err)
			}
			if err := s.SetUserDisabled(ctx, testBy, off.ID, time.Time{}); err != nil {
				t.Error(err)
			}
			if err := c.regrant(lower); err != nil {
				t.Errorf("with another owner: %v", err)
			}
			if err := s.DeleteUser(ctx, testBy, owner.ID, c.now); err != nil {
				t.Errorf("who is none any more: %v", err)
			}
		}
		// All of them go at once: one is left.
		b := c.account()
		var owners []relay.User
		for range 8 {
			owners = append(owners, c.person(b, relay.RoleOwner))
		}
		var wg sync.WaitGroup
		errs := make([]error, len(owners))
		for i, u := range owners {
			wg.Go(func() {
				switch i % 3 {
				case 0:
					errs[i] = s.DeleteUser(ctx, testBy, u.ID, c.now)
				case 1:
					errs[i] = s.SetUserDisabled(ctx, testBy, u.ID, c.now)
				default:
					u.Role = relay.RoleAuditor
					errs[i] = c.regrant(u)
				}
			})
		}
		wg.Wait()
		refused := 0
		for _, err := range errs {
			if err != nil {
				refused++
				wantKind(t, "the last", err, relay.Conflict, "role")
			}
		}
		if refused != 1 {
			t.Errorf("%d of 8 were refused, want 1", refused)
		}
	})
}

// A deleted person's names are free, the row stays, and nothing that opened a door
// is left.
func TestDeleteUser(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		c.person(a, relay.RoleOwner)
		u := c.person(a, relay.RoleAdmin)
		_, hash := c.session(u, relay.SessionFull)
		if err := errors.Join(
			s.SetTOTP(ctx, testBy, u.ID, []byte("sealed"), 5, c.now, relay.SessionID{}), s.SetRecoveryCodes(ctx, testBy, u.ID, [][32]byte{{1}}),
			s.AddPasskey(ctx, testBy, relay.Passkey{ID: []byte("p"), User: u.ID, Credential: []byte("c")}),
			s.AddIssuance(ctx, testBy, relay.Issuance{Issuer: "https://i.test", Subject: "s", User: u.ID, CreatedAt: c.now}),
			s.CreateLink(ctx, testBy, relay.Link{Hash: [32]byte{1}, Kind: relay.LinkReset, User: u.ID, Email: u.Email, ExpiresAt: c.now.Add(time.Hour)}),
			s.DeleteUser(ctx, testBy, u.ID, c.now),
		); err != nil {
			t.Fatal(err)
		}
		got := c.user(u.ID)
		if got.DeletedAt != c.now || got.Username != u.Username || got.Email != u.Email || got.Password != "" || got.TOTP != nil || got.Passkeys != 0 || got.RecoveryCodes != 0 {
			t.Errorf("row %+v", got)
		}
		if c.open(hash) {
			t.Error("a deleted person's session opens")
		}
		for what, err := range map[string]error{
			"name": created(s.UserNamed(ctx, u.Username)), "address": created(s.UserNamed(ctx, u.Email)), "passkey": created(s.PasskeyByID(ctx, []byte("p"))),
			"identity": created(s.IssuanceUser(ctx, "https://i.test", "s")), "link": created(s.LinkByHash(ctx, [32]byte{1})),
			"reset": created(s.ResetByLink(ctx, testBy, [32]byte{1}, testPassword, c.now)),
		} {
			wantKind(t, what, err, relay.NotFound, "")
		}
		if all, err := s.Users(ctx, a); err != nil || len(all) != 1 {
			t.Errorf("%d listed, %v", len(all), err)
		}
		next := c.row(a, relay.RoleAdmin)
		next.Username, next.Email = u.Username, u.Email
		c.add(next)
		if err := s.AddIssuance(ctx, testBy, relay.Issuance{Issuer: "https://i.test", Subject: "s", User: next.ID}); err != nil {
			t.Errorf("the identity is not free: %v", err)
		}
	})
}

// A subuser that is deleted takes its people along.
func TestDeletedSubuserHasNoPeople(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		sub := c.subuser(a)
		stays := c.person(a, relay.RoleOwner)
		its := c.row(a, relay.RoleOwner)
		its.Subuser = sub
		c.add(its)
		_, kept := c.session(stays, relay.SessionFull)
		_, ended := c.session(its, relay.SessionFull)
		invite := relay.Link{Hash: [32]byte{1}, Kind: relay.LinkInvite, Account: a, Subuser: sub, Email: "new@example.test", Role: relay.RoleAdmin, ExpiresAt: c.now.Add(time.Hour)}
		if err := s.CreateLink(ctx, testBy, invite); err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteSubuser(ctx, testBy, sub, c.now); err != nil {
			t.Fatal(err)
		}
		if !c.open(kept) || c.open(ended) {
			t.Error("the wrong sessions ended")
		}
		wantKind(t, "its invitation", s.AcceptLink(ctx, testBy, invite.Hash, c.row(a, relay.RoleAdmin), c.now), relay.NotFound, "")
		wantKind(t, "its person", created(s.UserNamed(ctx, its.Username)), relay.NotFound, "")
		late := c.row(a, relay.RoleAdmin)
		late.Subuser = sub
		wantKind(t, "one more", s.CreateUser(ctx, testBy, late), relay.NotFound, "")
		its.ID.ID, its.Subuser = relay.NewID(time.Now()), relay.SubuserID{}
		c.add(its) // its names are free
		changes, err := s.Changes(ctx, ChangeFilter{Account: a, Action: "subuser.delete"})
		if err != nil || len(changes) != 1 || !strings.Contains(string(changes[0].After), `"deleted_people":["`+its.Username+`"]`) {
			t.Errorf("record %+v, %v", changes, err)
		}
	})
}
