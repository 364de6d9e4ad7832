package people

import (
	"errors"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
)

// AC-07: what changes how somebody logs in takes both factors, shown just now.
func TestStepUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	u := w.withApp("ann")
	token, visit := w.in("ann")
	w.pass(5 * time.Minute)
	for name, do := range map[string]func(*Visit) error{
		"new app":         func(v *Visit) error { _, err := w.BeginTOTP(ctx, v); return err },
		"no app":          func(v *Visit) error { return w.DisableTOTP(ctx, v) },
		"new passkey":     func(v *Visit) error { _, _, err := w.BeginPasskey(ctx, v); return err },
		"no passkey":      func(v *Visit) error { return w.RemovePasskey(ctx, v, []byte("x")) },
		"codes":           func(v *Visit) error { _, err := w.NewRecoveryCodes(ctx, v); return err },
		"password":        func(v *Visit) error { return w.ChangePassword(ctx, v, goodPassword, otherPassword) },
		"address":         func(v *Visit) error { return w.AskEmail(ctx, v, "new@example.test") },
		"single sign-on":  func(v *Visit) error { return w.mayLink(v) },
		"an app's enable": func(*Visit) error { _, _, err := w.EnableTOTP(ctx, home, token, "1"); return err },
		"a passkey's add": func(*Visit) error { _, _, err := w.AddPasskey(ctx, home, token, "", "", nil); return err },
	} {
		if err := do(visit); !errors.Is(err, ErrReauth) {
			t.Errorf("%s with an old session: %v", name, err)
		}
	}
	for name, c := range map[string][2]string{
		"wrong password": {string(otherPassword), w.code()}, "wrong code": {string(goodPassword), w.wrongCode()}, "no code": {string(goodPassword), ""},
	} {
		if _, _, err := w.Reauth(ctx, home, token, secret.Redacted(c[0]), c[1]); !errors.Is(err, ErrCode) {
			t.Errorf("%s: %v", name, err)
		}
	}
	next, session, err := w.Reauth(ctx, home, token, goodPassword, w.code())
	if err != nil || !session.FreshUntil.Equal(w.now().Add(5*time.Minute)) || !session.ExpiresAt.Equal(visit.Session.ExpiresAt) {
		t.Fatalf("%+v %v", session, err)
	}
	w.dead("the session before", token)
	fresh := w.open(next)
	if err := w.fresh(fresh); err != nil || len(w.mem.changes) == 0 {
		t.Errorf("not fresh: %v", err)
	}
	if err := w.DisableTOTP(ctx, fresh); relay.KindOf(err) != relay.Conflict {
		t.Errorf("the last factor goes: %v", err)
	}
	w.dir.account.Policy.SecondFactorOptional = true
	if err := w.DisableTOTP(ctx, fresh); err != nil {
		t.Fatal(err)
	}
	if got := w.user(u.ID); got.SecondFactor() || got.RecoveryCodes != 0 || w.told(u.Email, "authenticator app was removed") != 1 {
		t.Errorf("person %+v", got)
	}
}

// A thief of a session's cookie gets five guesses at the rest.
func TestReauthIsNotGuessedAt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.dir.account.Policy.SecondFactorOptional = true
	w.person("ann")
	token, _, err := w.LoginPassword(ctx, home, "ann", goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 5; i++ {
		want := ErrCode
		if i == 5 {
			want = ErrSession
		}
		if _, _, err := w.Reauth(ctx, from(1), token, otherPassword, ""); !errors.Is(err, want) {
			t.Errorf("guess %d: %v", i, err)
		}
	}
	w.dead("five guesses", token)
}

// People's logins obey IP access management, and so does each request.
func TestAccessLists(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.withApp("shopper", func(u *relay.User) { u.Subuser = shopID })
	token, visit := w.in("shopper")
	half, _, err := w.LoginPassword(ctx, home, "shopper", goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := &relay.AccessList{Rules: []relay.AccessRule{{Network: mustPrefix("203.0.113.0/24")}}}
	for i, whose := range []string{"account", "subuser"} {
		w.dir.access = [2]*relay.AccessList{}
		w.dir.access[i] = elsewhere
		if _, err := w.Principal(ctx, visit); relay.KindOf(err) != relay.Unauthenticated {
			t.Errorf("the list of the %s: %v", whose, err)
		}
		if _, _, err := w.LoginPassword(ctx, home, "shopper", goodPassword); err != ErrLogin { //nolint:errorlint // bare
			t.Errorf("the list of the %s: %v", whose, err)
		}
		w.recorded(whose, "PASSWORD", relay.LoginAccess)
		if _, _, err := w.LoginTOTP(ctx, home, half, w.code()); !errors.Is(err, ErrCode) {
			t.Errorf("the list of the %s after the password: %v", whose, err)
		}
		w.recorded(whose, "TOTP", relay.LoginAccess)
	}
	w.dir.access[0], w.dir.access[1] = nil, &relay.AccessList{Rules: elsewhere.Rules, Monitor: true}
	if _, err := w.Principal(ctx, w.open(token)); err != nil {
		t.Errorf("a list that watches: %v", err)
	}
	if _, _, err := w.LoginPassword(ctx, home, "shopper", goodPassword); err != nil || !strings.Contains(w.rec.last().Detail, "would refuse") {
		t.Errorf("a list that watches: %v, %q", err, w.rec.last().Detail)
	}
}
