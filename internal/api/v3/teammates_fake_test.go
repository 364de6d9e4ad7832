package v3

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"postern/internal/people"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

func init() {
	setups = append(setups, func(w *world, s *Services) {
		f := &fakePeople{world: w, sessions: map[relay.UserID][]relay.Session{}, signOns: map[relay.UserID][]people.SignOn{}}
		w.extra["people"] = f
		s.PeopleServices = PeopleServices{People: f, Users: f, LinkWarning: func() string { return f.linkWarning }}
	})
	of := func(status int, method, suffix, body string) fixture {
		return fixture{Status: status, Make: func(w *world, of relay.Tenant) ask {
			// With no more than the caller has, so that only the tenant decides.
			u := w.addUser(of, relay.RoleCustom, "teammates.update")
			if suffix == "/single_sign_on/id" {
				s := peopleOf(w).addSignOn(&u)
				return ask{Path: "/v3/teammates/" + u.Username + "/single_sign_on/" + s.ID}
			}
			if suffix == "/sessions/id" {
				s := peopleOf(w).addSession(u)
				return ask{Path: "/v3/teammates/" + u.Username + "/sessions/" + s.ID.String()}
			}
			return ask{Path: "/v3/teammates/" + u.Username + suffix, Body: body}
		}, Absent: ask{Path: "/v3/teammates/nobody" + strings.Replace(suffix, "/id", "/"+absentID, 1), Body: body}}
	}
	invite := func(status int, suffix string) fixture {
		return fixture{Status: status, Make: func(w *world, of relay.Tenant) ask {
			l := peopleOf(w).addInvite(of, "new@people.example", relay.RoleCustom, "teammates.create")
			return ask{Path: "/v3/teammates/pending/" + inviteID(&l) + suffix}
		}, Absent: ask{Path: "/v3/teammates/pending/" + absentID + suffix}}
	}
	sso := of(200, "PATCH", "", `{"first_name":"A","last_name":"B","scopes":["teammates.update"]}`)
	addFixtures(map[string]fixture{
		"GET /v3/teammates":                                   of200("/v3/teammates"),
		"POST /v3/teammates":                                  plain(201, "/v3/teammates", `{"email":"x@people.example","scopes":["teammates.create"],"is_admin":false}`),
		"GET /v3/teammates/pending":                           of200("/v3/teammates/pending"),
		"DELETE /v3/teammates/pending/{token}":                invite(204, ""),
		"POST /v3/teammates/pending/{token}/resend":           invite(200, "/resend"),
		"GET /v3/teammates/{username}":                        of(200, "GET", "", ""),
		"PATCH /v3/teammates/{username}":                      of(200, "PATCH", "", `{"scopes":["teammates.update"],"is_admin":false}`),
		"DELETE /v3/teammates/{username}":                     of(204, "DELETE", "", ""),
		"POST /v3/teammates/{username}/disable":               of(200, "POST", "/disable", ""),
		"POST /v3/teammates/{username}/enable":                of(200, "POST", "/enable", ""),
		"POST /v3/teammates/{username}/reset_factors":         of(200, "POST", "/reset_factors", ""),
		"POST /v3/teammates/{username}/reset_password":        of(202, "POST", "/reset_password", ""),
		"GET /v3/teammates/{username}/sessions":               of(200, "GET", "/sessions", ""),
		"POST /v3/teammates/{username}/end_sessions":          of(204, "POST", "/end_sessions", ""),
		"DELETE /v3/teammates/{username}/sessions/{id}":       of(204, "DELETE", "/sessions/id", ""),
		"DELETE /v3/teammates/{username}/single_sign_on/{id}": of(204, "DELETE", "/single_sign_on/id", ""),
		"GET /v3/teammates/{teammate_name}/subuser_access":    of(200, "GET", "/subuser_access", ""),
		"POST /v3/teammates/setup":                            plain(201, "/v3/teammates/setup", `{"email":"first@people.example"}`),
		"POST /v3/sso/teammates":                              plain(201, "/v3/sso/teammates", `{"email":"x@people.example","first_name":"A","last_name":"B","scopes":["sso.teammates.create"]}`),
		"PATCH /v3/sso/teammates/{username}": {Status: 200, Make: func(w *world, of relay.Tenant) ask {
			a := sso.Make(w, of)
			a.Path = strings.Replace(a.Path, "/v3/", "/v3/sso/", 1)
			return a
		}, Absent: ask{Path: "/v3/sso/teammates/nobody", Body: sso.Absent.Body}},
	})
}

