package e2e

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"postern/internal/dns"
)

const (
	primaryHost   = "127.0.0.1"
	secondaryHost = "127.0.0.5"
	secondZone    = "mail.example.test"
)

// zoneKeys is a source of records as the relay makes them, that a test changes.
type zoneKeys struct {
	mu      sync.Mutex
	records map[string][]dns.Record
	serial  uint32
}

func newZoneKeys(domains int) *zoneKeys {
	k := &zoneKeys{records: make(map[string][]dns.Record), serial: 100}
	for i := range domains {
		host := fmt.Sprintf("u%d.wl.%s", i, secondZone)
		k.add(dns.Record{Name: host, Type: "MX", TTL: time.Minute, Data: "10 relay.example.test"})
		k.add(dns.Record{Name: host, Type: "TXT", TTL: time.Minute, Data: "v=spf1 ip4:192.0.2.1 -all"})
		k.add(dns.Record{Name: "s1.domainkey." + host, Type: "TXT", TTL: time.Minute, Data: "v=DKIM1; p=" + strings.Repeat("Ab3+", 98)})
	}
	return k
}

func (k *zoneKeys) add(r dns.Record) { k.records[r.Name] = append(k.records[r.Name], r) }

func (k *zoneKeys) set(name, text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.records[name] = []dns.Record{{Name: name, Type: "TXT", TTL: time.Minute, Data: text}}
	k.serial++
}

func (k *zoneKeys) Records(name string) ([]dns.Record, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if rs, ok := k.records[name]; ok {
		return rs, true
	}
	for n := range k.records {
		if strings.HasSuffix(n, "."+name) {
			return nil, true
		}
	}
	return nil, false
}

func (k *zoneKeys) All() iter.Seq[dns.Record] {
	k.mu.Lock()
	all := slices.Concat(slices.Collect(maps.Values(k.records))...)
	k.mu.Unlock()
	slices.SortStableFunc(all, func(a, b dns.Record) int { return cmp.Compare(a.Name, b.Name) })
	return slices.Values(all)
}

func (k *zoneKeys) Serial() uint32 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.serial
}

// ourPrimary serves the zone from our server until the returned function is called.
func ourPrimary(t *testing.T, port string, src dns.Source, hostname string) (*dns.ZoneServer, func()) {
	t.Helper()
	z, err := dns.NewZone(dns.ZoneConfig{Origin: secondZone, NameServers: []string{"ns1." + secondZone, "ns2." + secondZone}})
	ensure(t, err)
	ensure(t, z.Set("ns1."+secondZone, "A", time.Minute, primaryHost))
	ensure(t, z.Set("ns2."+secondZone, "A", time.Minute, secondaryHost))
	ensure(t, z.Set("dmarc."+secondZone, "MX", time.Minute, "10 "+hostname))
	z.SetSource(src)
	s, err := dns.ListenZonesWith(net.JoinHostPort(primaryHost, port), dns.ServeConfig{
		Transfer: []netip.AddrPort{netip.MustParseAddrPort(net.JoinHostPort(secondaryHost, port))}, AnswersPerSecond: 100_000,
	}, z)
	ensure(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return s, stop
}

func ensure(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// nsdSecondary runs nsd as a secondary of ours.
func nsdSecondary(t *testing.T, port string) *process {
	t.Helper()
	nsd := external(t, "nsd")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "nsd.conf"), fmt.Sprintf("server:\n  ip-address: %s@%s\n  username: \"\"\n  chroot: \"\"\n  zonesdir: %q\n  pidfile: %q\n  xfrdfile: %q\n  zonelistfile: %q\n  xfrdir: %q\n  database: \"\"\n  server-count: 1\n  do-ip6: no\n  verbosity: 2\nremote-control:\n  control-enable: no\nzone:\n  name: %s\n  zonefile: second.zone\n  request-xfr: %s@%s NOKEY\n  allow-notify: %s NOKEY\n  outgoing-interface: %s\n",
		secondaryHost, port, dir, dir+"/nsd.pid", dir+"/xfrd.state", dir+"/zone.list", dir, secondZone, primaryHost, port, primaryHost, secondaryHost))
	p, err := startProcess(filepath.Join(dir, "nsd.log"), nsd, "-d", "-c", filepath.Join(dir, "nsd.conf"))
	ensure(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("nsd:\n%s", p.tail())
		}
		if err := p.stop(10 * time.Second); err != nil {
			t.Error(err)
		}
	})
	return p
}

