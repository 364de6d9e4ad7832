package people

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"

	"postern/internal/relay"
	"postern/internal/store"
)

// SignOn is a way of single sign-on that a person has, or could have.
type SignOn struct {
	ID     string // of the identity, for RemoveSignOn; empty: one can be linked
	Issuer string // its name, or its URL where it is not configured any more
	Live   bool   // it lets this person in here
	// Governs: it brought the person and says what they may do.
	Governs bool
	// Stays says why it cannot be unlinked; empty: it can.
	Stays string
	// Again: one is linked there, and another one can be.
	Again bool
	// Provisions: whoever logs in by it unlinked is somebody new.
	Provisions        bool
	CreatedAt, UsedAt time.Time
}

// SignOns are a person's identities at issuers, and then the issuers of their account
// at which they can link one: whom an issuer brought links no other.
func (s *Service) SignOns(ctx context.Context, u *relay.User) ([]SignOn, error) {
	have, err := s.cfg.Store.Issuances(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	keys, err := s.cfg.Store.Passkeys(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	var all []SignOn
	for i := range have {
		row := SignOn{ID: signOnID(&have[i]), Issuer: have[i].Issuer, CreatedAt: have[i].CreatedAt, UsedAt: have[i].UsedAt}
		if no := s.mayUnlink(u, &have[i], keys, without(have, &have[i])); no != nil {
			row.Stays = no.Error()
		}
		if is := s.issuerAt(u, have[i].Issuer); is != nil {
			row.Issuer, row.Live, row.Provisions = is.Name, s.issuerOf(u, &have[i]) != nil, is.Provision
			row.Governs = is.brings(u)
		}
		all = append(all, row)
	}
	for _, is := range s.issuers {
		if s.letsIn(is, u.Account) && (!brought(u) || is.brings(u)) {
			all = append(all, SignOn{Issuer: is.Name, Live: true, Again: slices.ContainsFunc(have, func(i relay.Issuance) bool { return i.Issuer == is.URL })})
		}
	}
	return all, nil
}

func without(all []relay.Issuance, gone *relay.Issuance) []relay.Issuance {
	return slices.DeleteFunc(slices.Clone(all), func(i relay.Issuance) bool { return i.Issuer == gone.Issuer && i.Subject == gone.Subject })
}

// signOnID names an identity in a URL and on a command line, without telling it.
func signOnID(i *relay.Issuance) string {
	sum := sha256.Sum256([]byte(i.Issuer + "\x00" + i.Subject))
	return hex.EncodeToString(sum[:16])
}

// letsIn reports whether an issuer is an account's.
func (s *Service) letsIn(is *issuer, account relay.AccountID) bool {
	a, ok := s.cfg.AccountNamed(is.Account)
	return ok && a.ID == account
}

// SignsOn reports whether an issuer is set up for the account of a name: it is found by
// that, whichever account has it.
func (s *Service) SignsOn(account string) bool {
	return slices.ContainsFunc(s.issuers, func(is *issuer) bool { return is.Account == account })
}

// issuerAt is the issuer of a person's account at a URL, or nil.
func (s *Service) issuerAt(u *relay.User, at string) *issuer {
	for _, is := range s.issuers {
		if is.URL == at && s.letsIn(is, u.Account) {
			return is
		}
	}
	return nil
}

// issuerOf is the issuer that lets somebody in by an identity of theirs, or nil: whom
// another one brought, it does not.
func (s *Service) issuerOf(u *relay.User, i *relay.Issuance) *issuer {
	is := s.issuerAt(u, i.Issuer)
	if is != nil && brought(u) && !is.brings(u) {
		return nil
	}
	return is
}

// governor is the issuer that brought a person and says what they may do; nil: none
// that is configured did.
func (s *Service) governor(u *relay.User) *issuer {
	for _, is := range s.issuers {
		if is.brings(u) && s.letsIn(is, u.Account) {
			return is
		}
	}
	return nil
}

// cameBy says why somebody whom an issuer brought is let in by nothing else.
func (s *Service) cameBy(u *relay.User) string {
	if is := s.governor(u); is != nil {
		return "the person comes from " + is.Name + " and logs in there"
	}
	return "the person comes from " + strings.TrimPrefix(u.InvitedBy, provisioned) + ", which is not configured here"
}

// Invited is who invited somebody, in words: an issuer that brought them by its name,
// where it is configured.
func (s *Service) Invited(u *relay.User) string {
	if is := s.governor(u); is != nil {
		return provisioned + is.Name
	}
	return u.InvitedBy
}

// mayLeave refuses that a person loses the identity that they were brought by: their
// role would follow nothing any more. left are their others.
func (s *Service) mayLeave(u *relay.User, gone *relay.Issuance, left []relay.Issuance) error {
	if !brought(u) {
		return nil
	}
	is := s.governor(u)
	switch {
	case is == nil && strings.Contains(u.InvitedBy, "://") && u.InvitedBy != provisioned+gone.Issuer:
		return nil // it lets nobody in
	case is == nil:
		return &relay.Error{Kind: relay.Conflict, Field: "issuer", Public: "This account comes from an issuer that is not configured here at the moment: that cannot be unlinked. The operator of this relay can bring it back."}
	case gone.Issuer != is.URL, slices.ContainsFunc(left, func(i relay.Issuance) bool { return i.Issuer == is.URL }):
		return nil
	}
	return &relay.Error{Kind: relay.Conflict, Field: "issuer", Public: "This account comes from " + is.Name + ", which says what it may do here: that cannot be unlinked."}
}

// wayLeft refuses what would leave a person no way to log in.
func (s *Service) wayLeft(u *relay.User, keys []relay.Passkey, identities []relay.Issuance) error {
	if u.Password != "" || slices.ContainsFunc(keys, alone) || slices.ContainsFunc(identities, func(i relay.Issuance) bool { return s.issuerOf(u, &i) != nil }) {
		return nil
	}
	return &relay.Error{Kind: relay.Conflict, Field: "way", Public: "Without this there would be no way to log in to this account. Set a password first, or add a passkey that checks who uses it."}
}

// alone reports whether a passkey lets somebody in by itself: it checked who used it
// when it was made (WebAuthn Level 3 §6.1, UV).
func alone(k relay.Passkey) bool {
	var c webauthn.Credential
	return json.Unmarshal(k.Credential, &c) == nil && c.Flags.UserVerified
}

// mayUnlink judges whether an identity may be taken away from a person. What lets
// nobody in is no way to log in, and goes also as the last: then a link to a password
// can be mailed.
func (s *Service) mayUnlink(u *relay.User, gone *relay.Issuance, keys []relay.Passkey, left []relay.Issuance) error {
	if err := s.mayLeave(u, gone, left); err != nil || s.issuerOf(u, gone) == nil {
		return err
	}
	return s.wayLeft(u, keys, left)
}

// RemoveSignOn takes an identity away from its person, who has proven anew who they
// are; all their other sessions end. Errors: ErrReauth, ErrSession; relay.NotFound;
// relay.Conflict for the issuer that brought them, or where they could not log in any
// more. Both are judged in the step that removes it.
func (s *Service) RemoveSignOn(ctx context.Context, visit *Visit, id string) error {
	if err := s.fresh(visit); err != nil {
		return err
	}
	gone, name, err := s.signOnOf(ctx, &visit.User, id)
	if err != nil {
		return err
	}
	may := func(u *relay.User, keys []relay.Passkey, left []relay.Issuance) error {
		return s.mayUnlink(u, gone, keys, left)
	}
	if err := s.cfg.Store.DeleteIssuance(ctx, byVisit(visit), visit.User.ID, gone.Issuer, gone.Subject, visit.Session.ID, may); err != nil {
		return err
	}
	s.lost(ctx, visit, "Single sign-on by "+name+" was removed")
	return nil
}

// RemoveSignOnOf takes an identity away from somebody, for whoever may do it to this
// person and has judged it by what was read of them: their grant must be the same
// still. All their sessions end, and a letter tells them. Errors: ErrSession;
// relay.NotFound; relay.Conflict as for RemoveSignOn, or for another grant.
func (s *Service) RemoveSignOnOf(ctx context.Context, by store.By, u *relay.User, id string) error {
	gone, name, err := s.signOnOf(ctx, u, id)
	if err != nil {
		return err
	}
	may := func(now *relay.User, keys []relay.Passkey, left []relay.Issuance) error {
		if !store.GrantOf(now).Equal(store.GrantOf(u)) {
			return relay.E(relay.Conflict, "What this person may do was changed at the same moment. Look at it again.")
		}
		return s.mayUnlink(now, gone, keys, left)
	}
	if err := s.cfg.Store.DeleteIssuance(ctx, by, u.ID, gone.Issuer, gone.Subject, relay.SessionID{}, may); err != nil {
		return err
	}
	s.unlinked(ctx, u, name)
	return nil
}

// signOnOf finds a person's identity, and what its issuer is called. Errors:
// relay.NotFound.
func (s *Service) signOnOf(ctx context.Context, u *relay.User, id string) (i *relay.Issuance, name string, err error) {
	have, err := s.cfg.Store.Issuances(ctx, u.ID)
	if err != nil {
		return nil, "", err
	}
	at := slices.IndexFunc(have, func(i relay.Issuance) bool { return signOnID(&i) == id })
	if at < 0 {
		return nil, "", relay.E(relay.NotFound, "This single sign-on is not linked any more.")
	}
	if is := s.issuerAt(u, have[at].Issuer); is != nil {
		return &have[at], is.Name, nil
	}
	return &have[at], have[at].Issuer, nil
}

// unlinked tells somebody what was taken away from them. It follows the change, as a
// notice does.
func (s *Service) unlinked(ctx context.Context, u *relay.User, name string) {
	subject := "Single sign-on by " + name + " was removed"
	text := fmt.Sprintf("Somebody who looks after your account %q has unlinked single sign-on by %s on %s. It lets nobody in as you any more, and all your sessions have ended.\n\nIf you had not linked it, somebody else had a way in: change your password, and look at the passkeys in your profile.\n",
		u.Username, name, when(s.now()))
	if err := s.cfg.Mail(context.WithoutCancel(ctx), u.Email, s.product()+": "+subject, text); err != nil {
		s.cfg.Logger.Error("people: notice not mailed", "user", u.Username, "subject", subject, "error", err)
	}
}

// signOnOnly says why somebody who has single sign-on gets no link to a password; "":
// they may have one. It would be a way around the issuer that they have come by,
// whichever it was.
func (s *Service) signOnOnly(ctx context.Context, u *relay.User) (not string, err error) {
	if is := s.governor(u); is != nil {
		return fmt.Sprintf(notGoverned, is.Name), nil
	}
	if brought(u) {
		return notAbsent, nil
	}
	if u.Password != "" {
		return "", nil
	}
	have, err := s.cfg.Store.Issuances(ctx, u.ID)
	switch {
	case err != nil || len(have) == 0:
		return "", err
	case slices.ContainsFunc(have, func(i relay.Issuance) bool { return s.issuerOf(u, &i) != nil }):
		return notSignOn, nil
	}
	return notLeft, nil
}
