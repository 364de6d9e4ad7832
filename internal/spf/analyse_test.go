package spf_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"postern/internal/dns"
	"postern/internal/finding"
	"postern/internal/spf"
)

// world has the records that the cases refer to; the case's own is at d.test.
func world(records ...string) *dns.Static {
	r := &dns.Static{
		TXTs: map[string][]string{
			"d.test":        records,
			"good.test":     {"v=spf1 ip4:192.0.2.0/24 -all"},
			"soft.test":     {"v=spf1 a:mail.good.test ~all"},
			"open.test":     {"v=spf1 +all"},
			"wrong.test":    {"v=spf1 ip4:1.2.3 -all"},
			"twice.test":    {"v=spf1 -all", "v=spf1 ~all"},
			"none.test":     {"hello"},
			"circle.test":   {"v=spf1 include:d.test -all"},
			"neutral.test":  {"v=spf1 ?all"},
			"endless.test":  {"v=spf1 ip4:192.0.2.1"},
			"macro.test":    {"v=spf1 exists:%{i}._spf.%{d} -all"},
			"d.in.d.test":   {"v=spf1 a:mail.good.test -all"},
			"stale.test":    {"v=spf1 a:gone1.test -all"},
			"include5.test": {"v=spf1 a:mail.good.test mx:good.test exists:mail.good.test a:mail.good.test/24 ptr -all"},
		},
		Addrs: map[string][]netip.Addr{"mail.good.test": {netip.MustParseAddr("192.0.2.9")}, "d.test": {netip.MustParseAddr("192.0.2.10")}},
		MXs:   map[string][]dns.MX{"good.test": {{Host: "mail.good.test"}}, "part.test": {{Host: "mail.good.test"}, {Host: "gone.test"}}},
		Fail:  []string{"down.test"},
	}
	for i := range 11 {
		r.MXs["many.test"] = append(r.MXs["many.test"], dns.MX{Host: fmt.Sprintf("mx%d.many.test", i)})
	}
	return r
}

