package deliver

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/testkit/fakemx"
	"postern/internal/tlspolicy"
)

// TestDL holds what an attempt must do when the next hop misbehaves: one subtest
// per row of docs/security.md. What concerns one session alone stands in package
// smtpclient under the same names.
func TestDL(t *testing.T) {
	t.Parallel()
	t.Run("DL-01", testTemporary)
	t.Run("DL-02", testSomeRecipientsRefused)
	t.Run("DL-03", testPermanent)
	t.Run("DL-04", testNextAddress)
	t.Run("DL-05", testLostWithinData)
	t.Run("DL-06", testLostAfterData)
	t.Run("DL-08", testNoGoodbye)
	t.Run("DL-09", testProtocolErrors)
	t.Run("DL-10", test421)
	t.Run("DL-12", testManyRecipients)
	t.Run("DL-13", testHandshakeFails)
	t.Run("DL-14", testTLSMissing)
	t.Run("DL-17", testRequireTLS)
	t.Run("DL-24", testHostOffersLess)
	t.Run("DL-25", testSameSource)
	t.Run("DL-26", testNoDSN)
}

func testTemporary(t *testing.T) {
	t.Parallel()
	for _, stage := range []fakemx.Stage{fakemx.Banner, fakemx.Ehlo, fakemx.Mail, fakemx.Rcpt, fakemx.Data, fakemx.End} {
		w, mx := one(t, fakemx.Config{Script: always(stage, fakemx.Step{Reply: "450 4.7.1 Greylisted, try later"})})
		res := w.deliver(w.request("example.test", "b"))
		want(t, res, "deferred 450 4.7.1 "+string(stage))
		o := res.Outcomes[0]
		if o.Reply.Text != "Greylisted, try later" || o.Host != "mx.example.test" || o.IP != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("%s: outcome %+v", stage, o)
		}
		opened := stage != fakemx.Banner && stage != fakemx.Ehlo
		if (res.Connect == ConnOK) != opened || res.Connect == Throttled {
			t.Errorf("%s: class %s", stage, res.Connect)
		}
		if mx.Sessions() != 1 {
			t.Errorf("%s: %d connections", stage, mx.Sessions())
		}
	}
}

func testSomeRecipientsRefused(t *testing.T) {
	t.Parallel()
	w, mx := one(t, fakemx.Config{Script: at(fakemx.Rcpt, 1, fakemx.Step{Reply: "550 5.1.1 Unknown"})})
	want(t, w.deliver(w.request("example.test", "b", "c", "d")), "delivered 250 2.0.0 end", "failed 550 5.1.1 rcpt", "delivered 250 2.0.0 end")
	if got := mx.Complete(); len(got) != 1 || len(got[0].Rcpt) != 2 {
		t.Errorf("transactions %+v", got)
	}
}

func testPermanent(t *testing.T) {
	t.Parallel()
	for _, stage := range []fakemx.Stage{fakemx.Banner, fakemx.Ehlo, fakemx.Mail, fakemx.Data, fakemx.End} {
		w, _ := one(t, fakemx.Config{Script: func(e fakemx.Event) fakemx.Step {
			if e.Stage == stage || stage == fakemx.Ehlo && e.Stage == fakemx.Helo {
				return fakemx.Step{Reply: "554 5.7.1 Refused\a"}
			}
			return fakemx.Step{}
		}})
		res := w.deliver(w.request("example.test", "b"))
		want(t, res, "failed 554 5.7.1 "+string(stage))
		if got := res.Outcomes[0].Reply.Text; got != "Refused?" {
			t.Errorf("the host's words became %q", got)
		}
	}
	// One host's refusal to talk at all is not the others'.
	refuse := &fakemx.Config{Script: always(fakemx.Banner, fakemx.Step{Reply: "554 5.7.1 Not you"})}
	w, _ := several(t, refuse, &fakemx.Config{})
	want(t, w.deliver(w.request("example.test", "b")), "delivered 250 2.0.0 end")
	w, _ = several(t, refuse, nil) // the other may yet take it
	want(t, w.deliver(w.request("example.test", "b")), "deferred 451 4.4.1 connect")
	w, _ = several(t, refuse, refuse)
	want(t, w.deliver(w.request("example.test", "b")), "failed 554 5.7.1 banner")
}

