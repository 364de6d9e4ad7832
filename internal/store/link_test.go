package store

import (
	"context"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

// invitation is a new invite link.
func (c *crowd) invitation(a relay.AccountID, email string) relay.Link {
	return relay.Link{Hash: [32]byte(randomBytes(32)), Kind: relay.LinkInvite, Account: a, Email: email, Role: relay.RoleDeveloper,
		CreatedAt: c.now, CreatedBy: "user ann", ExpiresAt: c.now.Add(7 * 24 * time.Hour)}
}

func (c *crowd) link(l relay.Link) relay.Link {
	c.t.Helper()
	if l.CreatedAt.IsZero() {
		l.CreatedAt = c.now
	}
	if err := c.s.CreateLink(context.Background(), testBy, l); err != nil {
		c.t.Fatal(err)
	}
	return l
}

func TestLinks(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		a, b := c.account(), c.account()
		sub := c.subuser(a)
		u := c.row(a, relay.RoleOwner)
		u.Subuser = sub
		c.add(u)
		invite := c.invitation(a, "New@Example.test")
		invite.Role, invite.Scopes, invite.Restricted, invite.Subusers = relay.RoleCustom, []string{"mail.send", "stats.read"}, true, []relay.SubuserID{sub}
		c.link(invite)
		got, err := s.LinkByHash(ctx, invite.Hash)
		same(t, "invite", invite, got, err)
		// A link of a person bears the person's tenant, and gives no rank.
		reset := relay.Link{Hash: [32]byte{2}, Kind: relay.LinkReset, Account: b, User: u.ID, Email: u.Email, Role: relay.RoleOwner, Scopes: []string{"x"},
			CreatedAt: c.now.Add(time.Second), ExpiresAt: c.now.Add(time.Hour), UsedAt: c.now}
		c.link(reset)
		reset.Account, reset.Subuser, reset.Role, reset.Scopes, reset.UsedAt = a, sub, "", nil, time.Time{}
		got, err = s.LinkByHash(ctx, reset.Hash)
		same(t, "reset", reset, got, err)
		other := c.link(c.invitation(b, "new@example.test"))
		for _, v := range []struct {
			account relay.AccountID
			kinds   []relay.LinkKind
			want    []relay.Link
		}{
			{a, nil, []relay.Link{invite, reset}},
			{a, []relay.LinkKind{relay.LinkInvite, relay.LinkSetup}, []relay.Link{invite}},
			{a, []relay.LinkKind{relay.LinkEmail}, nil},
			{b, []relay.LinkKind{relay.LinkInvite}, []relay.Link{other}},
		} {
			all, err := s.Links(ctx, v.account, v.kinds...)
			same(t, "listed", v.want, all, err)
		}
		if all, err := s.Links(ctx, relay.AccountID{}); err != nil || len(all) != 3 {
			t.Errorf("all: %d, %v", len(all), err)
		}
		wantKind(t, "withdraw another kind", s.DeleteLinks(ctx, testBy, relay.Tenant{Account: a}, invite.Email, relay.LinkSetup), relay.NotFound, "")
		wantKind(t, "withdraw another's", s.DeleteLinks(ctx, testBy, relay.Tenant{Account: c.account()}, invite.Email, relay.LinkInvite), relay.NotFound, "")
		if err := s.DeleteLinks(ctx, testBy, relay.Tenant{Account: a}, "NEW@example.TEST", relay.LinkInvite); err != nil {
			t.Error(err)
		}
		wantKind(t, "withdrawn", s.UseLink(ctx, invite.Hash, c.now), relay.NotFound, "")
		if _, err := s.LinkByHash(ctx, other.Hash); err != nil {
			t.Errorf("another account's was withdrawn: %v", err)
		}
		for what, v := range map[string]struct {
			edit  func(*relay.Link)
			kind  relay.Kind
			field string
		}{
			"no kind":             {func(l *relay.Link) { l.Kind = "x" }, relay.Invalid, "kind"},
			"no address":          {func(l *relay.Link) { l.Email = "" }, relay.Invalid, "email"},
			"reset to nowhere":    {func(l *relay.Link) { l.Kind, l.User, l.Email = relay.LinkReset, u.ID, "" }, relay.Invalid, "email"},
			"no role":             {func(l *relay.Link) { l.Role = "" }, relay.Invalid, "role"},
			"no such account":     {func(l *relay.Link) { l.Account.ID = relay.NewID(time.Now()) }, relay.NotFound, ""},
			"no such subuser":     {func(l *relay.Link) { l.Subuser.ID = relay.NewID(time.Now()) }, relay.NotFound, ""},
			"to a foreign one":    {func(l *relay.Link) { l.Account, l.Restricted, l.Subusers = b, true, []relay.SubuserID{sub} }, relay.NotFound, ""},
			"the same hash":       {func(l *relay.Link) { l.Hash = other.Hash }, relay.Conflict, ""},
			"reset for nobody":    {func(l *relay.Link) { l.Kind = relay.LinkReset }, relay.NotFound, ""},
			"an endless address":  {func(l *relay.Link) { l.Email = strings.Repeat("x", 321) }, relay.Invalid, "email"},
			"restricted subusers": {func(l *relay.Link) { l.Subuser, l.Restricted = sub, true }, relay.Invalid, "restricted"},
		} {
			l := c.invitation(a, "third@example.test")
			v.edit(&l)
			wantKind(t, what, s.CreateLink(ctx, testBy, l), v.kind, v.field)
		}
	})
}

