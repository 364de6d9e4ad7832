package store

import (
	"errors"
	"testing"
	"time"

	"postern/internal/relay"
)

// as is testBy with a rank.
func as(rank relay.Rank) By {
	by := testBy
	by.Rank = rank
	return by
}

// Whom somebody above has shut out is not deleted from below, so that the address is
// never free: not for a new invitation, nor for one that is open since before, of the
// same subuser, another one, the account or another account; not for somebody whom
// single sign-on brings, and for nobody who changes theirs.
func TestShutOutPeopleAreNotMadeAnew(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := t.Context(), newCrowd(t, s)
		a, b := c.account(), c.account()
		sub, sister := c.subuser(a), c.subuser(a)
		row := c.row(a, relay.RoleDeveloper)
		row.Subuser = sub
		u := c.add(row)
		open := func(account relay.AccountID, sub relay.SubuserID, email string) relay.Link {
			l := c.invitation(account, email)
			l.Subuser = sub
			return c.link(l)
		}
		invitations := map[string]relay.Link{
			"the same subuser": open(a, sub, u.Email), "another subuser": open(a, sister, u.Email), "the account": open(a, relay.SubuserID{}, u.Email),
			"another account": open(b, relay.SubuserID{}, u.Email), "in other letters": open(c.account(), relay.SubuserID{}, upper(u.Email)),
		}
		moved := c.person(a, relay.RoleDeveloper)
		for rank := relay.RankAccount; rank <= relay.RankOperator; rank++ {
			if err := s.SetUserDisabled(ctx, as(rank), u.ID, c.now); err != nil {
				t.Fatal(err)
			}
			for below := relay.RankOwn; below < rank; below++ {
				wantKind(t, "deleted", s.DeleteUser(ctx, as(below), u.ID, c.now), relay.Forbidden, "")
			}
			for what, l := range invitations {
				wantKind(t, what, s.AcceptLink(ctx, testBy, l.Hash, c.row(l.Account, relay.RoleOwner), c.now.Add(time.Hour)), relay.Conflict, "email")
			}
			brought := c.row(a, relay.RoleDeveloper)
			brought.Email = upper(u.Email)
			wantKind(t, "single sign-on", s.CreateUser(ctx, testBy, brought), relay.Conflict, "email")
			wantKind(t, "a change of address", c.move(moved, upper(u.Email)), relay.Conflict, "email")
			if now := c.user(u.ID); now.DisabledRank != rank || now.DisabledAt.IsZero() || !now.DeletedAt.IsZero() {
				t.Errorf("%+v", now)
			}
		}
		// Who has shut them out may delete them, and then they may be invited.
		if err := s.DeleteUser(ctx, as(relay.RankOperator), u.ID, c.now); err != nil {
			t.Fatal(err)
		}
		l := invitations["another subuser"]
		if err := s.AcceptLink(ctx, testBy, l.Hash, c.row(a, relay.RoleOwner), c.now.Add(time.Hour)); err != nil {
			t.Error(err)
		}
		// Whom their own have shut out, their own delete.
		own := c.person(a, relay.RoleDeveloper)
		if err := errors.Join(s.SetUserDisabled(ctx, as(relay.RankOwn), own.ID, c.now), s.DeleteUser(ctx, as(relay.RankOwn), own.ID, c.now)); err != nil {
			t.Error(err)
		}
	})
}

