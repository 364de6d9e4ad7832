package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/sasl"
	"postern/internal/secret"
	"postern/internal/smtp"
)

// issuer is an outside issuer: tokens are names of what it says of them.
type issuer struct {
	tokens map[string]OutsideToken
	err    error
	hints  []string
}

func (i *issuer) Verify(_ context.Context, raw secret.Redacted, hint string) (OutsideToken, error) {
	i.hints = append(i.hints, hint)
	if i.err != nil {
		return OutsideToken{}, i.err
	}
	t, ok := i.tokens[raw.Reveal()]
	if !ok {
		return OutsideToken{}, errors.New("bad signature")
	}
	return t, nil
}

const ci = "https://ci.example"

func ciToken(change func(*OutsideToken)) OutsideToken {
	t := OutsideToken{
		Issuer: ci, Subject: "repo:acme/shop:ref:refs/heads/main", Audience: []string{"https://other.example", "postern"}, ExpiresAt: t0.Add(5 * time.Minute),
		Claims: map[string]any{
			"sub": "repo:acme/shop:ref:refs/heads/main", "repository": "acme/shop", "ref": "refs/heads/main", "protected": true, "run": json.Number("42"), "attempt": float64(2),
			"groups": []any{"dev", "mail"}, "kubernetes.io": map[string]any{"namespace": "prod", "pod": map[string]any{"name": "web-1"}},
		},
	}
	if change != nil {
		change(&t)
	}
	return t
}

func (w *world) federated(claims map[string]string, change func(*relay.Key)) *relay.Key {
	k := &relay.Key{
		ID: relay.KeyID{ID: relay.NewID(t0)}, Account: acme, Kind: relay.KeyFederated, Scopes: []string{relay.ScopeMailSend},
		Match: &relay.KeyMatch{Issuer: ci, Audience: "postern", Claims: claims},
	}
	if change != nil {
		change(k)
	}
	w.dir.keys[k.ID] = k
	return k
}

// Which tokens are a key's. AU-27: issuer, audience and every claim must fit.
func TestTokenMatches(t *testing.T) {
	for _, tt := range []struct {
		claims map[string]string
		token  func(*OutsideToken)
		match  func(*relay.KeyMatch)
		want   bool
	}{
		{claims: map[string]string{"repository": "acme/shop"}, want: true},
		{claims: map[string]string{"repository": "acme/shop", "ref": "refs/heads/main"}, want: true},
		{claims: map[string]string{"repository": "acme/shop", "ref": "refs/heads/dev"}},
		{claims: map[string]string{"repository": "acme/*"}, want: true},
		{claims: map[string]string{"repository": "*"}, want: true},
		{claims: map[string]string{"repository": "acme*p"}},
		{claims: map[string]string{"repository": "acme/sho"}},
		{claims: map[string]string{"repository": "ACME/shop"}},
		{claims: map[string]string{"repository": ""}},
		{claims: map[string]string{"nothing": "*"}},
		{claims: map[string]string{"nothing": ""}},
		{claims: map[string]string{"protected": "true", "run": "42", "attempt": "2", "groups": "mail"}, want: true},
		{claims: map[string]string{"groups": "ops"}},
		{claims: map[string]string{"kubernetes.io/namespace": "prod", "kubernetes.io/pod/name": "web-*"}, want: true},
		{claims: map[string]string{"kubernetes.io/namespace": "test"}},
		{claims: map[string]string{"kubernetes.io": "*"}},
		{claims: nil},
		{claims: map[string]string{"repository": "acme/shop"}, match: func(m *relay.KeyMatch) { m.Audience = "" }},
		{claims: map[string]string{"repository": "acme/shop"}, match: func(m *relay.KeyMatch) { m.Audience = "elsewhere" }},
		{claims: map[string]string{"repository": "acme/shop"}, match: func(m *relay.KeyMatch) { m.Issuer = "" }, token: func(o *OutsideToken) { o.Issuer = "" }},
		{claims: map[string]string{"repository": "acme/shop"}, token: func(o *OutsideToken) { o.Issuer = "https://evil.example" }},
		{claims: map[string]string{"repository": "acme/shop"}, token: func(o *OutsideToken) { o.Audience = nil }},
	} {
		token := ciToken(tt.token)
		m := &relay.KeyMatch{Issuer: ci, Audience: "postern", Claims: tt.claims}
		if tt.match != nil {
			tt.match(m)
		}
		if got := tokenMatches(m, &token); got != tt.want {
			t.Errorf("%v, %+v: %v", tt.claims, m, got)
		}
	}
	if tokenMatches(nil, &OutsideToken{}) {
		t.Error("a key that names nothing")
	}
}

