package people

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"postern/internal/auth"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/totp"
)

// forged is a token with a header of the attacker's, and what mac makes of it.
func forged(t testing.TB, header string, claims map[string]any, mac func(text string) []byte) string {
	t.Helper()
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(body)
	return text + "." + base64.RawURLEncoding.EncodeToString(mac(text))
}

// AC-14: tokens whose signature is none, or is made with what everybody knows.
func TestForgedTokens(t *testing.T) {
	t.Parallel()
	w, p := ssoWorld(t, newWorld, nil)
	der, err := x509.MarshalPKIXPublicKey(p.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	shared := func(secret []byte) func(string) []byte {
		return func(text string) []byte {
			m := hmac.New(sha256.New, secret)
			m.Write([]byte(text))
			return m.Sum(nil)
		}
	}
	none := func(string) []byte { return nil }
	for name, forge := range map[string]func(claims map[string]any) string{
		"alg none":            func(c map[string]any) string { return forged(t, `{"alg":"none"}`, c, none) },
		"alg None":            func(c map[string]any) string { return forged(t, `{"alg":"None","kid":"1"}`, c, none) },
		"no alg":              func(c map[string]any) string { return forged(t, `{"kid":"1"}`, c, none) },
		"ES256, no signature": func(c map[string]any) string { return forged(t, `{"alg":"ES256","kid":"1"}`, c, none) },
		"the client's secret": func(c map[string]any) string {
			return forged(t, `{"alg":"HS256","kid":"1"}`, c, shared([]byte("s3cret")))
		},
		"the public key, DER": func(c map[string]any) string { return forged(t, `{"alg":"HS256","kid":"1"}`, c, shared(der)) },
		"the public key, PEM": func(c map[string]any) string {
			return forged(t, `{"alg":"HS256","kid":"1"}`, c, shared(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
		},
		"a key of its own (jku)": func(c map[string]any) string {
			return forged(t, `{"alg":"ES256","kid":"9","jku":"`+p.URL+`/evil"}`, c, none)
		},
		"another text": func(c map[string]any) string { return strings.Replace(p.sign(c), ".", ".x", 1) },
		"not a token":  func(map[string]any) string { return "x" },
		"none at all":  func(map[string]any) string { return "" },
		"endless":      func(c map[string]any) string { return p.sign(c) + strings.Repeat("A", maxDocument) },
	} {
		p.forge = forge
		if _, _, _, err := w.sso(p, OIDCStart{}, nil); err != ErrSSO { //nolint:errorlint // the very same
			t.Errorf("%s: %v", name, err)
		}
		w.recorded(name, auth.PersonOIDC, relay.LoginToken)
		w.pass(30 * time.Minute)
	}
	if len(w.mem.users) != 0 {
		t.Errorf("%d people were made", len(w.mem.users))
	}
}

// AC-14: who a token is for, and when.
func TestTokensForOthers(t *testing.T) {
	t.Parallel()
	w, p := ssoWorld(t, newWorld, nil)
	far := func(d time.Duration) int64 { return w.now().Add(d).Unix() }
	for name, claims := range map[string]map[string]any{
		"asked for by another":   {"azp": "else"},
		"asked for by a number":  {"azp": 7},
		"for several, unnamed":   {"aud": []string{"postern", "else"}},
		"for nobody":             {"aud": []string{}},
		"not yet":                {"nbf": far(100 * time.Hour)},
		"over":                   {"exp": far(-time.Second)},
		"without an end":         {"exp": nil},
		"an issuer that is near": {"iss": p.URL + "/"},
		"no issuer":              {"iss": nil},
		"a subject that is none": {"sub": nil},
		"an endless subject":     {"sub": strings.Repeat("x", 256)},
	} {
		if _, _, _, err := w.sso(p, OIDCStart{}, claims); err != ErrSSO { //nolint:errorlint // the very same
			t.Errorf("%s: %v", name, err)
		}
		w.recorded(name, auth.PersonOIDC, relay.LoginToken)
		w.pass(30 * time.Minute)
	}
	if _, _, _, err := w.sso(p, OIDCStart{}, map[string]any{"aud": []string{"else", "postern"}, "azp": "postern"}); err != nil {
		t.Errorf("for several, asked for by us: %v", err)
	}
}

// Groups that are no list of texts are no groups; of endless ones the first count;
// and a name that is not quite a group's is none.
func TestOddGroups(t *testing.T) {
	t.Parallel()
	w, p := ssoWorld(t, newWorld, nil)
	many := make([]string, 5000)
	for i := range many {
		many[i] = "team"
	}
	many[4999] = "mail-admins"
	for name, groups := range map[string]any{
		"a number": 7, "an object": map[string]any{"mail-admins": true}, "lists": [][]string{{"mail-admins"}}, "objects": []any{map[string]string{"name": "mail-admins"}},
		"null": []any{nil}, "true": true, "nothing": nil, "other case": "Mail-Admins", "with a space": "mail-admins ", "several in one": "mail-admins,all",
		"the 5000th": many,
	} {
		if _, _, _, err := w.sso(p, OIDCStart{}, map[string]any{"groups": groups}); err != ErrSSO { //nolint:errorlint // the very same
			t.Errorf("%s: %v", name, err)
		}
		w.recorded(name, auth.PersonOIDC, relay.LoginDisabled)
		w.pass(30 * time.Minute)
	}
	many[500] = "devs"
	if token, _, _, err := w.sso(p, OIDCStart{}, map[string]any{"groups": many}); err != nil || w.open(token).User.Role != relay.RoleDeveloper {
		t.Errorf("the 500th: %v", err)
	}
}

// A role that the groups give no longer falls at the next login, and the sessions
// that had it end.
func TestRoleFallsWithGroups(t *testing.T) {
	t.Parallel()
	for name, build := range map[string]func(testing.TB, ...func(*Config)) *world{"memory": newWorld, "store": realWorld} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, p := ssoWorld(t, build, nil)
			w.person("owner")
			before, _, _, err := w.sso(p, OIDCStart{}, nil)
			if err != nil || w.open(before).User.Role != relay.RoleAdmin {
				t.Fatal(err)
			}
			after, _, _, err := w.sso(p, OIDCStart{}, map[string]any{"groups": "all"})
			if err != nil || w.open(after).User.Role != relay.RoleAuditor {
				t.Fatal(err)
			}
			w.dead("with the role of before", before)
		})
	}
}

