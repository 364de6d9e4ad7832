package v3

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/auth"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

// fakeTokens mints as the authenticator does, over a world's keys.
type fakeTokens struct {
	w       *world
	minted  map[string]relay.Token
	revoked []relay.TokenID
	bys     []store.By
}

func init() {
	setups = append(setups, func(w *world, s *Services) {
		f := &fakeTokens{w: w, minted: map[string]relay.Token{}}
		w.extra["tokens"], s.Tokens, s.Revoked = f, f, f
	})
	form := func(of relay.Tenant, w *world, more string) string {
		k, text := w.addKey(of, "mail.send")
		return "client_id=" + k.ID.String() + "&client_secret=" + url.QueryEscape(text) + more
	}
	addFixtures(map[string]fixture{
		"POST /oauth/token": {Status: 200, Make: func(w *world, of relay.Tenant) ask {
			return ask{Path: "/oauth/token", Body: form(of, w, "&grant_type=client_credentials"), Type: mediaForm}
		}},
		"POST /oauth/revoke": {Status: 200, Make: func(w *world, of relay.Tenant) ask {
			return ask{Path: "/oauth/revoke", Body: form(of, w, "&token=pst_x"), Type: mediaForm}
		}},
	})
}

func tokensOf(w *world) *fakeTokens { return w.extra["tokens"].(*fakeTokens) }

func (f *fakeTokens) MintToken(p *relay.Principal, scopes []string, life time.Duration) (secret.Redacted, relay.Token, error) {
	if p.Token != nil || p.Key.Kind != relay.KeyAPI {
		return "", relay.Token{}, relay.E(relay.Forbidden, "Only an API key itself can ask for an access token.")
	}
	if len(scopes) == 0 {
		scopes = p.Key.Scopes
	}
	for _, s := range scopes {
		if !p.Allows(s) {
			return "", relay.Token{}, &relay.Error{Kind: relay.Invalid, Field: "scope", Public: "The key does not have the scope " + s + "."}
		}
	}
	now := f.w.clock()
	t := relay.Token{ID: relay.TokenID{ID: relay.NewID(now)}, Key: p.Key.ID, Scopes: slices.Sorted(slices.Values(scopes)), IssuedAt: now, ExpiresAt: now.Add(life)}
	text := "pst_" + t.ID.String()
	f.minted[text] = t
	f.w.mu.Lock()
	f.w.tokens[text] = &t
	f.w.mu.Unlock()
	return secret.Redacted(text), t, nil
}

func (f *fakeTokens) ParseToken(text secret.Redacted) (relay.Token, error) {
	t, ok := f.minted[text.Reveal()]
	if !ok || !f.w.clock().Before(t.ExpiresAt) {
		return relay.Token{}, relay.E(relay.Unauthenticated, "The provided authorization grant is invalid, expired, or revoked")
	}
	return t, nil
}

func (f *fakeTokens) Key(_ context.Context, id relay.KeyID) (relay.Key, error) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	for _, k := range f.w.keys {
		if k.ID == id {
			return k, f.w.fail
		}
	}
	return relay.Key{}, relay.E(relay.NotFound, "no key")
}

func (f *fakeTokens) RevokeToken(_ context.Context, by store.By, account relay.AccountID, id relay.TokenID, _ time.Time) error {
	f.revoked, f.bys = append(f.revoked, id), append(f.bys, by)
	return f.w.noted(by, "revoke token of "+account.String())
}

// nobody is a client without a key.
func (w *world) nobody() *client {
	return &client{w: w, handler: w.handler, header: http.Header{"Content-Type": {mediaForm}}}
}

// basicOf is the header of a client's credentials.
func basicOf(id, key string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+key))
}

func TestToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k, text := w.addKey(w.acme, "mail.send", "api_keys.read")
	inForm := url.Values{"grant_type": {"client_credentials"}, "client_id": {k.ID.String()}, "client_secret": {text}}
	a := w.nobody().want("POST", "/oauth/token", inForm.Encode(), 200, nil)
	got := decode[tokenAnswer](t, a)
	if want := fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","expires_in":900,"scope":"api_keys.read mail.send"}`+"\n", got.AccessToken); a.Body != want {
		t.Errorf("%s want %s", a.Body, want)
	}
	if a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Pragma") != "no-cache" || a.Header.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", a.Header)
	}
	if last := w.attempts[len(w.attempts)-1]; last.User != k.ID.String() || last.Protocol != "http" || last.Addr.String() != here || last.Mechanism != "CLIENT-CREDENTIALS" {
		t.Errorf("%+v", last)
	}
	narrow := w.nobody().with("Authorization", basicOf(k.ID.String(), text)).want("POST", "/oauth/token", "grant_type=client_credentials&scope=mail.send&expires_in=60&client_id="+k.ID.String(), 200, nil)
	if got := decode[tokenAnswer](t, narrow); got.Scope != "mail.send" || got.ExpiresIn != 60 {
		t.Errorf("%+v", got)
	}
	// The token opens what its scopes say.
	bearer := &client{w: w, handler: w.handler, header: http.Header{"Authorization": {"Bearer " + got.AccessToken}}}
	bearer.want("GET", "/v3/scopes", "", 200, nil)
	if strings.Contains(w.log.String(), text) || strings.Contains(w.log.String(), got.AccessToken) {
		t.Error("a secret was logged")
	}
}

