package people

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"postern/internal/auth"
	"postern/internal/relay"
	"postern/internal/secret"
)

// flowLife is how long a person may take at their issuer.
const flowLife = 10 * time.Minute

// kindFlow is the kind of the handle that is kept in a cookie.
const kindFlow = "oidc"

// OIDCStart says what single sign-on is begun for.
type OIDCStart struct {
	Issuer string // by name
	Next   string // path of the console to go on at
	// Invite is the token of an invitation that is accepted with it.
	Invite secret.Redacted
	// Visit is a session of the person: without Fresh, the issuer is linked to them,
	// which needs a fresh session; with it, they show again who they are.
	Visit *Visit
	// Fresh has the issuer ask again, whoever is logged in there.
	Fresh bool
}

// flow is what is remembered while a person is at their issuer: sealed, in a
// cookie of the browser that began it.
type flow struct {
	Issuer   string          `json:"issuer"`
	State    string          `json:"state"`
	Nonce    string          `json:"nonce"`
	Verifier string          `json:"verifier"` // of PKCE (RFC 7636)
	Next     string          `json:"next"`
	Invite   string          `json:"invite,omitempty"`
	User     relay.UserID    `json:"user,omitzero"`
	Session  relay.SessionID `json:"session,omitzero"`
	Link     bool            `json:"link,omitempty"`
	Until    time.Time       `json:"until"`
}

// confirms reports whether the person of a session is to show again who they are.
func (f *flow) confirms() bool { return !f.User.IsZero() && !f.Link }

// Issuers are the names of those that the people of an account can log in by, in
// order; the zero account: of any.
func (s *Service) Issuers(account relay.AccountID) []string {
	var names []string
	for _, is := range s.issuers {
		if account.IsZero() || s.letsIn(is, account) {
			names = append(names, is.Name)
		}
	}
	return names
}

// back is where issuers send people back to.
func (s *Service) back() string { return s.base() + "/login/sso/callback" }

// BeginOIDC begins a login at an issuer: code flow with PKCE, state and nonce. The
// browser is sent to the URL with the cookie, which is good for ten minutes and
// for this browser only (SameSite=Lax: the issuer sends it back). Errors:
// relay.NotFound for the issuer; relay.Unavailable; ErrReauth, ErrSession.
func (s *Service) BeginOIDC(ctx context.Context, v Visitor, start OIDCStart) (to, cookie string, err error) {
	is := s.issuer(start.Issuer)
	switch {
	case is == nil:
		return "", "", relay.E(relay.NotFound, "There is no such way to log in here.")
	case s.base() == "":
		return "", "", errNoURL
	}
	f := flow{
		Issuer: is.Name, State: random(), Nonce: random(), Verifier: oauth2.GenerateVerifier(), Next: localPath(start.Next),
		Until: s.now().Add(flowLife),
	}
	if start.Invite != "" {
		if _, err := s.look(ctx, start.Invite, relay.LinkSetup, relay.LinkInvite); err != nil {
			return "", "", err
		}
		f.Invite = start.Invite.Reveal()
	}
	if start.Visit != nil {
		if f.Link = !start.Fresh; f.Link {
			err = s.mayLink(start.Visit)
		} else if !start.Visit.Full() {
			err = ErrSession
		}
		if err != nil {
			return "", "", err
		}
		f.User, f.Session = start.Visit.User.ID, start.Visit.Session.ID
	}
	d, err := is.discover(ctx)
	if err != nil {
		return "", "", err
	}
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(f.Verifier), oidc.Nonce(f.Nonce)}
	if start.Fresh {
		options = append(options, oauth2.SetAuthURLParam("prompt", "login"), oauth2.SetAuthURLParam("max_age", "0"))
	}
	if len(is.ACR) > 0 && is.SecondFactor {
		options = append(options, oauth2.SetAuthURLParam("acr_values", strings.Join(is.ACR, " ")))
	}
	cookie, err = s.sealHandle(kindFlow, f)
	return is.config(d, s.back()).AuthCodeURL(f.State, options...), cookie, err
}

