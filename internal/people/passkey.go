package people

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"postern/internal/auth"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

const (
	// challengeLife is how long a person may take at their authenticator.
	challengeLife = 5 * time.Minute
	// maxResponse of a browser, in octets.
	maxResponse = 64 << 10
	// maxPasskeys of one person. The store counts again where it adds one.
	maxPasskeys = store.MaxPasskeys
	// maxPasskeyName in octets.
	maxPasskeyName = 64
	// maxParties bounds the origins that are kept ready.
	maxParties = 64
)

// party is the relying party of one origin (WebAuthn §4).
type party struct{ *webauthn.WebAuthn }

var errNoParty = &relay.Error{Kind: relay.Unavailable, Public: "Passkeys need an address with a host name: open the console under the one that its operator has set in http.url."}

// party finds the relying party for a visitor: of the configured URL whose host
// they use, or else of the first. Passkeys are bound to a host name, so there is
// none for a bare IP address; on the machine itself "localhost" does.
func (s *Service) party(v Visitor) (*party, error) {
	origins := []string{s.base()}
	if s.cfg.Origins != nil {
		origins = append(origins, s.cfg.Origins()...)
	}
	var found, first *url.URL
	for _, text := range origins {
		u := originURL(text)
		if u == nil {
			continue
		}
		if first == nil {
			first = u
		}
		if found == nil && strings.EqualFold(u.Host, v.Host) {
			found = u
		}
	}
	if found == nil {
		found = first
	}
	if found == nil {
		return nil, errNoParty
	}
	return s.partyOf(found)
}

// originURL reads one origin, a loopback address as "localhost"; nil: passkeys
// cannot be for it.
func originURL(text string) *url.URL {
	u, err := url.Parse(strings.ToLower(strings.TrimSuffix(text, "/")))
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil
	}
	host := u.Hostname()
	if a, err := netip.ParseAddr(host); err == nil {
		if !a.IsLoopback() {
			return nil
		}
		host = "localhost"
		u.Host = host
		if port := portOf(text); port != "" {
			u.Host = net.JoinHostPort(host, port)
		}
	}
	if u.Scheme == "http" && host != "localhost" {
		return nil // browsers have no passkeys there
	}
	return u
}

func portOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Port()
}

func (s *Service) partyOf(u *url.URL) (*party, error) {
	origin := u.Scheme + "://" + u.Host
	s.rpMu.Lock()
	defer s.rpMu.Unlock()
	if p := s.rps[origin]; p != nil {
		return p, nil
	}
	w, err := webauthn.New(&webauthn.Config{
		RPID: u.Hostname(), RPDisplayName: s.product(), RPOrigins: []string{origin},
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementPreferred, UserVerification: protocol.VerificationPreferred,
		},
	})
	if err != nil {
		return nil, &relay.Error{Kind: relay.Unavailable, Public: errNoParty.Public, Err: err}
	}
	if len(s.rps) >= maxParties {
		clear(s.rps) // the configuration has changed more often than anybody has names
	}
	s.rps[origin] = &party{w}
	return s.rps[origin], nil
}

// holder is a person as the library sees one.
type holder struct {
	user        relay.User
	credentials []webauthn.Credential
	rows        [][]byte // of the credentials, as they are stored
}

// row is what is stored of a credential.
func (h *holder) row(id []byte) []byte {
	i := slices.IndexFunc(h.credentials, func(c webauthn.Credential) bool { return string(c.ID) == string(id) })
	if i < 0 {
		return nil
	}
	return h.rows[i]
}

// WebAuthnID is the person's id: no name, so it may stay in an authenticator.
func (h *holder) WebAuthnID() []byte { return h.user.ID.ID[:] }

// WebAuthnName is shown by the authenticator.
func (h *holder) WebAuthnName() string { return h.user.Username }

// WebAuthnDisplayName is shown beside it.
func (h *holder) WebAuthnDisplayName() string {
	if name := strings.TrimSpace(h.user.FirstName + " " + h.user.LastName); name != "" {
		return name
	}
	return h.user.Username
}

// WebAuthnCredentials are the person's passkeys.
func (h *holder) WebAuthnCredentials() []webauthn.Credential { return h.credentials }