// of200 is a list with somebody of each tenant in the world, whom the answer must
// not name to others.
func of200(path string) fixture {
	return fixture{Status: 200, Make: func(w *world, _ relay.Tenant) ask {
		for _, t := range []relay.Tenant{w.acme, w.staging, w.receipts, w.globex, w.branch} {
			w.addUser(t, relay.RoleDeveloper)
			peopleOf(w).addInvite(t, "new@people.example", relay.RoleAuditor)
		}
		return ask{Path: path}
	}}
}

// fakePeople is the store of people and the service that invites them, in memory.
type fakePeople struct {
	signsOn     string // the account that an issuer names
	linkWarning string
	*world
	links    []relay.Link
	sessions map[relay.UserID][]relay.Session
	reset    []string // who was mailed
	signOns  map[relay.UserID][]people.SignOn
	// notMailed says why no link to a new password is.
	notMailed error
	// over is a session that has ended since its request came.
	over relay.SessionID
	// meanwhile is what another node does to whoever is changed next.
	meanwhile func(*relay.User)
}

func peopleOf(w *world) *fakePeople { return w.extra["people"].(*fakePeople) }

func (f *fakePeople) addInvite(of relay.Tenant, email string, role relay.Role, scopes ...string) relay.Link {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := relay.Link{
		Hash: sha256.Sum256([]byte(relay.NewID(t0).String())), Kind: relay.LinkInvite, Account: of.Account, Subuser: of.Subuser, Email: email,
		Role: role, Scopes: scopes, CreatedAt: t0, ExpiresAt: t0.Add(7 * 24 * time.Hour), CreatedBy: "user x",
	}
	f.links = append(f.links, l)
	return l
}

func (f *fakePeople) addSession(u relay.User) relay.Session {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := relay.Session{
		ID: relay.SessionID{ID: relay.NewID(t0)}, User: u.ID, Level: relay.SessionFull, Method: "passkey", Addr: netip.MustParseAddr("203.0.113.5"),
		Agent: "Browser/1 \x1b[31m", CreatedAt: t0, SeenAt: t0, ExpiresAt: t0.Add(time.Hour),
	}
	f.sessions[u.ID] = append(f.sessions[u.ID], s)
	return s
}

// addSignOn links an identity to a person, who could link another one too.
func (f *fakePeople) addSignOn(u *relay.User) people.SignOn {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := people.SignOn{ID: "of-" + u.Username, Issuer: "Staff login", Live: true, CreatedAt: t0}
	f.signOns[u.ID] = []people.SignOn{s, {Issuer: "Another", Live: true}}
	return s
}

func (f *fakePeople) SignOns(_ context.Context, u *relay.User) ([]people.SignOn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.signOns[u.ID]), f.fail
}

func (f *fakePeople) RemoveSignOnOf(_ context.Context, by store.By, u *relay.User, id string) error {
	if err := f.seen(u.ID, []store.Grant{store.GrantOf(u)}); err != nil {
		return err
	}
	at := slices.IndexFunc(f.signOns[u.ID], func(s people.SignOn) bool { return s.ID != "" && s.ID == id })
	switch {
	case at < 0:
		return relay.E(relay.NotFound, "This single sign-on is not linked any more.")
	case f.signOns[u.ID][at].Governs:
		return relay.E(relay.Conflict, "It brought them.")
	}
	return f.edit(by, u.ID, "user.identity.delete", func(*relay.User) {
		f.signOns[u.ID] = slices.Delete(f.signOns[u.ID], at, at+1)
		delete(f.sessions, u.ID)
	})
}

