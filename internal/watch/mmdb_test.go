package watch

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"postern/internal/relay"
	"postern/internal/testkit/mmdb"
)

var (
	berlin = Place{Country: "DE", City: "Berlin", Lat: 52.52, Lon: 13.4, Located: true}
	lagos  = Place{Country: "NG", City: "Lagos", Lat: 6.45, Lon: 3.39, Located: true}
)

// operatorFiles writes a file of cities and one of autonomous systems.
func operatorFiles(t *testing.T) (cities, systems string) {
	t.Helper()
	dir := t.TempDir()
	cities, systems = filepath.Join(dir, "city.mmdb"), filepath.Join(dir, "asn.mmdb")
	mmdb.Put(t, cities, mmdb.Cities(t, map[string]mmdb.City{
		"192.0.2.0/24":         {Country: "DE", Name: "Berlin", Lat: 52.52, Lon: 13.4},
		"203.0.113.0/24":       {Country: "NG", Name: "Lagos", Lat: 6.45, Lon: 3.39},
		"2001:db8:1::/48":      {Country: "FR", Lat: 46, Lon: 2},
		"2001:db8:2:8000::/49": {Country: "NO", Name: "Oslo", Lat: 59.91, Lon: 10.75},
	}))
	mmdb.Put(t, systems, mmdb.Systems(t, map[string]uint32{"192.0.0.0/16": 64496, "203.0.113.0/24": 4200000001, "2001:db8::/32": 64497, "198.51.100.0/24": 64498}))
	return cities, systems
}

func TestPlacesOfFiles(t *testing.T) {
	t.Parallel()
	cities, systems := operatorFiles(t)
	with := func(p Place, asn uint) Place { p.ASN = asn; return p }
	both, err := OpenPlaces(cities, systems)
	if err != nil {
		t.Fatal(err)
	}
	onlyCities, err := OpenPlaces(cities, "")
	if err != nil {
		t.Fatal(err)
	}
	onlySystems, err := OpenPlaces("", systems)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		files *MMDB
		addr  string
		want  Place
		ok    bool
	}{
		"IPv4":                         {both, "192.0.2.7", with(berlin, 64496), true},
		"a number of four octets":      {both, "203.0.113.9", with(lagos, 4200000001), true},
		"IPv4 in IPv6":                 {both, "::ffff:192.0.2.7", with(berlin, 64496), true},
		"IPv6, a country only":         {both, "2001:db8:1::25", Place{Country: "FR", Lat: 46, Lon: 2, Located: true, ASN: 64497}, true},
		"IPv6 with a zone":             {both, "2001:db8:2:8000::1%eth0", Place{Country: "NO", City: "Oslo", Lat: 59.91, Lon: 10.75, Located: true, ASN: 64497}, true},
		"the other half of it":         {both, "2001:db8:2::1", Place{ASN: 64497}, true},
		"no place, but a system":       {both, "198.51.100.7", Place{ASN: 64498}, true},
		"of no network":                {both, "198.18.0.1", Place{}, false},
		"of no network, IPv6":          {both, "2001:470::1", Place{}, false},
		"places alone":                 {onlyCities, "192.0.2.7", berlin, true},
		"places alone, of no network":  {onlyCities, "192.0.3.7", Place{}, false},
		"systems alone":                {onlySystems, "192.0.2.7", Place{ASN: 64496}, true},
		"systems alone, of no network": {onlySystems, "203.0.114.7", Place{}, false},
	} {
		if p, ok := c.files.Look(netip.MustParseAddr(c.addr)); ok != c.ok || p != c.want {
			t.Errorf("%s: %+v, %v, want %+v, %v", name, p, ok, c.want, c.ok)
		}
	}
}

// A database of IPv4 alone knows nothing of IPv6 addresses, and that is no fault.
func TestPlacesOfIPv4Alone(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "country.mmdb")
	mmdb.Put(t, name, mmdb.File(t, "Test-Country", 4, map[string]mmdbtype.DataType{
		"192.0.2.0/24": mmdbtype.Map{"registered_country": mmdbtype.Map{"iso_code": mmdbtype.String("CH")}},
	}))
	m, err := OpenPlaces(name, "")
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := m.Look(netip.MustParseAddr("192.0.2.1")); !ok || p != (Place{Country: "CH"}) {
		t.Errorf("%+v, %v", p, ok)
	}
	if p, ok := m.Look(netip.MustParseAddr("2001:db8::1")); ok || p != (Place{}) {
		t.Errorf("%+v, %v", p, ok)
	}
}

// useless are files that cannot serve as a database of places.
func useless(t *testing.T) map[string][]byte {
	whole := mmdb.Cities(t, map[string]mmdb.City{"192.0.2.0/24": {Country: "DE", Name: "Berlin", Lat: 52.52, Lon: 13.4}})
	return map[string][]byte{
		"empty":               {},
		"a text":              []byte("network,country_iso_code\n192.0.2.0/24,DE\n"),
		"compressed":          append([]byte{0x1f, 0x8b, 8, 0}, whole[:40]...),
		"cut in half":         whole[:len(whole)/2],
		"cut by one octet":    whole[:len(whole)-1],
		"without its tree":    whole[len(whole)/3:],
		"of systems":          mmdb.Systems(t, map[string]uint32{"192.0.2.0/24": 64496}),
		"of nothing":          mmdb.File(t, "Test-City", 6, nil),
		"with other names":    mmdb.File(t, "flat", 6, map[string]mmdbtype.DataType{"192.0.2.0/24": mmdbtype.Map{"country_code": mmdbtype.String("DE")}}),
		"with other contents": mmdb.File(t, "flat", 6, map[string]mmdbtype.DataType{"192.0.2.0/24": mmdbtype.Map{"country": mmdbtype.String("DE")}}),
	}
}