// AU-22, AU-27, AU-29: tokens of outside issuers.
func TestOutsideTokens(t *testing.T) {
	out := &issuer{tokens: map[string]OutsideToken{"good": ciToken(nil), "alien": ciToken(func(o *OutsideToken) { o.Issuer = "https://evil.example" })}}
	w := newWorld(t, func(c *Config) { c.Outside = out })
	shop := w.federated(map[string]string{"repository": "acme/shop"}, nil)
	login := func(user string, token secret.Redacted) error {
		return w.login(sasl.OAuthBearer, sasl.NewOAuthBearerClient(user, token, "", 0))
	}
	w.expect(t, "no user", login("", "good"), relay.LoginOK, smtp.Reply{})
	if w.who == nil || w.who.Key != shop || w.who.Token == nil || !w.who.Token.ExpiresAt.Equal(t0.Add(5*time.Minute)) || !w.who.Allows("mail.send") {
		t.Fatalf("principal %+v", w.who)
	}
	if d := w.rec.last().Detail; !strings.Contains(d, ci) || !strings.Contains(d, "repo:acme/shop") {
		t.Errorf("detail %q", d)
	}
	session := w.checkable(t, func(string) error { return login("", "good") })
	session("token lives", nil)
	w.expect(t, "its subject", login("repo:acme/shop:ref:refs/heads/main", "good"), relay.LoginOK, smtp.Reply{})
	w.expect(t, "its key", login(shop.ID.String(), "good"), relay.LoginOK, smtp.Reply{})
	if h := out.hints; h[len(h)-1] != ci || h[0] != "" {
		t.Errorf("hints %q", h)
	}
	w.expect(t, "somebody else", login("anna@acme.test", "good"), relay.LoginToken, ReplyRefused)
	w.expect(t, "an issuer without keys", login("", "alien"), relay.LoginToken, ReplyRefused)
	w.expect(t, "a bad token", login("", "forged"), relay.LoginToken, ReplyRefused)
	if d := w.rec.last().Detail; !strings.Contains(d, "bad signature") || strings.Contains(d, "forged") {
		t.Errorf("detail %q", d)
	}
	prod := w.federated(map[string]string{"ref": "refs/heads/main"}, nil)
	w.expect(t, "two keys claim it", login("", "good"), relay.LoginAmbiguous, ReplyRefused)
	w.expect(t, "named", login(prod.ID.String(), "good"), relay.LoginOK, smtp.Reply{})
	if w.who == nil || w.who.Key != prod {
		t.Error("not the key that was named")
	}
	prod.DisabledAt = t0
	w.expect(t, "the other is disabled", login("", "good"), relay.LoginOK, smtp.Reply{})
	shop.ExpiresAt = t0
	prod.DisabledAt, prod.Canary = time.Time{}, true
	w.expect(t, "only dead ones", login(shop.ID.String(), "good"), relay.LoginExpired, ReplyRefused)
	w.expect(t, "a canary", login(prod.ID.String(), "good"), relay.LoginCanary, ReplyRefused)
	if len(w.alerts) == 0 {
		t.Error("the canary did not sing")
	}
	api, _ := w.apiKey(t, func(k *relay.Key) {
		k.Match = &relay.KeyMatch{Issuer: ci, Audience: "postern", Claims: map[string]string{"ref": "*"}}
	})
	w.expect(t, "an API key is no one's by token", login(api.IDText(), "good"), relay.LoginToken, ReplyRefused)
	shop.ExpiresAt = time.Time{}
	w.now = t0.Add(5 * time.Minute)
	session("token is over", ReplyEnded)
	out.err = &relay.Error{Kind: relay.Unavailable, Err: errors.New("issuer does not answer")}
	w.expect(t, "AU-28 issuer away", login("", "good"), relay.LoginUnavailable, ReplyUnavailable)
	if _, _, err := w.MintToken(&relay.Principal{Key: shop, Token: &relay.Token{}}, nil, 0); relay.KindOf(err) != relay.Forbidden {
		t.Errorf("a federated key mints: %v", err)
	}
}

// A session whose key now asks for other claims ends.
func TestOutsideMatchChanges(t *testing.T) {
	out := &issuer{tokens: map[string]OutsideToken{"good": ciToken(nil)}}
	w := newWorld(t, func(c *Config) { c.Outside = out })
	k := w.federated(map[string]string{"repository": "acme/shop"}, nil)
	session := w.checkable(t, func(string) error {
		return w.login(sasl.XOAuth2, sasl.NewXOAuth2Client("", "good"))
	})
	same := *k
	same.Match = &relay.KeyMatch{Issuer: ci, Audience: "postern", Claims: map[string]string{"repository": "acme/shop"}}
	w.dir.keys[k.ID] = &same
	session("same match, new row", nil)
	other := *k
	other.Match = &relay.KeyMatch{Issuer: ci, Audience: "postern", Claims: map[string]string{"repository": "acme/other"}}
	w.dir.keys[k.ID] = &other
	session("other match", ReplyEnded)
}

// While guesses are made elsewhere in the account, jobs with tokens of their own
// go on from addresses that nobody has seen.
func TestTokensAreNotShutOutByGuessing(t *testing.T) {
	out := &issuer{tokens: map[string]OutsideToken{"good": ciToken(nil)}}
	w := newWorld(t, func(c *Config) { c.Outside = out })
	g := w.guard(GuardConfig{KeyFailures: 10})
	w.federated(map[string]string{"repository": "acme/shop"}, nil)
	victim := &relay.Key{ID: relay.KeyID{ID: relay.ID{7}}, Account: acme}
	for i := range 300 {
		s := g.stand(mustAddr(fmt.Sprintf("10.0.%d.1", i%250)), w.now)
		g.failed(s, victim, w.now)
		victim.ID.ID[1]++
	}
	if len(g.Bans(w.now)) == 0 {
		t.Fatal("nothing is shut")
	}
	w.expect(t, "job", w.login(sasl.XOAuth2, sasl.NewXOAuth2Client("", "good")), relay.LoginOK, smtp.Reply{})
}
