package submit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postern/internal/credit"
	"postern/internal/relay"
	"postern/internal/smtp"
)

// Limited is a refusal that time heals: over a limit, or outside a key's hours.
type Limited struct {
	Reply smtp.Reply
	// Until is when it is worth trying again; zero: nobody knows.
	Until time.Time
	// Exceeded is the limit in the way; nil where there is none.
	Exceeded *credit.Exceeded
}

func (l *Limited) Error() string { return l.Reply.Error() }

// Unwrap gives both what is said and what is behind it.
func (l *Limited) Unwrap() []error {
	if l.Exceeded == nil {
		return []error{l.Reply}
	}
	return []error{l.Reply, l.Exceeded}
}

var (
	// The words are the contract's.
	replyCredits    = smtp.R(451, 4, 7, 1, "Maximum credits exceeded")
	replyRecipients = smtp.R(452, 4, 5, 3, "Too many recipients for one message")
)

// BeginMail judges the start of a transaction, at MAIL: whether this principal
// may send now at all, and a message of the declared size (0: none declared). The
// error is the smtp.Reply to send, or a *Limited that has one.
func (s *Service) BeginMail(ctx context.Context, p *relay.Principal, size int64) error {
	if err := s.mayBegin(p); err != nil {
		return err
	}
	if size > s.maxSize(p) {
		return replyTooLarge
	}
	if s.cfg.Credits == nil {
		return nil
	}
	account, subuser := s.tenant(p)
	if e := s.cfg.Credits.Exhausted(ctx, account, subuser, p.Key); e != nil {
		return s.overLimit(p, e)
	}
	return nil
}

// AddRecipient judges a forward-path at RCPT and takes it into the envelope. The
// error is the smtp.Reply to send. A client that is told 452 4.5.3 sends what it
// has, and the rest as another message (RFC 5321 §4.5.3.1.10).
func (s *Service) AddRecipient(p *relay.Principal, env *Envelope, r Recipient) error {
	if err := s.CheckRecipient(p, r.Address); err != nil {
		return err
	}
	if most := s.maxRecipients(p); most > 0 && int64(len(env.Recipients)) >= most {
		return replyRecipients
	}
	env.Recipients = append(env.Recipients, r)
	return nil
}

// checkRecipients judges a whole envelope, n mailboxes in all, by the key as it
// is at the end of data: it may have been narrowed since RCPT.
func (s *Service) checkRecipients(p *relay.Principal, rcpts []Recipient, n int) error {
	for i := range rcpts {
		if err := s.CheckRecipient(p, rcpts[i].Address); err != nil {
			return err
		}
	}
	if most := s.maxRecipients(p); most > 0 && int64(n) > most {
		return replyRecipients
	}
	return nil
}

// mayBegin reports whether a principal may send now.
func (s *Service) mayBegin(p *relay.Principal) error {
	if ok, _ := s.cfg.Directory.Sending(p.Tenant); !ok {
		return replySending
	}
	return s.checkHours(p)
}

// checkHours refuses what a key sends outside its hours of the week.
func (s *Service) checkHours(p *relay.Principal) error {
	if p.Key == nil || p.Key.Hours == "" {
		return nil
	}
	h, err := relay.ParseHours(p.Key.Hours)
	if err != nil { // a later version wrote them: closed is the safe side
		return &Limited{Reply: smtp.R(450, 4, 7, 1, "The hours of this key cannot be read; it sends nothing until they are set anew")}
	}
	account, _ := s.cfg.Directory.Account(p.Account)
	zone := relay.Zone(account.TimeZone)
	now := s.now().In(zone)
	if h.Open(now) {
		return nil
	}
	next := h.Next(now)
	return &Limited{
		Reply: smtp.R(450, 4, 7, 1, "This key may not send at this hour; it may again from "+next.Format("Mon 2 Jan 2006 15:04 MST")),
		Until: next,
	}
}

