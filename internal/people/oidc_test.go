package people

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/auth"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/totp"
)

// ssoWorld has an issuer. change edits its settings.
func ssoWorld(t *testing.T, build func(testing.TB, ...func(*Config)) *world, change func(*Issuer)) (*world, *idp) {
	t.Helper()
	at := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	clk := &clock{at: at}
	p := newIDP(t, clk.now)
	pool := x509.NewCertPool()
	pool.AddCert(p.Certificate())
	is := Issuer{
		Name: "Corp", URL: p.URL, ClientID: "postern", ClientSecret: "s3cret", Account: "acme", Roots: pool, Private: true, Provision: true,
		Roles: []RoleMap{{Group: "devs", Role: relay.RoleDeveloper}, {Group: "mail-admins", Role: relay.RoleAdmin}, {Group: "all", Role: relay.RoleAuditor}},
	}
	if change != nil {
		change(&is)
	}
	w := build(t, func(c *Config) { c.Issuers = []Issuer{is} })
	p.now = w.now
	return w, p
}

// sso logs in at the issuer.
func (w *world) sso(p *idp, start OIDCStart, claims map[string]any) (secret.Redacted, relay.Session, string, error) {
	w.t.Helper()
	start.Issuer = cmp.Or(start.Issuer, "Corp")
	to, cookie, err := w.BeginOIDC(w.t.Context(), home, start)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.FinishOIDC(w.t.Context(), home, cookie, p.authorize(to, claims))
}

// worlds are those of each kind of store.
var worlds = map[string]func(testing.TB, ...func(*Config)) *world{"memory": newWorld, "store": realWorld}

func TestSingleSignOn(t *testing.T) {
	t.Parallel()
	for name, build := range worlds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, p := ssoWorld(t, build, nil)
			ctx := t.Context()
			w.person("owner")
			if !slices.Equal(w.Issuers(relay.AccountID{}), []string{"Corp"}) {
				t.Errorf("issuers %v", w.Issuers(relay.AccountID{}))
			}
			token, session, next, err := w.sso(p, OIDCStart{Next: "/keys?x=1"}, nil)
			if err != nil || next != "/keys?x=1" || session.Level != relay.SessionEnrol || session.Method != "oidc Corp" {
				t.Fatalf("%+v %q %v", session, next, err)
			}
			w.recorded("first", auth.PersonOIDC, relay.LoginOK)
			u := w.open(token).User
			if u.Username != "ann" || u.Email != "ann@corp.test" || u.Role != relay.RoleAdmin || u.Account != acmeID || u.Password != "" || w.Invited(&u) != "sso Corp" {
				t.Errorf("person %+v", u)
			}
			// Our own second factor follows, where the issuer is not trusted for it.
			e, err := w.BeginTOTP(ctx, w.open(token))
			if err != nil {
				t.Fatal(err)
			}
			if token, _, err = w.EnableTOTP(ctx, home, token, codeOf(t, e, w.now())); err != nil || w.open(token).Session.Method != "oidc Corp+totp" {
				t.Fatal(err)
			}
			w.pass(totp.Period)
			half, session, _, err := w.sso(p, OIDCStart{}, map[string]any{"email": "renamed@corp.test", "preferred_username": "renamed", "email_verified": false})
			if err != nil || session.Level != relay.SessionPassword {
				t.Fatalf("%+v %v", session, err)
			}
			full, session, err := w.LoginTOTP(ctx, home, half, codeOf(t, e, w.now()))
			if err != nil || w.open(full).User.ID != u.ID || session.FreshUntil.IsZero() {
				t.Fatalf("the same subject is somebody else: %v", err)
			}
			// The role follows the groups at each login; who has none is not let in.
			if _, _, _, err := w.sso(p, OIDCStart{}, map[string]any{"groups": "devs"}); err != nil || w.user(u.ID).Role != relay.RoleDeveloper {
				t.Errorf("role %s, %v", w.user(u.ID).Role, err)
			}
			if _, _, _, err := w.sso(p, OIDCStart{}, map[string]any{"groups": []string{"cooks"}}); err != ErrSSO { //nolint:errorlint // bare
				t.Errorf("without a group: %v", err)
			}
			w.recorded("without a group", auth.PersonOIDC, relay.LoginDisabled)
			// There is no password to guess or to reset.
			if _, _, err := w.LoginPassword(ctx, home, "ann", ""); err != ErrLogin { //nolint:errorlint // bare
				t.Errorf("a password: %v", err)
			}
		})
	}
}