func testNextAddress(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]*fakemx.Config{
		"refused":             nil,
		"closed at once":      {Script: always(fakemx.Banner, fakemx.Step{Close: true})},
		"reset at EHLO":       {Script: always(fakemx.Ehlo, fakemx.Step{Reset: true})},
		"closed at MAIL":      {Script: always(fakemx.Mail, fakemx.Step{Close: true})},
		"closed at RCPT":      {Script: always(fakemx.Rcpt, fakemx.Step{Close: true})},
		"closed at DATA":      {Script: always(fakemx.Data, fakemx.Step{Close: true})},
		"421 in the banner":   {Script: always(fakemx.Banner, fakemx.Step{Reply: "421 4.3.2 Busy"})},
		"450 in the banner":   {Script: always(fakemx.Banner, fakemx.Step{Reply: "450 4.3.2 Busy"})},
		"garbage at MAIL":     {Script: always(fakemx.Mail, fakemx.Step{Raw: "??\r\n"})},
		"no mail server here": {Script: always(fakemx.Banner, fakemx.Step{Reply: "521 5.3.2 No mail"})},
	} {
		w, servers := several(t, first, &fakemx.Config{})
		res := w.deliver(w.request("example.test", "b", "c"))
		t.Log(name)
		want(t, res, "delivered 250 2.0.0 end", "delivered 250 2.0.0 end")
		if o := res.Outcomes[0]; o.Host != "mx2.example.test" || o.IP.String() != "127.0.0.2" || !o.LocalIP.IsLoopback() || res.Connect != ConnOK {
			t.Errorf("outcome %+v, class %s", o, res.Connect)
		}
		if n := servers[1].Sessions(); n != 1 {
			t.Errorf("%d connections to the second host", n)
		}
	}
	w, _ := several(t, nil, nil)
	res := w.deliver(w.request("example.test", "b"))
	want(t, res, "deferred 451 4.4.1 connect")
	if res.Connect != ConnFailed {
		t.Errorf("class %s", res.Connect)
	}
	// The next address of the same host, whichever comes first.
	w, servers := several(t, nil, &fakemx.Config{})
	w.host("both.example.test", "127.0.0.1", "127.0.0.2")
	w.mx("both.test", "both.example.test")
	for range 4 {
		want(t, w.deliver(w.request("both.test", "b")), "delivered 250 2.0.0 end")
	}
	if n := len(servers[1].Complete()); n != 4 {
		t.Errorf("%d messages at the address that works", n)
	}
	// A time-out of the connection counts as a failure of the address.
	w, _ = one(t, fakemx.Config{}, func(c *Config) {
		c.ConnectTimeout = 10 * time.Millisecond
		c.Dial = func(ctx context.Context, _ netip.Addr, _ netip.AddrPort) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
	want(t, w.deliver(w.request("example.test", "b")), "deferred 451 4.4.1 connect")
}

func testLostWithinData(t *testing.T) {
	t.Parallel()
	w, servers := several(t, &fakemx.Config{Script: always(fakemx.Body, fakemx.Step{After: 100, Reset: true})}, &fakemx.Config{})
	r := w.request("example.test", "b")
	r.Content = &content{data: []byte(strings.Repeat("line\r\n", 1<<20))}
	want(t, w.deliver(r), "deferred 451 4.4.2 body")
	if servers[1].Sessions() != 0 || len(servers[0].Complete()) != 0 {
		t.Error("the message went elsewhere at once, or counted as taken")
	}
}

func testLostAfterData(t *testing.T) {
	t.Parallel()
	w, servers := several(t, &fakemx.Config{Script: at(fakemx.End, 0, fakemx.Step{Close: true})}, &fakemx.Config{})
	want(t, w.deliver(w.request("example.test", "b", "c")), "deferred 451 4.4.2 end ambiguous", "deferred 451 4.4.2 end ambiguous")
	if servers[1].Sessions() != 0 {
		t.Error("an ambiguous message was sent elsewhere at once")
	}
}

func testNoGoodbye(t *testing.T) {
	t.Parallel()
	w, mx := one(t, fakemx.Config{Script: func(e fakemx.Event) fakemx.Step {
		switch e.Stage {
		case fakemx.End:
			return fakemx.Step{Extra: "garbage\r\n"}
		case fakemx.Quit:
			return fakemx.Step{Close: true}
		}
		return fakemx.Step{}
	}})
	want(t, w.deliver(w.request("example.test", "b")), "delivered 250 2.0.0 end")
	if w.idle.len() != 0 {
		t.Error("a session that is out of step was kept")
	}
	want(t, w.deliver(w.request("example.test", "c")), "delivered 250 2.0.0 end")
	if mx.Sessions() != 2 {
		t.Errorf("%d connections", mx.Sessions())
	}
}

func testProtocolErrors(t *testing.T) {
	t.Parallel()
	for _, stage := range []fakemx.Stage{fakemx.Banner, fakemx.Ehlo, fakemx.Mail, fakemx.Rcpt, fakemx.Data} {
		w, _ := one(t, fakemx.Config{Script: always(stage, fakemx.Step{Raw: strings.Repeat("250-x\r\n", 1000), Close: true})})
		want(t, w.deliver(w.request("example.test", "b")), "deferred 451 4.5.0 "+string(stage))
		if w.idle.len() != 0 {
			t.Error("a session that is out of step was kept")
		}
	}
	// A reply injected in the clear is not taken for one under TLS, and is no reason
	// to go on without.
	ca := fakemx.NewCA(t)
	w, mx := one(t, fakemx.Config{
		TLS:    ca.Server(t, time.Hour, "mx.example.test"),
		Script: always(fakemx.StartTLS, fakemx.Step{Reply: "220 Go", Extra: "250 evil\r\n"}),
	})
	want(t, w.deliver(w.request("example.test", "b")), "deferred 451 4.5.0 starttls")
	if mx.Sessions() != 1 {
		t.Errorf("%d connections", mx.Sessions())
	}
}

func test421(t *testing.T) {
	t.Parallel()
	w, servers := several(t, &fakemx.Config{Script: func(e fakemx.Event) fakemx.Step {
		switch {
		case e.Stage == fakemx.Rcpt && e.N == 0:
			return fakemx.Step{Reply: "550 5.1.1 Unknown"}
		case e.Stage == fakemx.Rcpt && e.N == 2:
			return fakemx.Step{Reply: "421 4.3.2 Going down", Close: true}
		}
		return fakemx.Step{}
	}}, &fakemx.Config{})
	want(t, w.deliver(w.request("example.test", "b", "c", "d")), "failed 550 5.1.1 rcpt", "delivered 250 2.0.0 end", "delivered 250 2.0.0 end")
	if got := servers[1].Complete(); len(got) != 1 || len(got[0].Rcpt) != 2 {
		t.Errorf("at the second host: %+v", got)
	}
}

func testManyRecipients(t *testing.T) {
	t.Parallel()
	var locals []string
	for i := range 250 {
		locals = append(locals, fmt.Sprintf("r%d", i))
	}
	for _, tc := range []struct {
		name         string
		config       fakemx.Config
		transactions int
		sessions     int
	}{
		{"a hundred at a time", fakemx.Config{}, 3, 1},
		{"452 4.5.3 after 70", fakemx.Config{Script: func(e fakemx.Event) fakemx.Step {
			if e.Stage == fakemx.Rcpt && e.N%100 >= 70 { // each transaction asks for 100
				return fakemx.Step{Reply: "452 4.5.3 Too many recipients"}
			}
			return fakemx.Step{}
		}}, 0, 1},
		{"RCPTMAX", fakemx.Config{Extensions: []string{"PIPELINING", "LIMITS RCPTMAX=40"}}, 7, 1},
		{"RCPTMAX and MAILMAX", fakemx.Config{Extensions: []string{"PIPELINING", "LIMITS RCPTMAX=40 MAILMAX=1"}}, 7, 7},
	} {
		w, mx := one(t, tc.config)
		r := w.request("example.test", locals...)
		ends := 0
		r.BeforeEnd = func(context.Context) error { ends++; return nil }
		res := w.deliver(r)
		for i, o := range res.Outcomes {
			if o.State != Delivered {
				t.Fatalf("%s: recipient %d: %s", tc.name, i, show(o))
			}
		}
		seen := map[string]int{}
		for _, m := range mx.Complete() {
			for _, to := range m.Rcpt {
				seen[to]++
			}
		}
		if len(seen) != 250 {
			t.Errorf("%s: %d recipients reached", tc.name, len(seen))
		}
		for to, n := range seen {
			if n != 1 {
				t.Errorf("%s: %s was sent %d times", tc.name, to, n)
			}
		}
		if n := len(mx.Complete()); tc.transactions > 0 && n != tc.transactions || ends != n || mx.Sessions() != tc.sessions {
			t.Errorf("%s: %d transactions over %d sessions, BeforeEnd called %d times", tc.name, n, mx.Sessions(), ends)
		}
	}
}

func testHandshakeFails(t *testing.T) {
	t.Parallel()
	ca := fakemx.NewCA(t)
	old := ca.Server(t, time.Hour, "mx.example.test")
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	expired := ca.Server(t, -time.Minute, "mx.example.test")
	strict := ca.Server(t, time.Hour, "mx.example.test")
	strict.ClientAuth = tls.RequireAnyClientCert
	for name, config := range map[string]fakemx.Config{
		"old versions":       {TLS: old},
		"garbage":            {TLS: expired, Script: always(fakemx.Handshake, fakemx.Step{Delay: 20 * time.Millisecond, Raw: "no\r\n"})},
		"client certificate": {TLS: strict},
		"closes at STARTTLS": {TLS: expired, Script: always(fakemx.StartTLS, fakemx.Step{Close: true})},
		"hangs up":           {TLS: expired, Script: always(fakemx.Handshake, fakemx.Step{Close: true})},
	} {
		w, mx := one(t, config)
		res := w.deliver(w.request("example.test", "b"))
		t.Log(name)
		want(t, res, "delivered 250 2.0.0 end")
		if mx.Sessions() != 2 || mx.Complete()[0].TLS || res.Outcomes[0].TLS != "" {
			t.Errorf("%s: %d connections, outcome TLS %q", name, mx.Sessions(), res.Outcomes[0].TLS)
		}
		for _, level := range []relay.TLSLevel{relay.TLSRequired, relay.TLSVerified} {
			w, mx := one(t, config)
			r := w.request("example.test", "b")
			r.TLS = level
			outcome := "deferred 454 4.7.5 handshake"
			if name == "closes at STARTTLS" {
				outcome = "deferred 451 4.4.2 starttls"
			}
			w.Deliverer.cfg.RootCAs = ca.Pool()
			want(t, w.deliver(r), outcome)
			if mx.Sessions() != 1 || len(mx.Transactions()) != 0 {
				t.Errorf("%s, %s: %d connections, %d transactions", name, level, mx.Sessions(), len(mx.Transactions()))
			}
		}
	}
	// A bad certificate is none for verified, and good enough for the others.
	for _, tc := range []struct {
		config *tls.Config
		level  relay.TLSLevel
		want   string
	}{
		{expired, relay.TLSOpportunistic, "delivered 250 2.0.0 end"},
		{expired, relay.TLSRequired, "delivered 250 2.0.0 end"},
		{expired, relay.TLSVerified, "deferred 454 4.7.5 handshake"},
		{ca.Server(t, time.Hour, "other.test"), relay.TLSVerified, "deferred 454 4.7.5 handshake"},
		{ca.Server(t, time.Hour, "mx.example.test"), relay.TLSVerified, "delivered 250 2.0.0 end"},
		{ca.Server(t, time.Hour, "mx.example.test"), "a level of tomorrow", "delivered 250 2.0.0 end"},
		{expired, "a level of tomorrow", "deferred 454 4.7.5 handshake"},
	} {
		w, _ := one(t, fakemx.Config{TLS: tc.config}, func(c *Config) { c.RootCAs = ca.Pool() })
		r := w.request("example.test", "b")
		r.TLS = tc.level
		res := w.deliver(r)
		want(t, res, tc.want)
		if o := res.Outcomes[0]; o.State == Delivered && !strings.HasPrefix(o.TLS, "TLSv1.3 TLS_") {
			t.Errorf("TLS recorded as %q", o.TLS)
		}
	}
}

func testTLSMissing(t *testing.T) {
	t.Parallel()
	ca := fakemx.NewCA(t)
	refuses := fakemx.Config{TLS: ca.Server(t, time.Hour, "mx.example.test"), Script: always(fakemx.StartTLS, fakemx.Step{Reply: "454 4.7.0 Not now"})}
	table, err := tlspolicy.NewTable(map[string]tlspolicy.Level{"example.test": tlspolicy.Required})
	if err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]fakemx.Config{"stripped": {}, "refused": refuses} {
		w, mx := one(t, config)
		want(t, w.deliver(w.request("example.test", "b")), "delivered 250 2.0.0 end")
		for i := range 3 {
			r := w.request("example.test", "b")
			switch i {
			case 0:
				r.TLS = relay.TLSRequired
			case 1:
				r.TLS = relay.TLSVerified
			case 2: // by destination; the session in the clear that idles is not used
				w.cfg.TLS = &tlspolicy.Decider{Destinations: table}
				w.Deliverer.cfg.TLS = w.cfg.TLS
			}
			want(t, w.deliver(r), "deferred 454 4.7.4 starttls")
		}
		if n := len(mx.Transactions()); n != 1 {
			t.Errorf("%s: %d transactions in the clear", name, n)
		}
	}
}

