package v3

import (
	"context"
	"net/http"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

// Tokens makes and reads access tokens; *auth.Authenticator does both.
type Tokens interface {
	// MintToken makes a token for a key that proved itself. Its errors are
	// *relay.Error: Forbidden for who cannot have one, Invalid for a scope that the
	// key does not have.
	MintToken(p *relay.Principal, scopes []string, life time.Duration) (secret.Redacted, relay.Token, error)
	// ParseToken reads a token that is genuine and has not ended.
	ParseToken(text secret.Redacted) (relay.Token, error)
}

// RevokedTokens ends tokens before their time; *store.Store does.
type RevokedTokens interface {
	Key(ctx context.Context, id relay.KeyID) (relay.Key, error)
	RevokeToken(ctx context.Context, by store.By, account relay.AccountID, id relay.TokenID, until time.Time) error
}

// Both routes are open: the client proves itself in the request, in the ways of
// RFC 6749 §2.3.1.
var tokenRoutes = []Route{
	{
		Method: "POST", Pattern: "/oauth/token", Open: true, MaxBody: maxForm, Body: tokenRequest{}, BodyType: mediaForm,
		Summary: "Give a key a short-lived access token (RFC 6749 §4.4): a form with grant_type=client_credentials, perhaps scope and expires_in; the key's id and the whole key by HTTP Basic or as client_id and client_secret",
		Answers: map[int]any{200: tokenAnswer{}, 400: tokenError{}, 401: tokenError{}, 429: tokenError{}, 503: tokenError{}}, Handler: (*API).giveToken,
	},
	{
		Method: "POST", Pattern: "/oauth/revoke", Open: true, MaxBody: maxForm, Body: revokeRequest{}, BodyType: mediaForm,
		Summary: "End an access token before its time (RFC 7009): a form with token; the client proves itself as at /oauth/token. A token that is not the client's to end is answered like one that has ended",
		Answers: map[int]any{200: nil, 400: tokenError{}, 401: tokenError{}, 429: tokenError{}, 503: tokenError{}}, Handler: (*API).revokeToken,
	},
}

// tokenRequest and revokeRequest are what the forms may have.
type tokenRequest struct {
	GrantType    string `json:"grant_type" v3:"required" doc:"client_credentials"`
	Scope        string `json:"scope" doc:"separated by spaces; none: all that the key has"`
	ExpiresIn    int64  `json:"expires_in" doc:"seconds, 60 to 3600; 900 if it is not given"`
	ClientID     string `json:"client_id" doc:"the key's id, unless HTTP Basic has it"`
	ClientSecret string `json:"client_secret" doc:"the whole key"`
}

type revokeRequest struct {
	Token        string `json:"token" v3:"required"`
	Hint         string `json:"token_type_hint"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
}

// tokenAnswer is RFC 6749 §5.1.
type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in" doc:"seconds"`
	Scope       string `json:"scope"`
}

// The lives of tokens, in seconds.
const (
	leastTokenLife   = 60
	usualTokenLife   = 900
	longestTokenLife = 3600
)

func (a *API) giveToken(c *Call) error {
	answer, err := a.mint(c)
	if err != nil {
		return c.tokenFailed(err)
	}
	noStore(c.W)
	return c.JSON(http.StatusOK, answer)
}

func (a *API) mint(c *Call) (tokenAnswer, error) {
	form, err := c.form()
	if err != nil {
		return tokenAnswer{}, err
	}
	switch form.one("grant_type") {
	case "client_credentials":
	case "":
		return tokenAnswer{}, oauthError("invalid_request", "grant_type is missing.")
	default:
		return tokenAnswer{}, oauthError("unsupported_grant_type", "The only grant type is client_credentials.")
	}
	life, err := form.life()
	if err != nil {
		return tokenAnswer{}, err
	}
	scopes, err := form.scopes()
	if err != nil {
		return tokenAnswer{}, err
	}
	p, err := a.client(c, form)
	if err != nil {
		return tokenAnswer{}, err
	}
	text, token, err := a.Tokens.MintToken(p, scopes, life)
	if err != nil {
		return tokenAnswer{}, mintFailed(err)
	}
	return tokenAnswer{
		AccessToken: text.Reveal(), TokenType: "Bearer", ExpiresIn: int64(token.ExpiresAt.Sub(c.Now) / time.Second), Scope: joinScopes(token.Scopes),
	}, nil
}

func (a *API) revokeToken(c *Call) error {
	if err := a.revoke(c); err != nil {
		return c.tokenFailed(err)
	}
	noStore(c.W)
	return c.Empty(http.StatusOK)
}

func (a *API) revoke(c *Call) error {
	form, err := c.form()
	if err != nil {
		return err
	}
	text := form.one("token")
	if text == "" {
		return oauthError("invalid_request", "token is missing.")
	}
	var p *relay.Principal
	if !c.Operator {
		if p, err = a.client(c, form); err != nil {
			return err
		}
	}
	token, err := a.Tokens.ParseToken(secret.Redacted(text))
	if err != nil {
		return nil // RFC 7009 §2.2: what is no token of ours, or has ended, needs no revoking
	}
	key, err := a.Revoked.Key(c.R.Context(), token.Key)
	if relay.KindOf(err) == relay.NotFound || err == nil && !mayRevoke(p, &key) {
		return nil // AP-01: somebody else's is answered like one that is not there
	}
	if err != nil {
		return err
	}
	by := c.By
	if p != nil {
		by = store.By{Who: "key " + p.Key.ID.String(), From: printAddr(c.Addr)}
	}
	return a.Revoked.RevokeToken(c.R.Context(), by, key.Account, token.ID, token.ExpiresAt)
}

// mayRevoke: a key may end the tokens that were given to it, and one that may
// delete keys those of its tenant. p is nil for the operator.
func mayRevoke(p *relay.Principal, of *relay.Key) bool {
	if p == nil || p.Key.ID == of.ID {
		return true
	}
	return p.Allows("api_keys.delete") && p.Tenant == relay.Tenant{Account: of.Account, Subuser: of.Subuser}
}