// The issuer changes its keys, as all do: tokens of the new one are good at once.
func TestKeysOfAnIssuerChange(t *testing.T) {
	t.Parallel()
	w, p := ssoWorld(t, newWorld, nil)
	for i := range 3 {
		if _, _, _, err := w.sso(p, OIDCStart{}, nil); err != nil {
			t.Errorf("after %d changes: %v", i, err)
		}
		p.rotate()
	}
}

// An issuer's configuration that leads elsewhere is not followed; nor is one that
// says it is another issuer's.
func TestDiscoveryLeadsNowhere(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(p *idp, other *idp){
		"redirect":               func(p, other *idp) { p.leads = other.URL + "/.well-known/openid-configuration" },
		"redirect to the inside": func(p, _ *idp) { p.leads = "http://169.254.169.254/latest/meta-data" },
		"another issuer":         func(p, other *idp) { p.more = map[string]any{"issuer": other.URL} },
		"a token endpoint of a file": func(p, _ *idp) {
			p.more = map[string]any{"token_endpoint": "file:///etc/passwd"}
		},
		"no token endpoint": func(p, _ *idp) { p.more = map[string]any{"token_endpoint": ""} },
		"not JSON":          func(p, _ *idp) { p.more = map[string]any{"jwks_uri": 7} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, p := ssoWorld(t, newWorld, nil)
			edit(p, newIDP(t, w.now))
			if to, _, err := w.BeginOIDC(t.Context(), home, OIDCStart{Issuer: "Corp"}); relay.KindOf(err) != relay.Unavailable {
				t.Errorf("sent to %q, %v", to, err)
			}
			// People with a password log in as ever.
			w.person("ann")
			if _, _, err := w.LoginPassword(t.Context(), home, "ann", goodPassword); err != nil {
				t.Errorf("with a password: %v", err)
			}
		})
	}
	// Of an issuer that is not said to be inside, nothing inside is dialled, whichever
	// document names it.
	client := issuerClient(Issuer{})
	for _, to := range []string{"https://127.0.0.1:1/keys", "https://[::1]:1/", "https://169.254.169.254/", "https://10.0.0.1/", "https://[::ffff:10.0.0.1]/", "http://example.com/"} {
		resp, err := client.Get(to)
		if err == nil {
			_ = resp.Body.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "is not") {
			t.Errorf("%s: %v", to, err)
		}
	}
	if tr, ok := client.Transport.(*bounded).next.(*http.Transport); !ok || tr.Proxy != nil {
		t.Error("a proxy of the environment is asked")
	}
}

// When the issuer is down after somebody was sent there, they are told to come
// again, and it is on record; others log in with a password.
func TestIssuerGoesDown(t *testing.T) {
	t.Parallel()
	w, p := ssoWorld(t, newWorld, nil)
	to, cookie, err := w.BeginOIDC(t.Context(), home, OIDCStart{Issuer: "Corp"})
	if err != nil {
		t.Fatal(err)
	}
	q := p.authorize(to, nil)
	p.Close()
	if _, _, _, err := w.FinishOIDC(t.Context(), home, cookie, q); relay.KindOf(err) != relay.Unavailable || errors.Is(err, ErrSSO) {
		t.Errorf("no answer: %v", err)
	}
	w.recorded("no answer", auth.PersonOIDC, relay.LoginUnavailable)
	if strings.Contains(w.rec.last().Detail, "s3cret") {
		t.Errorf("the record has a secret: %q", w.rec.last().Detail)
	}
	w.person("ann")
	if _, _, err := w.LoginPassword(t.Context(), home, "ann", goodPassword); err != nil {
		t.Errorf("with a password: %v", err)
	}
}