func (f *fakePeople) Invite(_ context.Context, by store.By, l relay.Link) (relay.Link, secret.Redacted, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !by.Session.IsZero() && by.Session == f.over {
		return l, "", store.ErrSessionOver
	}
	l.Hash = sha256.Sum256([]byte(relay.NewID(t0).String()))
	l.ExpiresAt = f.now.Add(7 * 24 * time.Hour)
	f.links = append(f.links, l)
	return l, "the-secret-of-the-link", f.noted(by, "link.create "+l.Email)
}

func (f *fakePeople) Resend(_ context.Context, by store.By, l relay.Link) (relay.Link, secret.Redacted, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.links, func(x relay.Link) bool { return x.Hash == l.Hash })
	if i < 0 {
		return l, "", relay.E(relay.NotFound, "There is no such link.")
	}
	l.Hash, l.ExpiresAt = sha256.Sum256(l.Hash[:]), f.now.Add(7*24*time.Hour)
	f.links[i] = l
	return l, "the-next-secret", f.noted(by, "link.resend "+l.Email)
}

func (f *fakePeople) Withdraw(_ context.Context, by store.By, l relay.Link) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.links = slices.DeleteFunc(f.links, func(x relay.Link) bool { return x.Hash == l.Hash })
	return f.noted(by, "link.delete "+l.Email)
}

func (f *fakePeople) Setup(_ context.Context, by store.By, account relay.AccountID, email string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.links = slices.DeleteFunc(f.links, func(l relay.Link) bool {
		return l.Kind == relay.LinkSetup && l.Account == account && strings.EqualFold(l.Email, email)
	})
	f.links = append(f.links, relay.Link{
		Hash: sha256.Sum256([]byte(relay.NewID(t0).String())), Kind: relay.LinkSetup, Account: account, Email: email, Role: relay.RoleOwner,
		CreatedAt: f.now, ExpiresAt: f.now.Add(24 * time.Hour), CreatedBy: by.Who,
	})
	return "https://relay.example/setup/the-secret", f.noted(by, "link.create "+email)
}

func (f *fakePeople) Invited(u *relay.User) string {
	if u.InvitedBy == "sso https://corp.test" {
		return "sso Corp"
	}
	return u.InvitedBy
}

func (f *fakePeople) SignsOn(account string) bool { return f.signsOn != "" && f.signsOn == account }

func (f *fakePeople) SendReset(_ context.Context, by store.By, email string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reset = append(f.reset, email+" "+by.Who)
	return errors.Join(f.fail, f.notMailed)
}

func (f *fakePeople) Users(_ context.Context, account relay.AccountID) ([]relay.User, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(f.users), func(u relay.User) bool { return u.Account != account || !u.DeletedAt.IsZero() }), f.fail
}

func (f *fakePeople) UserNamed(_ context.Context, name string) (relay.User, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, u := range f.users {
		if (strings.EqualFold(u.Username, name) || strings.EqualFold(u.Email, name)) && u.DeletedAt.IsZero() {
			return u, f.fail
		}
	}
	return relay.User{}, relay.E(relay.NotFound, "There is no such person.")
}

func (f *fakePeople) edit(by store.By, id relay.UserID, what string, change func(*relay.User)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !by.Session.IsZero() && by.Session == f.over {
		return store.ErrSessionOver
	}
	i := slices.IndexFunc(f.users, func(u relay.User) bool { return u.ID == id })
	if i < 0 {
		return relay.E(relay.NotFound, "There is no such person.")
	}
	was := f.users[i]
	change(&f.users[i])
	owners := slices.ContainsFunc(f.users, func(u relay.User) bool {
		return u.Account == was.Account && u.Subuser.IsZero() && u.Role == relay.RoleOwner && u.DisabledAt.IsZero() && u.DeletedAt.IsZero()
	})
	if was.Role == relay.RoleOwner && was.Subuser.IsZero() && !owners {
		f.users[i] = was
		return relay.E(relay.Conflict, "This is the account's last owner.")
	}
	return f.noted(by, what+" "+was.Username)
}

