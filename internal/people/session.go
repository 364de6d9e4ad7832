package people

import (
	"context"
	"strings"
	"time"

	"postern/internal/auth"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

// touchEvery is how often a session's last use is written: a quarter of the idle
// time, if that is less.
const touchEvery = time.Minute

// Open finds the session of a token. It ends one that was idle too long, is over,
// or whose person is no longer let in. The level is what counts now: a person who
// has set up a second factor meanwhile must show it, and one whose account
// demands one by now must set it up. A Passive visitor does not keep it from
// becoming idle. The error is ErrSession, or what the store says.
func (s *Service) Open(ctx context.Context, v Visitor, token secret.Redacted) (*Visit, error) {
	hash, ok := tokenHash(token.Reveal())
	if !ok {
		return nil, ErrSession
	}
	session, u, err := s.cfg.Store.SessionByHash(ctx, hash)
	switch {
	case relay.KindOf(err) == relay.NotFound:
		return nil, ErrSession
	case err != nil:
		return nil, err
	}
	now := s.now()
	// AC-12: idle and absolute end.
	if !now.Before(session.ExpiresAt) || now.Sub(session.SeenAt) >= s.cfg.Idle || s.shut(&u) != "" {
		return nil, s.end(ctx, &session)
	}
	session.Level = s.levelNow(&session, &u)
	if !v.Passive && now.Sub(session.SeenAt) >= min(touchEvery, s.cfg.Idle/4) {
		if err := s.cfg.Store.TouchSession(ctx, session.ID, now); err != nil {
			// Reading must go on where nothing can be written; the session only ends sooner.
			s.cfg.Logger.Warn("people: use of a session not noted", "user", u.Username, "error", err)
		}
		session.SeenAt = now
	}
	return &Visit{session, u, v}, nil
}

// levelNow is a session's level as things stand: it can only be lower than what
// is stored.
func (s *Service) levelNow(session *relay.Session, u *relay.User) relay.SessionLevel {
	switch {
	case session.Level == relay.SessionEnrol && u.SecondFactor():
		// Set up elsewhere meanwhile: who has only the password must not set up another.
		return relay.SessionPassword
	case session.Level == relay.SessionFull && u.SecondFactor() && s.oneFactor(session.Method):
		// From before there was one, where the account lets people in without: whoever
		// is in it must show it as well.
		return relay.SessionPassword
	case session.Level == relay.SessionFull && !u.SecondFactor() && s.demanded(u) && !s.trustedMethod(session.Method):
		return relay.SessionEnrol
	}
	return session.Level
}

// oneFactor reports whether a session was made by a first factor alone.
func (s *Service) oneFactor(method string) bool {
	for _, plus := range []string{plusTOTP, plusRecovery, plusPasskey} {
		if strings.HasSuffix(method, plus) {
			return false
		}
	}
	return method != methodPasskey && !s.trustedMethod(method)
}

// further is the method of a session that was made by one, and has shown one more factor.
func further(method, plus string) string { return strings.TrimSuffix(method, plusNone) + plus }

// trustedMethod reports whether a session's own method was a second factor too.
func (s *Service) trustedMethod(method string) bool {
	name, ok := strings.CutPrefix(method, methodOIDC+" ")
	if !ok {
		return false
	}
	is := s.issuer(name)
	return is != nil && is.SecondFactor
}

// end ends a session that is over; the answer is ErrSession.
func (s *Service) end(ctx context.Context, session *relay.Session) error {
	err := s.cfg.Store.EndSession(ctx, store.By{}, session.User, session.ID)
	if err != nil && relay.KindOf(err) != relay.NotFound {
		return err
	}
	return ErrSession
}

// Principal is what a visit may do at the API. AC-05: a session that is not full
// has none: relay.Unauthenticated. So does one from an address that the access
// lists of the account or subuser do not let in.
func (s *Service) Principal(ctx context.Context, visit *Visit) (*relay.Principal, error) {
	if !visit.Full() {
		return nil, ErrSession
	}
	u := visit.User
	if ok, _ := s.cfg.Auth.PersonAdmitted(ctx, try(visit.visitor, "", "", &u)); !ok {
		return nil, relay.E(relay.Unauthenticated, "This address may not be used: the IP access list of your account does not have it.")
	}
	account, _ := s.cfg.Account(u.Account)
	p := &relay.Principal{
		Tenant: relay.Tenant{Account: u.Account, Subuser: u.Subuser}, AccountName: account.Name, Mechanism: visit.Session.Method,
		User: &u, Session: visit.Session.ID, FreshUntil: visit.Session.FreshUntil,
	}
	if !u.Subuser.IsZero() {
		sub, _ := s.cfg.Subuser(u.Subuser)
		p.SubuserName = sub.Name
	}
	return p, nil
}

// Logout ends the session of a token. One that is gone already is fine.
func (s *Service) Logout(ctx context.Context, token secret.Redacted) error {
	hash, ok := tokenHash(token.Reveal())
	if !ok {
		return nil
	}
	session, _, err := s.cfg.Store.SessionByHash(ctx, hash)
	if err == nil {
		err = s.cfg.Store.EndSession(ctx, store.By{}, session.User, session.ID)
	}
	if relay.KindOf(err) == relay.NotFound {
		return nil
	}
	return err
}

// Sessions are a person's, those that are over left out.
func (s *Service) Sessions(ctx context.Context, user relay.UserID) ([]relay.Session, error) {
	all, err := s.cfg.Store.Sessions(ctx, user)
	if err != nil {
		return nil, err
	}
	now := s.now()
	var live []relay.Session
	for _, one := range all {
		if now.Before(one.ExpiresAt) && now.Sub(one.SeenAt) < s.cfg.Idle {
			live = append(live, one)
		}
	}
	return live, nil
}

// EndSession ends one of a person's own sessions: relay.NotFound if it is none.
func (s *Service) EndSession(ctx context.Context, visit *Visit, id relay.SessionID) error {
	if !visit.Full() {
		return ErrSession
	}
	return s.cfg.Store.EndSession(ctx, byVisit(visit), visit.User.ID, id)
}

// EndOthers ends all of a person's sessions but this one, and says how many.
func (s *Service) EndOthers(ctx context.Context, visit *Visit) (int, error) {
	if !visit.Full() {
		return 0, ErrSession
	}
	return s.cfg.Store.EndSessions(ctx, byVisit(visit), visit.User.ID, visit.Session.ID)
}

// replace makes a new session, with a new token, of one that has come further
// (AC-10). The old one is dead from then on.
func (s *Service) replace(ctx context.Context, old *relay.Session, next relay.Session) (secret.Redacted, relay.Session, error) {
	token, hash := newToken()
	next.ID = relay.SessionID{ID: relay.NewID(s.now())}
	next.Tries, next.Pending = 0, nil
	err := s.cfg.Store.ReplaceSession(ctx, old.ID, next, hash)
	switch {
	case relay.KindOf(err) == relay.NotFound: // ended meanwhile, or taken by another try at the same time
		return "", relay.Session{}, ErrSession
	case err != nil:
		return "", relay.Session{}, err
	}
	return token, next, nil
}

// complete makes a half session full.
func (s *Service) complete(ctx context.Context, visit *Visit, method string) (secret.Redacted, relay.Session, error) {
	now := s.now()
	next := s.newSession(&visit.User, visit.visitor, relay.SessionFull, method, now)
	if visit.Session.FreshUntil.After(now) {
		next.FreshUntil = now.Add(s.cfg.Fresh)
	}
	return s.replace(ctx, &visit.Session, next)
}

// fresh demands a full session that has just shown both factors (AC-07).
func (s *Service) fresh(visit *Visit) error {
	switch {
	case !visit.Full():
		return ErrSession
	case !s.now().Before(visit.Session.FreshUntil):
		return ErrReauth
	}
	return nil
}

// mayEnrol demands what setting up a factor takes: a session that was made for
// it, or a fresh one.
func (s *Service) mayEnrol(visit *Visit) error {
	if visit.Session.Level == relay.SessionEnrol {
		return nil
	}
	return s.fresh(visit)
}

// done records a step that succeeded.
func (s *Service) done(ctx context.Context, visit *Visit, mechanism, detail string) {
	s.entered(ctx, &visit.User, visit.visitor, try(visit.visitor, mechanism, "", &visit.User), detail)
}

// entered records a success. A whole login from where the person never was is
// told to them: it may be somebody else's.
func (s *Service) entered(ctx context.Context, u *relay.User, v Visitor, t auth.PersonTry, detail string) {
	strange := !t.Partial && !u.SeenAt.IsZero() && !s.cfg.Auth.PersonKnown(t)
	s.ended(ctx, t, relay.LoginOK, detail)
	if strange {
		s.notice(ctx, u, v, "New login", "Somebody logged in to your account \""+u.Username+"\" from a place that you have not used before.")
	}
}

// ended records what a try came to, where the address is no reason to answer
// anything else: it was let in, or was asked about before anybody was looked up.
func (s *Service) ended(ctx context.Context, t auth.PersonTry, result relay.LoginResult, detail string) {
	_ = s.cfg.Auth.PersonDone(ctx, t, result, detail)
}
