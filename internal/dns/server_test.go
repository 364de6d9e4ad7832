package dns_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"postern/internal/dns"
)

// exchange sends one question as it is and returns the response.
func exchange(tb testing.TB, s *dns.ZoneServer, network string, q *mdns.Msg) *mdns.Msg {
	tb.Helper()
	c := mdns.Client{Net: network, Timeout: 5 * time.Second, UDPSize: 4096}
	r, _, err := c.Exchange(q, s.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func question(name string, typ uint16) *mdns.Msg {
	m := new(mdns.Msg)
	m.SetQuestion(name, typ)
	return m
}

func TestServerResponses(t *testing.T) {
	t.Parallel()
	s := serve(t, labZone(t)...)
	notify := question("example.test.", mdns.TypeSOA)
	notify.Opcode = mdns.OpcodeNotify
	chaos := question("example.test.", mdns.TypeTXT)
	chaos.Question[0].Qclass = mdns.ClassCHAOS
	badvers := question("example.test.", mdns.TypeSOA)
	badvers.SetEdns0(1232, false)
	badvers.IsEdns0().SetVersion(1)
	for _, tt := range []struct {
		name string
		q    *mdns.Msg
		want string // code, authority flag, records in answer and authority
	}{
		{"positive", question("example.test.", mdns.TypeMX), "NOERROR aa=true 2 0"},
		{"SOA", question("example.test.", mdns.TypeSOA), "NOERROR aa=true 1 0"},
		{"NS", question("example.test.", mdns.TypeNS), "NOERROR aa=true 1 0"},
		{"no such type", question("mx1.example.test.", mdns.TypeTXT), "NOERROR aa=true 0 1"},
		{"no such name", question("x.example.test.", mdns.TypeTXT), "NXDOMAIN aa=true 0 1"},
		{"empty non-terminal", question("_tcp.mx1.example.test.", mdns.TypeTXT), "NOERROR aa=true 0 1"},
		{"not ours", question("example.invalid.", mdns.TypeA), "REFUSED aa=false 0 0"},
		{"above ours", question("test.", mdns.TypeA), "REFUSED aa=false 0 0"},
		{"the root", question(".", mdns.TypeNS), "REFUSED aa=false 0 0"},
		{"alias within", question("in.example.test.", mdns.TypeA), "NOERROR aa=true 3 0"},
		{"alias into another zone of ours", question("www.example.test.", mdns.TypeA), "NOERROR aa=true 2 0"},
		{"alias, type missing at its end", question("in.example.test.", mdns.TypeMX), "NOERROR aa=true 1 1"},
		{"alias of nothing", question("dangling.example.test.", mdns.TypeA), "NXDOMAIN aa=true 1 1"},
		{"alias to elsewhere", question("outside.example.test.", mdns.TypeA), "NOERROR aa=true 1 0"},
		{"alias itself", question("in.example.test.", mdns.TypeCNAME), "NOERROR aa=true 1 0"},
		{"a loop of aliases ends", question("loop1.example.test.", mdns.TypeA), "NOERROR aa=true 9 0"},
		{"any", question("mx1.example.test.", mdns.TypeANY), "NOERROR aa=true 2 0"},
		{"transfer", question("example.test.", mdns.TypeAXFR), "REFUSED aa=false 0 0"},
		{"notify", notify, "NOTIMP aa=false 0 0"},
		{"another class", chaos, "REFUSED aa=false 0 0"},
		{"an EDNS version to come", badvers, "BADVERS aa=false 0 0"},
		{"a name that no zone can hold", question(`a\.b.example.test.`, mdns.TypeA), "NXDOMAIN aa=true 0 1"},
		{"octets that are not text", question(`\000\255.example.test.`, mdns.TypeA), "NXDOMAIN aa=true 0 1"},
	} {
		for _, network := range []string{"udp", "tcp"} {
			r := exchange(t, s, network, tt.q.Copy())
			got := fmt.Sprintf("%s aa=%v %d %d", mdns.RcodeToString[r.Rcode], r.Authoritative, len(r.Answer), len(r.Ns))
			if tt.name == "an EDNS version to come" {
				got = strings.Replace(got, "BADSIG", "BADVERS", 1) // two names of code 16
			}
			if got != tt.want {
				t.Errorf("%s over %s: got %s, want %s", tt.name, network, got, tt.want)
			}
			if r.RecursionAvailable {
				t.Errorf("%s: says that it recurses", tt.name)
			}
			if (r.IsEdns0() != nil) != (tt.q.IsEdns0() != nil) {
				t.Errorf("%s: OPT in the response: %v", tt.name, r.IsEdns0() != nil)
			}
		}
	}
}

func TestServerKeepsSpellingAndTTL(t *testing.T) {
	t.Parallel()
	s := serve(t, labZone(t)...)
	r := exchange(t, s, "udp", question("eXample.TEST.", mdns.TypeMX))
	if len(r.Answer) == 0 || r.Answer[0].Header().Name != "eXample.TEST." || r.Answer[0].Header().Ttl != 60 {
		t.Errorf("got %v", r.Answer)
	}
	r = exchange(t, s, "udp", question("x.example.test.", mdns.TypeMX))
	if len(r.Ns) != 1 || r.Ns[0].(*mdns.SOA).Minttl != 60 || r.Ns[0].Header().Name != "example.test." {
		t.Errorf("got %v", r.Ns)
	}
}

func TestServerTruncates(t *testing.T) {
	t.Parallel()
	s := serve(t, newZone(t, "example.test", []string{"example.test", "TXT", strings.Repeat("a", 400), strings.Repeat("b", 400), strings.Repeat("c", 400)}))
	for _, tt := range []struct {
		network string
		size    uint16 // of EDNS; 0: none
		limit   int
		cut     bool
	}{
		{"udp", 0, 512, true}, {"udp", 100, 512, true}, {"udp", 1000, 1000, true},
		{"udp", 4096, 1232, true}, // never larger than what passes unfragmented
		{"tcp", 0, 65535, false},
	} {
		q := question("example.test.", mdns.TypeTXT)
		if tt.size > 0 {
			q.SetEdns0(tt.size, false)
		}
		r := exchange(t, s, tt.network, q)
		r.Compress = true
		if r.Truncated != tt.cut || r.Len() > tt.limit {
			t.Errorf("%s with %d: truncated %v, %d octets", tt.network, tt.size, r.Truncated, r.Len())
		}
	}
}

// Datagrams and streams that are no questions must not keep the server from
// answering the next one.
func TestServerSurvivesRubbish(t *testing.T) {
	t.Parallel()
	s := serve(t, labZone(t)...)
	response := question("example.test.", mdns.TypeMX)
	response.Response = true
	wire, err := response.Pack()
	must(t, err)
	two := question("example.test.", mdns.TypeMX)
	two.Question = append(two.Question, two.Question[0])
	double, err := two.Pack()
	must(t, err)
	for _, network := range []string{"udp", "tcp"} {
		for _, b := range [][]byte{{}, {0}, []byte("GET / HTTP/1.1\r\n\r\n"), make([]byte, 12), wire, double, {0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 0x0c, 0, 1, 0, 1}} {
			conn, err := net.Dial(network, s.Addr().String())
			must(t, err)
			if network == "tcp" {
				b = append([]byte{byte(len(b) >> 8), byte(len(b))}, b...)
			}
			_, err = conn.Write(b)
			must(t, err)
			conn.Close()
		}
	}
	for _, network := range []string{"udp", "tcp"} {
		if r := exchange(t, s, network, question("example.test.", mdns.TypeMX)); len(r.Answer) != 2 {
			t.Errorf("%s: got %v", network, r)
		}
	}
}

func TestServerStops(t *testing.T) {
	t.Parallel()
	s, err := dns.ListenZones("127.0.0.1:0", nil)
	must(t, err)
	conn, err := net.Dial("tcp", s.Addr().String()) // idle: must not hold the stop up
	must(t, err)
	defer conn.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	begin := time.Now()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
	if d := time.Since(begin); d > 2*time.Second {
		t.Errorf("took %v", d)
	}
	again, err := dns.ListenZones(s.Addr().String(), nil)
	if err != nil {
		t.Fatalf("the port was not released: %v", err)
	}
	must(t, again.Close())
	if err := again.Run(context.Background()); err == nil {
		t.Error("ran on closed sockets")
	}
}

func TestListenZonesRefuses(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for _, addr := range []string{"", "127.0.0.1", "127.0.0.1:x", s.Addr().String()} {
		if other, err := dns.ListenZones(addr, nil); err == nil {
			other.Close()
			t.Errorf("%q was taken", addr)
		}
	}
}
