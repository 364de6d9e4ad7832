package people

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
)

// AC-08: whoever is asked for, the answer is nil and nothing was looked up for it.
func TestResetTellsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.withApp("ann")
	w.withApp("off", func(u *relay.User) { u.DisabledAt = w.now() })
	sso := w.person("sso", func(u *relay.User) { u.Password = "" })
	if err := w.st.AddIssuance(ctx, operator, relay.Issuance{Issuer: "https://x.test", Subject: "1", User: sso.ID}); err != nil {
		t.Fatal(err)
	}
	clear(w.mem.asked)
	for _, name := range []string{"ann", "nobody", "off", "sso", "", strings.Repeat("x", 1000), "ann@example.test"} {
		if err := w.AskReset(ctx, home, name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	if len(w.mem.asked) != 0 {
		t.Errorf("looked up before the answer: %v", w.mem.asked)
	}
	w.jobsDone()
	if len(w.mails) != 1 || w.mails[0].to != "ann@example.test" {
		t.Errorf("letters %v", w.mails)
	}
}

// AC-09 and AC-05.
func TestReset(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		u := w.withApp("ann")
		session, _ := w.in("ann")
		ask := func() secret.Redacted {
			t.Helper()
			w.pass(resetEvery)
			if err := w.AskReset(ctx, Visitor{Addr: home.Addr, Host: "evil.test"}, "ann@EXAMPLE.test"); err != nil {
				t.Fatal(err)
			}
			w.jobsDone()
			return w.link(u.Email, "reset") // on the configured host, whatever the request's
		}
		first := ask()
		if err := w.AskReset(ctx, home, "ann"); err != nil {
			t.Fatal(err)
		}
		w.jobsDone()
		if n := w.told(u.Email, "Set a new password"); n != 1 {
			t.Errorf("%d letters within five minutes", n)
		}
		second := ask()
		if err := w.Reset(ctx, home, first, otherPassword); !isLinkError(err) {
			t.Errorf("the older link: %v", err)
		}
		if err := w.Reset(ctx, home, second, "short"); relay.KindOf(err) != relay.Invalid {
			t.Errorf("a bad password: %v", err)
		}
		if err := w.Reset(ctx, home, second, otherPassword); err != nil {
			t.Fatal(err)
		}
		if err := w.Reset(ctx, home, second, goodPassword); !isLinkError(err) {
			t.Errorf("twice: %v", err)
		}
		w.dead("the password was reset", session)
		if w.told(u.Email, "password was changed") != 1 {
			t.Error("the person was not told")
		}
		// AC-05: the second factor is there as before, and asked for.
		after := w.user(u.ID)
		if !after.SecondFactor() {
			t.Error("the second factor is gone")
		}
		half, s, err := w.LoginPassword(ctx, home, "ann", otherPassword)
		if err != nil || s.Level != relay.SessionPassword {
			t.Fatalf("%+v %v", s, err)
		}
		if _, err := w.BeginTOTP(ctx, w.open(half)); !errors.Is(err, ErrSession) {
			t.Errorf("a new app without the old one: %v", err)
		}
		late := ask()
		w.pass(resetLife)
		if err := w.Reset(ctx, home, late, goodPassword); !isLinkError(err) {
			t.Errorf("after 30 minutes: %v", err)
		}
	})
}

// AC-09: any change ends a reset link.
func TestResetLinkEndsWithAnyChange(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(w *world, token secret.Redacted, visit *Visit) error{
		"password": func(w *world, _ secret.Redacted, v *Visit) error {
			return w.ChangePassword(w.t.Context(), v, goodPassword, otherPassword)
		},
		"address": func(w *world, _ secret.Redacted, v *Visit) error {
			if err := w.AskEmail(w.t.Context(), v, "new@example.test"); err != nil {
				return err
			}
			return w.ConfirmEmail(w.t.Context(), home, w.link("new@example.test", "email"))
		},
		"app": func(w *world, token secret.Redacted, v *Visit) error {
			e, err := w.BeginTOTP(w.t.Context(), v)
			if err != nil {
				return err
			}
			w.pass(time.Second)
			_, _, err = w.EnableTOTP(w.t.Context(), home, token, codeOf(w.t, e, w.now()))
			return err
		},
		"disabling": func(w *world, _ secret.Redacted, v *Visit) error {
			w.mem.mu.Lock()
			defer w.mem.mu.Unlock()
			u := w.mem.users[v.User.ID]
			u.DisabledAt = w.now()
			w.mem.users[u.ID] = u
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			u := w.withApp("ann")
			token, visit := w.in("ann")
			if err := w.AskReset(t.Context(), home, "ann"); err != nil {
				t.Fatal(err)
			}
			w.jobsDone()
			link := w.link(u.Email, "reset")
			if _, err := w.LookLink(t.Context(), link); err != nil {
				t.Fatal(err)
			}
			if err := change(w, token, visit); err != nil {
				t.Fatal(err)
			}
			if _, err := w.LookLink(t.Context(), link); !isLinkError(err) {
				t.Errorf("look: %v", err)
			}
			if err := w.Reset(t.Context(), home, link, "eleven green canoes"); !isLinkError(err) {
				t.Errorf("reset: %v", err)
			}
		})
	}
}

// Reset links are mailed by Run, however many are asked for; who asks for too many
// is told so, whoever they are for.
func TestResetsAreQueued(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.withApp("ann")
	for i := range 30 {
		err := w.AskReset(t.Context(), home, "nobody")
		if i < asksMost && err != nil || i >= asksMost && relay.KindOf(err) != relay.RateLimited {
			t.Errorf("request %d: %v", i, err)
		}
	}
	for i := range 3 * maxJobs { // from everywhere: those that there is no room for are dropped
		if err := w.AskReset(t.Context(), from(i%250), "nobody"); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Minute)
	}
	if len(w.jobs) != maxJobs {
		t.Errorf("%d wait", len(w.jobs))
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t) // of the bubble
		w.withApp("ann")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		if err := w.AskReset(t.Context(), home, "ann"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if w.told(u.Email, "Set a new password") != 1 {
			t.Error("no link was mailed")
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run ends with %v", err)
		}
	})
}
