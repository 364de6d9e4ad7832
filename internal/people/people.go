// Package people lets persons log in to the console: with a password and a second
// factor, with a passkey, or by single sign-on; and keeps what belongs to that:
// sessions, factors, recovery codes, invitations and resets.
//
// It does not decide what a person may do (their scopes do, at the API), and it
// knows no HTTP: internal/console is its only caller from the network.
//
// Its invariants: only a full session has any scope, and a session becomes full by
// nothing but a second factor where the account demands one; each step of a login
// makes a new token and ends the old one; who is not logged in learns nothing of
// who exists, neither from the bytes of an answer nor from the work behind it.
package people

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"postern/internal/password"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

// Visitor is who is at the other end of a request.
type Visitor struct {
	Addr     netip.Addr
	Agent    string // the browser, as it names itself
	TLS      string // "TLSv1.3 TLS_AES_128_GCM_SHA256"; "" is plain
	Listener string
	// Host is the Host header, as sent. It only chooses among the configured names
	// for passkeys; no link is made of it (AC-09).
	Host string
	// Passive: nobody did anything, a page that stays open asked. It keeps no session
	// alive.
	Passive bool
}

// Visit is a session that lives, with its person as they are now.
type Visit struct {
	Session relay.Session
	User    relay.User
	visitor Visitor
}

// Full reports whether the login is complete: only then are there scopes.
func (v *Visit) Full() bool { return v.Session.Level == relay.SessionFull }

// Config sets a Service up. Zero members take the default in brackets.
type Config struct {
	Store  Store
	Auth   Door
	Sealer *secret.Sealer
	Hasher Hasher // [a password.Hasher with its defaults]
	Rules  password.Rules
	// Mail sends a text from postern itself.
	Mail func(ctx context.Context, to, subject, text string) error
	// URL is the base of links, "https://relay.example.org", from the configuration
	// only; "": no links can be made. Its host is the name that passkeys are for.
	URL func() string
	// Origins are more URLs under which the console is reached, for passkeys; nil: none.
	Origins func() []string
	// Product is how authenticator apps and passkeys name the installation [the host
	// of URL].
	Product func() string

	Idle  time.Duration // a session ends when nothing was done in it for so long [30 min]
	Life  time.Duration // its longest life [12 h]
	Fresh time.Duration // how long both factors count as just shown [5 min]

	Account      func(relay.AccountID) (relay.Account, bool)
	AccountNamed func(name string) (relay.Account, bool) // for issuers; nil without them
	Subuser      func(relay.SubuserID) (relay.Subuser, bool)
	Issuers      []Issuer

	// Floor is the least time that a refused login, and any request for a reset
	// takes [300 ms]; less than 0: none.
	Floor  time.Duration
	Now    func() time.Time
	Logger *slog.Logger
	// Alert tells who runs the relay. It must not block. Nil: nobody.
	Alert func(relay.Tenant, relay.Alert)
}

// Hasher makes and checks the hashes of passwords; *password.Hasher does.
type Hasher interface {
	Hash(ctx context.Context, pw secret.Redacted) (string, error)
	// Verify does the same work for no hash at all ("") as for one.
	Verify(ctx context.Context, stored string, pw secret.Redacted) (ok, stale bool, err error)
}

// Issuer is an OpenID Connect issuer by which the people of one account log in.
type Issuer struct {
	Name         string // on the button
	URL          string // exactly as it stands in its tokens
	ClientID     string
	ClientSecret secret.Redacted
	Account      string   // by name
	Scopes       []string // asked for besides openid, profile and email
	GroupsClaim  string   // ["groups"]
	// Roles says which group has which role: of several the strongest counts.
	Roles       []RoleMap
	DefaultRole relay.Role // of who is in none of them; "": not let in
	// Provision makes a person at the first login of somebody new; otherwise only who
	// was invited, or has linked the issuer in their profile, comes in.
	Provision bool
	// SecondFactor: the issuer's own is enough where the token says that there was
	// one: one of AMR (RFC 8176) [mfa, otp, hwk, fpt, face, iris] or one of ACR.
	SecondFactor bool
	AMR, ACR     []string
	Roots        *x509.CertPool // for its HTTPS; nil: the system's
	Private      bool           // it may be at a private or loopback address, and there without TLS
}

// RoleMap gives the members of a group a role.
type RoleMap struct {
	Group  string
	Role   relay.Role
	Scopes []string // of RoleCustom
}