func codes(fs []finding.Finding) []string {
	var out []string
	for _, f := range fs {
		if s := string(f.Severity) + " " + f.Code; !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return out
}

func TestAnalyse(t *testing.T) {
	t.Parallel()
	long := "v=spf1"
	for i := range 60 {
		long += fmt.Sprintf(" ip4:192.0.2.%d", i)
	}
	for _, tt := range []struct {
		record string // several: |
		want   string // look-ups, void look-ups, all
		codes  []string
	}{
		{"v=spf1 ip4:192.0.2.1 -all", "0 0 -all", []string{"ok spf_ok"}},
		{"V=SPF1  IP6:2001:db8::/48   A MX:good.test ~ALL ", "2 0 ~all", []string{"ok spf_ok"}},
		{"v=spf1 -all", "0 0 -all", []string{"info spf_none"}},
		{"v=spf1", "0 0 ", []string{"warning spf_no_all"}},
		{"v=spf1 a", "1 0 ", []string{"warning spf_no_all"}},
		{"v=spf1 a ?all", "1 0 ?all", []string{"warning spf_neutral"}},
		{"v=spf1 a +all", "1 0 +all", []string{"error spf_pass_all"}},
		{"v=spf1 all", "0 0 +all", []string{"error spf_pass_all"}},
		{"v=spf1 ip4:0.0.0.0/0 -all", "0 0 -all", []string{"error spf_pass_all"}},
		{"v=spf1 ip6:::/0 -all", "0 0 -all", []string{"error spf_pass_all"}},
		{"v=spf1 ip4:10.1.0.0/16 -all", "0 0 -all", []string{"warning spf_private"}},
		{"v=spf1 ip4:12.0.0.0/15 -all", "0 0 -all", []string{"warning spf_wide"}},
		{"v=spf1 ip4:12.0.0.0/16 -all", "0 0 -all", []string{"ok spf_ok"}},
		{"v=spf1 -ip4:12.0.0.0/8 ip4:192.0.2.1 -all", "0 0 -all", []string{"ok spf_ok"}},
		{"v=spf1 ip6:2001:db8::/31 -all", "0 0 -all", []string{"warning spf_wide"}},
		{"v=spf1 a/8 mx:good.test//16 -all", "2 0 -all", []string{"warning spf_wide"}},
		// What is referred to.
		{"v=spf1 include:good.test include:soft.test -all", "3 0 -all", []string{"ok spf_ok"}},
		{"v=spf1 redirect=soft.test", "2 0 redirect", []string{"ok spf_ok"}},
		{"v=spf1 redirect=open.test", "1 0 redirect", []string{"error spf_pass_all"}},
		{"v=spf1 redirect=neutral.test", "1 0 redirect", []string{"warning spf_neutral"}},
		{"v=spf1 include:endless.test redirect=endless.test", "2 0 redirect", []string{"warning spf_no_all"}},
		{"v=spf1 include:neutral.test -all", "1 0 -all", []string{"ok spf_ok"}},
		{"v=spf1 include:open.test a -all", "1 0 +all", []string{"error spf_pass_all", "warning spf_after_all"}},
		{"v=spf1 -include:open.test a +all", "1 0 -all", []string{"warning spf_after_all"}},
		{"v=spf1 include:none.test -all", "1 0 -all", []string{"error spf_include_missing"}},
		{"v=spf1 include:nowhere.test -all", "1 0 -all", []string{"error spf_include_missing"}},
		{"v=spf1 redirect=nowhere.test", "1 0 redirect", []string{"error spf_redirect_missing"}},
		{"v=spf1 include:twice.test -all", "1 0 -all", []string{"error spf_include_several"}},
		{"v=spf1 redirect=twice.test", "1 0 redirect", []string{"error spf_include_several"}},
		{"v=spf1 include:wrong.test -all", "1 0 -all", []string{"error spf_include_syntax"}},
		{"v=spf1 include:d.test -all", "1 0 -all", []string{"error spf_loop"}},
		{"v=spf1 include:circle.test -all", "2 0 -all", []string{"error spf_loop"}},
		{"v=spf1 redirect=D.test.", "1 0 redirect", []string{"error spf_loop"}},
		{"v=spf1 include:down.test -all", "1 0 -all", []string{"unknown spf_unknown"}},
		{"v=spf1 a:down.test mx:down.test exists:down.test -all", "3 0 -all", []string{"unknown spf_unknown"}},
		// Look-ups.
		{"v=spf1 include:include5.test a:mail.good.test a:mail.good.test/30 mx:good.test mx:good.test/28 -all", "10 0 -all",
			[]string{"info spf_near_limit", "warning spf_ptr"}},
		{"v=spf1 include:include5.test a:mail.good.test a:mail.good.test/30 mx:good.test mx:good.test/28 a -all", "11 0 -all",
			[]string{"error spf_lookups", "warning spf_ptr"}},
		{"v=spf1 a:gone1.test mx:gone2.test -all", "2 2 -all", []string{"warning spf_dead", "warning spf_near_limit"}},
		{"v=spf1 a:gone1.test mx:gone2.test exists:gone3.test -all", "3 3 -all", []string{"error spf_void", "warning spf_dead"}},
		{"v=spf1 a:gone1.test include:stale.test -all", "3 2 -all", []string{"warning spf_dead", "warning spf_near_limit"}},
		{"v=spf1 mx:many.test -all", "1 0 -all", []string{"error spf_mx_many"}},
		{"v=spf1 mx:part.test -all", "1 0 -all", []string{"info spf_dead"}},
		{"v=spf1 a:mail..good.test -all", "1 1 -all", []string{"warning spf_bad_name"}},
		{"v=spf1 ptr -all", "1 0 -all", []string{"warning spf_ptr"}},
		{"v=spf1 exists:%{p}.x.test -all", "1 0 -all", []string{"warning spf_ptr"}},
		{"v=spf1 include:macro.test -all", "2 0 -all", []string{"info spf_macro"}},
		{"v=spf1 include:%{d}.in.%{o} -all", "1 0 -all", []string{"error spf_include_missing"}},
		{"v=spf1 include:%{d1r}.in.%{o} -all", "2 0 -all", []string{"ok spf_ok"}},
		{"v=spf1 redirect=%{l}.d.test", "1 0 redirect", []string{"info spf_macro"}},
		// Order.
		{"v=spf1 -all ip4:192.0.2.1 include:down.test", "0 0 -all", []string{"warning spf_after_all"}},
		{"v=spf1 a redirect=soft.test -all", "1 0 -all", []string{"warning spf_redirect"}},
		{"v=spf1 a -all exp=why.test", "1 0 -all", []string{"ok spf_ok"}},
		{"v=spf1 a a -all", "2 0 -all", []string{"info spf_twice"}},
		{"v=spf1 a include=good.test -all", "1 0 -all", []string{"warning spf_modifier"}},
		{"v=spf1 a v=spf1 mx:good.test -all", "2 0 -all", []string{"warning spf_modifier"}},
		{"v=spf1 a moo=x -all", "1 0 -all", []string{"info spf_modifier"}},
		// Not one record.
		{"v=spf1 -all|v=spf1 +all", "0 0 ", []string{"error spf_several"}},
		{"other|v=spf10 -all", "0 0 ", []string{"error spf_missing", "error spf_misspelt"}},
		{`"v=spf1 -all"`, "0 0 ", []string{"error spf_missing", "error spf_misspelt"}},
		{` v=spf1 -all`, "0 0 ", []string{"error spf_missing", "error spf_misspelt"}},
		{"v=spf1mx -all", "0 0 ", []string{"error spf_missing", "error spf_misspelt"}},
		{"spf1 mx -all", "0 0 ", []string{"error spf_missing", "error spf_misspelt"}},
		{"google-site-verification=abc", "0 0 ", []string{"error spf_missing"}},
		// Sizes.
		{long + " -all", "0 0 -all", []string{"info spf_large"}},
		{"v=spf1 -all|" + strings.Repeat("x", 1200), "0 0 -all", []string{"info spf_none", "warning spf_large"}},
		{"v=spf1 " + strings.Repeat("a ", 9000) + "-all", "0 0 ", []string{"error spf_syntax", "warning spf_large"}},
		{"v=spf1 " + strings.Repeat("ip4:192.0.2.1 ", 500) + "-all", "0 0 ", []string{"error spf_syntax", "info spf_twice", "warning spf_large"}},
	} {
		name := tt.record[:min(len(tt.record), 80)]
		a := spf.Analyse(context.Background(), world(strings.Split(tt.record, "|")...), "D.test.", nil)
		if got := fmt.Sprintf("%d %d %s", a.Lookups, a.Void, a.All); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
		if diff := cmp.Diff(tt.codes, codes(a.Findings)); diff != "" {
			t.Errorf("%s: %s\n%+v", name, diff, a.Findings)
		}
		for _, f := range a.Findings {
			if f.Text == "" || f.Record != "spf" || f.Where == "" || f.Severity == finding.Error && f.Fix == "" {
				t.Errorf("%s: finding %+v", name, f)
			}
		}
	}
}

// Every syntax error says what to write instead.
func TestSyntax(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ term, problem, fix string }{
		{"all.", "no such mechanism", "Correct"},
		{"-all:x", "takes no value", `"-all"`},
		{"192.0.2.1", "no such mechanism", `"ip4:192.0.2.1"`},
		{"192.0.2.0/24", "no such mechanism", `"ip4:192.0.2.0/24"`},
		{"ipv4:192.0.2.1", "no such mechanism", `"ip4:"`},
		{"ip4", "lacks an address", `"ip4:"`},
		{"ip4:192.0.2", "not an address", "whole address"},
		{"ip4:192.0.2.1:25", "not an address", "without port"},
		{"ip4:2001:db8::1", "other kind", `"ip6:"`},
		{"ip6:192.0.2.1", "other kind", `"ip4:"`},
		{"ip6:fe80::1%eth0", "not an address", "whole address"},
		{"ip4:192.0.2.1/33", "length", "0 to 32"},
		{"ip4:192.0.2.1/024", "length", "0 to 32"},
		{"ip6:2001:db8::/129", "length", "0 to 128"},
		{"a/33", "IPv4 network", "/24"},
		{"a//129", "IPv6 network", "//64"},
		{"a/", "length of a network", "/24"},
		{"a/24/64", "IPv4 network", "/24//64"},
		{"mx:", "nothing after the colon", "domain"},
		{"mx:example", "not a whole domain name", "mail.example.com"},
		{"a:192.0.2.1", "an address, not a domain", `"ip4:"`},
		{"a:mail.example.123", "not a whole domain name", "mail.example.com"},
		{"include:", "lacks a domain", `"include:"`},
		{"include", "lacks a domain", `"include:"`},
		{"include:good.test/24", "no network length", `"include:good.test"`},
		{"exists", "lacks a domain", `"exists:"`},
		{"ptr/24", "no network length", `"ptr"`},
		{"redirect:good.test", "modifier", `"redirect="`},
		{"redirect=", "not a whole domain name", "whole name"},
		{"redirect=good.test redirect=good.test", "twice", "one of them"},
		{"exp=x.test exp=x.test", "twice", "one of them"},
		{"-v=spf1", "second record", "one version"},
		{"ip4:192.0.2.1,ip4:192.0.2.2", "not an address", ""},
		{"a\tmx", "not visible ASCII", "without tabs"},
		{"ip4:192.0.2.1\u200b", "not visible ASCII", "invisible"},
		{"a:%{x}.test", "means nothing", "RFC 7208"},
		{"a:%{c}.test", "explanations only", "RFC 7208"},
		{"a:%{d0}.test", "number", "RFC 7208"},
		{"a:%{d!}.test", "delimiter", "RFC 7208"},
		{"a:%{d.test", "closing brace", "RFC 7208"},
		{"a:x%", "percent sign", "RFC 7208"},
		{"a:x%x.test", "percent sign", "RFC 7208"},
		{"a:%{}.test", "empty", "RFC 7208"},
		{"foo=%x", "percent sign", "macro"},
		{"1x=y", "no such mechanism", ""},
	} {
		r := world("v=spf1 " + tt.term + " -all")
		a := spf.Analyse(context.Background(), r, "d.test", nil)
		i := slices.IndexFunc(a.Findings, func(f finding.Finding) bool { return f.Code == spf.CodeSyntax })
		if i < 0 {
			t.Errorf("%q: no finding: %+v", tt.term, a.Findings)
			continue
		}
		if f := a.Findings[i]; !strings.Contains(f.Text, tt.problem) || !strings.Contains(f.Fix, tt.fix) || f.Fix == "" || !a.Broken() {
			t.Errorf("%q: %s / %s, want %q and %q", tt.term, f.Text, f.Fix, tt.problem, tt.fix)
		}
		// What the analysis calls broken is broken for a receiver, wherever it stands.
		for _, record := range []string{"v=spf1 " + tt.term + " -all", "v=spf1 +all " + tt.term} {
			r := world(record)
			if got, _ := spf.Check(context.Background(), r, netip.MustParseAddr("192.0.2.1"), "x.test", "a@d.test"); got != spf.PermError {
				t.Errorf("%q: Check says %s", record, got)
			}
		}
	}
}

