package demo

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"postern/internal/dns"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/sender"
)

var loopback = netip.MustParseAddr("127.0.0.1")

const recordTTL = time.Minute

// zones publishes what the owners of the domains would: the records that the
// relay itself asks for, with DMARC at reject, and the way to the receiving
// server. Mail to the senders' domains goes there too, so that what comes back
// to them can be seen.
func zones(domains []tenantDomain) ([]*dns.Zone, error) {
	records := []relay.DNSRecord{
		{Host: nsName, Type: "A", Data: loopback.String()},
		{Host: nsName2, Type: "A", Data: loopback.String()},
		{Host: "_dmarc." + shop, Type: "TXT", Data: "v=DMARC1; p=reject; adkim=s"},
		{Host: shop, Type: "MX", Data: "10 " + sinkName + "."},
		{Host: sinkName, Type: "A", Data: loopback.String()},
		{Host: sinkName, Type: "TXT", Data: "v=spf1 a -all"},
		{Host: inbox, Type: "MX", Data: "10 " + sinkName + "."},
		{Host: inbox, Type: "TXT", Data: "v=spf1 mx -all"},
		{Host: "_dmarc." + inbox, Type: "TXT", Data: "v=DMARC1; p=reject"},
		{Host: "_dmarc." + nobodys, Type: "TXT", Data: "v=DMARC1; p=reject"},
		{Host: nobodys, Type: "TXT", Data: "v=spf1 -all"},
	}
	for _, d := range domains {
		if d.System {
			records = append(records, sender.SystemRecords(hostname, d.Domain, d.keys, []netip.Addr{loopback})...)
			continue
		}
		records = append(records, sender.Records(sender.Zone{Hostname: hostname}, d.Domain, d.keys)...)
		records = append(records,
			relay.DNSRecord{Host: "_dmarc." + d.Name, Type: "TXT", Data: "v=DMARC1; p=reject"},
			relay.DNSRecord{Host: d.Name, Type: "MX", Data: "10 " + sinkName + "."},
			relay.DNSRecord{Host: d.Name, Type: "TXT", Data: "v=spf1 a:" + hostname + " -all"})
	}
	return publish(records)
}

// origins are the zones of the demo. The whole of .test is one, because DMARC
// asks there too.
var origins = []string{"test", "127.in-addr.arpa"}

func newZone(origin string) (*dns.Zone, error) {
	return dns.NewZone(dns.ZoneConfig{Origin: origin, NameServers: []string{nsName}, Contact: "hostmaster@postern.test"})
}

// publish puts each record into the zone that its name is in.
func publish(records []relay.DNSRecord) ([]*dns.Zone, error) {
	var out []*dns.Zone
	for _, origin := range origins {
		z, err := newZone(origin)
		if err != nil {
			return nil, err
		}
		out = append(out, z)
	}
	type set struct{ name, typ string }
	values := make(map[set][]string)
	var order []set
	for _, r := range records {
		s := set{r.Host, r.Type}
		if values[s] == nil {
			order = append(order, s)
		}
		values[s] = append(values[s], r.Data)
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

func zonePath(dir, origin string) string { return filepath.Join(dir, origin+".zone") }

// writeZones keeps the zones for the next demo in the directory, which must
// publish the same keys. The last file is what says that all is there.
func writeZones(dir string, all []*dns.Zone) error {
	for _, z := range slices.Backward(all) {
		if err := secret.WriteFileAtomic(zonePath(dir, z.Origin()), []byte(z.String()), 0o644); err != nil {
			return fmt.Errorf("write zone: %w", err)
		}
	}
	return nil
}

// readZones reads what writeZones wrote. The error is fs.ErrNotExist where it
// did not come to its end.
func readZones(dir string) (out []*dns.Zone, err error) {
	for _, origin := range origins {
		text, err := os.ReadFile(zonePath(dir, origin))
		if err != nil {
			return nil, fmt.Errorf("read zone: %w", err)
		}
		z, err := newZone(origin)
		if err != nil {
			return nil, err
		}
		if err := z.Parse(bytes.NewReader(text)); err != nil {
			return nil, err
		}
		out = append(out, z)
	}
	return out, nil
}
