package people

import (
	"errors"
	"strings"
	"testing"

	"postern/internal/auth"
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
		if len(got) != 2 || !got[1].Again || got[1].ID != "" || got[0].ID == "" || got[0].Issuer != "Corp" || !got[0].Live || got[0].Governs || got[0].Stays != "" || !got[0].CreatedAt.Equal(at) {
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

// Whom an issuer has brought cannot leave it, and logs in by nothing else: their groups
// there say what they may do, and whether they may come in. A second identity there may
// take the place of the first.
func TestSignOnThatGovernsStays(t *testing.T) {
	t.Parallel()
	eachSSO(t, func(is *Issuer) { is.SecondFactor = true }, func(t *testing.T, w *world, p *idp) {
		ctx := t.Context()
		w.person("owner")
		token, _, _, err := w.sso(p, OIDCStart{}, map[string]any{"amr": []string{"mfa"}})
		if err != nil {
			t.Fatal(err)
		}
		phone, token, _ := w.withPasskey(token, "phone")
		visit := w.open(token)
		u := &visit.User
		got := w.signOns(u)
		if len(got) != 2 || !got[0].Governs || got[0].Stays == "" || !got[0].Provisions || !got[1].Again {
			t.Fatalf("%+v", got)
		}
		refused := func(what string, err error) {
			t.Helper()
			if e, ok := errors.AsType[*relay.Error](err); !ok || e.Kind != relay.Conflict || !strings.Contains(e.Public, "comes from") {
				t.Errorf("%s: %v", what, err)
			}
		}
		refused("left its issuer", w.RemoveSignOn(ctx, visit, got[0].ID))
		refused("a password", w.ChangePassword(ctx, visit, "", goodPassword))
		hash, err := w.hash.Hash(ctx, goodPassword)
		if err == nil {
			err = w.st.SetPassword(ctx, operator, u.ID, hash, w.now(), visit.Session.ID)
		}
		if err != nil {
			t.Fatal(err)
		}
		w.pass(60e9)
		if _, _, err := w.LoginPassword(ctx, home, u.Username, goodPassword); !errors.Is(err, ErrLogin) {
			t.Errorf("logged in by a password: %v", err)
		}
		w.recorded("by a password", auth.PersonPassword, relay.LoginDisabled)
		options, handle, err := w.BeginPasskeyLogin(ctx, home, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.LoginPasskey(ctx, home, "", handle, phone.get(t, options)); !errors.Is(err, ErrPasskey) {
			t.Errorf("logged in by a passkey alone: %v", err)
		}
		w.recorded("by a passkey alone", auth.PersonPasskey, relay.LoginDisabled)

		w.gone(u, p.URL) // another subject there
		got = w.signOns(u)
		if len(got) != 3 || !got[0].Governs || got[0].Stays != "" || got[1].Stays != "" {
			t.Errorf("one of two may go: %+v", got)
		}
		if err := w.RemoveSignOn(ctx, visit, got[0].ID); err != nil {
			t.Fatal(err)
		}
		refused("the other one of two", w.RemoveSignOn(ctx, visit, got[1].ID))
	})
}

// Nor does who was brought by an issuer that is not configured at the moment: it may
// come back.
func TestSignOnOfAnAbsentGovernorStays(t *testing.T) {
	t.Parallel()
	eachSSO(t, nil, func(t *testing.T, w *world, p *idp) {
		for mark, other := range map[string]bool{"sso https://former.test": true, "sso Former": false} { // of before: whose it was is not known
			u := w.withApp("ann"+mark[4:9], func(u *relay.User) { u.InvitedBy = mark })
			w.gone(&u, "https://former.test")
			w.gone(&u, p.URL)
			for _, s := range w.signOns(&u) {
				stays := s.Issuer == "https://former.test" || !other
				if s.Live || s.Governs || (s.Stays != "") != stays {
					t.Errorf("%s: %+v", mark, s)
				}
				if err := w.RemoveSignOnOf(t.Context(), operator, &u, s.ID); stays != (relay.KindOf(err) == relay.Conflict) {
					t.Errorf("%s: unlinked from %s: %v", mark, s.Issuer, err)
				}
			}
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
					err := w.RemoveSignOn(ctx, visit, s.ID)
					if v.live != (relay.KindOf(err) == relay.Conflict) || !v.live && err != nil {
						t.Errorf("the last identity: %v", err)
					}
				}
			})
		})
	}
}

