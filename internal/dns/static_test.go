package dns_test

import (
	"context"
	"net/netip"
	"testing"

	"postern/internal/dns"
)

func TestStatic(t *testing.T) {
	t.Parallel()
	r := &dns.Static{
		MXs:    map[string][]dns.MX{"example.test": {{Host: "mx2.example.test", Preference: 20}, {Host: "mx1.example.test", Preference: 10}}},
		Addrs:  map[string][]netip.Addr{"mx1.example.test": {netip.MustParseAddr("192.0.2.1")}},
		TXTs:   map[string][]string{"_dmarc.example.test": {"v=DMARC1"}},
		CNAMEs: map[string]string{"www.example.test": "mx1.example.test", "l1.test": "l2.test", "l2.test": "l1.test"},
		PTRs:   map[netip.Addr][]string{netip.MustParseAddr("192.0.2.1"): {"mx1.example.test"}},
		TLSAs:  map[string][]dns.TLSA{"_25._tcp.mx1.example.test": {{Usage: 3}}},
		Fail:   []string{"down.example.test", "tlsa mx1.example.test", "ptr 192.0.2.9"}, Insecure: []string{"mx example.test"}, Secure: true,
	}
	for _, tt := range []struct{ typ, name, want string }{
		{"MX", "Example.Test.", "[{mx1.example.test 10} {mx2.example.test 20}]"},
		{"MX", "mx1.example.test", "no data"},
		{"MX", "test", "no data"},
		{"MX", "ample.test", "not found"},
		{"MX", "a..b", "bad name"},
		{"ADDR", "www.example.test", "[192.0.2.1]"},
		{"ADDR", "l1.test", "temporary"},
		{"ADDR", "down.example.test", "temporary"},
		{"TXT", "_dmarc.example.test", "[v=DMARC1]"},
		{"CNAME", "www.example.test", "mx1.example.test"},
		{"CNAME", "mx1.example.test", "no data"},
		{"PTR", "192.0.2.1", "[mx1.example.test]"},
		{"PTR", "192.0.2.2", "not found"},
		{"PTR", "192.0.2.9", "temporary"},
		{"TLSA", "_25._tcp.mx1.example.test", "[{3 0 0 []}]"},
		{"TLSA", "mx1.example.test", "temporary"},
	} {
		if got := ask(r, tt.typ, tt.name); got != tt.want {
			t.Errorf("%s %s: got %s, want %s", tt.typ, tt.name, got, tt.want)
		}
	}
	ctx := context.Background()
	if _, secure, _ := r.TXT(ctx, "_dmarc.example.test"); !secure {
		t.Error("TXT is not secure")
	}
	if _, secure, _ := r.MX(ctx, "example.test"); secure {
		t.Error("MX is secure")
	}
}
