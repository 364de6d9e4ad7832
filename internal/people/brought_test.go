package people

import (
	"context"
	"crypto/x509"
	"errors"
	"regexp"
	"testing"
	"time"

	"postern/internal/auth"
	"postern/internal/relay"
)

// shutOut: neither a password nor a passkey alone nor single sign-on lets somebody in.
func (w *world) shutOut(what string, u *relay.User, phone *device) {
	w.t.Helper()
	ctx := w.t.Context()
	if _, _, err := w.LoginPassword(ctx, home, u.Username, goodPassword); !errors.Is(err, ErrLogin) {
		w.t.Errorf("%s: logged in by a password: %v", what, err)
	}
	w.recorded(what, auth.PersonPassword, relay.LoginDisabled)
	options, handle, err := w.BeginPasskeyLogin(ctx, home, "")
	if err != nil {
		w.t.Fatal(err)
	}
	if _, _, err := w.LoginPasskey(ctx, home, "", handle, phone.get(w.t, options)); !errors.Is(err, ErrPasskey) {
		w.t.Errorf("%s: logged in by a passkey alone: %v", what, err)
	}
	w.recorded(what, auth.PersonPasskey, relay.LoginDisabled)
}

// Whom an issuer brought is let in by it alone, whatever its button says, and by nothing
// while it is not configured: changing a word of the configuration opens no door.
func TestBroughtByURLNotByName(t *testing.T) {
	t.Parallel()
	eachSSO(t, func(is *Issuer) { is.SecondFactor = true }, func(t *testing.T, w *world, p *idp) {
		ctx := t.Context()
		w.person("owner")
		mfa := map[string]any{"amr": []string{"mfa"}}
		token, _, _, err := w.sso(p, OIDCStart{}, mfa)
		if err != nil {
			t.Fatal(err)
		}
		phone, token, _ := w.withPasskey(token, "phone")
		visit := w.open(token)
		u := visit.User
		hash, err := w.hash.Hash(ctx, goodPassword)
		if err == nil {
			err = w.st.SetPassword(ctx, operator, u.ID, hash, w.now(), visit.Session.ID)
		}
		if err != nil {
			t.Fatal(err)
		}
		none := map[string]any{"amr": []string{"mfa"}, "groups": []string{}}
		is := w.issuers[0]
		is.Name = "Corp Ltd"
		w.shutOut("under another name", &u, phone)
		if got := w.signOns(&u); len(got) != 2 || !got[0].Governs || !got[0].Live || got[0].Issuer != "Corp Ltd" || w.Invited(&u) != "sso Corp Ltd" {
			t.Errorf("under another name: %+v, invited by %q", got, w.Invited(&u))
		}
		if _, _, _, err := w.sso(p, OIDCStart{Issuer: "Corp Ltd"}, none); !errors.Is(err, ErrSSO) {
			t.Errorf("let in without a group: %v", err)
		}
		w.recorded("without a group", auth.PersonOIDC, relay.LoginDisabled)
		if _, _, _, err := w.sso(p, OIDCStart{Issuer: "Corp Ltd"}, mfa); err != nil {
			t.Errorf("with a group: %v", err)
		}
		for what, others := range map[string][]*issuer{"taken out": nil, "of another account": {{Issuer: Issuer{Name: "Corp Ltd", URL: p.URL, Account: "globex"}}}} {
			w.issuers = others
			w.shutOut(what, &u, phone)
			if got := w.signOns(&u); len(got) != 1 || got[0].Live || got[0].Governs || got[0].Stays == "" {
				t.Errorf("%s: %+v", what, got)
			}
		}
	})
}

// A mark of before has the issuer's name.
func TestBroughtByNameOfBefore(t *testing.T) {
	t.Parallel()
	eachSSO(t, nil, func(t *testing.T, w *world, p *idp) {
		w.person("owner")
		u := w.person("ann", func(u *relay.User) { u.InvitedBy, u.Password = "sso Corp", "" })
		if err := w.st.AddIssuance(t.Context(), operator, relay.Issuance{Issuer: p.URL, Subject: "sub-ann", User: u.ID, CreatedAt: w.now()}); err != nil {
			t.Fatal(err)
		}
		if got := w.signOns(&u); len(got) != 2 || !got[0].Governs || got[0].Stays == "" {
			t.Errorf("%+v", got)
		}
		if _, _, _, err := w.sso(p, OIDCStart{}, map[string]any{"sub": "sub-ann", "groups": []string{}}); !errors.Is(err, ErrSSO) {
			t.Errorf("let in without a group: %v", err)
		}
		// From the first start on it has the URL, and the name may change.
		other := w.person("bob", func(u *relay.User) { u.InvitedBy = "sso Former" })
		elsewhere := w.person("eve", func(u *relay.User) { u.Account, u.InvitedBy = globexID, "sso Corp" })
		w.markBrought(t.Context())
		w.issuers[0].Name = "Corp Ltd"
		for who, want := range map[relay.UserID]string{u.ID: "sso " + p.URL, other.ID: "sso Former", elsewhere.ID: "sso Corp"} {
			if got := w.user(who).InvitedBy; got != want {
				t.Errorf("marked %q, want %q", got, want)
			}
		}
		u = w.user(u.ID)
		if got := w.signOns(&u); len(got) != 2 || !got[0].Governs {
			t.Errorf("under another name: %+v", got)
		}
	})
}