// seen checks that a person has the grant that was decided on. meanwhile, if set, is
// what another node does to them just before.
func (f *fakePeople) seen(id relay.UserID, seen []store.Grant) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.users, func(u relay.User) bool { return u.ID == id })
	if i < 0 {
		return relay.E(relay.NotFound, "There is no such person.")
	}
	if f.meanwhile != nil {
		f.meanwhile(&f.users[i])
		f.meanwhile = nil
	}
	for _, g := range seen {
		if !g.Equal(store.GrantOf(&f.users[i])) {
			return relay.E(relay.Conflict, "changed meanwhile")
		}
	}
	return nil
}

func (f *fakePeople) SetGrant(_ context.Context, by store.By, id relay.UserID, was, to store.Grant) error {
	if err := f.seen(id, []store.Grant{was}); err != nil {
		return err
	}
	return f.edit(by, id, "user.update", func(u *relay.User) {
		u.Role, u.Scopes, u.Restricted, u.Subusers = to.Role, to.Scopes, to.Restricted, to.Subusers
	})
}

func (f *fakePeople) SetUserName(_ context.Context, by store.By, id relay.UserID, first, last string) error {
	return f.edit(by, id, "user.name", func(u *relay.User) { u.FirstName, u.LastName = first, last })
}

func (f *fakePeople) SetUserDisabled(_ context.Context, by store.By, id relay.UserID, at time.Time, seen ...store.Grant) error {
	if err := f.seen(id, seen); err != nil {
		return err
	}
	var refused error
	err := f.edit(by, id, "user.disabled", func(u *relay.User) {
		if refused = switched(by, at, &u.DisabledAt, &u.DisabledRank); refused == nil {
			delete(f.sessions, id)
		}
	})
	return errors.Join(err, refused)
}

func (f *fakePeople) DeleteUser(_ context.Context, by store.By, id relay.UserID, at time.Time, seen ...store.Grant) error {
	if err := f.seen(id, seen); err != nil {
		return err
	}
	var refused error
	err := f.edit(by, id, "user.delete", func(u *relay.User) {
		if refused = keeps(by, u.DisabledAt, u.DisabledRank); refused == nil {
			u.DeletedAt = at
			delete(f.sessions, id)
		}
	})
	return errors.Join(err, refused)
}

func (f *fakePeople) ResetFactors(_ context.Context, by store.By, id relay.UserID, seen ...store.Grant) error {
	if err := f.seen(id, seen); err != nil {
		return err
	}
	return f.edit(by, id, "user.factors", func(u *relay.User) { u.TOTP, u.Passkeys, u.RecoveryCodes = nil, 0, 0; delete(f.sessions, id) })
}

func (f *fakePeople) Sessions(_ context.Context, user relay.UserID) ([]relay.Session, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.sessions[user]), f.fail
}

func (f *fakePeople) EndSession(_ context.Context, by store.By, user relay.UserID, id relay.SessionID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.sessions[user])
	f.sessions[user] = slices.DeleteFunc(f.sessions[user], func(s relay.Session) bool { return s.ID == id })
	if len(f.sessions[user]) == n {
		return relay.E(relay.NotFound, "There is no such session.")
	}
	return f.noted(by, "session.end")
}

func (f *fakePeople) EndSessions(_ context.Context, by store.By, user relay.UserID, keep relay.SessionID) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.sessions[user])
	f.sessions[user] = slices.DeleteFunc(f.sessions[user], func(s relay.Session) bool { return s.ID != keep })
	return n - len(f.sessions[user]), f.noted(by, "sessions.end")
}

func (f *fakePeople) Links(_ context.Context, account relay.AccountID, kinds ...relay.LinkKind) ([]relay.Link, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(f.links), func(l relay.Link) bool { return l.Account != account || !slices.Contains(kinds, l.Kind) }), f.fail
}
