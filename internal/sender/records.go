package sender

import (
	"fmt"
	"net/netip"
	"strings"

	"postern/internal/dkim"
	"postern/internal/relay"
)

// Zone is what a domain's records point to: the zone that this installation
// serves, and its mail host.
type Zone struct {
	Name     string // empty: none is served
	Hostname string // of the relay: bounces come back there
	// Addresses are those that a domain's mail leaves from; nil or none: not known.
	Addresses func(d relay.Domain) []netip.Addr
}

// Host is the name in our zone that stands for a domain: its return path is an
// alias of it.
func (z Zone) Host(d relay.Domain) string { return "u" + d.Token + ".wl." + z.Name }

// KeyHost is the name in our zone that has the DKIM record of a domain's selector.
func (z Zone) KeyHost(d relay.Domain, selector string) string {
	return selector + ".domainkey." + z.Host(d)
}

// MX is the value of the MX record of a domain's return path.
func (z Zone) MX() string { return "10 " + z.Hostname }

// SPF is the SPF record of a domain's return path: the addresses that its mail
// leaves from and no others; where they are not known, those of the host name.
func (z Zone) SPF(d relay.Domain) string {
	ips := d.IPs
	if len(ips) == 0 && z.Addresses != nil {
		ips = z.Addresses(d)
	}
	var b strings.Builder
	b.WriteString("v=spf1")
	for _, a := range ips {
		if a = a.Unmap(); a.Is4() {
			b.WriteString(" ip4:" + a.String())
		} else if a.IsValid() {
			b.WriteString(" ip6:" + a.String())
		}
	}
	if len(ips) == 0 {
		b.WriteString(" a:" + z.Hostname)
	}
	b.WriteString(" -all")
	return b.String()
}

// ReportAddress is where DMARC reports about a domain are read; "" for a domain
// without a token.
func (z Zone) ReportAddress(d relay.Domain) string {
	switch {
	case d.Token == "" || z.Hostname == "":
		return ""
	case z.Name != "":
		return "dmarc-" + d.Token + "@dmarc." + z.Name
	}
	return "dmarc-" + d.Token + "@" + z.Hostname
}

// The selectors of a domain that brings none of its own.
const (
	SelectorRSA     = "s1"
	SelectorEd25519 = "s1e"
)

// Selectors are the DKIM selectors of a domain: two slots for each algorithm, so
// that one can be made ready while the other signs.
type Selectors struct{ RSA, Ed25519 [2]string }

// SelectorsOf are a domain's: s1, s2, s1e, s2e; of a custom selector org: org,
// org2, orge, org2e.
func SelectorsOf(d relay.Domain) Selectors {
	if d.Selector == "" {
		return Selectors{RSA: [2]string{SelectorRSA, "s2"}, Ed25519: [2]string{SelectorEd25519, "s2e"}}
	}
	return Selectors{RSA: [2]string{d.Selector, d.Selector + "2"}, Ed25519: [2]string{d.Selector + "e", d.Selector + "2e"}}
}

// recordKey names a selector's record as the v3 API does.
func (s Selectors) recordKey(selector string) string {
	switch selector {
	case s.RSA[0]:
		return "dkim1"
	case s.RSA[1]:
		return "dkim2"
	case s.Ed25519[0]:
		return "dkim1_ed25519"
	case s.Ed25519[1]:
		return "dkim2_ed25519"
	}
	return "dkim_" + selector
}

// The keys of records, as the v3 API calls them.
const (
	recordMailCNAME  = "mail_cname"
	recordMailServer = "mail_server"
	recordSPF        = "subdomain_spf"
	recordOwnership  = "ownership"
)

// ownershipPrefix begins the value of a manual domain's proof.
const ownershipPrefix = "postern-verify="

