package deliver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"postern/internal/dns"
	"postern/internal/relay"
	"postern/internal/testkit/fakemx"
)

func TestRouteRows(t *testing.T) {
	t.Parallel()
	t.Run("DL-18", testDNSAnswers)
	t.Run("DL-20", testLoops)
	t.Run("AD-01", testHostileDomains)
	t.Run("AD-09", testNoMail)
	t.Run("AD-10", testOwnMX)
	t.Run("RX-12", testHugeAnswers)
}

func testDNSAnswers(t *testing.T) {
	t.Parallel()
	w, mx := one(t, fakemx.Config{})
	w.dns.MXs["servfail.test"] = nil
	w.dns.Addrs["servfail.test"] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	w.dns.Addrs["plain.test"] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	w.dns.Addrs["half.test"] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	w.dns.TXTs = map[string][]string{"text.test": {"only"}}
	w.dns.CNAMEs = map[string]string{"alias.test": "example.test", "mxalias.example.test": "mx.example.test"}
	w.dns.Fail = []string{"mx servfail.test", "addr half.test", "addr down.example.test"}
	w.mx("null.test", ".")
	w.mx("viaalias.test", "mxalias.example.test")
	w.mx("literal.test", "127.0.0.1")
	w.mx("nowhere.test", "gone1.example.test", "gone2.example.test")
	w.mx("hostdown.test", "gone1.example.test", "down.example.test")
	w.mx("nullbeside.test", ".", "mx.example.test")

	for domain, reply := range map[string]string{
		"servfail.test": "451 4.4.3", // and never its address instead
		"half.test":     "451 4.4.3",
		"nosuch.test":   "550 5.1.2",
		"text.test":     "550 5.1.2",
		"null.test":     "556 5.1.10",
	} {
		_, err := w.Route(t.Context(), domain)
		t.Log(domain)
		wantFailure(t, err, reply)
	}
	for domain, outcome := range map[string]string{
		"plain.test":      "delivered 250 2.0.0 end",
		"alias.test":      "delivered 250 2.0.0 end",
		"viaalias.test":   "delivered 250 2.0.0 end",
		"nullbeside.test": "delivered 250 2.0.0 end",
		"literal.test":    "failed 550 5.4.4",
		"nowhere.test":    "failed 550 5.4.4",
		"hostdown.test":   "deferred 451 4.4.3",
	} {
		res := w.deliver(w.request(domain, "b"))
		t.Log(domain)
		want(t, res, outcome)
	}
	if n := len(mx.Complete()); n != 4 {
		t.Errorf("%d messages arrived, want 4", n)
	}
}

// A look-up that is cut short by the caller is no answer.
func TestRouteInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 25)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := w.Route(ctx, "example.test")
	wantFailure(t, err, "451 4.3.2")
	if !errors.Is(err, dns.ErrTemporary) {
		t.Errorf("the cause is lost: %v", err)
	}
}

func testNoMail(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 25)
	w.mx("null.test", ".")
	w.dns.TXTs = map[string][]string{"nomail.test": {"v=spf1 -all"}}
	for domain, reply := range map[string]string{"null.test": "556 5.1.10", "nomail.test": "550 5.1.2", "none.test": "550 5.1.2"} {
		_, err := w.Route(t.Context(), domain)
		wantFailure(t, err, reply)
	}
}

func testOwnMX(t *testing.T) {
	t.Parallel()
	own := netip.MustParseAddr("127.9.9.9")
	w, mx := one(t, fakemx.Config{}, func(c *Config) {
		c.OwnNames = func() []string { return []string{"Relay2.example.test"} }
		c.OwnAddrs = func() []netip.Addr { return []netip.Addr{own, netip.MustParseAddr("192.0.2.9")} }
	})
	w.host("other.example.test", "192.0.2.9")
	w.host("relay.example.test", "192.0.2.9")
	w.mx("first.test", "relay.example.test", "mx.example.test")
	w.mx("second.test", "mx.example.test", "relay2.example.test", "other.example.test")
	w.mx("byaddress.test", "other.example.test", "mx.example.test")
	w.mx("behind.test", "gone.example.test", "other.example.test", "mx.example.test")
	w.host("implicit.test", "192.0.2.9")
	w.host("relay2.example.test", "127.0.0.1")

	for _, domain := range []string{"first.test", "implicit.test", "relay.example.test", "relay2.example.test"} {
		_, err := w.Route(t.Context(), domain)
		t.Log(domain)
		wantFailure(t, err, "554 5.4.6")
	}
	route, err := w.Route(t.Context(), "second.test")
	if err != nil || len(route.Hosts) != 1 || route.Hosts[0].Name != "mx.example.test" {
		t.Errorf("a backup's route: %+v, %v", route, err)
	}
	// Under another name, the address tells; what is not preferred to us is not tried.
	want(t, w.deliver(w.request("byaddress.test", "b")), "failed 554 5.4.6")
	want(t, w.deliver(w.request("behind.test", "b")), "failed 554 5.4.6")
	want(t, w.deliver(w.request("second.test", "b")), "delivered 250 2.0.0 end")
	if mx.Sessions() != 1 {
		t.Errorf("%d connections", mx.Sessions())
	}
}

