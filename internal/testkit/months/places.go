package months

import (
	"math/rand/v2"
	"net/netip"
)

// region is a network with a place. The networks are of RFC 2544 and RFC 6598 and
// of private use, so that none of them is anybody's.
type region struct {
	net           netip.Prefix
	Country, City string
	Lat, Lon      float64
	ASN           uint
}

func at(net, country, city string, lat, lon float64, asn uint) region {
	return region{netip.MustParsePrefix(net), country, city, lat, lon, asn}
}

// homes are where the customers' servers and people are.
var homes = []region{
	at("10.10.0.0/16", "DE", "Frankfurt", 50.11, 8.68, 64501), at("10.11.0.0/16", "DE", "Berlin", 52.52, 13.40, 64502),
	at("10.12.0.0/16", "NL", "Amsterdam", 52.37, 4.90, 64503), at("10.13.0.0/16", "FR", "Paris", 48.86, 2.35, 64504),
	at("10.14.0.0/16", "AT", "Vienna", 48.21, 16.37, 64505), at("10.15.0.0/16", "DE", "Hamburg", 53.55, 9.99, 64501),
	at("10.16.0.0/16", "IE", "Dublin", 53.35, -6.26, 64506), at("10.17.0.0/16", "SE", "Stockholm", 59.33, 18.07, 64507),
}

// strangers are where nobody of them is.
var strangers = []region{
	at("100.64.0.0/14", "BR", "Sao Paulo", -23.55, -46.63, 64601), at("100.68.0.0/14", "VN", "Hanoi", 21.03, 105.85, 64602),
	at("100.72.0.0/14", "RU", "Moscow", 55.76, 37.62, 64603), at("100.76.0.0/14", "NG", "Lagos", 6.52, 3.38, 64604),
	at("100.80.0.0/14", "CN", "Shenzhen", 22.54, 114.06, 64605), at("100.84.0.0/14", "US", "Dallas", 32.78, -96.80, 64606),
	at("198.18.0.0/16", "ID", "Jakarta", -6.21, 106.85, 64607), at("198.19.0.0/16", "AR", "Buenos Aires", -34.60, -58.38, 64608),
}

// Place is where an address is, as an operator's file of places would say.
type Place struct {
	Country, City string
	Lat, Lon      float64
	ASN           uint
}

// Look finds an address.
func Look(a netip.Addr) (Place, bool) {
	for _, rs := range [][]region{homes, strangers} {
		for _, r := range rs {
			if r.net.Contains(a) {
				return Place{r.Country, r.City, r.Lat, r.Lon, r.ASN}, true
			}
		}
	}
	return Place{}, false
}

// Places are all places by their networks, for a file such as an operator's.
func Places() map[netip.Prefix]Place {
	out := map[netip.Prefix]Place{}
	for _, rs := range [][]region{homes, strangers} {
		for _, r := range rs {
			out[r.net] = Place{r.Country, r.City, r.Lat, r.Lon, r.ASN}
		}
	}
	return out
}

// randomIn is an address of a network.
func randomIn(rng *rand.Rand, p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	host := rng.Uint32N(1<<(32-p.Bits())-2) + 1
	for i := range 4 {
		b[3-i] |= byte(host >> (8 * i))
	}
	return netip.AddrFrom4(b)
}
