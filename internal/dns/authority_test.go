package dns_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"postern/internal/dns"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// lab is several name servers on addresses of the loopback network, all at the
// same port: the nth has 127.0.0.n.
type lab struct {
	port  uint16
	asked sync.Map // host address → *atomic.Int64
}

type respond func(network string, q *mdns.Msg) []*mdns.Msg

func newLab(tb testing.TB, servers ...respond) *lab {
	tb.Helper()
	for range 20 {
		l := new(lab)
		if l.listen(tb, servers) {
			return l
		}
	}
	tb.Skip("this machine has no loopback network to put several name servers on")
	return nil
}

func (l *lab) listen(tb testing.TB, servers []respond) bool {
	var open []*mdns.Server
	for i, r := range servers {
		host := fmt.Sprintf("127.0.0.%d", i+1)
		tcp, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(int(l.port))))
		if err != nil {
			break
		}
		l.port = tcp.Addr().(*net.TCPAddr).AddrPort().Port()
		open = append(open, l.server(host, "tcp", r, &mdns.Server{Listener: tcp}))
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err != nil {
			break
		}
		open = append(open, l.server(host, "udp", r, &mdns.Server{PacketConn: udp}))
	}
	if len(open) < 2*len(servers) {
		for _, s := range open {
			if s.Listener != nil {
				s.Listener.Close()
			} else {
				s.PacketConn.Close()
			}
		}
		l.port = 0
		return false
	}
	for _, s := range open {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe()
		<-started
		tb.Cleanup(func() { _ = s.Shutdown() })
	}
	return true
}

func (l *lab) server(host, network string, r respond, s *mdns.Server) *mdns.Server {
	count, _ := l.asked.LoadOrStore(host, new(atomic.Int64))
	s.Handler = mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
		count.(*atomic.Int64).Add(1)
		for _, m := range r(network, q) {
			if m == rubbish {
				_, _ = w.Write([]byte{1, 2, 3})
				continue
			}
			_ = w.WriteMsg(m)
		}
	})
	return s
}

// questions is how often the server at an address was asked.
func (l *lab) questions(host string) int64 {
	n, ok := l.asked.Load(host)
	if !ok {
		return 0
	}
	return n.(*atomic.Int64).Load()
}

func (l *lab) authority(r dns.Resolver) *dns.Authority {
	return dns.NewAuthority(dns.AuthorityConfig{Resolver: r, Port: l.port, Allow: loopback, Timeout: 5 * time.Second, PerServer: -1})
}

// says makes a server that answers with authority and these records.
func says(tb testing.TB, rcode int, answer ...string) respond {
	return func(_ string, q *mdns.Msg) []*mdns.Msg {
		r := reply(tb, q, rcode, answer...)
		r.Authoritative, r.RecursionAvailable = true, false
		return []*mdns.Msg{r}
	}
}

// refers makes a server that delegates: NS records, then glue.
func refers(tb testing.TB, ns []string, glue ...string) respond {
	return func(_ string, q *mdns.Msg) []*mdns.Msg {
		r := new(mdns.Msg)
		r.SetReply(q)
		r.Ns, r.Extra = records(tb, ns...), records(tb, glue...)
		return []*mdns.Msg{r}
	}
}

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// world names ns1…nsn.example.test as the servers of example.test.
func world(n int) *dns.Static {
	s := &dns.Static{NSs: map[string][]string{}, Addrs: map[string][]netip.Addr{}}
	for i := range n {
		host := fmt.Sprintf("ns%d.example.test", i+1)
		s.NSs["example.test"] = append(s.NSs["example.test"], host)
		s.Addrs[host] = addrs(fmt.Sprintf("127.0.0.%d", i+1))
	}
	return s
}

