package watch

import (
	"fmt"
	"net/netip"
	"testing"

	"postern/internal/relay"
)

// What one key is remembered by has a bound for each kind, whatever its holder does:
// the one that was not seen for longest makes room, and those in use stay.
func TestMarksAreBounded(t *testing.T) {
	t.Parallel()
	for _, room := range []int{1, maxCountries, maxNetworks} {
		var m marks
		for day := range int32(3 * room) {
			m.see("home", day, room+1)
			m.see(fmt.Sprint("place ", day), day, room+1)
			if len(m) > room+1 {
				t.Fatalf("room for %d: %d after day %d", room+1, len(m), day)
			}
		}
		if home := m.find("home"); home == nil || home.First != 0 || m.find(fmt.Sprint("place ", 3*room-1)) == nil || m.find(fmt.Sprint("place ", 3*room-room)) == nil {
			t.Errorf("room for %d: what is in use made room: %v", room+1, m)
		}
		if old := fmt.Sprint("place ", 2*room-1); m.find(old) != nil {
			t.Errorf("room for %d: %s is still there", room+1, old)
		}
	}
}

// The same through the rules: logins from everywhere, taught or not.
func TestMarksOfAKeyAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	p := w.program("roaming", "192.0.2.7")
	e := w.engine(func(c *Config) { c.Places = everywhere{} })
	seen := map[string]int{}
	count := func(what string, n, room int) {
		if seen[what] = max(seen[what], n); n > room {
			t.Fatalf("%d %s are remembered, at most %d may be", n, what, room)
		}
	}
	for i := range 40 * maxNetworks {
		w.logins = w.logins[:0]
		w.login(p, w.at(float64(i)/100, 0), netip.AddrFrom4([4]byte{byte(i * 83), byte(i >> 8), byte(i % 7), 1}), relay.LoginOK)
		fs, err := e.Observe(t.Context(), nil, w.logins)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range fs {
			f.State, f.Teach = relay.WatchDismissed, true
			if err := e.Decide(t.Context(), f); err != nil {
				t.Fatal(err)
			}
		}
		b := e.keys[p.Key]
		count("networks", len(b.Networks), maxNetworks)
		count("countries", len(b.Countries), maxCountries)
		count("providers", len(b.Providers), maxProviders)
		count("pairs of places", len(b.Pairs), maxPairs)
		count("places of a day", len(b.Today), maxToday)
	}
	for what, room := range map[string]int{"networks": maxNetworks, "countries": maxCountries, "providers": maxProviders, "pairs of places": maxPairs, "places of a day": maxToday} {
		if seen[what] != room {
			t.Errorf("at most %d %s were there: the test says nothing about their bound", seen[what], what)
		}
	}
}

// And by what people say is normal, of findings whose marks have made room since.
func TestTaughtMarksAreBounded(t *testing.T) {
	t.Parallel()
	b := &baseline{}
	for i := range 3 * maxNetworks {
		b.teach(&relay.WatchFinding{Rule: relay.WatchNetwork, Evidence: relay.WatchEvidence{Places: []relay.WatchPlace{
			{Addr: fmt.Sprintf("198.%d.0.1", i), Country: fmt.Sprint("C", i), ASN: uint(i + 1)},
		}}})
		b.teach(&relay.WatchFinding{Rule: relay.WatchTravel, Subject: fmt.Sprint("pair ", i)})
	}
	if len(b.Networks) != maxNetworks || len(b.Countries) != maxCountries || len(b.Providers) != maxProviders || len(b.Pairs) != maxPairs {
		t.Errorf("%d networks, %d countries, %d providers and %d pairs", len(b.Networks), len(b.Countries), len(b.Providers), len(b.Pairs))
	}
}