// AC-09, AC-13: the newest link alone works; those before it are dead.
// Each tenant withdraws its own invitations, though all went to one address.
func TestWithdrawingIsOfOneTenant(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := t.Context(), newCrowd(t, s)
		a := c.account()
		sub := c.subuser(a)
		const email = "new@example.test"
		own := c.link(c.invitation(a, email))
		theirs := c.invitation(a, email)
		theirs.Subuser = sub
		theirs = c.link(theirs)
		if err := s.DeleteLinks(ctx, testBy, relay.Tenant{Account: a, Subuser: sub}, email, relay.LinkInvite); err != nil {
			t.Fatal(err)
		}
		if _, err := s.LinkByHash(ctx, own.Hash); err != nil {
			t.Errorf("the account's went with the subuser's: %v", err)
		}
		_, err := s.LinkByHash(ctx, theirs.Hash)
		wantKind(t, "withdrawn", err, relay.NotFound, "")
	})
}

func TestTheNewestLinkAloneWorks(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		u := c.person(a, relay.RoleOwner)
		own := func(kind relay.LinkKind) relay.Link {
			return relay.Link{Hash: [32]byte(randomBytes(32)), Kind: kind, User: u.ID, Email: u.Email, ExpiresAt: c.now.Add(time.Hour)}
		}
		first, mail := c.link(own(relay.LinkReset)), c.link(own(relay.LinkEmail))
		c.link(own(relay.LinkReset))
		wantKind(t, "the older reset", s.UseLink(ctx, first.Hash, c.now), relay.NotFound, "")
		if err := s.UseLink(ctx, mail.Hash, c.now); err != nil {
			t.Errorf("another kind: %v", err)
		}
		c.link(own(relay.LinkEmail))
		if l, err := s.LinkByHash(ctx, mail.Hash); err != nil || l.UsedAt != c.now {
			t.Errorf("a used link is gone, and nobody can say that it was used: %+v, %v", l, err)
		}
		old := c.link(c.invitation(a, "new@example.test"))
		third := c.link(c.invitation(a, "third@example.test"))
		c.link(c.invitation(a, "NEW@example.test"))
		wantKind(t, "the older invitation", s.UseLink(ctx, old.Hash, c.now), relay.NotFound, "")
		if _, err := s.LinkByHash(ctx, third.Hash); err != nil {
			t.Errorf("somebody else's: %v", err)
		}
		// Also of many that are made at once one is left.
		errs := make(chan error, 24)
		for range cap(errs) {
			go func() { errs <- s.CreateLink(ctx, testBy, c.invitation(a, "race@example.test")) }()
		}
		for range cap(errs) {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		n := 0
		all, err := s.Links(ctx, a, relay.LinkInvite)
		for _, l := range all {
			if l.Email == "race@example.test" {
				n++
			}
		}
		if n != 1 || err != nil {
			t.Errorf("%d invitations at once, %v", n, err)
		}
	})
}

// AC-09: a link works once, until it ends.
func TestUseLink(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		l := c.link(c.invitation(c.account(), "new@example.test"))
		wantKind(t, "no link", s.UseLink(ctx, [32]byte{}, c.now), relay.NotFound, "")
		wantKind(t, "at its end", s.UseLink(ctx, l.Hash, l.ExpiresAt), relay.Conflict, "")
		if got, err := s.LinkByHash(ctx, l.Hash); err != nil || !got.UsedAt.IsZero() {
			t.Errorf("looking uses it: %+v, %v", got, err)
		}
		last := l.ExpiresAt.Add(-time.Microsecond)
		winners(t, "one link", relay.Conflict, func(int) error { return s.UseLink(ctx, l.Hash, last) })
		if got, err := s.LinkByHash(ctx, l.Hash); err != nil || got.UsedAt != last {
			t.Errorf("used: %+v, %v", got, err)
		}
		if all, err := s.Links(ctx, l.Account); err != nil || len(all) != 0 {
			t.Errorf("a used link is listed: %+v, %v", all, err)
		}
		wantKind(t, "withdrawn after use", s.DeleteLinks(ctx, testBy, relay.Tenant{Account: l.Account}, l.Email, l.Kind), relay.NotFound, "")
	})
}

