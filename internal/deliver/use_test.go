package deliver

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/smtp"
	"postern/internal/testkit/fakemx"
	"postern/internal/tlspolicy"
)

func TestSessionsAreReused(t *testing.T) {
	t.Parallel()
	w, mx := one(t, fakemx.Config{}, func(c *Config) { c.MessagesPerSession = 4 })
	for i := range 10 {
		want(t, w.deliver(w.request("example.test", fmt.Sprint("r", i))), "delivered 250 2.0.0 end")
	}
	if mx.Sessions() != 3 {
		t.Errorf("%d connections for 10 messages, 4 each", mx.Sessions())
	}
	w.Close()
	mx.Drain(t)
	for i := range 3 {
		if l := mx.Lines(i); l[len(l)-1] != "QUIT" {
			t.Errorf("session %d ends with %q", i, l[len(l)-1])
		}
	}
	// After Close nothing is kept, but mail still leaves.
	want(t, w.deliver(w.request("example.test", "late")), "delivered 250 2.0.0 end")
	if w.idle.len() != 0 {
		t.Error("a session was kept after Close")
	}
}

// A session is used again only for what it was opened for.
func TestSessionsAreNotShared(t *testing.T) {
	t.Parallel()
	ca := fakemx.NewCA(t)
	w, mx := one(t, fakemx.Config{TLS: ca.Server(t, time.Hour, "mx.example.test", "mx.other.test")}, func(c *Config) { c.RootCAs = ca.Pool() })
	w.host("mx.other.test", "127.0.0.1")
	w.mx("other.test", "mx.other.test")
	send := func(domain string, level relay.TLSLevel, source string) {
		r := w.request(domain, "b")
		r.TLS = level
		if source != "" {
			r.Pool.Addresses = []relay.PoolAddress{{Address: netip.MustParseAddr(source)}}
		}
		want(t, w.deliver(r), "delivered 250 2.0.0 end")
	}
	for i, step := range []struct {
		domain, source string
		level          relay.TLSLevel
		sessions       int
	}{
		{"example.test", "", relay.TLSOpportunistic, 1},
		{"other.test", "", relay.TLSOpportunistic, 1}, // the same host by another name, and no certificate judged
		{"example.test", "", relay.TLSRequired, 2},
		{"example.test", "", relay.TLSVerified, 3},
		{"other.test", "", relay.TLSVerified, 4}, // verified for one name is not for another
		{"other.test", "", relay.TLSVerified, 4},
		{"example.test", "127.0.1.1", relay.TLSVerified, 5},
		{"example.test", "127.0.1.2", relay.TLSVerified, 6},
		{"example.test", "127.0.1.1", relay.TLSVerified, 6},
	} {
		send(step.domain, step.level, step.source)
		if n := mx.Sessions(); n != step.sessions {
			t.Errorf("step %d: %d sessions, want %d", i, n, step.sessions)
		}
	}
}