// DL-20: the next hop is this relay under a name that nobody knew.
func testLoops(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]fakemx.Config{
		"says our name": {Name: "Relay.Example.Test"},
		"in the banner": {Script: always(fakemx.Banner, fakemx.Step{Reply: "220 relay.example.test. ESMTP"})},
	} {
		w, mx := one(t, config)
		res := w.deliver(w.request("example.test", "b"))
		t.Log(name)
		want(t, res, "failed 554 5.4.6 ehlo")
		if len(mx.Transactions()) != 0 {
			t.Error("the loop was entered")
		}
	}
	// The name of the source address is ours too; a domain of ours is no host of ours.
	w, _ := one(t, fakemx.Config{Name: "out1.example.test"})
	r := w.request("example.test", "b")
	r.Pool.Addresses = []relay.PoolAddress{{Address: netip.MustParseAddr("127.0.1.1"), Helo: "out1.example.test"}}
	want(t, w.deliver(r), "failed 554 5.4.6 ehlo")
	w, _ = one(t, fakemx.Config{Name: "organisation.test"}, func(c *Config) {
		c.OwnNames = func() []string { return []string{"organisation.test"} }
	})
	want(t, w.deliver(w.request("example.test", "b")), "delivered 250 2.0.0 end")
}

// AD-01: recipients' domains that are really addresses, or lead to our own
// networks.
func testHostileDomains(t *testing.T) {
	t.Parallel()
	dialled := 0
	w := newWorld(t, 25, func(c *Config) {
		c.AllowPrivate = false
		c.Dial = func(context.Context, netip.Addr, netip.AddrPort) (net.Conn, error) {
			dialled++
			return nil, errors.New("dialled")
		}
	})
	w.host("localhost", "127.0.0.1", "::1")
	w.host("metadata.test", "169.254.169.254")
	w.mx("hidden.test", "inside.test")
	w.host("inside.test", "10.0.0.1", "fd00::1")
	for domain, reply := range map[string]string{
		"[127.0.0.1]": "550 5.1.2", "[IPv6:::1]": "550 5.1.2", "127.0.0.1": "550 5.1.2", "2130706433": "550 5.1.2", "0x7f000001": "550 5.1.2",
		"0177.0.0.1": "550 5.1.2", "": "550 5.1.2", "a b.test": "550 5.1.2", "a..test": "550 5.1.2", "UPPER.test": "550 5.1.2", "bücher.test": "550 5.1.2",
		strings.Repeat("a", 64) + ".test": "550 5.1.2", "example.test:25": "550 5.1.2",
		"localhost": "550 5.4.4", "metadata.test": "550 5.4.4", "relay.example.test": "550 5.1.2",
	} {
		_, err := w.Route(t.Context(), domain)
		t.Logf("%q", domain)
		wantFailure(t, err, reply)
	}
	want(t, w.deliver(w.request("hidden.test", "b")), "failed 550 5.4.4")
	if dialled != 0 {
		t.Errorf("%d connections", dialled)
	}
}

func testHugeAnswers(t *testing.T) {
	t.Parallel()
	dialled := map[netip.Addr]int{}
	w := newWorld(t, 25, func(c *Config) {
		c.Dial = func(_ context.Context, _ netip.Addr, remote netip.AddrPort) (net.Conn, error) {
			dialled[remote.Addr()]++
			return nil, errors.New("refused")
		}
	})
	var hosts []string
	for i := range 100 {
		name := fmt.Sprintf("mx%d.many.test", i)
		hosts = append(hosts, name)
		for j := range 100 {
			w.host(name, fmt.Sprintf("10.%d.0.%d", i, j))
		}
	}
	w.mx("many.test", hosts...)
	r := w.request("many.test", "b")
	if len(r.Route.Hosts) != maxHosts || r.Route.Hosts[0].Name != "mx0.many.test" {
		t.Errorf("%d hosts, first %s", len(r.Route.Hosts), r.Route.Hosts[0].Name)
	}
	want(t, w.deliver(r), "deferred 451 4.4.1 connect")
	if len(dialled) != maxTries {
		t.Errorf("%d addresses tried, want %d", len(dialled), maxTries)
	}
	for ip := range dialled {
		if ip.As4()[1] != 0 {
			t.Errorf("%s tried before the first host's addresses", ip)
		}
	}
}

