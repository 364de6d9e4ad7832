package mailauth_test

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"postern/internal/dns"
	"postern/internal/mailauth"
)

// The domain's own name server is asked, and says something else than the cache.
func TestAuthority(t *testing.T) {
	t.Parallel()
	z, err := dns.NewZone(dns.ZoneConfig{Origin: "example.com"})
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"example.com": "v=spf1 -all", "_dmarc.example.com": "v=DMARC1; p=reject"} {
		if err := z.Set(name, "TXT", time.Minute, value); err != nil {
			t.Fatal(err)
		}
	}
	s, err := dns.ListenZones("127.0.0.1:0", nil, z)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	r := good()
	r.NSs = map[string][]string{"example.com": {"ns.example.com"}}
	r.Addrs["ns.example.com"] = []netip.Addr{addr("127.0.0.1")}
	ask := func(allow ...netip.Prefix) mailauth.NameServers {
		a := dns.NewAuthority(dns.AuthorityConfig{Resolver: r, Port: s.Addr().Port(), Allow: allow})
		return mailauth.Look(ctx, mailauth.Options{Resolver: r, Authority: a, Domain: "example.com"}).NameServers
	}
	n := ask(netip.MustParsePrefix("127.0.0.0/8"))
	if len(n.Findings) != 1 || n.Findings[0].Code != "ns_single" || !n.Asked || !slices.Equal(n.Servers, []string{"ns.example.com"}) {
		t.Errorf("%+v", n)
	}
	// A name server inside the operator's network is not asked.
	if n := ask(); len(n.Findings) == 0 || n.Findings[0].Code != "ns_private" {
		t.Errorf("%+v", n)
	}
}
