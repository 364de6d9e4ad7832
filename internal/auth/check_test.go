package auth

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"postern/internal/relay"
)

// checkable opens a session and returns what Check says of it from then on.
func (w *world) checkable(t *testing.T, login func(string) error) func(what string, want error) {
	t.Helper()
	if err := login(""); err != nil {
		t.Fatal(err)
	}
	p := w.who
	return func(what string, want error) {
		t.Helper()
		if _, err := w.Check(context.Background(), p, netip.MustParseAddr(home)); err != want {
			t.Errorf("open session, %s: %v, want %v", what, err, want)
		}
	}
}

// AU-31: whatever ends a key's right ends its open sessions at the next message.
func TestCheckEndsOpenSessions(t *testing.T) {
	for name, change := range map[string]func(*world, *relay.Key){
		"key gone":        func(w *world, k *relay.Key) { delete(w.dir.keys, k.ID) },
		"revoked":         func(_ *world, k *relay.Key) { k.RevokedAt = t0 },
		"disabled":        func(_ *world, k *relay.Key) { k.DisabledAt = t0 },
		"expired":         func(_ *world, k *relay.Key) { k.ExpiresAt = t0 },
		"became a canary": func(_ *world, k *relay.Key) { k.Canary = true },
		"networks":        func(_ *world, k *relay.Key) { k.Networks = prefixes("10.0.0.0/8") },
		"hosts":           func(_ *world, k *relay.Key) { k.Hosts = []string{"elsewhere.test"} },
		"scope":           func(_ *world, k *relay.Key) { k.Scopes = []string{"stats.read"} },
		"new secret":      func(_ *world, k *relay.Key) { k.Verifier.SHA256[0] ^= 1 },
		"new secret, overlap 0": func(w *world, k *relay.Key) {
			old := k.Verifier
			k.Previous, k.PreviousUntil = &old, t0
			k.Verifier.SHA256[0] ^= 1
		},
		"access list":           func(w *world, _ *relay.Key) { w.dir.access[0] = rules("10.0.0.0/8") },
		"subuser's access list": func(w *world, _ *relay.Key) { w.dir.access[1] = rules("10.0.0.0/8") },
		"tenant disabled":       func(w *world, _ *relay.Key) { w.dir.off = true },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			key, row := w.apiKey(t, nil)
			session := w.checkable(t, func(string) error { return w.plain("apikey", key.Text()) })
			session("good", nil)
			changed := *row
			w.dir.keys[row.ID] = &changed
			change(w, &changed)
			session(name, ReplyEnded)
		})
	}
}

// A session by the old secret ends with its overlap, and one by the new secret
// that becomes the old one does too.
func TestCheckAcrossRotations(t *testing.T) {
	w := newWorld(t, nil)
	key, row := w.apiKey(t, nil)
	first := w.checkable(t, func(string) error { return w.plain("apikey", key.Text()) })
	second := w.rotate(t, row)
	byOld := w.checkable(t, func(string) error { return w.plain("apikey", key.Text()) })
	byNew := w.checkable(t, func(string) error { return w.plain("apikey", second.Text()) })
	first("in the overlap", nil)
	byOld("in the overlap", nil)
	w.now = t0.Add(time.Hour)
	first("after it", ReplyEnded)
	byOld("after it", ReplyEnded)
	byNew("after it", nil)
	w.rotate(t, w.dir.keys[row.ID])
	byOld("two rotations later", ReplyEnded)
	byNew("in the second overlap", nil)
	w.now = w.now.Add(time.Hour)
	byNew("after the second overlap", ReplyEnded)
}

// A list that only watches, or whose trial is over, ends nothing.
func TestCheckByListsInForce(t *testing.T) {
	w := newWorld(t, nil)
	key, _ := w.apiKey(t, nil)
	session := w.checkable(t, func(string) error { return w.plain("apikey", key.Text()) })
	w.dir.access[0] = rules("10.0.0.0/8")
	w.dir.access[0].Monitor = true
	session("monitor", nil)
	w.dir.access[0] = rules("10.0.0.0/8")
	w.dir.access[0].TrialUntil, w.dir.access[0].Before = t0.Add(time.Minute), rules("192.0.2.0/24")
	session("on trial", ReplyEnded)
	w.now = t0.Add(time.Minute)
	session("after the trial", nil)
}

func TestCheckAllocatesNothing(t *testing.T) {
	w := newWorld(t, nil)
	key, row := w.apiKey(t, func(k *relay.Key) { k.Networks = prefixes("192.0.2.0/24") })
	w.dir.access[0] = rules("192.0.2.0/24", "198.51.100.0/24")
	if err := w.plain("apikey", key.Text()); err != nil {
		t.Fatal(err)
	}
	ctx, addr := context.Background(), netip.MustParseAddr(home)
	p := w.who
	if n := testing.AllocsPerRun(200, func() {
		if _, err := w.Check(ctx, p, addr); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations a message", n)
	}
	_ = row
}