// AP-14: a key's requests for tokens, and to end them, count with its others.
func TestTokensAreRateLimited(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *Services) { s.KeyRate = 3 })
	k, text := w.addKey(w.acme, "mail.send")
	c := w.nobody().with("Authorization", basicOf(k.ID.String(), text))
	c.want("POST", "/oauth/token", "grant_type=client_credentials", 200, nil)
	c.want("POST", "/oauth/revoke", "token=pst_x", 200, nil)
	(&client{w: w, handler: w.handler, header: http.Header{"Authorization": {"Bearer " + text}}}).want("GET", "/v3/scopes", "", 200, nil)
	a := c.want("POST", "/oauth/token", "grant_type=client_credentials", 429, nil)
	if a.Header.Get("Retry-After") == "" || decode[tokenError](t, a).Code != "temporarily_unavailable" {
		t.Errorf("%s %v", a.Body, a.Header)
	}
	w.now = w.now.Add(time.Minute)
	c.want("POST", "/oauth/token", "grant_type=client_credentials", 200, nil)
}

func TestTokenRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k, text := w.addKey(w.acme, "mail.send")
	other, otherText := w.addKey(w.globex, "mail.send")
	good := url.Values{"grant_type": {"client_credentials"}, "client_id": {k.ID.String()}, "client_secret": {text}}
	minted := decode[tokenAnswer](t, w.nobody().want("POST", "/oauth/token", good.Encode(), 200, nil)).AccessToken
	with := func(edit map[string]string) string {
		v := url.Values{}
		for name, x := range good {
			v[name] = x
		}
		for name, x := range edit {
			if x == "" {
				v.Del(name)
			} else {
				v.Set(name, x)
			}
		}
		return v.Encode()
	}
	for name, x := range map[string]struct {
		c      *client
		path   string
		body   string
		status int
		code   string
	}{
		"no grant":            {nil, "", with(map[string]string{"grant_type": ""}), 400, "invalid_request"},
		"password grant":      {nil, "", with(map[string]string{"grant_type": "password"}), 400, "unsupported_grant_type"},
		"empty":               {nil, "", "", 400, "invalid_request"},
		"unreadable":          {nil, "", "%zz", 400, "invalid_request"},
		"twice":               {nil, "", with(nil) + "&scope=mail.send&scope=mail.send", 400, "invalid_request"},
		"in the address":      {nil, "?" + with(nil), with(nil), 400, "invalid_request"},
		"JSON":                {w.nobody().with("Content-Type", "application/json"), "", `{"grant_type":"client_credentials"}`, 400, "invalid_request"},
		"both ways":           {w.nobody().with("Authorization", basicOf(k.ID.String(), text)), "", with(nil), 400, "invalid_request"},
		"two ids":             {w.nobody().with("Authorization", basicOf(k.ID.String(), text)), "", "grant_type=client_credentials&client_id=" + other.ID.String(), 400, "invalid_request"},
		"unknown scope":       {nil, "", with(map[string]string{"scope": "mail.send root"}), 400, "invalid_scope"},
		"scope it lacks":      {nil, "", with(map[string]string{"scope": "mail.send api_keys.create"}), 400, "invalid_scope"}, // AP-03
		"too long a life":     {nil, "", with(map[string]string{"expires_in": "3601"}), 400, "invalid_request"},
		"no life":             {nil, "", with(map[string]string{"expires_in": "-1"}), 400, "invalid_request"},
		"no client":           {nil, "", "grant_type=client_credentials", 401, "invalid_client"},
		"no secret":           {nil, "", with(map[string]string{"client_secret": ""}), 401, "invalid_client"},
		"no id":               {nil, "", with(map[string]string{"client_id": ""}), 401, "invalid_client"},
		"wrong secret":        {nil, "", with(map[string]string{"client_secret": text[:len(text)-1] + "x"}), 401, "invalid_client"},
		"unknown key":         {nil, "", with(map[string]string{"client_id": absentID, "client_secret": "SG." + absentID + "." + strings.Repeat("A", 43)}), 401, "invalid_client"},
		"somebody's password": {nil, "", with(map[string]string{"client_id": "acme", "client_secret": "hunter2"}), 401, "invalid_client"},
		"another key's id":    {nil, "", with(map[string]string{"client_id": other.ID.String()}), 401, "invalid_client"},
		"another key":         {nil, "", with(map[string]string{"client_secret": otherText}), 401, "invalid_client"},
		"a token as secret":   {nil, "", with(map[string]string{"client_secret": minted}), 401, "invalid_client"}, // a token does not prolong itself
		"a bearer":            {w.nobody().with("Authorization", "Bearer "+text), "", "grant_type=client_credentials", 401, "invalid_client"},
		"bad Basic":           {w.nobody().with("Authorization", "Basic %%%"), "", "grant_type=client_credentials", 401, "invalid_client"},
		"Basic, bad escape":   {w.nobody().with("Authorization", basicOf("%zz", text)), "", "grant_type=client_credentials", 401, "invalid_client"},
		"Basic, wrong":        {w.nobody().with("Authorization", basicOf(k.ID.String(), "SG.x.y")), "", "grant_type=client_credentials", 401, "invalid_client"},
	} {
		t.Run(name, func(t *testing.T) {
			c := x.c
			if c == nil {
				c = w.nobody()
			}
			a := c.want("POST", "/oauth/token"+x.path, x.body, x.status, nil)
			e := decode[tokenError](t, a)
			if e.Code != x.code || e.Description == "" || a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%+v %v", e, a.Header)
			}
			if x.status == 401 {
				// The same octets for every client that is none.
				if a.Body != `{"error":"invalid_client","error_description":"The client's id is that of a live key, its secret the whole key."}`+"\n" || a.Header.Get("WWW-Authenticate") != `Basic realm="postern"` {
					t.Errorf("%s %v", a.Body, a.Header)
				}
			}
		})
	}
	w.nobody().want("POST", "/oauth/token", with(map[string]string{"scope": strings.Repeat("a", maxForm)}), 413, nil)
	w.nobody().want("GET", "/oauth/token", "", 405, nil)
}