func TestTree(t *testing.T) {
	t.Parallel()
	a := spf.Analyse(context.Background(), world("v=spf1 include:soft.test mx:good.test a:gone.test exists:%{i}.x.test -all ptr"), "d.test", nil)
	want := &spf.Node{
		Domain: "d.test", Record: a.Record, Lookups: 5,
		Terms: []spf.Term{
			{Text: "include:soft.test", Name: "include", Target: "soft.test", Lookups: 2, Node: &spf.Node{
				Domain: "soft.test", Record: "v=spf1 a:mail.good.test ~all", Lookups: 1,
				Terms: []spf.Term{{Text: "a:mail.good.test", Name: "a", Target: "mail.good.test", Lookups: 1}, {Text: "~all", Name: "all"}},
			}},
			{Text: "mx:good.test", Name: "mx", Target: "good.test", Lookups: 1, Hosts: []string{"mail.good.test"}},
			{Text: "a:gone.test", Name: "a", Target: "gone.test", Lookups: 1, Void: true, Problem: "no addresses"},
			{Text: "exists:%{i}.x.test", Name: "exists", Lookups: 1, Depends: true},
			{Text: "-all", Name: "all"},
			{Text: "ptr", Name: "ptr", Ignored: true},
		},
	}
	if diff := cmp.Diff(want, a.Tree); diff != "" {
		t.Error(diff)
	}
}