// outcome writes what was told on a line.
func outcome(t dns.Told) string {
	text := ""
	switch {
	case t.Err == nil:
	case errors.Is(t.Err, dns.ErrNotFound):
		text = "not found "
	case errors.Is(t.Err, dns.ErrNoData):
		text = "no data "
	case errors.Is(t.Err, dns.ErrPrivate):
		text = "private "
	case errors.Is(t.Err, dns.ErrLame):
		text = "lame "
	case errors.Is(t.Err, dns.ErrTemporary):
		text = "temporary "
	default:
		text = "untyped: " + t.Err.Error() + " "
	}
	if t.CNAME != "" {
		text += "alias " + t.CNAME + " "
	}
	for _, r := range t.TXT {
		text += fmt.Sprintf("%q ", r)
	}
	for _, m := range t.MX {
		text += fmt.Sprintf("%d %s ", m.Preference, m.Host)
	}
	for _, a := range t.Addrs {
		text += a.String() + " "
	}
	return strings.TrimSpace(text + strings.Join(t.NS, " "))
}

func outcomes(a dns.Asked) (out []string) {
	for _, t := range a.Told {
		out = append(out, t.Server+" "+t.Addr.String()+": "+outcome(t))
	}
	return out
}

func TestAuthorityReadsAnswers(t *testing.T) {
	t.Parallel()
	const name = "s1._domainkey.example.test"
	plain := func(change func(*mdns.Msg)) respond {
		return func(_ string, q *mdns.Msg) []*mdns.Msg {
			r := reply(t, q, 0, name+` 60 IN TXT "v"`)
			r.Authoritative = true
			change(r)
			return []*mdns.Msg{r}
		}
	}
	for _, tt := range []struct {
		what, typ string
		server    respond
		want      string
	}{
		{"the strings of each record", "TXT", says(t, 0, name+` 60 IN TXT "v=DKIM1; " "p=AA\"\\\195"`, name+` 60 IN TXT "second"`),
			`["v=DKIM1; " "p=AA\"\\\xc3"] ["second"]`},
		{"an alias is told, not followed", "TXT", says(t, 0, name+" 60 IN CNAME S1.Other.test.", `s1.other.test. 60 IN TXT "not this"`), "alias s1.other.test"},
		{"an alias of nothing", "TXT", says(t, mdns.RcodeNameError, name+" 60 IN CNAME gone.example.test."), "alias gone.example.test"},
		{"an alias that was asked for", "CNAME", says(t, 0, name+" 60 IN CNAME S1.Other.test."), "alias s1.other.test"},
		{"no alias", "CNAME", says(t, 0), "no data"},
		{"nothing of the type", "TXT", says(t, 0), "no data"},
		{"no such name", "TXT", says(t, mdns.RcodeNameError), "not found"},
		{"refused", "TXT", says(t, mdns.RcodeRefused), "lame"},
		{"not for this zone", "TXT", says(t, mdns.RcodeNotAuth), "lame"},
		{"broken", "TXT", says(t, mdns.RcodeServerFailure), "temporary"},
		{"a code that does not exist", "TXT", says(t, 11), "temporary"},
		{"not with authority", "TXT", plain(func(r *mdns.Msg) { r.Authoritative = false }), `lame ["v"]`},
		{"a resolver that does not know", "TXT", plain(func(r *mdns.Msg) { r.Authoritative, r.Answer, r.Rcode = false, nil, mdns.RcodeNameError }), "lame"},
		{"a referral upwards", "TXT", refers(t, []string{". 60 IN NS a.root.test."}, "a.root.test. 60 IN A 127.0.0.1"), "lame"},
		{"a referral to where we are", "TXT", refers(t, []string{"example.test. 60 IN NS ns9.example.test."}), "lame"},
		{"a referral elsewhere", "TXT", refers(t, []string{"other.test. 60 IN NS ns9.other.test."}), "lame"},
		{"records of other names", "TXT", says(t, 0, `x.`+name+` 60 IN TXT "no"`, `example.test. 60 IN TXT "no"`), "no data"},
		{"records of another class", "TXT", says(t, 0, name+` 60 CH TXT "no"`), "no data"},
		{"a name in other case", "TXT", says(t, 0, strings.ToUpper(name)+`. 60 IN TXT "v"`), `["v"]`},
		{"exchangers", "MX", says(t, 0, name+" 60 IN MX 20 b.test.", name+" 60 IN MX 10 A.test."), "10 a.test 20 b.test"},
		{"a null MX", "MX", says(t, 0, name+" 60 IN MX 0 ."), "0 ."},
		{"addresses", "A", says(t, 0, name+" 60 IN A 192.0.2.1", name+" 60 IN AAAA 2001:db8::1"), "192.0.2.1"},
		{"IPv6 addresses", "aaaa", says(t, 0, name+" 60 IN AAAA 2001:db8::1"), "2001:db8::1"},
		{"name servers", "NS", says(t, 0, name+" 60 IN NS NS1.test."), "ns1.test"},
		{"no usable value", "MX", says(t, 0, name+` 60 IN MX 10 bad\032host.test.`), "temporary"},
		{"no octets of a message", "TXT", func(string, *mdns.Msg) []*mdns.Msg { return []*mdns.Msg{rubbish} }, "temporary"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, tt.server)
			a := l.authority(world(1))
			if tt.what == "no octets of a message" {
				a = dns.NewAuthority(dns.AuthorityConfig{Resolver: world(1), Port: l.port, Allow: loopback, Timeout: 100 * time.Millisecond})
			}
			got, err := a.Ask(t.Context(), strings.ToUpper(name)+".", tt.typ)
			must(t, err)
			if want := []string{"ns1.example.test 127.0.0.1: " + tt.want}; !slices.Equal(outcomes(got), want) {
				t.Errorf("got %q, want %q", outcomes(got), want)
			}
			if got.Zone != "example.test" || !slices.Equal(got.Servers, []string{"ns1.example.test"}) {
				t.Errorf("zone %s, servers %s", got.Zone, got.Servers)
			}
		})
	}
}

