package sender

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"postern/internal/dmarc"
	"postern/internal/dns"
	"postern/internal/relay"
	"postern/internal/smtp"
	"postern/internal/store"
)

// SingleStore keeps single senders; *store.Store does. VerifySender takes the
// SHA-256 of a link's token: once, and until it ends; then relay.NotFound.
type SingleStore interface {
	CreateSender(ctx context.Context, by store.By, s relay.SingleSender) (relay.SingleSender, error)
	// SwapSender: relay.Conflict with store.ErrMeanwhile if it is not was any more.
	SwapSender(ctx context.Context, by store.By, was, s relay.SingleSender) error
	DeleteSender(ctx context.Context, by store.By, number int64, at time.Time) error
	Sender(ctx context.Context, number int64) (relay.SingleSender, error)
	Senders(ctx context.Context, t relay.Tenant) ([]relay.SingleSender, error)
	SenderBySecret(ctx context.Context, sha256 []byte) (relay.SingleSender, error)
	VerifySender(ctx context.Context, by store.By, sha256 []byte, at time.Time) (relay.SingleSender, error)
}

// Singles makes and proves single senders: addresses of people who own no
// domain. A link is mailed to the address; who can read it there and presses the
// button of its page has proven it.
type Singles struct {
	Store     SingleStore
	Directory interface {
		Covering(t relay.Tenant, name string) (relay.Domain, relay.Coverage)
		Account(id relay.AccountID) (relay.Account, bool)
	}
	Resolver dns.Resolver // for the warnings about DMARC
	// Letter mails a text from postern itself.
	Letter func(ctx context.Context, to, subject, text string) error
	// URL is where people reach the public HTTP listener; "": no links can be made.
	URL    string
	Logger *slog.Logger
	Now    func() time.Time // nil: time.Now

	pace letterPace
}

const (
	linkLife = 48 * time.Hour
	// maxSingles bounds how many a tenant can have.
	maxSingles = 1000
)

// Single is a single sender with what its owner should know.
type Single struct {
	relay.SingleSender
	Warnings []string
}

// Create takes an address. One below a usable domain of the tenant counts as
// verified as long as the domain does, and is not proven by itself; to any other
// a link is mailed. Errors: relay.Invalid with its
// field, relay.Conflict when the tenant has the address already,
// relay.RateLimited when too many letters were asked for.
func (s *Singles) Create(ctx context.Context, by store.By, n relay.SingleSender) (Single, error) {
	n, err := s.clean(n)
	if err != nil {
		return Single{}, err
	}
	have, err := s.Store.Senders(ctx, n.Tenant)
	if err != nil {
		return Single{}, err
	}
	if len(have) >= maxSingles {
		return Single{}, relay.E(relay.Conflict, fmt.Sprintf("There are %d senders already, which is the most. Delete some, or authenticate their domains.", maxSingles))
	}
	for _, h := range have {
		if h.Address == n.Address {
			return Single{}, &relay.Error{Kind: relay.Conflict, Field: "from_email", Public: "This address is a sender of yours already."}
		}
	}
	now := s.now()
	n.CreatedAt = now
	if s.owned(n) {
		made, err := s.Store.CreateSender(ctx, by, n)
		return Single{SingleSender: made}, err
	}
	if err := s.mayMail(n.Tenant, n.Address, now); err != nil {
		return Single{}, err
	}
	token := newLink(&n, now)
	made, err := s.Store.CreateSender(ctx, by, n)
	if err != nil {
		return Single{}, err
	}
	return Single{made, s.Warnings(ctx, n.Address)}, s.mail(ctx, made, token)
}

// clean checks what a sender is made of, and computes its canonical address.
func (s *Singles) clean(n relay.SingleSender) (relay.SingleSender, error) {
	for _, f := range []struct {
		field, value string
		most         int
		required     bool
	}{
		{"nickname", n.Nickname, 100, true}, {"from_email", n.FromEmail, 256, true}, {"from_name", n.FromName, 256, false},
		{"reply_to", n.ReplyTo, 256, true}, {"reply_to_name", n.ReplyToName, 256, false}, {"address", n.Street, 100, false},
		{"address2", n.Street2, 100, false}, {"state", n.State, 100, false}, {"city", n.City, 150, false}, {"zip", n.Zip, 20, false},
		{"country", n.Country, 100, false},
	} {
		switch {
		case f.required && strings.TrimSpace(f.value) == "":
			return n, &relay.Error{Kind: relay.Invalid, Field: f.field, Public: "This is required."}
		case len([]rune(f.value)) > f.most:
			return n, &relay.Error{Kind: relay.Invalid, Field: f.field, Public: fmt.Sprintf("At most %d characters.", f.most)}
		case strings.ContainsFunc(f.value, unprintable):
			return n, &relay.Error{Kind: relay.Invalid, Field: f.field, Public: "There are control characters in it."}
		}
	}
	a, err := mailboxOf("from_email", n.FromEmail)
	if err != nil {
		return n, err
	}
	if _, err := mailboxOf("reply_to", n.ReplyTo); err != nil {
		return n, err
	}
	n.Address = Canonical(a)
	return n, s.others(n)
}

