package dns_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"postern/internal/dns"
)

// One network cannot take all connections: secondaries still get one.
func TestServerBoundsConnectionsOfANetwork(t *testing.T) {
	t.Parallel()
	s := serve(t, labZone(t)...)
	open := 0
	for range 60 {
		c, err := net.Dial("tcp", s.Addr().String())
		must(t, err)
		defer c.Close()
		co := &mdns.Conn{Conn: c}
		must(t, c.SetDeadline(time.Now().Add(time.Minute)))
		if err := co.WriteMsg(question("example.test.", mdns.TypeMX)); err != nil {
			continue
		}
		if _, err := co.ReadMsg(); err == nil {
			open++
		}
		if open == 40 {
			break
		}
	}
	if open > 32 || open < 20 {
		t.Errorf("%d connections at once", open)
	}
	to := serveWith(t, dns.ServeConfig{Transfer: []netip.AddrPort{silent(t)}}, labZone(t)...)
	for range 40 {
		c, err := mdns.Dial("tcp", to.Addr().String())
		must(t, err)
		defer c.Close()
		must(t, c.WriteMsg(question("example.test.", mdns.TypeMX)))
		if _, err := c.ReadMsg(); err != nil {
			t.Fatalf("a secondary was refused: %v", err)
		}
	}
}

// Who asks and does not read the answers holds the stop up for a moment only.
func TestServerStopsWhileAnAnswerIsNotTaken(t *testing.T) {
	t.Parallel()
	z := sourceZone(t)
	z.SetSource(many{n: 1 << 30})
	s, err := dns.ListenZonesWith("127.0.0.1:0", dns.ServeConfig{Transfer: []netip.AddrPort{silent(t)}}, z)
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	c, err := mdns.Dial("tcp", s.Addr().String())
	must(t, err)
	defer c.Close()
	must(t, c.WriteMsg(axfr("example.test.")))
	if _, err := c.ReadMsg(); err != nil { // it has begun
		t.Fatal(err)
	}
	stop()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("still running")
	}
}

// Questions over UDP beyond the limit: dropped, or answered with nothing but
// "come over TCP", where nothing is limited.
func TestServerLimitsAnswers(t *testing.T) {
	t.Parallel()
	s := serveWith(t, dns.ServeConfig{AnswersPerSecond: 1}, labZone(t)...)
	conn, err := net.Dial("udp", s.Addr().String())
	must(t, err)
	defer conn.Close()
	co := &mdns.Conn{Conn: conn}
	const n = 100
	for range n {
		must(t, co.WriteMsg(question("example.test.", mdns.TypeMX)))
	}
	full, cut := 0, 0
	for {
		must(t, conn.SetReadDeadline(time.Now().Add(3*time.Second)))
		r, err := co.ReadMsg()
		if err != nil {
			break
		}
		switch {
		case r.Truncated && len(r.Answer)+len(r.Ns)+len(r.Extra) == 0:
			cut++
		case len(r.Answer) == 2:
			full++
		default:
			t.Errorf("got %v", r)
		}
	}
	if full < 1 || full > 30 || cut < 30 || full+cut >= n-20 {
		t.Errorf("%d answered, %d cut, of %d", full, cut, n)
	}
	for range 50 {
		if r := exchange(t, s, "tcp", question("example.test.", mdns.TypeMX)); len(r.Answer) != 2 {
			t.Fatalf("over TCP: %v", r)
		}
	}
	exempt := serveWith(t, dns.ServeConfig{AnswersPerSecond: 1, Transfer: []netip.AddrPort{silent(t)}}, labZone(t)...)
	for range 50 {
		if r := exchange(t, exempt, "udp", question("example.test.", mdns.TypeSOA)); len(r.Answer) != 1 {
			t.Fatalf("a secondary: %v", r)
		}
	}
	// Everybody knows its address and can write it into a question: what is larger
	// than what a secondary asks for would flood it in its own name.
	other, err := net.Dial("udp", exempt.Addr().String())
	must(t, err)
	defer other.Close()
	co = &mdns.Conn{Conn: other}
	for range n {
		must(t, co.WriteMsg(question("example.test.", mdns.TypeMX)))
	}
	for full = 0; ; {
		must(t, other.SetReadDeadline(time.Now().Add(3*time.Second)))
		r, err := co.ReadMsg()
		if err != nil {
			break
		}
		full += min(len(r.Answer), 1)
	}
	if full > 30 {
		t.Errorf("%d of %d large answers went to a secondary's address", full, n)
	}
}

// Strangers of many networks hold all connections that there are: a secondary
// still gets one, or nobody could transfer the zone.
func TestServerKeepsConnectionsForSecondaries(t *testing.T) {
	t.Parallel()
	to := serveWith(t, dns.ServeConfig{Transfer: []netip.AddrPort{netip.MustParseAddrPort("127.9.9.9:53")}}, labZone(t)...)
	ask := func(from string) error {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
		c, err := d.Dial("tcp", to.Addr().String())
		must(t, err)
		t.Cleanup(func() { c.Close() })
		must(t, c.SetDeadline(time.Now().Add(time.Minute)))
		co := &mdns.Conn{Conn: c}
		if err := co.WriteMsg(question("example.test.", mdns.TypeMX)); err != nil {
			return err
		}
		_, err = co.ReadMsg()
		return err
	}
	refused := false
	for i := range 320 { // from ten networks, more than there is room for
		refused = ask(fmt.Sprintf("127.1.%d.1", i%10)) != nil || refused
	}
	if !refused {
		t.Error("there is no bound on connections in all")
	}
	if err := ask("127.9.9.9"); err != nil {
		t.Errorf("a secondary: %v", err)
	}
}
