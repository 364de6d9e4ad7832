package people

import (
	"context"
	"fmt"
	"strings"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

const (
	// resetLife of a link (AC-09: at most 30 minutes).
	resetLife = 30 * time.Minute
	// resetEvery is how often one person is mailed a link.
	resetEvery = 5 * time.Minute
	// maxJobs that wait; more are dropped.
	maxJobs = 256
)

// job is work that is done after its answer was given, so that neither its length
// nor its outcome shows.
type job struct {
	reset string // who asked for a link: a user name or an address
	why   resetWhy
	v     Visitor  // who asked
	by    store.By // for resetAdmin
}

// resetWhy is what a reset link is mailed for. Each has a budget of its own for a
// person, so that strangers who ask use up nobody's.
type resetWhy int

const (
	resetStranger resetWhy = iota // asked for where the person never logged in
	resetKnown                    // asked for where they have
	resetDue                      // the password is too old; it was right
	resetAdmin                    // somebody who looks after the account asked
	resetWhys
)

// resetsPerDay of one person, for each reason.
var resetsPerDay = [resetWhys]int{resetStranger: 5, resetKnown: 5, resetDue: 5, resetAdmin: 10}

// Run does what answers do not wait for: it mails reset links. It returns nil when
// ctx ends.
func (s *Service) Run(ctx context.Context) error {
	s.markBrought(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case j := <-s.jobs:
			if err := s.mailReset(ctx, j); err != nil {
				s.cfg.Logger.Error("people: reset link not mailed", "error", err)
			}
		}
	}
}

func (s *Service) later(j job) {
	select {
	case s.jobs <- j:
	default:
		s.cfg.Logger.Warn("people: too many reset links at once, one is dropped")
	}
}

// AskReset mails a link to set a new password, if there is such a person: by
// user name or address, always to the address that they have. AC-08: the answer
// is always nil, and nothing is looked up before it is given. Only an address
// that has failed, or has asked, too often is refused: relay.RateLimited.
func (s *Service) AskReset(ctx context.Context, v Visitor, email string) error {
	if err := s.cfg.Auth.PersonAllowed(ctx, try(v, "RESET", email, nil)); err != nil {
		return err
	}
	if !s.asks.take(v.Addr, s.now()) {
		return relay.E(relay.RateLimited, "Too many links were asked for from your address. Try again in an hour.")
	}
	email = strings.TrimSpace(email)
	if email != "" && len(email) <= maxName {
		s.later(job{reset: email, v: v})
	}
	return nil
}

// SendReset mails such a link at once, for somebody who may do it to this person, and
// was looked at for it: strangers who have asked for links too often do not keep it
// from them. What strangers must not learn is told: relay.Conflict says why no link is
// mailed. relay.Unavailable: links have no address here. ErrSession: theirs has ended.
func (s *Service) SendReset(ctx context.Context, by store.By, email string) error {
	not, err := s.sendReset(ctx, &job{reset: email, why: resetAdmin, by: by})
	if err == nil && not != "" {
		return relay.E(relay.Conflict, not)
	}
	return err
}

// mailReset does a job. That no link was mailed is told to nobody.
func (s *Service) mailReset(ctx context.Context, j job) error {
	not, err := s.sendReset(ctx, &j)
	if not == notToday {
		s.cfg.Logger.Warn("people: reset link not mailed, there were too many in 24 hours", "user", j.reset)
	}
	return err
}

// Why no link is mailed, for those who may know.
const (
	notNobody   = "There is nobody of this address any more."
	notShut     = "They could not log in with a new password: %s. That has to change first."
	notSignOn   = "They log in by single sign-on only: a link for a password would be a way around it. Once logged in, they can set one in their profile."
	notLeft     = "They have no password, and only single sign-on that lets nobody in any more. Unlink that first: then a link can be mailed."
	notAbsent   = "They come from single sign-on that is not configured here at the moment: a password would not let them in. The operator of this relay can bring it back."
	notGoverned = "They come from %s and log in there: a password would not let them in."
	notSoon     = "A link was made for them a few minutes ago. Have them look for that letter; after five minutes another one can be mailed."
	notToday    = "As many links as one person gets in a day were mailed to them already. Have them look for the last letter, or try again tomorrow."
)

