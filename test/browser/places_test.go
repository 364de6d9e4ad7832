package browser

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"postern/internal/testkit/mmdb"
	"postern/internal/testkit/months"
)

// ours is where the programs of the history are.
var ours = map[string]struct {
	mmdb.City
	asn uint32
}{
	"203.0.113.0/24":  {mmdb.City{Country: "DE", Name: "Frankfurt", Lat: 50.11, Lon: 8.68}, 64501},
	"198.51.100.0/24": {mmdb.City{Country: "IE", Name: "Dublin", Lat: 53.35, Lon: -6.26}, 64506},
	"2001:db8:7::/48": {mmdb.City{Country: "NL", Name: "Amsterdam", Lat: 52.37, Lon: 4.9}, 64503},
	"192.0.2.0/24":    {mmdb.City{Country: "US", Name: "Dallas", Lat: 32.78, Lon: -96.8}, 64606},
}

// located is an installation with weeks of history whose operator has files of places
// and of networks.
func located(t *testing.T) *world {
	t.Helper()
	cities, systems := map[string]mmdb.City{}, map[string]uint32{}
	for network, at := range ours {
		cities[network], systems[network] = at.City, at.asn
	}
	for network, at := range months.Places() {
		cities[network.String()], systems[network.String()] = mmdb.City{Country: at.Country, Name: at.City, Lat: at.Lat, Lon: at.Lon}, uint32(at.ASN)
	}
	dir := t.TempDir()
	places, networks := filepath.Join(dir, "city.mmdb"), filepath.Join(dir, "asn.mmdb")
	mmdb.Put(t, places, mmdb.Cities(t, cities))
	mmdb.Put(t, networks, mmdb.Systems(t, systems))
	w := install(t, fmt.Sprintf("[watch]\nplaces = %q\nnetworks = %q\n", places, networks))
	w.serve(t)
	w.operate(t, nil, "domain", "add", "acme.test", "--account", "main", "--assert", "--quiet")
	var full apiKey
	w.operate(t, &full, "key", "add", "full", "--account", "main", "--full-access")
	w.APIKey = full.Secret
	if err := w.makeKeys(); err != nil {
		t.Fatal(err)
	}
	w.stop()
	if err := writeHistory(context.Background(), w.DataDir, "main", w.keys); err != nil {
		t.Fatal(err)
	}
	w.serve(t)
	return w
}

// TestPlaces: where the operator has files of places and networks, logins are summed
// up by country, also for those who have no scripts; what is in no file is said to be.
func TestPlaces(t *testing.T) {
	t.Parallel()
	browser(t)
	w := located(t)
	b := open(t, w.url())
	b.join(w.setup(t, "main", "paula@served.test"), "paula", "paula@served.test")
	b.visit("/logins")
	b.later("#by-place", "DE")
	if n := b.count("#by-place meter"); n < 3 {
		t.Errorf("%d bars by place", n)
	}
	rows := script[[]string](b, `[...document.querySelectorAll("#by-place tbody tr")].map((r) => r.cells[0].innerText.trim())`)
	for _, country := range []string{"DE", "IE", "NL", "US", "VN"} {
		if !slices.Contains(rows, country) {
			t.Errorf("nothing of %s among %q", country, rows)
		}
	}
	if rows[0] != "DE" {
		t.Errorf("the most logins are from %s", rows[0])
	}
	b.scripts(false)
	b.visit("/logins?tried=nobody") // the list is empty, so that the sums are on top
	b.sees("#by-place", "DE")
	b.sees("#logins", "No login fits this search.")
	b.scripts(true)
	b.visit("/logins?tried=nobody")
	b.judge("logins-places")

	b.scripts(false)
	b.visit("/logins")
	b.click(`#by-place a[href="/logins?place=VN"]`)
	b.arrives("/logins")
	b.only("#logins tbody tr", "VN")
	b.fill("#search-place", "de\r")
	b.until(`location.search.includes("place=de")`)
	b.only("#logins tbody tr", "DE")
	b.visit("/logins?place=FR")
	b.sees("#logins", "No login fits this search.")
	b.scripts(true)

	b.visit("/keys/" + w.keys["web shop"].ID)
	b.sees("#places", "DE")
	b.sees("#users", "DE")
	b.judge("key-places")
	b.click("#places a")
	b.sees("h1", "Logins")
	b.only("#logins tbody tr", "web-1.acme.test")
}

// only fails unless there are such elements, and each shows a text.
func (b *tab) only(selector, want string) {
	b.t.Helper()
	b.until(`document.readyState === "complete"`)
	b.sees(selector, want)
	if others := script[[]string](b, fmt.Sprintf(`[...document.querySelectorAll(%s)].map((e) => e.textContent).filter((s) => !s.includes(%s))`, quote(selector), quote(want))); len(others) > 0 {
		b.t.Errorf("%s shows others than %s: %q", b.at(), want, others)
	}
}