// A host may end an idle session; the message that finds out goes over another
// one, and nobody notices.
func TestStaleSession(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		end      fakemx.Step // at the end of the first message
		mail     fakemx.Step // at the second MAIL
		want     string
		sessions int
	}{
		"closed while idle": {end: fakemx.Step{Reply: "250 2.0.0 Ok", Close: true}, want: "delivered 250 2.0.0 end", sessions: 2},
		"421 while idle":    {end: fakemx.Step{Reply: "250 2.0.0 Ok", Delay: 0}, mail: fakemx.Step{Reply: "421 4.4.2 Idle too long", Close: true}, want: "delivered 250 2.0.0 end", sessions: 2},
		"closed at MAIL":    {mail: fakemx.Step{Close: true}, want: "delivered 250 2.0.0 end", sessions: 2},
		"reset at MAIL":     {mail: fakemx.Step{Reset: true}, want: "delivered 250 2.0.0 end", sessions: 2},
		"refused at MAIL":   {mail: fakemx.Step{Reply: "450 4.7.1 Later"}, want: "deferred 450 4.7.1 mail", sessions: 1},
	} {
		w, mx := one(t, fakemx.Config{Script: func(e fakemx.Event) fakemx.Step {
			switch {
			case e.Session == 0 && e.Stage == fakemx.End:
				return tc.end
			case e.Session == 0 && e.Stage == fakemx.Mail && e.N == 1:
				return tc.mail
			}
			return fakemx.Step{}
		}})
		want(t, w.deliver(w.request("example.test", "b")), "delivered 250 2.0.0 end")
		r := w.request("example.test", "c")
		ends := 0
		r.BeforeEnd = func(context.Context) error { ends++; return nil }
		res := w.deliver(r)
		t.Log(name)
		want(t, res, tc.want)
		if mx.Sessions() != tc.sessions || res.Connect != ConnOK || ends != len(mx.Complete())-1 {
			t.Errorf("%s: %d sessions, class %s, BeforeEnd called %d times", name, mx.Sessions(), res.Connect, ends)
		}
	}
}

// A fresh session that breaks at MAIL is a failure of the host, not staleness.
func TestFreshSessionThatBreaksIsNotRepeated(t *testing.T) {
	t.Parallel()
	w, mx := one(t, fakemx.Config{Script: always(fakemx.Mail, fakemx.Step{Close: true})})
	want(t, w.deliver(w.request("example.test", "b")), "deferred 451 4.4.2 mail")
	if mx.Sessions() != 1 {
		t.Errorf("%d sessions", mx.Sessions())
	}
}

func TestContentAndMarkFaults(t *testing.T) {
	t.Parallel()
	damaged := errors.New("damaged")
	w, mx := one(t, fakemx.Config{})
	r := w.request("example.test", "b", "c")
	r.Content = &content{data: []byte(testMessage), fail: damaged}
	res := w.deliver(r)
	want(t, res, "deferred 451 4.3.0 body", "deferred 451 4.3.0 body")
	if !errors.Is(res.Content, damaged) || res.Connect != ConnOK {
		t.Errorf("content error %v, class %s", res.Content, res.Connect)
	}
	r = w.request("example.test", "b")
	r.BeforeEnd = func(context.Context) error { return errors.New("not recorded") }
	res = w.deliver(r)
	want(t, res, "deferred 451 4.3.0 body")
	if res.Content != nil {
		t.Errorf("content error %v", res.Content)
	}
	r = w.request("example.test", "b")
	r.Content = &content{data: []byte("bare\nline\r\n")}
	want(t, w.deliver(r), "failed 554 5.6.0 body")
	if n := len(mx.Complete()); n != 0 {
		t.Errorf("%d messages were delivered", n)
	}
}

func TestInterruption(t *testing.T) {
	t.Parallel()
	for _, stage := range []fakemx.Stage{fakemx.Banner, fakemx.Ehlo, fakemx.Mail, fakemx.Rcpt, fakemx.Data} {
		reached := make(chan struct{})
		var once sync.Once
		w, mx := one(t, fakemx.Config{Script: func(e fakemx.Event) fakemx.Step {
			if e.Stage == stage {
				once.Do(func() { close(reached) })
				return fakemx.Step{Stall: true}
			}
			return fakemx.Step{}
		}})
		ctx, cancel := context.WithCancel(t.Context())
		r := w.request("example.test", "b")
		go func() { <-reached; cancel() }()
		res := w.deliverCtx(ctx, r)
		if o := res.Outcomes[0]; o.State != Deferred || o.Reply.Enhanced != (smtp.EnhancedCode{4, 3, 2}) || res.Connect != ConnOK {
			t.Errorf("%s: %s, class %s", stage, show(o), res.Connect)
		}
		if mx.Sessions() != 1 {
			t.Errorf("%s: %d connections", stage, mx.Sessions())
		}
	}
	w, mx := one(t, fakemx.Config{})
	r := w.request("example.test", "b")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	want(t, w.deliverCtx(ctx, r), "deferred 451 4.3.2")
	if mx.Sessions() != 0 {
		t.Error("connected after the interruption")
	}
}