// Of two issuers of an account the other one lets nobody in whom the first brought:
// neither linked by them, nor linked before.
func TestBroughtByOneOfTwo(t *testing.T) {
	t.Parallel()
	for name, build := range worlds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			clk := &clock{at: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)}
			corp, lab := newIDP(t, clk.now), newIDP(t, clk.now)
			pool := x509.NewCertPool()
			pool.AddCert(corp.Certificate())
			pool.AddCert(lab.Certificate())
			at := func(name string, p *idp) Issuer {
				return Issuer{
					Name: name, URL: p.URL, ClientID: "postern", ClientSecret: "s3cret", Account: "acme", Roots: pool, Private: true, Provision: true, SecondFactor: true,
					Roles: []RoleMap{{Group: "devs", Role: relay.RoleDeveloper}, {Group: "mail-admins", Role: relay.RoleAdmin}},
				}
			}
			w := build(t, func(c *Config) { c.Issuers = []Issuer{at("Corp", corp), at("Lab", lab)} })
			corp.now, lab.now = w.now, w.now
			w.person("owner")
			mfa := map[string]any{"amr": []string{"mfa"}}
			token, _, _, err := w.sso(corp, OIDCStart{}, mfa)
			if err != nil {
				t.Fatal(err)
			}
			visit := w.open(token)
			u := visit.User
			if got := w.signOns(&u); len(got) != 2 || got[0].Issuer != "Corp" || got[1].Issuer != "Corp" {
				t.Errorf("offered: %+v", got)
			}
			if _, _, _, err := w.sso(lab, OIDCStart{Issuer: "Lab", Visit: visit}, mfa); !errors.Is(err, ErrSSO) {
				t.Errorf("linked: %v", err)
			}
			w.recorded("linked", auth.PersonOIDC, relay.LoginDisabled)
			if got := w.signOns(&u); len(got) != 2 {
				t.Errorf("linked: %+v", got)
			}
			if err := w.st.AddIssuance(ctx, operator, relay.Issuance{Issuer: lab.URL, Subject: "nora", User: u.ID, CreatedAt: w.now()}); err != nil {
				t.Fatal(err)
			}
			if _, _, _, err := w.sso(lab, OIDCStart{Issuer: "Lab"}, map[string]any{"sub": "nora", "amr": []string{"mfa"}}); !errors.Is(err, ErrSSO) {
				t.Errorf("let in by the other one: %v", err)
			}
			w.recorded("by the other one", auth.PersonOIDC, relay.LoginDisabled)
			for _, s := range w.signOns(&u) {
				if s.ID == "" {
					continue
				}
				own := s.Issuer == "Corp"
				if s.Live != own || s.Governs != own || (s.Stays != "") != own {
					t.Errorf("%+v", s)
				}
			}
		})
	}
}

// A passkey that does not check who uses it lets nobody in alone: it is no way in
// beside which the last identity could go.
func TestKeyWithoutItsUserIsNoWayIn(t *testing.T) {
	t.Parallel()
	eachSSO(t, func(is *Issuer) { is.Provision = false }, func(t *testing.T, w *world, p *idp) {
		ctx := t.Context()
		for _, verified := range []bool{false, true} {
			u := w.withApp(map[bool]string{false: "key", true: "phone"}[verified])
			token, visit := w.in(u.Username)
			d := newDevice(&visit.User)
			d.auth.Options.UserNotVerified = !verified
			options, handle, err := w.BeginPasskey(ctx, visit)
			if err != nil {
				t.Fatal(err)
			}
			if token, _, err = w.AddPasskey(ctx, home, token, handle, "key", d.create(t, options)); err != nil {
				t.Fatal(err)
			}
			w.gone(&u, p.URL)
			w.gone(&u, "https://gone.test")
			visit = w.open(token)
			if err := w.st.SetPassword(ctx, operator, u.ID, "", w.now(), visit.Session.ID); err != nil {
				t.Fatal(err)
			}
			u = w.user(u.ID)
			for _, s := range w.signOns(&u) {
				if s.ID == "" {
					continue
				}
				goes := verified || !s.Live
				if (s.Stays == "") != goes {
					t.Errorf("verified %t: %+v", verified, s)
				}
				if !s.Live {
					continue // beside it no link to a password is mailed
				}
				if err := w.RemoveSignOn(ctx, visit, s.ID); goes != (err == nil) || err != nil && relay.KindOf(err) != relay.Conflict {
					t.Errorf("verified %t: %v", verified, err)
				}
			}
		}
	})
}

// What names an identity on a command line is no option.
func TestSignOnIDIsAWord(t *testing.T) {
	t.Parallel()
	word := regexp.MustCompile(`^[0-9a-f]{32}$`)
	for i := range 300 {
		if id := signOnID(&relay.Issuance{Issuer: "https://issuer.test", Subject: string(rune('a' + i))}); !word.MatchString(id) {
			t.Fatalf("%q", id)
		}
	}
}

// unlinks is a store in which an identity goes, or its person does, at the worst moment.
type unlinks struct {
	Store
	touch, create error
}

func (s *unlinks) TouchIssuance(context.Context, string, string, time.Time) error { return s.touch }

func (s *unlinks) CreateSession(context.Context, relay.Session, [32]byte) error { return s.create }

// Whoever is shut out between coming back and coming in stands in the record.
func TestUnlinkedOnTheWayBack(t *testing.T) {
	t.Parallel()
	w, p := ssoWorld(t, newWorld, nil)
	w.person("owner")
	if _, _, _, err := w.sso(p, OIDCStart{}, nil); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*unlinks{
		{touch: relay.E(relay.NotFound, "There is no such identity.")},
		{create: relay.E(relay.Conflict, "Single sign-on was unlinked meanwhile.")},
	} {
		s.Store = w.st
		w.cfg.Store = s
		if _, _, _, err := w.sso(p, OIDCStart{}, nil); !errors.Is(err, ErrSSO) {
			t.Errorf("%v", err)
		}
		w.recorded("on the way back", auth.PersonOIDC, relay.LoginUnknown)
	}
}
