package auth

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
)

// AC-01: who is refused and goes on, with another name and another browser each
// time, makes records that are all alike: the store adds them up.
func TestRefusedPeopleAreOneRecord(t *testing.T) {
	w := newWorld(t, nil)
	w.guard(GuardConfig{})
	ctx := context.Background()
	at := person("192.0.2.7", PersonPassword, relay.UserID{})
	for range 20 {
		w.PersonDone(ctx, at, relay.LoginUnknown, "")
	}
	distinct := map[relay.Login]bool{}
	for i := range 50 {
		try := person("192.0.2.7", PersonPassword, relay.UserID{ID: relay.ID{byte(i)}})
		try.Tried, try.Agent = fmt.Sprint("name", i), fmt.Sprint("Browser/", i)
		if err := w.PersonAllowed(ctx, try); relay.KindOf(err) != relay.RateLimited {
			t.Fatalf("try %d: %v", i, err)
		}
		l := w.rec.last()
		l.At = time.Time{}
		distinct[l] = true
	}
	if len(distinct) != 1 {
		t.Errorf("%d different records: %v", len(distinct), distinct)
	}
}

// How a try stands in the line: what is known of its place, and what is not.
func TestPersonStanding(t *testing.T) {
	w := newWorld(t, nil)
	w.guard(GuardConfig{})
	ctx := context.Background()
	w.personIn("192.0.2.7", ann)
	stand := func(addr string, who relay.UserID) PersonStanding {
		return w.PersonStanding(person(addr, PersonPassword, who))
	}
	want := PersonStanding{Address: netip.MustParsePrefix("192.0.2.7/32"), Network: netip.MustParsePrefix("192.0.2.0/24"), Known: true}
	if got := stand("192.0.2.7", ann); got != want {
		t.Errorf("known: %+v", got)
	}
	if got := stand("192.0.2.99", ann); !got.Known || got.Failed {
		t.Errorf("in a known network: %+v", got)
	}
	if got := stand("192.0.2.7", bob); got.Known {
		t.Errorf("another person: %+v", got)
	}
	if got := stand("192.0.2.7", relay.UserID{}); got.Known {
		t.Errorf("nobody: %+v", got)
	}
	w.PersonDone(ctx, person("2001:db8:1:2::3", PersonPassword, relay.UserID{}), relay.LoginUnknown, "")
	if got := stand("2001:db8:1:2::9", bob); !got.Failed || got.Address != netip.MustParsePrefix("2001:db8:1:2::/64") || got.Network != netip.MustParsePrefix("2001:db8:1::/48") {
		t.Errorf("failed: %+v", got)
	}
	if got := stand("2001:db8:1:3::9", bob); got.Failed {
		t.Errorf("one failure is the whole network's: %+v", got)
	}
	for i := range 6 {
		w.PersonDone(ctx, person(fmt.Sprintf("2001:db8:1:%x::3", 0x100+i), PersonPassword, relay.UserID{}), relay.LoginUnknown, "")
	}
	if got := stand("2001:db8:1:3::9", bob); !got.Failed {
		t.Errorf("a new address of a network that guesses: %+v", got)
	}
	socket := person("192.0.2.7", PersonPassword, ann)
	socket.Addr = netip.Addr{}
	if got := w.PersonStanding(socket); got != (PersonStanding{Known: true}) {
		t.Errorf("from the machine itself: %+v", got)
	}
}

// The same of keys that nobody has, with another client name each time.
func TestRefusedKeysAreOneRecord(t *testing.T) {
	w := newWorld(t, nil)
	w.guard(GuardConfig{})
	for range 20 {
		_ = w.plain("apikey", "nonsense")
	}
	distinct := map[relay.Login]bool{}
	for i := range 50 {
		key, err := secret.NewSecret("SG", relay.ID{byte(i), 1})
		if err != nil {
			t.Fatal(err)
		}
		w.expect(t, "a key of nobody", w.plain("apikey", key.Text()), relay.LoginThrottled, ReplyThrottled)
		l := w.rec.last()
		l.At = time.Time{}
		distinct[l] = true
	}
	if len(distinct) != 1 {
		t.Errorf("%d different records: %v", len(distinct), distinct)
	}
}
