// Package oauth verifies access tokens of outside issuers: signed ones (JWT) by
// the issuer's published keys, opaque ones by asking the issuer (RFC 7662). It
// says who issued a token, for whom and about what; what that may do here is for
// others to decide. It issues no tokens.
//
// What is offered is a stranger's until the signature is proven. So everything
// that can be refused without the issuer is refused first, nothing in a token
// names a place to fetch anything from, and a stranger cannot make this package
// ask an issuer more often than its intervals say. Its one invariant: a Token
// comes only from an issuer on the operator's list, within its life.
package oauth

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"postern/internal/relay"
	"postern/internal/secret"
)

// Issuer is one that the operator trusts.
type Issuer struct {
	// URL is the issuer exactly as it stands in tokens. Its keys are found by OpenID
	// Connect discovery below it, unless JWKSURL says where they are.
	URL string
	// Algorithms are the signature algorithms that are believed; empty:
	// DefaultAlgorithms. Ones without a public key never are.
	Algorithms []string
	JWKSURL    string
	// Introspection is where opaque tokens are looked up; nil: nowhere.
	Introspection *Introspection
	Roots         *x509.CertPool // for its HTTPS; nil: the system's
	// Private issuers may live at private and loopback addresses, and there even
	// without TLS.
	Private bool
}

// Introspection is an RFC 7662 endpoint, with the credentials to use it
// (HTTP Basic).
type Introspection struct {
	URL          string
	ClientID     string
	ClientSecret secret.Redacted
}

// DefaultAlgorithms are believed where an issuer names none.
var DefaultAlgorithms = []string{"RS256", "ES256", "PS256", "EdDSA"}

// Config sets a Verifier up.
type Config struct {
	Issuers []Issuer
	Now     func() time.Time // the wall clock: the life of tokens follows it
	Logger  *slog.Logger
	// Resolve finds the addresses of an issuer's host; nil: the system's resolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Dial connects to an address that was found fit to be dialled; nil: net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Token is a verified token.
type Token struct {
	Issuer   string
	Subject  string
	Audience []string // at least one; the caller compares it, exactly
	// Claims are all claims. Numbers are json.Number.
	Claims map[string]any
	// ExpiresAt is from when on the token no longer counts: the end of its life and
	// the difference of clocks that is allowed.
	ExpiresAt time.Time
}

// The errors of Verify, with the detail in words around them. They are
// relay.Errors, of the kinds Unauthenticated and Unavailable; the words are for
// records, not for clients.
var (
	// ErrToken: the token is forged, malformed, over, or of nobody we trust.
	ErrToken error = &relay.Error{Kind: relay.Unauthenticated, Err: errors.New("token refused")}
	// ErrUnavailable: whether the token is good cannot be told now.
	ErrUnavailable error = &relay.Error{Kind: relay.Unavailable, Err: errors.New("token issuer unavailable")}
)

// refuse is an ErrToken with its reason.
func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrToken, fmt.Sprintf(format, args...))
}

// maxToken is the longest token that is looked at, in octets.
const maxToken = 8 << 10

// Verifier verifies tokens. All methods may be called from any goroutine.
type Verifier struct {
	now     func() time.Time
	issuers map[string]*issuer
	opaque  []*issuer // those that can be asked about opaque tokens
	stop    context.CancelFunc
	running sync.WaitGroup // refreshes under way
	proven  proven
}

// issuer is an Issuer with what is known of it.
type issuer struct {
	Issuer
	algorithms []string
	keys       *keySet
	lookup     *introspector // nil: it has no introspection
}

// New makes a Verifier. Nothing is fetched before the first token.
func New(cfg Config) *Verifier {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	v := &Verifier{now: cfg.Now, issuers: map[string]*issuer{}, stop: stop}
	for _, is := range cfg.Issuers {
		i := &issuer{Issuer: is, algorithms: allowed(is.Algorithms)}
		client := newClient(cfg, is)
		i.keys = newKeySet(ctx, &v.running, cfg, i, client)
		if is.Introspection != nil {
			i.lookup = newIntrospector(cfg, i, client)
			v.opaque = append(v.opaque, i)
		}
		v.issuers[is.URL] = i
	}
	return v
}