func testRequireTLS(t *testing.T) {
	t.Parallel()
	ca := fakemx.NewCA(t)
	server := ca.Server(t, time.Hour, "mx.example.test")
	ext := append([]string{"REQUIRETLS"}, fakemx.DefaultExtensions...)
	for _, tc := range []struct {
		name   string
		config fakemx.Config
		secure bool
		want   string
	}{
		{"all there", fakemx.Config{TLS: server, Extensions: ext}, true, "delivered 250 2.0.0 end"},
		{"the names may be forged", fakemx.Config{TLS: server, Extensions: ext}, false, "failed 550 5.7.30"},
		{"not offered", fakemx.Config{TLS: server}, true, "failed 550 5.7.30 mail"},
		{"no TLS", fakemx.Config{Extensions: ext}, true, "deferred 454 4.7.4 starttls"},
	} {
		w, mx := one(t, tc.config, func(c *Config) { c.RootCAs = ca.Pool() })
		w.dns.Secure = tc.secure
		r := w.request("example.test", "b")
		r.Message.RequireTLS = true
		t.Log(tc.name)
		want(t, w.deliver(r), tc.want)
		if got := mx.Complete(); len(got) == 1 && !strings.HasSuffix(got[0].Mail, " REQUIRETLS") {
			t.Errorf("MAIL %s", got[0].Mail)
		}
	}
}

