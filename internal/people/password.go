package people

import (
	"context"
	"fmt"
	"strings"

	"postern/internal/auth"
	"postern/internal/relay"
	"postern/internal/secret"
)

// CheckPassword says in words what is wrong with a new password; nothing if it
// may be used. own are names that it must not be made of, besides the operator's.
// It is for hints while somebody types: what counts is checked again.
func (s *Service) CheckPassword(pw secret.Redacted, own []string) ([]string, error) {
	if u := s.base(); u != "" {
		own = append([]string{s.product(), u}, own...)
	}
	return s.cfg.Rules.Check(pw.Reveal(), own)
}

// OwnNames are those of a person that their password must not be made of.
func (s *Service) OwnNames(u *relay.User) []string {
	own := []string{u.Username, u.Email, u.FirstName, u.LastName}
	if account, ok := s.cfg.Account(u.Account); ok {
		own = append(own, account.Name)
	}
	if sub, ok := s.cfg.Subuser(u.Subuser); ok && !u.Subuser.IsZero() {
		own = append(own, sub.Name)
	}
	return own
}

// newPassword judges and hashes a new password. What is wrong with it is
// relay.Invalid of the field "password". of is as for hash.
func (s *Service) newPassword(ctx context.Context, pw secret.Redacted, u *relay.User, of relay.UserID) (string, error) {
	wrong, err := s.CheckPassword(pw, s.OwnNames(u))
	if err != nil {
		return "", fmt.Errorf("judge a new password: %w", err)
	}
	if len(wrong) > 0 {
		return "", &relay.Error{Kind: relay.Invalid, Field: "password", Public: strings.Join(wrong, " ")}
	}
	return s.hash(ctx, of, pw)
}

// ChangePassword sets a new password. All other sessions end; so do reset links.
// old may be empty where the person has none yet. Errors: ErrReauth, ErrSession,
// ErrTooMany; relay.Invalid of the fields "old_password" and "password".
func (s *Service) ChangePassword(ctx context.Context, visit *Visit, old, next secret.Redacted) error {
	if err := s.fresh(visit); err != nil {
		return err
	}
	u := &visit.User
	if brought(u) {
		return relay.E(relay.Conflict, "Your account comes from single sign-on: you log in there, and a password would not let you in.")
	}
	if u.Password != "" {
		err := s.tryFactor(ctx, visit, auth.PersonPassword, func(*Visit) error {
			ok, err := s.verify(ctx, u, old)
			if err == nil && !ok {
				return ErrLogin
			}
			return err
		})
		if err == ErrLogin { //nolint:errorlint // bare
			return &relay.Error{Kind: relay.Invalid, Field: "old_password", Public: "This is not your password."}
		}
		if err != nil {
			return err
		}
		if old == next {
			return &relay.Error{Kind: relay.Invalid, Field: "password", Public: "This is the password that you have."}
		}
	}
	hash, err := s.newPassword(ctx, next, u, u.ID)
	if err != nil {
		return err
	}
	if err := s.cfg.Store.SetPassword(ctx, byVisit(visit), u.ID, hash, s.now(), visit.Session.ID); err != nil {
		return err
	}
	s.notice(ctx, u, visit.visitor, "Your password was changed", fmt.Sprintf("The password of your account %q was changed. All other sessions have ended.", u.Username))
	return nil
}
