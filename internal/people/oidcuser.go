package people

import (
	"context"
	"errors"
	"slices"
	"strings"

	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

// personOf finds, or makes, whose identity at an issuer this is. AC-14: the pair
// of issuer and subject is the key; an e-mail address finds nobody.
func (s *Service) personOf(ctx context.Context, v Visitor, is *issuer, f *flow, who *identity) (*relay.User, *notIn) {
	account, ok := s.cfg.AccountNamed(is.Account)
	if !ok {
		return nil, &notIn{result: relay.LoginUnavailable, detail: "issuer " + is.Name + " is of an account that does not exist"}
	}
	u, err := s.cfg.Store.IssuanceUser(ctx, is.URL, who.subject)
	switch {
	case err != nil && relay.KindOf(err) != relay.NotFound:
		return nil, fault(err)
	case err == nil && u.Account != account.ID:
		return nil, &notIn{result: relay.LoginUnknown, detail: "the person is of another account than the issuer"}
	case err == nil && !f.User.IsZero() && f.User != u.ID:
		return &u, &notIn{result: relay.LoginUnknown, detail: "the identity is another person's than the session's"}
	case err == nil:
		return s.governed(ctx, is, &u, who)
	case f.Link:
		return s.link(ctx, v, is, f, who, account.ID)
	case !f.User.IsZero():
		return nil, &notIn{result: relay.LoginUnknown, detail: "the identity is not the person's of the session"}
	case f.Invite != "":
		return s.acceptOIDC(ctx, v, is, f, who, account.ID)
	case is.Provision:
		return s.provision(ctx, v, is, who, account.ID)
	}
	return nil, &notIn{result: relay.LoginUnknown, detail: "nobody here has this identity, and new people need an invitation"}
}

func fault(err error) *notIn {
	return &notIn{result: relay.LoginUnavailable, detail: "", err: err}
}

// provisioned begins the mark of those whom an issuer brought.
const provisioned = "sso "

// provisionedBy marks those whom an issuer brought: it says what they may do, too. Its
// name is only what the button says, and may be another one tomorrow.
func provisionedBy(is *issuer) string { return provisioned + is.URL }

// signedBy is who changes something in an issuer's name.
func signedBy(is *issuer) store.By { return store.By{Who: provisioned + is.Name, From: is.URL} }

// brought reports whether somebody came by an issuer, whichever it was.
func brought(u *relay.User) bool { return strings.HasPrefix(u.InvitedBy, provisioned) }

// markBrought gives those whom an issuer brought before marks had its URL one that has:
// its name may be another one after the next start.
func (s *Service) markBrought(ctx context.Context) {
	for _, is := range s.issuers {
		a, ok := s.cfg.AccountNamed(is.Account)
		if !ok {
			continue
		}
		if err := s.cfg.Store.MarkBrought(ctx, a.ID, provisioned+is.Name, provisionedBy(is)); err != nil {
			s.cfg.Logger.Warn("people: marks of whom single sign-on brought are not written anew; until they are, its name must not change", "issuer", is.Name, "error", err)
		}
	}
}

// brings reports whether an issuer is the one that brought somebody: marks of before,
// and of nodes that are older, have its name.
func (is *issuer) brings(u *relay.User) bool {
	mark, ok := strings.CutPrefix(u.InvitedBy, provisioned)
	return ok && (mark == is.URL || mark == is.Name)
}

// roleOf is the strongest role of somebody's groups; false: they have none.
func (is *issuer) roleOf(who *identity) (role relay.Role, scopes []string, ok bool) {
	best := len(relay.Roles)
	for _, m := range is.Roles {
		rank := slices.Index(relay.Roles, m.Role)
		if rank >= 0 && rank < best && slices.Contains(who.groups, m.Group) {
			best, role, scopes = rank, m.Role, m.Scopes
		}
	}
	if best == len(relay.Roles) {
		return is.DefaultRole, nil, is.DefaultRole != ""
	}
	if role != relay.RoleCustom {
		scopes = nil
	}
	return role, slices.Sorted(slices.Values(scopes)), true
}

// governed sets the role of somebody whom the issuer brought anew: who has left
// their groups is not let in.
func (s *Service) governed(ctx context.Context, is *issuer, u *relay.User, who *identity) (*relay.User, *notIn) {
	switch {
	case !brought(u):
		return u, nil
	case !is.brings(u): // also where they have linked it: their groups there say nothing
		return u, &notIn{result: relay.LoginDisabled, detail: s.cameBy(u)}
	}
	role, scopes, ok := is.roleOf(who)
	if !ok {
		return u, &notIn{result: relay.LoginDisabled, detail: "none of the person's groups has a role"}
	}
	if role == u.Role && slices.Equal(scopes, u.Scopes) {
		return u, nil
	}
	was := store.GrantOf(u)
	to := was
	to.Role, to.Scopes = role, scopes
	err := s.cfg.Store.SetGrant(ctx, signedBy(is), u.ID, was, to)
	e, _ := errors.AsType[*relay.Error](err)
	switch {
	case err == nil:
		u.Role, u.Scopes = role, scopes
		return u, nil
	case e != nil && e.Kind == relay.Conflict && e.Field == "role": // the last owner stays one
		s.cfg.Logger.Warn("people: role of single sign-on not set", "user", u.Username, "role", string(role), "error", err)
		return u, nil
	case e != nil && e.Kind == relay.Conflict: // somebody has changed it since it was read
		return u, &notIn{result: relay.LoginUnavailable, detail: "the person's role was changed at the same moment",
			err: relay.E(relay.Unavailable, "What you may do was changed at this very moment. Log in again.")}
	}
	return u, fault(err)
}

// sessionOver: nobody is logged in any more who asked to have an identity bound.
func sessionOver() *notIn {
	return &notIn{result: relay.LoginMalformed, detail: "the session that asked for it has ended"}
}

// link binds an identity to the person of a session who asked for it.
func (s *Service) link(ctx context.Context, v Visitor, is *issuer, f *flow, who *identity, account relay.AccountID) (*relay.User, *notIn) {
	u, err := s.cfg.Store.User(ctx, f.User)
	if err != nil {
		return nil, fault(err)
	}
	all, err := s.cfg.Store.Sessions(ctx, f.User)
	switch {
	case err != nil:
		return &u, fault(err)
	case u.Account != account:
		return &u, &notIn{result: relay.LoginUnknown, detail: "the issuer is another account's"}
	case brought(&u) && !is.brings(&u):
		return &u, &notIn{result: relay.LoginDisabled, detail: s.cameBy(&u)}
	case !slices.ContainsFunc(all, func(x relay.Session) bool { return x.ID == f.Session && x.Level == relay.SessionFull }):
		return &u, sessionOver()
	}
	by := byUser(&u, v.Addr)
	by.Session = f.Session // it may end before the identity is bound
	if no := s.bind(ctx, by, is, who, &u); no != nil {
		return &u, no
	}
	s.notice(ctx, &u, v, "Single sign-on was added", "You can log in to your account \""+u.Username+"\" by "+is.Name+" from now on.")
	return &u, nil
}

func (s *Service) bind(ctx context.Context, by store.By, is *issuer, who *identity, u *relay.User) *notIn {
	err := s.cfg.Store.AddIssuance(ctx, by, relay.Issuance{Issuer: is.URL, Subject: who.subject, User: u.ID, CreatedAt: s.now()})
	switch {
	case errors.Is(err, ErrSession):
		return sessionOver()
	case relay.KindOf(err) == relay.Conflict:
		return &notIn{result: relay.LoginUnknown, detail: "the identity is somebody's already"}
	case err != nil:
		return fault(err)
	}
	return nil
}

// acceptOIDC makes the person of an invitation, who has no password. A crash
// before the identity is bound leaves somebody who cannot log in: invite again.
func (s *Service) acceptOIDC(ctx context.Context, v Visitor, is *issuer, f *flow, who *identity, account relay.AccountID) (*relay.User, *notIn) {
	l, err := s.look(ctx, secret.Redacted(f.Invite), relay.LinkSetup, relay.LinkInvite)
	switch {
	case err != nil:
		return nil, &notIn{result: relay.LoginExpired, detail: "the invitation does not work", err: err}
	case l.Account != account:
		return nil, &notIn{result: relay.LoginUnknown, detail: "the invitation is of another account than the issuer"}
	}
	now := s.now()
	u, no := s.firstFree(who, l.Email, func(name string) (relay.User, error) {
		u, err := newcomer(&l, Newcomer{Username: name, FirstName: who.first, LastName: who.last}, now)
		if err == nil {
			err = s.cfg.Store.AcceptLink(ctx, byUser(&u, v.Addr), l.Hash, u, now)
		}
		return u, err
	})
	if no != nil {
		return nil, no
	}
	return s.bindOrUndo(ctx, is, who, u)
}

// provision makes somebody new. Their address must be proven by the issuer, and
// nobody else's here.
func (s *Service) provision(ctx context.Context, _ Visitor, is *issuer, who *identity, account relay.AccountID) (*relay.User, *notIn) {
	role, scopes, ok := is.roleOf(who)
	email, err := mailbox(who.email)
	switch {
	case !ok:
		return nil, &notIn{result: relay.LoginDisabled, detail: "none of the person's groups has a role"}
	case err != nil:
		return nil, &notIn{result: relay.LoginToken, detail: "the token has no e-mail address"}
	case !who.verified:
		return nil, &notIn{result: relay.LoginToken, detail: "the issuer has not verified the e-mail address (email_verified)"}
	}
	now := s.now()
	u, no := s.firstFree(who, email, func(name string) (relay.User, error) {
		u := relay.User{
			ID: relay.UserID{ID: relay.NewID(now)}, Account: account, Username: name, Email: email, FirstName: who.first, LastName: who.last,
			Role: role, Scopes: scopes, CreatedAt: now, InvitedBy: provisionedBy(is),
		}
		return u, s.cfg.Store.CreateUser(ctx, signedBy(is), u)
	})
	if no != nil {
		return s.orphan(ctx, is, who, email, account, no)
	}
	return s.bindOrUndo(ctx, is, who, u)
}

// orphan finds somebody whom a crash left without their identity: made by this
// issuer under the same proven address, and with no way to log in at all.
func (s *Service) orphan(ctx context.Context, is *issuer, who *identity, email string, account relay.AccountID, no *notIn) (*relay.User, *notIn) {
	u, err := s.named(ctx, email)
	if err != nil || u == nil || !strings.EqualFold(u.Email, email) || u.Account != account || !is.brings(u) || u.Password != "" || u.SecondFactor() {
		return nil, no
	}
	if have, err := s.cfg.Store.Issuances(ctx, u.ID); err != nil || len(have) > 0 {
		return nil, no
	}
	if refused := s.bind(ctx, signedBy(is), is, who, u); refused != nil {
		return nil, refused
	}
	return s.governed(ctx, is, u, who)
}

// firstFree tries the user names that somebody may have until one is free.
func (s *Service) firstFree(who *identity, email string, make func(name string) (relay.User, error)) (*relay.User, *notIn) {
	var names []string
	for _, name := range []string{who.username, email, "sso-" + relay.NewID(s.now()).String()[12:]} {
		if goodUsername(name) && (!strings.Contains(name, "@") || strings.EqualFold(name, email)) {
			names = append(names, name)
		}
	}
	var err error
	for _, name := range names {
		var u relay.User
		if u, err = make(name); err == nil {
			return &u, nil
		}
		if e, ok := err.(*relay.Error); !ok || e.Kind != relay.Conflict || e.Field != "username" { //nolint:errorlint // the store's own
			break
		}
	}
	if relay.KindOf(err) == relay.Conflict {
		return nil, &notIn{result: relay.LoginUnknown, detail: "somebody here has this e-mail address: they may link the issuer in their profile"}
	}
	return nil, fault(err)
}

// bindOrUndo binds the identity of somebody who was just made.
func (s *Service) bindOrUndo(ctx context.Context, is *issuer, who *identity, u *relay.User) (*relay.User, *notIn) {
	by := signedBy(is)
	no := s.bind(ctx, by, is, who, u)
	if no == nil {
		return u, nil
	}
	if err := s.cfg.Store.DeleteUser(ctx, by, u.ID, s.now()); err != nil {
		s.cfg.Logger.Error("people: person without an identity not removed", "user", u.Username, "error", err)
	}
	return nil, no
}
