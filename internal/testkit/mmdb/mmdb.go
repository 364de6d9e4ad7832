// Package mmdb writes MaxMind DB files for tests, with the writer of those who
// made the format: what postern reads is what operators have, not what we think
// they have. The two kinds are laid out as in GeoLite2-City and GeoLite2-ASN.
package mmdb

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// City is where a network is.
type City struct {
	Country, Name string
	Lat, Lon      float64
}

// Cities makes a database of places.
func Cities(t testing.TB, at map[string]City) []byte {
	t.Helper()
	all := map[string]mmdbtype.DataType{}
	for network, c := range at {
		r := mmdbtype.Map{
			"country":  mmdbtype.Map{"iso_code": mmdbtype.String(c.Country), "names": mmdbtype.Map{"en": mmdbtype.String("The country " + c.Country)}},
			"location": mmdbtype.Map{"latitude": mmdbtype.Float64(c.Lat), "longitude": mmdbtype.Float64(c.Lon), "accuracy_radius": mmdbtype.Uint16(20)},
		}
		if c.Name != "" {
			r["city"] = mmdbtype.Map{"names": mmdbtype.Map{"en": mmdbtype.String(c.Name), "de": mmdbtype.String("Stadt " + c.Name)}}
		}
		all[network] = r
	}
	return File(t, "Test-City", 6, all)
}

// Systems makes a database of autonomous systems.
func Systems(t testing.TB, at map[string]uint32) []byte {
	t.Helper()
	all := map[string]mmdbtype.DataType{}
	for network, asn := range at {
		all[network] = mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(asn), "autonomous_system_organization": mmdbtype.String("Example Networks")}
	}
	return File(t, "Test-ASN", 6, all)
}

// File makes a database of any records, by network; version is 4 or 6.
func File(t testing.TB, kind string, version int, records map[string]mmdbtype.DataType) []byte {
	t.Helper()
	w, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: kind, IPVersion: version, IncludeReservedNetworks: true, BuildEpoch: 1_767_225_600})
	if err != nil {
		t.Fatal(err)
	}
	for network, r := range records {
		p := netip.MustParsePrefix(network)
		if err := w.Insert(&net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}, r); err != nil {
			t.Fatalf("%s: %v", network, err)
		}
	}
	var b bytes.Buffer
	if _, err := w.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Put writes a file as an operator replaces it: beside, then over the old one.
func Put(t testing.TB, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}