// tenant is the account of a principal and its subuser, if it has one.
func (s *Service) tenant(p *relay.Principal) (relay.Account, *relay.Subuser) {
	account, ok := s.cfg.Directory.Account(p.Account)
	if !ok {
		account.ID = p.Account
	}
	if p.Subuser.IsZero() {
		return account, nil
	}
	subuser, ok := s.cfg.Directory.Subuser(p.Subuser)
	if !ok {
		subuser.ID, subuser.Account = p.Subuser, p.Account
	}
	return account, &subuser
}

// maxSize is how many octets a message of a principal may have.
func (s *Service) maxSize(p *relay.Principal) int64 {
	account, subuser := s.tenant(p)
	most := smaller(s.cfg.MaxMessage, account.Plan.Size)
	if subuser != nil {
		most = smaller(most, subuser.Plan.Size)
	}
	return most
}

// maxRecipients is how many recipients a message of a principal may have; 0: no
// limit. One that is larger than a limit's whole window would never have room.
func (s *Service) maxRecipients(p *relay.Principal) int64 {
	account, subuser := s.tenant(p)
	most := int64(account.Plan.Recipients)
	if subuser != nil {
		most = smaller(most, int64(subuser.Plan.Recipients))
	}
	if s.cfg.Credits != nil {
		most = smaller(most, credit.Most(account, subuser, p.Key))
	}
	return most
}

// smaller is the stricter of two limits; 0 is none.
func smaller(a, b int64) int64 {
	if a <= 0 || b <= 0 {
		return max(a, b, 0)
	}
	return min(a, b)
}

// reserve takes the credits of all messages, or of none, and writes into their
// acceptances what they use and when they may leave.
func (s *Service) reserve(ctx context.Context, all []*ready) error {
	if s.cfg.Credits == nil {
		return nil
	}
	for i, r := range all {
		var err error
		if r.credit, err = s.claim(ctx, r); err != nil {
			for _, r := range all[:i] {
				r.credit.Cancel()
			}
			return err
		}
		r.a.Usage = r.credit.Deltas()
		s.putOff(r)
	}
	return nil
}

func (s *Service) claim(ctx context.Context, r *ready) (credit.Reservation, error) {
	p := r.in.p
	account, subuser := s.tenant(p)
	now, m := s.now(), &r.a.Message
	// What is put off must still have time for retries when it may leave.
	lifetime := m.ExpiresAt.Sub(s.queueNow())
	res, err := s.cfg.Credits.Reserve(ctx, credit.Claim{
		Account: account, Subuser: subuser, Key: p.Key, N: r.n, Deadline: now.Add(lifetime - lifetime/4),
	})
	if e, ok := errors.AsType[*credit.Exceeded](err); ok {
		return res, s.overLimit(p, e)
	}
	return res, err
}

// overLimit is the refusal of a claim.
func (s *Service) overLimit(p *relay.Principal, e *credit.Exceeded) error {
	key := relay.KeyID{}
	if p.Key != nil {
		key = p.Key.ID
	}
	s.cfg.Logger.Info("submit: over a limit", "account", p.Account.String(), "subuser", p.Subuser.String(), "key", key.String(), "limit", e.Error())
	return &Limited{Reply: replyCredits, Until: e.ResumesAt, Exceeded: e}
}

// putOff makes a message wait for the window in which its credits are booked.
func (s *Service) putOff(r *ready) {
	due := r.credit.DueAt()
	if due.IsZero() || len(r.a.Recipients) == 0 {
		return
	}
	m := &r.a.Message
	wait := due.Sub(s.now())
	at := s.queueNow().Add(wait) // the queue has a clock of its own
	account, _ := s.cfg.Directory.Account(m.Account)
	reason := fmt.Sprintf("over the limit of %s; it goes on at %s, in %s", r.credit.Why().Describe(),
		due.In(relay.Zone(account.TimeZone)).Format("2006-01-02 15:04:05 MST"), wait.Round(time.Second))
	for i := range r.a.Recipients {
		if !at.After(r.a.Recipients[i].DueAt) {
			continue // the sender wants it later still
		}
		r.a.Recipients[i].DueAt = at
		if m.State == relay.MessageQueued { // what is held waits for a person first
			m.Reason = reason
		}
	}
	r.a.Events = append(r.a.Events, event(relay.EventDeferred, m, -1, "", relay.EventData{Reason: reason, NextAt: due}))
}
