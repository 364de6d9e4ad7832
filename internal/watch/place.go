package watch

import (
	"fmt"
	"math"
	"net/netip"

	"postern/internal/relay"
)

// Place is where an address is, as far as somebody knows.
type Place struct {
	Country string // ISO 3166-1 alpha-2
	City    string
	// Lat and Lon are degrees; they count if Located.
	Lat, Lon float64
	Located  bool
	ASN      uint // number of its autonomous system; 0: not known
}

// Places knows where addresses are; *MMDB does.
type Places interface {
	// Look is asked for each login and message, so it must be fast. ok: something is known.
	Look(addr netip.Addr) (p Place, ok bool)
}

// origin is where a use of a key came from: the address, the networks around it,
// and its place where one is known.
type origin struct {
	addr netip.Addr
	near netip.Prefix // /24, /48
	wide netip.Prefix // /16, /32
	Place
	known bool // Places knew the address
}

func (e *Engine) origin(addr netip.Addr) origin {
	addr = addr.Unmap().WithZone("")
	near, wide := 24, 16
	if addr.Is6() {
		near, wide = 48, 32
	}
	o := origin{addr: addr}
	o.near, _ = addr.Prefix(near)
	o.wide, _ = addr.Prefix(wide)
	if e.cfg.Places != nil {
		o.Place, o.known = e.cfg.Places.Look(addr)
	}
	return o
}

// unit is what counts as one place where places are counted: what one provider
// has in one country, or a wide network where nothing is known.
func (o *origin) unit() string {
	if o.known && (o.Country != "" || o.ASN != 0) {
		return fmt.Sprintf("%s/%d", o.Country, o.ASN)
	}
	return o.wide.String()
}

// cell is a place on the globe, about 100 km wide.
func (o *origin) cell() string {
	return fmt.Sprintf("%s %.0f %.0f", o.Country, o.Lat, o.Lon)
}

// show is the place for a finding.
func (o *origin) show() relay.WatchPlace {
	return relay.WatchPlace{Addr: o.addr.String(), Network: o.near.String(), Country: o.Country, City: o.City, ASN: o.ASN}
}

// words names a place in a sentence: "203.0.113.7 (Lagos, NG, AS64500)".
func placeWords(p relay.WatchPlace) string {
	text := ""
	for _, part := range []string{printable(p.City, 60), printable(p.Country, 10), asnWords(p.ASN)} {
		if part == "" {
			continue
		}
		if text != "" {
			text += ", "
		}
		text += part
	}
	if text == "" {
		return p.Addr + " (network " + p.Network + ")"
	}
	return p.Addr + " (" + text + ")"
}

func asnWords(asn uint) string {
	if asn == 0 {
		return ""
	}
	return fmt.Sprintf("AS%d", asn)
}

// earthRadius is in kilometres.
const earthRadius = 6371

// distance is the great circle between two places, in kilometres (haversine).
func distance(lat1, lon1, lat2, lon2 float64) float64 {
	rad := func(d float64) float64 { return d * math.Pi / 180 }
	sin2 := func(x float64) float64 { return math.Sin(x/2) * math.Sin(x/2) }
	a := sin2(rad(lat2-lat1)) + math.Cos(rad(lat1))*math.Cos(rad(lat2))*sin2(rad(lon2-lon1))
	return 2 * earthRadius * math.Asin(math.Min(1, math.Sqrt(a)))
}