func TestThrottles(t *testing.T) {
	t.Parallel()
	for text, throttled := range map[string]bool{
		"421 4.7.28 Our system has detected an unusual rate of mail":                       true,
		"421 4.7.0 Too many connections from your IP":                                      true,
		"451 4.7.500 Server busy. Please try again later":                                  true,
		"450 4.2.1 The user is receiving mail at a rate that prevents additional messages": true,
		"421 4.7.1 Message temporarily deferred due to user complaints":                    true,
		"452 4.3.1 Too many messages, slow down":                                           true,
		"451 4.7.1 Greylisted: too many connections from strangers":                        false,
		"450 4.2.0 Try again later":                                                        false,
		"452 4.2.2 Mailbox full":                                                           false,
		"550 5.7.1 Rate limit exceeded":                                                    false,
		"250 2.0.0 Throttling is off":                                                      false,
		"421 4.3.2 Service shutting down":                                                  false,
	} {
		code, rest, _ := strings.Cut(text, " ")
		enhanced, words, _ := strings.Cut(rest, " ")
		e, err := smtp.ParseEnhancedCode(enhanced)
		if err != nil {
			t.Fatal(err)
		}
		var n int
		fmt.Sscan(code, &n)
		if got := throttles(smtp.Reply{Code: n, Enhanced: e, Text: words}); got != throttled {
			t.Errorf("%q: throttles %v", text, got)
		}
	}
	for _, stage := range []fakemx.Stage{fakemx.Banner, fakemx.Mail, fakemx.Rcpt, fakemx.End} {
		w, _ := one(t, fakemx.Config{Script: always(stage, fakemx.Step{Reply: "421 4.7.0 Too many connections, slow down", Close: true})})
		if res := w.deliver(w.request("example.test", "b")); res.Connect != Throttled || res.Outcomes[0].State != Deferred {
			t.Errorf("%s: class %s, %s", stage, res.Connect, show(res.Outcomes[0]))
		}
	}
}

func TestSmarthost(t *testing.T) {
	t.Parallel()
	ca := fakemx.NewCA(t)
	ext := append([]string{"AUTH PLAIN"}, fakemx.DefaultExtensions...)
	good, other := ca.Server(t, time.Hour, "hub.example.test"), ca.Server(t, time.Hour, "evil.test")
	setup := func(config fakemx.Config, s Smarthost) (*world, *fakemx.Server) {
		mx := fakemx.Start(t, config)
		s.Port = int(mx.Addr().Port())
		w := newWorld(t, 1, func(c *Config) {
			c.AllowPrivate, c.RootCAs = false, ca.Pool() // the operator's word is enough for a private address
			c.Routes = map[string]Smarthost{"example.test": s}
		})
		w.host("hub.example.test", "127.0.0.1")
		return w, mx
	}
	login := Smarthost{Host: "hub.example.test", User: "u", Password: "p"}
	for _, tc := range []struct {
		name   string
		config fakemx.Config
		route  Smarthost
		want   string
		auth   bool
	}{
		{"plain", fakemx.Config{}, Smarthost{Host: "127.0.0.1"}, "delivered 250 2.0.0 end", false},
		{"with login", fakemx.Config{TLS: good, Extensions: ext}, login, "delivered 250 2.0.0 end", true},
		{"login without TLS", fakemx.Config{Extensions: ext}, login, "deferred 454 4.7.4 starttls", false},
		{"login to another host", fakemx.Config{TLS: other, Extensions: ext}, login, "deferred 454 4.7.5 handshake", false},
		{"login refused", fakemx.Config{TLS: good, Extensions: ext, Script: always(fakemx.Auth, fakemx.Step{Reply: "535 5.7.8 Wrong"})}, login, "deferred 454 4.7.0 auth", true},
		{"our own name is no loop here", fakemx.Config{Name: "relay.example.test"}, Smarthost{Host: "hub.example.test"}, "delivered 250 2.0.0 end", false},
	} {
		w, mx := setup(tc.config, tc.route)
		t.Log(tc.name)
		want(t, w.deliver(w.request("example.test", "b")), tc.want)
		line := "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00u\x00p"))
		if slices.Contains(mx.Lines(0), line) != tc.auth {
			t.Errorf("%s: lines %q", tc.name, mx.Lines(0))
		}
	}
}