// Records are the records that a domain's owner is to publish, in the order in
// which they are shown.
func Records(z Zone, d relay.Domain, keys []relay.DKIMKey) []relay.DNSRecord {
	if d.Automatic && z.Name != "" && d.Token != "" {
		return aliases(z, d, keys)
	}
	var out []relay.DNSRecord
	if d.Token != "" && !d.System {
		out = append(out, relay.DNSRecord{
			Key: recordOwnership, For: "proves that the domain is yours", Type: "TXT", Host: "_postern." + d.Name, Data: ownershipPrefix + d.Token, Required: true,
		})
	}
	if d.ReturnPath != "" && d.ReturnPath != AutoReturnPath && d.ReturnPath != z.Hostname {
		out = append(out,
			relay.DNSRecord{Key: recordMailServer, For: "bounces come back", Type: "MX", Host: d.ReturnPath, Data: z.MX(), Required: true},
			relay.DNSRecord{Key: recordSPF, For: "SPF of the return path: these addresses may send", Type: "TXT", Host: d.ReturnPath, Data: z.SPF(d), Required: true},
		)
	}
	return append(out, keyRecords(d, keys)...)
}

// aliases are the records of an automatic domain.
func aliases(z Zone, d relay.Domain, keys []relay.DKIMKey) []relay.DNSRecord {
	sel := SelectorsOf(d)
	out := []relay.DNSRecord{{
		Key: recordMailCNAME, For: "return path: bounces come back, and SPF", Type: "CNAME", Host: d.ReturnPath, Data: z.Host(d), Required: true,
	}}
	for _, g := range []struct {
		selectors [2]string
		use       string
		required  bool
	}{{sel.RSA, "DKIM", true}, {sel.Ed25519, "DKIM with Ed25519, offered beside RSA", false}} {
		for i, s := range g.selectors {
			use := g.use
			if i == 1 {
				use += ": for the next key, so that keys can change by themselves"
			}
			out = append(out, relay.DNSRecord{
				Key: sel.recordKey(s), For: use, Type: "CNAME", Host: s + "._domainkey." + d.Name, Data: z.KeyHost(d, s), Required: g.required,
			})
		}
	}
	// A key that was imported under a selector of its own stands beside the slots.
	for _, k := range keys {
		if key := sel.recordKey(k.Selector); strings.HasPrefix(key, "dkim_") && k.WithdrawnAt.IsZero() {
			out = append(out, relay.DNSRecord{
				Key: key, For: "DKIM, " + string(k.Algorithm), Type: "CNAME", Host: k.Selector + "._domainkey." + d.Name, Data: z.KeyHost(d, k.Selector),
				Required: k.Active && k.Algorithm == relay.DKIMRSA,
			})
		}
	}
	return out
}

// keyRecords are the TXT records of a manual domain's keys. A withdrawn one needs
// none.
func keyRecords(d relay.Domain, keys []relay.DKIMKey) (out []relay.DNSRecord) {
	sel := SelectorsOf(d)
	for _, k := range keys {
		if !k.WithdrawnAt.IsZero() || k.Record == "" {
			continue
		}
		use := "DKIM, " + string(k.Algorithm)
		switch {
		case !k.RetiredAt.IsZero():
			use += ": the key before, until the mail that it signed has arrived"
		case !k.Active && k.Algorithm == relay.DKIMEd25519:
			use += ": signs once it is seen"
		case !k.Active:
			use += ": the next key; it signs once it is seen"
		}
		out = append(out, relay.DNSRecord{
			Key: sel.recordKey(k.Selector), For: use, Type: "TXT", Host: k.Selector + "._domainkey." + d.Name, Data: k.Record,
			Required: k.Active && k.Algorithm == relay.DKIMRSA,
		})
	}
	return out
}

// snippetTTL is short: what was typed wrong is soon forgotten.
const snippetTTL = 3600

// ZoneSnippet is records as they stand in a zone file. TXT values are cut into
// strings of 255 octets (RFC 1035 §3.3).
func ZoneSnippet(rs []relay.DNSRecord) string {
	var b strings.Builder
	for _, r := range rs {
		value := r.Data
		switch r.Type {
		case "TXT":
			value = dkim.ZoneTXT(r.Data)
		case "CNAME", "MX":
			value += "."
		}
		fmt.Fprintf(&b, "; %s%s\n%s. %d IN %s %s\n", r.For, optional(r), r.Host, snippetTTL, r.Type, value)
	}
	return b.String()
}

func optional(r relay.DNSRecord) string {
	if r.Required {
		return ""
	}
	return " (not required)"
}
