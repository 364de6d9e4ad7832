package sender

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"postern/internal/relay"
)

func TestSystemRecords(t *testing.T) {
	t.Parallel()
	d := relay.Domain{Name: "mail.example.test", System: true, Token: "token"}
	keys := []relay.DKIMKey{
		{Selector: "s1", Algorithm: relay.DKIMRSA, Record: "v=DKIM1; p=x", Active: true},
		{Selector: "old", Record: "v=DKIM1; p=", WithdrawnAt: d.CreatedAt.AddDate(1, 0, 0)},
	}
	got := SystemRecords("relay.example.test", d, keys, []netip.Addr{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::1")})
	var lines []string
	for _, r := range got {
		lines = append(lines, r.Host+" "+r.Type+" "+r.Data)
	}
	want := []string{
		"relay.example.test A 192.0.2.10",
		"relay.example.test AAAA 2001:db8::1",
		"mail.example.test MX 10 relay.example.test",
		"mail.example.test TXT v=spf1 a:relay.example.test -all",
		"relay.example.test TXT v=spf1 a -all",
		"s1._domainkey.mail.example.test TXT v=DKIM1; p=x",
		"_dmarc.mail.example.test TXT v=DMARC1; p=reject",
		"10.2.0.192.in-addr.arpa PTR relay.example.test",
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR relay.example.test",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if !got[0].Required {
		t.Error("the relay's address is not required")
	}
}