// AC-13: an invitation makes one person, bound to address, tenant and role,
// whatever the request says; AC-15: so does a set-up link.
func TestAcceptLink(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		a, b := c.account(), c.account()
		sub := c.subuser(a)
		l := c.invitation(a, "New@example.test")
		l.Role, l.Scopes, l.Restricted, l.Subusers = relay.RoleCustom, []string{"mail.send"}, true, []relay.SubuserID{sub}
		c.link(l)
		at := c.now.Add(time.Hour)
		greedy := c.row(b, relay.RoleOwner)
		greedy.Email, greedy.Scopes, greedy.InvitedBy, greedy.DisabledAt, greedy.TOTP = "else@example.test", []string{"all"}, "nobody", c.now, []byte("x")
		greedy.FirstName, greedy.LastName = "New", "Comer"
		var made relay.UserID
		winners(t, "one invitation", relay.Conflict, func(i int) error {
			u := greedy
			u.ID.ID, u.Username = relay.NewID(time.Now()), strings.Repeat("n", i+1)
			err := s.AcceptLink(ctx, testBy, l.Hash, u, at)
			if err == nil {
				made = u.ID
			}
			return err
		})
		got := c.user(made)
		want := relay.User{ID: made, Account: a, Username: got.Username, Email: l.Email, FirstName: "New", LastName: "Comer", Role: l.Role, Scopes: l.Scopes, Restricted: true,
			Subusers: l.Subusers, Password: testPassword, PasswordAt: c.now, CreatedAt: at, InvitedBy: l.CreatedBy}
		same(t, "made", want, got, nil)
		if all, err := s.Users(ctx, relay.AccountID{}); err != nil || len(all) != 1 {
			t.Errorf("%d people, %v", len(all), err)
		}
		// A name that is taken leaves the link for another try.
		again := c.link(c.invitation(a, "next@example.test"))
		taken := c.row(a, relay.RoleAdmin)
		taken.Username = got.Username
		wantKind(t, "a taken name", s.AcceptLink(ctx, testBy, again.Hash, taken, at), relay.Conflict, "username")
		taken.Username = "free"
		if err := s.AcceptLink(ctx, testBy, again.Hash, taken, at); err != nil {
			t.Errorf("with another name: %v", err)
		}
		wantKind(t, "no link", s.AcceptLink(ctx, testBy, [32]byte{}, taken, at), relay.NotFound, "")
		ended := c.link(c.invitation(a, "late@example.test"))
		wantKind(t, "ended", s.AcceptLink(ctx, testBy, ended.Hash, c.row(a, relay.RoleAdmin), ended.ExpiresAt), relay.Conflict, "")
		reset := c.link(relay.Link{Hash: [32]byte{3}, Kind: relay.LinkReset, User: made, Email: got.Email, ExpiresAt: at.Add(time.Hour)})
		wantKind(t, "another kind", s.AcceptLink(ctx, testBy, reset.Hash, c.row(a, relay.RoleAdmin), at), relay.NotFound, "")
		setup := c.invitation(b, "owner@example.test")
		setup.Kind, setup.Role = relay.LinkSetup, relay.RoleOwner
		c.link(setup)
		owner := c.row(a, relay.RoleAuditor)
		if err := s.AcceptLink(ctx, testBy, setup.Hash, owner, at); err != nil {
			t.Fatal(err)
		}
		if u := c.user(owner.ID); u.Role != relay.RoleOwner || u.Account != b {
			t.Errorf("first owner %+v", u)
		}
		wantKind(t, "set up twice", s.AcceptLink(ctx, testBy, setup.Hash, c.row(a, relay.RoleAuditor), at), relay.Conflict, "")
	})
}