// ID-17: what only some of the name servers say is seen as that.
func TestAuthorityAsksEveryServer(t *testing.T) {
	t.Parallel()
	l := newLab(t, says(t, 0, `example.test. 60 IN TXT "old"`), says(t, 0, `example.test. 60 IN TXT "new"`), says(t, mdns.RcodeServerFailure), says(t, mdns.RcodeNameError))
	w := world(4)
	w.NSs["example.test"] = append(w.NSs["example.test"], "gone.example.test", "broken.example.test")
	w.Fail = []string{"broken.example.test"}
	w.TXTs = map[string][]string{"example.test": {"of the resolver"}}
	got, err := l.authority(w).Ask(t.Context(), "example.test", "TXT")
	must(t, err)
	want := []string{
		`ns1.example.test 127.0.0.1: ["old"]`,
		`ns2.example.test 127.0.0.2: ["new"]`,
		"ns3.example.test 127.0.0.3: temporary",
		"ns4.example.test 127.0.0.4: not found",
		"gone.example.test invalid IP: lame",
		"broken.example.test invalid IP: temporary",
	}
	if !slices.Equal(outcomes(got), want) {
		t.Errorf("got %q", outcomes(got))
	}
}

func TestAuthorityFindsTheZone(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(n string, q *mdns.Msg) []*mdns.Msg {
		if q.Question[0].Qtype == mdns.TypeNS {
			return says(t, 0, q.Question[0].Name+" 60 IN NS ns1.example.test.")(n, q)
		}
		return says(t, 0)(n, q)
	})
	for _, tt := range []struct {
		name  string
		world func(*dns.Static)
		zone  string
		err   error
	}{
		{"example.test", nil, "example.test", nil},
		{"s1._domainkey.mail.example.test", nil, "example.test", nil},
		{"s1._domainkey.example.test", func(s *dns.Static) { s.NSs["_domainkey.example.test"] = []string{"ns1.example.test"} }, "_domainkey.example.test", nil},
		{"www.example.test", func(s *dns.Static) { // an alias of a name that is a zone is none
			s.CNAMEs = map[string]string{"www.example.test": "other.test"}
			s.NSs["other.test"] = []string{"ns1.other.test"}
		}, "example.test", nil},
		{"a.b.example.test", func(s *dns.Static) { s.Fail = []string{"ns b.example.test"} }, "example.test", nil},
		{"a.b.example.test", func(s *dns.Static) { s.Fail = []string{"ns b.example.test"}; s.NSs = nil }, "", dns.ErrTemporary},
		{"nothing.invalid", nil, "", dns.ErrNotFound},
		{"a..b", nil, "", dns.ErrBadName},
		{"", nil, "", dns.ErrBadName},
		{strings.Repeat("a.", 100) + "example.test", nil, "example.test", nil},
	} {
		w := world(1)
		if tt.world != nil {
			tt.world(w)
		}
		r := &counting{Resolver: w}
		got, err := l.authority(r).Ask(t.Context(), tt.name, "TXT")
		if got.Zone != tt.zone || !errors.Is(err, tt.err) {
			t.Errorf("%.40s: zone %q, %v", tt.name, got.Zone, err)
		}
		if n := r.ns.Load(); n > 16 {
			t.Errorf("%.40s: %d names tried", tt.name, n)
		}
	}
}