func testHostOffersLess(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		ext    []string
		change func(*Request)
		want   string
	}{
		"8-bit":         {[]string{"SMTPUTF8"}, func(r *Request) { r.Message.Body = relay.Body8Bit }, "failed 550 5.6.3 mail"},
		"binary":        {[]string{"8BITMIME", "CHUNKING"}, func(r *Request) { r.Message.Body = relay.BodyBinary }, "failed 550 5.6.3 mail"},
		"international": {[]string{"8BITMIME"}, func(r *Request) { r.Message.SMTPUTF8 = true }, "failed 550 5.6.7 mail"},
		"address":       {[]string{"8BITMIME"}, func(r *Request) { r.Recipients[0].Address = "ü@example.test" }, "failed 550 5.6.7 rcpt"},
		"size":          {[]string{"SIZE 60"}, func(r *Request) { r.Prefix = []byte("A: b\r\n") }, "failed 552 5.3.4 mail"},
	} {
		w, mx := one(t, fakemx.Config{Extensions: tc.ext})
		r := w.request("example.test", "b")
		tc.change(&r)
		t.Log(name)
		want(t, w.deliver(r), tc.want)
		if n := r.Content.(*content).opened.Load(); n != 0 || len(mx.Transactions()) != 0 {
			t.Errorf("%s: content opened %d times, %d transactions", name, n, len(mx.Transactions()))
		}
		if w.idle.len() != 1 {
			t.Error("the session was not kept")
		}
	}
}