// Somebody who looks after a person takes a linked identity away from them: what it let
// in ends at once, everywhere, and the person is told.
func TestSignOnOfAnotherIsUnlinked(t *testing.T) {
	t.Parallel()
	eachSSO(t, func(is *Issuer) { is.Provision = false }, func(t *testing.T, w *world, p *idp) {
		ctx := t.Context()
		u := w.withApp("ann")
		_, visit := w.in("ann")
		if _, _, _, err := w.sso(p, OIDCStart{Visit: visit}, nil); err != nil {
			t.Fatal(err)
		}
		thief, _, _, err := w.sso(p, OIDCStart{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		w.pass(60e9)
		own, _ := w.in("ann")
		id := w.signOns(&u)[0].ID
		if err := w.RemoveSignOnOf(ctx, operator, &u, "another"); relay.KindOf(err) != relay.NotFound {
			t.Errorf("an id that is none: %v", err)
		}
		other := u
		other.Role = relay.RoleCustom
		if err := w.RemoveSignOnOf(ctx, operator, &other, id); relay.KindOf(err) != relay.Conflict {
			t.Errorf("judged by a grant that they do not have: %v", err)
		}
		if err := w.RemoveSignOnOf(ctx, operator, &u, id); err != nil {
			t.Fatal(err)
		}
		w.dead("whom the identity let in", thief)
		w.dead("the person's own", own)
		if got := w.signOns(&u); len(got) != 1 || got[0].ID != "" || got[0].Again {
			t.Errorf("after: %+v", got)
		}
		if _, _, _, err := w.sso(p, OIDCStart{}, nil); !errors.Is(err, ErrSSO) {
			t.Errorf("let in by what is unlinked: %v", err)
		}
		if n := w.told(u.Email, "Single sign-on by Corp was removed"); n != 1 {
			t.Errorf("%d letters", n)
		}
		if err := w.RemoveSignOnOf(ctx, operator, &u, id); relay.KindOf(err) != relay.NotFound {
			t.Errorf("twice: %v", err)
		}
	})
}

// What keeps a person's own single sign-on keeps it from others too: the issuer that
// brought them, and the last way in. One that lets nobody in is none: without it a link
// to a password can be mailed.
func TestSignOnOfAnotherThatStays(t *testing.T) {
	t.Parallel()
	eachSSO(t, func(is *Issuer) { is.SecondFactor = true }, func(t *testing.T, w *world, p *idp) {
		ctx := t.Context()
		w.person("owner")
		token, _, _, err := w.sso(p, OIDCStart{}, map[string]any{"amr": []string{"mfa"}})
		if err != nil {
			t.Fatal(err)
		}
		brought := w.open(token).User
		if err := w.RemoveSignOnOf(ctx, operator, &brought, w.signOns(&brought)[0].ID); relay.KindOf(err) != relay.Conflict || !strings.Contains(err.Error(), "comes from Corp") {
			t.Errorf("from the issuer that brought them: %v", err)
		}
		if err := w.SendReset(ctx, operator, brought.Email); relay.KindOf(err) != relay.Conflict || !strings.Contains(err.Error(), "would not let them in") {
			t.Errorf("a link to whom an issuer brought: %v", err)
		}
		lost := w.person("lost", func(u *relay.User) { u.Password, u.InvitedBy = "", "sso Former" })
		w.gone(&lost, "https://former.test")
		if err := w.SendReset(ctx, operator, lost.Email); relay.KindOf(err) != relay.Conflict || !strings.Contains(err.Error(), "not configured here") {
			t.Errorf("a link to whom an absent issuer brought: %v", err)
		}
		if err := w.RemoveSignOnOf(ctx, operator, &lost, w.signOns(&lost)[0].ID); relay.KindOf(err) != relay.Conflict {
			t.Errorf("from an absent issuer that brought them: %v", err)
		}
		only := w.person("only", func(u *relay.User) { u.Password = "" })
		w.gone(&only, p.URL)
		if err := w.RemoveSignOnOf(ctx, operator, &only, w.signOns(&only)[0].ID); relay.KindOf(err) != relay.Conflict || !strings.Contains(err.Error(), "no way to log in") {
			t.Errorf("the last way in: %v", err)
		}
		left := w.person("left", func(u *relay.User) { u.Password = "" })
		w.gone(&left, "https://gone.test")
		if err := w.SendReset(ctx, operator, left.Email); relay.KindOf(err) != relay.Conflict || !strings.Contains(err.Error(), "Unlink that first") {
			t.Errorf("a link beside an identity: %v", err)
		}
		if err := w.RemoveSignOnOf(ctx, operator, &left, w.signOns(&left)[0].ID); err != nil {
			t.Errorf("one that lets nobody in: %v", err)
		}
		if err := w.SendReset(ctx, operator, left.Email); err != nil {
			t.Errorf("a link without it: %v", err)
		}
	})
}
