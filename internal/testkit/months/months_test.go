package months

import (
	"crypto/sha256"
	"encoding/json"
	"testing"
	"time"

	"postern/internal/relay"
)

// run plays a world to its end and sums it up.
func run(t *testing.T, w *World) (sum [32]byte, messages, logins int) {
	t.Helper()
	h := sha256.New()
	enc := json.NewEncoder(h)
	var last time.Time
	for {
		hour, ok := w.Next()
		if !ok {
			break
		}
		for _, e := range hour.Events {
			if e.At.Before(hour.Start) || e.At.After(hour.Start.Add(time.Hour+10*time.Minute)) {
				t.Fatalf("an event of %s is in the hour of %s", e.At, hour.Start)
			}
			if e.Kind == relay.EventReceived {
				messages++
			}
			if err := enc.Encode(e); err != nil {
				t.Fatal(err)
			}
		}
		for _, l := range hour.Logins {
			logins++
			if err := enc.Encode(l); err != nil {
				t.Fatal(err)
			}
		}
		last = hour.Start
	}
	if last.IsZero() {
		t.Fatal("nothing happened")
	}
	return [32]byte(h.Sum(nil)), messages, logins
}

func TestSameSeedSameTraffic(t *testing.T) {
	t.Parallel()
	small := Config{Seed: 7, Days: 12, Keys: 20, Accounts: 3, Incidents: 4, Quiet: 6}
	one, messages, logins := run(t, New(small))
	two, _, _ := run(t, New(small))
	if one != two {
		t.Error("the same seed made other traffic")
	}
	small.Seed = 8
	if other, _, _ := run(t, New(small)); other == one {
		t.Error("another seed made the same traffic")
	}
	if messages < 1000 || logins < 200 {
		t.Errorf("%d messages and %d logins", messages, logins)
	}
}

func TestIncidentsArePlanted(t *testing.T) {
	t.Parallel()
	w := New(Config{Seed: 3})
	kinds := map[Kind]bool{}
	for _, in := range w.Incidents() {
		kinds[in.Kind] = true
		if in.From.Before(w.cfg.From.AddDate(0, 0, w.cfg.Quiet)) || !in.To.After(in.From) || in.To.After(w.cfg.From.AddDate(0, 0, w.cfg.Days)) {
			t.Errorf("%s at %s to %s", in.Kind, in.From, in.To)
		}
		if in.Kind == SprayAddress {
			continue
		}
		if in.Name == "" {
			t.Errorf("%s has no name", in.Kind)
		}
	}
	if len(w.Incidents()) != 12 || len(kinds) != 12 {
		t.Errorf("%d incidents of %d kinds", len(w.Incidents()), len(kinds))
	}
	if len(w.Keys()) != 201 {
		t.Errorf("%d keys", len(w.Keys()))
	}
}