func TestResetByLink(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		u := c.person(c.account(), relay.RoleOwner)
		_, session := c.session(u, relay.SessionFull)
		own := func(kind relay.LinkKind) relay.Link {
			return relay.Link{Hash: [32]byte(randomBytes(32)), Kind: kind, User: u.ID, Email: u.Email, ExpiresAt: c.now.Add(time.Hour)}
		}
		if err := s.SetTOTP(ctx, testBy, u.ID, []byte("sealed"), 1, c.now, relay.SessionID{}); err != nil {
			t.Fatal(err)
		}
		mail := c.link(own(relay.LinkEmail))
		l := c.link(own(relay.LinkReset))
		for what, err := range map[string]error{
			"no link":   created(s.ResetByLink(ctx, testBy, [32]byte{}, testPassword, c.now)),
			"ended":     created(s.ResetByLink(ctx, testBy, l.Hash, testPassword, l.ExpiresAt)),
			"other":     created(s.ResetByLink(ctx, testBy, mail.Hash, testPassword, c.now)),
			"no hash":   created(s.ResetByLink(ctx, testBy, l.Hash, "plain", c.now)),
			"not email": created(s.ConfirmEmail(ctx, testBy, l.Hash, c.now)),
		} {
			if err == nil {
				t.Errorf("%s: a password was set", what)
			}
		}
		same(t, "untouched", u.Password, c.user(u.ID).Password, nil)
		if !c.open(session) {
			t.Error("sessions have ended")
		}
		winners(t, "one link", relay.Conflict, func(i int) error {
			got, err := s.ResetByLink(ctx, testBy, l.Hash, testPassword+strings.Repeat("x", i+1), c.now.Add(time.Minute))
			if err == nil && got.PasswordAt != c.now.Add(time.Minute) {
				t.Errorf("returned %+v", got)
			}
			return err
		})
		// AC-05: the second factor is as it was.
		if got := c.user(u.ID); !strings.HasPrefix(got.Password, testPassword+"x") || string(got.TOTP) != "sealed" {
			t.Errorf("%+v", got)
		}
		if c.open(session) {
			t.Error("a session of the old password opens")
		}
		wantKind(t, "the person's other links", created(s.LinkByHash(ctx, mail.Hash)), relay.NotFound, "")
		if got, err := s.LinkByHash(ctx, l.Hash); err != nil || got.UsedAt.IsZero() {
			t.Errorf("used link: %+v, %v", got, err)
		}
	})
}

func TestConfirmEmail(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		u, other := c.person(a, relay.RoleOwner), c.person(a, relay.RoleAdmin)
		own := func(kind relay.LinkKind, email string) relay.Link {
			return relay.Link{Hash: [32]byte(randomBytes(32)), Kind: kind, User: u.ID, Email: email, ExpiresAt: c.now.Add(time.Hour)}
		}
		reset := c.link(own(relay.LinkReset, u.Email))
		taken := c.link(own(relay.LinkEmail, strings.ToUpper(other.Email)))
		wantKind(t, "another's address", created(s.ConfirmEmail(ctx, testBy, taken.Hash, c.now)), relay.Conflict, "email")
		if got, err := s.LinkByHash(ctx, taken.Hash); err != nil || !got.UsedAt.IsZero() {
			t.Errorf("the link was used for nothing: %+v, %v", got, err)
		}
		wantKind(t, "another kind", created(s.ConfirmEmail(ctx, testBy, reset.Hash, c.now)), relay.NotFound, "")
		l := c.link(own(relay.LinkEmail, "New@example.test"))
		winners(t, "one link", relay.Conflict, func(int) error {
			before, err := s.ConfirmEmail(ctx, testBy, l.Hash, c.now)
			if err == nil && before.Email != u.Email {
				t.Errorf("before: %+v", before)
			}
			return err
		})
		if got, err := s.UserNamed(ctx, "new@example.test"); err != nil || got.ID != u.ID || got.Email != "New@example.test" {
			t.Errorf("%+v, %v", got, err)
		}
		wantKind(t, "by the old address", created(s.UserNamed(ctx, u.Email)), relay.NotFound, "")
		// AC-09: what went to the old address is void.
		wantKind(t, "reset link to the old address", created(s.ResetByLink(ctx, testBy, reset.Hash, testPassword, c.now)), relay.NotFound, "")
		// Also with each further one.
		reset = c.link(own(relay.LinkReset, "New@example.test"))
		u.Email = "third@example.test"
		if err := c.move(u, u.Email); err != nil {
			t.Fatal(err)
		}
		wantKind(t, "reset link to the address before", created(s.ResetByLink(ctx, testBy, reset.Hash, testPassword, c.now)), relay.NotFound, "")
		gone := c.link(own(relay.LinkReset, u.Email))
		c.person(a, relay.RoleOwner)
		if err := s.SetUserDisabled(ctx, testBy, u.ID, c.now); err != nil {
			t.Fatal(err)
		}
		wantKind(t, "of a person who is disabled", created(s.LinkByHash(ctx, gone.Hash)), relay.NotFound, "")
	})
}