func TestInterleave(t *testing.T) {
	t.Parallel()
	var addrs []netip.Addr
	for i := range 100 {
		addrs = append(addrs, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))
	}
	if n := len(interleave(addrs)); n != maxAddrs {
		t.Errorf("%d of 100 addresses, want %d", n, maxAddrs)
	}
	mixed := interleave(append(addrs[:3:3], netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")))
	var families string
	for _, a := range mixed {
		families += map[bool]string{true: "4", false: "6"}[a.Is4()]
	}
	if families != "64644" {
		t.Errorf("families in the order %s", families)
	}
}

func TestSite(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 25)
	w.host("mx1.big.test", "127.0.0.1")
	w.host("alone.test", "127.0.0.1")
	w.dns.MXs["a.test"] = []dns.MX{{Host: "mx1.big.test", Preference: 10}, {Host: "MX2.big.test.", Preference: 20}}
	w.dns.MXs["b.test"] = []dns.MX{{Host: "mx2.big.test", Preference: 5}, {Host: "mx1.big.test", Preference: 5}, {Host: "mx1.big.test", Preference: 7}}
	w.dns.MXs["c.test"] = []dns.MX{{Host: "mx1.big.test", Preference: 10}}
	w.dns.MXs["d.test"] = []dns.MX{{Host: "mx1.big.test", Preference: 10}, {Host: "mx3.big.test", Preference: 20}}
	sites := map[string]string{}
	for _, domain := range []string{"a.test", "b.test", "c.test", "d.test", "alone.test"} {
		r, err := w.Route(t.Context(), domain)
		if err != nil || r.Domain != domain {
			t.Fatalf("%s: %+v, %v", domain, r, err)
		}
		sites[domain] = r.Site
		if !slices.IsSortedFunc(r.Hosts, func(a, b Host) int { return int(a.Preference) - int(b.Preference) }) {
			t.Errorf("%s: hosts out of order: %+v", domain, r.Hosts)
		}
	}
	if sites["a.test"] != sites["b.test"] || sites["a.test"] == sites["d.test"] {
		t.Errorf("sites %v", sites)
	}
	if sites["c.test"] != "mx1.big.test" || sites["alone.test"] != "alone.test" || !strings.HasPrefix(sites["a.test"], "mx1.big.test+") {
		t.Errorf("sites %v", sites)
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 25, func(c *Config) {
		c.Routes = map[string]Smarthost{
			"Bücher.test":   {Host: "Hub.example.test"},
			"partner.test":  {Host: "hub.example.test", Port: 2525},
			".partner.test": {Host: "192.0.2.1"},
			".":             {Host: "relay.isp.test", Immediate: true, User: "u", Password: "p"},
		}
	})
	got := map[string]string{}
	for _, domain := range []string{"partner.test", "a.partner.test", "b.a.partner.test", "elsewhere.test", "test", "xn--bcher-kva.test"} {
		r, err := w.Route(t.Context(), domain)
		if err != nil {
			t.Fatal(err)
		}
		got[domain] = r.Site
	}
	if diff := cmp.Diff(map[string]string{
		"xn--bcher-kva.test": "hub.example.test:25",
		"partner.test":       "hub.example.test:2525", "a.partner.test": "192.0.2.1:25", "b.a.partner.test": "192.0.2.1:25",
		"elsewhere.test": "relay.isp.test:465", "test": "relay.isp.test:465",
	}, got); diff != "" {
		t.Error(diff)
	}
	for name, routes := range map[string]map[string]Smarthost{
		"bad domain": {"not a domain": {Host: "a.test"}},
		"bad host":   {"a.test": {Host: "not a host"}},
		"no host":    {"a.test": {}},
	} {
		if _, err := New(Config{Resolver: w.dns, Hostname: "relay.example.test", Routes: routes}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, cfg := range map[string]Config{"no resolver": {Hostname: "a.test"}, "no hostname": {Resolver: w.dns}, "bad hostname": {Resolver: w.dns, Hostname: "a b"}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
