package dns_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"postern/internal/dns"
)

// rubbish stands for octets that are no message.
var rubbish = new(mdns.Msg)

// fakeServer answers with whatever respond makes; nil: not at all. net is
// "udp" or "tcp".
func fakeServer(tb testing.TB, respond func(network string, q *mdns.Msg) []*mdns.Msg) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(tb, err)
	pc, err := net.ListenPacket("udp", l.Addr().String())
	must(tb, err)
	for _, srv := range []*mdns.Server{{Listener: l}, {PacketConn: pc}} {
		network := "tcp"
		if srv.PacketConn != nil {
			network = "udp"
		}
		srv.Handler = mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
			for _, r := range respond(network, q) {
				if r == rubbish {
					_, _ = w.Write([]byte{1, 2, 3})
					continue
				}
				_ = w.WriteMsg(r)
			}
		})
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		go srv.ActivateAndServe()
		<-started
		tb.Cleanup(func() { _ = srv.Shutdown() })
	}
	return l.Addr().String()
}

// reply makes a recursive server's response of records in zone-file form.
func reply(tb testing.TB, q *mdns.Msg, rcode int, answer ...string) *mdns.Msg {
	r := new(mdns.Msg)
	r.SetRcode(q, rcode)
	r.RecursionAvailable = true
	r.Answer = records(tb, answer...)
	return r
}

func records(tb testing.TB, text ...string) (rrs []mdns.RR) {
	for _, s := range text {
		rr, err := mdns.NewRR(s)
		if err != nil {
			tb.Error(err)
			continue
		}
		rrs = append(rrs, rr)
	}
	return rrs
}

const soa = "example.test. 60 IN SOA ns.example.test. h.example.test. 1 2 3 4 60"

