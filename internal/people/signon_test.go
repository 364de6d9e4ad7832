package people

import (
	"errors"
	"slices"
	"testing"

	"postern/internal/relay"
)

// eachSSO runs a scenario on the store in memory and on the real one.
func eachSSO(t *testing.T, change func(*Issuer), scenario func(t *testing.T, w *world, p *idp)) {
	for name, build := range worlds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, p := ssoWorld(t, build, change)
			scenario(t, w, p)
		})
	}
}

// gone is an identity at an issuer that is not configured any more.
func (w *world) gone(u *relay.User, issuer string) {
	w.t.Helper()
	if err := w.st.AddIssuance(w.t.Context(), operator, relay.Issuance{Issuer: issuer, Subject: u.Username, User: u.ID, CreatedAt: w.now()}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) signOns(u *relay.User) []SignOn {
	w.t.Helper()
	all, err := w.SignOns(w.t.Context(), u)
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// A person sees what is linked to them and takes it away again, with both factors
// just shown; the other sessions end, and a letter tells it.
func TestSignOnIsUnlinked(t *testing.T) {
	t.Parallel()
	eachSSO(t, func(is *Issuer) { is.Provision = false }, func(t *testing.T, w *world, p *idp) {
		ctx := t.Context()
		u := w.withApp("ann")
		if got := w.signOns(&u); len(got) != 1 || got[0].ID != "" || got[0].Issuer != "Corp" || !got[0].Live {
			t.Errorf("before: %+v", got)
		}
		other, _ := w.in("ann")
		w.pass(60e9)
		_, visit := w.in("ann")
		if _, _, _, err := w.sso(p, OIDCStart{Visit: visit}, nil); err != nil {
			t.Fatal(err)
		}
		at := w.now()
		got := w.signOns(&u)
		if len(got) != 1 || got[0].ID == "" || got[0].Issuer != "Corp" || !got[0].Live || got[0].Governs || !got[0].CreatedAt.Equal(at) {
			t.Fatalf("linked: %+v", got)
		}
		if err := w.RemoveSignOn(ctx, visit, "another"); relay.KindOf(err) != relay.NotFound {
			t.Errorf("an id that is none: %v", err)
		}
		w.pass(60e9)
		token, _ := w.in("ann")
		w.pass(w.cfg.Fresh)
		if err := w.RemoveSignOn(ctx, w.open(token), got[0].ID); !errors.Is(err, ErrReauth) {
			t.Errorf("without both factors: %v", err)
		}
		w.pass(60e9)
		token, visit = w.in("ann")
		if err := w.RemoveSignOn(ctx, visit, got[0].ID); err != nil {
			t.Fatal(err)
		}
		w.open(token)
		w.dead("another session", other)
		if got := w.signOns(&u); len(got) != 1 || got[0].ID != "" {
			t.Errorf("after: %+v", got)
		}
		if _, _, _, err := w.sso(p, OIDCStart{}, nil); !errors.Is(err, ErrSSO) {
			t.Errorf("let in by what is unlinked: %v", err)
		}
		if n := w.told(u.Email, "Single sign-on by Corp was removed"); n != 1 {
			t.Errorf("%d letters", n)
		}
		if err := w.RemoveSignOn(ctx, visit, got[0].ID); relay.KindOf(err) != relay.NotFound {
			t.Errorf("twice: %v", err)
		}
	})
}

// Whom an issuer has brought cannot leave it: their groups there say what they may do.
func TestSignOnThatGovernsStays(t *testing.T) {
	t.Parallel()
	eachSSO(t, func(is *Issuer) { is.SecondFactor = true }, func(t *testing.T, w *world, p *idp) {
		w.person("owner")
		token, _, _, err := w.sso(p, OIDCStart{}, map[string]any{"amr": []string{"mfa"}})
		if err != nil {
			t.Fatal(err)
		}
		visit := w.open(token)
		if err := w.ChangePassword(t.Context(), visit, "", "a long way to the harbour"); err != nil && !errors.Is(err, ErrReauth) {
			t.Fatal(err)
		}
		got := w.signOns(&visit.User)
		if len(got) != 1 || !got[0].Governs {
			t.Fatalf("%+v", got)
		}
		visit.Session.FreshUntil = w.now().Add(60e9)
		if err := w.RemoveSignOn(t.Context(), visit, got[0].ID); relay.KindOf(err) != relay.Conflict {
			t.Errorf("left its issuer: %v", err)
		}
		if left := w.signOns(&visit.User); !slices.Equal(left, got) {
			t.Errorf("left %+v", left)
		}
	})
}

// An identity is a way in only where its issuer lets people of the account in: with
// others alone the last passkey stays. The last identity that lets somebody in stays
// too.
func TestOnlyLiveSignOnIsAWayIn(t *testing.T) {
	t.Parallel()
	for what, v := range map[string]struct {
		account    string
		corp, live bool
	}{
		"an issuer that is no more": {"acme", false, false}, "one of another account": {"globex", true, false}, "the account's own": {"acme", true, true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			eachSSO(t, func(is *Issuer) { is.Account, is.Provision = v.account, false }, func(t *testing.T, w *world, p *idp) {
				ctx := t.Context()
				u := w.withApp("ann")
				token, _ := w.in("ann")
				key, token, _ := w.withPasskey(token, "phone")
				issuer := "https://gone.test"
				if v.corp {
					issuer = p.URL
				}
				w.gone(&u, issuer)
				visit := w.open(token)
				if err := w.st.SetPassword(ctx, operator, u.ID, "", w.now(), visit.Session.ID); err != nil {
					t.Fatal(err)
				}
				u = w.user(u.ID)
				err := w.RemovePasskey(ctx, visit, key.cred.ID)
				if v.live != (err == nil) || err != nil && relay.KindOf(err) != relay.Conflict {
					t.Errorf("the last passkey: %v", err)
				}
				for _, s := range w.signOns(&u) {
					if s.ID == "" {
						continue
					}
					if s.Live != v.live {
						t.Errorf("%+v", s)
					}
					// With the passkey gone it is the last way in; without, it is none.
					if err := w.RemoveSignOn(ctx, visit, s.ID); v.live != (relay.KindOf(err) == relay.Conflict) {
						t.Errorf("the last identity: %v", err)
					}
				}
			})
		})
	}
}
