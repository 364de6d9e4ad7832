package oauth

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/testkit/oidc"
)

// clock is a wall clock that tests set.
type clock struct{ at atomic.Pointer[time.Time] }

func newClock() *clock {
	c := &clock{}
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	c.at.Store(&now)
	return c
}

func (c *clock) now() time.Time { return *c.at.Load() }
func (c *clock) add(d time.Duration) {
	t := c.now().Add(d)
	c.at.Store(&t)
}

// issue starts an issuer and a verifier that trusts it, both by one clock.
func issue(t testing.TB, edit ...func(*Config, *Issuer)) (*oidc.Issuer, *Verifier, *clock) {
	t.Helper()
	c, is := newClock(), oidc.New(t)
	is.Now = c.now
	return is, trust(t, is, c, edit...), c
}

func trust(t testing.TB, is *oidc.Issuer, c *clock, edit ...func(*Config, *Issuer)) *Verifier {
	t.Helper()
	cfg, one := Config{Now: c.now}, Issuer{URL: is.URL, Roots: is.Roots(), Private: true}
	for _, f := range edit {
		f(&cfg, &one)
	}
	cfg.Issuers = append(cfg.Issuers, one)
	v := New(cfg)
	t.Cleanup(v.Close)
	return v
}

func verify(t testing.TB, v *Verifier, token string) (Token, error) {
	t.Helper()
	got, err := v.Verify(t.Context(), secret.Redacted(token), "")
	if (err == nil) != (got.Issuer != "") || err != nil && errors.Is(err, ErrToken) == errors.Is(err, ErrUnavailable) {
		t.Errorf("a token and an error that do not go together: %+v, %v", got, err)
	}
	if kind := relay.KindOf(err); err != nil && (kind == relay.Unavailable) != errors.Is(err, ErrUnavailable) {
		t.Errorf("%v is of kind %v", err, kind)
	}
	if err != nil && len(token) > 40 && strings.Contains(err.Error(), token[len(token)-20:]) {
		t.Errorf("the error shows the token: %v", err)
	}
	return got, err
}

func TestVerify(t *testing.T) {
	t.Parallel()
	for _, alg := range DefaultAlgorithms {
		is, v, c := issue(t)
		is.Rotate(alg)
		for _, typ := range []any{nil, "JWT", "jwt", "at+jwt", "application/at+jwt"} {
			got, err := verify(t, v, is.Forge(oidc.Claims{"typ": typ}, oidc.Claims{"sub": "repo:acme/web", "aud": []string{"a", "b"}, "azp": "a", "run": 12345678901234567}))
			if err != nil {
				t.Fatalf("%s, type %v: %v", alg, typ, err)
			}
			if got.Issuer != is.URL || got.Subject != "repo:acme/web" || !slices.Equal(got.Audience, []string{"a", "b"}) ||
				got.Claims["run"] != json.Number("12345678901234567") || !got.ExpiresAt.Equal(c.now().Add(11*time.Minute)) {
				t.Errorf("%s: %+v", alg, got)
			}
		}
		// One discovery, one key set, whatever number of tokens.
		if n := is.Requests(""); n != 2 {
			t.Errorf("%s: %d requests", alg, n)
		}
	}
}

// TestNoKid: a token may leave its key's id out only where there is one key.
func TestNoKid(t *testing.T) {
	t.Parallel()
	is, v, c := issue(t)
	if _, err := verify(t, v, is.Forge(oidc.Claims{"kid": nil}, nil)); err != nil {
		t.Errorf("one key: %v", err)
	}
	is.Rotate("RS256")
	c.add(time.Hour)
	if _, err := verify(t, v, is.Token(nil)); err != nil {
		t.Error(err)
	}
	if _, err := verify(t, v, is.Forge(oidc.Claims{"kid": nil}, nil)); !errors.Is(err, ErrToken) {
		t.Errorf("several keys: %v", err)
	}
}

