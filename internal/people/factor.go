package people

import (
	"context"
	"errors"
	"fmt"

	"postern/internal/auth"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
	"postern/internal/totp"
)

// maxTries of a second factor in one session (AC-04); then it is over.
const maxTries = 5

// LoginTOTP completes a login with a code of the authenticator app. The new
// session is full and has another token. Errors: ErrCode while there are tries
// left, ErrSession, ErrTooMany.
func (s *Service) LoginTOTP(ctx context.Context, v Visitor, token secret.Redacted, code string) (secret.Redacted, relay.Session, error) {
	return s.second(ctx, v, token, auth.PersonTOTP, plusTOTP, func(visit *Visit) error { return s.checkTOTP(ctx, &visit.User, code) })
}

// LoginRecovery completes a login with a recovery code, which is used up by it;
// the person is told by mail (AC-06). Errors as LoginTOTP.
func (s *Service) LoginRecovery(ctx context.Context, v Visitor, token secret.Redacted, code string) (secret.Redacted, relay.Session, error) {
	var left int
	var who relay.User
	next, session, err := s.second(ctx, v, token, auth.PersonRecovery, plusRecovery, func(visit *Visit) error {
		who = visit.User
		n, err := s.cfg.Store.UseRecoveryCode(ctx, byUser(&who, v.Addr), who.ID, recoveryHash(who.ID, code), s.now())
		if relay.KindOf(err) == relay.NotFound {
			return ErrCode
		}
		left = n
		return err
	})
	if err == nil {
		s.notice(ctx, &who, v, "A recovery code was used", fmt.Sprintf("Somebody logged in to your account %q with a recovery code. %d of them are left; each works once.\n\nIf you have lost your authenticator app, set up a new one in your profile now.", who.Username, left))
	}
	return next, session, err
}

// second takes a session of the level password to full.
func (s *Service) second(ctx context.Context, v Visitor, token secret.Redacted, mechanism, plus string, check func(*Visit) error) (secret.Redacted, relay.Session, error) {
	visit, err := s.Open(ctx, v, token)
	if err != nil {
		return "", relay.Session{}, err
	}
	if visit.Session.Level != relay.SessionPassword {
		return "", relay.Session{}, ErrSession
	}
	if err := s.tryFactor(ctx, visit, mechanism, check); err != nil {
		return "", relay.Session{}, err
	}
	next, session, err := s.complete(ctx, visit, further(visit.Session.Method, plus))
	if err == nil {
		s.done(ctx, visit, mechanism, "")
	}
	return next, session, err
}

// tryFactor counts a try against the session and the person before it looks at
// it, so that no number of them at once gets past the limits (AC-04). A success
// is recorded by the caller, when the step is done.
func (s *Service) tryFactor(ctx context.Context, visit *Visit, mechanism string, check func(*Visit) error) error {
	t := try(visit.visitor, mechanism, "", &visit.User)
	if err := s.cfg.Auth.PersonAllowed(ctx, t); err != nil {
		if relay.KindOf(err) == relay.RateLimited {
			return tooMany{err}
		}
		return ErrCode
	}
	tries, err := s.cfg.Store.TrySession(ctx, visit.Session.ID)
	switch {
	case relay.KindOf(err) == relay.NotFound:
		return ErrSession
	case err != nil:
		return err
	case tries > maxTries:
		return s.end(ctx, &visit.Session)
	}
	if ok, note := s.cfg.Auth.PersonAdmitted(ctx, t); !ok {
		s.ended(ctx, t, relay.LoginAccess, note)
		return ErrCode
	}
	err = check(visit)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrCode), errors.Is(err, ErrPasskey), errors.Is(err, ErrLogin):
		s.ended(ctx, t, relay.LoginWrong, "")
		if tries == maxTries {
			return s.end(ctx, &visit.Session)
		}
	default:
		s.ended(ctx, t, relay.LoginUnavailable, "")
	}
	return err
}

// tooMany is ErrTooMany with the time of the guard's refusal.
type tooMany struct{ refused error }

func (e tooMany) Error() string { return ErrTooMany.Error() }

// Unwrap makes both found: what to say, and for how long (auth.RetryAfter).
func (e tooMany) Unwrap() []error { return []error{ErrTooMany, e.refused} }

// checkTOTP checks a code and uses its step up: AC-03, it works once, whoever
// asks at the same moment, here or on another node.
func (s *Service) checkTOTP(ctx context.Context, u *relay.User, code string) error {
	if len(u.TOTP) == 0 || len(code) > 20 {
		return ErrCode
	}
	key, err := s.cfg.Sealer.Open(u.TOTP, totpAAD(u.ID))
	if err != nil {
		return fmt.Errorf("open the authenticator secret of %s: %w", u.ID, err)
	}
	step, ok := totp.Check(key, code, s.now(), u.TOTPStep)
	if !ok {
		return ErrCode
	}
	err = s.cfg.Store.UseTOTPStep(ctx, u.ID, step)
	if relay.KindOf(err) == relay.Conflict {
		return ErrCode
	}
	return err
}

