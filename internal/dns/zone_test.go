package dns_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/dns"
)

// ask looks one thing up and writes the outcome on a line.
func ask(r dns.Resolver, typ, name string) string {
	ctx := context.Background()
	var v any
	var err error
	switch typ {
	case "MX":
		v, _, err = r.MX(ctx, name)
	case "TXT":
		v, _, err = r.TXT(ctx, name)
	case "ADDR":
		v, _, err = r.Addr(ctx, name)
	case "CNAME":
		v, _, err = r.CNAME(ctx, name)
	case "PTR":
		v, _, err = r.PTR(ctx, netip.MustParseAddr(name))
	case "TLSA":
		v, _, err = r.TLSA(ctx, name)
	}
	switch {
	case errors.Is(err, dns.ErrBadName):
		return "bad name"
	case errors.Is(err, dns.ErrNotFound):
		return "not found"
	case errors.Is(err, dns.ErrNoData):
		return "no data"
	case errors.Is(err, dns.ErrTemporary):
		return "temporary"
	case err != nil:
		return "untyped error: " + err.Error()
	}
	return fmt.Sprint(v)
}

// labZone is what the tables of this package ask about.
func labZone(tb testing.TB) []*dns.Zone {
	long := strings.Repeat("k", 700)
	test := newZone(tb, "example.test",
		[]string{"example.test", "MX", "20 mx2.example.test", "10 MX1.example.test."},
		[]string{"example.test", "TXT", "v=spf1 mx -all", `quote " backslash \ semicolon ; paren (`},
		[]string{"mx1.example.test", "A", "192.0.2.1", "192.0.2.2"},
		[]string{"mx1.example.test", "AAAA", "2001:db8::1"},
		[]string{"mx2.example.test", "A", "192.0.2.3"},
		[]string{"s1._domainkey.example.test", "TXT", long},
		[]string{"null.example.test", "MX", "0 ."},
		[]string{"www.example.test", "CNAME", "web.other.test"},
		[]string{"in.example.test", "CNAME", "mx1.example.test"},
		[]string{"dangling.example.test", "CNAME", "gone.example.test"},
		[]string{"outside.example.test", "CNAME", "host.elsewhere.invalid"},
		[]string{"*.wild.example.test", "TXT", "caught"},
		[]string{"real.wild.example.test", "A", "192.0.2.9"},
		[]string{"_25._tcp.mx1.example.test", "TLSA", "3 1 1 " + strings.Repeat("ab", 32)},
		[]string{"mapped.example.test", "AAAA", "::ffff:127.0.0.1"},
		[]string{"badmx.example.test", "MX", `10 bad\032host.test`},
		[]string{"loop1.example.test", "CNAME", "loop2.example.test"},
		[]string{"loop2.example.test", "CNAME", "loop1.example.test"},
	)
	other := newZone(tb, "other.test", []string{"web.other.test", "A", "192.0.2.80"})
	rev := newZone(tb, "2.0.192.in-addr.arpa", []string{"1.2.0.192.in-addr.arpa", "PTR", "MX1.example.test"})
	return []*dns.Zone{test, other, rev}
}

