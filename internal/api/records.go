package api

import (
	"net/netip"
	"strings"

	"postern/internal/relay"
)

// Record is one DNS record to publish.
type Record struct {
	Name  string `json:"name"` // full name, without the last dot
	Type  string `json:"type"`
	Value string `json:"value"` // as in a zone file, TXT without quotes
	For   string `json:"for"`   // what it is good for
	// Required records are those without which mail is refused or unsigned; the
	// others are strongly advised.
	Required bool `json:"required"`
}

// Records lists what the owner of a domain publishes so that mail of the domain
// passes SPF, DKIM and DMARC when it leaves through the relay hostname.
func Records(hostname string, d relay.Domain, keys []relay.DKIMKey) []Record {
	var out []Record
	for _, k := range keys {
		if !k.RetiredAt.IsZero() {
			continue
		}
		use := "DKIM, " + string(k.Algorithm)
		if !k.Active {
			use += " (signs once enabled: postern domain selector " + d.Name + " " + k.Selector + " enable)"
		}
		out = append(out, Record{Name: k.Selector + "._domainkey." + d.Name, Type: "TXT", Value: k.Record, For: use, Required: k.Active})
	}
	if d.ReturnPath != "" && d.ReturnPath != hostname {
		out = append(out,
			Record{Name: d.ReturnPath, Type: "MX", Value: "10 " + hostname + ".", For: "bounces come back", Required: true},
			Record{Name: d.ReturnPath, Type: "TXT", Value: "v=spf1 a:" + hostname + " -all", For: "SPF of the return path", Required: true},
		)
	}
	if !d.System {
		out = append(out, Record{
			Name: "_dmarc." + d.Name, Type: "TXT", Value: "v=DMARC1; p=none", For: "DMARC: start with none, go to reject once reports are clean",
		})
	}
	return out
}

// SystemRecords lists what postern's own domain needs: its addresses, and that
// mail to it arrives and mail from it is believed. addrs may be empty.
func SystemRecords(hostname string, d relay.Domain, keys []relay.DKIMKey, addrs []netip.Addr) []Record {
	var out []Record
	for _, a := range addrs {
		kind := "A"
		if a.Is6() {
			kind = "AAAA"
		}
		out = append(out, Record{Name: hostname, Type: kind, Value: a.String(), For: "the relay's address", Required: true})
	}
	out = append(out,
		Record{Name: d.Name, Type: "MX", Value: "10 " + hostname + ".", For: "bounces, reports, postmaster@ and abuse@ come here", Required: true},
		Record{Name: d.Name, Type: "TXT", Value: "v=spf1 a:" + hostname + " -all", For: "SPF", Required: true},
	)
	if d.Name != hostname { // HELO has a policy of its own (RFC 7208 §2.3)
		out = append(out, Record{Name: hostname, Type: "TXT", Value: "v=spf1 a -all", For: "SPF of the name said in EHLO"})
	}
	out = append(out, Records(hostname, d, keys)...)
	out = append(out, Record{Name: "_dmarc." + d.Name, Type: "TXT", Value: "v=DMARC1; p=reject", For: "DMARC: nothing else sends as this name", Required: true})
	for _, a := range addrs {
		out = append(out, Record{Name: reverseName(a), Type: "PTR", Value: hostname + ".", For: "the name of the address: receivers refuse mail without", Required: true})
	}
	return out
}

// reverseName is the name of an address's PTR record (RFC 1035 §3.5, RFC 3596 §2.5).
func reverseName(a netip.Addr) string {
	const digits = "0123456789abcdef"
	b := a.AsSlice()
	var parts []string
	for i := len(b) - 1; i >= 0; i-- {
		if a.Is4() {
			parts = append(parts, netip.AddrFrom4([4]byte{0, 0, 0, b[i]}).String()[len("0.0.0."):])
		} else {
			parts = append(parts, string(digits[b[i]&15]), string(digits[b[i]>>4]))
		}
	}
	zone := ".in-addr.arpa"
	if !a.Is4() {
		zone = ".ip6.arpa"
	}
	return strings.Join(parts, ".") + zone
}
