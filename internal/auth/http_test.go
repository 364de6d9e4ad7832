package auth

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
)

func (w *world) http(user string, pass secret.Redacted) Attempt {
	at := w.attempt("BEARER")
	at.Protocol, at.User, at.Secret, at.Helo = "http", user, pass, "sendgrid/3.0"
	return at
}

func TestBearer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &issuer{tokens: map[string]OutsideToken{"header.body.signature": ciToken(nil)}}
		w := newWorld(t, func(c *Config) { c.Outside = out })
		w.dir.account.Policy.Mechanisms = []string{"EXTERNAL"} // of SMTP only
		w.cfg.Exhausted = func(context.Context, *relay.Principal) error { return errors.New("none left") }
		key, row := w.apiKey(t, func(k *relay.Key) { k.Scopes = []string{"stats.read"} })
		w.federated(map[string]string{"repository": "acme/shop"}, nil)
		token, _, err := w.MintToken(&relay.Principal{Key: row}, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for name, at := range map[string]Attempt{
			"key": w.http("", key.Text()), "key, client credentials": w.http(key.IDText(), key.Text()), "key as apikey": w.http("apikey", key.Text()),
			"own token": w.http("", token), "outside token": w.http("", "header.body.signature"),
		} {
			start := time.Now()
			p, err := w.Bearer(t.Context(), at)
			if err != nil || p == nil || w.rec.last().Result != relay.LoginOK || time.Since(start) > 0 {
				t.Errorf("%s: %v, %v, %s", name, p, err, w.rec.last().Detail)
			}
		}
		before := len(w.rec.logins)
		if _, err := w.Bearer(t.Context(), w.http("", "")); relay.KindOf(err) != relay.Unauthenticated || err.Error() != "authorization required" || len(w.rec.logins) != before {
			t.Errorf("no credential: %v", err)
		}
		w.dir.stale = true
		if _, err := w.Bearer(t.Context(), w.http("", key.Text())); relay.KindOf(err) != relay.Unavailable {
			t.Errorf("stale: %v", err)
		}
	})
}

// AU-24 on HTTP: every refusal is the same words after the same quarter of a second.
func TestBearerRefusalsAreAlike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &issuer{}
		w := newWorld(t, func(c *Config) { c.Outside = out })
		stranger, _ := newWorld(t, nil).apiKey(t, nil)
		past := t0.Add(-time.Hour)
		with := func(change func(*relay.Key)) secret.Redacted {
			k, _ := w.apiKey(t, change)
			return k.Text()
		}
		key, row := w.apiKey(t, nil)
		wrong := w.rotate(t, row)
		w.dir.keys[row.ID] = row
		other, _ := w.apiKey(t, nil)
		revoked, token, err := w.MintToken(&relay.Principal{Key: row}, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		w.dir.revoked = map[relay.TokenID]bool{token.ID: true}
		basic := func(user string, pass secret.Redacted) Attempt {
			at := w.http(user, pass)
			at.Mechanism = "BASIC"
			return at
		}
		for name, tt := range map[string]struct {
			at   Attempt
			want relay.LoginResult
		}{
			"unknown":             {w.http("", stranger.Text()), relay.LoginUnknown},
			"wrong":               {w.http("", wrong.Text()), relay.LoginWrong},
			"another client's id": {w.http(other.IDText(), key.Text()), relay.LoginMalformed},
			"expired":             {w.http("", with(func(k *relay.Key) { k.ExpiresAt = past })), relay.LoginExpired},
			"revoked":             {w.http("", with(func(k *relay.Key) { k.RevokedAt = past })), relay.LoginRevoked},
			"disabled":            {w.http("", with(func(k *relay.Key) { k.DisabledAt = past })), relay.LoginDisabled},
			"canary":              {w.http("", with(func(k *relay.Key) { k.Canary = true })), relay.LoginCanary},
			"network":             {w.http("", with(func(k *relay.Key) { k.Networks = prefixes("10.0.0.0/8") })), relay.LoginNetwork},
			"damaged key":         {w.http("", key.Text()+"x"), relay.LoginMalformed},
			"nonsense":            {w.http("", "x"), relay.LoginToken},
			"damaged token":       {w.http("", "pst_x"), relay.LoginToken},
			"revoked token":       {w.http("", revoked), relay.LoginToken},
			"outside token":       {w.http("", "a.b.c"), relay.LoginToken},
			"Basic, a person":     {basic("anna@acme.test", "secret"), relay.LoginPassword},
			"Basic, a key":        {basic("apikey", key.Text()), relay.LoginMalformed},
			"Basic, nothing":      {basic("", ""), relay.LoginMalformed},
		} {
			start := time.Now()
			_, err := w.Bearer(t.Context(), tt.at)
			e, ok := errors.AsType[*relay.Error](err)
			if !ok || e.Kind != relay.Unauthenticated || e.Public != textRefused || e.Err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if d := time.Since(start); d != minHold {
				t.Errorf("%s: after %v", name, d)
			}
			if l := w.rec.last(); l.Result != tt.want || l.Protocol != "http" || l.Helo != "sendgrid/3.0" {
				t.Errorf("%s: recorded %+v, want %s", name, l, tt.want)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		start := time.Now()
		if _, err := w.Bearer(ctx, w.http("", stranger.Text())); relay.KindOf(err) != relay.Unauthenticated || time.Since(start) > 0 {
			t.Errorf("a client that went away is held: %v", err)
		}
	})
}

// AU-25 on HTTP: 429 with an end, and the credential is not looked at.
func TestBearerThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.guard(GuardConfig{})
		key, _ := w.apiKey(t, nil)
		for range 20 {
			w.Bearer(t.Context(), w.http("", "nonsense"))
		}
		start := time.Now()
		_, err := w.Bearer(t.Context(), w.http("", key.Text()))
		if relay.KindOf(err) != relay.RateLimited || RetryAfter(err) != time.Minute || time.Since(start) != minHold {
			t.Errorf("%v after %v, again in %v", err, time.Since(start), RetryAfter(err))
		}
		if l := w.rec.last(); l.Result != relay.LoginThrottled {
			t.Errorf("recorded %s", l.Result)
		}
		if strings.Contains(err.Error(), key.IDText()) || RetryAfter(errors.New("x")) != 0 {
			t.Error("the answer tells too much")
		}
		w.now = t0.Add(time.Minute)
		if _, err := w.Bearer(t.Context(), w.http("", key.Text())); err != nil {
			t.Errorf("a minute later: %v", err)
		}
	})
}
