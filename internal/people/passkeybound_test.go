package people

import (
	"errors"
	"testing"

	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/totp"
)

// A challenge is good for what it was asked for, in the session that it was asked in.
func TestPasskeyChallengesAreBound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	u := w.withApp("ann")
	w.withApp("bob")
	token, _ := w.in("ann")
	d, token, _ := w.withPasskey(token, "laptop")
	second, _ := w.in("ann")
	bobs, _ := w.in("bob")

	// To be added: begun in another session, of the same person or another one, or for
	// a login.
	options, handle, err := w.BeginPasskey(ctx, w.open(second))
	if err != nil {
		t.Fatal(err)
	}
	fresh := newDevice(&u)
	made := fresh.create(t, options)
	asked, login, err := w.BeginPasskeyLogin(ctx, home, "")
	if err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"another session's":    third(w.AddPasskey(ctx, home, token, handle, "x", made)),
		"another person's":     third(w.AddPasskey(ctx, home, bobs, handle, "x", made)),
		"of a login":           third(w.AddPasskey(ctx, home, second, login, "x", made)),
		"an answer to a login": third(w.AddPasskey(ctx, home, second, handle, "x", d.get(t, asked))),
	} {
		if !errors.Is(err, ErrPasskey) {
			t.Errorf("added by a challenge %s: %v", what, err)
		}
	}
	if _, _, err := w.AddPasskey(ctx, home, second, handle, "x", made); err != nil {
		t.Errorf("its own: %v", err)
	}

	// To be shown again: with the user verified, in this session.
	w.pass(w.cfg.Fresh)
	visit := w.open(token)
	reauth := func() ([]byte, string) {
		options, handle, err := w.BeginReauthPasskey(ctx, visit)
		if err != nil {
			t.Fatal(err)
		}
		return options, handle
	}
	options, handle = reauth()
	e := *d
	e.auth.Options.UserNotVerified = true
	if _, _, err := w.ReauthPasskey(ctx, home, token, handle, e.get(t, options)); !errors.Is(err, ErrPasskey) {
		t.Errorf("step-up without a user who is verified: %v", err)
	}
	d.cred.Counter = e.cred.Counter
	if _, _, err := w.ReauthPasskey(ctx, home, bobs, handle, d.get(t, options)); !errors.Is(err, ErrPasskey) {
		t.Errorf("step-up of another's session: %v", err)
	}
	asked, login, err = w.BeginPasskeyLogin(ctx, home, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.ReauthPasskey(ctx, home, token, login, d.get(t, asked)); !errors.Is(err, ErrPasskey) {
		t.Errorf("step-up by a challenge of a login: %v", err)
	}
	if w.fresh(w.open(token)) != ErrReauth { //nolint:errorlint // bare
		t.Error("a session became fresh")
	}
	options, handle = reauth()
	answer := d.get(t, options)
	next, _, err := w.ReauthPasskey(ctx, home, token, handle, answer)
	if err != nil || w.fresh(w.open(next)) != nil {
		t.Errorf("all right: %v", err)
	}
	if _, _, err := w.ReauthPasskey(ctx, home, next, handle, answer); !errors.Is(err, ErrPasskey) {
		t.Errorf("the same once more: %v", err)
	}
}

// A first passkey is not added over a factor that was set up meanwhile: the session
// that asks has shown a password only.
func TestFirstPasskeyIsTooLate(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		u := w.person("ann")
		thief, _, err := w.LoginPassword(ctx, from(1), "ann", goodPassword)
		if err != nil {
			t.Fatal(err)
		}
		visit := w.open(thief)
		d := newDevice(&u)
		options, _, err := w.BeginPasskey(ctx, visit)
		if err != nil {
			t.Fatal(err)
		}
		made := d.create(t, options)
		// The person is first, after the thief's session was looked at.
		if err := w.st.SetTOTP(ctx, operator, u.ID, []byte("sealed"), 1, w.now(), relay.SessionID{}); err != nil {
			t.Fatal(err)
		}
		if err := w.cfg.Store.AddPasskey(ctx, operator, relay.Passkey{ID: made[:16], User: u.ID}, firstOnly(visit)...); relay.KindOf(err) != relay.Conflict {
			t.Errorf("a second factor by a password alone: %v", err)
		}
		if got := w.user(u.ID); got.Passkeys != 0 {
			t.Errorf("%d passkeys", got.Passkeys)
		}
	})
}

// AC-11: whoever has the device that was stolen is out when its passkey is removed,
// and so is who had the app.
func TestLostFactorsEndSessions(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.withApp("ann")
		token, _ := w.in("ann")
		d, token, _ := w.withPasskey(token, "stolen")
		thiefs := func() secret.Redacted {
			options, handle, err := w.BeginPasskeyLogin(ctx, home, "")
			if err != nil {
				t.Fatal(err)
			}
			thief, _, err := w.LoginPasskey(ctx, home, "", handle, d.get(t, options))
			if err != nil {
				t.Fatal(err)
			}
			return thief
		}
		thief := thiefs()
		if err := w.RemovePasskey(ctx, w.open(token), d.cred.ID); err != nil {
			t.Fatal(err)
		}
		w.dead("of the device that was stolen", thief)
		d, token, _ = w.withPasskey(token, "new")
		thief = thiefs()
		if err := w.DisableTOTP(ctx, w.open(token)); err != nil {
			t.Fatal(err)
		}
		w.dead("after the app was removed", thief)
		w.open(token)
	})
}

// AC-11: an app that takes the place of another one ends who came by that; and what
// ends them is one call of the store: a crash leaves neither half (AC-05).
func TestReplacedAppsEndSessions(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.withApp("ann")
		thief, _ := w.in("ann") // with the phone that was stolen
		token, visit := w.in("ann")
		if w.mem != nil { // as if the process died before a second call
			w.mem.fail["EndSessions"] = errNone
		}
		e, err := w.BeginTOTP(ctx, visit)
		if err != nil {
			t.Fatal(err)
		}
		token, _, err = w.EnableTOTP(ctx, home, token, codeOf(t, e, w.now()))
		if err != nil {
			t.Fatal(err)
		}
		w.dead("of the app before", thief)
		w.pass(totp.Period)
		if w.mem != nil {
			w.mem.fail["SetRecoveryCodes"] = errNone
		}
		d, token, _ := w.withPasskey(token, "key")
		options, handle, err := w.BeginPasskeyLogin(ctx, home, "")
		if err != nil {
			t.Fatal(err)
		}
		other, _, err := w.LoginPasskey(ctx, home, "", handle, d.get(t, options))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.DisableTOTP(ctx, w.open(token)); err != nil {
			t.Fatal(err)
		}
		w.dead("of the app that was removed", other)
		w.open(token)
	})
}
