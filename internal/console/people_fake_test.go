package console

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"postern/internal/people"
	"postern/internal/relay"
	"postern/internal/secret"
)

// What the fake takes for right.
const (
	rightPassword = "right horse battery"
	rightCode     = "123456"
	rightRecovery = "abcd-efgh"
	rightKey      = `{"id":"right"}`
)

// fakeFactors is the rest of fakePeople's state.
type fakeFactors struct {
	links    map[string]relay.Link
	passkeys []relay.Passkey
	others   []relay.Session
	issuers  []string
	signOns  []SignOn
	fails    error // what the next call answers, whatever it is
	asked    []string
	pending  bool
	renamed  string
}

func (p *fakePeople) note(format string, args ...any) error {
	p.asked = append(p.asked, fmt.Sprintf(format, args...))
	err := p.fails
	p.fails = nil
	return err
}

// renew makes a new token for a visit, at a level; the old one is dead.
func (p *fakePeople) renew(old secret.Redacted, v *Visit, level relay.SessionLevel) (secret.Redacted, relay.Session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.visits, old.Reveal())
	p.made++
	token := fmt.Sprintf("made-%d", p.made)
	c := *v
	c.Session.Level, c.Session.ID = level, relay.SessionID{ID: relay.NewID(clock)}
	c.Session.FreshUntil = clock.Add(5 * time.Minute)
	p.visits[token] = &c
	return secret.Redacted(token), c.Session, nil
}

func (p *fakePeople) anna() *Visit {
	for _, v := range p.visits {
		return v
	}
	return nil
}

func (p *fakePeople) LoginPassword(_ context.Context, _ Visitor, name string, pw secret.Redacted) (secret.Redacted, relay.Session, error) {
	if err := p.note("login %s", name); err != nil {
		return "", relay.Session{}, err
	}
	v := p.anna()
	if v == nil || name != v.User.Username || pw.Reveal() != rightPassword {
		return "", relay.Session{}, people.ErrLogin
	}
	level := relay.SessionPassword
	if !v.User.SecondFactor() {
		level = relay.SessionEnrol
	}
	return p.renew("", v, level)
}

// second checks the second step.
func (p *fakePeople) second(token secret.Redacted, ok bool, wrong error, level relay.SessionLevel) (secret.Redacted, relay.Session, error) {
	if err := p.note("second"); err != nil {
		return "", relay.Session{}, err
	}
	v := p.visits[token.Reveal()]
	if v == nil {
		return "", relay.Session{}, people.ErrSession
	}
	if !ok {
		return "", relay.Session{}, wrong
	}
	return p.renew(token, v, level)
}

func (p *fakePeople) LoginTOTP(_ context.Context, _ Visitor, token secret.Redacted, code string) (secret.Redacted, relay.Session, error) {
	return p.second(token, code == rightCode, people.ErrCode, relay.SessionFull)
}

func (p *fakePeople) LoginRecovery(_ context.Context, _ Visitor, token secret.Redacted, code string) (secret.Redacted, relay.Session, error) {
	return p.second(token, code == rightRecovery, people.ErrCode, relay.SessionFull)
}

func (p *fakePeople) BeginPasskeyLogin(context.Context, Visitor, secret.Redacted) ([]byte, string, error) {
	return []byte(`{"challenge":"abc"}`), "handle", p.note("begin passkey")
}

func (p *fakePeople) LoginPasskey(_ context.Context, _ Visitor, token secret.Redacted, handle string, response []byte) (secret.Redacted, relay.Session, error) {
	ok := handle == "handle" && string(response) == rightKey
	if token == "" {
		if !ok {
			return "", relay.Session{}, people.ErrPasskey
		}
		return p.renew("", p.anna(), relay.SessionFull)
	}
	return p.second(token, ok, people.ErrPasskey, relay.SessionFull)
}

func (p *fakePeople) Logout(_ context.Context, token secret.Redacted) error {
	delete(p.visits, token.Reveal())
	return p.note("logout")
}

func (p *fakePeople) Sessions(_ context.Context, id relay.UserID) ([]relay.Session, error) {
	var out []relay.Session
	for _, v := range p.visits {
		if v.User.ID == id {
			out = append(out, v.Session)
		}
	}
	return append(out, p.others...), p.note("sessions")
}

func (p *fakePeople) EndSession(_ context.Context, _ *Visit, id relay.SessionID) error {
	return p.note("end %s", id)
}

func (p *fakePeople) EndOthers(context.Context, *Visit) (int, error) {
	return len(p.others), p.note("end others")
}

func (p *fakePeople) Reauth(_ context.Context, _ Visitor, token, pw secret.Redacted, code string) (secret.Redacted, relay.Session, error) {
	return p.second(token, pw.Reveal() == rightPassword && code == rightCode, people.ErrCode, relay.SessionFull)
}

func (p *fakePeople) BeginReauthPasskey(context.Context, *Visit) ([]byte, string, error) {
	return []byte(`{"challenge":"abc"}`), "handle", p.note("begin reauth")
}

func (p *fakePeople) ReauthPasskey(_ context.Context, _ Visitor, token secret.Redacted, handle string, response []byte) (secret.Redacted, relay.Session, error) {
	return p.second(token, handle == "handle" && string(response) == rightKey, people.ErrPasskey, relay.SessionFull)
}

