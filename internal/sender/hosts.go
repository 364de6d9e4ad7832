package sender

import (
	"strings"

	"golang.org/x/net/publicsuffix"

	"postern/internal/dkim"
	"postern/internal/relay"
)

// Fields are what to enter in the form of a DNS host for one record.
type Fields struct {
	Record string `json:"record"` // the record's key
	Type   string `json:"type"`
	Name   string `json:"name"`
	Value  string `json:"value"`
	// Priority of an MX record, where the form has a field of its own for it.
	Priority string `json:"priority,omitempty"`
	TTL      string `json:"ttl,omitempty"`
	Proxy    string `json:"proxy,omitempty"` // where the form has such a switch
	Note     string `json:"note,omitempty"`
}

// Host is a DNS host whose form is known.
type Host struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Zone  string `json:"zone"`  // what its zone list calls the domain's zone, as far as can be told
	Where string `json:"where"` // where in its pages records are entered
}

// form is how a DNS host wants its fields.
type form struct {
	id, title, where string
	name             nameForm
	dotted           bool // host names as values end in a dot
	quoted           bool // TXT values in quotes, cut into strings
	priority         bool // the priority of MX records has a field of its own
	ttl              string
	proxy            string
	note             map[string]string
}

// nameForm is how a form wants names.
type nameForm int

const (
	nameRelative nameForm = iota // without the zone's name
	nameWhole                    // whole, with a dot at the end
)

// forms are the DNS hosts that are known, by what their own manuals say.
var forms = []form{
	{id: "cloudflare", title: "Cloudflare", where: "DNS > Records > Add record", priority: true, ttl: "Auto", proxy: "DNS only",
		note: map[string]string{"CNAME": "The proxy (the orange cloud) must be off: with it on, the alias cannot be seen from outside."}},
	{id: "route53", title: "Amazon Route 53", where: "Hosted zones > the zone > Create record", quoted: true, ttl: "300",
		note: map[string]string{"TXT": "Several strings stand in one value field, each in quotes, with a space between.", "MX": "The priority and the host are one value."}},
	{id: "godaddy", title: "GoDaddy", where: "My Products > DNS > Add New Record", priority: true, ttl: "1 Hour"},
	{id: "namecheap", title: "Namecheap", where: "Domain List > Manage > Advanced DNS > Add New Record", dotted: true, priority: true, ttl: "Automatic",
		note: map[string]string{"MX": "MX records are under Mail Settings: choose Custom MX."}},
	{id: "gandi", title: "Gandi", where: "Domain > DNS Records > Add", dotted: true, quoted: true, priority: true, ttl: "300"},
	{id: "google", title: "Google Cloud DNS", where: "Cloud DNS > the zone > Add standard", dotted: true, quoted: true, ttl: "5 minutes",
		note: map[string]string{"MX": "The priority and the host are one value."}},
	{id: "azure", title: "Azure DNS", where: "DNS zones > the zone > Record sets > Add", priority: true, ttl: "5 minutes"},
	{id: "digitalocean", title: "DigitalOcean", where: "Networking > Domains > the domain", dotted: true, priority: true, ttl: "3600"},
	{id: "ovh", title: "OVHcloud", where: "Domain names > the domain > DNS zone > Add an entry", dotted: true, priority: true, ttl: "Default",
		note: map[string]string{"TXT": "Choose TXT, not the forms for SPF or DKIM: those change the value."}},
	{id: "hetzner", title: "Hetzner DNS", where: "DNS > the zone > Add record", dotted: true, quoted: true, priority: true, ttl: "3600"},
	{id: "ionos", title: "IONOS", where: "Domains & SSL > the domain > DNS > Add record", priority: true, ttl: "1 hour"},
	{id: "plain", title: "Zone file (BIND, NSD, Knot, PowerDNS)", where: "the zone's file; raise the serial of its SOA record", name: nameWhole, dotted: true, quoted: true, ttl: "3600"},
}

// Hosts are the DNS hosts that HostFields knows.
func Hosts(d relay.Domain) []Host {
	out := make([]Host, len(forms))
	for i, f := range forms {
		out[i] = Host{ID: f.id, Title: f.title, Zone: zoneOf(d), Where: f.where}
	}
	return out
}

// zoneOf is the zone in which a domain's records are likely to be entered: that
// of the name that was registered.
func zoneOf(d relay.Domain) string {
	if org, err := publicsuffix.EffectiveTLDPlusOne(d.Name); err == nil {
		return org
	}
	return d.Name
}

// HostFields are the exact fields to fill in at a DNS host, one for each record;
// nil: the host is not known. Names are relative to the zone of the registered
// domain; where a domain below it has a zone of its own, the notes say so.
func HostFields(host string, d relay.Domain, rs []relay.DNSRecord) []Fields {
	for _, f := range forms {
		if f.id != host {
			continue
		}
		zone := zoneOf(d)
		out := make([]Fields, len(rs))
		for i, r := range rs {
			out[i] = f.fields(r, zone, d.Name)
		}
		return out
	}
	return nil
}

// fields are those for one record.
func (f form) fields(r relay.DNSRecord, zone, domain string) Fields {
	out := Fields{Record: r.Key, Type: r.Type, Name: r.Host, Value: r.Data, TTL: f.ttl, Note: f.note[r.Type]}
	if f.name == nameWhole {
		out.Name += "."
	} else {
		out.Name = relativeName(r.Host, zone)
		if zone != domain {
			out.Note = strings.TrimSpace(out.Note + " If " + domain + " has a zone of its own at this host, enter only " + relativeName(r.Host, domain) + " as the name.")
		}
	}
	dot := ""
	if f.dotted {
		dot = "."
	}
	switch r.Type {
	case "CNAME":
		out.Value, out.Proxy = r.Data+dot, f.proxy
	case "MX":
		priority, host, _ := strings.Cut(r.Data, " ")
		out.Value = r.Data + dot
		if f.priority {
			out.Priority, out.Value = priority, host+dot
		}
	case "TXT":
		if f.quoted {
			out.Value = dkim.ZoneTXT(r.Data)
		}
	}
	return out
}

// relativeName is a name without its zone's; "@" of the zone itself.
func relativeName(name, zone string) string {
	if name == zone {
		return "@"
	}
	return strings.TrimSuffix(name, "."+zone)
}
