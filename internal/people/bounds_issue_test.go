package people

import (
	"errors"
	"testing"
	"time"

	"postern/internal/relay"
)

// The bounds that the security rows name, as numbers: the other tests take them from
// the code, and would not see one that was widened.
func TestBoundsOfTheRows(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Floor = 0 })
	for _, c := range []struct {
		row       string
		got, most any
		ok        bool
	}{
		{"AC-04: tries of a second factor in a session", maxTries, 5, maxTries <= 5},
		{"AC-06: recovery codes", recoveryCodes, 10, recoveryCodes >= 10},
		{"AC-06: bits of a recovery code", 8 * recoveryBytes, 64, 8*recoveryBytes >= 64},
		{"AC-07: both factors count as fresh", w.cfg.Fresh, 5 * time.Minute, w.cfg.Fresh <= 5*time.Minute},
		{"AC-08: the least time of a refusal", w.cfg.Floor, 300 * time.Millisecond, w.cfg.Floor >= 300*time.Millisecond},
		{"AC-09: a reset link lives", resetLife, 30 * time.Minute, resetLife <= 30*time.Minute},
		{"AC-09: bits of a token", 8 * tokenBytes, 128, 8*tokenBytes >= 128},
		{"AC-12: idle", w.cfg.Idle, 30 * time.Minute, w.cfg.Idle <= 30*time.Minute},
		{"AC-12: in all", w.cfg.Life, 12 * time.Hour, w.cfg.Life <= 12*time.Hour},
		{"AC-13: an invitation lives", inviteLife, 7 * 24 * time.Hour, inviteLife <= 7*24*time.Hour},
		{"AC-15: a set-up link lives", setupLife, 24 * time.Hour, setupLife <= 24*time.Hour},
		{"a half session lives", halfLife, 10 * time.Minute, halfLife <= 10*time.Minute},
		{"a challenge of a passkey", challengeLife, 5 * time.Minute, challengeLife <= 5*time.Minute},
		{"a login at an issuer", flowLife, 10 * time.Minute, flowLife <= 10*time.Minute},
	} {
		if !c.ok {
			t.Errorf("%s: %v, the bound is %v", c.row, c.got, c.most)
		}
	}
}

// AC-08: a passkey that is refused takes its time, as a password does.
func TestRefusedPasskeysTakeTheirTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Floor = 60 * time.Millisecond })
	_, handle, err := w.BeginPasskeyLogin(t.Context(), home, "")
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if _, _, err := w.LoginPasskey(t.Context(), home, "", handle, []byte("{}")); !errors.Is(err, ErrPasskey) && relay.KindOf(err) != relay.Unauthenticated {
		t.Fatal(err)
	}
	if d := time.Since(begun); d < 60*time.Millisecond {
		t.Errorf("refused within %v", d)
	}
}
