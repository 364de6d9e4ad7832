package sender

import (
	"net/netip"
	"strings"

	"postern/internal/relay"
)

// SystemRecords lists what postern's own domain needs: its addresses, and that
// mail to it arrives and mail from it is believed. addrs may be empty.
func SystemRecords(hostname string, d relay.Domain, keys []relay.DKIMKey, addrs []netip.Addr) []relay.DNSRecord {
	var out []relay.DNSRecord
	add := func(use, typ, host, data string, required bool) {
		out = append(out, relay.DNSRecord{For: use, Type: typ, Host: host, Data: data, Required: required})
	}
	for _, a := range addrs {
		kind := "A"
		if a.Is6() {
			kind = "AAAA"
		}
		add("the relay's address", kind, hostname, a.String(), true)
	}
	add("bounces, reports, postmaster@ and abuse@ come here", "MX", d.Name, Zone{Hostname: hostname}.MX(), true)
	add("SPF", "TXT", d.Name, "v=spf1 a:"+hostname+" -all", true)
	if d.Name != hostname { // HELO has a policy of its own (RFC 7208 §2.3)
		add("SPF of the name said in EHLO", "TXT", hostname, "v=spf1 a -all", false)
	}
	out = append(out, Records(Zone{Hostname: hostname}, d, keys)...)
	add("DMARC: nothing else sends as this name", "TXT", "_dmarc."+d.Name, "v=DMARC1; p=reject", true)
	for _, a := range addrs {
		add("the name of the address: receivers refuse mail without", "PTR", reverseName(a), hostname, true)
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