// AC-14: each of these is refused.
func TestSingleSignOnRefusals(t *testing.T) {
	t.Parallel()
	w, p := ssoWorld(t, newWorld, nil)
	ctx := t.Context()
	w.withApp("bob", func(u *relay.User) { u.Email = "bob@corp.test" })
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(name string, result relay.LoginResult, err error) {
		t.Helper()
		if err != ErrSSO { //nolint:errorlint // the very same, whatever was wrong
			t.Errorf("%s: %v", name, err)
		}
		w.recorded(name, auth.PersonOIDC, result)
		w.pass(30 * time.Minute) // keeps the address out of the throttle
	}
	for name, c := range map[string]struct {
		claims map[string]any
		result relay.LoginResult
	}{
		"no nonce":                 {map[string]any{"nonce": nil}, relay.LoginToken},
		"another nonce":            {map[string]any{"nonce": "x"}, relay.LoginToken},
		"another issuer":           {map[string]any{"iss": "https://evil.test"}, relay.LoginToken},
		"another audience":         {map[string]any{"aud": "else"}, relay.LoginToken},
		"several audiences":        {map[string]any{"aud": []string{"postern", "else"}}, relay.LoginToken},
		"another party":            {map[string]any{"aud": []string{"postern", "else"}, "azp": "else"}, relay.LoginToken},
		"over":                     {map[string]any{"exp": w.now().Add(-time.Hour).Unix()}, relay.LoginToken},
		"no subject":               {map[string]any{"sub": ""}, relay.LoginToken},
		"address not verified":     {map[string]any{"email_verified": false}, relay.LoginToken},
		"verified not said":        {map[string]any{"email_verified": nil}, relay.LoginToken},
		"no address":               {map[string]any{"email": nil}, relay.LoginToken},
		"no group":                 {map[string]any{"groups": []string{"cooks"}}, relay.LoginDisabled},
		"an address that is taken": {map[string]any{"email": "BOB@corp.test"}, relay.LoginUnknown},
		"a name of an address":     {map[string]any{"email": "bob@example.test", "preferred_username": "bob@corp.test", "email_verified": false}, relay.LoginToken},
	} {
		_, _, _, err := w.sso(p, OIDCStart{}, c.claims)
		refused(name, c.result, err)
	}
	p.signer = stranger
	_, _, _, err = w.sso(p, OIDCStart{}, nil)
	refused("another key", relay.LoginToken, err)
	p.signer = nil

	begin := func() (string, string) {
		to, cookie, err := w.BeginOIDC(ctx, home, OIDCStart{Issuer: "Corp"})
		if err != nil {
			t.Fatal(err)
		}
		return to, cookie
	}
	for name, c := range map[string]struct {
		edit   func(cookie *string, q url.Values)
		result relay.LoginResult
	}{
		"no state":        {func(_ *string, q url.Values) { q.Del("state") }, relay.LoginMalformed},
		"another state":   {func(_ *string, q url.Values) { q.Set("state", "x") }, relay.LoginMalformed},
		"two states":      {func(_ *string, q url.Values) { q.Add("state", "x") }, relay.LoginMalformed},
		"no cookie":       {func(c *string, _ url.Values) { *c = "" }, relay.LoginMalformed},
		"another browser": {func(c *string, _ url.Values) { _, *c = begin() }, relay.LoginMalformed},
		"a forged cookie": {func(c *string, _ url.Values) { *c = (*c)[:len(*c)-4] + "AAAA" }, relay.LoginMalformed},
		"no code":         {func(_ *string, q url.Values) { q.Del("code") }, relay.LoginMalformed},
		"another code":    {func(_ *string, q url.Values) { q.Set("code", "x") }, relay.LoginToken},
		"another's code": {func(_ *string, q url.Values) { // PKCE: it was not begun with our verifier
			to, _ := begin()
			q.Set("code", p.authorize(to, nil).Get("code"))
		}, relay.LoginToken},
		// RFC 9207: the answer says that it is another issuer's.
		"mixed up": {func(_ *string, q url.Values) { q.Set("iss", "https://evil.test") }, relay.LoginMalformed},
		"refused":  {func(_ *string, q url.Values) { q.Del("code"); q.Set("error", "access_denied") }, relay.LoginToken},
	} {
		to, cookie := begin()
		q := p.authorize(to, nil)
		c.edit(&cookie, q)
		_, _, _, err := w.FinishOIDC(ctx, home, cookie, q)
		refused(name, c.result, err)
	}
	to, cookie := begin()
	q := p.authorize(to, nil)
	w.pass(flowLife)
	_, _, _, err = w.FinishOIDC(ctx, home, cookie, q)
	refused("after ten minutes", relay.LoginMalformed, err)

	if len(w.mem.users) != 1 || len(w.mem.issued) != 0 || len(w.mem.sessions) != 0 {
		t.Errorf("%d people, %v", len(w.mem.users), w.mem.issued)
	}
	// And a good one works once.
	to, cookie = begin()
	q = p.authorize(to, nil)
	q.Set("iss", p.URL)
	if _, _, _, err := w.FinishOIDC(ctx, home, cookie, q); err != nil {
		t.Errorf("all right: %v", err)
	}
	_, _, _, err = w.FinishOIDC(ctx, home, cookie, q)
	refused("twice", relay.LoginMalformed, err)
}

