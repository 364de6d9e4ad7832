package submit

import (
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// A bounce of mail that nothing is recorded of any more is taken and dropped: a
// temporary refusal would make its sender try for days.
func TestBounceAfterRetention(t *testing.T) {
	w := newWorld(t, nil)
	in, _ := w.intake(nil)
	long := relay.MessageID{ID: relay.NewID(time.Now().Add(-60 * 24 * time.Hour))}
	rp := w.service.cfg.ReturnPaths.Make(long, "em.acme.test")
	if err := in.take(t, rp, strings.NewReplacer("%RP%", rp, "%TO%", "b@one.test").Replace(dsn)); err != nil {
		t.Errorf("%v, want it taken", err)
	}
}

// PF-09: mail that comes in after a jump of the wall clock is due, and expires, by
// the queue's steady time: it would wait for years, or bounce at its first
// deferral, by the other.
func TestWallClockJumpDoesNotMoveNewMail(t *testing.T) {
	const year = 365 * 24 * time.Hour
	// Backwards no further than events are kept: the store of this test has the real clock.
	for _, jump := range []time.Duration{10 * year, -20 * 24 * time.Hour} {
		steady := time.Now()
		clock := func() time.Time { return steady }
		w := newWorld(t, func(c *Config) {
			c.QueueNow = clock
			c.Now = func() time.Time { return steady.Add(jump) }
		})
		in, _ := w.intake(func(c *IntakeConfig) {
			c.Notifier.Now, c.Notifier.QueueNow = func() time.Time { return steady.Add(jump) }, clock
		})
		if _, err := w.send(envelope("b@one.test"), plain, 1000); err != nil {
			t.Fatal(err)
		}
		if err := in.take(t, "postmaster@relay.test", plain); err != nil { // a message of ours
			t.Fatal(err)
		}
		all, err := w.store.Messages(t.Context(), store.MessageFilter{})
		if err != nil || len(all) != 2 {
			t.Fatalf("%d messages, %v", len(all), err)
		}
		for _, m := range all {
			due, life := m.Recipients[0].DueAt.Sub(steady).Abs(), m.Message.ExpiresAt.Sub(steady)
			if due > time.Second || life < time.Hour || life > 30*24*time.Hour {
				t.Errorf("jump %v: due %v off, expires in %v", jump, due, life)
			}
		}
	}
}