// askAt sends one question and writes the answer on a line.
func askAt(host, port, name string, typ uint16) string {
	q := new(mdns.Msg)
	q.SetQuestion(name+".", typ)
	a, _, err := (&mdns.Client{Net: "tcp", Timeout: time.Second}).Exchange(q, net.JoinHostPort(host, port))
	if err != nil {
		return err.Error()
	}
	out := []string{mdns.RcodeToString[a.Rcode]}
	for _, rr := range a.Answer {
		out = append(out, rr.String())
	}
	slices.Sort(out[1:])
	return strings.Join(out, "\n")
}

// A secondary that others wrote transfers our zone, is told of changes, and says
// from then on what we say. After a restart of ours it follows the new process.
func TestSecondary(t *testing.T) {
	t.Parallel()
	external(t, "nsd")
	port := freeOn(t, primaryHost, secondaryHost)
	src := newZoneKeys(2000)
	s, stop := ourPrimary(t, port, src, "relay.example.test")
	nsd := nsdSecondary(t, port)

	equal := func(name string, typ uint16) func() bool {
		return func() bool {
			return askAt(secondaryHost, port, name, typ) == askAt(primaryHost, port, name, typ)
		}
	}
	same := func(what, name string, typ uint16, limit time.Duration) {
		t.Helper()
		if err := nsd.waitUntil(limit, equal(name, typ)); err != nil {
			t.Fatalf("%s: %v\nours: %s\nthe secondary's: %s", what, err, askAt(primaryHost, port, name, typ), askAt(secondaryHost, port, name, typ))
		}
	}
	same("first transfer", secondZone, mdns.TypeSOA, 30*time.Second)
	for _, q := range []struct {
		name string
		typ  uint16
	}{
		{secondZone, mdns.TypeNS}, {secondZone, mdns.TypeTXT}, {"dmarc." + secondZone, mdns.TypeMX},
		{"u0.wl." + secondZone, mdns.TypeMX}, {"u1999.wl." + secondZone, mdns.TypeTXT}, {"u1999.wl." + secondZone, mdns.TypeA},
		{"s1.domainkey.u7.wl." + secondZone, mdns.TypeTXT}, {"domainkey.u7.wl." + secondZone, mdns.TypeTXT},
		{"u2000.wl." + secondZone, mdns.TypeTXT}, {"wl." + secondZone, mdns.TypeMX},
	} {
		same("after the transfer", q.name, q.typ, time.Nanosecond)
	}

	// A rotation: the new key is published, and everybody has it in seconds, not in an hour.
	name := "s2.domainkey.u7.wl." + secondZone
	for i := range 2 {
		src.set(name, fmt.Sprintf("v=DKIM1; p=key%d", i))
		s.Changed(secondZone)
		want := fmt.Sprintf("key%d", i)
		if err := nsd.waitUntil(30*time.Second, func() bool { return strings.Contains(askAt(secondaryHost, port, name, mdns.TypeTXT), want) }); err != nil {
			t.Fatal(err)
		}
	}

	// The process starts again, with another configuration.
	stop()
	src.set(name, "v=DKIM1; p=")
	ourPrimary(t, port, src, "other.example.test")
	same("after a restart", "dmarc."+secondZone, mdns.TypeMX, 30*time.Second)
	same("after a restart", name, mdns.TypeTXT, time.Nanosecond)

	// Both are asked, and a server that is behind is seen to be.
	a := dns.NewAuthority(dns.AuthorityConfig{
		Resolver: &dns.Static{
			NSs:   map[string][]string{secondZone: {"ns1." + secondZone, "ns2." + secondZone}},
			Addrs: map[string][]netip.Addr{"ns1." + secondZone: {netip.MustParseAddr(primaryHost)}, "ns2." + secondZone: {netip.MustParseAddr(secondaryHost)}},
		},
		Port: s.Addr().Port(), Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	for _, want := range []string{"v=DKIM1; p=", "v=DKIM1; p=late"} {
		src.set(name, want) // nobody is told
		got, err := a.Ask(t.Context(), name, "TXT")
		ensure(t, err)
		if len(got.Told) != 2 || got.Zone != secondZone {
			t.Fatalf("told %+v", got)
		}
		for i, told := range got.Told {
			text := []string{want, "v=DKIM1; p="}[i]
			if told.Err != nil || !told.Authoritative || len(told.TXT) != 1 || strings.Join(told.TXT[0], "") != text {
				t.Errorf("%s: %+v", told.Server, told)
			}
		}
	}
}

// What dig shows of our server.
func TestZoneServerDig(t *testing.T) {
	t.Parallel()
	dig := external(t, "dig")
	port := freeOn(t, primaryHost, secondaryHost)
	ourPrimary(t, port, newZoneKeys(1000), "relay.example.test")
	ask := func(args ...string) string {
		t.Helper()
		r := command{args: append([]string{dig, "@" + primaryHost, "-p", port, "+tries=1", "+time=10"}, args...)}.run(t)
		return r.out
	}
	for _, tt := range []struct {
		what  string
		args  []string
		want  []string
		never []string
	}{
		{"an answer", []string{"+norecurse", "dmarc." + secondZone, "MX"},
			[]string{"status: NOERROR", "flags: qr aa;", "10 relay.example.test.", "udp: 1232"}, []string{"WARNING"}},
		{"never recursive", []string{"+recurse", "www.example.org", "A"},
			[]string{"status: REFUSED", "recursion requested but not available"}, []string{"flags: qr aa"}},
		{"a key in two strings", []string{"s1.domainkey.u5.wl." + secondZone, "TXT"}, []string{`Ab3+" "`, "status: NOERROR"}, nil},
		{"no such name", []string{"u5000.wl." + secondZone, "TXT"}, []string{"status: NXDOMAIN", "SOA", "flags: qr aa"}, nil},
		{"an empty non-terminal", []string{"wl." + secondZone, "TXT"}, []string{"status: NOERROR", "SOA", "ANSWER: 0"}, nil},
		{"an EDNS version to come", []string{"+edns=1", "+noednsnegotiation", secondZone, "SOA"}, []string{"status: BADVERS"}, nil},
		{"an EDNS option to come", []string{"+ednsopt=65001:00", secondZone, "SOA"}, []string{"status: NOERROR"}, nil},
		{"without EDNS", []string{"+noedns", secondZone, "SOA"}, []string{"status: NOERROR"}, []string{"OPT PSEUDOSECTION"}},
		{"over TCP", []string{"+tcp", secondZone, "NS"}, []string{"ns1." + secondZone, "ns2." + secondZone}, nil},
		{"a transfer to a stranger", []string{"AXFR", secondZone}, []string{"Transfer failed"}, []string{"v=DKIM1"}},
		{"a transfer of changes to a stranger", []string{"+tcp", "IXFR=1", secondZone}, []string{"Transfer failed"}, []string{"v=DKIM1"}},
		{"a transfer to the secondary", []string{"-b", secondaryHost, "AXFR", secondZone},
			[]string{"XFR size: 3007 records", "s1.domainkey.u999.wl." + secondZone}, []string{"Transfer failed"}},
	} {
		out := ask(tt.args...)
		for _, w := range tt.want {
			if !strings.Contains(out, w) {
				t.Errorf("%s: no %q in\n%.2000s", tt.what, w, out)
			}
		}
		for _, n := range tt.never {
			if strings.Contains(out, n) {
				t.Errorf("%s: %q in\n%.2000s", tt.what, n, out)
			}
		}
	}
}
