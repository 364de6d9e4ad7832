package demo

import (
	"fmt"
	"net/netip"
	"time"

	"postern/internal/api"
	"postern/internal/dns"
)

var loopback = netip.MustParseAddr("127.0.0.1")

const recordTTL = time.Minute

// zones publishes what the owners of the domains would: the records that the
// relay itself asks for, with DMARC at reject, and the way to the receiving
// server. Mail to the senders' domains goes there too, so that what comes back
// to them can be seen.
func zones(domains []tenantDomain) ([]*dns.Zone, error) {
	records := []api.Record{
		{Name: nsName, Type: "A", Value: loopback.String()},
		{Name: sinkName, Type: "A", Value: loopback.String()},
		{Name: sinkName, Type: "TXT", Value: "v=spf1 a -all"},
		{Name: inbox, Type: "MX", Value: "10 " + sinkName + "."},
		{Name: inbox, Type: "TXT", Value: "v=spf1 mx -all"},
		{Name: "_dmarc." + inbox, Type: "TXT", Value: "v=DMARC1; p=reject"},
		{Name: "_dmarc." + nobodys, Type: "TXT", Value: "v=DMARC1; p=reject"},
		{Name: nobodys, Type: "TXT", Value: "v=spf1 -all"},
	}
	for _, d := range domains {
		if d.System {
			records = append(records, api.SystemRecords(hostname, d.Domain, d.keys, []netip.Addr{loopback})...)
			continue
		}
		for _, r := range api.Records(hostname, d.Domain, d.keys) {
			if r.Name == "_dmarc."+d.Name {
				r.Value = "v=DMARC1; p=reject"
			}
			records = append(records, r)
		}
		records = append(records,
			api.Record{Name: d.Name, Type: "MX", Value: "10 " + sinkName + "."},
			api.Record{Name: d.Name, Type: "TXT", Value: "v=spf1 a:" + hostname + " -all"})
	}
	return publish(records, "test", "127.in-addr.arpa")
}

// publish makes zones of records. Each record is in the zone that its name ends
// with.
func publish(records []api.Record, origins ...string) ([]*dns.Zone, error) {
	var out []*dns.Zone
	for _, origin := range origins {
		z, err := dns.NewZone(dns.ZoneConfig{Origin: origin, NameServers: []string{nsName}, Contact: "hostmaster@postern.test"})
		if err != nil {
			return nil, err
		}
		out = append(out, z)
	}
	type set struct{ name, typ string }
	values := make(map[set][]string)
	var order []set
	for _, r := range records {
		s := set{r.Name, r.Type}
		if values[s] == nil {
			order = append(order, s)
		}
		values[s] = append(values[s], r.Value)
	}
	for _, s := range order {
		z := dns.ZoneFor(out, s.name)
		if z == nil {
			return nil, fmt.Errorf("publish %s %s: no zone", s.typ, s.name)
		}
		if err := z.Set(s.name, s.typ, recordTTL, values[s]...); err != nil {
			return nil, err
		}
	}
	return out, nil
}