// mayLink demands what it takes to add a way to log in.
func (s *Service) mayLink(visit *Visit) error { return s.fresh(visit) }

func random() string {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

func same(a, b string) bool {
	return a != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// localPath is a path of the console: anything else is its start.
func localPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") ||
		strings.ContainsAny(next, "\\\r\n\t\x00") || len(next) > 2000 {
		return "/"
	}
	return next
}

// FinishOIDC completes a login with what the issuer sent the browser back with,
// and the cookie of BeginOIDC. The session is full where the issuer is trusted for
// the second factor and says that there was one; otherwise ours follows. next is
// where to go on. Errors: ErrSSO, whatever was wrong: the login record has the
// reason; relay.Unavailable; ErrLink; relay.Conflict where somebody was to show again
// who they are, and the issuer does not say that it asked.
func (s *Service) FinishOIDC(ctx context.Context, v Visitor, cookie string, query url.Values) (token secret.Redacted, session relay.Session, next string, err error) {
	begun := s.now()
	t := try(v, auth.PersonOIDC, "", nil)
	if err := s.cfg.Auth.PersonAllowed(ctx, t); err != nil {
		return "", relay.Session{}, "", err
	}
	var f flow
	is, who, refusal := s.returned(ctx, &f, cookie, query, begun)
	if refusal != nil {
		return "", relay.Session{}, "", s.refuseOIDC(ctx, v, nil, refusal)
	}
	u, refusal := s.personOf(ctx, v, is, &f, who)
	if refusal != nil {
		if who.email != "" && refusal.tried == "" {
			refusal.tried = who.email
		}
		return "", relay.Session{}, "", s.refuseOIDC(ctx, v, u, refusal)
	}
	token, session, err = s.enterOIDC(ctx, v, is, &f, who, u, begun)
	return token, session, f.Next, err
}

// notIn is why single sign-on did not let somebody in.
type notIn struct {
	result relay.LoginResult
	detail string
	tried  string
	err    error // to be told instead of ErrSSO
}

func (s *Service) refuseOIDC(ctx context.Context, v Visitor, u *relay.User, why *notIn) error {
	t := try(v, auth.PersonOIDC, why.tried, u)
	s.ended(ctx, t, why.result, why.detail)
	if why.err != nil {
		return why.err
	}
	return ErrSSO
}

// returned judges what came back, and redeems it. AC-14.
func (s *Service) returned(ctx context.Context, f *flow, cookie string, query url.Values, now time.Time) (*issuer, *identity, *notIn) {
	malformed := func(detail string) (*issuer, *identity, *notIn) {
		return nil, nil, &notIn{result: relay.LoginMalformed, detail: detail}
	}
	if !s.openHandle(kindFlow, cookie, f) || !now.Before(f.Until) {
		return malformed("the login was not begun in this browser, or too long ago")
	}
	is := s.issuer(f.Issuer)
	switch {
	case is == nil:
		return malformed("the issuer is no longer configured")
	case len(query["state"]) != 1 || !same(query.Get("state"), f.State):
		return malformed("the state is another one")
	}
	d, err := is.discover(ctx)
	if err != nil {
		return nil, nil, &notIn{result: relay.LoginUnavailable, detail: "issuer " + is.Name + " cannot be reached", err: err}
	}
	// RFC 9207 §2.4: against the mix-up of two issuers.
	if iss, ok := query["iss"]; (ok || d.saysIss) && (len(iss) != 1 || iss[0] != is.URL) {
		return malformed("the answer is another issuer's (iss)")
	}
	if e := query.Get("error"); e != "" {
		return nil, nil, &notIn{result: relay.LoginToken, detail: "issuer " + is.Name + " says " + plain(e, 60)}
	}
	code := query.Get("code")
	if len(query["code"]) != 1 || code == "" || len(code) > 4096 {
		return malformed("there is no code")
	}
	// The state works once, whatever comes of it: a second try begins anew.
	if !s.states.take(f.State, now, f.Until) {
		return malformed("the answer came twice")
	}
	who, err := is.redeem(ctx, d, s.back(), code, f)
	if _, away := errors.AsType[*url.Error](err); away { // nobody's fault here: it counts against no address
		return nil, nil, &notIn{result: relay.LoginUnavailable, detail: "issuer " + is.Name + " cannot be reached",
			err: &relay.Error{Kind: relay.Unavailable, Public: textAway, Err: err}}
	}
	if err != nil {
		return nil, nil, &notIn{result: relay.LoginToken, detail: "issuer " + is.Name + ": " + plain(err.Error(), 150)}
	}
	return is, who, nil
}

// enterOIDC makes the session of a person who has come from their issuer.
func (s *Service) enterOIDC(ctx context.Context, v Visitor, is *issuer, f *flow, who *identity, u *relay.User, begun time.Time) (secret.Redacted, relay.Session, error) {
	t := try(v, auth.PersonOIDC, "", u)
	if why := s.shut(u); why != "" {
		return "", relay.Session{}, s.refuseOIDC(ctx, v, u, &notIn{result: relay.LoginDisabled, detail: why})
	}
	ok, note := s.cfg.Auth.PersonAdmitted(ctx, t)
	if !ok {
		return "", relay.Session{}, s.refuseOIDC(ctx, v, u, &notIn{result: relay.LoginAccess, detail: note})
	}
	asked := !who.authenticated.IsZero() && begun.Sub(who.authenticated) < s.cfg.Fresh
	if f.confirms() && !asked { // a new session would be asked the same again, for ever; it is nobody's fault here
		return "", relay.Session{}, s.refuseOIDC(ctx, v, u, &notIn{result: relay.LoginUnavailable, detail: "issuer " + is.Name + " does not say that it has just asked the person (auth_time)",
			err: relay.E(relay.Conflict, is.Name+" does not say that it has just asked who you are (auth_time), so this does not count. Confirm in another way, if you have one, or ask who runs this relay.")})
	}
	level, method := s.levelOf(u, is.second(who)), methodOIDC+" "+is.Name
	if level == relay.SessionFull && is.SecondFactor && !is.second(who) {
		method += plusNone
	}
	session := s.newSession(u, v, level, method, begun)
	if asked {
		session.FreshUntil = session.ExpiresAt
		if level == relay.SessionFull {
			session.FreshUntil = begun.Add(s.cfg.Fresh)
		}
	}
	var token secret.Redacted
	err := s.cfg.Store.TouchIssuance(ctx, is.URL, who.subject, begun)
	if err == nil {
		token, err = s.open(ctx, session)
	}
	switch {
	case relay.KindOf(err) == relay.NotFound || errors.Is(err, ErrLogin): // somebody may have shut out a thief just now
		return "", relay.Session{}, s.refuseOIDC(ctx, v, u, &notIn{result: relay.LoginUnknown, detail: "the identity was unlinked, or the person switched off, at the same moment"})
	case err != nil:
		return "", relay.Session{}, err
	}
	t.Partial = level != relay.SessionFull
	s.entered(ctx, u, v, t, note)
	if !f.Session.IsZero() {
		// The session that this one follows; that it is gone already is fine.
		_ = s.end(ctx, &relay.Session{ID: f.Session, User: f.User})
	}
	return token, session, nil
}

// second reports whether an issuer is trusted for the second factor, and its
// token says that there was one.
func (is *issuer) second(who *identity) bool {
	if !is.SecondFactor {
		return false
	}
	return slices.ContainsFunc(who.amr, func(m string) bool { return slices.Contains(is.AMR, m) }) || slices.Contains(is.ACR, who.acr)
}