// counting counts the questions for name servers.
type counting struct {
	dns.Resolver
	ns atomic.Int64
}

func (c *counting) NS(ctx context.Context, name string) ([]string, bool, error) {
	c.ns.Add(1)
	return c.Resolver.NS(ctx, name)
}

// A zone that was delegated a moment ago, which the resolver does not know of yet.
func TestAuthorityFollowsDelegations(t *testing.T) {
	t.Parallel()
	const name = "s1._domainkey.example.test"
	answer := says(t, 0, name+` 60 IN TXT "below"`)
	toSecond := []string{"_domainkey.example.test. 60 IN NS ns2.example.test."}
	for _, tt := range []struct {
		what    string
		world   func(*dns.Static)
		servers []respond
		zone    string
		want    []string
	}{
		{"the resolver knows the address", nil, []respond{refers(t, toSecond), answer}, "_domainkey.example.test",
			[]string{`ns2.example.test 127.0.0.2: ["below"]`}},
		{"only the referral knows it", nil,
			[]respond{refers(t, []string{"_domainkey.example.test. 60 IN NS NS._domainkey.example.test."}, "ns._domainkey.example.test. 60 IN A 127.0.0.2"), answer},
			"_domainkey.example.test", []string{`ns._domainkey.example.test 127.0.0.2: ["below"]`}},
		{"addresses of hosts outside are not believed", nil,
			[]respond{refers(t, []string{"_domainkey.example.test. 60 IN NS ns.other.test."}, "ns.other.test. 60 IN A 127.0.0.2"), answer},
			"_domainkey.example.test", []string{"ns.other.test invalid IP: lame"}},
		{"not into the private network", nil,
			[]respond{refers(t, []string{"_domainkey.example.test. 60 IN NS ns._domainkey.example.test."}, "ns._domainkey.example.test. 60 IN A 10.1.2.3")},
			"_domainkey.example.test", []string{"ns._domainkey.example.test 10.1.2.3: private"}},
		{"two steps", nil,
			[]respond{refers(t, toSecond), refers(t, []string{name + ". 60 IN NS ns3.example.test."}), says(t, 0, name+` 60 IN TXT "far below"`)},
			name, []string{`ns3.example.test 127.0.0.3: ["far below"]`}},
		{"with the authority flag", nil, []respond{func(n string, q *mdns.Msg) []*mdns.Msg {
			r := refers(t, toSecond)(n, q)
			r[0].Authoritative = true
			return r
		}, answer}, "_domainkey.example.test", []string{`ns2.example.test 127.0.0.2: ["below"]`}},
		{"to itself", nil, []respond{refers(t, []string{"_domainkey.example.test. 60 IN NS ns1.example.test."})},
			"_domainkey.example.test", []string{"ns1.example.test 127.0.0.1: lame"}},
		{"one server knows of the new zone, one does not", func(s *dns.Static) {
			s.NSs["example.test"] = []string{"ns1.example.test", "ns3.example.test"}
		}, []respond{refers(t, toSecond), answer, says(t, 0, name+` 60 IN TXT "above"`)}, "_domainkey.example.test",
			[]string{`ns3.example.test 127.0.0.3: ["above"]`, `ns2.example.test 127.0.0.2: ["below"]`}},
		{"to one that was silent before", func(s *dns.Static) {
			s.NSs["example.test"] = []string{"ns1.example.test", "ns2.example.test"}
		}, []respond{refers(t, toSecond), says(t, mdns.RcodeServerFailure)}, "_domainkey.example.test",
			[]string{"ns2.example.test 127.0.0.2: temporary"}},
		{"two referrals name different servers", func(s *dns.Static) {
			s.NSs["example.test"] = []string{"ns1.example.test", "ns3.example.test"}
		}, []respond{refers(t, toSecond), answer, refers(t, []string{"_domainkey.example.test. 60 IN NS ns4.example.test."}), says(t, mdns.RcodeNameError)},
			"_domainkey.example.test", []string{`ns2.example.test 127.0.0.2: ["below"]`, "ns4.example.test 127.0.0.4: not found"}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			w := world(4)
			w.NSs["example.test"] = []string{"ns1.example.test"}
			if tt.world != nil {
				tt.world(w)
			}
			got, err := newLab(t, tt.servers...).authority(w).Ask(t.Context(), name, "TXT")
			must(t, err)
			if got.Zone != tt.zone || !slices.Equal(outcomes(got), tt.want) {
				t.Errorf("zone %s: got %q, want %q", got.Zone, outcomes(got), tt.want)
			}
		})
	}
}

