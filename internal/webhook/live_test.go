package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// twoSides are servers on one port of two addresses of this machine: one that may be
// dialled, as a public one would be, and one that may not.
type twoSides struct {
	outside, inside atomic.Int64
	client          *Client
	url             string
	names           *rebinder
}

var public, private = netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.1")

func newTwoSides(t *testing.T, handler http.HandlerFunc) *twoSides {
	t.Helper()
	s := &twoSides{names: newRebinder(t)}
	if handler == nil {
		handler = func(http.ResponseWriter, *http.Request) {}
	}
	out := listenTLS(t, public.String()+":0", func(w http.ResponseWriter, r *http.Request) { s.outside.Add(1); handler(w, r) })
	port := strconv.Itoa(out.Listener.Addr().(*net.TCPAddr).Port)
	listenTLS(t, private.String()+":"+port, func(http.ResponseWriter, *http.Request) { s.inside.Add(1) })
	roots := x509.NewCertPool()
	roots.AddCert(out.Certificate())
	n, _ := strconv.Atoi(port)
	s.client = NewClient(Config{Ports: []int{n}, Roots: roots, Allow: func(a netip.Addr) bool { return a == public }})
	s.client.dialer.Resolver = s.names.resolver()
	t.Cleanup(s.client.Close)
	s.url = "https://example.com:" + port + "/hook" // the name in the certificate
	return s
}

func listenTLS(t *testing.T, at string, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	_ = server.Listener.Close()
	server.Listener = l
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// rebinder is a DNS server that says of every name what it is told to.
type rebinder struct {
	at string

	mu    sync.Mutex
	four  []netip.Addr
	six   []netip.Addr
	asked int
}

func newRebinder(t *testing.T) *rebinder {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	r := &rebinder{at: conn.LocalAddr().String()}
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			if answer := r.answer(b[:n]); answer != nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	return r
}

func (r *rebinder) say(four, six []netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.four, r.six = four, six
}

func (r *rebinder) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", r.at)
	}}
}

func (r *rebinder) answer(query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	q := m.Questions[0]
	head := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, Type: q.Type} // TTL 0
	m.Response, m.Additionals = true, nil
	switch q.Type {
	case dnsmessage.TypeA:
		for _, a := range r.four {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: a.As4()}})
		}
	case dnsmessage.TypeAAAA:
		for _, a := range r.six {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}

func addrs(text ...string) (out []netip.Addr) {
	for _, s := range text {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// AP-17: a name that is one address when the URL is saved, or posted to, and another
// one the next time leads nowhere inside. The answers come from a DNS server.
func TestRebinding(t *testing.T) {
	t.Parallel()
	s := newTwoSides(t, nil)
	post := func() error {
		s.client.Close() // a connection that is there needs no name
		return s.client.Post(t.Context(), s.url, nil, "id", []byte("{}"))
	}
	s.names.say(addrs("127.0.0.2"), nil)
	if err := post(); err != nil || s.outside.Load() != 1 {
		t.Fatalf("the public address: %v", err)
	}
	for name, c := range map[string]struct{ four, six []netip.Addr }{
		"loopback":         {addrs("127.0.0.1"), nil},
		"this host":        {addrs("0.0.0.0"), nil},
		"this host, IPv6":  {nil, addrs("::")},
		"loopback, IPv6":   {nil, addrs("::1")},
		"mapped":           {nil, addrs("::ffff:127.0.0.1")},
		"NAT64":            {nil, addrs("64:ff9b::7f00:1")},
		"cloud metadata":   {addrs("169.254.169.254"), addrs("fe80::1")},
		"private networks": {addrs("10.0.0.1", "192.168.1.1", "172.16.0.1"), addrs("fd00:ec2::254")},
	} {
		s.names.say(c.four, c.six)
		if err := post(); !errors.Is(err, errAddress) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Of several, the one that may be dialled is.
	s.names.say(addrs("127.0.0.1", "127.0.0.2"), nil)
	if err := post(); err != nil {
		t.Errorf("one of two: %v", err)
	}
	if s.inside.Load() != 0 || s.outside.Load() != 2 {
		t.Errorf("inside was reached %d times, outside %d", s.inside.Load(), s.outside.Load())
	}
}

// AP-17: an answer that leads inside is not followed; one that takes for ever ends;
// and the certificate must be of the name.
func TestReceiversOfHarm(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	s := newTwoSides(t, nil)
	inside := strings.Replace(s.url, "example.com", private.String(), 1)
	slow := newTwoSides(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("a") {
		case "redirect":
			http.Redirect(w, r, inside, http.StatusPermanentRedirect)
			return
		case "body":
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
		}
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(hang) })
	for _, w := range []*twoSides{s, slow} {
		w.names.say(addrs("127.0.0.2"), nil)
	}
	err := slow.client.Post(t.Context(), slow.url+"?a=redirect", nil, "id", nil)
	if refused, ok := errors.AsType[*Refused](err); !ok || refused.Status != 308 || s.inside.Load()+slow.inside.Load() != 0 {
		t.Errorf("redirect: %v", err)
	}
	slow.client.http.Timeout = 200 * time.Millisecond
	begun := time.Now()
	if err := slow.client.Post(t.Context(), slow.url+"?a=header", nil, "id", nil); err == nil {
		t.Error("no answer is an answer")
	}
	// The status came: it counts. What follows is not waited for.
	slow.client.http.Timeout = 3 * time.Second
	if err := slow.client.Post(t.Context(), slow.url+"?a=body", nil, "id", nil); err != nil {
		t.Errorf("a body that does not come: %v", err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	other := strings.Replace(s.url, "example.com", "other.example.org", 1)
	err = s.client.Post(t.Context(), other, nil, "id", nil)
	if _, ok := errors.AsType[x509.HostnameError](err); !ok || s.outside.Load() != 0 {
		t.Errorf("a certificate of another name: %v", err)
	}
}

// What a customer reads of a failure does not say where the resolver is, nor which address
// the installation has inside.
func TestFailureSaysNothingOfOurSide(t *testing.T) {
	t.Parallel()
	s := newTwoSides(t, func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_ = c.(*tls.Conn).NetConn().(*net.TCPConn).SetLinger(0) // a reset
		_ = c.(*tls.Conn).NetConn().Close()
	})
	nobody := strings.Replace(s.url, "example.com", "nobody.example.com", 1)
	for to, want := range map[string]string{nobody: "lookup nobody.example.com", s.url: "reset"} {
		s.names.say(nil, nil)
		if to == s.url {
			s.names.say(addrs("127.0.0.2"), nil)
		}
		err := s.client.Post(t.Context(), to, nil, "id", []byte("{}"))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), " on ") || strings.Contains(err.Error(), "->") {
			t.Errorf("%s: %v", to, err)
		}
	}
}

// A proxy of the environment would dial for us what must not be dialled, and read
// nothing less.
func TestNoProxy(t *testing.T) {
	var asked atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(proxy.Close)
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	s := newTwoSides(t, nil)
	s.names.say(addrs("127.0.0.2"), nil)
	if err := s.client.Post(t.Context(), s.url, nil, "id", nil); err != nil || s.outside.Load() != 1 || asked.Load() != 0 {
		t.Errorf("%v; the proxy was asked %d times", err, asked.Load())
	}
	transport := s.client.http.Transport.(*http.Transport)
	if transport.Proxy != nil {
		u, err := transport.Proxy(&http.Request{URL: &url.URL{Scheme: "https", Host: "example.com"}})
		t.Errorf("a proxy is looked for: %v, %v", u, err)
	}
}
