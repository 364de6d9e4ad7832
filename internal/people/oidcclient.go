package people

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"postern/internal/dns"
	"postern/internal/relay"
)

const (
	// askTime bounds one request to an issuer.
	askTime = 5 * time.Second
	// maxDocument that is taken from an issuer, in octets.
	maxDocument = 1 << 20
	// discoveryAge is how long an issuer's configuration is believed.
	discoveryAge = time.Hour
	// discoveryGap is the least time between two tries to read it.
	discoveryGap = 10 * time.Second
)

// textAway is what people are told while an issuer does not answer.
const textAway = "Single sign-on cannot be reached right now. Try again in a moment."

// algorithms of ID tokens that are believed: those with a public key.
var algorithms = []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA"}

// issuer is an Issuer with what is known of it.
type issuer struct {
	Issuer
	client *http.Client
	now    func() time.Time
	turn   chan struct{} // one discovery at a time; guards the rest

	known  *discovered
	got    time.Time
	tried  time.Time
	failed error
}

// discovered is what an issuer says of itself.
type discovered struct {
	provider *oidc.Provider
	endpoint oauth2.Endpoint
	saysIss  bool // RFC 9207 §3: its answers name it
}

func (s *Service) newIssuer(is Issuer) (*issuer, error) {
	u, err := url.Parse(is.URL)
	switch {
	case err != nil || u.Host == "" || is.Name == "" || is.ClientID == "" || is.Account == "":
		return nil, errors.New("name, URL, client id and account are needed")
	case !webURL(u, is.Private):
		return nil, errors.New("its URL is not https")
	case s.cfg.AccountNamed == nil:
		return nil, errors.New("accounts cannot be found by name")
	case s.issuer(is.Name) != nil:
		return nil, errors.New("there is another one of this name")
	}
	if is.GroupsClaim == "" {
		is.GroupsClaim = "groups"
	}
	if len(is.AMR) == 0 && len(is.ACR) == 0 {
		is.AMR = []string{"mfa", "otp", "hwk", "fpt", "face", "iris"} // RFC 8176 §2
	}
	return &issuer{Issuer: is, client: issuerClient(is), now: s.cfg.Now, turn: make(chan struct{}, 1)}, nil
}

// issuer finds one by name; nil: there is none.
func (s *Service) issuer(name string) *issuer {
	for _, is := range s.issuers {
		if is.Name == name {
			return is
		}
	}
	return nil
}

func webURL(u *url.URL, private bool) bool {
	return u.Scheme == "https" || private && u.Scheme == "http"
}

// issuerClient fetches from one issuer: only what is small, soon and where it
// says, and from no address inside a network unless the issuer is said to be
// there.
func issuerClient(is Issuer) *http.Client {
	dialer := &net.Dialer{Timeout: askTime, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if !is.Private && !dns.Public(at.Addr().Unmap()) {
			return fmt.Errorf("%s is not a public address", at.Addr())
		}
		return nil
	}}
	return &http.Client{
		Timeout:       askTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &bounded{private: is.Private, next: &http.Transport{
			DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{RootCAs: is.Roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: askTime, ResponseHeaderTimeout: askTime, MaxResponseHeaderBytes: 64 << 10,
			MaxConnsPerHost: 8, IdleConnTimeout: 30 * time.Second, DisableCompression: true,
		}},
	}
}

// bounded cuts answers, and asks nobody without TLS who must have it.
type bounded struct {
	private bool
	next    http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if !webURL(r.URL, b.private) {
		return nil, fmt.Errorf("%s://%s is not https", r.URL.Scheme, r.URL.Host)
	}
	res, err := b.next.RoundTrip(r)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxDocument), res.Body}
	}
	return res, err
}

// discover reads the issuer's configuration (OpenID Connect Discovery §4), if it
// is not known well enough.
func (is *issuer) discover(ctx context.Context) (*discovered, error) {
	select {
	case is.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-is.turn }()
	now := is.now()
	if is.known != nil && now.Sub(is.got).Abs() < discoveryAge {
		return is.known, nil
	}
	if !is.tried.IsZero() && now.Sub(is.tried).Abs() < discoveryGap {
		if is.known != nil {
			return is.known, nil
		}
		return nil, is.failed
	}
	is.tried = now
	found, err := is.fetch(ctx)
	if err != nil {
		is.failed = &relay.Error{Kind: relay.Unavailable, Public: textAway, Err: fmt.Errorf("issuer %s: %w", is.Name, err)}
		if is.known != nil && now.Sub(is.got).Abs() < 24*discoveryAge {
			return is.known, nil
		}
		return nil, is.failed
	}
	is.known, is.got, is.failed = found, now, nil
	return found, nil
}

