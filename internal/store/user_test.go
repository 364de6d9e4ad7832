package store

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/relay"
)

// crowd makes people.
type crowd struct {
	*claimant
	n int
}

func newCrowd(t testing.TB, s *Store) *crowd { return &crowd{claimant: newClaimant(t, s)} }

// testPassword stands for an Argon2id hash.
const testPassword = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA"

// row is a new person of an account.
func (c *crowd) row(a relay.AccountID, role relay.Role) relay.User {
	c.n++
	id := relay.NewID(time.Now())
	name := strings.ToLower(fmt.Sprintf("p%d-%x", c.n, id[10:]))
	return relay.User{ID: relay.UserID{ID: id}, Account: a, Username: name, Email: name + "@example.test", Role: role, Password: testPassword,
		PasswordAt: c.now, CreatedAt: c.now}
}

func (c *crowd) add(u relay.User) relay.User {
	c.t.Helper()
	if err := c.s.CreateUser(context.Background(), testBy, u); err != nil {
		c.t.Fatal(err)
	}
	return u
}

// person makes a person of an account.
func (c *crowd) person(a relay.AccountID, role relay.Role) relay.User {
	c.t.Helper()
	return c.add(c.row(a, role))
}

// session makes a session of a person, and returns the hash that opens it.
func (c *crowd) session(u relay.User, level relay.SessionLevel) (relay.Session, [32]byte) {
	c.t.Helper()
	v, hash := c.login(u, level)
	if err := c.s.CreateSession(context.Background(), v, hash); err != nil {
		c.t.Fatal(err)
	}
	return v, hash
}

func (c *crowd) login(u relay.User, level relay.SessionLevel) (relay.Session, [32]byte) {
	return relay.Session{ID: relay.SessionID{ID: relay.NewID(time.Now())}, User: u.ID, Level: level, Method: "password+totp", Addr: netip.MustParseAddr("192.0.2.4"),
		Agent: "Browser/1", CreatedAt: c.now, SeenAt: c.now, ExpiresAt: c.now.Add(12 * time.Hour)}, [32]byte(randomBytes(32))
}

// regrant gives a person the grant that u has, whatever theirs is.
func (c *crowd) regrant(u relay.User) error {
	c.t.Helper()
	old, err := c.s.User(context.Background(), u.ID)
	if err != nil {
		return err
	}
	return c.s.SetGrant(context.Background(), testBy, u.ID, GrantOf(&old), GrantOf(&u))
}

// move gives a person another address, as they do it themselves.
func (c *crowd) move(u relay.User, email string) error {
	c.t.Helper()
	l := c.link(relay.Link{Hash: [32]byte(randomBytes(32)), Kind: relay.LinkEmail, User: u.ID, Email: email, ExpiresAt: c.now.Add(time.Hour)})
	return created(c.s.ConfirmEmail(context.Background(), testBy, l.Hash, c.now))
}

// user reads a person.
func (c *crowd) user(id relay.UserID) relay.User {
	c.t.Helper()
	u, err := c.s.User(context.Background(), id)
	if err != nil {
		c.t.Fatal(err)
	}
	return u
}

// open reports whether a hash opens a session.
func (c *crowd) open(hash [32]byte) bool {
	c.t.Helper()
	_, _, err := c.s.SessionByHash(context.Background(), hash)
	if err != nil && relay.KindOf(err) != relay.NotFound {
		c.t.Error(err)
	}
	return err == nil
}

// wantKind checks the kind and the field of an error.
func wantKind(t testing.TB, what string, err error, kind relay.Kind, field string) {
	t.Helper()
	e, ok := errors.AsType[*relay.Error](err)
	if !ok || e.Kind != kind || e.Field != field {
		t.Errorf("%s: %v (field %q), want %v of %q", what, err, fieldOf(e), kind, field)
	}
}

func fieldOf(e *relay.Error) string {
	if e == nil {
		return ""
	}
	return e.Field
}

