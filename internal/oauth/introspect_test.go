package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/secret"
	"postern/internal/testkit/oidc"
)

func withIntrospection(_ *Config, i *Issuer) {
	i.Introspection = &Introspection{URL: i.URL + oidc.Introspect, ClientID: oidc.ClientID, ClientSecret: oidc.ClientSecret}
}

// AU-27, for tokens that only their issuer can read.
func TestIntrospection(t *testing.T) {
	t.Parallel()
	is, v, c := issue(t, withIntrospection)
	at := func(d time.Duration) int64 { return c.now().Add(d).Unix() }
	tests := []struct {
		name   string
		claims oidc.Claims
		ok     bool
	}{
		{"as it should be", nil, true},
		{"without iss", oidc.Claims{"iss": nil}, true},
		{"with its type", oidc.Claims{"token_type": "Bearer"}, true},
		{"not active", oidc.Claims{"active": false}, false},
		{"active as text", oidc.Claims{"active": "true"}, false},
		{"of another issuer", oidc.Claims{"iss": "https://evil.test"}, false},
		{"iss a list", oidc.Claims{"iss": []string{is.URL}}, false},
		{"no audience", oidc.Claims{"aud": nil}, false},
		{"no subject", oidc.Claims{"sub": nil}, false},
		{"no end", oidc.Claims{"exp": nil}, false},
		{"over", oidc.Claims{"exp": at(-time.Hour)}, false},
		{"not yet", oidc.Claims{"nbf": at(time.Hour)}, false},
		{"bound to a key", oidc.Claims{"token_type": "DPoP"}, false},
		{"bound to a certificate", oidc.Claims{"cnf": map[string]string{"x5t#S256": "x"}}, false},
	}
	for i, tt := range tests {
		token := fmt.Sprintf("opaque-%d", i)
		is.Opaque(token, tt.claims)
		c.add(time.Second) // so that the bucket is never the reason
		got, err := verify(t, v, token)
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrToken) || err == nil && (got.Issuer != is.URL || got.Subject != "subject") {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
	if _, err := verify(t, v, "never-heard-of"); !errors.Is(err, ErrToken) {
		t.Errorf("unknown token: %v", err)
	}
	n := is.Requests("")
	if _, err := v.Verify(t.Context(), "opaque-0", "https://evil.test"); !errors.Is(err, ErrToken) || is.Requests("") != n {
		t.Errorf("hint of an issuer that is not listed: %v", err)
	}
	if got, err := v.Verify(t.Context(), "opaque-0", is.URL); err != nil || got.Issuer != is.URL {
		t.Errorf("hint of the issuer: %v", err)
	}
}

// TestIntrospectionRemembers: an answer is believed for 30 seconds, or 10 if the
// token is bad, or as long as the token lives.
func TestIntrospectionRemembers(t *testing.T) {
	t.Parallel()
	is, v, c := issue(t, withIntrospection)
	is.Opaque("good", nil)
	is.Opaque("brief", oidc.Claims{"exp": c.now().Add(5*time.Second - skew).Unix(), "iat": c.now().Add(-time.Hour).Unix()})
	ask := func(token string, want error, requests int) {
		t.Helper()
		if _, err := verify(t, v, token); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", token, err, want)
		}
		if n := is.Requests(oidc.Introspect); n != requests {
			t.Errorf("%s: %d requests, want %d", token, n, requests)
		}
	}
	ask("good", nil, 1)
	ask("bad", ErrToken, 2)
	ask("brief", nil, 3)
	is.Deactivate("good")
	c.add(badFor - time.Millisecond)
	ask("good", nil, 3)
	ask("bad", ErrToken, 3)
	ask("brief", ErrToken, 3) // over: nobody needs to be asked
	is.Opaque("bad", nil)
	c.add(time.Millisecond)
	ask("bad", nil, 4)
	c.add(goodFor - badFor)
	ask("good", ErrToken, 5)
}

// AU-26: guessing tokens costs the issuer a few requests a second at most, and
// those whose tokens are good go on working meanwhile.
func TestGuessing(t *testing.T) {
	t.Parallel()
	is, v, c := issue(t, withIntrospection)
	is.Opaque("good", oidc.Claims{"exp": c.now().Add(time.Hour).Unix()})
	if _, err := verify(t, v, "good"); err != nil {
		t.Fatal(err)
	}
	var unavailable int
	const seconds = 40
	for i := range seconds {
		for n := range 100 {
			switch _, err := verify(t, v, fmt.Sprintf("guess-%d-%d", i, n)); {
			case errors.Is(err, ErrUnavailable):
				unavailable++
			case !errors.Is(err, ErrToken):
				t.Errorf("a guess: %v", err)
			}
		}
		if _, err := verify(t, v, "good"); err != nil {
			t.Errorf("the good token after %d seconds: %v", i, err)
		}
		c.add(time.Second)
	}
	most := askBurst + seconds*int(time.Second/askEvery) + 3
	if n := is.Requests(oidc.Introspect); n > most || unavailable == 0 {
		t.Errorf("%d requests, at most %d; %d guesses were not asked about", n, most, unavailable)
	}
	if n := len(v.opaque[0].lookup.answers); n > maxAnswers {
		t.Errorf("%d answers are remembered", n)
	}
}

func TestIntrospectionAway(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]http.HandlerFunc{
		"down": oidc.Down, "huge": oidc.Huge, "not JSON": oidc.Answer("<html>"), "elsewhere": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/moved", http.StatusTemporaryRedirect)
		},
		"too long": oidc.Answer(`{"active":false}` + strings.Repeat(" ", maxAnswer)),
	} {
		is, v, _ := issue(t, withIntrospection)
		is.Opaque("good", nil)
		is.Fail(oidc.Introspect, h)
		if _, err := verify(t, v, "good"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
		is.Fail(oidc.Introspect, nil)
		if _, err := verify(t, v, "good"); err != nil {
			t.Errorf("back from %s: %v", name, err) // an outage is not remembered
		}
		if is.Requests("/moved") != 0 {
			t.Error("a redirect was followed, with the token and the credentials")
		}
	}
	is, v, _ := issue(t, withIntrospection, func(_ *Config, i *Issuer) { i.Introspection.ClientSecret = "wrong" })
	is.Opaque("good", nil)
	if _, err := verify(t, v, "good"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("with our own credentials wrong: %v", err)
	}
}

// TestIntrospectionConcurrent: one question for all who ask the same, and no more
// at once than is allowed.
func TestIntrospectionConcurrent(t *testing.T) {
	t.Parallel()
	is, v, _ := issue(t, withIntrospection)
	release := make(chan struct{})
	arrived := make(chan struct{}, 100)
	var now, most atomic.Int64
	is.Fail(oidc.Introspect, func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		arrived <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
		now.Add(-1)
		oidc.Answer(`{"active":false}`)(w, r)
	})
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			if _, err := v.Verify(t.Context(), secret.Redacted(fmt.Sprintf("token-%d", i%(2*maxAsking))), ""); !errors.Is(err, ErrToken) {
				t.Error(err)
			}
		})
	}
	for range maxAsking {
		<-arrived
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := v.Verify(ctx, "one-more", ""); !errors.Is(err, ErrUnavailable) {
		t.Errorf("waited in vain: %v", err)
	}
	close(release)
	all.Wait()
	if n := most.Load(); n > maxAsking {
		t.Errorf("%d questions at once", n)
	}
	if n := is.Requests(oidc.Introspect); n != 2*maxAsking {
		t.Errorf("%d questions about %d tokens", n, 2*maxAsking)
	}
}
