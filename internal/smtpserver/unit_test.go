package smtpserver

import (
	"crypto/tls"
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"postern/internal/sasl"
)

// RX-02: a few addresses, or one customer's IPv6 networks, cannot take all places.
func TestQuotaLeavesRoom(t *testing.T) {
	t.Parallel()
	limits := QuotaLimits{Connections: 5000, PerAddress: 250}
	fill := func(limits QuotaLimits, addresses int, addr func(i int) netip.Addr) (q *Quota) {
		q = NewQuota(limits)
		for i := range addresses {
			for q.enter(addr(i)) == admitted {
			}
		}
		return q
	}
	v4 := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}) }
	in48 := func(i int) netip.Addr {
		return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 1, byte(i >> 8), byte(i), 15: 1})
	}
	stranger := netip.MustParseAddr("198.51.100.7")
	for name, q := range map[string]*Quota{
		"50 addresses": fill(limits, 50, v4), "a /48": fill(limits, 10_000, in48),
	} {
		if q.Connections() >= 4500 || q.enter(stranger) != admitted {
			t.Errorf("%s take %d of 5000 places", name, q.Connections())
		}
	}
	if q := fill(limits, 1, v4); q.Connections() != 250 {
		t.Errorf("one address has %d places", q.Connections())
	}
	if q := fill(limits, 10_000, in48); q.Connections() != perSite*250 {
		t.Errorf("a /48 has %d places", q.Connections())
	}
	// Behind a proxy there is one address.
	if q := fill(QuotaLimits{Connections: 5000, PerAddress: 5000}, 1, v4); q.Connections() != 5000 {
		t.Errorf("a proxy has %d places", q.Connections())
	}
	q := NewQuota(limits)
	for i := range 300 {
		q.enter(in48(i))
	}
	for i := range 300 {
		q.leave(in48(i))
	}
	if q.Connections() != 0 || len(q.byAddr) != 0 {
		t.Errorf("%d connections, %d counts are left", q.Connections(), len(q.byAddr))
	}
}

func TestQuota(t *testing.T) {
	t.Parallel()
	q := NewQuota(QuotaLimits{Connections: 3, PerAddress: 2, InFlight: 10})
	a, b, c := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	for i, want := range []struct {
		addr netip.Addr
		why  refusal
	}{{a, admitted}, {a, admitted}, {a, tooManyHere}, {b, admitted}, {c, tooManyInAll}, {a, tooManyHere}} {
		if got := q.enter(want.addr); got != want.why {
			t.Errorf("connection %d: %q, want %q", i, got, want.why)
		}
	}
	q.leave(a)
	if q.enter(c) != admitted || q.Connections() != 3 {
		t.Error("a place that was left is not free")
	}
	q.leave(a)
	q.leave(b)
	q.leave(c)
	if q.Connections() != 0 || len(q.byAddr) != 0 {
		t.Errorf("%d connections, %d addresses are left", q.Connections(), len(q.byAddr))
	}
	if !q.take(10) || q.take(1) || !q.full() || q.InFlight() != 10 {
		t.Error("octets are not counted")
	}
	q.give(10)
	if q.full() || q.InFlight() != 0 {
		t.Error("octets are not given back")
	}
}