// winners runs something many times at once, and checks that exactly one comes
// through and the others get an error of a kind.
func winners(t *testing.T, what string, kind relay.Kind, fn func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	errs := make([]error, 24)
	start := make(chan struct{})
	for i := range errs {
		wg.Go(func() {
			<-start
			errs[i] = fn(i)
		})
	}
	close(start)
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if relay.KindOf(err) != kind {
			t.Errorf("%s: %v", what, err)
		}
	}
	if won != 1 {
		t.Errorf("%s: %d came through, want 1", what, won)
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		a, b := c.account(), c.account()
		sub := c.subuser(a)
		rev := s.Revision()
		u := c.row(a, relay.RoleCustom)
		u.Username, u.Email, u.FirstName, u.LastName = "Ann", "Ann@Example.test", "Ann\u00e9", "L"
		u.Scopes, u.Restricted, u.Subusers = []string{"stats.read", "messages.read", "stats.read"}, true, []relay.SubuserID{sub}
		u.TOTP, u.TOTPStep, u.TOTPAt, u.InvitedBy = []byte("sealed"), 7, c.now, "uid 0"
		c.add(u)
		u.Scopes = []string{"messages.read", "stats.read"} // as Allows needs them
		got, err := s.User(ctx, u.ID)
		same(t, "read", u, got, err)
		for _, name := range []string{"ann", "ANN", "ann@example.TEST"} {
			got, err = s.UserNamed(ctx, name)
			same(t, "found by "+name, u, got, err)
		}
		its := c.row(a, relay.RoleOwner)
		its.Subuser = sub
		c.add(its)
		other := c.person(b, relay.RoleOwner)
		for who, want := range map[relay.AccountID]int{a: 2, b: 1, {}: 3, {ID: relay.NewID(time.Now())}: 0} {
			if all, err := s.Users(ctx, who); err != nil || len(all) != want {
				t.Errorf("%v: %d, %v", who, len(all), err)
			}
		}
		// What counts is read with the person.
		if err := errors.Join(s.AddPasskey(ctx, testBy, relay.Passkey{ID: []byte{1}, User: u.ID}),
			s.SetRecoveryCodes(ctx, testBy, u.ID, [][32]byte{{1}, {2}, {3}})); err != nil {
			t.Fatal(err)
		}
		u.Passkeys, u.RecoveryCodes = 1, 3
		all, err := s.Users(ctx, a)
		if i := slices.IndexFunc(all, func(v relay.User) bool { return v.ID == u.ID }); err != nil || i < 0 {
			t.Errorf("not listed: %+v, %v", all, err)
		} else {
			same(t, "listed", u, all[i], nil)
		}
		u.Role, u.Scopes, u.Restricted, u.Subusers = relay.RoleAuditor, nil, false, nil
		if err := c.regrant(u); err != nil {
			t.Fatal(err)
		}
		got, err = s.UserNamed(ctx, "Ann")
		same(t, "regranted", u, got, err)
		if s.Revision() != rev {
			t.Error("a change of people raised the revision that every node follows")
		}
		if got, err := s.User(ctx, other.ID); err != nil || got.Username != other.Username {
			t.Errorf("another's: %+v, %v", got, err)
		}
		if p, err := s.VerifyChanges(ctx, a); err != nil || p.Records < 5 {
			t.Errorf("record: %+v, %v", p, err)
		}
	})
}