func TestClientAgainstOddServers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, typ, ask, want string
		respond              func(network string, q *mdns.Msg) []*mdns.Msg
	}{
		{"truncated, whole over TCP", "TXT", "big.example.test", "[whole]", func(network string, q *mdns.Msg) []*mdns.Msg {
			r := reply(t, q, 0, "big.example.test. 60 IN TXT part")
			if r.Truncated = network == "udp"; network == "tcp" {
				r.Answer = records(t, "big.example.test. 60 IN TXT whole")
			}
			return []*mdns.Msg{r}
		}},
		{"another ID and another question are ignored", "TXT", "a.example.test", "[right]", func(_ string, q *mdns.Msg) []*mdns.Msg {
			id := reply(t, q, 0, "a.example.test. 60 IN TXT forged")
			id.Id++
			name := reply(t, q, 0, "a.example.test. 60 IN TXT forged")
			name.Question[0].Name = "b.example.test."
			query := reply(t, q, 0, "a.example.test. 60 IN TXT forged")
			query.Response = false
			return []*mdns.Msg{rubbish, id, name, query, reply(t, q, 0, "a.example.test. 60 IN TXT right")}
		}},
		{"a flood of guesses moves to TCP", "TXT", "a.example.test", "[right]", func(network string, q *mdns.Msg) []*mdns.Msg {
			if network == "tcp" {
				return []*mdns.Msg{reply(t, q, 0, "a.example.test. 60 IN TXT right")}
			}
			var out []*mdns.Msg
			for range 20 {
				r := reply(t, q, 0, "a.example.test. 60 IN TXT forged")
				r.Id++
				out = append(out, r)
			}
			return append(out, reply(t, q, 0, "a.example.test. 60 IN TXT late"))
		}},
		{"rubbish over TCP", "TXT", "a.example.test", "temporary", func(network string, q *mdns.Msg) []*mdns.Msg {
			r := reply(t, q, 0)
			if r.Truncated = true; network == "tcp" {
				r = rubbish
			}
			return []*mdns.Msg{r}
		}},
		{"truncated over TCP too", "TXT", "a.example.test", "temporary", func(_ string, q *mdns.Msg) []*mdns.Msg {
			r := reply(t, q, 0, "a.example.test. 60 IN TXT part")
			r.Truncated = true
			return []*mdns.Msg{r}
		}},
		{"SERVFAIL", "MX", "example.test", "temporary", func(_ string, q *mdns.Msg) []*mdns.Msg {
			return []*mdns.Msg{reply(t, q, mdns.RcodeServerFailure)}
		}},
		{"REFUSED", "MX", "example.test", "temporary", func(_ string, q *mdns.Msg) []*mdns.Msg {
			return []*mdns.Msg{reply(t, q, mdns.RcodeRefused)}
		}},
		{"a code that nobody knows", "MX", "example.test", "temporary", func(_ string, q *mdns.Msg) []*mdns.Msg {
			return []*mdns.Msg{reply(t, q, 14)}
		}},
		{"silence", "MX", "example.test", "temporary", func(string, *mdns.Msg) []*mdns.Msg { return nil }},
		{"NXDOMAIN", "MX", "example.test", "not found", func(_ string, q *mdns.Msg) []*mdns.Msg {
			return []*mdns.Msg{reply(t, q, mdns.RcodeNameError)}
		}},
		{"NODATA", "MX", "example.test", "no data", func(_ string, q *mdns.Msg) []*mdns.Msg {
			r := reply(t, q, 0)
			r.Ns = records(t, soa)
			return []*mdns.Msg{r}
		}},
		{"a referral is no answer", "MX", "example.test", "temporary", func(_ string, q *mdns.Msg) []*mdns.Msg {
			r := reply(t, q, 0)
			r.Ns = records(t, "test. 60 IN NS ns.test.")
			return []*mdns.Msg{r}
		}},
		{"records of other names and in other sections are not believed", "ADDR", "a.example.test", "no data", func(_ string, q *mdns.Msg) []*mdns.Msg {
			r := reply(t, q, 0, "b.example.test. 60 IN A 192.0.2.66")
			r.Ns = records(t, soa, "a.example.test. 60 IN A 192.0.2.67")
			r.Extra = append(r.Extra, records(t, "a.example.test. 60 IN A 192.0.2.68")...)
			return []*mdns.Msg{r}
		}},
		{"another class is not believed", "TXT", "a.example.test", "no data", func(_ string, q *mdns.Msg) []*mdns.Msg {
			return []*mdns.Msg{reply(t, q, 0, "a.example.test. 60 CH TXT chaos")}
		}},
		{"an alias and its target in one answer, any order, any case", "TXT", "a.example.test", "[v]", func(_ string, q *mdns.Msg) []*mdns.Msg {
			return []*mdns.Msg{reply(t, q, 0, "C.example.test. 60 IN TXT v", "b.Example.test. 60 IN CNAME c.example.test.", "A.example.test. 60 IN CNAME B.example.test.")}
		}},
		{"a loop of aliases", "TXT", "a.example.test", "temporary", func(_ string, q *mdns.Msg) []*mdns.Msg {
			return []*mdns.Msg{reply(t, q, 0, "a.example.test. 60 IN CNAME b.example.test.", "b.example.test. 60 IN CNAME a.example.test.")}
		}},
		{"eight aliases", "TXT", "a0.example.test", "[v]", chain(t, 8)},
		{"nine aliases", "TXT", "a0.example.test", "temporary", chain(t, 9)},
		{"an alias of nothing that exists", "TXT", "a.example.test", "not found", func(_ string, q *mdns.Msg) []*mdns.Msg {
			return []*mdns.Msg{reply(t, q, mdns.RcodeNameError, "a.example.test. 60 IN CNAME b.example.test.")}
		}},
		{"a server from before EDNS", "TXT", "a.example.test", "[v]", func(_ string, q *mdns.Msg) []*mdns.Msg {
			if q.IsEdns0() != nil {
				r := reply(t, q, mdns.RcodeFormatError)
				r.Question = nil
				return []*mdns.Msg{r}
			}
			return []*mdns.Msg{reply(t, q, 0, "a.example.test. 60 IN TXT v")}
		}},
		{"null MX among others", "MX", "example.test", "[{mx.example.test 10}]", func(_ string, q *mdns.Msg) []*mdns.Msg {
			return []*mdns.Msg{reply(t, q, 0, "example.test. 60 IN MX 0 .", "example.test. 60 IN MX 10 mx.example.test.")}
		}},
		{"an MX that is an address stays as it is", "MX", "example.test", "[{192.0.2.1 10}]", func(_ string, q *mdns.Msg) []*mdns.Msg {
			return []*mdns.Msg{reply(t, q, 0, "example.test. 60 IN MX 10 192.0.2.1.")}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			addr := fakeServer(t, tt.respond)
			c := client(t, dns.Config{Servers: []string{addr}, Timeout: 300 * time.Millisecond, Attempts: 1})
			if tt.want != "temporary" {
				c = client(t, dns.Config{Servers: []string{addr}, Attempts: 1})
			}
			if got := ask(c, tt.typ, tt.ask); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// chain answers one alias at a time, as servers do that do not recurse.
func chain(tb testing.TB, n int) func(string, *mdns.Msg) []*mdns.Msg {
	return func(_ string, q *mdns.Msg) []*mdns.Msg {
		var i int
		fmt.Sscanf(q.Question[0].Name, "a%d.", &i)
		if i == n {
			return []*mdns.Msg{reply(tb, q, 0, fmt.Sprintf("a%d.example.test. 60 IN TXT v", i))}
		}
		return []*mdns.Msg{reply(tb, q, 0, fmt.Sprintf("a%d.example.test. 60 IN CNAME a%d.example.test.", i, i+1))}
	}
}

// RX-12: the answer may be huge, what is taken of it is not.
func TestClientCaps(t *testing.T) {
	t.Parallel()
	addr := fakeServer(t, func(network string, q *mdns.Msg) []*mdns.Msg {
		r := reply(t, q, 0)
		if r.Truncated = network == "udp"; r.Truncated {
			return []*mdns.Msg{r}
		}
		name := q.Question[0].Name
		for i := range 1000 {
			switch q.Question[0].Qtype {
			case mdns.TypeMX:
				r.Answer = append(r.Answer, records(t, fmt.Sprintf("%s 60 IN MX %d mx%d.example.test.", name, 1000-i, i))...)
			case mdns.TypeA:
				r.Answer = append(r.Answer, records(t, fmt.Sprintf("%s 60 IN A 192.0.2.%d", name, i%250))...)
			case mdns.TypeAAAA:
				r.Answer = append(r.Answer, records(t, fmt.Sprintf("%s 60 IN AAAA 2001:db8::%d", name, i))...)
			case mdns.TypePTR:
				r.Answer = append(r.Answer, records(t, fmt.Sprintf("%s 60 IN PTR h%d.example.test.", name, i))...)
			case mdns.TypeTLSA:
				r.Answer = append(r.Answer, records(t, fmt.Sprintf("%s 60 IN TLSA 3 1 1 %064x", name, i))...)
			case mdns.TypeTXT:
				if i < 200 {
					r.Answer = append(r.Answer, records(t, fmt.Sprintf("%s 60 IN TXT %s", name, strings.Repeat("x", 250)))...)
				}
			}
		}
		r.Compress = true
		return []*mdns.Msg{r}
	})
	c := client(t, dns.Config{Servers: []string{addr}})
	ctx := context.Background()
	mx, _, err := c.MX(ctx, "a.example.test")
	if err != nil || len(mx) != 20 || mx[0] != (dns.MX{Host: "mx999.example.test", Preference: 1}) {
		t.Errorf("MX: %d records, first %v, %v", len(mx), mx[:min(1, len(mx))], err)
	}
	addrs, _, err := c.Addr(ctx, "a.example.test")
	if err != nil || len(addrs) != 20 || !addrs[0].Is6() || !addrs[10].Is4() {
		t.Errorf("Addr: %v, %v", addrs, err)
	}
	names, _, err := c.PTR(ctx, netip.MustParseAddr("192.0.2.1"))
	if err != nil || len(names) != 10 {
		t.Errorf("PTR: %d, %v", len(names), err)
	}
	tlsa, _, err := c.TLSA(ctx, "_25._tcp.a.example.test")
	if err != nil || len(tlsa) != 20 {
		t.Errorf("TLSA: %d, %v", len(tlsa), err)
	}
	txt, _, err := c.TXT(ctx, "a.example.test")
	if total := len(strings.Join(txt, "")); err != nil || total == 0 || total > 64<<10 {
		t.Errorf("TXT: %d octets, %v", total, err)
	}
}

func TestClientTrustsAD(t *testing.T) {
	t.Parallel()
	var ad atomic.Bool
	addr := fakeServer(t, func(_ string, q *mdns.Msg) []*mdns.Msg {
		if !q.AuthenticatedData || q.IsEdns0() == nil || !q.IsEdns0().Do() || q.CheckingDisabled {
			t.Errorf("the question does not ask for validation: %v", q)
		}
		r := reply(t, q, 0)
		if strings.HasPrefix(q.Question[0].Name, "there") {
			r.Answer = records(t, q.Question[0].Name+" 60 IN TXT v")
		}
		r.AuthenticatedData = ad.Load()
		return []*mdns.Msg{r}
	})
	loopback := client(t, dns.Config{Servers: []string{addr}, CacheBytes: -1})
	for _, want := range []bool{false, true} {
		ad.Store(want)
		if _, secure, err := loopback.TXT(context.Background(), "there.example.test"); secure != want || err != nil {
			t.Errorf("AD %v: secure %v, %v", want, secure, err)
		}
		if _, secure, err := loopback.TLSA(context.Background(), "no.example.test"); secure != want || !errors.Is(err, dns.ErrNoData) {
			t.Errorf("AD %v: denial secure %v, %v", want, secure, err)
		}
	}
	_, port, _ := net.SplitHostPort(addr)
	for _, tt := range []struct {
		trust, want bool
	}{{false, false}, {true, true}} {
		remote := client(t, dns.Config{Servers: []string{net.JoinHostPort("192.0.2.53", port)}, TrustAD: tt.trust})
		if got := dns.Trusted(remote, 0); got != tt.want {
			t.Errorf("a server on the network with TrustAD %v: trusted %v", tt.trust, got)
		}
	}
}

func TestClientGoesThroughServers(t *testing.T) {
	t.Parallel()
	var asked [3]atomic.Int32
	bad := fakeServer(t, func(_ string, q *mdns.Msg) []*mdns.Msg {
		asked[0].Add(1)
		return []*mdns.Msg{reply(t, q, mdns.RcodeServerFailure)}
	})
	silent := fakeServer(t, func(string, *mdns.Msg) []*mdns.Msg { asked[1].Add(1); return nil })
	good := fakeServer(t, func(_ string, q *mdns.Msg) []*mdns.Msg {
		asked[2].Add(1)
		return []*mdns.Msg{reply(t, q, 0, q.Question[0].Name+" 60 IN TXT v")}
	})
	c := client(t, dns.Config{Servers: []string{bad, silent, good}, Timeout: 2 * time.Second, CacheBytes: -1})
	for i := range 3 {
		if got := ask(c, "TXT", "a.example.test"); got != "[v]" {
			t.Fatalf("look-up %d: %s", i, got)
		}
	}
	if b, s, g := asked[0].Load(), asked[1].Load(), asked[2].Load(); b != 1 || s != 1 || g != 3 {
		t.Errorf("asked %d, %d, %d times; want 1, 1, 3: the server that answers is asked first from then on", b, s, g)
	}
}

func TestClientGivesUpWithItsCaller(t *testing.T) {
	t.Parallel()
	addr := fakeServer(t, func(string, *mdns.Msg) []*mdns.Msg { return nil })
	c := client(t, dns.Config{Servers: []string{addr}, Timeout: time.Minute})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, _, err := c.Addr(ctx, "a.example.test")
	if !errors.Is(err, dns.ErrTemporary) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if d := time.Since(begin); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestNewClientRefuses(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "ns.example.test", "192.0.2.1:0", "192.0.2.1:99999", "192.0.2.1:", "ns.example.test:53", "[::1"} {
		if _, err := dns.NewClient(dns.Config{Servers: []string{s}}); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
	c, err := dns.NewClient(dns.Config{Servers: []string{"192.0.2.1", "[2001:db8::1]:5353", "2001:db8::2", "127.0.0.1:53", "::ffff:127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(c.Servers()), "[192.0.2.1:53 [2001:db8::1]:5353 [2001:db8::2]:53 127.0.0.1:53 127.0.0.1:53]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for i, want := range []bool{false, false, false, true, true} {
		if dns.Trusted(c, i) != want {
			t.Errorf("server %d trusted: %v", i, !want)
		}
	}
}
