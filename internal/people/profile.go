package people

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/smtp"
)

const (
	// emailLife is how long the link that proves a new address works.
	emailLife = time.Hour
	maxPart   = 100 // of a person's name, in characters
)

// SetName sets a person's own names. Errors: ErrSession; relay.Invalid.
func (s *Service) SetName(ctx context.Context, visit *Visit, first, last string) error {
	if !visit.Full() {
		return ErrSession
	}
	first, last, err := names(first, last)
	if err != nil {
		return err
	}
	// Nothing else is written: what was read of a person may be older than what they
	// are by now.
	return s.cfg.Store.SetUserName(ctx, byUser(&visit.User, visit.visitor.Addr), visit.User.ID, first, last)
}

func names(first, last string) (string, string, error) {
	for field, text := range map[string]string{"first_name": first, "last_name": last} {
		if len([]rune(text)) > maxPart || plain(text, len(text)) != strings.TrimSpace(text) {
			return "", "", &relay.Error{Kind: relay.Invalid, Field: field, Public: fmt.Sprintf("At most %d characters, and all of them printable.", maxPart)}
		}
	}
	return strings.TrimSpace(first), strings.TrimSpace(last), nil
}

// mailbox reads an address of a person: relay.Invalid of the field "email". Each
// mailbox has one form, or somebody who is shut out could be invited again under
// another spelling of their address: the domain in A-labels (RFC 5890 §2.3.2.1), the
// local part in NFC (RFC 6532 §3.1), with no quotes. Case is compared by the store.
func mailbox(text string) (string, error) {
	text = norm.NFC.String(strings.TrimSpace(text))
	a, err := smtp.ParseAddress(text, true)
	if err != nil || a.IsLiteral() || a.LocalWire() != a.Local() || !strings.Contains(a.ASCIIDomain(), ".") || len(a.Key()) > maxName {
		return "", &relay.Error{Kind: relay.Invalid, Field: "email", Public: "This is not an email address."}
	}
	if d := a.Domain(); len(d) == len(a.ASCIIDomain()) && strings.ToLower(d) == a.ASCIIDomain() {
		return text, nil // only its case differs, if anything does
	}
	return a.Key(), nil
}

// AskEmail mails a link to a person's new address, and a notice to the present
// one (AC-07). Nothing changes before the link is used. An address that somebody
// else has gets no link, and the answer is the same (AC-08). Errors: ErrReauth,
// ErrSession; relay.Invalid; relay.RateLimited; relay.Unavailable without http.url.
func (s *Service) AskEmail(ctx context.Context, visit *Visit, email string) error {
	if err := s.fresh(visit); err != nil {
		return err
	}
	email, err := mailbox(email)
	if err != nil {
		return err
	}
	u, now := &visit.User, s.now()
	if strings.EqualFold(email, u.Email) {
		return &relay.Error{Kind: relay.Invalid, Field: "email", Public: "This is the address that you have."}
	}
	if err := s.mayMail(u.Account, email, now); err != nil {
		return err
	}
	other, err := s.cfg.Store.UserNamed(ctx, email)
	if err != nil && relay.KindOf(err) != relay.NotFound {
		return err
	}
	taken := err == nil && other.ID != u.ID // their own user name may be an address that they had
	// Of an address that somebody has the link is made all the same, and goes nowhere:
	// its record, the end of an older one and the notice would tell.
	token, hash := newToken()
	by := byVisit(visit)
	l := relay.Link{
		Hash: hash, Kind: relay.LinkEmail, Account: u.Account, Subuser: u.Subuser, User: u.ID, Email: email,
		CreatedAt: now, CreatedBy: by.Who, ExpiresAt: now.Add(emailLife),
	}
	if err := s.cfg.Store.CreateLink(ctx, by, l); err != nil {
		return err
	}
	text := fmt.Sprintf("For the account %q at %s, this address was given.\n\nTo confirm it, open this link and press the button on its page:\n\n%s\nThe link works once, and until %s.\n\nIf you know nothing of it, do nothing.\n",
		u.Username, s.product(), s.letter("/email/"+token.Reveal()), when(l.ExpiresAt))
	if !taken {
		if err := s.cfg.Mail(ctx, email, s.product()+": Confirm your address", text); err != nil {
			return fmt.Errorf("mail the link of a new address: %w", err)
		}
	}
	s.noticeTo(ctx, u.Email, u, visit.visitor, "A new address was asked for", fmt.Sprintf("For your account %q, the address %s was asked for. It counts when the link that was mailed there is used.", u.Username, email))
	return nil
}

// ConfirmEmail uses the link of AskEmail. The old address is told. Errors:
// ErrLink; relay.Conflict where somebody else has the address by now.
func (s *Service) ConfirmEmail(ctx context.Context, v Visitor, token secret.Redacted) error {
	l, err := s.look(ctx, token, relay.LinkEmail)
	if err != nil {
		return err
	}
	u, err := s.cfg.Store.User(ctx, l.User)
	if err != nil {
		return err
	}
	if s.shut(&u) != "" {
		return ErrLink
	}
	before, err := s.cfg.Store.ConfirmEmail(ctx, byUser(&u, v.Addr), l.Hash, s.now())
	if err != nil {
		return used(err)
	}
	s.noticeTo(ctx, before.Email, &before, v, "Your address was changed", fmt.Sprintf("The address of your account %q is %s from now on.", before.Username, l.Email))
	return nil
}

func when(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 MST") }