// A server that delegates one label at a time, each time to itself at another
// address, is left after a few.
func TestAuthorityBoundsDelegations(t *testing.T) {
	t.Parallel()
	const name = "a.b.c.d.e.f.g.h.example.test"
	down := func(_ string, q *mdns.Msg) []*mdns.Msg { return nil }
	labels := strings.Split(strings.TrimSuffix(name, ".example.test"), ".")
	var servers []respond
	for i := range labels {
		zone := strings.Join(labels[len(labels)-1-i:], ".") + ".example.test"
		servers = append(servers, refers(t, []string{fmt.Sprintf("%s. 60 IN NS ns.%s.", zone, zone)}, fmt.Sprintf("ns.%s. 60 IN A 127.0.0.%d", zone, i+2)))
	}
	l := newLab(t, append(servers, down)...)
	got, err := l.authority(world(1)).Ask(t.Context(), name, "TXT")
	must(t, err)
	if len(got.Told) != 1 || !errors.Is(got.Told[0].Err, dns.ErrLame) || got.Zone != "e.f.g.h.example.test" {
		t.Errorf("zone %s: %q", got.Zone, outcomes(got))
	}
	if n := l.questions("127.0.0.6"); n != 0 {
		t.Errorf("the sixth server was asked %d times", n)
	}
}

// What goes over the wire: RD=0, EDNS, TCP after truncation, once more without
// EDNS, never the same source port or ID.
func TestAuthorityQuestions(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	ids := make(map[uint16]bool)
	l := newLab(t, func(network string, q *mdns.Msg) []*mdns.Msg {
		mu.Lock()
		defer mu.Unlock()
		if q.RecursionDesired || ids[q.Id] {
			t.Errorf("RD %v, ID used before %v", q.RecursionDesired, ids[q.Id])
		}
		ids[q.Id] = true
		r := reply(t, q, 0)
		r.Authoritative = true
		switch opt := q.IsEdns0(); {
		case opt != nil:
			if opt.UDPSize() != 1232 {
				t.Errorf("size %d", opt.UDPSize())
			}
			r.Rcode = mdns.RcodeFormatError
		case network == "udp":
			r.Truncated = true
			r.Answer = records(t, `example.test. 60 IN TXT "half"`)
		default:
			r.Answer = records(t, `example.test. 60 IN TXT "half"`, `example.test. 60 IN TXT "other"`)
		}
		return []*mdns.Msg{r}
	})
	got, err := l.authority(world(1)).Ask(t.Context(), "example.test", "TXT")
	must(t, err)
	if want := []string{`ns1.example.test 127.0.0.1: ["half"] ["other"]`}; !slices.Equal(outcomes(got), want) || len(ids) != 3 {
		t.Errorf("%d questions: %q", len(ids), outcomes(got))
	}
}