func TestNetwork(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "::ffff:192.0.2.1": "192.0.2.1/32", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := network(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	if network(netip.Addr{}) != (netip.Prefix{}) {
		t.Error("no address")
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	good := Config{Role: RoleSubmission, Hostname: "mail.example.com"}
	c, err := good.prepare()
	if err != nil {
		t.Fatal(err)
	}
	want := Limits{CommandLine: 4096, AuthLine: 12288, TextLine: 1 << 20, MessageSize: 31457280, Recipients: 1000, Messages: 10000, Commands: 100,
		Errors: 20, AuthFails: 10, Chunks: 10000, Idle: 5 * time.Minute, DataBlock: 3 * time.Minute, MessageTime: time.Hour, Handshake: 30 * time.Second,
		Write: time.Minute, MinimumRate: 100, RateGrace: time.Minute, AuthDelay: 250 * time.Millisecond}
	if c.Limits != want {
		t.Errorf("defaults %+v", c.Limits)
	}
	for name, edit := range map[string]func(*Config){
		"role":            func(c *Config) { c.Role = "relay" },
		"no hostname":     func(c *Config) { c.Hostname = "" },
		"hostname":        func(c *Config) { c.Hostname = "mail example" },
		"no TLS":          func(c *Config) { c.ImplicitTLS = true },
		"command line":    func(c *Config) { c.Limits.CommandLine = 100 },
		"AUTH line":       func(c *Config) { c.Limits.AuthLine = 1 << 20 },
		"text line":       func(c *Config) { c.Limits.TextLine = 500 },
		"recipients":      func(c *Config) { c.Limits.Recipients = 99 },
		"failed logins":   func(c *Config) { c.Limits.AuthFails = 11 },
		"negative":        func(c *Config) { c.Limits.Errors = -1 },
		"negative time":   func(c *Config) { c.Limits.Idle = -time.Second },
		"negative size":   func(c *Config) { c.Limits.MessageSize = -1 },
		"mechanism twice": func(c *Config) { c.Mechanisms = []sasl.Mechanism{sasl.Plain, sasl.Plain} },
		"mechanism empty": func(c *Config) { c.Mechanisms = []sasl.Mechanism{{Name: "X"}} },
		"mechanisms": func(c *Config) {
			for i := range 60 { // 600 octets of names
				c.Mechanisms = append(c.Mechanisms, sasl.Mechanism{Name: "MECHANISM" + string(rune('A'+i)), New: sasl.Plain.New})
			}
		},
		"negative failure": func(c *Config) { c.Limits.AuthFails = -1 },
	} {
		bad := good
		edit(&bad)
		if _, err := New(bad, nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	in := &tls.Config{MinVersion: tls.VersionTLS10}
	if out := hardened(in, RoleSubmission, false); out.MinVersion != tls.VersionTLS12 || in.MinVersion != tls.VersionTLS10 || len(out.NextProtos) != 1 {
		t.Error("the TLS configuration is not hardened, or the caller's was changed")
	}
	none := Config{Role: RoleMX, Hostname: "mail.example.com", Mechanisms: []sasl.Mechanism{}}
	if c, _ := none.prepare(); len(c.Mechanisms) != 0 {
		t.Error("an empty list of mechanisms became the default")
	}
}

// TestReplyTable reads replies.go: every reply has an enhanced code of its
// class, but 3yz, and overload is never permanent.
func TestReplyTable(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "replies.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(file, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok || len(call.Args) != 5 {
			return true
		}
		n++
		var v [4]int
		for i := range v {
			v[i], _ = strconv.Atoi(call.Args[i].(*ast.BasicLit).Value)
		}
		text := call.Args[4].(*ast.BasicLit).Value
		if v[0]/100 != v[1] || v[0] < 200 || v[0] > 599 {
			t.Errorf("%v: the enhanced code is of another class", v)
		}
		if v[0] >= 500 && strings.Contains(text, "try again") {
			t.Errorf("%v %s: permanent, and worth another try", v, text)
		}
		if v[0] == 421 != (strings.Contains(text, "losing") || strings.Contains(text, "shutting") || strings.Contains(text, "Too many connections")) &&
			v[0] != 501 && v[0] != 503 && v[0] != 554 {
			t.Errorf("%v %s: 421 says that the connection ends", v, text)
		}
		return true
	})
	if n < 50 {
		t.Errorf("%d replies found", n)
	}
}

func TestAuthDelay(t *testing.T) {
	t.Parallel()
	for base, want := range map[time.Duration][]time.Duration{
		250 * time.Millisecond: {250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 8 * time.Second},
		10 * time.Second:       {10 * time.Second, 10 * time.Second},
	} {
		x := &session{cfg: &Config{Limits: Limits{AuthDelay: base}}}
		for i, d := range want {
			x.authFails = i + 1
			if got := x.authDelay(); got != d {
				t.Errorf("%v: failure %d waits %v, want %v", base, i+1, got, d)
			}
		}
	}
}

func TestTLSString(t *testing.T) {
	t.Parallel()
	for want, v := range map[string]*TLS{
		"":                               nil,
		"TLSv1.3 TLS_AES_128_GCM_SHA256": {Version: tls.VersionTLS13, Cipher: tls.TLS_AES_128_GCM_SHA256},
		"TLSv1.2 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": {Version: tls.VersionTLS12, Cipher: tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
	} {
		if v.String() != want {
			t.Errorf("%q, want %q", v, want)
		}
	}
}