// Close ends what is being fetched and waits for it.
func (v *Verifier) Close() {
	v.stop()
	v.running.Wait()
}

// allowed keeps what can be believed at all, whatever the list says: an algorithm
// with a shared secret would let everybody who can check tokens make them.
func allowed(algorithms []string) []string {
	if len(algorithms) == 0 {
		return DefaultAlgorithms
	}
	var out []string
	for _, a := range algorithms {
		if _, ok := keyKinds[a]; ok {
			out = append(out, a)
		}
	}
	return out
}

// Verify checks a token: its form, its header, its claims, and then its signature
// or, if it is opaque, with its issuer. The hint is the issuer's URL for opaque
// tokens; "" does where only one issuer can be asked. The error is ErrToken or
// ErrUnavailable, and never holds any of the token's own octets.
//
// The audience is the caller's to compare.
func (v *Verifier) Verify(ctx context.Context, raw secret.Redacted, hint string) (Token, error) {
	text := raw.Reveal()
	switch {
	case text == "":
		return Token{}, refuse("it is empty")
	case len(text) > maxToken:
		return Token{}, refuse("it is longer than %d octets", maxToken)
	case !printable(text):
		return Token{}, refuse("it has octets that no token has")
	case strings.HasPrefix(text, "eyJ") || strings.HasPrefix(text, "{"):
		return v.signed(ctx, text)
	}
	return v.asked(ctx, text, hint)
}

// printable: RFC 6749 appendix A.12, access-token = 1*VSCHAR; a space would end
// it in any header.
func printable(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

// signed verifies a JWT. "eyJ" is how every JSON object with a member begins in
// base64url, so what begins so is a JWT or nothing.
func (v *Verifier) signed(ctx context.Context, text string) (Token, error) {
	j, again := v.proven.find(text, v.now())
	if !again {
		var err error
		if j, err = parse(text); err != nil {
			return Token{}, err
		}
	}
	name, _ := j.claims["iss"].(string)
	is := v.issuers[name]
	if is == nil {
		return Token{}, refuse("its issuer is not one that the operator lists")
	}
	if err := j.header.check(is.algorithms); err != nil {
		return Token{}, err
	}
	t, err := judge(j.claims, v.now())
	if err != nil {
		return Token{}, err
	}
	if again {
		return t, nil
	}
	p := &proof{set: is.keys, header: j.header}
	config := &oidc.Config{
		SkipClientIDCheck:    true, // the audience is the caller's to compare
		SkipExpiryCheck:      true, // judge did, with less leeway
		SupportedSigningAlgs: is.algorithms,
	}
	if _, err := oidc.NewVerifier(is.URL, p, config).Verify(ctx, text); err != nil {
		if p.err != nil {
			return Token{}, p.err // the library keeps only its words
		}
		return Token{}, refuse("it does not verify")
	}
	if string(p.payload) != string(j.payload) {
		return Token{}, refuse("what is signed is not what was read")
	}
	v.proven.add(text, j, v.now())
	return t, nil
}

// proof is the key set of one verification. It remembers its error, which the
// library hands on as text only.
type proof struct {
	set     *keySet
	header  header
	payload []byte
	err     error
}

// VerifySignature implements oidc.KeySet.
func (p *proof) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(jwt, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(p.header.Alg)})
	if err != nil {
		p.err = refuse("it is not a signed token")
		return nil, p.err
	}
	keys, err := p.set.find(ctx, p.header)
	if err != nil {
		p.err = err
		return nil, err
	}
	for _, k := range keys {
		if p.payload, err = jws.Verify(k); err == nil {
			return p.payload, nil
		}
	}
	p.err = refuse("its signature is not the issuer's")
	return nil, p.err
}

// asked verifies an opaque token with its issuer.
func (v *Verifier) asked(ctx context.Context, text, hint string) (Token, error) {
	var is *issuer
	switch {
	case hint != "":
		is = v.issuers[hint]
	case len(v.opaque) == 1:
		is = v.opaque[0]
	}
	if is == nil || is.lookup == nil {
		return Token{}, refuse("it is not a signed token, and no issuer that the operator lists can be asked about it")
	}
	return is.lookup.ask(ctx, text)
}
