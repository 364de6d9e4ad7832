package people

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/internal/auth"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

const (
	inviteLife = 7 * 24 * time.Hour
	setupLife  = 24 * time.Hour
)

// mayMail judges whether a letter with a link may go to an address.
func (s *Service) mayMail(account relay.AccountID, address string, now time.Time) error {
	if s.base() == "" {
		return errNoURL
	}
	if !s.pace.take(account, strings.ToLower(address), now) {
		return relay.E(relay.RateLimited, "Too many letters were mailed. Try again tomorrow.")
	}
	return nil
}

// Invite mails an invitation: a link that makes one person, with what l says:
// Account, Subuser, Email, Role, Scopes, Restricted, Subusers. An older one to
// the same address ends. That the inviter may give so much is for the caller to
// check. The token is returned for tests and for the operator; it must not be
// shown to whoever invites. Errors: relay.Invalid with its field; relay.Conflict
// where the account has the person already; relay.RateLimited; relay.Unavailable.
func (s *Service) Invite(ctx context.Context, by store.By, l relay.Link) (relay.Link, secret.Redacted, error) {
	var err error
	if l.Email, err = mailbox(l.Email); err != nil {
		return relay.Link{}, "", err
	}
	if err := checkGrant(&l); err != nil {
		return relay.Link{}, "", err
	}
	// Somebody of another account is invited all the same: who belongs there is no
	// business of this one (AC-08). So is, by a subuser, who belongs to its account or
	// to another subuser.
	u, err := s.cfg.Store.UserNamed(ctx, l.Email)
	switch {
	case err == nil && u.Account == l.Account && (l.Subuser.IsZero() || u.Subuser == l.Subuser):
		return relay.Link{}, "", &relay.Error{Kind: relay.Conflict, Field: "email", Public: "Somebody with this address is in your account already."}
	case err != nil && relay.KindOf(err) != relay.NotFound:
		return relay.Link{}, "", err
	}
	now := s.now()
	if err := s.mayMail(l.Account, l.Email, now); err != nil {
		return relay.Link{}, "", err
	}
	l.Kind, l.User, l.UsedAt = relay.LinkInvite, relay.UserID{}, time.Time{}
	l.CreatedAt, l.CreatedBy, l.ExpiresAt = now, by.Who, now.Add(inviteLife)
	token, hash := newToken()
	l.Hash = hash
	if err := s.cfg.Store.CreateLink(ctx, by, l); err != nil {
		return relay.Link{}, "", err
	}
	return l, token, s.mailInvite(ctx, &l, token)
}

// checkGrant refuses a person who could not be.
func checkGrant(l *relay.Link) error {
	switch {
	case !slices.Contains(relay.Roles, l.Role):
		return &relay.Error{Kind: relay.Invalid, Field: "role", Public: "There is no such role."}
	case l.Role == relay.RoleCustom && len(l.Scopes) == 0:
		return &relay.Error{Kind: relay.Invalid, Field: "scopes", Public: "Choose at least one scope."}
	case l.Restricted && (!l.Subuser.IsZero() || len(l.Subusers) == 0):
		return &relay.Error{Kind: relay.Invalid, Field: "subusers", Public: "Choose the subusers that the person may see."}
	}
	if l.Role != relay.RoleCustom {
		l.Scopes = nil
	}
	return nil
}

func (s *Service) mailInvite(ctx context.Context, l *relay.Link, token secret.Redacted) error {
	account, _ := s.cfg.Account(l.Account)
	text := fmt.Sprintf("You are invited to %s of %s at %s.\n\nTo accept, open this link, and choose a user name and a password. Have your phone at hand: a second factor is set up with it.\n\n%s\nThe link works once, and until %s.\n\nIf you do not expect it, do nothing.\n",
		article(l.Role), cmp.Or(plain(account.Name, maxPart), "an account"), s.product(), s.letter("/invite/"+token.Reveal()), when(l.ExpiresAt))
	if err := s.cfg.Mail(ctx, l.Email, "You are invited to "+s.product(), text); err != nil {
		return fmt.Errorf("mail an invitation: %w", err)
	}
	return nil
}

