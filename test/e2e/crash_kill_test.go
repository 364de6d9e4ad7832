package e2e

import (
	"os"
	"strconv"
	"testing"
	"time"

	"postern/internal/testkit/ledger/relayproc"
)

// envInt reads a number from the environment.
func envInt(t testing.TB, name string, fallback int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return fallback
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestCrashKill is PF-01, PF-02 and PF-03: kill -9 at random moments under load,
// in POSTERN_CRASH_ROUNDS rounds on one data directory. Nothing acknowledged is
// missing, nothing refused arrives, and no recipient gets more extra copies than
// there were kills in its time, each marked as possibly delivered.
func TestCrashKill(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a while")
	}
	rounds := envInt(t, "POSTERN_CRASH_ROUNDS", 3)
	seed := int64(envInt(t, "POSTERN_CRASH_SEED", 20260))
	w := relayproc.New(t, seed, relayproc.Options{Binary: binary(t), Judge: relayproc.LazySink(seed)})
	w.Setup(t)
	w.KillRounds(t, rounds)
	w.Rest(t, 90*time.Second)
	r := w.Check(t)
	t.Log(r.String())
	if r.Kills != rounds {
		t.Errorf("%d kills, want %d", r.Kills, rounds)
	}
	// A run in which nothing was at stake would prove nothing.
	if r.Acked < 20*rounds {
		t.Errorf("only %d messages were acknowledged in %d rounds", r.Acked, rounds)
	}
	if rounds >= 10 && r.Marks == 0 {
		t.Errorf("no attempt was under way at any of %d kills", rounds)
	}
	w.Stop(t)
}
