package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	mdns "github.com/miekg/dns"
)

func TestAskable(t *testing.T) {
	t.Parallel()
	allow := prefixes("10.1.0.0/16", "fd00:1::/32")
	for _, tt := range []struct {
		addr string
		ok   bool
	}{
		{"198.41.0.4", true}, {"9.9.9.9", true}, {"2620:fe::9", true}, {"2001:503:ba3e::2:30", true}, {"2400::1", true},
		{"0.0.0.0", false}, {"0.1.2.3", false}, {"10.0.0.1", false}, {"100.64.0.1", false}, {"100.127.255.255", false}, {"100.128.0.1", true},
		{"127.0.0.1", false}, {"127.255.255.254", false}, {"169.254.169.254", false}, {"172.16.0.1", false}, {"172.31.255.255", false}, {"172.32.0.1", true},
		{"192.0.0.8", false}, {"192.0.2.1", false}, {"192.168.1.1", false}, {"198.18.0.1", false}, {"198.19.255.255", false},
		{"198.51.100.1", false}, {"203.0.113.1", false}, {"224.0.0.1", false}, {"240.0.0.1", false}, {"255.255.255.255", false},
		{"::", false}, {"::1", false}, {"::ffff:127.0.0.1", false}, {"::ffff:9.9.9.9", true}, {"::127.0.0.1", false}, {"::9.9.9.9", false},
		{"fe80::1", false}, {"fe80::1%eth0", false}, {"2620:fe::9%eth0", false}, {"fec0::1", false}, {"fc00::1", false}, {"fd12::1", false},
		{"ff02::1", false}, {"2001:db8::1", false}, {"3fff::1", false}, {"2001::1", false}, {"2001:10::1", false}, {"100::1", false}, {"5f00::1", false},
		{"64:ff9b::a00:1", false}, {"64:ff9b::7f00:1", false}, {"64:ff9b::909:909", true}, {"64:ff9b:1::909:909", false},
		{"2002:a00:1::1", false}, {"2002:7f00:1::1", false}, {"2002:c0a8:101::1", false}, {"2002:909:909::1", true},
		{"10.1.2.3", true}, {"::ffff:10.1.2.3", true}, {"10.2.0.1", false}, {"fd00:1::1", true}, {"fd00:2::1", false},
		{"64:ff9b::a01:203", true},
	} {
		err := askable(netip.MustParseAddr(tt.addr), allow)
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrPrivate) {
			t.Errorf("%s: %v", tt.addr, err)
		}
	}
	if err := askable(netip.Addr{}, allow); !errors.Is(err, ErrPrivate) {
		t.Errorf("no address: %v", err)
	}
}

// A server that was silent about one zone is asked about others, and about that one
// again soon.
func TestQuiet(t *testing.T) {
	t.Parallel()
	var q quiet
	at, now := netip.MustParseAddr("192.0.2.1"), time.Unix(1e9, 0)
	q.note("hostile.test", at, now)
	if !q.is("hostile.test", at, now.Add(quietFor-1)) || q.is("hostile.test", at, now.Add(quietFor)) {
		t.Error("not for the time that was set")
	}
	if q.is("victim.test", at, now) || q.is("hostile.test", netip.MustParseAddr("192.0.2.2"), now) {
		t.Error("others are taken for silent")
	}
	for i := range 3 * maxQuiet {
		q.note(fmt.Sprint(i), at, now)
	}
	if len(q.until) > maxQuiet {
		t.Errorf("%d servers are remembered", len(q.until))
	}
}

// Name servers are asked at the pace that was set, each at its own.
func TestPacer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(10)
		one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
		begin := time.Now()
		for i := range 21 {
			if err := p.wait(t.Context(), one); err != nil {
				t.Fatal(err)
			}
			if got, want := time.Since(begin), time.Duration(i)*100*time.Millisecond; got != want {
				t.Fatalf("question %d after %v, want %v", i, got, want)
			}
		}
		at := time.Now()
		if err := p.wait(t.Context(), two); err != nil || time.Since(at) != 0 {
			t.Errorf("the other server: after %v, %v", time.Since(at), err)
		}
		// Who cannot have a turn in time does not wait for it, and takes none.
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		for range 3 {
			if err := p.wait(ctx, one); !errors.Is(err, ErrTemporary) || time.Since(at) != 0 {
				t.Errorf("after %v: %v", time.Since(at), err)
			}
		}
		// Who gives up stops waiting.
		ctx, give := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Millisecond, give)
		if err := p.wait(ctx, one); !errors.Is(err, ErrTemporary) || time.Since(at) != 10*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(at), err)
		}
	})
}

func TestPacerIsBounded(t *testing.T) {
	t.Parallel()
	p := newPacer(1)
	now := time.Unix(1e9, 0)
	address := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{9, byte(i >> 16), byte(i >> 8), byte(i)}) }
	for i := range maxPaced {
		if _, err := p.take(t.Context(), address(i), now); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.take(t.Context(), address(maxPaced), now); !errors.Is(err, ErrTemporary) || len(p.next) > maxPaced {
		t.Errorf("%d servers: %v", len(p.next), err)
	}
	if turn, err := p.take(t.Context(), address(1), now); err != nil || !turn.Equal(now.Add(time.Second)) {
		t.Errorf("one that is known: %v, %v", turn, err)
	}
	if _, err := p.take(t.Context(), address(maxPaced), now.Add(time.Second)); err != nil || len(p.next) != 2 {
		t.Errorf("a second later: %d servers, %v", len(p.next), err)
	}
}