// article is a role in a sentence.
func article(r relay.Role) string {
	switch r {
	case relay.RoleOwner, relay.RoleAdmin, relay.RoleAuditor:
		return "be an " + string(r)
	case relay.RoleDeveloper:
		return "be a " + string(r)
	}
	return "be one of the people"
}

// Resend mails an invitation anew: with a new token and a new end. The old link
// no longer works. Errors as Invite; relay.NotFound for one that was used.
func (s *Service) Resend(ctx context.Context, by store.By, l relay.Link) (relay.Link, secret.Redacted, error) {
	if l.Kind != relay.LinkInvite || !l.UsedAt.IsZero() {
		return relay.Link{}, "", ErrLink
	}
	return s.Invite(ctx, by, l)
}

// Withdraw ends an invitation: relay.NotFound if there is none.
func (s *Service) Withdraw(ctx context.Context, by store.By, l relay.Link) error {
	return s.cfg.Store.DeleteLinks(ctx, by, relay.Tenant{Account: l.Account, Subuser: l.Subuser}, l.Email, relay.LinkInvite)
}

// Setup makes the link with which the first owner of an account sets themselves
// up, for the operator to hand over; it works for 24 hours. An older one to the
// same address ends (AC-15). Errors: relay.Invalid, relay.NotFound for the
// account, relay.Conflict where somebody has the address.
func (s *Service) Setup(ctx context.Context, by store.By, account relay.AccountID, email string) (url string, err error) {
	if email, err = mailbox(email); err != nil {
		return "", err
	}
	if _, ok := s.cfg.Account(account); !ok {
		return "", relay.E(relay.NotFound, "There is no such account.")
	}
	switch _, err := s.cfg.Store.UserNamed(ctx, email); {
	case err == nil:
		return "", &relay.Error{Kind: relay.Conflict, Field: "email", Public: "Somebody has this address already."}
	case relay.KindOf(err) != relay.NotFound:
		return "", err
	}
	if s.base() == "" {
		return "", errNoURL
	}
	l, url := NewSetupLink(account, email, by.Who, s.base(), s.now(), setupLife)
	return url, s.cfg.Store.CreateLink(ctx, by, l)
}

// NewSetupLink makes the link of Setup without a Service, for an installation that
// is being made. The URL has the token, and is nowhere else; base is without a
// slash at its end.
func NewSetupLink(account relay.AccountID, email, by, base string, now time.Time, life time.Duration) (l relay.Link, url string) {
	if address, err := mailbox(email); err == nil {
		email = address // as everywhere
	}
	token, hash := newToken()
	return relay.Link{
		Hash: hash, Kind: relay.LinkSetup, Account: account, Email: email, Role: relay.RoleOwner,
		CreatedAt: now, CreatedBy: by, ExpiresAt: now.Add(life),
	}, base + "/setup/" + token.Reveal()
}

// LookLink says what a link is for, without using it: ErrLink if it does not work.
func (s *Service) LookLink(ctx context.Context, token secret.Redacted) (relay.Link, error) {
	l, err := s.look(ctx, token)
	if err != nil || l.Kind != relay.LinkReset {
		return l, err
	}
	_, err = s.resetUser(ctx, &l)
	return l, err
}

// look finds a link that works, of one of the kinds if any are named.
func (s *Service) look(ctx context.Context, token secret.Redacted, kinds ...relay.LinkKind) (relay.Link, error) {
	hash, ok := tokenHash(token.Reveal())
	if !ok {
		return relay.Link{}, ErrLink
	}
	l, err := s.cfg.Store.LinkByHash(ctx, hash)
	switch {
	case relay.KindOf(err) == relay.NotFound:
		return relay.Link{}, ErrLink
	case err != nil:
		return relay.Link{}, err
	case !l.UsedAt.IsZero(), !s.now().Before(l.ExpiresAt), len(kinds) > 0 && !slices.Contains(kinds, l.Kind):
		return relay.Link{}, ErrLink
	}
	account, ok := s.cfg.Account(l.Account)
	if !ok || !account.DisabledAt.IsZero() {
		return relay.Link{}, ErrLink
	}
	return l, nil
}