func TestSenders(t *testing.T) {
	t.Parallel()
	addr := netip.MustParseAddr
	r := world("v=spf1 ip4:192.0.2.1 a:mail.good.test include:soft.test ~all")
	a := spf.Analyse(context.Background(), r, "d.test", []netip.Addr{addr("192.0.2.1"), addr("192.0.2.9"), addr("::ffff:192.0.2.1"), addr("203.0.113.1"), addr("2001:db8::1")})
	var got []string
	for _, c := range a.Senders {
		got = append(got, c.Addr.String()+" "+c.Result+": "+c.Why)
	}
	want := []string{
		"192.0.2.1 pass: a term ip4 or ip6 names it", "192.0.2.9 pass: a term a names it", "::ffff:192.0.2.1 pass: a term ip4 or ip6 names it",
		"203.0.113.1 softfail: no term but “all” matches", "2001:db8::1 softfail: no term but “all” matches",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"error spf_not_covered", "ok spf_covered"}, codes(a.Findings)); diff != "" {
		t.Error(diff)
	}
	for _, f := range a.Findings {
		if f.Found == "2001:db8::1" && !strings.Contains(f.Fix, "ip6:2001:db8::1") || f.Found == "203.0.113.1" && !strings.Contains(f.Fix, "ip4:203.0.113.1") {
			t.Errorf("fix %q", f.Fix)
		}
	}
	for record, want := range map[string]string{
		"v=spf1 include:down.test -all": "temperror true unknown spf_unknown",
		"v=spf1 a:x -all":               "permerror false error spf_not_covered",
		"hello":                         "none false error spf_missing",
		"v=spf1 a:x.test":               "neutral false error spf_not_covered",
	} {
		a := spf.Analyse(context.Background(), world(record), "d.test", []netip.Addr{addr("203.0.113.1")})
		if got := fmt.Sprintf("%s %t", a.Senders[0].Result, a.Unknown); !strings.HasPrefix(want, got) || !slices.Contains(codes(a.Findings), want[len(got)+1:]) {
			t.Errorf("%q: %s, %v; want %s", record, got, codes(a.Findings), want)
		}
	}
}