func unprintable(r rune) bool { return r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' }

func mailboxOf(field, text string) (smtp.Address, error) {
	a, err := smtp.ParseAddress(text, true)
	if err != nil || a.IsLiteral() || a.ASCIIDomain() == "" || !strings.Contains(a.ASCIIDomain(), ".") {
		return a, &relay.Error{Kind: relay.Invalid, Field: field, Public: "Not an email address."}
	}
	return a, nil
}

// Canonical is an address as single senders are compared: the local part
// unquoted and otherwise as it is, the domain as A-labels in lower case.
func Canonical(a smtp.Address) string { return a.Local() + "@" + strings.ToLower(a.ASCIIDomain()) }

func (s *Singles) owned(n relay.SingleSender) bool {
	_, domain, _ := cutLast(n.Address, "@")
	_, c := s.Directory.Covering(n.Tenant, domain)
	return c == relay.CoverUsable
}

// others refuses an address of a domain that another account has proven: its
// owner decides who sends as it.
func (s *Singles) others(n relay.SingleSender) error {
	_, domain, _ := cutLast(n.Address, "@")
	if _, c := s.Directory.Covering(n.Tenant, domain); c == relay.CoverOther {
		return &relay.Error{Kind: relay.Conflict, Field: "from_email", Public: "This address cannot be a single sender here: the owner of its domain decides who sends as it."}
	}
	return nil
}

// Verified reports whether mail may be sent as a sender: it is proven, or a
// domain of its tenant covers it; and its domain is no other account's.
func (s *Singles) Verified(n relay.SingleSender) bool {
	return s.owned(n) || !n.VerifiedAt.IsZero() && s.others(n) == nil
}

// newLink gives a sender a fresh one-time token, and returns it.
func newLink(n *relay.SingleSender, now time.Time) string {
	var raw [32]byte
	rand.Read(raw[:])
	token := base64.RawURLEncoding.EncodeToString(raw[:])
	sum := sha256.Sum256([]byte(token))
	n.Secret, n.MailedAt, n.ValidUntil, n.VerifiedAt = sum[:], now, now.Add(linkLife), time.Time{}
	return token
}

var errNoURL = &relay.Error{Kind: relay.Unavailable, Public: "This installation cannot mail links: its operator has to set http.url. Authenticate the domain instead."}

// mayMail judges whether one more letter may go to an address.
func (s *Singles) mayMail(t relay.Tenant, address string, now time.Time) error {
	if s.URL == "" {
		return errNoURL
	}
	if !s.pace.take(t, address, now) {
		return &relay.Error{Kind: relay.RateLimited, Public: "Too many links were mailed. Wait for them, or try again tomorrow."}
	}
	return nil
}

func (s *Singles) mail(ctx context.Context, n relay.SingleSender, token string) error {
	account, _ := s.Directory.Account(n.Account)
	text := fmt.Sprintf(`%s asked to send mail as %s through this relay.

If that was you, open this link and press the button on its page:

%s/senders/verify/%s

The link works once, and until %s.

If it was not you, do nothing: without the button nobody can send as you here.
`, cmp.Or(strings.TrimSpace(account.Name), "Somebody"), n.FromEmail, strings.TrimSuffix(s.URL, "/"), token, n.ValidUntil.UTC().Format("2 January 2006, 15:04 MST"))
	if err := s.Letter(ctx, n.FromEmail, "Confirm that you want to send as "+n.FromEmail, text); err != nil {
		return fmt.Errorf("mail the link of sender %d: %w", n.Number, err)
	}
	return nil
}

// Resend mails a new link; the old one ends. relay.Conflict: it is proven
// already.
func (s *Singles) Resend(ctx context.Context, by store.By, number int64) error {
	n, token, err := s.swap(ctx, by, number, func(n *relay.SingleSender) (link bool, err error) {
		if s.Verified(*n) {
			return false, &relay.Error{Kind: relay.Conflict, Public: "This sender is verified already."}
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	return s.mail(ctx, n, token)
}

// Update changes a sender. With another address it is to be proven again. edit may
// run again, where somebody else was faster; only what its owner writes of a sender is
// taken from it.
func (s *Singles) Update(ctx context.Context, by store.By, number int64, edit func(relay.SingleSender) relay.SingleSender) (Single, error) {
	n, token, err := s.swap(ctx, by, number, func(n *relay.SingleSender) (link bool, err error) {
		old := *n
		if *n, err = s.clean(edit(old)); err != nil {
			return false, err
		}
		n.Number, n.Tenant, n.CreatedAt, n.DeletedAt = old.Number, old.Tenant, old.CreatedAt, old.DeletedAt
		n.VerifiedAt, n.Secret, n.MailedAt, n.ValidUntil = old.VerifiedAt, old.Secret, old.MailedAt, old.ValidUntil
		if n.Address == old.Address {
			return false, nil
		}
		n.VerifiedAt, n.Secret, n.ValidUntil = time.Time{}, nil, time.Time{}
		return !s.owned(*n), nil
	})
	if err != nil || token == "" {
		return Single{SingleSender: n}, err
	}
	return Single{n, s.Warnings(ctx, n.Address)}, s.mail(ctx, n, token)
}

// swap reads a sender, has it edited and stores it, with a new link where edit asks
// for one: token is that link's. However often it begins anew, one letter is counted
// for an address.
func (s *Singles) swap(ctx context.Context, by store.By, number int64, edit func(*relay.SingleSender) (link bool, err error)) (n relay.SingleSender, token string, err error) {
	paced := ""
	err = store.Again(func() error {
		was, err := s.Store.Sender(ctx, number)
		if err != nil {
			return err
		}
		n, token = was, ""
		link, err := edit(&n)
		if err != nil {
			return err
		}
		if link {
			now := s.now()
			if paced != n.Address {
				if err := s.mayMail(n.Tenant, n.Address, now); err != nil {
					return err
				}
				paced = n.Address
			}
			token = newLink(&n, now)
		}
		return s.Store.SwapSender(ctx, by, was, n)
	})
	return n, token, err
}

// errLink says the same of every link that does not work: used, ended, replaced
// or never made.
var errLink = &relay.Error{Kind: relay.NotFound, Public: "This link was used, has ended, or was replaced by a newer one. Ask for a new one."}

// Link says whose a link is, without using it.
func (s *Singles) Link(ctx context.Context, token string) (relay.SingleSender, error) {
	sum, err := linkSum(token)
	if err != nil {
		return relay.SingleSender{}, err
	}
	n, err := s.Store.SenderBySecret(ctx, sum)
	if relay.KindOf(err) == relay.NotFound || err == nil && !s.now().Before(n.ValidUntil) {
		return relay.SingleSender{}, errLink
	}
	return n, err
}

// Confirm uses a link: its sender is proven from now on.
func (s *Singles) Confirm(ctx context.Context, by store.By, token string) (relay.SingleSender, error) {
	sum, err := linkSum(token)
	if err != nil {
		return relay.SingleSender{}, err
	}
	n, err := s.Store.VerifySender(ctx, by, sum, s.now())
	if relay.KindOf(err) == relay.NotFound {
		return relay.SingleSender{}, errLink
	}
	return n, err
}

// linkSum is what the store knows of a token.
func linkSum(token string) ([]byte, error) {
	if raw, err := base64.RawURLEncoding.Strict().DecodeString(token); err != nil || len(raw) != 32 {
		return nil, errLink
	}
	sum := sha256.Sum256([]byte(token))
	return sum[:], nil
}

// Warnings says what receivers will think of mail from an address whose domain
// is not authenticated here: it is signed by the relay, which is not aligned.
func (s *Singles) Warnings(ctx context.Context, address string) []string {
	_, domain, _ := cutLast(address, "@")
	if MailboxProvider(domain) {
		return []string{domain + " is a mailbox provider that tells receivers to distrust its addresses in mail from elsewhere: much of this mail will be refused or land in spam. Send as an address of a domain of your own."}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	d, err := dmarc.Discover(ctx, s.Resolver, domain)
	switch {
	case err != nil:
		return []string{"The DMARC policy of " + domain + " could not be looked up; if there is one, this mail may be refused."}
	case d.Policy == dmarc.Quarantine || d.Policy == dmarc.Reject:
		return []string{fmt.Sprintf("%s publishes the DMARC policy %q: receivers will treat this mail so, because it is signed by this relay and not by %s. Authenticate the domain instead.", domain, string(d.Policy), domain)}
	}
	return nil
}

// DomainsAtRisk sorts the domains of a tenant's single senders by how their DMARC
// policy treats such mail: hard where it is sure to be refused (the large
// mailbox providers, and p=reject), soft where it may land in spam.
func (s *Singles) DomainsAtRisk(ctx context.Context, all []relay.SingleSender) (soft, hard []string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	seen := map[string]bool{}
	for _, n := range all {
		_, domain, _ := cutLast(n.Address, "@")
		if seen[domain] || s.owned(n) {
			continue
		}
		seen[domain] = true
		if MailboxProvider(domain) {
			hard = append(hard, domain)
			continue
		}
		d, err := dmarc.Discover(ctx, s.Resolver, domain)
		switch {
		case err != nil && !errors.Is(err, dns.ErrTemporary):
		case err != nil, d.Policy == dmarc.Quarantine:
			soft = append(soft, domain)
		case d.Policy == dmarc.Reject:
			hard = append(hard, domain)
		}
	}
	return soft, hard
}

func (s *Singles) now() time.Time {
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	return now().UTC().Truncate(time.Microsecond)
}
