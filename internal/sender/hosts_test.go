package sender

import (
	"strings"
	"testing"

	mdns "github.com/miekg/dns"

	"postern/internal/relay"
)

func TestHostFields(t *testing.T) {
	t.Parallel()
	z := Zone{Name: testZone, Hostname: testHost}
	d := testDomain(true)
	d.Name, d.ReturnPath = "news.acme.co.uk", "em7.news.acme.co.uk"
	long := "v=DKIM1; k=rsa; p=" + strings.Repeat("A", 400)
	rs := append(Records(z, d, nil)[:2], relay.DNSRecord{Key: "dkim1", Type: "TXT", Host: "s1._domainkey.news.acme.co.uk", Data: long},
		relay.DNSRecord{Key: "mail_server", Type: "MX", Host: "em7.news.acme.co.uk", Data: "10 " + testHost})
	target := z.Host(d)
	for _, tt := range []struct {
		host                   string
		name, cname            string
		txt                    string // begins with
		priority, mx, ttl, top string
	}{
		{"cloudflare", "em7.news", target, "v=DKIM1", "10", testHost, "Auto", "DNS only"},
		{"route53", "em7.news", target, `"v=DKIM1`, "", "10 " + testHost, "300", ""},
		{"godaddy", "em7.news", target, "v=DKIM1", "10", testHost, "1 Hour", ""},
		{"gandi", "em7.news", target + ".", `"v=DKIM1`, "10", testHost + ".", "300", ""},
		{"google", "em7.news", target + ".", `"v=DKIM1`, "", "10 " + testHost + ".", "5 minutes", ""},
		{"azure", "em7.news", target, "v=DKIM1", "10", testHost, "5 minutes", ""},
		{"ovh", "em7.news", target + ".", "v=DKIM1", "10", testHost + ".", "Default", ""},
		{"plain", "em7.news.acme.co.uk.", target + ".", `"v=DKIM1`, "", "10 " + testHost + ".", "3600", ""},
	} {
		f := HostFields(tt.host, d, rs)
		if len(f) != 4 {
			t.Fatalf("%s: %d", tt.host, len(f))
		}
		if f[0].Name != tt.name || f[0].Value != tt.cname || f[0].Proxy != tt.top || f[0].TTL != tt.ttl || f[0].Type != "CNAME" || f[0].Record != "mail_cname" {
			t.Errorf("%s: CNAME %+v", tt.host, f[0])
		}
		if !strings.HasPrefix(f[2].Value, tt.txt) || strings.Contains(f[2].Value, `" "`) != (tt.txt[0] == '"') {
			t.Errorf("%s: TXT %+v", tt.host, f[2])
		}
		if f[3].Priority != tt.priority || f[3].Value != tt.mx {
			t.Errorf("%s: MX %+v", tt.host, f[3])
		}
		if relative := tt.host != "plain"; relative != strings.Contains(f[1].Note, "enter only s1._domainkey as") {
			t.Errorf("%s: note %q", tt.host, f[1].Note)
		}
	}
	if HostFields("nobody", d, rs) != nil {
		t.Error("a host that is not known")
	}
	if hosts := Hosts(d); len(hosts) != 12 || hosts[0].Zone != "acme.co.uk" {
		t.Errorf("%+v", hosts)
	}
	for _, h := range Hosts(d) {
		if HostFields(h.ID, d, rs) == nil || h.Title == "" || h.Where == "" {
			t.Errorf("%+v", h)
		}
	}
}

// The fields for a plain zone file are lines of one.
func TestPlainFields(t *testing.T) {
	t.Parallel()
	d := testDomain(false)
	rs := Records(Zone{Hostname: testHost}, d, []relay.DKIMKey{{Selector: "s1", Algorithm: relay.DKIMRSA, Active: true, Record: "v=DKIM1; p=" + strings.Repeat("A", 400)}})
	for _, f := range HostFields("plain", d, rs) {
		if _, err := mdns.NewRR(f.Name + " " + f.TTL + " IN " + f.Type + " " + f.Value); err != nil {
			t.Errorf("%+v: %v", f, err)
		}
	}
}
