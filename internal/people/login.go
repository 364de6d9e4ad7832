package people

import (
	"context"
	"strings"
	"time"
	"unicode"

	"postern/internal/auth"
	"postern/internal/relay"
	"postern/internal/secret"
)

const (
	// halfLife is how long the second factor, or setting one up, may take.
	halfLife = 10 * time.Minute
	// enrolLife is longer: an app has to be installed.
	enrolLife = 30 * time.Minute
	// maxName of what is typed as a user name, in octets.
	maxName = 320
	// maxAgent of a browser's name that is kept, in octets.
	maxAgent = 300
)

// The ways a session is made; Session.Method.
const (
	methodPassword = "password"
	methodPasskey  = "passkey"
	methodOIDC     = "oidc"
	plusTOTP       = "+totp"
	plusRecovery   = "+recovery"
	plusPasskey    = "+passkey"
	// plusNone: an issuer that is trusted for the second factor did not say that there
	// was one, and none was demanded.
	plusNone = "+none"
)

// try is what is known of a try to log in. u may be nil.
func try(v Visitor, mechanism, typed string, u *relay.User) auth.PersonTry {
	t := auth.PersonTry{Addr: v.Addr, Agent: v.Agent, TLS: v.TLS, Listener: v.Listener, Mechanism: mechanism, Tried: typed}
	if u != nil {
		t.User, t.Tried = u.ID, u.Username
		t.Tenant = relay.Tenant{Account: u.Account, Subuser: u.Subuser}
	}
	return t
}

// LoginPassword checks a user name or e-mail address and a password. The session
// is of the level password where a second factor is to follow, enrol where one
// has to be set up first, and full only where the account lets people in without.
//
// Errors: ErrLogin, whatever was wrong; relay.RateLimited for an address that has
// failed too often (auth.RetryAfter); relay.Unavailable; relay.Forbidden after a
// right password that is too old.
func (s *Service) LoginPassword(ctx context.Context, v Visitor, name string, pw secret.Redacted) (secret.Redacted, relay.Session, error) {
	arrived := time.Now()
	token, session, err := s.loginPassword(ctx, v, name, pw)
	if err != nil {
		s.settle(ctx, arrived)
	}
	return token, session, err
}

func (s *Service) loginPassword(ctx context.Context, v Visitor, name string, pw secret.Redacted) (secret.Redacted, relay.Session, error) {
	begun := s.now() // the store refuses a session from before a new password
	u, err := s.named(ctx, name)
	if err != nil {
		return "", relay.Session{}, err
	}
	t := try(v, auth.PersonPassword, name, u)
	refused := s.cfg.Auth.PersonAllowed(ctx, t)
	if relay.KindOf(refused) == relay.RateLimited {
		return "", relay.Session{}, refused // of the address: it says nothing of the person
	}
	stored := ""
	if u != nil && refused == nil {
		stored = u.Password
	}
	ok, stale, err := s.inLine(ctx, t, stored, pw, &refused)
	switch {
	case err != nil:
		return "", relay.Session{}, err
	case refused != nil:
		return "", relay.Session{}, ErrLogin
	}
	result, detail := s.judge(ctx, u, t, ok)
	if result != relay.LoginOK {
		if instead := s.cfg.Auth.PersonDone(ctx, t, result, detail); instead != nil {
			return "", relay.Session{}, instead
		}
		return "", relay.Session{}, ErrLogin
	}
	if stale {
		s.rehash(ctx, u, pw)
	}
	if s.cfg.Rules.Due(u.PasswordAt, begun) {
		s.ended(ctx, t, relay.LoginExpired, "the password is older than the policy allows")
		s.later(job{reset: u.Email, why: resetDue, v: v})
		return "", relay.Session{}, relay.E(relay.Forbidden, "Your password is older than this installation allows. Set a new one by the link that is mailed to you: five a day at most.")
	}
	level := s.levelOf(u, false)
	t.Partial = level != relay.SessionFull
	session := s.newSession(u, v, level, methodPassword, begun)
	session.FreshUntil = session.ExpiresAt // the first factor was just shown
	if level == relay.SessionFull {
		session.FreshUntil = begun.Add(s.cfg.Fresh)
	}
	token, err := s.open(ctx, session)
	if err != nil {
		return "", relay.Session{}, err
	}
	s.entered(ctx, u, v, t, detail)
	return token, session, nil
}