func TestClientAgainstZoneServer(t *testing.T) {
	t.Parallel()
	zones := labZone(t)
	s := serve(t, zones...)
	if err := zones[0].Fail("broken.example.test", true); err != nil {
		t.Fatal(err)
	}
	c := client(t, dns.Config{Servers: []string{s.Addr().String()}, Attempts: 1})
	for _, tt := range []struct{ typ, name, want string }{
		{"MX", "example.test", "[{mx1.example.test 10} {mx2.example.test 20}]"},
		{"MX", "EXAMPLE.Test.", "[{mx1.example.test 10} {mx2.example.test 20}]"},
		{"MX", "null.example.test", "[{. 0}]"},
		{"MX", "mx1.example.test", "no data"},
		{"MX", "nowhere.example.test", "not found"},
		{"MX", "broken.example.test", "temporary"},
		{"MX", "not-ours.invalid", "temporary"}, // REFUSED is not a "no"
		{"MX", "badmx.example.test", "temporary"},
		{"ADDR", "mx1.example.test", "[2001:db8::1 192.0.2.1 192.0.2.2]"},
		{"ADDR", "mx2.example.test", "[192.0.2.3]"},
		{"ADDR", "example.test", "no data"},
		{"ADDR", "nowhere.example.test", "not found"},
		{"ADDR", "www.example.test", "[192.0.2.80]"},
		{"ADDR", "in.example.test", "[2001:db8::1 192.0.2.1 192.0.2.2]"},
		{"ADDR", "dangling.example.test", "not found"},
		{"ADDR", "outside.example.test", "temporary"}, // the target's server says REFUSED
		{"ADDR", "mapped.example.test", "[127.0.0.1]"},
		{"ADDR", "broken.example.test", "temporary"},
		{"ADDR", "loop1.example.test", "temporary"},
		{"TXT", "example.test", `[v=spf1 mx -all quote " backslash \ semicolon ; paren (]`},
		{"TXT", "s1._domainkey.example.test", "[" + strings.Repeat("k", 700) + "]"},
		{"TXT", "_domainkey.example.test", "no data"}, // an empty non-terminal exists
		{"TXT", "a.wild.example.test", "[caught]"},
		{"TXT", "a.b.wild.example.test", "[caught]"},
		{"TXT", "real.wild.example.test", "no data"},
		{"ADDR", "a.wild.example.test", "no data"},
		{"TXT", "a.real.wild.example.test", "not found"}, // RFC 4592 §2.2.2: the closer name blocks it
		{"CNAME", "www.example.test", "web.other.test"},
		{"CNAME", "mx1.example.test", "no data"},
		{"CNAME", "nowhere.example.test", "not found"},
		{"PTR", "192.0.2.1", "[mx1.example.test]"},
		{"PTR", "192.0.2.77", "not found"},
		{"PTR", "2001:db8::1", "temporary"},
		{"TLSA", "_25._tcp.mx1.example.test", fmt.Sprint([]dns.TLSA{{Usage: 3, Selector: 1, MatchingType: 1, Data: []byte(strings.Repeat("\xab", 32))}})},
		{"TLSA", "_25._tcp.mx2.example.test", "not found"},
		{"TXT", "", "bad name"},
		{"TXT", ".", "bad name"},
		{"TXT", "a..example.test", "bad name"},
		{"TXT", strings.Repeat("x", 64) + ".example.test", "bad name"},
		{"TXT", strings.Repeat("abcdefg.", 40) + "example.test", "bad name"},
		{"TXT", "bücher.example.test", "bad name"},
		{"TXT", `a\.b.example.test`, "bad name"},
		{"TXT", "a b.example.test", "bad name"},
		{"TXT", `us"er@x.example.test`, "not found"}, // SPF macros make such names
	} {
		t.Run(tt.typ+" "+tt.name, func(t *testing.T) {
			if got := ask(c, tt.typ, tt.name); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestZoneChangesAtRunTime(t *testing.T) {
	t.Parallel()
	z := newZone(t, "example.test")
	s := serve(t, z)
	c := client(t, dns.Config{Servers: []string{s.Addr().String()}, CacheBytes: -1, Attempts: 1})
	step := func(want string) {
		t.Helper()
		if got := ask(c, "TXT", "_dmarc.example.test"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	before := z.Serial()
	step("not found")
	must(t, z.Set("_dmarc.example.test", "txt", time.Minute, "v=DMARC1; p=reject"))
	step("[v=DMARC1; p=reject]")
	must(t, z.Set("_dmarc.example.test", "TXT", time.Minute, "v=DMARC1; p=none"))
	step("[v=DMARC1; p=none]")
	must(t, z.Fail("_dmarc.example.test", true))
	step("temporary")
	must(t, z.Fail("_dmarc.example.test", false))
	must(t, z.Set("a._dmarc.example.test", "A", time.Minute, "192.0.2.1"))
	must(t, z.Set("_dmarc.example.test", "TXT", time.Minute))
	step("no data")
	must(t, z.Remove("a._dmarc.example.test"))
	step("not found")
	if z.Serial() <= before {
		t.Errorf("serial %d did not rise from %d", z.Serial(), before)
	}
	s.Remove("example.test")
	step("temporary")
	s.Add(z)
	step("not found")
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func TestZoneRefuses(t *testing.T) {
	t.Parallel()
	z := newZone(t, "example.test", []string{"alias.example.test", "CNAME", "x.test"}, []string{"a.example.test", "A", "192.0.2.1"})
	before := z.String()
	for _, tt := range []struct {
		name, typ string
		rdata     []string
	}{
		{"example.invalid", "A", []string{"192.0.2.1"}},
		{"notexample.test", "A", []string{"192.0.2.1"}},
		{"b.example.test", "A", []string{"2001:db8::1"}},
		{"b.example.test", "A", []string{""}},
		{"b.example.test", "A", []string{"192.0.2.1\nevil.example.test. 1 IN A 192.0.2.2"}},
		{"b.example.test", "MX", []string{"mx.example.test"}},
		{"b.example.test", "NOSUCH", []string{"x"}},
		{"b.example.test", "SOA", []string{"a. b. 1 2 3 4 5"}},
		{"b.example.test", "NS", []string{"ns.example.test"}},
		{"example.test", "NS", nil},
		{"example.test", "CNAME", []string{"x.test"}},
		{"alias.example.test", "A", []string{"192.0.2.1"}},
		{"a.example.test", "CNAME", []string{"x.test"}},
		{"b.example.test", "CNAME", []string{"x.test", "y.test"}},
		{"b.example.test", "TXT", []string{strings.Repeat("x", 70000)}},
		{"bad..example.test", "A", []string{"192.0.2.1"}},
	} {
		if err := z.Set(tt.name, tt.typ, time.Minute, tt.rdata...); err == nil {
			t.Errorf("%s %s %.40q was taken", tt.name, tt.typ, tt.rdata)
		}
	}
	if diff := cmp.Diff(before, z.String()); diff != "" {
		t.Errorf("refused changes left something behind:\n%s", diff)
	}
	for _, c := range []dns.ZoneConfig{{}, {Origin: "a..test"}, {Origin: "a.test", Contact: "nobody"}, {Origin: "a.test", NameServers: []string{"-bad host"}}} {
		if _, err := dns.NewZone(c); err == nil {
			t.Errorf("zone %+v was made", c)
		}
	}
}

func TestZoneParse(t *testing.T) {
	t.Parallel()
	z := newZone(t, "example.test", []string{"old.example.test", "A", "192.0.2.1"})
	must(t, z.Parse(strings.NewReader(`
$TTL 120
@        IN SOA ns hostmaster 1 2 3 4 5
@        IN MX  10 mail
mail     IN A   192.0.2.25
OLD      IN A   192.0.2.26
sel._domainkey IN TXT ( "v=DKIM1; p=" "abc" )
`)))
	s := serve(t, z)
	c := client(t, dns.Config{Servers: []string{s.Addr().String()}})
	for _, tt := range []struct{ typ, name, want string }{
		{"MX", "example.test", "[{mail.example.test 10}]"},
		{"ADDR", "mail.example.test", "[192.0.2.25]"},
		{"ADDR", "old.example.test", "[192.0.2.26]"},
		{"TXT", "sel._domainkey.example.test", "[v=DKIM1; p=abc]"},
	} {
		if got := ask(c, tt.typ, tt.name); got != tt.want {
			t.Errorf("%s %s: got %s, want %s", tt.typ, tt.name, got, tt.want)
		}
	}
	before := z.String()
	for _, bad := range []string{
		"good A 192.0.2.1\nbad A nonsense", "good A 192.0.2.1\nx.other.test. A 192.0.2.1", "good A 192.0.2.1\nold CNAME mail",
		"$INCLUDE /etc/hostname", "good A 192.0.2.1\nx DNAME other.test.",
	} {
		if err := z.Parse(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if diff := cmp.Diff(before, z.String()); diff != "" {
		t.Errorf("a refused text left something behind:\n%s", diff)
	}
}

func TestZoneFor(t *testing.T) {
	t.Parallel()
	top, low := newZone(t, "test"), newZone(t, "example.test")
	for name, want := range map[string]*dns.Zone{
		"test": top, "a.test": top, "example.test": low, "A.Example.Test.": low, "notexample.test": top, "test.invalid": nil, "..": nil,
	} {
		if got := dns.ZoneFor([]*dns.Zone{top, low}, name); got != want {
			t.Errorf("%s: another zone", name)
		}
	}
}