// A server that says nothing is asked twice, and is then somebody's trouble, not a "no".
func TestAuthoritySilence(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(string, *mdns.Msg) []*mdns.Msg { return nil })
	a := dns.NewAuthority(dns.AuthorityConfig{Resolver: world(1), Port: l.port, Allow: loopback, Timeout: time.Second, PerServer: -1})
	got, err := a.Ask(t.Context(), "example.test", "TXT")
	must(t, err)
	if len(got.Told) != 1 || !errors.Is(got.Told[0].Err, dns.ErrTemporary) || l.questions("127.0.0.1") != 2 {
		t.Errorf("asked %d times: %q", l.questions("127.0.0.1"), outcomes(got))
	}
	// The other questions of the same check do not wait for it again.
	got, err = a.Ask(t.Context(), "_postern.example.test", "TXT")
	must(t, err)
	if len(got.Told) != 1 || !errors.Is(got.Told[0].Err, dns.ErrTemporary) || l.questions("127.0.0.1") != 2 {
		t.Errorf("asked %d times: %q", l.questions("127.0.0.1"), outcomes(got))
	}
	// The caller gives up first.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := a.Ask(ctx, "example.test", "TXT"); err == nil && (len(got.Told) != 1 || !errors.Is(got.Told[0].Err, dns.ErrTemporary)) {
		t.Errorf("got %q", outcomes(got))
	}
}

// A domain that names hundreds of servers does not make us ask hundreds.
func TestAuthorityIsBounded(t *testing.T) {
	t.Parallel()
	w := &dns.Static{NSs: map[string][]string{}, Addrs: map[string][]netip.Addr{}}
	for i := range 40 {
		host := fmt.Sprintf("ns%d.example.test", i)
		w.NSs["example.test"] = append(w.NSs["example.test"], host)
		for j := range 5 {
			w.Addrs[host] = append(w.Addrs[host], netip.AddrFrom4([4]byte{10, 0, byte(i), byte(j)}))
		}
	}
	got, err := dns.NewAuthority(dns.AuthorityConfig{Resolver: w}).Ask(t.Context(), "example.test", "MX")
	must(t, err)
	hosts := make(map[string]int)
	for _, told := range got.Told {
		hosts[told.Server]++
		if !errors.Is(told.Err, dns.ErrPrivate) {
			t.Errorf("%s: %v", told.Addr, told.Err)
		}
	}
	if len(got.Servers) != 13 || len(got.Told) != 26 || len(hosts) != 13 || hosts["ns12.example.test"] != 2 {
		t.Errorf("%d servers, %d addresses, %v", len(got.Servers), len(got.Told), hosts)
	}
}

// A domain whose servers are all silent leaves room for the questions of others.
func TestAuthorityAsksAFewAtOnce(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int64
	var eight sync.Once
	gate := make(chan struct{})
	slow := func(_ string, q *mdns.Msg) []*mdns.Msg {
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		if n == 8 {
			eight.Do(func() { time.AfterFunc(100*time.Millisecond, func() { close(gate) }) }) // time for a ninth to come
		}
		<-gate
		return says(t, 0)("", q)
	}
	var servers []respond
	for range 12 {
		servers = append(servers, slow)
	}
	got, err := newLab(t, servers...).authority(world(12)).Ask(t.Context(), "example.test", "TXT")
	must(t, err)
	if len(got.Told) != 12 || most.Load() != 8 {
		t.Errorf("%d at once: %q", most.Load(), outcomes(got))
	}
}

// Two names for one address are one server to ask.
func TestAuthorityAsksAnAddressOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t, says(t, 0))
	w := world(2)
	w.Addrs["ns2.example.test"] = addrs("127.0.0.1", "::ffff:127.0.0.1")
	got, err := l.authority(w).Ask(t.Context(), "example.test", "TXT")
	must(t, err)
	if len(got.Told) != 1 || l.questions("127.0.0.1") != 1 {
		t.Errorf("asked %d times: %q", l.questions("127.0.0.1"), outcomes(got))
	}
}