// AU-22: every forged form is refused, as a bad token and not as an outage, and
// no place that a token names is ever asked.
func TestForgedTokens(t *testing.T) {
	t.Parallel()
	is, v, _ := issue(t)
	evil := oidc.New(t) // where forged tokens point to
	good := is.Token(nil)
	parts := strings.Split(good, ".")
	header := func(h oidc.Claims) string { return is.Forge(h, nil) }
	own := is.NewKey("RS256")
	payload := func(s string) string {
		return is.Sign(oidc.Claims{"alg": "RS256", "kid": "key-1"}, []byte(s), own)
	}
	flip := func(i, at int) string {
		p := slices.Clone(parts)
		b := []byte(p[i])
		if b[at]++; parts[i][at] == 'Z' || parts[i][at] == 'z' || b[at] < 'A' {
			b[at] = 'A' // the next letter, so that it stays base64url
		}
		p[i] = string(b)
		return strings.Join(p, ".")
	}
	forged := map[string]string{
		"empty":                         "",
		"alg none":                      header(oidc.Claims{"alg": "none"}),
		"alg NoNe":                      header(oidc.Claims{"alg": "NoNe"}),
		"alg none, signature left":      strings.Join([]string{strings.Split(header(oidc.Claims{"alg": "none"}), ".")[0], parts[1], parts[2]}, "."),
		"no alg":                        header(oidc.Claims{"alg": nil}),
		"alg a list":                    header(oidc.Claims{"alg": []string{"RS256"}}),
		"HS256 with the public key":     header(oidc.Claims{"alg": "HS256"}),
		"alg that is not on the list":   header(oidc.Claims{"alg": "RS512"}),
		"alg of another kind of key":    header(oidc.Claims{"alg": "PS256"}),
		"lower-case alg":                header(oidc.Claims{"alg": "rs256"}),
		"embedded jwk":                  is.Sign(oidc.Claims{"alg": "RS256", "jwk": map[string]string{"kty": "RSA", "n": "AQAB", "e": "AQAB"}}, []byte("{}"), own),
		"jku":                           header(oidc.Claims{"jku": evil.URL + oidc.JWKS}),
		"x5u":                           header(oidc.Claims{"x5u": evil.URL + "/cert"}),
		"x5c":                           header(oidc.Claims{"x5c": []string{"MIIB"}}),
		"crit":                          header(oidc.Claims{"crit": []string{"exp"}}),
		"b64 false":                     header(oidc.Claims{"b64": false, "crit": []string{"b64"}}),
		"kid a path":                    header(oidc.Claims{"kid": "../../../dev/null"}),
		"kid SQL":                       header(oidc.Claims{"kid": "x' UNION SELECT 'k"}),
		"kid a URL":                     header(oidc.Claims{"kid": evil.URL}),
		"kid a number":                  header(oidc.Claims{"kid": 1}),
		"kid endless":                   header(oidc.Claims{"kid": strings.Repeat("k", 300)}),
		"typ of an ID token's logout":   header(oidc.Claims{"typ": "logout+jwt"}),
		"typ of a DPoP proof":           header(oidc.Claims{"typ": "dpop+jwt"}),
		"another key under the kid":     is.Sign(oidc.Claims{"alg": "RS256", "kid": "key-1"}, must(base64Payload(parts[1])), own),
		"no signature":                  parts[0] + "." + parts[1] + ".",
		"two parts":                     parts[0] + "." + parts[1],
		"five parts":                    good + "." + parts[0] + "." + parts[1],
		"truncated":                     good[:len(good)-10],
		"9 KB":                          is.Token(oidc.Claims{"x": strings.Repeat("x", 9<<10)}),
		"JSON serialization":            `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"flipped bit in the header":     flip(0, len(parts[0])/2),
		"flipped bit in the claims":     flip(1, len(parts[1])/2),
		"flipped bit in the signature":  flip(2, len(parts[2])/2),
		"padding":                       good + "=",
		"loose last bits":               parts[0] + "." + parts[1] + "." + loosen(parts[2]),
		"a space":                       good[:9] + " " + good[9:],
		"a line end":                    good + "\n",
		"a NUL":                         good + "\x00",
		"claims not JSON":               payload("iss"),
		"claims null":                   payload("null"),
		"claims a list":                 payload("[]"),
		"issuer twice":                  payload(`{"iss":"https://evil.test","iss":"` + is.URL + `"}`),
		"more behind the claims":        payload(`{"iss":"` + is.URL + `"}{}`),
		"no issuer":                     is.Token(oidc.Claims{"iss": nil}),
		"another issuer":                is.Token(oidc.Claims{"iss": evil.URL}),
		"issuer with a slash more":      is.Token(oidc.Claims{"iss": is.URL + "/"}),
		"issuer in capitals":            is.Token(oidc.Claims{"iss": strings.ToUpper(is.URL)}),
		"issuer a list":                 is.Token(oidc.Claims{"iss": []string{is.URL}}),
		"an encrypted token":            "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..a.b.c",
		"no token at all":               "eyJ",
		"opaque, and nobody to ask":     "opaque-token",
		"deep nesting":                  payload(strings.Repeat("[", 5000)),
		"header of another, claims own": strings.Join([]string{parts[0], strings.Split(payload(`{"iss":"`+is.URL+`"}`), ".")[1], parts[2]}, "."),
	}
	for name, token := range forged {
		if _, err := verify(t, v, token); !errors.Is(err, ErrToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := evil.Requests(""); n != 0 {
		t.Errorf("a place that a token named was asked %d times", n)
	}
	if _, err := verify(t, v, good); err != nil {
		t.Errorf("the good token: %v", err)
	}
	// Rightly signed, and still read in two ways by two readers.
	claims := string(must(base64Payload(parts[1])))
	if _, err := verify(t, v, is.Raw([]byte(claims))); err != nil {
		t.Errorf("its claims signed again: %v", err)
	}
	for name, text := range map[string]string{
		"subject twice": claims[:len(claims)-1] + `,"sub":"admin"}`, "more behind the claims": claims + `{}`,
		"a name twice deep inside": claims[:len(claims)-1] + `,"x":{"a":1,"a":2}}`,
	} {
		if _, err := verify(t, v, is.Raw([]byte(text))); !errors.Is(err, ErrToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// loosen spells the same octets with other bits at the end, which nobody reads.
func loosen(part string) string {
	want, _ := base64.RawURLEncoding.DecodeString(part)
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		other := part[:len(part)-1] + string(c)
		if got, err := base64.RawURLEncoding.DecodeString(other); err == nil && other != part && bytes.Equal(got, want) {
			return other
		}
	}
	panic("no other spelling of " + part)
}

func base64Payload(part string) ([]byte, error) { return rawURL.DecodeString(part) }

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// TestHMACNeverBelieved: not even where the operator lists it.
func TestHMACNeverBelieved(t *testing.T) {
	t.Parallel()
	is, v, _ := issue(t, func(_ *Config, i *Issuer) { i.Algorithms = []string{"HS256", "none", "RS256"} })
	for _, alg := range []string{"HS256", "none"} {
		if _, err := verify(t, v, is.Forge(oidc.Claims{"alg": alg}, nil)); !errors.Is(err, ErrToken) {
			t.Errorf("%s: %v", alg, err)
		}
	}
	if _, err := verify(t, v, is.Token(nil)); err != nil {
		t.Error(err)
	}
}

// AU-27: a token that is rightly signed and still not for now, or not for this.
func TestClaims(t *testing.T) {
	t.Parallel()
	is, v, c := issue(t)
	at := func(d time.Duration) int64 { return c.now().Add(d).Unix() }
	tests := []struct {
		name   string
		claims oidc.Claims
		ok     bool
	}{
		{"as it should be", nil, true},
		{"over", oidc.Claims{"exp": at(-time.Minute)}, false},
		{"over, within the difference of clocks", oidc.Claims{"iat": at(-time.Hour), "exp": at(-59 * time.Second)}, true},
		{"no end", oidc.Claims{"exp": nil}, false},
		{"end a text", oidc.Claims{"exp": "2099-01-01"}, false},
		{"end absurd", oidc.Claims{"exp": 1e300}, false},
		{"end in 30,000 years", oidc.Claims{"exp": 1e12}, false},
		{"end zero", oidc.Claims{"exp": 0}, false},
		{"end below zero", oidc.Claims{"exp": -1}, false},
		{"not yet", oidc.Claims{"nbf": at(61 * time.Second)}, false},
		{"not yet, within the difference of clocks", oidc.Claims{"nbf": at(60 * time.Second)}, true},
		{"nbf a text", oidc.Claims{"nbf": "now"}, false},
		{"issued in the future", oidc.Claims{"iat": at(61 * time.Second)}, false},
		{"issued long ago, still good by its own word", oidc.Claims{"iat": at(-25 * time.Hour), "exp": at(time.Hour)}, false},
		{"issued 23 hours ago", oidc.Claims{"iat": at(-23 * time.Hour), "exp": at(time.Hour)}, true},
		{"iat absurd", oidc.Claims{"iat": -5}, false},
		{"ended before it began", oidc.Claims{"iat": at(30 * time.Second), "exp": at(20 * time.Second)}, false},
		{"no iat, short", oidc.Claims{"iat": nil}, true},
		{"no iat, long", oidc.Claims{"iat": nil, "exp": at(48 * time.Hour)}, false},
		{"no audience", oidc.Claims{"aud": nil}, false},
		{"empty audience", oidc.Claims{"aud": []string{}}, false},
		{"audience of nothing", oidc.Claims{"aud": ""}, false},
		{"audience a number", oidc.Claims{"aud": []any{"postern", 1}, "azp": "x"}, false},
		{"audience endless", oidc.Claims{"aud": slices.Repeat([]string{"a"}, 65), "azp": "x"}, false},
		{"several audiences, issued to nobody", oidc.Claims{"aud": []string{"postern", "b"}}, false},
		{"several audiences, issued to one", oidc.Claims{"aud": []string{"postern", "b"}, "azp": "b"}, true},
		{"several audiences, as RFC 9068 names it", oidc.Claims{"aud": []string{"postern", "b"}, "client_id": "b"}, true},
		{"azp and client_id differ", oidc.Claims{"azp": "a", "client_id": "b"}, false},
		{"azp a list", oidc.Claims{"azp": []string{"a"}}, false},
		{"no subject", oidc.Claims{"sub": nil}, false},
		{"subject a number", oidc.Claims{"sub": 1}, false},
		{"an ID token, by its hash", oidc.Claims{"at_hash": "x"}, false},
		{"an ID token, by its word", oidc.Claims{"typ": "ID"}, false},
		{"an ID token, by its use", oidc.Claims{"token_use": "id"}, false},
		{"a refresh token", oidc.Claims{"typ": "Refresh"}, false},
		{"an access token, by its word", oidc.Claims{"typ": "Bearer", "token_use": "access"}, true},
		{"bound to a key", oidc.Claims{"cnf": map[string]string{"jkt": "x"}}, false},
	}
	for _, tt := range tests {
		_, err := verify(t, v, is.Token(tt.claims))
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrToken) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// TestExpiresAt: how long a session may stay that a token opened.
func TestExpiresAt(t *testing.T) {
	t.Parallel()
	is, v, c := issue(t)
	got, err := verify(t, v, is.Token(oidc.Claims{"exp": c.now().Add(240 * time.Hour).Unix(), "iat": c.now().Add(-time.Hour).Unix()}))
	if want := c.now().Add(23*time.Hour + time.Minute); err != nil || !got.ExpiresAt.Equal(want) {
		t.Errorf("ends at %v (%v), want %v", got.ExpiresAt, err, want)
	}
}

// TestRefusedWithoutIssuer: what can be refused without the issuer's keys does not
// reach the issuer.
func TestRefusedWithoutIssuer(t *testing.T) {
	t.Parallel()
	is, v, c := issue(t)
	for _, token := range []string{
		is.Token(oidc.Claims{"exp": c.now().Add(-time.Hour).Unix()}), is.Token(oidc.Claims{"iss": "https://evil.test"}),
		is.Forge(oidc.Claims{"alg": "none"}, nil), is.Forge(oidc.Claims{"jku": is.URL}, nil), is.Token(oidc.Claims{"aud": nil}),
	} {
		if _, err := verify(t, v, token); !errors.Is(err, ErrToken) {
			t.Error(err)
		}
	}
	if n := is.Requests(""); n != 0 {
		t.Errorf("the issuer was asked %d times", n)
	}
}

// FuzzVerify: no input panics, reaches an issuer that is not listed, or is
// believed without the issuer's signature.
func FuzzVerify(f *testing.F) {
	is, v, _ := issue(f)
	good := is.Token(nil)
	for _, s := range []string{good, good[:len(good)-1], "", "eyJ", "eyJ..", "{}", "a.b.c", "opaque", is.Forge(oidc.Claims{"alg": "none"}, nil), is.Forge(oidc.Claims{"kid": "x"}, nil)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		got, err := v.Verify(context.Background(), secret.Redacted(token), "")
		switch {
		case err == nil && token != good:
			t.Fatalf("believed %q: %+v", token, got)
		case err != nil && token == good:
			t.Fatal(err)
		case err != nil && !errors.Is(err, ErrToken):
			t.Fatalf("%q: %v", token, err)
		}
	})
}

// FuzzClaims: the claims of a signed token are the issuer's, and still no input
// makes the reading of them fail otherwise than by refusing.
func FuzzClaims(f *testing.F) {
	now := newClock().now()
	for _, s := range []string{`{}`, `{"iss":"x","sub":"a","aud":"b","exp":1793534400}`, `{"aud":[1]}`, `{"exp":1e999}`, `{"exp":-0.1}`, `{"a":1,"a":2}`, `[`, `null`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		claims, ok := object(b)
		if !ok {
			return
		}
		got, err := judge(claims, now)
		if err == nil && (got.Subject == "" || len(got.Audience) == 0 || !now.Before(got.ExpiresAt) || got.ExpiresAt.After(now.Add(maxLife+2*skew))) {
			t.Fatalf("%q gives %+v", b, got)
		}
	})
}
