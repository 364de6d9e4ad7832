package dns_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"postern/internal/dns"
)

// serveWith runs a zone server for as long as the test.
func serveWith(tb testing.TB, c dns.ServeConfig, zones ...*dns.Zone) *dns.ZoneServer {
	tb.Helper()
	if c.Log == nil {
		c.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	s, err := dns.ListenZonesWith("127.0.0.1:0", c, zones...)
	must(tb, err)
	run(tb, s)
	return s
}

// run runs a zone server until the test ends.
func run(tb testing.TB, s *dns.ZoneServer) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("zone server: %v", err)
		}
	})
}

// silent is an address on loopback at which nobody listens.
func silent(tb testing.TB) netip.AddrPort {
	tb.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(tb, err)
	tb.Cleanup(func() { pc.Close() })
	return pc.LocalAddr().(*net.UDPAddr).AddrPort()
}

// transfer fetches a zone and counts the messages it came in.
func transfer(tb testing.TB, s *dns.ZoneServer, q *mdns.Msg) (rrs []mdns.RR, messages int, err error) {
	tb.Helper()
	t := &mdns.Transfer{DialTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second}
	ch, err := t.In(q, s.Addr().String())
	must(tb, err)
	for e := range ch {
		if e.Error != nil {
			err = e.Error
			continue
		}
		messages++
		rrs = append(rrs, e.RR...)
	}
	return rrs, messages, err
}

func axfr(name string) *mdns.Msg {
	m := new(mdns.Msg)
	m.SetAxfr(name)
	return m
}

