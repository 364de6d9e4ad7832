package spf_test

import (
	"context"
	"fmt"
	"net/netip"

	"postern/internal/dns"
	"postern/internal/spf"
)

func ExampleAnalyse() {
	r := &dns.Static{TXTs: map[string][]string{
		"example.com":      {"v=spf1 include:_spf.example.net ip4:192.0.2.0/24 ?all"},
		"_spf.example.net": {"v=spf1 ip4:198.51.100.7 -all"},
	}}
	a := spf.Analyse(context.Background(), r, "example.com", []netip.Addr{netip.MustParseAddr("203.0.113.9")})
	fmt.Println(a.All, a.Lookups, a.Broken())
	for _, f := range a.Findings {
		fmt.Println(f.Severity, f.Text, f.Fix)
	}
	// Output:
	// ?all 1 false
	// warning The record of example.com ends in “?all”: it says nothing about forged mail. Replace it by “~all”, and by “-all” once all servers that send are named.
	// error Mail from 203.0.113.9 does not pass SPF for example.com: neutral, no term but “all” matches. Add "ip4:203.0.113.9" to the record, before “all”.
}

func ExampleCheck() {
	r := &dns.Static{TXTs: map[string][]string{"example.com": {"v=spf1 ip4:192.0.2.0/24 -all"}}}
	result, _ := spf.Check(context.Background(), r, netip.MustParseAddr("192.0.2.1"), "mail.example.com", "ann@example.com")
	fmt.Println(result)
	// Output: pass
}