// counter counts questions and makes up records without end.
type counter struct {
	*dns.Static
	n    int
	make func(name string) string
}

func (c *counter) TXT(_ context.Context, name string) ([]string, bool, error) {
	c.n++
	return []string{c.make(name)}, false, nil
}

func (c *counter) MX(context.Context, string) ([]dns.MX, bool, error) {
	c.n++
	return []dns.MX{{Host: "a.test"}, {Host: "b.test"}}, false, nil
}

func (c *counter) Addr(context.Context, string) ([]netip.Addr, bool, error) {
	c.n++
	return nil, false, dns.ErrNoData
}

// RX-13: a stranger's records cannot make us ask, remember or print without end.
func TestBounded(t *testing.T) {
	t.Parallel()
	addrs := make([]netip.Addr, 0, 300)
	for i := range 300 {
		addrs = append(addrs, netip.AddrFrom4([4]byte{203, 0, byte(113 + i/256), byte(i)}))
	}
	for name, f := range map[string]func(string) string{
		"deep": func(n string) string { return "v=spf1 include:x" + n + " -all" },
		"wide": func(n string) string {
			b := "v=spf1"
			for i := range 390 {
				b += fmt.Sprintf(" include:n%d.%s", i, n[max(0, len(n)-30):])
			}
			return b
		},
		"names": func(n string) string {
			b := "v=spf1"
			for i := range 390 {
				b += fmt.Sprintf(" mx:n%d.test a:m%d.test nonsense%d", i, i, i)
			}
			return b
		},
		"per address": func(string) string { return "v=spf1 " + strings.Repeat("exists:%{i}.%{ir}.x.test ", 10) + "-all" },
		"long terms":  func(string) string { return "v=spf1 " + strings.Repeat("x", 15000) + " \x1b[2J\u202e" },
	} {
		c := &counter{make: f}
		a := spf.Analyse(context.Background(), c, "d.test", addrs)
		if c.n > 80+25*64 {
			t.Errorf("%s: %d questions", name, c.n)
		}
		if len(a.Senders) > 64 || len(a.Findings) > 60 || a.Lookups > 40 {
			t.Errorf("%s: %d senders, %d findings, %d look-ups", name, len(a.Senders), len(a.Findings), a.Lookups)
		}
		b, err := json.Marshal(a)
		if err != nil || len(b) > 1<<20 {
			t.Errorf("%s: %d octets of JSON, %v", name, len(b), err)
		}
		for _, f := range a.Findings {
			if strings.ContainsAny(f.Text+f.Fix, "\x1b\u202e\n") || len(f.Text) > 2500 || len(f.Found) > 2100 {
				t.Errorf("%s: %q", name, f.Text)
			}
		}
		if finding.Worst(a.Findings) != finding.Error {
			t.Errorf("%s: %v", name, codes(a.Findings))
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if a := spf.Analyse(ctx, world("v=spf1 -all"), "d.test", nil); !a.Unknown {
		t.Errorf("a caller that gave up got %+v", a.Findings)
	}
	for _, name := range []string{"", ".", "a..b", "ü.test", strings.Repeat("x.", 200)} {
		if a := spf.Analyse(context.Background(), world(), name, nil); len(a.Findings) == 0 || a.Unknown {
			t.Errorf("%q: %+v", name, a)
		}
	}
}

// An internationalised domain is looked up as its A-labels.
func TestCheckIDN(t *testing.T) {
	t.Parallel()
	r := &dns.Static{TXTs: map[string][]string{"xn--bcher-kva.test": {"v=spf1 ip4:192.0.2.1 -all"}}}
	for from, want := range map[string]string{"a@Bücher.test": spf.Pass, "a@b@xn--bcher-kva.test": spf.Pass, "": spf.None, "a@other.test": spf.None} {
		if got, err := spf.Check(context.Background(), r, netip.MustParseAddr("192.0.2.1"), "relay", from); got != want {
			t.Errorf("%q: %s (%v), want %s", from, got, err, want)
		}
	}
}

// FuzzAnalyse: whatever is published, the analysis ends, stays in its bounds, and
// calls broken what a receiver calls broken.
func FuzzAnalyse(f *testing.F) {
	for _, s := range []string{
		"v=spf1 -all", "v=spf1 a:x.test/24//64 mx ptr include:d.test redirect=%{d2r}.x.test", "v=spf1 ip4:1.2.3.4/24 ip6:::1/64 exists:%{i}.x ?all",
		"v=spf1 %{d}=x exp=%_%-%% ~all \x00", "v=spf1 a:%{l1r+-}.%{o} +all all", "v=spf1 A/24 -MX//64 ?include:y.test",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, record string) {
		r := &dns.Static{TXTs: map[string][]string{"d.test": {record}}}
		a := spf.Analyse(context.Background(), r, "d.test", []netip.Addr{netip.MustParseAddr("203.0.113.7")})
		if len(a.Findings) == 0 || len(a.Findings) > 60 || a.Unknown {
			t.Fatalf("%+v", a.Findings)
		}
		if _, err := json.Marshal(a); err != nil {
			t.Fatal(err)
		}
		// With a macro the names are not known before, nor is what ptr finds; and the
		// library takes a slash in a domain for a length.
		sure := !strings.ContainsAny(record, "%/") && !strings.Contains(strings.ToLower(record), "ptr")
		if a.Senders[0].Result == spf.PermError && !a.Broken() && sure {
			t.Fatalf("a receiver says permerror (%s), the analysis %+v", a.Senders[0].Why, a.Findings)
		}
	})
}