func TestUserErrors(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		a, b := c.account(), c.account()
		foreign := c.subuser(b)
		one := c.person(a, relay.RoleOwner)
		for _, v := range []struct {
			what  string
			edit  func(*relay.User)
			kind  relay.Kind
			field string
		}{
			{"a user name in other letters", func(u *relay.User) { u.Username = strings.ToUpper(one.Username) }, relay.Conflict, "username"},
			{"an address in other letters", func(u *relay.User) { u.Email = strings.ToUpper(one.Email) }, relay.Conflict, "email"},
			{"a user name that is another's address", func(u *relay.User) { u.Username = one.Email }, relay.Conflict, "username"},
			{"an address that is another's user name", func(u *relay.User) { u.Email = one.Username }, relay.Conflict, "email"},
			{"no user name", func(u *relay.User) { u.Username = "" }, relay.Invalid, "username"},
			{"an endless address", func(u *relay.User) { u.Email = strings.Repeat("x", 321) }, relay.Invalid, "email"},
			{"no such role", func(u *relay.User) { u.Role = "king" }, relay.Invalid, "role"},
			{"restricted within a subuser", func(u *relay.User) { u.Account, u.Subuser, u.Restricted = b, foreign, true }, relay.Invalid, "restricted"},
			{"another account's subuser", func(u *relay.User) { u.Subuser = foreign }, relay.NotFound, ""},
			{"restricted to another account's subuser", func(u *relay.User) { u.Restricted, u.Subusers = true, []relay.SubuserID{foreign} }, relay.NotFound, ""},
			{"no such account", func(u *relay.User) { u.Account.ID = relay.NewID(time.Now()) }, relay.NotFound, ""},
			{"the same id", func(u *relay.User) { u.ID = one.ID }, relay.Conflict, ""},
		} {
			u := c.row(a, relay.RoleAdmin)
			v.edit(&u)
			wantKind(t, "create: "+v.what, s.CreateUser(ctx, testBy, u), v.kind, v.field)
			if v.field != "role" && !u.Restricted || u.Account != a {
				continue // no grant can be so
			}
			was := c.person(a, relay.RoleAdmin)
			u = was
			v.edit(&u)
			wantKind(t, "grant: "+v.what, c.regrant(u), v.kind, v.field)
			got, err := s.User(ctx, was.ID)
			same(t, "after: "+v.what, was, got, err)
		}
		plain := c.row(a, relay.RoleAdmin)
		plain.Password = "correct horse"
		if err := s.CreateUser(ctx, testBy, plain); err == nil {
			t.Error("a password was stored as it is")
		}
		if err := s.SetPassword(ctx, testBy, one.ID, "correct horse", c.now, relay.SessionID{}); err == nil || strings.Contains(err.Error(), "horse") {
			t.Errorf("a password was stored as it is, or told: %v", err)
		}
		// Whose address is the user name: one name.
		mail := c.row(a, relay.RoleAdmin)
		mail.Username = mail.Email
		c.add(mail)
		nobody := relay.UserID{ID: relay.NewID(time.Now())}
		gone := c.person(a, relay.RoleAdmin)
		if err := s.DeleteUser(ctx, testBy, gone.ID, c.now); err != nil {
			t.Fatal(err)
		}
		for _, id := range []relay.UserID{nobody, gone.ID, {}} {
			for what, err := range map[string]error{
				"grant":    s.SetGrant(ctx, testBy, id, Grant{}, Grant{Role: relay.RoleAdmin}),
				"name":     s.SetUserName(ctx, testBy, id, "A", "B"),
				"disable":  s.SetUserDisabled(ctx, testBy, id, c.now),
				"enable":   s.SetUserDisabled(ctx, testBy, id, time.Time{}),
				"delete":   s.DeleteUser(ctx, testBy, id, c.now),
				"password": s.SetPassword(ctx, testBy, id, testPassword, c.now, relay.SessionID{}),
				"totp":     s.SetTOTP(ctx, testBy, id, []byte{1}, 1, c.now, relay.SessionID{}),
				"codes":    s.SetRecoveryCodes(ctx, testBy, id, nil),
				"code":     created(s.UseRecoveryCode(ctx, testBy, id, [32]byte{}, c.now)),
				"reset":    s.ResetFactors(ctx, testBy, id),
				"session":  s.CreateSession(ctx, relay.Session{ID: relay.SessionID{ID: relay.NewID(time.Now())}, User: id}, [32]byte{1}),
				"end":      s.EndSession(ctx, testBy, id, relay.SessionID{}),
				"end all":  created(s.EndSessions(ctx, testBy, id, relay.SessionID{})),
				"passkey":  s.AddPasskey(ctx, testBy, relay.Passkey{ID: []byte{9}, User: id}),
				"identity": s.AddIssuance(ctx, testBy, relay.Issuance{Issuer: "i", Subject: "s", User: id}),
				"link":     s.CreateLink(ctx, testBy, relay.Link{Kind: relay.LinkReset, User: id, Email: "x@example.test"}),
			} {
				wantKind(t, what, err, relay.NotFound, "")
			}
		}
		wantKind(t, "a step", s.UseTOTPStep(ctx, nobody, 1), relay.Conflict, "")
	})
}

