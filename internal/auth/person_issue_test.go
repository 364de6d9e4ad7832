package auth

import (
	"context"
	"fmt"
	"testing"
	"time"

	"postern/internal/relay"
)

// AC-01: never more than a hundred wrong passwords in a row, however slowly they
// come and from wherever, and over a restart too. Known places, and a reset by mail,
// stay open.
func TestAHundredInARow(t *testing.T) {
	w := newWorld(t, nil)
	g := w.guard(GuardConfig{})
	ctx := context.Background()
	w.personIn("192.0.2.7", ann)
	let := 0
	for i := range 130 { // one a day: nothing else adds up
		at := person(fmt.Sprintf("10.%d.%d.1", i/100, i%100), PersonPassword, ann)
		if w.PersonAllowed(ctx, at) == nil {
			let++
			w.PersonDone(ctx, at, relay.LoginWrong, "")
		}
		w.now = w.now.Add(24 * time.Hour)
		if i%30 == 0 { // Ann is in now and then by another factor: that is no right password
			w.PersonDone(ctx, person("192.0.2.7", PersonPasskey, ann), relay.LoginOK, "")
		}
	}
	if let != 100 {
		t.Errorf("%d wrong passwords were looked at, want 100", let)
	}
	restarted := NewGuard(GuardConfig{Now: func() time.Time { return w.now }})
	if err := restarted.Load(g.Save()); err != nil {
		t.Fatal(err)
	}
	w.cfg.Guard = restarted
	if err := w.PersonAllowed(ctx, person("10.9.9.1", PersonPassword, ann)); relay.KindOf(err) != relay.Unauthenticated {
		t.Errorf("after a restart: %v", err)
	}
	if err := w.PersonAllowed(ctx, person("192.0.2.7", PersonPassword, ann)); err != nil {
		t.Errorf("from home: %v", err)
	}
	w.PersonForgiven(ann)
	if err := w.PersonAllowed(ctx, person("10.9.9.1", PersonPassword, ann)); err != nil {
		t.Errorf("after a reset: %v", err)
	}
}