// What keeps the server from judging a client is said in the client's form.
func TestTokenUnavailable(t *testing.T) {
	t.Parallel()
	for kind, want := range map[relay.Kind]int{relay.RateLimited: 429, relay.Unavailable: 503, relay.Internal: 500} {
		w := newWorld(t, func(s *Services) { s.Auth = refusing{relay.E(kind, "inner words")} })
		a := w.nobody().want("POST", "/oauth/token", "grant_type=client_credentials&client_id=a&client_secret=b", want, nil)
		if kind == relay.Internal {
			continue
		}
		if e := decode[tokenError](t, a); e.Code != "temporarily_unavailable" || a.Header.Get("Retry-After") == "" || strings.Contains(a.Body, "inner") {
			t.Errorf("%v: %s %v", kind, a.Body, a.Header)
		}
	}
}

type refusing struct{ err error }

func (r refusing) Bearer(context.Context, auth.Attempt) (*relay.Principal, error) { return nil, r.err }

// Who has a token's key ends it; others learn nothing of it.
func TestRevokeToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := tokensOf(w)
	mint := func(of relay.Tenant, scopes ...string) (*client, string) {
		k, text := w.addKey(of, scopes...)
		c := w.nobody().with("Authorization", basicOf(k.ID.String(), text))
		c.key = k
		return c, decode[tokenAnswer](t, c.want("POST", "/oauth/token", "grant_type=client_credentials", 200, nil)).AccessToken
	}
	mine, token := mint(w.acme, "mail.send")
	sibling, _ := mint(w.acme, "mail.send")
	keeper, _ := mint(w.acme, "api_keys.delete")
	foreign, _ := mint(w.globex, "api_keys.delete")
	below, _ := mint(w.staging, "api_keys.delete")
	_, subToken := mint(w.staging, "mail.send")

	// RFC 7009 §2.2: all of these are answered alike.
	for name, x := range map[string]struct {
		c     *client
		token string
	}{
		"no token of ours": {mine, "whatever"}, "a sibling key": {sibling, token}, "another account's key": {foreign, token},
		"a subuser's key": {below, token}, "the parent's, of a subuser": {keeper, subToken},
	} {
		if a := x.c.want("POST", "/oauth/revoke", "token="+x.token+"&token_type_hint=access_token", 200, nil); a.Body != "" || len(f.revoked) != 0 || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %q, revoked %v", name, a.Body, f.revoked)
		}
	}
	mine.want("POST", "/oauth/revoke", "token="+token, 200, nil)
	keeper.want("POST", "/oauth/revoke", "token="+token, 200, nil)
	below.want("POST", "/oauth/revoke", "token="+subToken, 200, nil)
	w.operator("").with("Content-Type", mediaForm).want("POST", "/oauth/revoke", "token="+token, 200, nil)
	if len(f.revoked) != 4 || f.bys[0] != (store.By{Who: "key " + mine.key.ID.String(), From: here}) || f.bys[3].Who != "uid 0" {
		t.Errorf("revoked %v by %v", f.revoked, f.bys)
	}
	w.pass(2 * time.Hour)
	mine.want("POST", "/oauth/revoke", "token="+token, 200, nil) // it has ended
	if len(f.revoked) != 4 {
		t.Errorf("an ended token was revoked")
	}
	for body, code := range map[string]string{"": "invalid_request", "token_type_hint=x": "invalid_request"} {
		if e := decode[tokenError](t, mine.want("POST", "/oauth/revoke", body, 400, nil)); e.Code != code {
			t.Errorf("%q: %+v", body, e)
		}
	}
	if e := decode[tokenError](t, w.nobody().want("POST", "/oauth/revoke", "token="+token, 401, nil)); e.Code != "invalid_client" {
		t.Errorf("%+v", e)
	}
}