// totpAAD binds a sealed secret to its person.
func totpAAD(id relay.UserID) []byte { return []byte("users/" + id.String() + "/totp") }

// Reauth shows both factors again: the password, if the person has one, and a
// code, if they have an app. The new session counts as fresh (AC-07). People
// without a password, or with passkeys only, use ReauthPasskey; those of an
// issuer BeginOIDC with Fresh. Errors: ErrCode, of one wording whichever was
// wrong, ErrSession, ErrTooMany, relay.Conflict where it has to be another way.
func (s *Service) Reauth(ctx context.Context, v Visitor, token, pw secret.Redacted, code string) (secret.Redacted, relay.Session, error) {
	visit, err := s.Open(ctx, v, token)
	if err != nil {
		return "", relay.Session{}, err
	}
	u := &visit.User
	switch {
	case !visit.Full():
		return "", relay.Session{}, ErrSession
	case u.Password == "" || len(u.TOTP) == 0 && u.SecondFactor():
		return "", relay.Session{}, relay.E(relay.Conflict, "Use your passkey, or single sign-on, to show that it is you.")
	}
	mechanism := auth.PersonPassword
	if len(u.TOTP) > 0 {
		mechanism = auth.PersonTOTP
	}
	err = s.tryFactor(ctx, visit, mechanism, func(*Visit) error {
		ok, err := s.verify(ctx, u, pw)
		switch {
		case err != nil:
			return err
		case !ok:
			return ErrCode
		case len(u.TOTP) > 0:
			return s.checkTOTP(ctx, u, code)
		}
		return nil
	})
	if err != nil {
		return "", relay.Session{}, err
	}
	return s.refresh(ctx, visit, mechanism)
}

// refresh replaces a full session by one that is fresh. Its end stays.
func (s *Service) refresh(ctx context.Context, visit *Visit, mechanism string) (secret.Redacted, relay.Session, error) {
	next := visit.Session
	next.FreshUntil = s.now().Add(s.cfg.Fresh)
	next.Addr, next.Agent = visit.visitor.Addr, plain(visit.visitor.Agent, maxAgent)
	token, session, err := s.replace(ctx, &visit.Session, next)
	if err == nil {
		s.done(ctx, visit, mechanism, "shown again")
	}
	return token, session, err
}

// Enrolment is what an authenticator app needs.
type Enrolment struct {
	Secret string // to be typed, in groups
	URI    string // for the QR code
}

// BeginTOTP draws a secret for an authenticator app. It is the person's only when
// EnableTOTP has seen a code of it. Errors: ErrReauth, ErrSession.
func (s *Service) BeginTOTP(ctx context.Context, visit *Visit) (Enrolment, error) {
	if err := s.mayEnrol(visit); err != nil {
		return Enrolment{}, err
	}
	key := totp.NewSecret()
	sealed, err := s.cfg.Sealer.Seal(key, pendingAAD(visit))
	if err != nil {
		return Enrolment{}, err
	}
	session := visit.Session
	session.Pending = sealed
	if err := s.update(ctx, session); err != nil {
		return Enrolment{}, err
	}
	visit.Session.Pending = sealed
	return Enrolment{totp.Text(key), totp.URI(s.product(), visit.User.Username, key)}, nil
}

// pendingAAD binds an enrolment to its session.
func pendingAAD(visit *Visit) []byte {
	return []byte("sessions/" + visit.Session.ID.String() + "/totp/" + visit.User.ID.String())
}

func (s *Service) update(ctx context.Context, session relay.Session) error {
	err := s.cfg.Store.UpdateSession(ctx, session)
	if relay.KindOf(err) == relay.NotFound {
		return ErrSession
	}
	return err
}

// EnableTOTP makes the secret of BeginTOTP the person's, after a code of it. Where they
// had another app, that one is lost, and the other sessions end with it. A
// session that was for setting up a factor is full from then on. codes are ten
// recovery codes, if the person had none: they are shown this once. Errors:
// ErrCode, ErrReauth, ErrSession; relay.Conflict without BeginTOTP.
func (s *Service) EnableTOTP(ctx context.Context, v Visitor, token secret.Redacted, code string) (secret.Redacted, []string, error) {
	visit, err := s.Open(ctx, v, token)
	if err != nil {
		return "", nil, err
	}
	if err := s.mayEnrol(visit); err != nil {
		return "", nil, err
	}
	if len(visit.Session.Pending) == 0 {
		return "", nil, relay.E(relay.Conflict, "This page is too old. Begin again.")
	}
	key, err := s.cfg.Sealer.Open(visit.Session.Pending, pendingAAD(visit))
	if err != nil {
		return "", nil, relay.E(relay.Conflict, "This page is too old. Begin again.")
	}
	now := s.now()
	step, ok := totp.Check(key, code, now, 0)
	if !ok {
		return "", nil, ErrCode
	}
	sealed, err := s.cfg.Sealer.Seal(key, totpAAD(visit.User.ID))
	if err != nil {
		return "", nil, err
	}
	if err := s.cfg.Store.SetTOTP(ctx, byVisit(visit), visit.User.ID, sealed, step, now, visit.Session.ID, firstOnly(visit)...); err != nil {
		return "", nil, err
	}
	what := "An authenticator app was set up"
	if len(visit.User.TOTP) > 0 {
		what = "Another authenticator app was set up"
	}
	return s.enrolled(ctx, visit, auth.PersonTOTP, plusTOTP, what)
}

