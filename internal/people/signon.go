package people

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// SignOn is a way of single sign-on that a person has, or could have.
type SignOn struct {
	ID     string // of the identity, for RemoveSignOn; empty: none is linked
	Issuer string // its name, or its URL where it is not configured any more
	Live   bool   // it lets people in here
	// Governs: it brought the person and says what they may do, so they cannot leave it.
	Governs           bool
	CreatedAt, UsedAt time.Time
}

// SignOns are a person's identities at issuers, and the issuers of their account
// at which they have none.
func (s *Service) SignOns(ctx context.Context, u *relay.User) ([]SignOn, error) {
	have, err := s.cfg.Store.Issuances(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	var all []SignOn
	for i := range have {
		row := SignOn{ID: signOnID(&have[i]), Issuer: have[i].Issuer, CreatedAt: have[i].CreatedAt, UsedAt: have[i].UsedAt}
		if is := s.issuerOf(u, &have[i]); is != nil {
			row.Issuer, row.Live, row.Governs = is.Name, true, u.InvitedBy == provisionedBy(is)
		}
		all = append(all, row)
	}
	for _, is := range s.issuers {
		if s.letsIn(is, u.Account) && !slices.ContainsFunc(have, func(i relay.Issuance) bool { return i.Issuer == is.URL }) {
			all = append(all, SignOn{Issuer: is.Name, Live: true})
		}
	}
	return all, nil
}

// signOnID names an identity in a URL of the console, without telling it.
func signOnID(i *relay.Issuance) string {
	sum := sha256.Sum256([]byte(i.Issuer + "\x00" + i.Subject))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// letsIn reports whether an issuer is an account's.
func (s *Service) letsIn(is *issuer, account relay.AccountID) bool {
	a, ok := s.cfg.AccountNamed(is.Account)
	return ok && a.ID == account
}

// issuerOf is the issuer that lets somebody in by an identity of theirs, or nil.
func (s *Service) issuerOf(u *relay.User, i *relay.Issuance) *issuer {
	for _, is := range s.issuers {
		if is.URL == i.Issuer && s.letsIn(is, u.Account) {
			return is
		}
	}
	return nil
}

// RemoveSignOn takes an identity away from its person, who has proven anew who they
// are; all their other sessions end. Errors: ErrReauth, ErrSession; relay.NotFound;
// relay.Conflict for the issuer that brought them, or where they could not log in any
// more.
func (s *Service) RemoveSignOn(ctx context.Context, visit *Visit, id string) error {
	if err := s.fresh(visit); err != nil {
		return err
	}
	u := &visit.User
	have, err := s.cfg.Store.Issuances(ctx, u.ID)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(have, func(i relay.Issuance) bool { return signOnID(&i) == id })
	if at < 0 {
		return relay.E(relay.NotFound, "This single sign-on is not linked to your account any more.")
	}
	gone, name := have[at], have[at].Issuer
	if is := s.issuerOf(u, &gone); is != nil {
		if name = is.Name; u.InvitedBy == provisionedBy(is) {
			return relay.E(relay.Conflict, "Your account comes from "+is.Name+", which says what you may do here: it cannot be unlinked.")
		}
	}
	keeps := s.wayIn(u, slices.Delete(have, at, at+1))
	if err := s.cfg.Store.DeleteIssuance(ctx, byVisit(visit), u.ID, gone.Issuer, gone.Subject, visit.Session.ID, keeps); err != nil {
		return err
	}
	s.lost(ctx, visit, "Single sign-on by "+name+" was removed")
	return nil
}

// wayIn is the rule that keeps somebody a way to log in: identities count where one
// of them is at an issuer that lets them in.
func (s *Service) wayIn(u *relay.User, have []relay.Issuance) store.FactorRule {
	if slices.ContainsFunc(have, func(i relay.Issuance) bool { return s.issuerOf(u, &i) != nil }) {
		return store.NotLastWayIn
	}
	return store.NotLastOwnWay
}

// linked reports whether a person has come by single sign-on, at whatever issuer.
func (s *Service) linked(ctx context.Context, id relay.UserID) bool {
	all, err := s.cfg.Store.Issuances(ctx, id)
	return err == nil && len(all) > 0
}
