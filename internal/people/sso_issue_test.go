package people

import (
	"errors"
	"testing"

	"postern/internal/auth"
	"postern/internal/relay"
)

// AC-05, AC-14: what an issuer says of a second factor counts only where the
// operator trusts it for that, whatever stands in its tokens.
func TestIssuersSecondFactorWithoutTrust(t *testing.T) {
	t.Parallel()
	w, p := ssoWorld(t, newWorld, func(is *Issuer) { is.ACR = []string{"gold"}; is.AMR = []string{"mfa"} })
	for name, claims := range map[string]map[string]any{
		"amr": {"amr": []string{"pwd", "mfa"}}, "acr": {"acr": "gold"}, "both": {"amr": []string{"mfa", "otp", "hwk"}, "acr": "gold"},
	} {
		token, session, _, err := w.sso(p, OIDCStart{}, claims)
		if err != nil || session.Level != relay.SessionEnrol {
			t.Errorf("%s: %+v %v", name, session, err)
			continue
		}
		if _, err := w.Principal(t.Context(), w.open(token)); err == nil {
			t.Errorf("%s: it has scopes", name)
		}
	}
}

// AC-14: an identity of an issuer lets nobody into another account than the
// issuer's, even where it is bound to somebody there: an issuer that was given to
// another account must not carry its people over.
func TestIssuerOfAnotherAccount(t *testing.T) {
	t.Parallel()
	w, p := ssoWorld(t, newWorld, nil)
	u := w.person("gus", func(u *relay.User) { u.Account = globexID })
	if err := w.st.AddIssuance(t.Context(), operator, relay.Issuance{Issuer: p.URL, Subject: "sub-1", User: u.ID, CreatedAt: w.now()}); err != nil {
		t.Fatal(err)
	}
	if _, session, _, err := w.sso(p, OIDCStart{}, nil); !errors.Is(err, ErrSSO) {
		t.Errorf("%+v %v", session, err)
	}
	w.recorded("of globex", auth.PersonOIDC, relay.LoginUnknown)
}

// Single sign-on obeys IP access like every other login, and stands in the record.
func TestSingleSignOnObeysAccessLists(t *testing.T) {
	t.Parallel()
	w, p := ssoWorld(t, newWorld, nil)
	if _, _, _, err := w.sso(p, OIDCStart{}, nil); err != nil { // makes Ann
		t.Fatal(err)
	}
	elsewhere := []relay.AccessRule{{Network: mustPrefix("203.0.113.0/24")}}
	w.dir.access[0] = &relay.AccessList{Rules: elsewhere}
	if token, session, _, err := w.sso(p, OIDCStart{}, nil); !errors.Is(err, ErrSSO) || token != "" {
		t.Errorf("from outside the list: %+v %v", session, err)
	}
	w.recorded("outside", auth.PersonOIDC, relay.LoginAccess)
	w.dir.access[0] = &relay.AccessList{Rules: elsewhere, Monitor: true}
	if _, _, _, err := w.sso(p, OIDCStart{}, nil); err != nil {
		t.Errorf("a list that watches: %v", err)
	}
}

// A session that ended while its person was at the issuer binds nothing to them: a
// thief of a session would else keep a way in after it was revoked.
func TestLinkOfASessionThatEnded(t *testing.T) {
	t.Parallel()
	w, p := ssoWorld(t, newWorld, func(is *Issuer) { is.Provision = false })
	ctx := t.Context()
	w.withApp("ann")
	token, visit := w.in("ann")
	to, cookie, err := w.BeginOIDC(ctx, home, OIDCStart{Issuer: "Corp", Visit: visit})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Logout(ctx, token); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := w.FinishOIDC(ctx, home, cookie, p.authorize(to, nil)); !errors.Is(err, ErrSSO) {
		t.Errorf("linked after the session ended: %v", err)
	}
	if all, err := w.st.Issuances(ctx, visit.User.ID); len(all) != 0 || err != nil {
		t.Errorf("bound: %+v, %v", all, err)
	}
}