// At most InFlight questions are under way; more wait, and give up with their caller.
func TestAuthorityTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := NewAuthority(AuthorityConfig{Resolver: &Static{}, InFlight: 2, PerServer: -1})
		addr := netip.MustParseAddr("192.0.2.1")
		first, err := a.turn(t.Context(), addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.turn(t.Context(), addr); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.turn(ctx, addr); !errors.Is(err, ErrTemporary) {
			t.Errorf("the third: %v", err)
		}
		first()
		if _, err := a.turn(t.Context(), addr); err != nil {
			t.Error(err)
		}
	})
}

// A machine without IPv6 does not report every server's IPv6 address as broken,
// nor spend on those the few addresses that may be asked of a registry.
func TestAuthorityWithoutIPv6(t *testing.T) {
	t.Parallel()
	w := &Static{Addrs: map[string][]netip.Addr{"six.test": {netip.MustParseAddr("2620:fe::9")}, "private.test": {netip.MustParseAddr("10.0.0.1")}}}
	at := cut{zone: "test"}
	for i := range 4 {
		host := fmt.Sprintf("ns%d.test", i)
		w.Addrs[host] = []netip.Addr{netip.AddrFrom16([16]byte{0x26, 0x20, 15: byte(i)}), netip.AddrFrom4([4]byte{9, 9, 9, byte(i)})}
		at.servers = append(at.servers, nameServer{host: host})
	}
	a := NewAuthority(AuthorityConfig{Resolver: w})
	a.path = func(to netip.AddrPort) bool { return to.Addr().Is4() && to.Port() == 53 }
	list := func(servers ...nameServer) (text string) {
		for _, t := range a.targets(t.Context(), cut{at.zone, servers}) {
			text += t.addr.String() + " "
		}
		return text
	}
	if got := list(at.servers...); got != "9.9.9.0 9.9.9.1 9.9.9.2 " {
		t.Errorf("asked %s", got)
	}
	if got := list(nameServer{host: "six.test"}, nameServer{host: "private.test"}); got != "2620:fe::9 10.0.0.1 " { // to say that they cannot be
		t.Errorf("asked %s", got)
	}
}

func TestNoPath(t *testing.T) {
	t.Parallel()
	for errno, want := range map[syscall.Errno]bool{
		syscall.ENETUNREACH: true, syscall.EAFNOSUPPORT: true, syscall.EADDRNOTAVAIL: true,
		syscall.ECONNREFUSED: false, syscall.EHOSTUNREACH: false, syscall.EMFILE: false,
	} {
		err := fmt.Errorf("%w: %w", ErrTemporary, &net.OpError{Op: "dial", Net: "udp", Err: os.NewSyscallError("connect", errno)})
		if noPath(err) != want {
			t.Errorf("%v: %v", errno, !want)
		}
	}
	if !hasPath(netip.MustParseAddrPort("127.0.0.1:9")) {
		t.Error("no way to loopback")
	}
}

// FuzzTold: whatever a name server sends, reading ends, and what is told is what
// was asked about; a delegation leads strictly downwards, towards the name.
func FuzzTold(f *testing.F) {
	for _, text := range [][]string{
		{"a.b.example.test. 1 IN CNAME c.test.", ""},
		{`a.b.example.test. 1 IN TXT "x\000y" "z"`, ""},
		{"", "b.example.test. 1 IN NS ns.b.example.test."},
		{"", "example.test. 1 IN SOA . . 1 2 3 4 5"},
	} {
		m := new(mdns.Msg)
		m.SetQuestion("a.b.example.test.", mdns.TypeTXT)
		m.Response, m.Authoritative = true, true
		for i, s := range text {
			rr, err := mdns.NewRR(s)
			if err != nil {
				f.Fatal(err)
			}
			switch {
			case rr == nil:
			case i == 0:
				m.Answer = append(m.Answer, rr)
			default:
				m.Ns = append(m.Ns, rr)
			}
		}
		wire, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := new(mdns.Msg)
		if r.Unpack(wire) != nil {
			return
		}
		for _, typ := range asks {
			var told Told
			down := told.read(question{"a.b.example.test", typ}, "example.test", r)
			if down != nil {
				if down.zone != "b.example.test" && down.zone != "a.b.example.test" || len(down.servers) == 0 || len(down.servers) > maxServers {
					t.Fatalf("delegated to %+v", down)
				}
				continue
			}
			values := len(told.TXT) + len(told.MX) + len(told.NS) + len(told.Addrs)
			if told.Err == nil && told.CNAME == "" && values == 0 {
				t.Fatalf("%d: neither value nor error", typ)
			}
			if told.Err == nil && !told.Authoritative {
				t.Fatal("believed without authority")
			}
			if told.CNAME != "" {
				if n, err := normal(told.CNAME); err != nil || n != told.CNAME {
					t.Fatalf("alias of %q", told.CNAME)
				}
			}
		}
	})
}