func (is *issuer) fetch(ctx context.Context) (*discovered, error) {
	// What keeps the client must outlive this request.
	p, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), is.client), is.URL)
	if err != nil {
		return nil, err
	}
	d := &discovered{provider: p, endpoint: p.Endpoint()}
	var more struct {
		SaysIss bool `json:"authorization_response_iss_parameter_supported"`
	}
	if err := p.Claims(&more); err != nil {
		return nil, err
	}
	d.saysIss = more.SaysIss
	ends := []string{d.endpoint.AuthURL, d.endpoint.TokenURL}
	if p.UserInfoEndpoint() != "" { // there need not be one
		ends = append(ends, p.UserInfoEndpoint())
	}
	for _, text := range ends {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || !webURL(u, is.Private) {
			return nil, fmt.Errorf("its endpoint %q is not https", plain(text, 100))
		}
	}
	return d, nil
}

// config is the client at an issuer.
func (is *issuer) config(d *discovered, back string) *oauth2.Config {
	return &oauth2.Config{
		ClientID: is.ClientID, ClientSecret: is.ClientSecret.Reveal(), Endpoint: d.endpoint, RedirectURL: back,
		Scopes: slices.Concat([]string{oidc.ScopeOpenID, "profile", "email"}, is.Scopes),
	}
}

// identity is what a token says of a person.
type identity struct {
	subject       string
	email         string
	verified      bool
	username      string
	first, last   string
	groups        []string
	amr           []string
	acr           string
	authenticated time.Time // when the person last showed who they are; zero: it does not say
}

// redeem exchanges a code for a token and judges it (OpenID Connect Core §3.1.3.7).
func (is *issuer) redeem(ctx context.Context, d *discovered, back, code string, f *flow) (*identity, error) {
	ctx = oidc.ClientContext(ctx, is.client)
	token, err := is.config(d, back).Exchange(ctx, code, oauth2.VerifierOption(f.Verifier))
	if err != nil {
		return nil, fmt.Errorf("exchange the code: %w", err)
	}
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return nil, errors.New("the answer has no ID token")
	}
	checked, err := d.provider.Verifier(&oidc.Config{ClientID: is.ClientID, SupportedSigningAlgs: algorithms, Now: is.now}).Verify(ctx, raw)
	switch {
	case err != nil:
		return nil, err
	case !same(checked.Nonce, f.Nonce):
		return nil, errors.New("the nonce is another one")
	case checked.Subject == "" || len(checked.Subject) > 255:
		return nil, errors.New("the subject is none")
	}
	claims := map[string]any{}
	if err := checked.Claims(&claims); err != nil {
		return nil, err
	}
	// OpenID Connect Core §3.1.3.7 4 and 5: whoever asked for it is named where it is
	// for several, and is us wherever somebody is named.
	switch azp, ok := claims["azp"]; {
	case ok && azp != is.ClientID, !ok && len(checked.Audience) > 1:
		return nil, errors.New("another party asked for the token (azp)")
	}
	if err := is.complete(ctx, d, token, checked.Subject, claims); err != nil {
		return nil, err
	}
	return is.identity(checked.Subject, claims, is.now()), nil
}

// authAhead is how far an issuer's clock may be ahead of ours.
const authAhead = time.Minute

func (is *issuer) identity(subject string, claims map[string]any, now time.Time) *identity {
	text := func(name string, n int) string {
		v, _ := claims[name].(string)
		return plain(v, n)
	}
	who := &identity{
		subject: subject, email: text("email", maxName), username: text("preferred_username", 64), first: text("given_name", maxPart), last: text("family_name", maxPart),
		groups: texts(claims[is.GroupsClaim]), amr: texts(claims["amr"]), acr: text("acr", 200),
	}
	switch v := claims["email_verified"].(type) {
	case bool:
		who.verified = v
	case string: // some issuers say it so
		who.verified = strings.EqualFold(v, "true")
	}
	// A time that is yet to come says nothing, or it would be recent for ever.
	if at, ok := claims["auth_time"].(float64); ok && at > 0 && at <= float64(now.Add(authAhead).Unix()) {
		who.authenticated = time.Unix(int64(at), 0)
	}
	return who
}

// maxGroups of a token that are looked at.
const maxGroups = 1000

// texts reads a claim that is one text or a list of them.
func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, one := range v[:min(len(v), maxGroups)] {
			if t, ok := one.(string); ok {
				out = append(out, t)
			}
		}
		return out
	}
	return nil
}