// A time of login that is yet to come is not a recent one: the session is not fresh.
func TestAuthTimeToCome(t *testing.T) {
	t.Parallel()
	w, p := ssoWorld(t, newWorld, func(is *Issuer) { is.SecondFactor = true })
	for at, fresh := range map[time.Duration]bool{0: true, time.Hour: false, 100 * 365 * 24 * time.Hour: false, -time.Hour: false} {
		token, session, _, err := w.sso(p, OIDCStart{}, map[string]any{"auth_time": w.now().Add(at).Unix(), "amr": []string{"mfa"}})
		if err != nil || session.Level != relay.SessionFull || (w.fresh(w.open(token)) == nil) != fresh {
			t.Errorf("%v from now: %+v, %v", at, session, err)
		}
	}
	for _, odd := range []any{"now", true, -1, 1e300} {
		if token, _, _, err := w.sso(p, OIDCStart{}, map[string]any{"auth_time": odd, "amr": []string{"mfa"}}); err != nil || w.fresh(w.open(token)) == nil {
			t.Errorf("auth_time %v: %v", odd, err)
		}
	}
}

// Whom the issuer was to ask anew, and it does not say that it did, is told so: another
// session that is not fresh only led back to the same question. The one that there is
// goes on.
func TestConfirmedByAnIssuerThatDoesNotSayWhen(t *testing.T) {
	t.Parallel()
	w, p := ssoWorld(t, newWorld, func(is *Issuer) { is.SecondFactor = true })
	mfa := func(at any) map[string]any { return map[string]any{"amr": []string{"mfa"}, "auth_time": at} }
	for what, at := range map[string]any{"never": nil, "long ago": w.now().Add(-time.Hour).Unix(), "to come": w.now().Add(time.Hour).Unix()} {
		token, _, _, err := w.sso(p, OIDCStart{}, mfa(nil))
		if err != nil {
			t.Fatal(err)
		}
		_, _, _, err = w.sso(p, OIDCStart{Visit: w.open(token), Fresh: true}, mfa(at))
		if relay.KindOf(err) != relay.Conflict || !strings.Contains(err.Error(), "Corp does not say that it has just asked who you are") {
			t.Errorf("%s: %v", what, err)
		}
		w.recorded(what, auth.PersonOIDC, relay.LoginUnavailable)
		if visit := w.open(token); !errors.Is(w.fresh(visit), ErrReauth) {
			t.Errorf("%s: the session counts as fresh", what)
		}
	}
}

// A session is as good as what was shown for it, not as its issuer could have been: from
// before a second factor was set up, or demanded, it has shown one only where the token
// said so.
func TestTrustedIssuerThatSaidNothing(t *testing.T) {
	t.Parallel()
	for name, build := range worlds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, p := ssoWorld(t, build, func(is *Issuer) { is.SecondFactor = true })
			w.dir.account.Policy.SecondFactorOptional = true
			in := func(amr ...string) secret.Redacted {
				token, session, _, err := w.sso(p, OIDCStart{}, map[string]any{"amr": amr})
				if err != nil || session.Level != relay.SessionFull {
					t.Fatalf("%+v %v", session, err)
				}
				return token
			}
			one, both := in("pwd"), in("pwd", "mfa")
			level := func(when string, token secret.Redacted, want relay.SessionLevel) {
				t.Helper()
				if got := w.open(token).Session.Level; got != want {
					t.Errorf("%s: level %s, want %s", when, got, want)
				}
			}
			level("optional, one", one, relay.SessionFull)
			w.dir.account.Policy.SecondFactorOptional = false
			level("demanded, one", one, relay.SessionEnrol)
			level("demanded, both", both, relay.SessionFull)
			w.dir.account.Policy.SecondFactorOptional = true
			e, err := w.BeginTOTP(t.Context(), w.open(both))
			if err != nil {
				t.Fatal(err)
			}
			if both, _, err = w.EnableTOTP(t.Context(), home, both, codeOf(t, e, w.now())); err != nil {
				t.Fatal(err)
			}
			level("set up, one", one, relay.SessionPassword)
			level("set up, both", both, relay.SessionFull)
			w.pass(totp.Period)
			again, session, err := w.LoginTOTP(t.Context(), home, one, codeOf(t, e, w.now()))
			if err != nil || session.Method != "oidc Corp+totp" {
				t.Fatalf("%+v %v", session, err)
			}
			level("shown", again, relay.SessionFull)
		})
	}
}
