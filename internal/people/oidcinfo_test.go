package people

import (
	"net/url"
	"strings"
	"testing"

	"postern/internal/relay"
)

// What an issuer leaves out of its token is asked for where it says it.
func TestClaimsOutsideTheToken(t *testing.T) {
	t.Parallel()
	type claims = map[string]any
	for name, c := range map[string]struct {
		token, info claims // of the token: more, or (nil) less
		role        relay.Role
		asked       int
		fails       string
	}{
		"groups":                   {token: claims{"groups": nil}, info: claims{"sub": "sub-1", "groups": []string{"devs"}}, role: relay.RoleDeveloper, asked: 1},
		"groups, one as a text":    {token: claims{"groups": nil}, info: claims{"sub": "sub-1", "groups": "all"}, role: relay.RoleAuditor, asked: 1},
		"address":                  {token: claims{"email": nil, "email_verified": nil}, info: claims{"sub": "sub-1", "email": "ann@corp.test", "email_verified": true}, role: relay.RoleAdmin, asked: 1},
		"all is in the token":      {info: claims{"sub": "sub-1", "groups": []string{"devs"}}, role: relay.RoleAdmin},
		"the token's groups count": {token: claims{"email": nil}, info: claims{"sub": "sub-1", "groups": []string{"devs"}, "email": "ann@corp.test", "email_verified": true}, role: relay.RoleAdmin, asked: 1},
		"an empty list is a list":  {token: claims{"groups": []string{}}, info: claims{"sub": "sub-1", "groups": []string{"devs"}}, fails: "has a role"},
		"no such endpoint":         {token: claims{"groups": nil}, fails: "has a role"},
		"none there either":        {token: claims{"groups": nil}, info: claims{"sub": "sub-1"}, asked: 1, fails: "has a role"},
		"somebody else":            {token: claims{"groups": nil}, info: claims{"sub": "sub-2", "groups": []string{"mail-admins"}}, asked: 1, fails: "somebody else"},
		"it is down":               {token: claims{"groups": nil}, info: claims{"groups": []string{"mail-admins"}}, asked: 1, fails: "leaves out"},
		"verified elsewhere": {token: claims{"email": nil}, info: claims{"sub": "sub-1", "email": "ann@corp.test"}, asked: 1,
			fails: "verified"}, // the token's word is of no address
		"another address": {token: claims{"email_verified": false, "groups": nil}, asked: 1,
			info: claims{"sub": "sub-1", "email": "eve@corp.test", "email_verified": true, "groups": []string{"mail-admins"}}, fails: "verified"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, p := ssoWorld(t, newWorld, nil)
			p.info = c.info
			token, _, _, err := w.sso(p, OIDCStart{}, c.token)
			if p.asked != c.asked {
				t.Errorf("asked %d times, want %d", p.asked, c.asked)
			}
			if c.fails != "" {
				if err != ErrSSO || !strings.Contains(w.rec.last().Detail, c.fails) { //nolint:errorlint // bare
					t.Errorf("%v, recorded %q", err, w.rec.last().Detail)
				}
				return
			}
			if err != nil {
				t.Fatal(err, w.rec.last().Detail)
			}
			if u := w.open(token).User; u.Role != c.role || u.Email != "ann@corp.test" || u.Username != "ann" {
				t.Errorf("person %+v", u)
			}
		})
	}
}

// How and when somebody was asked is for the token to say.
func TestFactorsOutsideTheToken(t *testing.T) {
	t.Parallel()
	for _, claim := range []string{"groups", "amr", "acr", "auth_time"} {
		w, p := ssoWorld(t, newWorld, func(is *Issuer) {
			is.SecondFactor, is.GroupsClaim, is.DefaultRole = true, claim, relay.RoleAuditor
		})
		p.info = map[string]any{"sub": "sub-1", "amr": []string{"mfa"}, "acr": "mfa", "auth_time": w.now().Unix(), "groups": "devs"}
		token, session, _, err := w.sso(p, OIDCStart{}, map[string]any{"auth_time": nil, "groups": nil})
		if err != nil || p.asked != 1 {
			t.Fatal(err, p.asked)
		}
		if session.Level != relay.SessionEnrol || w.fresh(w.open(token)) == nil {
			t.Errorf("groups in %q: %+v", claim, session)
		}
	}
}

func TestScopesOfAnIssuer(t *testing.T) {
	t.Parallel()
	for want, more := range map[string][]string{"openid profile email": nil, "openid profile email groups urn:x:roles": {"groups", "urn:x:roles"}} {
		w, _ := ssoWorld(t, newWorld, func(is *Issuer) { is.Scopes = more })
		to, _, err := w.BeginOIDC(t.Context(), home, OIDCStart{Issuer: "Corp"})
		if err != nil {
			t.Fatal(err)
		}
		if u, err := url.Parse(to); err != nil || u.Query().Get("scope") != want {
			t.Errorf("sent to %s: %v", to, err)
		}
	}
}

// An endpoint that is not where people may be asked about makes the issuer one that is away.
func TestUserInfoElsewhere(t *testing.T) {
	t.Parallel()
	w, p := ssoWorld(t, newWorld, nil)
	p.more = map[string]any{"userinfo_endpoint": "ftp://login.corp.test/userinfo"}
	if _, _, err := w.BeginOIDC(t.Context(), home, OIDCStart{Issuer: "Corp"}); relay.KindOf(err) != relay.Unavailable {
		t.Errorf("begun: %v", err)
	}
}