func TestSources(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 25)
	m := &relay.Message{ID: relay.MessageID{ID: relay.NewID(time.Now())}}
	pool := relay.Pool{}
	for i := range 8 {
		pool.Addresses = append(pool.Addresses, relay.PoolAddress{Address: netip.AddrFrom4([4]byte{127, 0, 1, byte(i)})})
	}
	all := w.sources(&pool, m, "example.test")
	if len(all) != 8 || all[0].helo != "relay.example.test" {
		t.Fatalf("sources %v", all)
	}
	// Taking an address away changes nothing among the others.
	for gone := range 8 {
		less := relay.Pool{Addresses: slices.Clone(pool.Addresses)}
		less.Addresses[gone].DisabledAt = time.Now()
		expected := slices.DeleteFunc(slices.Clone(all), func(s source) bool { return s.addr == pool.Addresses[gone].Address })
		if got := w.sources(&less, m, "example.test"); !slices.Equal(got, expected) {
			t.Errorf("without %d: %v, want %v", gone, got, expected)
		}
	}
	counts := map[netip.Addr]int{}
	for range 800 {
		m := &relay.Message{ID: relay.MessageID{ID: relay.NewID(time.Now())}}
		counts[w.sources(&pool, m, "example.test")[0].addr]++
	}
	for a, n := range counts {
		if len(counts) != 8 || n < 50 || n > 170 {
			t.Errorf("%s is first for %d of 800 messages", a, n)
		}
	}
	if got := w.sources(&relay.Pool{}, m, "x"); len(got) != 1 || got[0].addr.IsValid() {
		t.Errorf("without a pool: %v", got)
	}
}

// A pool whose addresses are all switched off, or of the wrong family, never
// leaves from elsewhere.
func TestPoolWithoutUsableAddress(t *testing.T) {
	t.Parallel()
	w, mx := one(t, fakemx.Config{})
	for name, pool := range map[string]relay.Pool{
		"disabled":        {Addresses: []relay.PoolAddress{{Address: netip.MustParseAddr("127.0.0.1"), DisabledAt: time.Now()}}},
		"another family":  {Addresses: []relay.PoolAddress{{Address: netip.MustParseAddr("::1")}}},
		"not of this box": {Addresses: []relay.PoolAddress{{Address: netip.MustParseAddr("192.0.2.77")}}},
	} {
		r := w.request("example.test", "b")
		r.Pool = pool
		res := w.deliver(r)
		if o := res.Outcomes[0]; o.State != Deferred || mx.Sessions() != 0 {
			t.Errorf("%s: %s, %d connections", name, show(o), mx.Sessions())
		}
	}
	// Beside one that works, an address that the machine lost is passed over.
	r := w.request("example.test", "b")
	r.Pool = relay.Pool{Addresses: []relay.PoolAddress{{Address: netip.MustParseAddr("192.0.2.77")}, {Address: netip.MustParseAddr("127.0.1.9")}}}
	want(t, w.deliver(r), "delivered 250 2.0.0 end")
}