// A file that is no database, or one of another kind, is refused with its name:
// silently it would turn all places into networks.
func TestUselessFilesOfPlaces(t *testing.T) {
	t.Parallel()
	cities, systems := operatorFiles(t)
	for what, text := range useless(t) {
		name := filepath.Join(t.TempDir(), "bad.mmdb")
		mmdb.Put(t, name, text)
		if _, err := OpenPlaces(name, systems); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := OpenPlaces(cities, cities); err == nil || !strings.Contains(err.Error(), "it has no autonomous systems") || !strings.Contains(err.Error(), "Test-City") {
		t.Errorf("cities as systems: %v", err)
	}
	if _, err := OpenPlaces(filepath.Join(t.TempDir(), "none.mmdb"), ""); err == nil {
		t.Error("a file that is not there was opened")
	}
}

// A file that changes is taken; one that cannot be used leaves the one before, and
// is not read again and again.
func TestPlacesAreReplaced(t *testing.T) {
	t.Parallel()
	cities, systems := operatorFiles(t)
	m, err := OpenPlaces(cities, systems)
	if err != nil {
		t.Fatal(err)
	}
	where := func() string { p, _ := m.Look(netip.MustParseAddr("192.0.2.7")); return p.City }
	refresh := func(what string, changed bool, problem string, city string) {
		t.Helper()
		c, err := m.Refresh()
		if c != changed || (err == nil) != (problem == "") || err != nil && !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: %v, %v", what, c, err)
		}
		if got := where(); got != city {
			t.Errorf("%s: it is in %q, want %q", what, got, city)
		}
	}
	refresh("as it was", false, "", "Berlin")
	later := time.Now()
	put := func(text []byte) {
		t.Helper()
		mmdb.Put(t, cities, text)
		later = later.Add(time.Second)
		if err := os.Chtimes(cities, later, later); err != nil {
			t.Fatal(err)
		}
	}
	bonn := mmdb.Cities(t, map[string]mmdb.City{"192.0.2.0/24": {Country: "DE", Name: "Bonn", Lat: 50.73, Lon: 7.1}})
	put(bonn)
	refresh("another one", true, "", "Bonn")
	refresh("the same again", false, "", "Bonn")
	for what, text := range useless(t) {
		put(text)
		refresh(what, false, cities, "Bonn")
		refresh(what+", again", false, cities, "Bonn")
	}
	if err := os.Remove(cities); err != nil {
		t.Fatal(err)
	}
	refresh("gone", false, cities, "Bonn")
	put(mmdb.Cities(t, map[string]mmdb.City{"192.0.0.0/16": {Country: "DE", Name: "Köln", Lat: 50.94, Lon: 6.96}}))
	refresh("back", true, "", "Köln")
	// The file of systems beside it is taken although that of places is bad.
	put(nil)
	mmdb.Put(t, systems, mmdb.Systems(t, map[string]uint32{"192.0.2.0/24": 65551}))
	if err := os.Chtimes(systems, later, later); err != nil {
		t.Fatal(err)
	}
	refresh("one good, one bad", true, cities, "Köln")
	if p, _ := m.Look(netip.MustParseAddr("192.0.2.7")); p.ASN != 65551 {
		t.Errorf("AS%d", p.ASN)
	}
}

// Findings of a key that leaves home name country, city and provider as the files
// have them.
func TestFindingsNamePlaces(t *testing.T) {
	t.Parallel()
	m, err := OpenPlaces(operatorFiles(t))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, 1)
	p := w.program("shop", "192.0.2.7")
	w.run(p, shapes["office"], 0, 80)
	w.login(p, w.at(80, 10), netip.MustParseAddr("192.0.2.7"), relay.LoginOK)
	w.login(p, w.at(80, 10.5), netip.MustParseAddr("203.0.113.9"), relay.LoginOK)
	found := map[relay.WatchRule]relay.WatchFinding{}
	for _, f := range w.watch(func(c *Config) { c.Places = m }) {
		found[f.Rule] = f
	}
	if len(found) != 2 {
		t.Fatalf("%d findings: %v", len(found), found)
	}
	w.says(found[relay.WatchNetwork], "203.0.113.9 (Lagos, NG, AS4200000001)", "never been used from NG before", "came from DE")
	w.says(found[relay.WatchTravel], "203.0.113.9 (Lagos, NG, AS4200000001)", "192.0.2.7 (Berlin, DE, AS64496)", "30 minutes", "5,204 km")
	want := relay.WatchPlace{Addr: "203.0.113.9", Network: "203.0.113.0/24", Country: "NG", City: "Lagos", ASN: 4200000001}
	for rule, f := range found {
		if d := cmp.Diff(want, f.Evidence.Places[0]); d != "" {
			t.Errorf("%s: %s", rule, d)
		}
	}
}
