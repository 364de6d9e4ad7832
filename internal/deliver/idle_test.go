package deliver

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/smtpclient"
	"postern/internal/testkit/fakemx"
)

// pipeSession opens a session with a fake that has no network.
func pipeSession(t *testing.T, mx *fakemx.Server) *smtpclient.Session {
	t.Helper()
	client, server := net.Pipe()
	go mx.Serve(server)
	s, err := smtpclient.New(t.Context(), client, smtpclient.Options{HeloName: "relay.example.test"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestIdleBounds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mx := fakemx.New(fakemx.Config{})
		p := newIdleSessions(5, 3, time.Minute)
		key := func(i int) sessionKey { return sessionKey{helo: fmt.Sprint(i)} }
		var all []*smtpclient.Session
		park := func(k int, site string) (end *smtpclient.Session, s *smtpclient.Session) {
			s = pipeSession(t, mx)
			all = append(all, s)
			return p.park(key(k), site, s, time.Now()), s
		}
		_, first := park(1, "a")
		_, second := park(1, "a")
		park(2, "a")
		if end, s := park(1, "a"); end != s {
			t.Error("a site got more than its share")
		}
		park(3, "b")
		park(3, "b")
		if end, _ := park(4, "c"); end != first {
			t.Error("the oldest did not make room")
		}
		if got := p.take(key(1), time.Now()); got != second {
			t.Error("the newest of a key did not come first")
		}
		if p.take(key(1), time.Now()) != nil || p.len() != 4 {
			t.Errorf("%d sessions left", p.len())
		}
		time.Sleep(time.Minute)
		if p.take(key(2), time.Now()) != nil {
			t.Error("a session was used beyond its time")
		}
		if over, next := p.expire(time.Now()); len(over) != 4 || next != time.Hour || len(p.byKey) != 0 || len(p.bySite) != 0 {
			t.Errorf("%d expired, next in %v, left %v %v", len(over), next, p.byKey, p.bySite)
		}
		if all := p.close(); len(all) != 0 {
			t.Errorf("%d sessions at the end", len(all))
		}
		if end, s := park(1, "a"); end != s {
			t.Error("kept after close")
		}
		for _, s := range all {
			s.Close()
		}
	})
}

func TestRunEndsIdleSessions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mx := fakemx.New(fakemx.Config{})
		d := newPipeDeliverer(t, mx)
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- d.Run(ctx) }()
		for range 3 {
			d.idle.park(sessionKey{}, "a", pipeSession(t, mx), time.Now())
			time.Sleep(5 * time.Second)
		}
		for second, left := range map[int]int{15: 2} {
			time.Sleep(time.Duration(second-15)*time.Second + time.Millisecond)
			synctest.Wait()
			if n := d.idle.len(); n != left {
				t.Errorf("%d idle sessions after %d s, want %d", n, second, left)
			}
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if d.idle.len() != 0 || mx.Open() != 0 {
			t.Errorf("%d idle sessions, %d connections", d.idle.len(), mx.Open())
		}
		for i := range 3 {
			if l := mx.Lines(i); l[len(l)-1] != "QUIT" {
				t.Errorf("session %d ended with %q", i, l)
			}
		}
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		go func() { ran <- d.Run(t.Context()) }()
		d.Close() // ends Run as well: a deliverer that was replaced leaves nothing behind
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
}

// A host that never answers QUIT holds up nobody for long.
func TestCloseIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mx := fakemx.New(fakemx.Config{Script: always(fakemx.Quit, fakemx.Step{Stall: true})})
		d := newPipeDeliverer(t, mx)
		d.idle.perSite = 200
		for range 2 * maxQuits {
			d.idle.park(sessionKey{}, "a", pipeSession(t, mx), time.Now())
		}
		begin := time.Now()
		d.Close()
		if took := time.Since(begin); took > 6*time.Second {
			t.Errorf("Close took %v", took)
		}
		d.Close()
		synctest.Wait()
		if mx.Open() != 0 {
			t.Errorf("%d connections left", mx.Open())
		}
	})
}

func newPipeDeliverer(t *testing.T, mx *fakemx.Server) *Deliverer {
	t.Helper()
	w := newWorld(t, 25, func(c *Config) {
		c.Timeouts = smtpclient.Timeouts{}
		c.Dial = func(context.Context, netip.Addr, netip.AddrPort) (net.Conn, error) {
			client, server := net.Pipe()
			go mx.Serve(server)
			return client, nil
		}
	})
	w.host("mx.example.test", "127.0.0.1")
	w.mx("example.test", "mx.example.test")
	return w.Deliverer
}
