package people

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"postern/internal/auth"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

// BeginPasskeyLogin begins a login with a passkey: with the token of a half
// session as its second factor, without one as the whole login, which then
// demands that the authenticator verifies its user (a finger, a face, a PIN).
// options is for navigator.credentials.get; handle goes back to LoginPasskey,
// within five minutes. Without a token nothing about anybody is looked up.
func (s *Service) BeginPasskeyLogin(ctx context.Context, v Visitor, token secret.Redacted) (options []byte, handle string, err error) {
	p, err := s.party(v)
	if err != nil {
		return nil, "", err
	}
	if token == "" {
		assertion, data, err := p.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
		if err != nil {
			return nil, "", err
		}
		return s.begun(kindLogin, assertion, data, relay.SessionID{})
	}
	visit, err := s.Open(ctx, v, token)
	if err != nil {
		return nil, "", err
	}
	if visit.Session.Level != relay.SessionPassword {
		return nil, "", ErrSession
	}
	return s.askPasskey(ctx, p, visit, kindSecond, protocol.VerificationPreferred)
}

// askPasskey asks for one of a known person's passkeys.
func (s *Service) askPasskey(ctx context.Context, p *party, visit *Visit, kind string, uv protocol.UserVerificationRequirement) ([]byte, string, error) {
	h, err := s.holder(ctx, visit.User)
	if err != nil {
		return nil, "", err
	}
	if len(h.credentials) == 0 {
		return nil, "", relay.E(relay.Conflict, "You have no passkey here.")
	}
	assertion, data, err := p.BeginLogin(h, webauthn.WithUserVerification(uv))
	if err != nil {
		return nil, "", err
	}
	return s.begun(kind, assertion, data, visit.Session.ID)
}

// LoginPasskey completes what BeginPasskeyLogin began, with the same token. The
// session is full and has a new token. Errors: ErrPasskey, ErrSession;
// relay.RateLimited for an address that has failed too often.
func (s *Service) LoginPasskey(ctx context.Context, v Visitor, token secret.Redacted, handle string, response []byte) (secret.Redacted, relay.Session, error) {
	if token != "" {
		return s.second(ctx, v, token, auth.PersonPasskey, plusPasskey, func(visit *Visit) error {
			return s.provePasskey(ctx, visit, kindSecond, handle, response)
		})
	}
	arrived := time.Now()
	next, session, err := s.passkeyAlone(ctx, v, handle, response)
	if err != nil {
		s.settle(ctx, arrived)
	}
	return next, session, err
}