func (p *fakePeople) BeginTOTP(context.Context, *Visit) (Enrolment, error) {
	p.pending = true
	return Enrolment{Secret: "ABCD EFGH", URI: "otpauth://totp/postern:anna?secret=ABCDEFGH&issuer=postern"}, p.note("begin totp")
}

func (p *fakePeople) EnableTOTP(_ context.Context, _ Visitor, token secret.Redacted, code string) (secret.Redacted, []string, error) {
	next, _, err := p.second(token, code == rightCode, people.ErrCode, relay.SessionFull)
	return next, p.codes(err), err
}

func (p *fakePeople) codes(err error) []string {
	if err != nil || p.anna().User.RecoveryCodes > 0 {
		return nil
	}
	return []string{"aaaa-bbbb", "cccc-dddd"}
}

func (p *fakePeople) DisableTOTP(context.Context, *Visit) error { return p.note("disable totp") }

func (p *fakePeople) NewRecoveryCodes(context.Context, *Visit) ([]string, error) {
	return []string{"eeee-ffff", "gggg-hhhh"}, p.note("new codes")
}

func (p *fakePeople) BeginPasskey(context.Context, *Visit) ([]byte, string, error) {
	return []byte(`{"challenge":"abc"}`), "handle", p.note("begin add")
}

func (p *fakePeople) AddPasskey(_ context.Context, _ Visitor, token secret.Redacted, handle, name string, response []byte) (secret.Redacted, []string, error) {
	next, _, err := p.second(token, handle == "handle" && string(response) == rightKey, people.ErrPasskey, relay.SessionFull)
	p.renamed = name
	return next, p.codes(err), err
}

func (p *fakePeople) Passkeys(context.Context, relay.UserID) ([]relay.Passkey, error) {
	return p.passkeys, nil
}

func (p *fakePeople) RenamePasskey(_ context.Context, _ *Visit, id []byte, name string) error {
	return p.note("rename %s %s", id, name)
}

func (p *fakePeople) RemovePasskey(_ context.Context, _ *Visit, id []byte) error {
	return p.note("remove %s", id)
}

func (p *fakePeople) ChangePassword(_ context.Context, _ *Visit, old, pw secret.Redacted) error {
	return p.note("password %s %s", old.Reveal(), pw.Reveal())
}

func (p *fakePeople) SetName(_ context.Context, _ *Visit, first, last string) error {
	return p.note("name %s %s", first, last)
}

func (p *fakePeople) AskEmail(_ context.Context, _ *Visit, email string) error {
	return p.note("email %s", email)
}

func (p *fakePeople) ConfirmEmail(_ context.Context, _ Visitor, token secret.Redacted) error {
	return p.note("confirm %s", token.Reveal())
}

func (p *fakePeople) LookLink(_ context.Context, token secret.Redacted) (relay.Link, error) {
	l, ok := p.links[token.Reveal()]
	if !ok {
		return l, people.ErrLink
	}
	return l, nil
}

func (p *fakePeople) Accept(_ context.Context, _ Visitor, token secret.Redacted, n Newcomer) (secret.Redacted, relay.Session, error) {
	if err := p.note("accept %s %s %s %s", token.Reveal(), n.Username, n.FirstName, n.LastName); err != nil {
		return "", relay.Session{}, err
	}
	l := p.links[token.Reveal()]
	delete(p.links, token.Reveal())
	return p.renew("", &Visit{User: relay.User{Account: l.Account, Username: n.Username, Email: l.Email, Role: l.Role}}, relay.SessionEnrol)
}

func (p *fakePeople) AskReset(_ context.Context, _ Visitor, email string) error {
	return p.note("reset of %s", email)
}

func (p *fakePeople) Reset(_ context.Context, _ Visitor, token, pw secret.Redacted) error {
	return p.note("reset %s %s", token.Reveal(), pw.Reveal())
}

func (p *fakePeople) BeginOIDC(_ context.Context, _ Visitor, start OIDCStart) (to, cookie string, err error) {
	return "https://id.example/authorize?state=s", "sealed", p.note("oidc %s %s invite=%s visit=%t fresh=%t", start.Issuer, start.Next, start.Invite.Reveal(), start.Visit != nil, start.Fresh)
}

func (p *fakePeople) FinishOIDC(_ context.Context, _ Visitor, cookie string, query url.Values) (secret.Redacted, relay.Session, string, error) {
	if cookie != "sealed" || query.Get("code") != "good" {
		return "", relay.Session{}, "", people.ErrSSO
	}
	token, s, err := p.renew("", p.anna(), relay.SessionFull)
	return token, s, "/sample", err
}

func (p *fakePeople) Issuers(account relay.AccountID) []string {
	if !account.IsZero() && account != p.anna().User.Account {
		return nil
	}
	return p.issuers
}

func (p *fakePeople) SignOns(context.Context, *relay.User) ([]SignOn, error) { return p.signOns, nil }

func (p *fakePeople) RemoveSignOn(_ context.Context, _ *Visit, id string) error {
	return p.note("unlink %s", id)
}

func (p *fakePeople) CheckPassword(pw secret.Redacted, own []string) ([]string, error) {
	if len(pw.Reveal()) < 15 {
		return []string{"It is too short."}, nil
	}
	for _, name := range own {
		if name != "" && strings.Contains(pw.Reveal(), name) {
			return []string{"It holds a name."}, nil
		}
	}
	return nil, nil
}

func (p *fakePeople) OwnNames(u *relay.User) []string { return []string{u.Username} }

var someAddr = netip.MustParseAddr("192.0.2.7")