// sendReset mails one link, or says why it mails none. Who cannot log in gets none,
// nor who logs in by single sign-on only: a password would be a way around their
// issuer.
func (s *Service) sendReset(ctx context.Context, j *job) (not string, err error) {
	u, err := s.named(ctx, j.reset)
	if err != nil {
		return "", err
	}
	if u == nil {
		return notNobody, nil
	}
	if why := s.shut(u); why != "" {
		return fmt.Sprintf(notShut, why), nil
	}
	if s.base() == "" {
		return "", errNoURL
	}
	if not, err := s.signOnOnly(ctx, u); err != nil || not != "" {
		return not, err
	}
	now := s.now()
	open, err := s.cfg.Store.Links(ctx, u.Account, relay.LinkReset)
	if err != nil {
		return "", err
	}
	for _, l := range open {
		if l.User == u.ID && now.Sub(l.CreatedAt) < resetEvery {
			return notSoon, nil
		}
	}
	if j.why == resetStranger && s.cfg.Auth.PersonKnown(try(j.v, "RESET", "", u)) {
		j.why = resetKnown
	}
	if !s.resets.take(u.ID, j.why, now) {
		return notToday, nil
	}
	return "", s.mailLink(ctx, j, u, now)
}

// mailLink mails a link to somebody who gets one.
func (s *Service) mailLink(ctx context.Context, j *job, u *relay.User, now time.Time) error {
	by := j.by
	if j.why != resetAdmin {
		by = store.By{Who: "reset", From: "login page"}
	}
	token, hash := newToken()
	l := relay.Link{
		Hash: hash, Kind: relay.LinkReset, Account: u.Account, Subuser: u.Subuser, User: u.ID, Email: u.Email,
		CreatedAt: now, CreatedBy: by.Who, ExpiresAt: now.Add(resetLife),
	}
	if err := s.cfg.Store.CreateLink(ctx, by, l); err != nil {
		return err
	}
	text := fmt.Sprintf("%s for the account %q at %s.\n\nTo set one, open this link:\n\n%s\nThe link works once, and until %s. Your second factor stays as it is: you need it to log in afterwards.\n\n%s\nIf it was not you, do nothing: your password stays.\n",
		j.why, u.Username, s.product(), s.letter("/reset/"+token.Reveal()), when(l.ExpiresAt), asked(j, now))
	return s.cfg.Mail(ctx, u.Email, s.product()+": Set a new password", text)
}

// String is how the letter begins.
func (w resetWhy) String() string {
	switch w {
	case resetDue:
		return "The password is older than this installation allows. Set a new one"
	case resetAdmin:
		return "Somebody who looks after your account asked to have a new password set"
	}
	return "Somebody, most likely you, asked for a new password"
}

// asked says who asked, from where. How the browser names itself is left out: it is
// a stranger's text, and would stand in a letter of ours.
func asked(j *job, now time.Time) string {
	if j.why == resetDue || j.why == resetAdmin || !j.v.Addr.IsValid() {
		return ""
	}
	place := ", where you have not logged in before"
	if j.why == resetKnown {
		place = ", where you have logged in before"
	}
	return fmt.Sprintf("It was asked for on %s from the address %s%s.\n", when(now), j.v.Addr.Unmap().WithZone(""), place)
}

// resetUser finds whose password a link is for. AC-09: a link from before the
// last change of password, address or authenticator app does not work.
func (s *Service) resetUser(ctx context.Context, l *relay.Link) (*relay.User, error) {
	u, err := s.cfg.Store.User(ctx, l.User)
	switch {
	case relay.KindOf(err) == relay.NotFound:
		return nil, ErrLink
	case err != nil:
		return nil, err
	case s.shut(&u) != "", !strings.EqualFold(u.Email, l.Email), u.PasswordAt.After(l.CreatedAt), u.TOTPAt.After(l.CreatedAt):
		return nil, ErrLink
	}
	return &u, nil
}

// Reset sets a new password by a mailed link. All sessions end; nobody is logged
// in by it, and the second factor is neither asked for nor touched: it is asked
// for at the login (AC-05). Errors: ErrLink; relay.Invalid of the field
// "password".
func (s *Service) Reset(ctx context.Context, v Visitor, token, pw secret.Redacted) error {
	l, err := s.look(ctx, token, relay.LinkReset)
	if err != nil {
		return err
	}
	u, err := s.resetUser(ctx, &l)
	if err != nil {
		return err
	}
	hash, err := s.newPassword(ctx, pw, u, u.ID)
	if err != nil {
		return err
	}
	after, err := s.cfg.Store.ResetByLink(ctx, byUser(u, v.Addr), l.Hash, hash, s.now())
	if err != nil {
		return used(err)
	}
	s.cfg.Auth.PersonForgiven(after.ID)
	s.notice(ctx, &after, v, "Your password was changed", fmt.Sprintf("A new password for your account %q was set by a mailed link. All sessions have ended.", after.Username))
	return nil
}