// SSRF by name server: names never lead into the operator's network, and nothing
// is sent there.
func TestAuthorityAsksNoPrivateAddress(t *testing.T) {
	t.Parallel()
	l := newLab(t, says(t, 0), says(t, 0))
	a := dns.NewAuthority(dns.AuthorityConfig{Resolver: world(2), Port: l.port, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}, Timeout: 5 * time.Second})
	got, err := a.Ask(t.Context(), "example.test", "TXT")
	must(t, err)
	want := []string{"ns1.example.test 127.0.0.1: private", "ns2.example.test 127.0.0.2: no data"}
	if !slices.Equal(outcomes(got), want) || l.questions("127.0.0.1") != 0 {
		t.Errorf("%d questions, %q", l.questions("127.0.0.1"), outcomes(got))
	}
}

func TestAuthoritySecure(t *testing.T) {
	t.Parallel()
	l := newLab(t, says(t, 0, `example.test. 60 IN TXT "v"`))
	for _, tt := range []struct {
		world    func(*dns.Static)
		secure   bool
		resolved error
	}{
		{func(s *dns.Static) { s.Secure = true }, true, nil},
		{func(s *dns.Static) { s.Secure = true; s.TXTs = nil }, true, dns.ErrNoData},
		{func(s *dns.Static) {}, false, nil},
		{func(s *dns.Static) { s.Secure = true; s.Fail = []string{"txt example.test"} }, false, dns.ErrTemporary}, // bogus
	} {
		w := world(1)
		w.TXTs = map[string][]string{"example.test": {"v"}}
		tt.world(w)
		got, err := l.authority(w).Ask(t.Context(), "example.test", "TXT")
		must(t, err)
		if got.Secure != tt.secure || !errors.Is(got.Resolved, tt.resolved) || len(got.Told) != 1 || got.Told[0].Err != nil {
			t.Errorf("secure %v, resolved %v, %q", got.Secure, got.Resolved, outcomes(got))
		}
	}
}

func TestAuthorityRefusesOtherTypes(t *testing.T) {
	t.Parallel()
	for _, typ := range []string{"", "ANY", "AXFR", "PTR", "TYPE16"} {
		if _, err := dns.NewAuthority(dns.AuthorityConfig{Resolver: world(1)}).Ask(t.Context(), "example.test", typ); err == nil {
			t.Errorf("%q was asked", typ)
		}
	}
}

// Through our own Client and zone server, as it runs: no part knows the other.
func TestAuthorityOverClient(t *testing.T) {
	t.Parallel()
	zones := append(labZone(t), newZone(t, "sub.example.test", []string{"sub.example.test", "TXT", "below"}, []string{"ns.sub.example.test", "A", "127.0.0.1"}))
	must(t, zones[0].Set("ns.example.test", "A", time.Minute, "127.0.0.1"))
	s := serve(t, zones...)
	a := dns.NewAuthority(dns.AuthorityConfig{
		Resolver: client(t, dns.Config{Servers: []string{s.Addr().String()}}), Port: s.Addr().Port(), Allow: loopback, Timeout: 5 * time.Second, PerServer: -1,
	})
	for _, tt := range []struct{ name, typ, zone, want string }{
		{"example.test", "MX", "example.test", "10 mx1.example.test 20 mx2.example.test"},
		{"www.example.test", "TXT", "example.test", "alias web.other.test"},
		{"in.example.test", "A", "example.test", "alias mx1.example.test"},
		{"nothing.example.test", "TXT", "example.test", "not found"},
		{"_tcp.mx1.example.test", "TXT", "example.test", "no data"},
		{"sub.example.test", "TXT", "sub.example.test", `["below"]`},
	} {
		got, err := a.Ask(t.Context(), tt.name, tt.typ)
		must(t, err)
		if want := []string{"ns." + tt.zone + " 127.0.0.1: " + tt.want}; got.Zone != tt.zone || !slices.Equal(outcomes(got), want) {
			t.Errorf("%s %s: zone %s, %q", tt.typ, tt.name, got.Zone, outcomes(got))
		}
		if !got.Told[0].Authoritative {
			t.Errorf("%s %s: without authority", tt.typ, tt.name)
		}
	}
}