func testNoDSN(t *testing.T) {
	t.Parallel()
	for ext, outcome := range map[string]string{"DSN": "delivered 250 2.0.0 end", "8BITMIME": "delivered 250 2.0.0 end nodsn"} {
		w, mx := one(t, fakemx.Config{Extensions: []string{ext}})
		r := w.request("example.test", "b")
		r.Message.Ret, r.Message.EnvID = "HDRS", "id"
		r.Recipients[0].Notify, r.Recipients[0].ORcpt = relay.NotifySuccess|relay.NotifyDelay, "rfc822;B@example.test"
		want(t, w.deliver(r), outcome)
		mail, rcpt := "FROM:<bounce@relay.example.test>", "TO:<b@example.test>"
		if ext == "DSN" {
			mail, rcpt = mail+" RET=HDRS ENVID=id", rcpt+" NOTIFY=SUCCESS,DELAY ORCPT=rfc822;B@example.test"
		}
		if got := mx.Complete()[0]; got.Mail != mail || got.Rcpt[0] != rcpt {
			t.Errorf("%s: %q, %q", ext, got.Mail, got.Rcpt)
		}
	}
	w, _ := one(t, fakemx.Config{Extensions: []string{"HELP"}, Script: always(fakemx.Rcpt, fakemx.Step{Reply: "550 5.1.1 No"})})
	want(t, w.deliver(w.request("example.test", "b")), "failed 550 5.1.1 rcpt") // nothing relayed
}

