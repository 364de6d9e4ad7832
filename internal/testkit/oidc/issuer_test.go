package oidc_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	coreos "github.com/coreos/go-oidc/v3/oidc"

	"postern/internal/testkit/oidc"
)

// TestIssuer: a client that is not ours finds the issuer as it should be.
func TestIssuer(t *testing.T) {
	t.Parallel()
	is := oidc.New(t)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: is.Roots()}}}
	ctx := coreos.ClientContext(context.Background(), client)
	provider, err := coreos.NewProvider(ctx, is.URL)
	if err != nil {
		t.Fatal(err)
	}
	config := &coreos.Config{ClientID: "postern", SupportedSigningAlgs: []string{"RS256", "PS256", "ES256", "EdDSA"}}
	verifier := provider.Verifier(config)
	for _, alg := range config.SupportedSigningAlgs {
		is.Rotate(alg)
		// Keys of its own each time: a set that has just read may, for a moment, answer
		// for a new key with what it read before.
		verifier := coreos.NewVerifier(is.URL, coreos.NewRemoteKeySet(ctx, is.URL+oidc.JWKS), config)
		got, err := verifier.Verify(ctx, is.Token(oidc.Claims{"sub": "me"}))
		if err != nil || got.Subject != "me" {
			t.Errorf("%s: %v", alg, err)
		}
		if _, err := verifier.Verify(ctx, is.Forge(oidc.Claims{"alg": "none"}, nil)); err == nil {
			t.Error("a token without signature")
		}
	}

	post := func(path, secret string, form url.Values) (int, map[string]any) {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, is.URL+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth(url.QueryEscape(oidc.ClientID), url.QueryEscape(secret))
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		var m map[string]any
		if err != nil || json.Unmarshal(b, &m) != nil {
			t.Fatalf("%s: %q, %v", path, b, err)
		}
		return res.StatusCode, m
	}
	status, m := post(oidc.TokenPath, oidc.ClientSecret, url.Values{"grant_type": {"client_credentials"}, "audience": {"postern"}})
	text, _ := m["access_token"].(string)
	if got, err := verifier.Verify(ctx, text); status != http.StatusOK || err != nil || got.Subject != oidc.ClientID {
		t.Errorf("token endpoint: %d %v, %v", status, m, err)
	}
	if status, m := post(oidc.TokenPath, "wrong", url.Values{"grant_type": {"client_credentials"}}); status != http.StatusUnauthorized {
		t.Errorf("token endpoint with another secret: %d %v", status, m)
	}
	is.Opaque("x", oidc.Claims{"sub": "me"})
	if _, m := post(oidc.Introspect, oidc.ClientSecret, url.Values{"token": {"x"}}); m["active"] != true || m["sub"] != "me" {
		t.Errorf("introspection: %v", m)
	}
	is.Deactivate("x")
	if _, m := post(oidc.Introspect, oidc.ClientSecret, url.Values{"token": {"x"}}); m["active"] != false {
		t.Errorf("introspection of a token that was taken back: %v", m)
	}
	if is.Requests(oidc.Discovery) != 1 || is.Requests(oidc.TokenPath) != 2 || is.Requests(oidc.Introspect) != 2 {
		t.Errorf("%d requests are counted", is.Requests(""))
	}
}
