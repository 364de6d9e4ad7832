package sender

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"postern/internal/dns"
)

// nameServers runs one name server for each zone, at 127.0.0.1, 127.0.0.2, …, all
// on one port, and returns who asks them.
func nameServers(tb testing.TB, zones ...*dns.Zone) *dns.Authority {
	tb.Helper()
	var port uint16
	var servers []*dns.ZoneServer
	for try := 0; len(servers) < len(zones); try++ {
		if try == 20 {
			tb.Skip("no port that is free on several loopback addresses")
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		port = l.Addr().(*net.TCPAddr).AddrPort().Port()
		l.Close()
		servers = nil
		for i, z := range zones {
			s, err := dns.ListenZonesWith(fmt.Sprintf("127.0.0.%d:%s", i+1, strconv.Itoa(int(port))), dns.ServeConfig{}, z)
			if err != nil {
				for _, s := range servers {
					s.Close()
				}
				servers = nil
				break
			}
			servers = append(servers, s)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, len(servers))
	for _, s := range servers {
		go func() { done <- s.Run(ctx) }()
	}
	tb.Cleanup(func() {
		cancel()
		for range servers {
			<-done
		}
	})
	r := &dns.Static{NSs: map[string][]string{}, Addrs: map[string][]netip.Addr{}}
	for i := range zones {
		host := fmt.Sprintf("ns%d.host.test", i+1)
		r.NSs[zones[0].Origin()] = append(r.NSs[zones[0].Origin()], host)
		r.Addrs[host] = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 1)})}
	}
	return dns.NewAuthority(dns.AuthorityConfig{
		Resolver: r, Port: port, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Timeout: 5 * time.Second, PerServer: -1,
	})
}

// The snippet that is printed, put into real name servers, is what the check
// finds there; and a server that has an old one is named.
func TestCheckOnTheWire(t *testing.T) {
	t.Parallel()
	for _, automatic := range []bool{true, false} {
		b := newBench(t, automatic)
		var zones []*dns.Zone
		for range 2 {
			z, err := dns.NewZone(dns.ZoneConfig{Origin: "acme.test", NameServers: []string{"ns1.host.test", "ns2.host.test"}})
			if err != nil {
				t.Fatal(err)
			}
			if err := z.Parse(strings.NewReader(ZoneSnippet(b.rs))); err != nil {
				t.Fatal(err)
			}
			zones = append(zones, z)
		}
		b.s.Authority = nameServers(t, zones...)
		c := b.examine()
		if !c.Valid || c.Unknown || len(c.Servers) != 2 {
			t.Errorf("automatic %v: %+v", automatic, c)
		}
		for _, r := range c.Records {
			if !r.Valid {
				t.Errorf("automatic %v: %+v", automatic, r)
			}
		}
		if err := zones[1].Remove(b.rec("dkim1").Host); err != nil {
			t.Fatal(err)
		}
		c = b.examine()
		f, ok := get(c, codeSplit, "dkim1")
		if c.Valid || !ok || f.Server != "ns2.host.test" {
			t.Errorf("automatic %v: one server without the key: %+v", automatic, c.Findings)
		}
	}
}
