package mailauth

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"postern/internal/dns"
	"postern/internal/finding"
)

func TestDisagreement(t *testing.T) {
	t.Parallel()
	told := func(server string, values ...string) dns.Told {
		t := dns.Told{Server: server, Addr: netip.MustParseAddr("198.51.100.1"), Authoritative: true}
		for _, v := range values {
			t.TXT = append(t.TXT, []string{v[:1], v[1:]})
		}
		if len(values) == 0 {
			t.Err = fmt.Errorf("TXT: %w", dns.ErrNoData)
		}
		return t
	}
	failed := func(err error) dns.Told { return dns.Told{Server: "ns3.test\x1b", Err: fmt.Errorf("x: %w", err)} }
	for _, tt := range []struct {
		name string
		told []dns.Told
		want []string
	}{
		{"alike", []dns.Told{told("a", "one", "two"), told("b", "two", "one")}, nil},
		{"nothing", []dns.Told{told("a"), told("b")}, nil},
		{"one lacks it", []dns.Told{told("a", "one"), told("b")}, []string{"error ns_differ"}},
		{"others", []dns.Told{told("a", "one"), told("b", "two")}, []string{"error ns_differ"}},
		{"silent", []dns.Told{told("a", "one"), failed(dns.ErrTemporary)}, []string{"warning ns_silent"}},
		{"lame", []dns.Told{told("a", "one"), failed(dns.ErrLame)}, []string{"warning ns_lame"}},
		{"private", []dns.Told{told("a", "one"), failed(dns.ErrPrivate)}, []string{"warning ns_private"}},
	} {
		var got []string
		for _, f := range disagreement("example.com", "TXT", dns.Asked{Zone: "example.com", Told: tt.told}) {
			got = append(got, string(f.Severity)+" "+f.Code)
			if f.Severity == finding.Error && f.Found == "" || f.Fix == "" {
				t.Errorf("%s: %+v", tt.name, f)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}