func (s *Service) holder(ctx context.Context, u relay.User) (*holder, error) {
	all, err := s.cfg.Store.Passkeys(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	h := &holder{user: u}
	for _, p := range all {
		var c webauthn.Credential
		if err := json.Unmarshal(p.Credential, &c); err != nil {
			return nil, fmt.Errorf("passkey of %s: %w", u.ID, err)
		}
		h.credentials, h.rows = append(h.credentials, c), append(h.rows, p.Credential)
	}
	return h, nil
}

// challenge is what a ceremony remembers while it is at the browser.
type challenge struct {
	Data    webauthn.SessionData `json:"data"`
	Session relay.SessionID      `json:"session,omitzero"` // that it was begun in
	Until   time.Time            `json:"until"`
}

// The kinds of challenges: one begun for one end does for no other.
const (
	kindLogin  = "passkey login"  // alone
	kindSecond = "passkey second" // after another first factor
	kindReauth = "passkey reauth"
	kindEnrol  = "passkey enrol"
)

// begun hands a challenge out.
func (s *Service) begun(kind string, options any, data *webauthn.SessionData, in relay.SessionID) ([]byte, string, error) {
	text, err := json.Marshal(options)
	if err != nil {
		return nil, "", err
	}
	handle, err := s.sealHandle(kind, challenge{*data, in, s.now().Add(challengeLife)})
	return text, handle, err
}

// answered opens a challenge; false: it is over, another session's, or none.
func (s *Service) answered(kind, handle string, in relay.SessionID, response []byte) (c challenge, ok bool) {
	ok = len(response) <= maxResponse && s.openHandle(kind, handle, &c) && c.Session == in && s.now().Before(c.Until)
	return c, ok
}

// BeginPasskey begins to add a passkey. options is for
// navigator.credentials.create; handle goes back to AddPasskey, within five
// minutes. Errors: ErrReauth, ErrSession; relay.Unavailable without a host name;
// relay.Conflict when there are 20.
func (s *Service) BeginPasskey(ctx context.Context, visit *Visit) (options []byte, handle string, err error) {
	if err := s.mayEnrol(visit); err != nil {
		return nil, "", err
	}
	p, err := s.party(visit.visitor)
	if err != nil {
		return nil, "", err
	}
	h, err := s.holder(ctx, visit.User)
	if err != nil {
		return nil, "", err
	}
	if len(h.credentials) >= maxPasskeys {
		return nil, "", relay.E(relay.Conflict, fmt.Sprintf("There are %d passkeys already, which is the most. Remove one first.", maxPasskeys))
	}
	creation, data, err := p.BeginRegistration(h, webauthn.WithExclusions(webauthn.Credentials(h.credentials).CredentialDescriptors()))
	if err != nil {
		return nil, "", err
	}
	return s.begun(kindEnrol, creation, data, visit.Session.ID)
}

// AddPasskey adds the passkey that a browser made. A session that was for setting
// up a factor is full from then on. codes are as in EnableTOTP. Errors:
// ErrPasskey, ErrReauth, ErrSession, relay.Conflict.
func (s *Service) AddPasskey(ctx context.Context, v Visitor, token secret.Redacted, handle, name string, response []byte) (secret.Redacted, []string, error) {
	visit, err := s.Open(ctx, v, token)
	if err != nil {
		return "", nil, err
	}
	if err := s.mayEnrol(visit); err != nil {
		return "", nil, err
	}
	p, err := s.party(v)
	if err != nil {
		return "", nil, err
	}
	c, ok := s.answered(kindEnrol, handle, visit.Session.ID, response)
	if !ok {
		return "", nil, ErrPasskey
	}
	h, err := s.holder(ctx, visit.User)
	if err != nil {
		return "", nil, err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(response)
	if err != nil {
		return "", nil, s.unproven("made", &visit.User, err)
	}
	made, err := p.CreateCredential(h, c.Data, parsed)
	if err != nil {
		return "", nil, s.unproven("made", &visit.User, err)
	}
	if !s.used.take(c.Data.Challenge, s.now(), c.Until) {
		return "", nil, ErrPasskey
	}
	if err := s.keepPasskey(ctx, visit, made, name); err != nil {
		return "", nil, err
	}
	return s.enrolled(ctx, visit, auth.PersonPasskey, plusPasskey, "A passkey was added")
}

func (s *Service) keepPasskey(ctx context.Context, visit *Visit, made *webauthn.Credential, name string) error {
	// Which device it is must not be remembered beyond what a login needs.
	made.Attestation = webauthn.CredentialAttestation{}
	row, err := json.Marshal(made)
	if err != nil {
		return err
	}
	if name = plain(name, maxPasskeyName); name == "" {
		name = "Passkey"
	}
	return s.cfg.Store.AddPasskey(ctx, byVisit(visit), relay.Passkey{
		ID: made.ID, User: visit.User.ID, Name: name, Credential: row, CreatedAt: s.now(),
	}, firstOnly(visit)...)
}

// unproven logs why a passkey was not accepted: the answer does not say.
func (s *Service) unproven(what string, u *relay.User, err error) error {
	detail := err.Error()
	if e, ok := err.(*protocol.Error); ok { //nolint:errorlint // the library returns it bare
		detail = e.Details + ": " + e.DevInfo
	}
	name := ""
	if u != nil {
		name = u.Username
	}
	s.cfg.Logger.Info("people: passkey not accepted", "step", what, "user", name, "error", plain(detail, 300))
	return ErrPasskey
}

// Passkeys are a person's.
func (s *Service) Passkeys(ctx context.Context, user relay.UserID) ([]relay.Passkey, error) {
	return s.cfg.Store.Passkeys(ctx, user)
}

// RenamePasskey gives a passkey another name. Errors: ErrSession; relay.NotFound;
// relay.Invalid for an empty name.
func (s *Service) RenamePasskey(ctx context.Context, visit *Visit, id []byte, name string) error {
	if !visit.Full() {
		return ErrSession
	}
	if name = plain(name, maxPasskeyName); name == "" {
		return &relay.Error{Kind: relay.Invalid, Field: "name", Public: "Give it a name that tells you which device it is on."}
	}
	return s.cfg.Store.RenamePasskey(ctx, byVisit(visit), visit.User.ID, id, name)
}

// RemovePasskey takes a passkey away. Errors: ErrReauth, ErrSession;
// relay.NotFound; relay.Conflict where it is the last factor and the account
// demands one, or the only way in. Both are judged in the step that removes it: of two
// that are removed at once, the second is the last.
func (s *Service) RemovePasskey(ctx context.Context, visit *Visit, id []byte) error {
	if err := s.fresh(visit); err != nil {
		return err
	}
	u, err := s.cfg.Store.User(ctx, visit.User.ID)
	if err != nil {
		return err
	}
	if err := s.cfg.Store.DeletePasskey(ctx, byVisit(visit), u.ID, id, visit.Session.ID, s.wayLeft, s.mayLose(&u)...); err != nil {
		return lastFactor(err)
	}
	s.lost(ctx, visit, "A passkey was removed")
	return nil
}