func testSameSource(t *testing.T) {
	t.Parallel()
	w, mx := one(t, fakemx.Config{Script: always(fakemx.Rcpt, fakemx.Step{Reply: "450 4.7.1 Greylisted"})},
		func(c *Config) { c.MaxIdle = -1 })
	pool := relay.Pool{}
	for i := range 5 {
		pool.Addresses = append(pool.Addresses, relay.PoolAddress{
			Address: netip.MustParseAddr(fmt.Sprintf("127.0.1.%d", i+1)), Helo: fmt.Sprintf("out%d.relay.example.test", i+1),
		})
	}
	used := map[netip.Addr]bool{}
	for range 10 {
		r := w.request("example.test", "b")
		r.Pool = pool
		var first netip.Addr
		for attempt := range 4 {
			res := w.deliver(r)
			want(t, res, "deferred 450 4.7.1 rcpt")
			switch ip := res.Outcomes[0].LocalIP; {
			case attempt == 0:
				first = ip
			case ip != first:
				t.Errorf("attempt %d left from %s, the first from %s", attempt, ip, first)
			}
		}
		used[first] = true
	}
	if len(used) < 2 {
		t.Errorf("all messages left from %v", used)
	}
	for _, m := range mx.Transactions() {
		last := m.Remote.Addr().As4()[3]
		if m.Helo != fmt.Sprintf("out%d.relay.example.test", last) {
			t.Errorf("%s said EHLO %s", m.Remote, m.Helo)
		}
	}
}
