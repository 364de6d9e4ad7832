package dns_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"postern/internal/dns"
)

// The zone above knows who answers for a zone today; the resolver may know who
// did yesterday.
func TestAuthorityAsksTheZoneAbove(t *testing.T) {
	t.Parallel()
	to := func(hosts ...string) respond {
		var ns, glue []string
		for _, h := range hosts {
			ns = append(ns, "example.test. 60 IN NS ns"+h+".example.test.")
			glue = append(glue, "ns"+h+".example.test. 60 IN A 127.0.0."+h)
		}
		return refers(t, ns, glue...)
	}
	silent := func(string, *mdns.Msg) []*mdns.Msg { return nil }
	// 127.0.0.1 serves "test"; 2 and 3 are what the resolver knows for example.test.
	for _, tt := range []struct {
		what    string
		above   respond
		world   func(*dns.Static)
		zone    string
		servers []string
		asked   string // which addresses were asked for the record
	}{
		{"nothing new", to("2", "3"), nil, "example.test", []string{"ns2", "ns3"}, "23"},
		{"the domain moved", to("4"), nil, "example.test", []string{"ns4"}, "4"},
		{"one server more", to("3", "4"), nil, "example.test", []string{"ns3", "ns4", "ns2"}, "342"},
		{"the domain ended", says(t, mdns.RcodeNameError), nil, "test", []string{"ns1"}, "1"},
		{"no zone of its own any more", says(t, 0), nil, "test", []string{"ns1"}, "1"},
		{"one server for both zones", says(t, 0, "example.test. 60 IN NS ns5.example.test."), nil, "example.test", []string{"ns5"}, "5"},
		{"refused", says(t, mdns.RcodeRefused), nil, "example.test", []string{"ns2", "ns3"}, "23"},
		{"a referral to something else", refers(t, []string{"other.test. 60 IN NS ns4.example.test."}), nil, "example.test", []string{"ns2", "ns3"}, "23"},
		{"silence", silent, nil, "example.test", []string{"ns2", "ns3"}, "23"},
		{"in a private network", to("4"), func(s *dns.Static) { s.Addrs["ns1.example.test"] = addrs("10.0.0.1") }, "example.test", []string{"ns2", "ns3"}, "23"},
		{"nobody knows it", to("4"), func(s *dns.Static) { delete(s.NSs, "test") }, "example.test", []string{"ns2", "ns3"}, "23"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			w := world(5)
			w.NSs = map[string][]string{"test": {"ns1.example.test"}, "example.test": {"ns2.example.test", "ns3.example.test"}}
			if tt.world != nil {
				tt.world(w)
			}
			servers := []respond{tt.above}
			for range 4 {
				servers = append(servers, says(t, 0))
			}
			l := newLab(t, servers...)
			a := l.authority(w)
			if tt.what == "silence" {
				a = dns.NewAuthority(dns.AuthorityConfig{Resolver: w, Port: l.port, Allow: loopback, Timeout: 2 * time.Second, PerServer: -1})
			}
			for range 2 { // and the second time it is known
				got, err := a.Ask(t.Context(), "x.example.test", "TXT")
				must(t, err)
				asked := ""
				for _, told := range got.Told {
					asked += told.Addr.String()[len("127.0.0."):]
				}
				var hosts []string
				for _, h := range got.Servers {
					hosts = append(hosts, h[:3])
				}
				if got.Zone != tt.zone || !slices.Equal(hosts, tt.servers) || asked != tt.asked {
					t.Errorf("zone %s, servers %s, asked %s", got.Zone, hosts, asked)
				}
			}
			if n := l.questions("127.0.0.1"); tt.zone == "example.test" && n > 1 {
				t.Errorf("the zone above was asked %d times", n)
			}
		})
	}
}

// The servers of a top-level domain are not flooded with names that are not there.
func TestAuthoritySparesRegistries(t *testing.T) {
	t.Parallel()
	l := newLab(t, says(t, mdns.RcodeNameError), says(t, mdns.RcodeNameError), says(t, mdns.RcodeNameError), says(t, mdns.RcodeNameError), says(t, mdns.RcodeNameError))
	w := world(5)
	w.NSs = map[string][]string{"test": w.NSs["example.test"]}
	got, err := l.authority(w).Ask(t.Context(), "mistyped.test", "TXT")
	must(t, err)
	if len(got.Told) != 3 || got.Zone != "test" {
		t.Errorf("zone %s: %q", got.Zone, outcomes(got))
	}
}

// A check of a domain asks about several of its names at once, and all domains are
// in few zones above: those are asked once for all of its names. Whoever gives up
// while it asks leaves the question to the next.
func TestAuthorityAsksTheZoneAboveOnce(t *testing.T) {
	t.Parallel()
	begun, answer := make(chan struct{}, 100), make(chan struct{})
	slow := func(network string, q *mdns.Msg) []*mdns.Msg {
		begun <- struct{}{}
		<-answer
		return refers(t, []string{"example.test. 60 IN NS ns2.example.test."})(network, q)
	}
	l := newLab(t, slow, says(t, 0))
	w := world(2)
	w.NSs = map[string][]string{"test": {"ns1.example.test"}, "example.test": {"ns2.example.test"}}
	a := l.authority(w)
	impatient, giveUp := context.WithCancel(t.Context())
	var first, rest sync.WaitGroup
	first.Go(func() { _, _ = a.Ask(impatient, "x.example.test", "TXT") })
	<-begun
	for i := range 8 {
		rest.Go(func() {
			if got, err := a.Ask(t.Context(), fmt.Sprintf("x%d.example.test", i), "TXT"); err != nil || got.Zone != "example.test" {
				t.Errorf("zone %q: %v", got.Zone, err)
			}
		})
	}
	giveUp()
	first.Wait()
	<-begun
	close(answer)
	rest.Wait()
	if n := l.questions("127.0.0.1"); n != 2 {
		t.Errorf("the zone above was asked %d times, want 2", n)
	}
}

// Loopback must be allowed by name: an empty configuration asks nothing there.
func TestAuthorityAsksNoPrivateZoneAbove(t *testing.T) {
	t.Parallel()
	l := newLab(t, says(t, 0), says(t, 0))
	w := world(2)
	w.NSs = map[string][]string{"test": {"ns1.example.test"}, "example.test": {"ns2.example.test"}}
	a := dns.NewAuthority(dns.AuthorityConfig{Resolver: w, Port: l.port, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}, Timeout: 5 * time.Second})
	if _, err := a.Ask(t.Context(), "example.test", "TXT"); err != nil || l.questions("127.0.0.1") != 0 {
		t.Errorf("%d questions, %v", l.questions("127.0.0.1"), err)
	}
}