// enrolled is what follows a new factor: recovery codes, a notice, and a new
// session. A crash before the codes leaves a person without them, who can make
// them in the profile.
func (s *Service) enrolled(ctx context.Context, visit *Visit, mechanism, plus, what string) (token secret.Redacted, codes []string, err error) {
	u := &visit.User
	if u.RecoveryCodes == 0 {
		if codes, err = s.setCodes(ctx, visit); err != nil {
			return "", nil, err
		}
	}
	s.notice(ctx, u, visit.visitor, what, fmt.Sprintf("%s for your account %q.", what, u.Username))
	if visit.Session.Level != relay.SessionEnrol {
		next := visit.Session
		if s.oneFactor(next.Method) {
			next.Method = further(next.Method, plus)
		}
		token, _, err = s.replace(ctx, &visit.Session, next)
		return token, codes, err
	}
	// Both factors were just shown: the password made this session, the new one is here.
	visit.Session.FreshUntil = visit.Session.ExpiresAt
	if token, _, err = s.complete(ctx, visit, further(visit.Session.Method, plus)); err == nil {
		s.done(ctx, visit, mechanism, "set up")
	}
	return token, codes, err
}

func (s *Service) setCodes(ctx context.Context, visit *Visit) ([]string, error) {
	codes, hashes := newRecoveryCodes(visit.User.ID)
	if err := s.cfg.Store.SetRecoveryCodes(ctx, byVisit(visit), visit.User.ID, hashes); err != nil {
		return nil, err
	}
	return codes, nil
}

// DisableTOTP takes the authenticator app away. Errors: ErrReauth, ErrSession;
// relay.Conflict where it is the last factor and the account demands one.
func (s *Service) DisableTOTP(ctx context.Context, visit *Visit) error {
	if err := s.fresh(visit); err != nil {
		return err
	}
	u, err := s.cfg.Store.User(ctx, visit.User.ID)
	if err != nil {
		return err
	}
	if len(u.TOTP) == 0 {
		return relay.E(relay.NotFound, "No authenticator app is set up.")
	}
	if err := s.cfg.Store.RemoveTOTP(ctx, byVisit(visit), u.ID, visit.Session.ID, s.mayLose(&u)...); err != nil {
		return lastFactor(err)
	}
	s.lost(ctx, visit, "The authenticator app was removed")
	return nil
}

// firstOnly: a session that is for setting up the first factor adds no second one,
// whatever comes between its being opened and the change.
func firstOnly(visit *Visit) []store.FactorRule {
	if visit.Session.Level == relay.SessionEnrol {
		return []store.FactorRule{store.FirstFactor}
	}
	return nil
}

// mayLose does not let the last factor go where one is demanded.
func (s *Service) mayLose(u *relay.User) []store.FactorRule {
	if s.demanded(u) {
		return []store.FactorRule{store.NotLastFactor}
	}
	return nil
}

// lastFactor says what the store means by it.
func lastFactor(err error) error {
	if e, ok := errors.AsType[*relay.Error](err); ok && e.Kind == relay.Conflict && e.Field == "factor" {
		return relay.E(relay.Conflict, "Your account demands a second factor, and this is the only one you have. Set up another one first.")
	}
	return err
}

// lost tells a person that a factor is gone. What it let in has ended with it, in the
// store: other sessions, since they may be of whoever has the device that was lost.
func (s *Service) lost(ctx context.Context, visit *Visit, what string) {
	u := &visit.User
	s.notice(ctx, u, visit.visitor, what, fmt.Sprintf("%s from your account %q. All other sessions have ended.", what, u.Username))
}

// NewRecoveryCodes makes ten new codes; the old ones no longer work. They are
// shown this once. Errors: ErrReauth, ErrSession; relay.Conflict without a factor
// that they could stand in for.
func (s *Service) NewRecoveryCodes(ctx context.Context, visit *Visit) ([]string, error) {
	if err := s.fresh(visit); err != nil {
		return nil, err
	}
	if !visit.User.SecondFactor() {
		return nil, relay.E(relay.Conflict, "Set up an authenticator app or a passkey first.")
	}
	codes, err := s.setCodes(ctx, visit)
	if err != nil {
		return nil, err
	}
	s.notice(ctx, &visit.User, visit.visitor, "New recovery codes", fmt.Sprintf("New recovery codes were made for your account %q. The old ones no longer work.", visit.User.Username))
	return codes, nil
}