// inLine compares a password when it is the visitor's turn. An address that was
// refused while it waited is not looked at any more, and a person who is guessed at
// by then is refused, after the same work.
func (s *Service) inLine(ctx context.Context, t auth.PersonTry, stored string, pw secret.Redacted, refused *error) (ok, stale bool, err error) {
	at := s.cfg.Auth.PersonStanding(t)
	a := applicant{rank: rankNew, address: at.Address, network: at.Network}
	switch {
	case at.Known:
		a.rank, a.person = rankKnown, t.User
	case at.Failed:
		a.rank = rankFailed
	}
	leave, waited, err := s.line.enter(ctx, a)
	if err != nil {
		crowd := try(Visitor{Addr: t.Addr, Listener: t.Listener}, t.Mechanism, "", nil) // one record for all of an address
		s.ended(ctx, crowd, relay.LoginUnavailable, "too many logins at once")
		return false, false, err
	}
	defer leave()
	if waited && *refused == nil {
		if *refused = s.cfg.Auth.PersonAllowed(ctx, t); relay.KindOf(*refused) == relay.RateLimited {
			return false, false, *refused
		}
		if *refused != nil {
			stored = ""
		}
	}
	ok, stale, err = s.hasher.Verify(ctx, stored, pw)
	return ok, stale, busy(err)
}

// verify compares the password of somebody who has a session: they go first.
func (s *Service) verify(ctx context.Context, u *relay.User, pw secret.Redacted) (bool, error) {
	leave, _, err := s.line.enter(ctx, applicant{rank: rankKnown, person: u.ID})
	if err != nil {
		return false, err
	}
	defer leave()
	ok, _, err := s.hasher.Verify(ctx, u.Password, pw)
	return ok, busy(err)
}

// hash makes the hash of a new password of somebody who has a session or a link: of
// is the person, or stands for the link.
func (s *Service) hash(ctx context.Context, of relay.UserID, pw secret.Redacted) (string, error) {
	leave, _, err := s.line.enter(ctx, applicant{rank: rankKnown, person: of})
	if err != nil {
		return "", err
	}
	defer leave()
	hash, err := s.hasher.Hash(ctx, pw)
	return hash, busy(err)
}

// named finds who a typed name is; nil: nobody.
func (s *Service) named(ctx context.Context, name string) (*relay.User, error) {
	name = strings.TrimSpace(name)
	if name == "" || len(name) > maxName {
		return nil, nil //nolint:nilnil // nobody is an answer here, and the work goes on
	}
	if address, err := mailbox(name); err == nil {
		name = address
	}
	u, err := s.cfg.Store.UserNamed(ctx, name)
	switch {
	case relay.KindOf(err) == relay.NotFound:
		return nil, nil //nolint:nilnil // as above
	case err != nil:
		return nil, err
	}
	return &u, nil
}

// judge says what a password that was compared comes to.
func (s *Service) judge(ctx context.Context, u *relay.User, t auth.PersonTry, ok bool) (relay.LoginResult, string) {
	switch {
	case u == nil:
		return relay.LoginUnknown, ""
	case !ok && u.Password == "":
		return relay.LoginWrong, "this person has no password"
	case !ok:
		return relay.LoginWrong, ""
	}
	if why := s.shutHere(u); why != "" {
		return relay.LoginDisabled, why
	}
	ok, note := s.cfg.Auth.PersonAdmitted(ctx, t)
	if !ok {
		return relay.LoginAccess, ""
	}
	return relay.LoginOK, note
}