// The record of changes tells what was done, and no secret.
func TestChangesOfPeopleTellNoSecret(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		c.person(a, relay.RoleOwner)
		u := c.person(a, relay.RoleAdmin)
		hash := [32]byte(randomBytes(32))
		sealed := randomBytes(40)
		session, token := c.session(u, relay.SessionFull)
		_, _ = c.session(u, relay.SessionFull)
		link := relay.Link{Hash: hash, Kind: relay.LinkInvite, Account: a, Email: "new@example.test", Role: relay.RoleAdmin, CreatedAt: c.now, ExpiresAt: c.now.Add(time.Hour)}
		second := link
		second.Hash, second.Email = [32]byte(randomBytes(32)), "other@example.test"
		_, codeErr := 0, s.SetRecoveryCodes(ctx, testBy, u.ID, [][32]byte{hash, {2}})
		if err := errors.Join(codeErr,
			s.SetPassword(ctx, testBy, u.ID, testPassword+"2", c.now, session.ID), s.SetTOTP(ctx, testBy, u.ID, sealed, 99887766, c.now, relay.SessionID{}),
			created(s.UseRecoveryCode(ctx, testBy, u.ID, hash, c.now)),
			s.AddPasskey(ctx, testBy, relay.Passkey{ID: []byte("p"), User: u.ID, Name: "phone", Credential: sealed}),
			s.RenamePasskey(ctx, testBy, u.ID, []byte("p"), "old phone"), s.DeletePasskey(ctx, testBy, u.ID, []byte("p"), session.ID, nil),
			s.AddIssuance(ctx, testBy, relay.Issuance{Issuer: "https://i.test", Subject: "s", User: u.ID, CreatedAt: c.now}),
			s.DeleteIssuance(ctx, testBy, u.ID, "https://i.test", "s", session.ID, nil),
			s.CreateLink(ctx, testBy, link), s.AcceptLink(ctx, testBy, hash, c.row(a, relay.RoleAdmin), c.now),
			s.CreateLink(ctx, testBy, second), s.DeleteLinks(ctx, testBy, relay.Tenant{Account: a}, second.Email, relay.LinkInvite),
			s.EndSession(ctx, testBy, u.ID, session.ID), s.ResetFactors(ctx, testBy, u.ID),
			s.SetUserDisabled(ctx, testBy, u.ID, c.now), s.SetUserDisabled(ctx, testBy, u.ID, time.Time{}), s.DeleteUser(ctx, testBy, u.ID, c.now),
		); err != nil {
			t.Fatal(err)
		}
		changes, err := s.Changes(ctx, ChangeFilter{Account: a, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		var actions []string
		all := ""
		for _, r := range changes {
			actions = append(actions, r.Action)
			all += r.Subject + string(r.Before) + string(r.After) + "\n"
			if r.Action != "account.create" && (r.By != testBy.Who || r.From != testBy.From) {
				t.Errorf("%s is by %q", r.Action, r.By)
			}
		}
		for what, octets := range map[string][]byte{"hash": hash[:], "token's hash": token[:], "sealed": sealed, "link": second.Hash[:]} {
			for _, form := range []string{hex.EncodeToString(octets), base64Std(octets), base64URL(octets), fmt.Sprint(octets), strings.ReplaceAll(fmt.Sprint(octets), " ", ",")} {
				if strings.Contains(all, form) {
					t.Errorf("the record has the %s", what)
				}
			}
		}
		if strings.Contains(all, "argon2") || strings.Contains(all, "99887766") {
			t.Error("the record has a password's hash or a code's step")
		}
		want := []string{"account.create", "user.create", "user.create", "user.recovery_codes.set", "user.password", "user.totp.set", "user.recovery_codes.use",
			"user.passkey.add", "user.passkey.rename", "user.passkey.delete", "user.identity.add", "user.identity.delete", "link.create", "user.create",
			"link.create", "link.delete", "session.end", "user.factors.reset", "user.disable", "user.enable", "user.delete"}
		if !slices.Equal(actions, want) {
			t.Errorf("actions\n%q, want\n%q", actions, want)
		}
		if p, err := s.VerifyChanges(ctx, a); err != nil || p.Records != int64(len(want)) {
			t.Errorf("chain %+v, %v", p, err)
		}
	})
}

func base64Std(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
func base64URL(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
