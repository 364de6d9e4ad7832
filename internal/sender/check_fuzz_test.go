package sender

import (
	"strings"
	"testing"

	"postern/internal/dns"
	"postern/internal/relay"
)

// Whatever stands in the DNS: no answer counts as right that a verifier would
// read as another key, and what is said about it is clean and bounded.
func FuzzReadKey(f *testing.F) {
	const want = "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAtest"
	for _, s := range []string{
		want, "", "p=", "v=DKIM1; p=", "v=DKIM1;p=AAAA;p=BBBB", `"` + want + `"`, strings.ReplaceAll(want, ";", `\;`), want[:40], want + ";t=y", "k=rsa;" + want,
		want + "\x00", "v=spf1 -all", " ; ; =", want + "; h=sha1", strings.ToUpper(want),
	} {
		f.Add(s, "")
		f.Add(s, want)
		f.Add(s[:len(s)/2], s[len(s)/2:])
	}
	r := relay.DNSRecord{Key: "dkim1", Type: "TXT", Host: "s1._domainkey.acme.test", Data: want, Required: true}
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, told := range []dns.Told{{TXT: [][]string{{a, b}}}, {TXT: [][]string{{a}, {b}}}} {
			rd := readKey(r, told)
			if rd.verdict == isValid {
				found := false
				for _, s := range joined(told) {
					found = found || strings.Contains(unspaced(s), "p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAtest")
				}
				if !found {
					t.Fatalf("valid: %q", joined(told))
				}
			} else if rd.problem.code == "" || rd.problem.text == "" {
				t.Fatalf("no problem with %q", joined(told))
			}
			for _, p := range append(rd.notes, rd.problem) {
				one := p.finding(r, a)
				for _, s := range []string{one.Text, one.Fix, one.Found, one.Server, one.Expected} {
					if len(s) > 2000 || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) {
						t.Fatalf("not clean: %q", s)
					}
				}
			}
		}
	})
}

func FuzzReadSPF(f *testing.F) {
	const want = "v=spf1 ip4:192.0.2.10 ip6:2001:db8::10 -all"
	for _, s := range []string{want, "", "v=spf1", "v=spf1 +ip4:192.0.2.0/24 ip6:2001:db8::/32 ~all", "v=spf1 -ip4:192.0.2.10 -all", "V=SPF1 ip4:192.0.2.10", "v=spf1 ip4:", "v=spf1 ip4:/", `"` + want} {
		f.Add(s, "")
		f.Add(s, want)
	}
	r := relay.DNSRecord{Key: recordSPF, Type: "TXT", Host: "em1.acme.test", Data: want, Required: true}
	x := &examiner{s: &Domains{}}
	f.Fuzz(func(t *testing.T, a, b string) {
		rd := x.readSPF(r, dns.Told{TXT: [][]string{{a}, {b}}}, follower{})
		n := 0
		for _, s := range []string{a, b} {
			if low := strings.ToLower(s); low == "v=spf1" || strings.HasPrefix(low, "v=spf1 ") {
				n++
			}
		}
		if rd.verdict == isValid && n != 1 {
			t.Fatalf("valid with %d records: %q %q", n, a, b)
		}
		if rd.verdict != isValid && rd.problem.text == "" {
			t.Fatalf("no problem with %q %q", a, b)
		}
	})
}

// A name is one spelling of one name that somebody can own, or refused.
func FuzzCleanName(f *testing.F) {
	for _, s := range []string{"example.com", "EXAMPLE.com", "b\u00fccher.example", "xn--bcher-kva.example", "a.b", "gmail.com", "[::1]", "x.internal", "co.uk", "example.com.", testHost, "a\u3002b", "-.a"} {
		f.Add(s)
	}
	d := &Domains{Zone: Zone{Name: testZone, Hostname: testHost}}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := d.cleanName(s, false)
		if err != nil {
			if relay.KindOf(err) != relay.Invalid {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		if again, err := d.cleanName(got, false); err != nil || again != got {
			t.Fatalf("%q is %q, and that is %q, %v", s, got, again, err)
		}
		if got != strings.ToLower(got) || !strings.Contains(got, ".") || strings.HasSuffix(got, ".") || within(got, testZone) || within(got, testHost) || MailboxProvider(got) {
			t.Fatalf("%q is %q", s, got)
		}
	})
}