// RFC 9207 §2.4: where the issuer says that its answers name it, they must.
func TestIssuerParameterIsDemanded(t *testing.T) {
	t.Parallel()
	w, p := ssoWorld(t, newWorld, nil)
	p.more = map[string]any{"authorization_response_iss_parameter_supported": true}
	to, cookie, err := w.BeginOIDC(t.Context(), home, OIDCStart{Issuer: "Corp"})
	if err != nil {
		t.Fatal(err)
	}
	q := p.authorize(to, nil)
	if _, _, _, err := w.FinishOIDC(t.Context(), home, cookie, q); !errors.Is(err, ErrSSO) {
		t.Errorf("without iss: %v", err)
	}
	q.Set("iss", p.URL)
	if _, _, _, err := w.FinishOIDC(t.Context(), home, cookie, q); err != nil {
		t.Errorf("with it: %v", err)
	}
}

// AC-14: two issuers with one address are two people, or one of them nobody.
func TestTwoIssuersWithOneAddress(t *testing.T) {
	t.Parallel()
	clk := &clock{at: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)}
	first, other := newIDP(t, clk.now), newIDP(t, clk.now)
	pool := x509.NewCertPool()
	pool.AddCert(first.Certificate())
	is := Issuer{Name: "Corp", URL: first.URL, ClientID: "postern", ClientSecret: "s3cret", Account: "acme", Roots: pool, Private: true, Provision: true, DefaultRole: relay.RoleAuditor}
	two := is
	two.Name, two.URL = "Other", other.URL
	w := newWorld(t, func(c *Config) { c.Issuers = []Issuer{is, two} })
	if _, _, _, err := w.sso(first, OIDCStart{}, nil); err != nil {
		t.Fatal(err)
	}
	to, cookie, err := w.BeginOIDC(t.Context(), home, OIDCStart{Issuer: "Other"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := w.FinishOIDC(t.Context(), home, cookie, other.authorize(to, nil)); !errors.Is(err, ErrSSO) {
		t.Errorf("the same subject and address from another issuer: %v", err)
	}
	w.recorded("another issuer", auth.PersonOIDC, relay.LoginUnknown)
	// The code of one issuer with the cookie of a login at the other.
	to, _, err = w.BeginOIDC(t.Context(), home, OIDCStart{Issuer: "Corp"})
	if err != nil {
		t.Fatal(err)
	}
	q := first.authorize(to, nil)
	if _, _, _, err := w.FinishOIDC(t.Context(), home, cookie, q); !errors.Is(err, ErrSSO) {
		t.Errorf("mixed up: %v", err)
	}
}

func TestIssuersOwnSecondFactor(t *testing.T) {
	t.Parallel()
	w, p := ssoWorld(t, newWorld, func(is *Issuer) { is.SecondFactor = true; is.ACR = []string{"gold"}; is.AMR = []string{"mfa"} })
	for name, c := range map[string]struct {
		claims map[string]any
		level  relay.SessionLevel
		fresh  bool
	}{
		"said by amr":    {map[string]any{"amr": []string{"pwd", "mfa"}}, relay.SessionFull, true},
		"said by acr":    {map[string]any{"acr": "gold"}, relay.SessionFull, true},
		"not said":       {nil, relay.SessionEnrol, true},
		"one factor":     {map[string]any{"amr": []string{"pwd"}, "acr": "silver"}, relay.SessionEnrol, true},
		"long ago":       {map[string]any{"acr": "gold", "auth_time": w.now().Add(-time.Hour).Unix()}, relay.SessionFull, false},
		"no auth_time":   {map[string]any{"acr": "gold", "auth_time": nil}, relay.SessionFull, false},
		"an empty claim": {map[string]any{"acr": "", "amr": ""}, relay.SessionEnrol, true},
	} {
		token, session, _, err := w.sso(p, OIDCStart{}, c.claims)
		if err != nil || session.Level != c.level {
			t.Errorf("%s: %+v %v", name, session, err)
			continue
		}
		visit := w.open(token)
		if visit.Session.Level != c.level {
			t.Errorf("%s: opens as %s", name, visit.Session.Level)
		}
		if visit.Full() && (w.fresh(visit) == nil) != c.fresh {
			t.Errorf("%s: fresh until %v", name, visit.Session.FreshUntil)
		}
	}
	// Step-up: the issuer has to ask again.
	token, _, _, err := w.sso(p, OIDCStart{}, map[string]any{"acr": "gold", "auth_time": nil})
	if err != nil {
		t.Fatal(err)
	}
	visit := w.open(token)
	if err := w.fresh(visit); !errors.Is(err, ErrReauth) {
		t.Fatal(err)
	}
	to, cookie, err := w.BeginOIDC(t.Context(), home, OIDCStart{Issuer: "Corp", Visit: visit, Fresh: true, Next: "/profile"})
	if err != nil || !strings.Contains(to, "prompt=login") || !strings.Contains(to, "max_age=0") {
		t.Fatalf("%s %v", to, err)
	}
	again, _, next, err := w.FinishOIDC(t.Context(), home, cookie, p.authorize(to, map[string]any{"acr": "gold"}))
	if err != nil || next != "/profile" || w.fresh(w.open(again)) != nil {
		t.Errorf("step-up: %v", err)
	}
	w.dead("the session before step-up", token)
	// Somebody else at the same browser is not let in by it.
	to, cookie, err = w.BeginOIDC(t.Context(), home, OIDCStart{Issuer: "Corp", Visit: w.open(again), Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := w.FinishOIDC(t.Context(), home, cookie, p.authorize(to, map[string]any{"sub": "sub-2", "acr": "gold"})); !errors.Is(err, ErrSSO) {
		t.Errorf("another person for step-up: %v", err)
	}
}

// Without provisioning, only who was invited, or has linked the issuer, comes in.
func TestInvitedBySingleSignOn(t *testing.T) {
	t.Parallel()
	for name, build := range worlds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, p := ssoWorld(t, build, func(is *Issuer) { is.Provision = false })
			ctx := t.Context()
			w.person("owner")
			if _, _, _, err := w.sso(p, OIDCStart{}, nil); !errors.Is(err, ErrSSO) {
				t.Errorf("nobody: %v", err)
			}
			w.recorded("nobody", auth.PersonOIDC, relay.LoginUnknown)
			_, invite, err := w.Invite(ctx, operator, relay.Link{Account: acmeID, Email: "ann@example.test", Role: relay.RoleDeveloper})
			if err != nil {
				t.Fatal(err)
			}
			token, session, _, err := w.sso(p, OIDCStart{Invite: invite}, nil)
			if err != nil || session.Level != relay.SessionEnrol {
				t.Fatalf("%+v %v", session, err)
			}
			// AC-13: address and role are the invitation's.
			u := w.open(token).User
			if u.Email != "ann@example.test" || u.Role != relay.RoleDeveloper || u.Password != "" {
				t.Errorf("person %+v", u)
			}
			if _, _, err := w.BeginOIDC(ctx, home, OIDCStart{Issuer: "Corp", Invite: invite}); !isLinkError(err) {
				t.Errorf("a used invitation: %v", err)
			}
			if _, _, _, err := w.sso(p, OIDCStart{}, nil); err != nil || w.user(u.ID).Role != relay.RoleDeveloper {
				t.Errorf("again: %v", err)
			}
			// Somebody who is there already links their own.
			w.withApp("carl")
			carls, visit := w.in("carl")
			if _, _, _, err := w.sso(p, OIDCStart{Visit: visit}, nil); !errors.Is(err, ErrSSO) {
				t.Errorf("another person's identity: %v", err)
			}
			if _, _, _, err := w.sso(p, OIDCStart{Visit: visit}, map[string]any{"sub": "sub-9"}); err != nil {
				t.Fatal(err)
			}
			half, session, _, err := w.sso(p, OIDCStart{}, map[string]any{"sub": "sub-9"})
			if err != nil || session.Level != relay.SessionPassword || w.open(half).User.Username != "carl" {
				t.Errorf("%+v %v", session, err)
			}
			_ = carls
			_, foreign, err := w.Invite(ctx, operator, relay.Link{Account: globexID, Email: "eve@example.test", Role: relay.RoleOwner})
			if err != nil {
				t.Fatal(err)
			}
			if _, _, _, err := w.sso(p, OIDCStart{Invite: foreign}, map[string]any{"sub": "sub-3"}); !errors.Is(err, ErrSSO) {
				t.Errorf("an invitation of another account than the issuer's: %v", err)
			}
		})
	}
}

