package audit

import (
	"fmt"
	"slices"

	"postern/internal/relay"
)

var peopleChecks = []Check{
	{
		Code: "owner_no_second_factor", Section: SectionPeople, Severity: Critical, Weight: 50, Practice: SecondFactor, Standards: []string{cisAdminMFA, nistAAL2},
		Title: "Owner or administrator with a password alone", Doc: "An owner or administrator who logs in with a password and has neither an authenticator app nor a passkey.",
		run: eachPerson(func(f *Facts, u *relay.User) *flaw {
			if !strong(u.Role) || !passwordAlone(u) {
				return nil
			}
			return &flaw{
				text: fmt.Sprintf("%s is %s of the account and has a password alone. Whoever guesses or buys it has everything.", quote(u.Username), an(u.Role)) + f.howFactor(),
				fix:  f.fixFactor(u),
			}
		}),
	},
	{
		Code: "person_no_second_factor", Section: SectionPeople, Severity: High, Weight: 25, Practice: SecondFactor, Standards: []string{cisMFA, nistAAL2},
		Title: "Person with a password alone", Doc: "Another person who logs in with a password and has neither an authenticator app nor a passkey.",
		run: eachPerson(func(f *Facts, u *relay.User) *flaw {
			if strong(u.Role) || !passwordAlone(u) {
				return nil
			}
			return &flaw{
				text: fmt.Sprintf("%s has a password alone.", quote(u.Username)) + f.howFactor(),
				fix:  f.fixFactor(u),
			}
		}),
	},
	{
		Code: "person_unseen", Section: SectionPeople, Severity: Medium, Weight: 8, Practice: LeastRights, Standards: []string{cisDormant},
		Title: "Person who was not seen for long", Doc: "A person who has not been seen for 90 days (`unseen_days`), or never since they were made so long ago.",
		run: eachPerson(func(f *Facts, u *relay.User) *flaw {
			last, said := u.SeenAt, "was last seen "
			if last.IsZero() {
				last, said = u.CreatedAt, "was never seen and was made "
			}
			if !f.older(last, days(f.Options.UnseenDays)) {
				return nil
			}
			w := &flaw{
				text: fmt.Sprintf("%s %s%s. An account that nobody uses is one that nobody watches.", quote(u.Username), said, f.ago(last)),
				fix:  "postern user disable " + argument(u.Username) + f.ofAccount() + f.ofSubuser(u.Subuser),
			}
			if f.lastOwner(u) {
				w.text += " They are the last owner, and cannot be shut out before there is another one: have them log in, or invite somebody in their place."
				w.fix = "postern user invite EMAIL --role owner" + f.ofAccount() + f.ofSubuser(u.Subuser)
			}
			return w
		}),
	},
	{
		Code: "invitation_open", Section: SectionPeople, Severity: Low, Weight: 3, Practice: LeastRights, Standards: []string{cisInventory},
		Title: "Invitation that nobody followed", Doc: "An invitation or set-up link that is more than 7 days old and was not used.",
		run: openInvitations,
	},
}

// strong: who has the role can give themselves everything.
func strong(r relay.Role) bool { return r == relay.RoleOwner || r == relay.RoleAdmin }

func an(r relay.Role) string {
	if r == relay.RoleOwner {
		return "an owner"
	}
	return "an administrator"
}

// passwordAlone: nothing but a password stands between a stranger and the person's
// rights. Who has none comes by single sign-on, whose issuer asks for more.
func passwordAlone(u *relay.User) bool { return u.Password != "" && !u.SecondFactor() }

// howFactor says how somebody with a password alone comes to a second factor.
func (f *Facts) howFactor() string {
	if f.Account.Policy.SecondFactorOptional {
		return " An authenticator app or a passkey is set up on the profile page in a minute; once the policy demands one, at the next login."
	}
	return " The policy demands a second factor, and whoever logs in next with the password sets it up: have them do it now, with a new password from a link that is mailed to them."
}

// fixFactor is the command that brings them there. Where the policy demands a
// factor already, as after a reset of theirs, only their own login does: the link is
// the way to it on which a password that somebody else knows is of no use.
func (f *Facts) fixFactor(u *relay.User) string {
	if f.Account.Policy.SecondFactorOptional {
		return "postern policy --second-factor-optional=false" + f.ofAccount()
	}
	return "postern user reset-password " + argument(u.Username) + f.ofAccount() + f.ofSubuser(u.Subuser)
}

// lastOwner: nobody else of the account, or of the subuser's people, can act as its
// owner. The server shuts no such person out.
func (f *Facts) lastOwner(u *relay.User) bool {
	acts := func(o *relay.User) bool {
		return o.Role == relay.RoleOwner && !o.Restricted && o.DisabledAt.IsZero() && o.DeletedAt.IsZero()
	}
	return acts(u) && !slices.ContainsFunc(f.Users, func(o relay.User) bool { return o.ID != u.ID && o.Subuser == u.Subuser && acts(&o) })
}

// shutOut: the person cannot log in, by themselves or with their whole subuser.
func (f *Facts) shutOut(u *relay.User) bool {
	if !u.DisabledAt.IsZero() || !u.DeletedAt.IsZero() {
		return true
	}
	if u.Subuser.IsZero() {
		return false
	}
	s := f.subuser(u.Subuser)
	return s == nil || !s.DisabledAt.IsZero() || !s.ConsoleDisabledAt.IsZero() || !s.DeletedAt.IsZero()
}

// eachPerson makes a check that looks at one person who may log in after the other.
func eachPerson(look func(f *Facts, u *relay.User) *flaw) func(*Facts, func(flaw)) {
	return func(f *Facts, yield func(flaw)) {
		for i := range f.Users {
			u := &f.Users[i]
			if f.shutOut(u) {
				continue
			}
			if w := look(f, u); w != nil {
				w.subject = Subject{Kind: "user", ID: u.ID.String(), Name: u.Username}
				w.href = f.pageOf(u.Subuser, "/people/"+pathSegment(u.Username))
				yield(*w)
			}
		}
	}
}

func openInvitations(f *Facts, yield func(flaw)) {
	for i := range f.Links {
		l := &f.Links[i]
		if l.Kind != relay.LinkInvite && l.Kind != relay.LinkSetup || !l.UsedAt.IsZero() || !f.older(l.CreatedAt, graceNew) {
			continue
		}
		id := string(l.Kind) + "/" + l.CreatedAt.UTC().Format("20060102T150405.000000Z") + "/" + shown(l.Email)
		yield(flaw{
			subject:  Subject{Kind: "invitation", ID: id, Name: l.Email},
			text:     fmt.Sprintf("%s was invited %s and never came. Ask whether they still should, or withdraw it.", quote(l.Email), f.ago(l.CreatedAt)),
			evidence: []string{"as " + string(l.Role) + ", by " + l.CreatedBy}, href: f.pageOf(l.Subuser, "/people"),
			fix: "postern user withdraw " + argument(l.Email) + f.ofAccount() + f.ofSubuser(l.Subuser),
		})
	}
}
