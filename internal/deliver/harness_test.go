package deliver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postern/internal/dns"
	"postern/internal/relay"
	"postern/internal/smtp"
	"postern/internal/smtpclient"
	"postern/internal/testkit/fakemx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testMessage = "From: a@example.test\r\nSubject: hello\r\n\r\nA line.\r\n.A dot.\r\n"

// content is a message in memory that counts how often it is opened.
type content struct {
	data   []byte
	fail   error // returned in place of the end
	opened atomic.Int64
}

func (c *content) Size() int64 { return int64(len(c.data)) }

func (c *content) Open(context.Context) (io.ReadCloser, error) {
	c.opened.Add(1)
	if c.fail != nil {
		return io.NopCloser(io.MultiReader(bytes.NewReader(c.data[:len(c.data)/2]), broken{c.fail})), nil
	}
	return io.NopCloser(bytes.NewReader(c.data)), nil
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

// world is a Deliverer in a small internet: all hosts listen on one port of
// different loopback addresses.
type world struct {
	*Deliverer
	t   testing.TB
	dns *dns.Static
	cfg Config
}

// newWorld makes a world around fakes. change may alter the configuration.
func newWorld(t testing.TB, port uint16, change ...func(*Config)) *world {
	t.Helper()
	w := &world{t: t, dns: &dns.Static{MXs: map[string][]dns.MX{}, Addrs: map[string][]netip.Addr{}}}
	w.cfg = Config{
		Resolver: w.dns, Hostname: "relay.example.test", Port: int(port), AllowPrivate: true,
		Timeouts: smtpclient.Timeouts{Quit: time.Second},
	}
	for _, c := range change {
		c(&w.cfg)
	}
	d, err := New(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.Deliverer = d
	t.Cleanup(d.Close)
	return w
}

// host names an address in the DNS.
func (w *world) host(name string, addrs ...string) {
	for _, a := range addrs {
		w.dns.Addrs[name] = append(w.dns.Addrs[name], netip.MustParseAddr(a))
	}
}

// mx gives a domain its exchangers, with preferences 10, 20, …
func (w *world) mx(domain string, hosts ...string) {
	for i, h := range hosts {
		w.dns.MXs[domain] = append(w.dns.MXs[domain], dns.MX{Host: h, Preference: uint16(10 * (i + 1))})
	}
}

// one starts a fake and a world in which example.test leads to it.
func one(t testing.TB, mx fakemx.Config, change ...func(*Config)) (*world, *fakemx.Server) {
	t.Helper()
	s := fakemx.Start(t, mx)
	w := newWorld(t, s.Addr().Port(), change...)
	w.host("mx.example.test", "127.0.0.1")
	w.mx("example.test", "mx.example.test")
	return w, s
}

// several starts fakes on 127.0.0.1, .2, … at one port: hosts mx1, mx2, … of
// example.test, in this order of preference. A nil config is an address where
// nobody listens.
func several(t testing.TB, configs ...*fakemx.Config) (*world, []*fakemx.Server) {
	t.Helper()
	for range 20 {
		port := freePort(t)
		servers, ok := startAll(t, port, configs)
		if !ok {
			continue
		}
		w := newWorld(t, port)
		for i := range configs {
			name := fmt.Sprintf("mx%d.example.test", i+1)
			w.host(name, fmt.Sprintf("127.0.0.%d", i+1))
			w.dns.MXs["example.test"] = append(w.dns.MXs["example.test"], dns.MX{Host: name, Preference: uint16(10 * (i + 1))})
		}
		return w, servers
	}
	t.Fatal("no port that is free on every address")
	return nil, nil
}

func freePort(t testing.TB) uint16 {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).AddrPort().Port()
}

func startAll(t testing.TB, port uint16, configs []*fakemx.Config) ([]*fakemx.Server, bool) {
	servers := make([]*fakemx.Server, len(configs))
	for i := range configs { // first see whether the port is free everywhere
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.%d:%d", i+1, port))
		if err != nil {
			return nil, false
		}
		ln.Close()
	}
	for i, c := range configs {
		if c != nil {
			servers[i] = fakemx.StartOn(t, fmt.Sprintf("127.0.0.%d:%d", i+1, port), *c)
		}
	}
	return servers, true
}

// request is a request for recipients at a domain.
func (w *world) request(domain string, locals ...string) Request {
	w.t.Helper()
	route, err := w.Route(context.Background(), domain)
	if err != nil {
		w.t.Fatalf("route of %s: %v", domain, err)
	}
	r := Request{
		Route:   route,
		Message: &relay.Message{ID: relay.MessageID{ID: relay.NewID(time.Now())}, ReturnPath: "bounce@relay.example.test", Body: relay.Body7Bit},
		Content: &content{data: []byte(testMessage)},
	}
	for i, l := range locals {
		r.Recipients = append(r.Recipients, relay.Recipient{N: 10 + i, Address: l + "@" + domain, Site: domain})
	}
	return r
}

// deliver makes an attempt and checks what holds for every one of them.
func (w *world) deliver(r Request) Result {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return w.deliverCtx(ctx, r)
}

func (w *world) deliverCtx(ctx context.Context, r Request) Result {
	w.t.Helper()
	res := w.Deliver(ctx, r)
	if len(res.Outcomes) != len(r.Recipients) {
		w.t.Fatalf("%d outcomes for %d recipients", len(res.Outcomes), len(r.Recipients))
	}
	for i, o := range res.Outcomes {
		switch {
		case o.N != r.Recipients[i].N:
			w.t.Errorf("outcome %d is of recipient %d, want %d", i, o.N, r.Recipients[i].N)
		case o.State == Delivered && (o.Reply.Code/100 != 2 || o.Stage != smtpclient.StageEnd || o.Ambiguous):
			w.t.Errorf("delivered by %s at %s", o.Reply, o.Stage)
		case o.State == Deferred && !o.Reply.Temporary(), o.State == Failed && !o.Reply.Permanent():
			w.t.Errorf("%s by %s", o.State, o.Reply)
		case o.State == "":
			w.t.Errorf("no state for recipient %d", o.N)
		case len(o.Reply.Text) > 512 || strings.ContainsAny(o.Reply.Text, "\x00\x1b\r"):
			w.t.Errorf("reply not sanitised: %q", o.Reply.Text)
		}
	}
	return res
}

// show is an outcome in short: "deferred 4.4.1 connect".
func show(o Outcome) string {
	s := string(o.State) + " " + smtp.Reply{Code: o.Reply.Code, Enhanced: o.Reply.Enhanced}.String()
	if o.Stage != "" {
		s += " " + string(o.Stage)
	}
	if o.Ambiguous {
		s += " ambiguous"
	}
	if o.NoDSN {
		s += " nodsn"
	}
	return s
}

// want checks the outcomes.
func want(t testing.TB, res Result, outcomes ...string) {
	t.Helper()
	if len(res.Outcomes) != len(outcomes) {
		t.Fatalf("%d outcomes, want %d", len(res.Outcomes), len(outcomes))
	}
	for i, o := range res.Outcomes {
		if got := show(o); got != outcomes[i] {
			t.Errorf("recipient %d: %q (%s, host %s), want %q", i, got, o.Reply, o.Host, outcomes[i])
		}
	}
}

// wantFailure checks the error of Route.
func wantFailure(t testing.TB, err error, reply string) {
	t.Helper()
	f, ok := errors.AsType[*Failure](err)
	if !ok {
		t.Fatalf("error %v is no *Failure", err)
	}
	if got := (smtp.Reply{Code: f.Reply.Code, Enhanced: f.Reply.Enhanced}).String(); got != reply {
		t.Errorf("failure %s, want %s", f, reply)
	}
}

// at makes a script that takes one step at the n-th time of a stage.
func at(stage fakemx.Stage, n int, step fakemx.Step) func(fakemx.Event) fakemx.Step {
	return func(e fakemx.Event) fakemx.Step {
		if e.Stage == stage && e.N == n {
			return step
		}
		return fakemx.Step{}
	}
}

// always takes a step at every time of a stage.
func always(stage fakemx.Stage, step fakemx.Step) func(fakemx.Event) fakemx.Step {
	return func(e fakemx.Event) fakemx.Step {
		if e.Stage == stage {
			return step
		}
		return fakemx.Step{}
	}
}
