package people

import (
	"errors"
	"testing"

	"postern/internal/auth"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/totp"
)

// AC-04: codes of the app and recovery codes are guessed at from one budget of the
// person, and these and passkeys from one of the session: who goes from one way to the
// next has no more tries.
func TestGuessesOfAllWaysAreOneBudget(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.withApp("ann")
		home1, _ := w.in("ann") // home is known
		_, _, codes := w.withPasskey(home1, "laptop")
		attacker := from(1)
		ways := []func(half secret.Redacted) error{
			func(half secret.Redacted) error { return third(w.LoginTOTP(ctx, attacker, half, w.wrongCode())) },
			func(half secret.Redacted) error {
				return third(w.LoginRecovery(ctx, attacker, half, "aaaa-bbbb-cccc-dddd"))
			},
			func(half secret.Redacted) error {
				_, handle, err := w.BeginPasskeyLogin(ctx, attacker, half)
				if err != nil {
					return err
				}
				return third(w.LoginPasskey(ctx, attacker, half, handle, []byte(`{"id":"x"}`)))
			},
		}
		begin := func() secret.Redacted {
			half, _, err := w.LoginPassword(ctx, attacker, "ann", goodPassword)
			if err != nil {
				t.Fatal(err)
			}
			return half
		}
		wrong := func(half secret.Redacted, way int, last bool) {
			err := ways[way](half)
			if tried := errors.Is(err, ErrCode) || errors.Is(err, ErrPasskey); tried == last || last && !errors.Is(err, ErrSession) {
				t.Errorf("way %d, last %t: %v", way, last, err)
			}
		}
		for range 2 { // four codes each
			half := begin()
			for try, way := range []int{0, 1, 2, 0, 1} {
				wrong(half, way, try == maxTries-1)
			}
			w.dead("five wrong answers", half)
		}
		half := begin()
		wrong(half, 1, false)
		wrong(half, 0, false)
		right := []error{third(w.LoginTOTP(ctx, attacker, half, w.code())), third(w.LoginRecovery(ctx, attacker, half, codes[0]))}
		for i, err := range right {
			if !errors.Is(err, ErrTooMany) || relay.KindOf(err) != relay.RateLimited || auth.RetryAfter(err) <= 0 {
				t.Errorf("way %d, the eleventh code within the hour: %v", i, err)
			}
		}
		wrong(half, 2, false) // a signature is not guessed: it counts for the session and the address alone
		w.in("ann")           // and she is not locked out
	})
}

// A session that somebody was made to take over before they logged in is worth nothing
// afterwards: each step makes a token of its own, and the one before it is dead, even
// where two steps are made with it at once.
func TestSessionsAreNotFixed(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.withApp("ann")
		planted, _, err := w.LoginPassword(ctx, from(1), "ann", goodPassword) // a thief of the password plants their half session
		if err != nil {
			t.Fatal(err)
		}
		full, _, err := w.LoginTOTP(ctx, home, planted, w.code())
		if err != nil || full == planted {
			t.Fatalf("%v", err)
		}
		w.dead("the planted one", planted)
		first := w.open(full)
		w.pass(totp.Period)
		fresh, _, err := w.Reauth(ctx, home, full, goodPassword, w.code())
		if err != nil || fresh == full {
			t.Fatalf("%v", err)
		}
		w.dead("the one before step-up", full)
		if second := w.open(fresh); second.Session.ID == first.Session.ID || second.User.ID != first.User.ID {
			t.Errorf("%+v, then %+v", first.Session, second.Session)
		}
	})
}
