package v3

import (
	"net/netip"
	"testing"

	"postern/internal/relay"
)

func TestParseRule(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"192.168.1.1":             "192.168.1.1/32", // SendGrid's own three
		"192.*.*.*":               "192.0.0.0/8",
		"192.168.1.3/32":          "192.168.1.3/32",
		"192.168.*.*":             "192.168.0.0/16",
		"192.168.7.*":             "192.168.7.0/24",
		"*.*.*.*":                 "0.0.0.0/0",
		"0.0.0.0/0":               "0.0.0.0/0",
		"::/0":                    "::/0",
		" 10.0.0.0/8 ":            "10.0.0.0/8",
		"2001:db8::1":             "2001:db8::1/128",
		"2001:DB8:0::/48":         "2001:db8::/48",
		"::ffff:192.0.2.1":        "192.0.2.1/32", // AP-06: mapped
		"::ffff:192.0.2.0/120":    "192.0.2.0/24",
		"::ffff:0.0.0.0/96":       "0.0.0.0/0",
		"build.example.com":       "build.example.com",
		"Build.Example.com.":      "build.example.com",
		"bücher.example":          "xn--bcher-kva.example",
		"1and1.example":           "1and1.example",
		"192.0.2.1.sslip.example": "192.0.2.1.sslip.example",
	} {
		r, err := parseRule("ip", in)
		if err != nil || ruleText(&r) != want {
			t.Errorf("%q: %q, %v, want %q", in, ruleText(&r), err, want)
			continue
		}
		again, err := parseRule("ip", ruleText(&r))
		if err != nil || !sameRule(&r, &again) {
			t.Errorf("%q does not read back: %v, %v", ruleText(&r), again, err)
		}
	}
}

func TestParseRuleRefuses(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", "  ", "192.168.1", "192.168.1.300", "192.168.1.1/33", "192.168.1.5/24", "192.*.1.1", "*.1.1.1", "192.168.*", "192.168.1.1.*", "1*.2.3.4",
		"0192.168.1.1", "2001:db8::1/64", "2001:db8::*", "fe80::1%eth0", "::", "0.0.0.0", "224.0.0.1", "::ffff:0:0/95", "::ffff:192.0.2.1/120",
		"localhost", "*.example.com", "a b.example.com", "exa_mple\x00.com", "-", ".\xff0", "a..example.com", ".example.com", "example.com..", "12345", "http://example.com", "10.0.0.0/8/8",
		"x.example.com" + string(make([]byte, 300)),
	} {
		if r, err := parseRule("ip", in); err == nil {
			t.Errorf("%q was taken as %q", in, ruleText(&r))
		} else if relay.KindOf(err) != relay.Invalid {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// FuzzParseRule: whatever is taken is masked, IPv4 is never in IPv6 form, and it
// reads back as itself.
func FuzzParseRule(f *testing.F) {
	for _, s := range []string{"192.168.1.1", "192.*.*.*", "::ffff:1.2.3.4/120", "2001:db8::/32", "bücher.example", "*.*.*.*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		r, err := parseRule("ip", in)
		if err != nil {
			return
		}
		if r.Network.IsValid() == (r.Host != "") {
			t.Fatalf("%q: both or neither: %+v", in, r)
		}
		if r.Network.IsValid() && (r.Network != r.Network.Masked() || r.Network.Addr().Is4In6()) {
			t.Fatalf("%q: %v", in, r.Network)
		}
		again, err := parseRule("ip", ruleText(&r))
		if err != nil || !sameRule(&r, &again) {
			t.Fatalf("%q: %q reads as %+v, %v", in, ruleText(&r), again, err)
		}
	})
}

func TestEverywhere(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]bool{"0.0.0.0/0": true, "::/0": true, "0.0.0.0/1": false, "10.0.0.0/8": false} {
		if got := everywhere(&relay.AccessRule{Network: netip.MustParsePrefix(in)}); got != want {
			t.Errorf("%s: %v", in, got)
		}
	}
	if everywhere(&relay.AccessRule{Host: "example.com"}) {
		t.Error("a host is not everywhere")
	}
}