func TestNoIPv6(t *testing.T) {
	t.Parallel()
	var dialled []string
	w := newWorld(t, 25, func(c *Config) {
		c.NoIPv6 = true
		c.Dial = func(_ context.Context, _ netip.Addr, remote netip.AddrPort) (net.Conn, error) {
			dialled = append(dialled, remote.String())
			return nil, errors.New("refused")
		}
	})
	w.host("mx.example.test", "2001:db8::1", "192.0.2.1")
	w.mx("example.test", "mx.example.test")
	want(t, w.deliver(w.request("example.test", "b")), "deferred 451 4.4.1 connect")
	if !slices.Equal(dialled, []string{"192.0.2.1:25"}) {
		t.Errorf("dialled %q", dialled)
	}
}

// A source address is used only towards its own family.
func TestSourceFamilies(t *testing.T) {
	t.Parallel()
	var pairs []string
	w := newWorld(t, 25, func(c *Config) {
		c.Dial = func(_ context.Context, local netip.Addr, remote netip.AddrPort) (net.Conn, error) {
			pairs = append(pairs, local.String()+" "+remote.String())
			return nil, errors.New("refused")
		}
	})
	w.host("mx.example.test", "2001:db8::1", "192.0.2.1")
	w.mx("example.test", "mx.example.test")
	r := w.request("example.test", "b")
	for _, a := range []string{"192.0.2.7", "2001:db8::7"} {
		r.Pool.Addresses = append(r.Pool.Addresses, relay.PoolAddress{Address: netip.MustParseAddr(a)})
	}
	want(t, w.deliver(r), "deferred 451 4.4.1 connect")
	if !slices.Equal(pairs, []string{"2001:db8::7 [2001:db8::1]:25", "192.0.2.7 192.0.2.1:25"}) {
		t.Errorf("dialled %q", pairs)
	}
}

func TestPolicyThatCannotBeHad(t *testing.T) {
	t.Parallel()
	w, mx := one(t, fakemx.Config{}, func(c *Config) {
		c.TLS = &tlspolicy.Decider{Publishers: []tlspolicy.Publisher{publisher{err: errors.New("gone")}}}
	})
	want(t, w.deliver(w.request("example.test", "b")), "deferred 451 4.7.5")
	w.Deliverer.cfg.TLS = &tlspolicy.Decider{Publishers: []tlspolicy.Publisher{publisher{r: tlspolicy.Requirement{
		Level: tlspolicy.Required, AllowHost: func(h string) error { return errors.New("not listed: " + h) },
	}}}}
	want(t, w.deliver(w.request("example.test", "b")), "deferred 451 4.7.5")
	if mx.Sessions() != 0 {
		t.Error("connected against the policy")
	}
}

type publisher struct {
	r   tlspolicy.Requirement
	err error
}

func (p publisher) Published(context.Context, string) (tlspolicy.Requirement, error) {
	return p.r, p.err
}

// Many attempts at once share sessions and lose nothing.
func TestConcurrentDeliveries(t *testing.T) {
	t.Parallel()
	w, mx := one(t, fakemx.Config{Script: func(e fakemx.Event) fakemx.Step {
		if e.Stage == fakemx.End && e.N%5 == 4 {
			return fakemx.Step{Reply: "250 2.0.0 Ok", Close: true} // goes away now and then
		}
		return fakemx.Step{}
	}}, func(c *Config) { c.MaxIdlePerSite = 4 })
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- w.Run(ctx) }()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 20 {
				res := w.deliver(w.request("example.test", fmt.Sprintf("r%d-%d", g, i)))
				if o := res.Outcomes[0]; o.State != Delivered {
					t.Errorf("%d-%d: %s", g, i, show(o))
				}
			}
		})
	}
	wg.Wait()
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	seen := map[string]int{}
	for _, m := range mx.Complete() {
		seen[m.Rcpt[0]]++
	}
	if len(seen) != 160 || len(mx.Complete()) != 160 {
		t.Errorf("%d recipients, %d messages", len(seen), len(mx.Complete()))
	}
	if n := w.idle.len(); n > 4 {
		t.Errorf("%d idle sessions", n)
	}
}