// The errors that callers tell apart. All are *relay.Error.
var (
	// ErrLogin: not let in. It is the same whatever the reason.
	ErrLogin error = &relay.Error{Kind: relay.Unauthenticated, Public: "The user name or the password is wrong. After many wrong ones, even the right one is refused for a while."}
	// ErrCode: the second factor was wrong; the session is still there.
	ErrCode error = &relay.Error{Kind: relay.Unauthenticated, Public: "This code is wrong, or was used before. Wait for the next one."}
	// ErrPasskey: the passkey did not prove what was asked.
	ErrPasskey error = &relay.Error{Kind: relay.Unauthenticated, Public: "The passkey was not accepted. Try again, or use another way to log in."}
	// ErrSession: the session is gone: log in again.
	ErrSession = store.ErrSessionOver
	// ErrLink says the same of every link that does not work.
	ErrLink error = &relay.Error{Kind: relay.NotFound, Public: "This link was used, has ended, or was replaced by a newer one. Ask for a new one."}
	// ErrReauth: show both factors again first.
	ErrReauth error = &relay.Error{Kind: relay.Forbidden, Public: "reauth_required"}
	// ErrTooMany: ten wrong codes within an hour.
	ErrTooMany error = &relay.Error{Kind: relay.RateLimited, Public: "There were too many wrong codes. Wait an hour, or use a passkey."}
	// ErrSSO: single sign-on did not let the person in.
	ErrSSO error = &relay.Error{Kind: relay.Unauthenticated, Public: "Single sign-on did not let you in. Ask who runs this relay; the reason stands in its login record."}
)

var (
	errBusy  = &relay.Error{Kind: relay.Unavailable, Public: "Too many people are logging in right now. Try again in a moment."}
	errNoURL = &relay.Error{Kind: relay.Unavailable, Public: "This installation cannot mail links: its operator has to set http.url."}
)

// Service is the logins of people. Its methods may be called from any goroutine.
type Service struct {
	cfg     Config
	hasher  Hasher
	used    onceSet   // challenges of passkeys that were answered here
	states  onceSet   // of single sign-on that came back; strangers get into it
	line    line      // before the hasher
	pace    pace      // letters
	asks    asks      // for reset links
	resets  resets    // that were mailed
	jobs    chan job  // what is done after the answer
	issuers []*issuer // in the order of the configuration

	rpMu sync.Mutex
	rps  map[string]*party // by origin
}

// New makes a Service. It starts nothing; see Run.
func New(cfg Config) (*Service, error) {
	switch {
	case cfg.Store == nil, cfg.Auth == nil, cfg.Sealer == nil, cfg.Mail == nil, cfg.Account == nil, cfg.Subuser == nil:
		return nil, errors.New("new people: something is missing")
	}
	def(&cfg.Idle, 30*time.Minute)
	def(&cfg.Life, 12*time.Hour)
	def(&cfg.Fresh, 5*time.Minute)
	def(&cfg.Floor, 300*time.Millisecond)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Alert == nil {
		cfg.Alert = func(relay.Tenant, relay.Alert) {}
	}
	if cfg.URL == nil {
		cfg.URL = func() string { return "" }
	}
	if cfg.Hasher == nil {
		cfg.Hasher = password.New(password.Config{})
	}
	s := &Service{cfg: cfg, hasher: cfg.Hasher, jobs: make(chan job, maxJobs), rps: map[string]*party{}}
	for _, is := range cfg.Issuers {
		made, err := s.newIssuer(is)
		if err != nil {
			return nil, fmt.Errorf("new people: issuer %s: %w", is.Name, err)
		}
		s.issuers = append(s.issuers, made)
	}
	return s, nil
}

func def(v *time.Duration, d time.Duration) {
	if *v == 0 {
		*v = d
	}
}

func (s *Service) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Microsecond) }

// base is the URL of links without its last slash.
func (s *Service) base() string { return strings.TrimSuffix(s.cfg.URL(), "/") }

// product is how the installation is named to people.
func (s *Service) product() string {
	if s.cfg.Product != nil {
		if name := s.cfg.Product(); name != "" {
			return name
		}
	}
	if u, err := url.Parse(s.base()); err == nil && u.Hostname() != "" {
		return u.Hostname()
	}
	return "postern"
}

// settle makes an answer take no less than the floor since a request arrived, so
// that what was found out meanwhile does not show in its time.
func (s *Service) settle(ctx context.Context, arrived time.Time) {
	d := s.cfg.Floor - time.Since(arrived)
	if s.cfg.Floor < 0 || d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// busy turns what a hasher says into what callers know.
func busy(err error) error {
	if errors.Is(err, password.ErrBusy) {
		return errBusy
	}
	return err
}