func upper(s string) string {
	b := []byte(s)
	for i := range b {
		if b[i] >= 'a' && b[i] <= 'z' && i%2 == 0 {
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
}

// A subuser does not go with whom, or what, the operator has shut out of it: both
// would be free for the next one. What its account has shut out goes with it.
func TestSubusersKeepWhatIsShutOut(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := t.Context(), newCrowd(t, s)
		a := c.account()
		for what, shut := range map[string]func(sub relay.SubuserID, rank relay.Rank) error{
			"person": func(sub relay.SubuserID, rank relay.Rank) error {
				row := c.row(a, relay.RoleDeveloper)
				row.Subuser = sub
				return s.SetUserDisabled(ctx, as(rank), c.add(row).ID, c.now)
			},
			"domain": func(sub relay.SubuserID, rank relay.Rank) error {
				row := c.claimant.row(a, "shut"+relay.NewID(time.Now()).String()+".test")
				row.Subuser = sub
				return s.SetDomainDisabled(ctx, as(rank), c.create(row).ID, c.now)
			},
			"subuser itself": func(sub relay.SubuserID, rank relay.Rank) error {
				if rank == relay.RankAccount {
					rank = relay.RankOwn // it is the account's
				}
				return s.SetSubuserDisabled(ctx, as(rank), sub, c.now)
			},
		} {
			kept, sister, gone := c.subuser(a), c.subuser(a), c.subuser(a)
			if err := errors.Join(shut(kept, relay.RankOperator), shut(gone, relay.RankAccount)); err != nil {
				t.Fatal(err)
			}
			for _, rank := range []relay.Rank{relay.RankOwn, relay.RankAccount} { // the account's routes about subusers need no header
				wantKind(t, what, s.DeleteSubuser(ctx, as(rank), kept, c.now), relay.Forbidden, "")
			}
			if sub, err := s.Subuser(ctx, kept); err != nil || !sub.DeletedAt.IsZero() {
				t.Errorf("%s: half deleted: %+v, %v", what, sub, err)
			}
			for _, err := range []error{
				s.DeleteSubuser(ctx, as(relay.RankOwn), gone, c.now), s.DeleteSubuser(ctx, as(relay.RankOwn), sister, c.now),
				s.DeleteSubuser(ctx, as(relay.RankOperator), kept, c.now),
			} {
				if err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
		}
	})
}

// A domain that somebody above has switched off is not deleted from below, nor is its
// name added anew by whoever is below, nor is an older row of the name switched on; nor a
// name below one that was given with its subdomains. The names of an account are
// unique only among those that are on.
func TestShutDomainsAreNotMadeAnew(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := t.Context(), newClaimant(t, s)
		a := c.account()
		sub, sister, none := c.subuser(a), c.subuser(a), relay.SubuserID{}
		own, account, operator := relay.RankOwn, relay.RankAccount, relay.RankOperator
		row := func(owner relay.SubuserID, name string) relay.Domain {
			d := c.row(a, name)
			d.Subuser = owner
			return d
		}
		for name, x := range map[string]struct {
			owner relay.SubuserID // of what is switched off
			rank  relay.Rank
			by    relay.Rank
			to    relay.SubuserID // who adds it anew
			may   bool
		}{
			"of a subuser by its own, by itself":              {sub, own, own, sub, true},
			"of a subuser by its own, by another one":         {sub, own, own, sister, true},
			"of a subuser by the account, by itself":          {sub, account, own, sub, false},
			"of a subuser by the account, by another one":     {sub, account, own, sister, false},
			"of a subuser by the account, for another one":    {sub, account, account, sister, true},
			"of a subuser by the account, by the account":     {sub, account, own, none, true},
			"of a subuser by the operator, by the account":    {sub, operator, own, none, false},
			"of a subuser by the operator, for it":            {sub, operator, account, sub, false},
			"of a subuser by the operator, by the operator":   {sub, operator, operator, sub, true},
			"of the account by its own, by itself":            {none, own, own, none, true},
			"of the account by its own, by a subuser":         {none, own, own, sub, false},
			"of the account by its own, for a subuser":        {none, own, account, sub, true},
			"of the account by the operator, by itself":       {none, operator, own, none, false},
			"of the account by the operator, by a subuser":    {none, operator, own, sub, false},
			"of the account by the operator, by the operator": {none, operator, operator, none, true},
		} {
			n := relay.NewID(time.Now()).String() + ".test"
			old := row(x.owner, n) // a row of before, which its owner has switched off
			old = c.create(old)
			if err := s.SetDomainDisabled(ctx, as(own), old.ID, c.now); err != nil {
				t.Fatal(err)
			}
			shut := row(x.owner, n)
			shut.Subdomains = true
			if old.Subuser.IsZero() { // what a rank has shut is the newest
				shut, err := s.CreateDomain(ctx, as(operator), shut)
				if err = errors.Join(err, s.SetDomainDisabled(ctx, as(x.rank), shut.ID, c.now)); err != nil {
					t.Fatal(err)
				}
			} else if err := s.SetDomainDisabled(ctx, as(x.rank), c.create(shut).ID, c.now); err != nil {
				t.Fatal(err)
			}
			if x.rank > x.by {
				wantKind(t, name+": deleted", s.DeleteDomain(ctx, as(x.by), shut.ID, c.now), relay.Forbidden, "")
			}
			for _, again := range []string{n, "mail." + n} {
				_, err := s.CreateDomain(ctx, as(x.by), row(x.to, again))
				if (err == nil) != x.may || err != nil && relay.KindOf(err) != relay.Forbidden {
					t.Errorf("%s: %s: %v", name, again, err)
				}
			}
			if _, err := s.CreateDomain(ctx, as(own), row(sister, "x"+n)); err != nil {
				t.Errorf("%s: a name that only ends so: %v", name, err)
			}
			if x.to == x.owner && !x.may {
				wantKind(t, name+": the older row", s.SetDomainDisabled(ctx, as(x.by), old.ID, time.Time{}), relay.Forbidden, "domain")
			}
		}
	})
}