// used turns what the store says of a link that somebody else used first into
// ErrLink. A conflict with a field is about something else.
func used(err error) error {
	e, ok := errors.AsType[*relay.Error](err)
	if ok && (e.Kind == relay.NotFound || e.Kind == relay.Conflict && e.Field == "") {
		return ErrLink
	}
	return err
}

// Newcomer is what an invited person says of themselves.
type Newcomer struct {
	Username, FirstName, LastName string
	Password                      secret.Redacted
}

// Accept makes the person that a setup or invite link is for. Address, role and
// tenant are the link's; nothing in the request raises them (AC-13). The session
// is of the level enrol, or full where the account lets people in with a password
// alone. Errors: ErrLink; relay.Invalid and relay.Conflict with their fields.
func (s *Service) Accept(ctx context.Context, v Visitor, token secret.Redacted, n Newcomer) (secret.Redacted, relay.Session, error) {
	now := s.now()
	l, err := s.look(ctx, token, relay.LinkSetup, relay.LinkInvite)
	if err != nil {
		return "", relay.Session{}, err
	}
	u, err := newcomer(&l, n, now)
	if err != nil {
		return "", relay.Session{}, err
	}
	if u.Password, err = s.newPassword(ctx, n.Password, &u, relay.UserID{ID: relay.ID(l.Hash[:16])}); err != nil {
		return "", relay.Session{}, err
	}
	u.PasswordAt = now
	if err := s.cfg.Store.AcceptLink(ctx, byUser(&u, v.Addr), l.Hash, u, now); err != nil {
		return "", relay.Session{}, accepted(err)
	}
	session := s.newSession(&u, v, s.levelOf(&u, false), methodPassword, now)
	session.FreshUntil = now.Add(s.cfg.Fresh)
	next, err := s.open(ctx, session)
	if err != nil {
		return "", relay.Session{}, err
	}
	t := try(v, auth.PersonPassword, "", &u)
	t.Partial = session.Level != relay.SessionFull
	s.entered(ctx, &u, v, t, "an invitation was accepted")
	return next, session, nil
}

// accepted says what kept a person from being made.
func accepted(err error) error {
	e, ok := errors.AsType[*relay.Error](err)
	switch {
	case !ok || e.Kind != relay.Conflict:
	case e.Field == "username":
		return &relay.Error{Kind: relay.Conflict, Field: "username", Public: "This user name is taken. Choose another one."}
	case e.Field == "email":
		return &relay.Error{Kind: relay.Conflict, Field: "email", Public: "This address belongs to somebody here already. Ask for an invitation to another one."}
	}
	return used(err)
}

// newcomer is the person of a link, as far as they say themselves.
func newcomer(l *relay.Link, n Newcomer, now time.Time) (relay.User, error) {
	name := strings.TrimSpace(n.Username)
	if !goodUsername(name) {
		return relay.User{}, &relay.Error{Kind: relay.Invalid, Field: "username", Public: "3 to 64 characters: letters without accents, digits, and . _ - + @. The names pending and invite cannot be had."}
	}
	if strings.Contains(name, "@") && !strings.EqualFold(name, l.Email) {
		return relay.User{}, &relay.Error{Kind: relay.Invalid, Field: "username", Public: "A user name with an @ can only be your own address."}
	}
	first, last, err := names(n.FirstName, n.LastName)
	if err != nil {
		return relay.User{}, err
	}
	return relay.User{
		ID: relay.UserID{ID: relay.NewID(now)}, Account: l.Account, Subuser: l.Subuser, Username: name, Email: l.Email, FirstName: first, LastName: last,
		Role: l.Role, Scopes: l.Scopes, Restricted: l.Restricted, Subusers: l.Subusers, CreatedAt: now, InvitedBy: l.CreatedBy,
	}, nil
}

// goodUsername: what stands in records and paths as it is.
func goodUsername(name string) bool {
	if len(name) < 3 || len(name) > 64 {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && strings.IndexByte("._-+@", c) < 0 {
			return false
		}
	}
	// The API has a list of its own under the one word, the console a page under the
	// other: whoever had such a name could be looked at by nobody.
	return strings.Trim(name, ".") != "" && !strings.EqualFold(name, "pending") && !strings.EqualFold(name, "invite")
}