// passkeyAlone logs in whoever the passkey is of.
func (s *Service) passkeyAlone(ctx context.Context, v Visitor, handle string, response []byte) (secret.Redacted, relay.Session, error) {
	begun := s.now()
	t := try(v, auth.PersonPasskey, "", nil)
	if err := s.cfg.Auth.PersonAllowed(ctx, t); err != nil {
		return "", relay.Session{}, err
	}
	refuse := func(u *relay.User, result relay.LoginResult, detail string) (secret.Redacted, relay.Session, error) {
		s.ended(ctx, try(v, auth.PersonPasskey, "", u), result, detail)
		return "", relay.Session{}, ErrPasskey
	}
	p, err := s.party(v)
	if err != nil {
		return "", relay.Session{}, err
	}
	c, ok := s.answered(kindLogin, handle, relay.SessionID{}, response)
	if !ok {
		return refuse(nil, relay.LoginMalformed, "the challenge is over, or none of ours")
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(response)
	if err != nil {
		return refuse(nil, relay.LoginMalformed, "")
	}
	h, credential, err, fault := s.discovered(ctx, p, c, parsed)
	switch {
	case fault != nil:
		return "", relay.Session{}, fault
	case h == nil:
		return refuse(nil, relay.LoginUnknown, "")
	}
	u := &h.user
	if err != nil {
		_ = s.unproven("login", u, err) // logged; the answer is the same for all
		return refuse(u, relay.LoginWrong, "")
	}
	if why := s.shutHere(u); why != "" {
		return refuse(u, relay.LoginDisabled, why)
	}
	t = try(v, auth.PersonPasskey, "", u)
	ok, note := s.cfg.Auth.PersonAdmitted(ctx, t)
	if !ok {
		return refuse(u, relay.LoginAccess, note)
	}
	if err := s.usePasskey(ctx, h, v, c, credential); err != nil {
		if err == ErrPasskey { //nolint:errorlint // bare
			return refuse(u, relay.LoginWrong, "the passkey was used twice, or is a copy")
		}
		return "", relay.Session{}, err
	}
	session := s.newSession(u, v, relay.SessionFull, methodPasskey, begun)
	session.FreshUntil = begun.Add(s.cfg.Fresh) // a device, and what unlocks it
	next, err := s.open(ctx, session)
	if err != nil {
		return "", relay.Session{}, err
	}
	s.entered(ctx, u, v, t, note)
	return next, session, nil
}

// discovered finds whose passkey answered, and checks the answer. h is nil where it
// is nobody's; err is why it is not accepted; fault is ours, which the library would
// take for the visitor's.
func (s *Service) discovered(ctx context.Context, p *party, c challenge, parsed *protocol.ParsedCredentialAssertionData) (h *holder, _ *webauthn.Credential, err, fault error) {
	_, credential, err := p.ValidatePasskeyLogin(func(id, handle []byte) (webauthn.User, error) {
		found, err := s.holderOf(ctx, id, handle)
		if err != nil && relay.KindOf(err) != relay.NotFound {
			fault = err
		}
		if err != nil {
			return nil, err
		}
		h = found
		return h, nil
	}, c.Data, parsed)
	return h, credential, err, fault
}

// holderOf finds a person by what an authenticator keeps: both must be theirs.
func (s *Service) holderOf(ctx context.Context, id, userHandle []byte) (*holder, error) {
	row, err := s.cfg.Store.PasskeyByID(ctx, id)
	if err != nil {
		return nil, err
	}
	if string(userHandle) != string(row.User.ID[:]) {
		return nil, relay.E(relay.NotFound, "another person's")
	}
	u, err := s.cfg.Store.User(ctx, row.User)
	if err != nil {
		return nil, err
	}
	return s.holder(ctx, u)
}

// provePasskey checks that a visit's person has one of their passkeys here.
func (s *Service) provePasskey(ctx context.Context, visit *Visit, kind, handle string, response []byte) error {
	p, err := s.party(visit.visitor)
	if err != nil {
		return err
	}
	c, ok := s.answered(kind, handle, visit.Session.ID, response)
	if !ok {
		return ErrPasskey
	}
	h, err := s.holder(ctx, visit.User)
	if err != nil {
		return err
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(response)
	if err != nil {
		return s.unproven(kind, &visit.User, err)
	}
	credential, err := p.ValidateLogin(h, c.Data, parsed)
	if err != nil {
		return s.unproven(kind, &visit.User, err)
	}
	return s.usePasskey(ctx, h, visit.visitor, c, credential)
}

// usePasskey takes a proof once. A signature counter that did not grow means that
// two devices have the key (WebAuthn §6.1.1): it is not accepted, and both the
// person and the operator hear of it. What was shown here before is refused without
// that alarm; the store refuses what was shown on another node.
func (s *Service) usePasskey(ctx context.Context, h *holder, v Visitor, c challenge, credential *webauthn.Credential) error {
	now, u := s.now(), &h.user
	if !s.used.take(c.Data.Challenge, now, c.Until) {
		return ErrPasskey
	}
	if credential.Authenticator.CloneWarning {
		s.alert(u, v, fmt.Sprintf("A passkey of person %s was used with a counter that went back: somebody may have a copy. It was refused. Have them remove it and set up another one.", u.Username))
		s.notice(ctx, u, v, "A passkey may have been copied", fmt.Sprintf("A passkey of your account %q was used in a way that suggests that somebody else has a copy of it. The login was refused. Log in in another way, remove the passkey, and set up a new one.", u.Username))
		return ErrPasskey
	}
	row, err := json.Marshal(credential)
	if err != nil {
		return err
	}
	err = s.cfg.Store.UsePasskey(ctx, store.PasskeyUse{
		ID: credential.ID, Was: h.row(credential.ID), Credential: row, Challenge: sha256.Sum256([]byte("passkey challenge\x00" + c.Data.Challenge)),
		Until: c.Until, At: now,
	})
	switch relay.KindOf(err) {
	case relay.NotFound, relay.Conflict: // removed meanwhile; shown elsewhere
		return ErrPasskey
	}
	return err
}

// BeginReauthPasskey begins to show both factors again with a passkey that
// verifies its user. Errors: ErrSession; relay.Conflict without a passkey.
func (s *Service) BeginReauthPasskey(ctx context.Context, visit *Visit) (options []byte, handle string, err error) {
	if !visit.Full() {
		return nil, "", ErrSession
	}
	p, err := s.party(visit.visitor)
	if err != nil {
		return nil, "", err
	}
	return s.askPasskey(ctx, p, visit, kindReauth, protocol.VerificationRequired)
}

// ReauthPasskey completes it; the new session counts as fresh. Errors:
// ErrPasskey, ErrSession, ErrTooMany.
func (s *Service) ReauthPasskey(ctx context.Context, v Visitor, token secret.Redacted, handle string, response []byte) (secret.Redacted, relay.Session, error) {
	visit, err := s.Open(ctx, v, token)
	if err != nil {
		return "", relay.Session{}, err
	}
	if !visit.Full() {
		return "", relay.Session{}, ErrSession
	}
	err = s.tryFactor(ctx, visit, auth.PersonPasskey, func(*Visit) error { return s.provePasskey(ctx, visit, kindReauth, handle, response) })
	if err != nil {
		return "", relay.Session{}, err
	}
	return s.refresh(ctx, visit, auth.PersonPasskey)
}