// shutHere says why a person cannot log in by what they have here. Whom an issuer
// brought logs in there, where whoever leaves their groups is not let in any more, also
// while it is not configured.
func (s *Service) shutHere(u *relay.User) string {
	if why := s.shut(u); why != "" {
		return why
	}
	if brought(u) {
		return s.cameBy(u)
	}
	return ""
}

// shut says why a person cannot log in, whatever they show; "": they can.
func (s *Service) shut(u *relay.User) string {
	switch {
	case !u.DeletedAt.IsZero():
		return "the person is deleted"
	case !u.DisabledAt.IsZero():
		return "the person is disabled"
	}
	account, ok := s.cfg.Account(u.Account)
	if !ok || !account.DisabledAt.IsZero() {
		return "the account is disabled"
	}
	if u.Subuser.IsZero() {
		return ""
	}
	sub, ok := s.cfg.Subuser(u.Subuser)
	switch {
	case !ok || !sub.DeletedAt.IsZero() || !sub.DisabledAt.IsZero():
		return "the subuser is disabled"
	case !sub.ConsoleDisabledAt.IsZero():
		return "the subuser's people may not use the console"
	}
	return ""
}

// demanded reports whether a person must have a second factor: the account says
// so, for its subusers' people too.
func (s *Service) demanded(u *relay.User) bool {
	account, ok := s.cfg.Account(u.Account)
	return !ok || !account.Policy.SecondFactorOptional
}

// levelOf is how far the first factor alone brings a person. shown: the second
// one was shown with it.
func (s *Service) levelOf(u *relay.User, shown bool) relay.SessionLevel {
	switch {
	case shown:
		return relay.SessionFull
	case u.SecondFactor():
		return relay.SessionPassword
	case s.demanded(u):
		return relay.SessionEnrol
	}
	return relay.SessionFull
}

// newSession is a session that begins now. AC-12: its end is fixed here.
func (s *Service) newSession(u *relay.User, v Visitor, level relay.SessionLevel, method string, now time.Time) relay.Session {
	life := s.cfg.Life
	switch level {
	case relay.SessionPassword:
		life = min(life, halfLife)
	case relay.SessionEnrol:
		life = min(life, enrolLife)
	case relay.SessionFull:
	}
	return relay.Session{
		ID: relay.SessionID{ID: relay.NewID(now)}, User: u.ID, Level: level, Method: method, Addr: v.Addr, Agent: plain(v.Agent, maxAgent),
		CreatedAt: now, SeenAt: now, ExpiresAt: now.Add(life),
	}
}

// open stores a new session and returns its token.
func (s *Service) open(ctx context.Context, session relay.Session) (secret.Redacted, error) {
	token, hash := newToken()
	err := s.cfg.Store.CreateSession(ctx, session, hash)
	switch relay.KindOf(err) {
	case relay.Conflict, relay.NotFound: // the person or their password changed meanwhile
		return "", ErrLogin
	}
	if err != nil {
		return "", err
	}
	return token, nil
}

// rehash keeps a right password under the parameters of today. That it fails is
// no reason not to let the person in.
func (s *Service) rehash(ctx context.Context, u *relay.User, pw secret.Redacted) {
	hash, err := s.hash(ctx, u.ID, pw)
	if err == nil {
		err = s.cfg.Store.RehashPassword(ctx, u.ID, u.Password, hash)
	}
	if err != nil && relay.KindOf(err) != relay.NotFound {
		s.cfg.Logger.Warn("people: password not hashed anew", "user", u.Username, "error", err)
	}
}

// plain is a text from outside without what cannot be printed, cut to n octets.
func plain(text string, n int) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	for len(text) > n {
		r := []rune(text)
		text = string(r[:len(r)-max(1, (len(text)-n)/4)])
	}
	return strings.TrimSpace(text)
}
