package deliver

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/testkit/fakemx"
	"postern/internal/tlspolicy"
)

func TestGuardJudges(t *testing.T) {
	t.Parallel()
	own := []netip.Addr{netip.MustParseAddr("8.8.4.4"), netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.0.0.5")}
	allow := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8")}
	for _, tc := range []struct {
		g    guard
		addr string
		want verdict
	}{
		{guard{own: own}, "8.8.8.8", dialOK},
		{guard{own: own}, "8.8.4.4", dialOwn},
		{guard{own: own}, "::ffff:8.8.4.4", dialOwn},
		{guard{own: own}, "127.0.0.1", dialOwn},
		{guard{own: own}, "127.0.0.2", dialRefused},
		{guard{own: own, allow: allow}, "10.1.1.1", dialOK},
		{guard{own: own, allow: allow}, "::ffff:10.1.1.1", dialOK},
		{guard{own: own, allow: allow}, "10.0.0.5", dialOwn},
		{guard{own: own, allow: allow}, "127.0.0.1", dialOK}, // a lab's hosts share it with the relay
		{guard{own: own, allow: allow}, "192.168.0.1", dialRefused},
		{guard{own: own, all: true}, "192.168.0.1", dialOK},
		{guard{own: own, all: true}, "10.0.0.5", dialOwn},
		{guard{own: own, all: true}, "127.0.0.1", dialOK},
	} {
		if got := tc.g.judge(netip.MustParseAddr(tc.addr)); got != tc.want {
			t.Errorf("%+v judges %s as %d, want %d", tc.g, tc.addr, got, tc.want)
		}
	}
}

// DL-19: no name in the DNS makes this relay connect to its own networks.
func TestDL_19(t *testing.T) {
	t.Parallel()
	t.Run("DL-19", func(t *testing.T) {
		mx := fakemx.Start(t, fakemx.Config{})
		setup := func(change func(*Config)) *world {
			w := newWorld(t, mx.Addr().Port(), func(c *Config) {
				c.AllowPrivate = false
				c.ConnectTimeout = 300 * time.Millisecond
				change(c)
			})
			for name, addrs := range map[string][]string{
				"loop": {"127.0.0.1", "::1"}, "mapped": {"::ffff:127.0.0.1"}, "private": {"10.1.2.3", "172.16.0.1", "192.168.0.1"}, "link": {"169.254.169.254", "fe80::1"},
				"cgnat": {"100.64.0.1"}, "multi": {"224.0.0.5"}, "zero": {"0.0.0.0", "::"}, "own": {"8.8.4.4"},
			} {
				w.host(name+".host.test", addrs...)
				w.mx(name+".test", name+".host.test")
			}
			return w
		}
		w := setup(func(c *Config) {
			c.OwnAddrs = func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("8.8.4.4")} }
		})
		for _, name := range []string{"loop", "mapped", "private", "link", "cgnat", "multi", "zero"} {
			want(t, w.deliver(w.request(name+".test", "b")), "failed 550 5.4.4")
		}
		want(t, w.deliver(w.request("own.test", "b")), "failed 554 5.4.6")
		if mx.Sessions() != 0 {
			t.Fatalf("%d connections to refused addresses", mx.Sessions())
		}
		// The allow list is for such networks, one by one.
		w = setup(func(c *Config) { c.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
		want(t, w.deliver(w.request("loop.test", "b")), "delivered 250 2.0.0 end")
		want(t, w.deliver(w.request("private.test", "b")), "failed 550 5.4.4")
		// A refused address beside a good one is skipped, and no verdict.
		w.host("mixed.host.test", "10.9.9.9", "127.0.0.1")
		w.mx("mixed.test", "mixed.host.test")
		for range 4 {
			want(t, w.deliver(w.request("mixed.test", "b")), "delivered 250 2.0.0 end")
		}
	})
}

// What is judged is the address that is dialled, by the dialler itself: the
// resolver may answer otherwise between check and connection.
func TestDialChecksAgain(t *testing.T) {
	t.Parallel()
	mx := fakemx.Start(t, fakemx.Config{})
	w := newWorld(t, mx.Addr().Port(), func(c *Config) { c.AllowPrivate = false })
	_, err := w.dial(t.Context(), &target{host: "x.test", remote: mx.Addr(), req: tlspolicy.Requirement{}})
	var refused *refusedError
	if !errors.As(err, &refused) || refused.own {
		t.Errorf("dial of %s: %v", mx.Addr(), err)
	}
	seen := netip.Addr{}
	look := control(func(a netip.Addr) error { seen = a; return net.ErrClosed })
	if err := look("tcp6", "[::ffff:10.0.0.1]:25", nil); !errors.Is(err, net.ErrClosed) || seen != netip.MustParseAddr("::ffff:10.0.0.1") {
		t.Errorf("the dialler's address was judged as %s: %v", seen, err)
	}
	if err := look("tcp", "name.test:25", nil); err == nil {
		t.Error("a name was dialled")
	}
	// The list of own addresses changes after the first look.
	var calls atomic.Int32
	w = newWorld(t, mx.Addr().Port(), func(c *Config) {
		c.AllowPrivate, c.Allow = false, nil
		c.OwnAddrs = func() []netip.Addr {
			if calls.Add(1) > 1 {
				return []netip.Addr{netip.MustParseAddr("8.8.4.4")}
			}
			return nil
		}
		c.Dial = func(context.Context, netip.Addr, netip.AddrPort) (net.Conn, error) {
			t.Error("dialled")
			return nil, errors.New("dialled")
		}
	})
	w.host("own.host.test", "8.8.4.4")
	w.mx("own.test", "own.host.test")
	want(t, w.deliver(w.request("own.test", "b")), "failed 554 5.4.6")
	if mx.Sessions() != 0 {
		t.Error("connected")
	}
}