// A crash between a person and their identity must not shut them out for good.
func TestOrphanOfACrash(t *testing.T) {
	t.Parallel()
	w, p := ssoWorld(t, newWorld, nil)
	w.mem.fail["AddIssuance"], w.mem.fail["DeleteUser"] = errors.New("crash"), errors.New("crash")
	if _, _, _, err := w.sso(p, OIDCStart{}, nil); err == nil {
		t.Fatal("let in")
	}
	clear(w.mem.fail)
	if _, _, _, err := w.sso(p, OIDCStart{}, nil); err != nil || len(w.mem.users) != 1 {
		t.Errorf("%d people, %v", len(w.mem.users), err)
	}
	// But not for another subject with that address.
	if _, _, _, err := w.sso(p, OIDCStart{}, map[string]any{"sub": "sub-2"}); !errors.Is(err, ErrSSO) {
		t.Errorf("another subject: %v", err)
	}
}

func TestIssuerIsDown(t *testing.T) {
	t.Parallel()
	w, p := ssoWorld(t, newWorld, nil)
	p.down = true
	for range 3 {
		if _, _, err := w.BeginOIDC(t.Context(), home, OIDCStart{Issuer: "Corp"}); relay.KindOf(err) != relay.Unavailable || strings.Contains(err.(*relay.Error).Public, "127.0.0.1") {
			t.Errorf("got %v", err)
		}
	}
	p.down = false
	w.pass(discoveryGap)
	if _, _, err := w.BeginOIDC(t.Context(), home, OIDCStart{Issuer: "Corp"}); err != nil {
		t.Errorf("up again: %v", err)
	}
	p.down = true
	w.pass(2 * discoveryAge)
	if _, _, err := w.BeginOIDC(t.Context(), home, OIDCStart{Issuer: "Corp"}); err != nil {
		t.Errorf("what is known for an hour or two is forgotten: %v", err)
	}
	if _, _, err := w.BeginOIDC(t.Context(), home, OIDCStart{Issuer: "None"}); relay.KindOf(err) != relay.NotFound {
		t.Errorf("no such issuer: %v", err)
	}
}
