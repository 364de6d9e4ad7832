package sender

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	mdns "github.com/miekg/dns"

	"postern/internal/relay"
)

const testToken = "abcdefghijklmnopqrstuvwx27"

func testDomain(automatic bool) relay.Domain {
	return relay.Domain{
		ID: relay.DomainID{ID: relay.ID{9}}, Account: acme, Name: "acme.test", State: relay.DomainPending, Token: testToken,
		Automatic: automatic, Label: "em7", ReturnPath: "em7.acme.test",
	}
}

func lines(rs []relay.DNSRecord) (out []string) {
	for _, r := range rs {
		out = append(out, fmt.Sprintf("%s %s %s %s %v", r.Key, r.Type, r.Host, r.Data, r.Required))
	}
	return out
}

func TestRecordsAutomatic(t *testing.T) {
	t.Parallel()
	d := testDomain(true)
	z := Zone{Name: testZone, Hostname: testHost}
	u := "u" + testToken + ".wl." + testZone
	want := []string{
		"mail_cname CNAME em7.acme.test " + u + " true",
		"dkim1 CNAME s1._domainkey.acme.test s1.domainkey." + u + " true",
		"dkim2 CNAME s2._domainkey.acme.test s2.domainkey." + u + " true",
		"dkim1_ed25519 CNAME s1e._domainkey.acme.test s1e.domainkey." + u + " false",
		"dkim2_ed25519 CNAME s2e._domainkey.acme.test s2e.domainkey." + u + " false",
	}
	if diff := cmp.Diff(want, lines(Records(z, d, nil))); diff != "" {
		t.Error(diff)
	}
	d.Selector = "org"
	var hosts []string
	for _, r := range Records(z, d, nil)[1:] {
		hosts = append(hosts, r.Host)
	}
	if got := strings.Join(hosts, " "); got != "org._domainkey.acme.test org2._domainkey.acme.test orge._domainkey.acme.test org2e._domainkey.acme.test" {
		t.Errorf("custom selector: %s", got)
	}
	imported := Records(z, d, []relay.DKIMKey{{Selector: "old", Algorithm: relay.DKIMRSA, Active: true}})
	if got := lines(imported[5:]); len(got) != 1 || got[0] != "dkim_old CNAME old._domainkey.acme.test old.domainkey."+u+" true" {
		t.Errorf("imported: %v", got)
	}
}

func TestRecordsManual(t *testing.T) {
	t.Parallel()
	d, at := testDomain(false), time.Unix(1, 0)
	z := Zone{Hostname: testHost, Addresses: func(relay.Domain) []netip.Addr {
		return []netip.Addr{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::25"), netip.MustParseAddr("::ffff:192.0.2.11")}
	}}
	keys := []relay.DKIMKey{
		{Selector: "s1", Algorithm: relay.DKIMRSA, Active: true, Record: "v=DKIM1; k=rsa; p=AA"},
		{Selector: "s1e", Algorithm: relay.DKIMEd25519, Record: "v=DKIM1; k=ed25519; p=BB"},
		{Selector: "s2", Algorithm: relay.DKIMRSA, RetiredAt: at, Record: "v=DKIM1; k=rsa; p=CC"},
		{Selector: "s2e", Algorithm: relay.DKIMEd25519, WithdrawnAt: at, Record: "v=DKIM1; p="},
	}
	want := []string{
		"ownership TXT _postern.acme.test postern-verify=" + testToken + " true",
		"mail_server MX em7.acme.test 10 " + testHost + " true",
		"subdomain_spf TXT em7.acme.test v=spf1 ip4:192.0.2.10 ip6:2001:db8::25 ip4:192.0.2.11 -all true",
		"dkim1 TXT s1._domainkey.acme.test v=DKIM1; k=rsa; p=AA true",
		"dkim1_ed25519 TXT s1e._domainkey.acme.test v=DKIM1; k=ed25519; p=BB false",
		"dkim2 TXT s2._domainkey.acme.test v=DKIM1; k=rsa; p=CC false",
	}
	if diff := cmp.Diff(want, lines(Records(z, d, keys))); diff != "" {
		t.Error(diff)
	}
	d.IPs = []netip.Addr{netip.MustParseAddr("198.51.100.1")}
	if got := z.SPF(d); got != "v=spf1 ip4:198.51.100.1 -all" {
		t.Errorf("own addresses: %s", got)
	}
	if got := (Zone{Hostname: testHost}).SPF(testDomain(false)); got != "v=spf1 a:"+testHost+" -all" {
		t.Errorf("no addresses known: %s", got)
	}
	// One whose bounces come to the relay itself needs no return path.
	d.Label, d.ReturnPath, d.System = "", "", true
	if got := lines(Records(z, d, keys[:1])); len(got) != 1 || !strings.HasPrefix(got[0], "dkim1 ") {
		t.Errorf("system: %v", got)
	}
}

func TestReportAddress(t *testing.T) {
	t.Parallel()
	d := testDomain(true)
	if got := (Zone{Name: testZone, Hostname: testHost}).ReportAddress(d); got != "dmarc-"+testToken+"@dmarc."+testZone {
		t.Error(got)
	}
	if got := (Zone{Hostname: testHost}).ReportAddress(d); got != "dmarc-"+testToken+"@"+testHost {
		t.Error(got)
	}
	if d.Token = ""; (Zone{Hostname: testHost}).ReportAddress(d) != "" {
		t.Error("a domain without a token")
	}
}

// The snippet is read back by a zone parser: every record is there, whole.
func TestZoneSnippet(t *testing.T) {
	t.Parallel()
	long := "v=DKIM1; k=rsa; p=" + strings.Repeat("QUJD", 150) + `"\x`
	for name, rs := range map[string][]relay.DNSRecord{
		"automatic": Records(Zone{Name: testZone, Hostname: testHost}, testDomain(true), nil),
		"manual":    Records(Zone{Hostname: testHost}, testDomain(false), []relay.DKIMKey{{Selector: "s1", Algorithm: relay.DKIMRSA, Active: true, Record: long}}),
	} {
		zp := mdns.NewZoneParser(strings.NewReader(ZoneSnippet(rs)), "elsewhere.test.", "")
		var got []string
		for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
			h := rr.Header()
			data := ""
			switch rr := rr.(type) {
			case *mdns.CNAME:
				data = strings.TrimSuffix(rr.Target, ".")
			case *mdns.MX:
				data = fmt.Sprintf("%d %s", rr.Preference, strings.TrimSuffix(rr.Mx, "."))
			case *mdns.TXT:
				for _, s := range rr.Txt {
					if len(strings.ReplaceAll(s, `\`, "")) > 255 {
						t.Errorf("%s: a string of %d octets", name, len(s))
					}
					data += strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(s)
				}
			}
			got = append(got, fmt.Sprintf("%s %s %s", mdns.TypeToString[h.Rrtype], strings.TrimSuffix(h.Name, "."), data))
		}
		if zp.Err() != nil {
			t.Fatalf("%s: %v", name, zp.Err())
		}
		var want []string
		for _, r := range rs {
			want = append(want, r.Type+" "+r.Host+" "+r.Data)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