func TestTransfer(t *testing.T) {
	t.Parallel()
	z := sourceZone(t)
	z.SetSource(newSource(1, sourceRecords()...))
	s := serveWith(t, dns.ServeConfig{Transfer: []netip.AddrPort{silent(t)}}, z)
	rrs, _, err := transfer(t, s, axfr("example.test."))
	must(t, err)
	var got []string
	for _, rr := range rrs {
		got = append(got, rr.Header().Name+" "+mdns.TypeToString[rr.Header().Rrtype])
	}
	// Each once; nothing from outside, from the origin of the source, or that cannot be served.
	want := []string{
		"example.test. SOA", "example.test. NS",
		"*.wild.example.test. TXT", "relay.example.test. A", "x.u1.wl.example.test. TXT",
		"a.deep.wild.example.test. TXT", "alias.u1.wl.example.test. CNAME", "s1.domainkey.u1.wl.example.test. TXT",
		"u1.wl.example.test. MX", "u1.wl.example.test. TXT",
		"example.test. SOA",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	first, last := rrs[0].(*mdns.SOA), rrs[len(rrs)-1].(*mdns.SOA)
	if first.Serial != z.Serial() || first.Serial != last.Serial {
		t.Errorf("serial %d at the start, %d at the end, %d in the zone", first.Serial, last.Serial, z.Serial())
	}
	if relay := rrs[3].(*mdns.A); relay.A.String() != "192.0.2.1" {
		t.Errorf("relay is %s", relay.A)
	}
}

func TestTransferOnlyToSecondaries(t *testing.T) {
	t.Parallel()
	z := sourceZone(t)
	open := serveWith(t, dns.ServeConfig{Transfer: []netip.AddrPort{silent(t)}}, z)
	elsewhere := serveWith(t, dns.ServeConfig{Transfer: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")}}, z)
	nobody := serve(t, z)
	mapped := serveWith(t, dns.ServeConfig{Transfer: []netip.AddrPort{netip.MustParseAddrPort("[::ffff:127.0.0.1]:9")}}, z)
	ixfr := func(serial uint32) *mdns.Msg {
		m := new(mdns.Msg)
		m.SetIxfr("example.test.", serial, "ns.example.test.", "hostmaster.example.test.")
		return m
	}
	chaos := axfr("example.test.")
	chaos.Question[0].Qclass = mdns.ClassCHAOS
	for _, tt := range []struct {
		what    string
		s       *dns.ZoneServer
		network string
		q       *mdns.Msg
		want    string
	}{
		{"to nobody", nobody, "tcp", axfr("example.test."), "REFUSED 0"},
		{"to nobody, what changed", nobody, "tcp", ixfr(1), "REFUSED 0"},
		{"to nobody, over UDP", nobody, "udp", ixfr(1), "REFUSED 0"},
		{"to another address", elsewhere, "tcp", axfr("example.test."), "REFUSED 0"},
		{"to another address, over UDP", elsewhere, "udp", axfr("example.test."), "REFUSED 0"},
		{"the address written as IPv6", mapped, "tcp", ixfr(z.Serial()), "NOERROR 1"},
		{"a name within the zone", open, "tcp", axfr("relay.example.test."), "NOTAUTH 0"},
		{"a zone of others", open, "tcp", axfr("other.test."), "NOTAUTH 0"},
		{"another class", open, "tcp", chaos, "REFUSED 0"},
		{"all of it over UDP", open, "udp", axfr("example.test."), "FORMERR 0"},
		{"what changed, over UDP", open, "udp", ixfr(z.Serial() - 1), "NOERROR 1"},
		{"nothing changed, over UDP", open, "udp", ixfr(z.Serial()), "NOERROR 1"},
		{"nothing changed", open, "tcp", ixfr(z.Serial()), "NOERROR 1"},
		{"the secondary is ahead", open, "tcp", ixfr(z.Serial() + 5), "NOERROR 1"},
		{"what changed", open, "tcp", ixfr(z.Serial() - 1), "NOERROR 6"},
		{"what changed since before the serial went round", open, "tcp", ixfr(1<<32 - 5), "NOERROR 6"},
	} {
		r := exchange(t, tt.s, tt.network, tt.q.Copy())
		got := fmt.Sprintf("%s %d", mdns.RcodeToString[r.Rcode], len(r.Answer))
		if got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.what, got, tt.want)
		}
		if len(r.Answer) > 0 && (r.Answer[0].Header().Rrtype != mdns.TypeSOA || r.Answer[len(r.Answer)-1].Header().Rrtype != mdns.TypeSOA) {
			t.Errorf("%s: got %v", tt.what, r.Answer)
		}
	}
	// Over the same connection, other questions are answered after a transfer.
	conn, err := mdns.Dial("tcp", open.Addr().String())
	must(t, err)
	defer conn.Close()
	for _, want := range []int{6, 1, 6} {
		q := axfr("example.test.")
		if want == 1 {
			q = question("relay.example.test.", mdns.TypeA)
		}
		must(t, conn.WriteMsg(q))
		r, err := conn.ReadMsg()
		must(t, err)
		if len(r.Answer) != want || r.Id != q.Id {
			t.Errorf("got %v", r)
		}
	}
}

// many is a source of n records that it never holds: three for each domain.
type many struct {
	n       int
	changed func(i int)
}

func (m many) record(i int) dns.Record {
	name := fmt.Sprintf("u%026d.wl.example.test", i/3)
	switch i % 3 {
	case 0:
		return dns.Record{Name: name, Type: "MX", TTL: time.Minute, Data: "10 relay.example.test"}
	case 1:
		return dns.Record{Name: name, Type: "TXT", TTL: time.Minute, Data: "v=spf1 ip4:192.0.2.1 ip4:192.0.2.2 -all"}
	}
	return dns.Record{Name: "s1.domainkey." + name, Type: "TXT", TTL: time.Minute, Data: "v=DKIM1; k=rsa; p=" + dkimKey}
}

// dkimKey is as long as the public key of RSA-2048.
var dkimKey = func() string { return string(slices.Repeat([]byte("Ab3+"), 98)) }()

func (m many) Records(name string) ([]dns.Record, bool) {
	var i int
	if _, err := fmt.Sscanf(name, "u%d.wl.example.test", &i); err != nil || 3*i >= m.n {
		return nil, false
	}
	return []dns.Record{m.record(3 * i), m.record(3*i + 1)}, true
}

func (m many) All() iter.Seq[dns.Record] {
	return func(yield func(dns.Record) bool) {
		for i := range m.n {
			if m.changed != nil {
				m.changed(i)
			}
			if !yield(m.record(i)) {
				return
			}
		}
	}
}

func (many) Serial() uint32 { return 1 }

// A large zone comes in many messages, under the serial that it had when the
// transfer began, whatever changes meanwhile.
func TestTransferOfManyRecords(t *testing.T) {
	t.Parallel()
	z := sourceZone(t)
	z.SetSource(many{n: 3000, changed: func(i int) {
		if i == 1500 {
			_ = z.Set("meanwhile.example.test", "TXT", time.Minute, "v")
		}
	}})
	before := z.Serial()
	s := serveWith(t, dns.ServeConfig{Transfer: []netip.AddrPort{silent(t)}}, z)
	rrs, messages, err := transfer(t, s, axfr("example.test."))
	must(t, err)
	if len(rrs) != 3000+6 || messages < 10 {
		t.Errorf("%d records in %d messages", len(rrs), messages)
	}
	if last := rrs[len(rrs)-1].(*mdns.SOA); last.Serial != before || z.Serial() == before {
		t.Errorf("serial %d, before %d, now %d", last.Serial, before, z.Serial())
	}
}

// A transfer that stops half-way ends without the closing SOA: nobody takes half
// a zone for the whole.
func TestTransferStopsWithTheServer(t *testing.T) {
	t.Parallel()
	z := sourceZone(t)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	z.SetSource(many{n: 1 << 30, changed: func(i int) {
		if i == 5000 {
			stop()
		}
	}})
	s, err := dns.ListenZonesWith("127.0.0.1:0", dns.ServeConfig{Transfer: []netip.AddrPort{silent(t)}}, z)
	must(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	rrs, _, err := transfer(t, s, axfr("example.test."))
	if err == nil || len(rrs) == 0 || len(rrs) > 1<<20 {
		t.Errorf("%d records, %v", len(rrs), err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
