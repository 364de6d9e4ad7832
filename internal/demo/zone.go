package demo

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"postern/internal/api"
	"postern/internal/dns"
	"postern/internal/secret"
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
	return publish(records)
}

// origins are the zones of the demo. The whole of .test is one, because DMARC
// asks there too.
var origins = []string{"test", "127.in-addr.arpa"}

func newZone(origin string) (*dns.Zone, error) {
	return dns.NewZone(dns.ZoneConfig{Origin: origin, NameServers: []string{nsName}, Contact: "hostmaster@postern.test"})
}

// publish puts each record into the zone that its name is in.
func publish(records []api.Record) ([]*dns.Zone, error) {
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
