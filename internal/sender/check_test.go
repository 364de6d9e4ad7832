package sender

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"postern/internal/dns"
	"postern/internal/finding"
	"postern/internal/relay"
)

func TestCheckGood(t *testing.T) {
	t.Parallel()
	for _, automatic := range []bool{true, false} {
		b := newBench(t, automatic)
		b.lab.secure = true
		c := b.examine()
		if !c.Valid || c.Unknown || !c.Secure || len(c.Servers) != 2 || c.Domain != b.d.ID {
			t.Fatalf("automatic %v: %+v", automatic, c)
		}
		for _, r := range c.Records {
			if !r.Valid || r.Reason != "" || len(r.Found) != 1 {
				t.Errorf("automatic %v: %+v", automatic, r)
			}
		}
		if _, ok := get(c, codeOK, ""); !ok || finding.Worst(c.Findings) != finding.OK {
			t.Errorf("automatic %v: %+v", automatic, c.Findings)
		}
		again := b.examine()
		if fmt.Sprint(again.Findings) != fmt.Sprint(c.Findings) {
			t.Errorf("two looks at the same differ: %v\n%v", c.Findings, again.Findings)
		}
	}
}

// wrongCase is one thing that people get wrong.
type wrongCase struct {
	name   string
	record string
	edit   func(b *testBench, r relay.DNSRecord)
	code   string
	says   string // in the finding's text or fix
	valid  bool   // the record counts all the same
}

func TestCheckAutomatic(t *testing.T) {
	t.Parallel()
	other := "u" + strings.Repeat("z", 26) + ".wl." + testZone
	runWrong(t, true, []wrongCase{
		{name: "no such name", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) { b.lab.drop(r.Host) }, code: codeMissing, says: "no such name"},
		{name: "no such type", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.on(r.Host, func(n *labName) { *n = labName{mx: []dns.MX{{Host: "x"}}} })
		},
			code: codeMissing, says: "no record of this type"},
		{name: "wrong target", record: "mail_cname", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, alias("elsewhere.test")) }, code: codeWrongTarget, says: "elsewhere.test"},
		{name: "ID-16: another account's token", record: "mail_cname", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, alias(other)) }, code: codeOtherToken, says: "proves nothing"},
		{name: "ID-16: another token's key", record: "dkim2", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, alias("s2.domainkey."+other)) }, code: codeOtherToken},
		{name: "two targets swapped", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, alias(b.rec("dkim2").Data)) }, code: codeSwapped},
		{name: "the host added the domain to the name", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.drop(r.Host)
			b.lab.on(r.Host+".acme.test", alias(r.Data))
		}, code: codeNameTwice, says: "enter only s1._domainkey as the name"},
		{name: "the host added the domain to the value", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, alias(r.Data+".acme.test")) }, code: codeValueTwice, says: "dot at its end"},
		{name: "underscore missing", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.drop(r.Host)
			b.lab.on("s1.domainkey.acme.test", alias(r.Data))
		}, code: codeWrongName, says: "must be at s1._domainkey.acme.test"},
		{name: "without _domainkey", record: "dkim2", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.drop(r.Host)
			b.lab.on("s2.acme.test", alias(r.Data))
		}, code: codeWrongName, says: "stands at s2.acme.test"},
		{name: "TXT instead of CNAME", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.drop(r.Host)
			b.lab.on(r.Host, texts(r.Data+"."))
		}, code: codeTXTInstead, says: "must be a CNAME"},
		{name: "quotes inside the target", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, alias(`"`+r.Data+`"`)) }, code: codeQuoted},
		{name: "upper case is the same", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, alias(strings.ToUpper(r.Data)+".")) }, valid: true},
		{name: "a chain that ends here", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.on(r.Host, alias("a.chain.test"))
			b.s.Resolver = &dns.Static{CNAMEs: map[string]string{"a.chain.test": "b.chain.test", "b.chain.test": r.Data}}
		}, code: codeChain, valid: true},
		{name: "a chain that does not end here", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.on(r.Host, alias("a.chain.test"))
			b.s.Resolver = &dns.Static{CNAMEs: map[string]string{"a.chain.test": "b.chain.test"}}
		}, code: codeWrongTarget},
		{name: "a chain in a circle", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.on(r.Host, alias("a.chain.test"))
			b.s.Resolver = &dns.Static{CNAMEs: map[string]string{"a.chain.test": "b.chain.test", "b.chain.test": "a.chain.test"}}
		}, code: codeWrongTarget},
		{name: "other records beside the alias", record: "mail_cname", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.on(r.Host, func(n *labName) { n.txt = [][]string{{"v=spf1 -all"}} })
		}, code: codeBeside, valid: true},
		{name: "ID-17: a wildcard", record: "mail_cname", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.drop(r.Host)
			b.lab.on("*.acme.test", alias(r.Data))
		}, code: codeWildcard, says: "wildcard proves nothing"},
		{name: "ID-17: a wildcard of selectors", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.drop(r.Host)
			b.lab.on("*._domainkey.acme.test", alias(r.Data))
		}, code: codeWildcard},
		{name: "ID-17: a wildcard over other names", record: "mail_cname", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.drop(r.Host)
			b.lab.on("*.acme.test", alias("a.chain.test"))
			b.s.Resolver = &dns.Static{CNAMEs: map[string]string{"a.chain.test": r.Data}}
		}, code: codeWildcard},
		{name: "a wildcard for something else", record: "mail_cname", edit: func(b *testBench, _ relay.DNSRecord) { b.lab.on("*.acme.test", alias("web.test")) }, valid: true},
		{name: "some servers have the old one", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, alias("old.test"), "ns2.host.test") }, code: codeSplit, says: "ns2.host.test not"},
		{name: "some servers have nothing", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) { b.lab.drop(r.Host, "ns1.host.test") }, code: codeSplit, says: "ns2.host.test right, ns1.host.test not"},
		{name: "one server is silent, of a proven domain", record: "dkim1", edit: func(b *testBench, _ relay.DNSRecord) {
			b.d.State = relay.DomainVerified
			b.lab.fail(dns.ErrTemporary, "ns2.host.test")
		}, code: codeServer, valid: true},
		{name: "one server is lame", record: "dkim1", edit: func(b *testBench, _ relay.DNSRecord) { b.lab.fail(dns.ErrLame, "ns2.host.test") }, code: codeServer, says: "does not answer for it", valid: true},
		{name: "one server is private", record: "dkim1", edit: func(b *testBench, _ relay.DNSRecord) { b.lab.fail(dns.ErrPrivate, "ns2.host.test") }, code: codePrivate, valid: true},
		{name: "the domain itself is an alias", record: "dkim1", edit: func(b *testBench, _ relay.DNSRecord) { b.lab.on("acme.test", alias("web.test")) }, code: codeApex, valid: true},
	})
}

func TestCheckManual(t *testing.T) {
	t.Parallel()
	cut := func(s string, n int) string { return s[:n] }
	runWrong(t, false, []wrongCase{
		{name: "ownership missing", record: "ownership", edit: func(b *testBench, r relay.DNSRecord) { b.lab.drop(r.Host) }, code: codeMissing, says: "postern-verify="},
		{name: "ownership among others", record: "ownership", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, texts("other=1", r.Data)) }, valid: true},
		{name: "ownership quoted", record: "ownership", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, texts(`"`+r.Data+`"`)) }, code: codeQuoted},
		{name: "ID-16: another token", record: "ownership", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.on(r.Host, texts("postern-verify="+strings.Repeat("z", 26)))
		}, code: codeOtherProof},
		{name: "ownership without its underscore", record: "ownership", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.drop(r.Host)
			b.lab.on("postern.acme.test", texts(r.Data))
		}, code: codeWrongName},
		{name: "ownership at the domain", record: "ownership", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.drop(r.Host)
			b.lab.on("acme.test", texts("v=spf1 -all", r.Data))
		}, code: codeWrongName},
		{name: "ownership doubled", record: "ownership", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.drop(r.Host)
			b.lab.on(r.Host+".acme.test", texts(r.Data))
		}, code: codeNameTwice},
		{name: "ownership through an alias: what it points to may be another's", record: "ownership", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.on(r.Host, alias("proof.elsewhere.test"))
			b.s.Resolver = &dns.Static{CNAMEs: map[string]string{r.Host: "proof.elsewhere.test"}, TXTs: map[string][]string{"proof.elsewhere.test": {r.Data}}}
		}, code: codeAliasHere},
		{name: "ID-17: ownership by wildcard", record: "ownership", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.drop(r.Host)
			b.lab.on("*.acme.test", texts(r.Data))
		}, code: codeWildcard},

		{name: "key missing", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) { b.lab.drop(r.Host) }, code: codeMissing},
		{name: "key cut at 255", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, texts(cut(r.Data, 255))) }, code: codeCutOff, says: "ends early"},
		{name: "key as two records", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, texts(r.Data[255:], r.Data[:255])) }, code: codeInPieces, says: "2 records"},
		{name: "escaped semicolons", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.on(r.Host, texts(strings.ReplaceAll(r.Data, ";", `\;`)))
		}, code: codeEscaped},
		{name: "quotes inside", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.on(r.Host, texts(`"`+r.Data[:255]+`" "`+r.Data[255:]+`"`))
		}, code: codeQuoted},
		{name: "spaces inside the key", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, texts(r.Data[:100]+" "+r.Data[100:])) }, code: codeSpaces, valid: true},
		{name: "two keys at the selector", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, texts(r.Data, "v=DKIM1; p=AAAA")) }, code: codeSeveralKeys},
		{name: "another text at the selector", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, texts(r.Data, "google-site-verification=1")) }, valid: true},
		{name: "another key", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, texts("v=DKIM1; k=rsa; p=AAAA")) }, code: codeOtherKey},
		{name: "revoked", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, texts("v=DKIM1; p=")) }, code: codeRevoked},
		{name: "no key at all", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, texts("hello")) }, code: codeNoKey},
		{name: "testing", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, texts(r.Data+"; t=y:s")) }, code: codeTestMode, valid: true},
		{name: "wrong algorithm", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.on(r.Host, texts(strings.Replace(r.Data, "k=rsa", "k=ed25519", 1)))
		}, code: codeTags},
		{name: "old hash only", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, texts(r.Data+"; h=sha1")) }, code: codeTags},
		{name: "shorter form of the same", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.on(r.Host, texts(strings.TrimPrefix(r.Data, "v=DKIM1; k=rsa; ")))
		}, valid: true},
		{name: "key through an alias", record: "dkim1", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.on(r.Host, alias("key.elsewhere.test"))
			b.s.Resolver = &dns.Static{CNAMEs: map[string]string{r.Host: "key.elsewhere.test"}, TXTs: map[string][]string{"key.elsewhere.test": {r.Data}}}
		}, valid: true},

		{name: "MX missing", record: "mail_server", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, func(n *labName) { n.mx = nil }) }, code: codeMissing},
		{name: "another MX", record: "mail_server", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.on(r.Host, func(n *labName) { n.mx = []dns.MX{{Host: "mx.other.test", Preference: 10}} })
		}, code: codeWrongMX},
		{name: "another MX first", record: "mail_server", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.on(r.Host, func(n *labName) { n.mx = append(n.mx, dns.MX{Host: "mx.other.test", Preference: 1}) })
		}, code: codeWrongMX, says: "come first"},
		{name: "another MX after", record: "mail_server", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.on(r.Host, func(n *labName) { n.mx = append(n.mx, dns.MX{Host: "mx.other.test", Preference: 20}) })
		}, code: codeMoreMX, valid: true},
		{name: "another priority", record: "mail_server", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, func(n *labName) { n.mx[0].Preference = 5 }) }, code: codePriority, valid: true},
		{name: "MX value completed", record: "mail_server", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.on(r.Host, func(n *labName) { n.mx[0].Host += ".acme.test" })
		}, code: codeValueTwice},

		{name: "SPF missing", record: "subdomain_spf", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, texts("hello")) }, code: codeNoSPF},
		{name: "two SPF records", record: "subdomain_spf", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, texts(r.Data, "v=spf1 mx -all")) }, code: codeSeveralSPF},
		{name: "SPF of another service", record: "subdomain_spf", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, texts("v=spf1 include:other.test ~all")) }, code: codeWrongSPF, says: "ip4:192.0.2.10"},
		{name: "SPF denies an address", record: "subdomain_spf", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.on(r.Host, texts("v=spf1 -ip4:192.0.2.10 ip6:2001:db8::10 ~all"))
		}, code: codeWrongSPF},
		{name: "SPF with more", record: "subdomain_spf", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.on(r.Host, texts("v=spf1 ip4:192.0.2.0/24 ip6:2001:DB8::/32 mx ~all"))
		}, code: codeLooseSPF, valid: true},
		{name: "SPF in other words", record: "subdomain_spf", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.on(r.Host, texts("v=spf1 include:all.acme.test -all"))
			b.s.Resolver = &dns.Static{TXTs: map[string][]string{r.Host: {"v=spf1 include:all.acme.test -all"}, "all.acme.test": {r.Data}}}
		}, code: codeLooseSPF, valid: true},
		{name: "SPF for some of our addresses", record: "subdomain_spf", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.on(r.Host, texts("v=spf1 ip4:192.0.2.10 -all"))
		}, code: codeWrongSPF},
		{name: "SPF in other words, for some of our addresses", record: "subdomain_spf", edit: func(b *testBench, r relay.DNSRecord) {
			b.lab.on(r.Host, texts("v=spf1 include:all.acme.test -all"))
			b.s.Resolver = &dns.Static{TXTs: map[string][]string{r.Host: {"v=spf1 include:all.acme.test -all"}, "all.acme.test": {"v=spf1 ip4:192.0.2.10 -all"}}}
		}, code: codeWrongSPF},
		{name: "our addresses have changed since it was proven", record: "subdomain_spf", edit: func(b *testBench, r relay.DNSRecord) {
			b.d.State = relay.DomainVerified
			b.lab.on(r.Host, texts("v=spf1 ip4:192.0.2.10 -all"))
		}, code: codeWrongSPF, says: "ip6:2001:db8::10", valid: true},
		{name: "all of our addresses have changed", record: "subdomain_spf", edit: func(b *testBench, r relay.DNSRecord) {
			b.d.State = relay.DomainVerified
			b.lab.on(r.Host, texts("v=spf1 ip4:192.0.2.99 -all"))
		}, code: codeWrongSPF},
		{name: "SPF quoted", record: "subdomain_spf", edit: func(b *testBench, r relay.DNSRecord) { b.lab.on(r.Host, texts(`"`+r.Data+`"`)) }, code: codeQuoted},
	})
}

func runWrong(t *testing.T, automatic bool, tests []wrongCase) {
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, automatic)
			r := b.rec(tt.record)
			tt.edit(b, r)
			c := b.examine()
			got := recordOf(c, tt.record)
			if got.Valid != tt.valid || c.Valid != tt.valid || c.Unknown {
				t.Fatalf("record %+v; check valid %v, unknown %v, want %v\n%+v", got, c.Valid, c.Unknown, tt.valid, c.Findings)
			}
			if !tt.valid && got.Reason == "" {
				t.Error("no reason")
			}
			if tt.code == "" {
				return
			}
			f, ok := get(c, tt.code, "")
			if !ok || !strings.Contains(f.Text+" "+f.Fix, tt.says) {
				t.Fatalf("no finding %s that says %q: %+v", tt.code, tt.says, c.Findings)
			}
			if f.Text == "" || !tt.valid && (f.Severity != finding.Error || f.Fix == "" || f.Record != tt.record || f.Where == "" || f.Expected == "") {
				t.Errorf("finding %+v", f)
			}
		})
	}
}

func TestCheckUnknown(t *testing.T) {
	t.Parallel()
	b := newBench(t, true, "ns1.host.test", "ns2.host.test", "ns3.host.test")
	b.lab.fail(dns.ErrTemporary, "ns1.host.test", "ns2.host.test", "ns3.host.test")
	c := b.examine()
	if _, ok := get(c, codeUnknown, "dkim1"); c.Valid || !c.Unknown || !ok {
		t.Errorf("all are silent: %+v", c)
	}
	b.lab.fail(nil, "ns1.host.test")
	c = b.examine()
	if _, ok := get(c, codeFewServers, "dkim1"); c.Valid || !c.Unknown || !ok {
		t.Errorf("one of three answers: %+v", c)
	}
	// Not even a "no" of one in three is believed.
	b.lab.drop(b.rec("dkim1").Host, "ns1.host.test")
	if c = b.examine(); !c.Unknown {
		t.Errorf("one of three says no: %+v", c)
	}
	b.lab.fail(nil, "ns2.host.test")
	if c = b.examine(); c.Valid || c.Unknown {
		t.Errorf("two of three answer, one says no: %+v", c)
	}
	b.lab.publish(b.rs[1:2])
	if c = b.examine(); !c.Valid {
		t.Errorf("two of three answer and agree: %+v", c.Findings)
	}
	b.lab.fail(dns.ErrPrivate, b.lab.order...)
	c = b.examine()
	if f, ok := get(c, codePrivate, "dkim1"); !c.Unknown || !ok || f.Severity != finding.Error {
		t.Errorf("all are private: %+v", c)
	}
}

func TestCheckServersNotFound(t *testing.T) {
	t.Parallel()
	b := newBench(t, true)
	b.lab.err = fmt.Errorf("name servers: %w", dns.ErrTemporary)
	if c := b.examine(); c.Valid || !c.Unknown {
		t.Errorf("%+v", c)
	}
	b.lab.err = fmt.Errorf("name servers: %w", dns.ErrNotFound)
	c := b.examine()
	if _, ok := get(c, codeNoDomain, ""); c.Valid || c.Unknown || !ok {
		t.Errorf("%+v", c)
	}
}

// ID-17: what the validating resolver cannot get is not good enough for a first
// proof, and does not take one away.
func TestCheckBogus(t *testing.T) {
	t.Parallel()
	b := newBench(t, true)
	b.lab.resolved = fmt.Errorf("bogus: %w", dns.ErrTemporary)
	c := b.examine()
	if f, ok := get(c, codeBogus, ""); c.Valid || !c.Unknown || !ok || f.Severity != finding.Unknown {
		t.Errorf("pending: %+v", c)
	}
	b.d.State = relay.DomainVerified
	c = b.examine()
	if f, ok := get(c, codeBogus, ""); !c.Valid || !ok || f.Severity != finding.Warning || c.Secure {
		t.Errorf("verified: %+v", c)
	}
	b.lab.resolved = fmt.Errorf("not there yet: %w", dns.ErrNotFound) // a denial in its cache
	b.d.State = relay.DomainPending
	if c = b.examine(); !c.Valid {
		t.Errorf("an old denial: %+v", c)
	}
}

// The aliases of Ed25519 keys are offered, not required.
func TestCheckOptional(t *testing.T) {
	t.Parallel()
	b := newBench(t, true)
	b.lab.drop(b.rec("dkim1_ed25519").Host)
	b.lab.fail(nil)
	c := b.examine()
	f, ok := get(c, codeMissing, "dkim1_ed25519")
	if !c.Valid || recordOf(c, "dkim1_ed25519").Valid || !ok || f.Severity != finding.Info {
		t.Errorf("%+v", c)
	}
}

// Words from the DNS are cleaned and bounded wherever they are kept.
func TestCheckHostileText(t *testing.T) {
	t.Parallel()
	evil := "x\r\nBcc: a@b\x1b[31m<script>\u202e" + strings.Repeat("A", 70000)
	for _, automatic := range []bool{true, false} {
		b := newBench(t, automatic, "ns1\n.evil.test", "ns2.host.test")
		for _, r := range b.rs {
			switch r.Type {
			case "CNAME":
				b.lab.on(r.Host, alias(evil), "ns1\n.evil.test")
			case "TXT":
				b.lab.on(r.Host, texts(evil, "v=spf1 "+evil, "v=DKIM1; k="+evil+"; p="+evil, "postern-verify="+evil), "ns1\n.evil.test")
			case "MX":
				b.lab.on(r.Host, func(n *labName) { n.mx = []dns.MX{{Host: evil}} }, "ns1\n.evil.test")
			}
		}
		b.lab.on("acme.test", alias(evil))
		c := b.examine()
		if c.Valid {
			t.Fatal("valid")
		}
		all := fmt.Sprintf("%+v", c)
		if strings.ContainsAny(all, "\r\n\x1b\u202e") {
			t.Errorf("automatic %v: not cleaned: %.2000q", automatic, all)
		}
		if len(all) > 100_000 {
			t.Errorf("automatic %v: %d octets", automatic, len(all))
		}
		v := Judge(relay.Domain{State: relay.DomainVerified}, c, Settings{})
		if v.Change == nil || len(v.Change.Reason) > maxReason+10 {
			t.Errorf("reason %+v", v.Change)
		}
	}
}

// What receivers make of the mail: SPF of both names, DMARC policy, alignment and
// the next record.
func TestCheckPolicy(t *testing.T) {
	t.Parallel()
	b := newBench(t, false)
	b.s.Resolver = &dns.Static{TXTs: map[string][]string{
		"em1.acme.test":    {b.rec("subdomain_spf").Data},
		"acme.test":        {"v=spf1 +all"},
		"_dmarc.acme.test": {"v=DMARC1; p=quarantine; adkim=s"},
	}}
	c := b.examine()
	if !c.Valid || c.Policy != "quarantine" || c.SPFAligned != "relaxed" || c.DKIMAligned != "strict" {
		t.Errorf("policy %q, SPF %q, DKIM %q", c.Policy, c.SPFAligned, c.DKIMAligned)
	}
	if !strings.Contains(c.Recommended, "rua=mailto:dmarc-"+b.d.Token+"@dmarc."+testZone) || c.Why == "" {
		t.Errorf("recommended %q because %q", c.Recommended, c.Why)
	}
	if f, ok := get(c, "spf_pass_all", ""); !ok || f.Severity != finding.Warning {
		t.Errorf("+all of the domain: %+v", c.Findings)
	}
	if _, ok := get(c, "spf_covered", ""); !ok {
		t.Errorf("our addresses: %+v", c.Findings)
	}
	b.s.Resolver = &dns.Static{Fail: []string{"txt _dmarc.acme.test"}}
	if _, ok := get(b.examine(), codePolicyUnknown, "dmarc"); !ok {
		t.Error("a policy that cannot be looked up is not said to be unknown")
	}
}

// What is wrong in our own zone is said, and does not count against the customer.
func TestCheckOurZone(t *testing.T) {
	t.Parallel()
	b := newBench(t, true)
	names := map[string]string{}
	for _, r := range b.rs {
		names[r.Host] = r.Data
	}
	s1 := b.rec("dkim1").Data
	b.s.Resolver = &dns.Static{CNAMEs: names, TXTs: map[string][]string{s1: {b.keys[0].Record}}}
	if _, ok := get(b.examine(), codeNotServed, ""); ok {
		t.Error("a key that is served is said not to be")
	}
	for _, txts := range []map[string][]string{nil, {s1: {"v=DKIM1; k=rsa; p="}}} {
		b.s.Resolver = &dns.Static{CNAMEs: names, TXTs: txts}
		c := b.examine()
		if f, ok := get(c, codeNotServed, "dkim1"); !ok || !c.Valid || !strings.Contains(f.Fix, "operator") {
			t.Errorf("%v: %+v", txts, c.Findings)
		}
	}
}

// A server of two addresses counts once: a host without IPv6 reaches half of them.
func TestCheckCountsServersNotAddresses(t *testing.T) {
	t.Parallel()
	b := newBench(t, true)
	both := askerFunc(func(ctx context.Context, name, typ string) (dns.Asked, error) {
		asked, err := b.lab.Ask(ctx, name, typ)
		for _, t := range asked.Told {
			asked.Told = append(asked.Told, dns.Told{Server: t.Server, Addr: netip.MustParseAddr("2001:db8::53"), Err: dns.ErrTemporary})
		}
		return asked, err
	})
	b.s.Authority = both
	c := b.examine()
	if _, ok := get(c, codeServer, ""); !c.Valid || ok || len(c.Servers) != 2 {
		t.Errorf("%+v", c)
	}
	b.lab.fail(dns.ErrTemporary, "ns2.host.test")
	// ID-17: whoever holds one of two name servers proves nothing while the other one
	// is kept from answering.
	if c := b.examine(); c.Valid || !c.Unknown {
		t.Errorf("one of two servers as a first proof: %+v", c)
	}
	b.d.State = relay.DomainVerified
	if c := b.examine(); !c.Valid {
		t.Errorf("one of two servers of a proven domain: %+v", c)
	}
}

type askerFunc func(ctx context.Context, name, typ string) (dns.Asked, error)

func (f askerFunc) Ask(ctx context.Context, name, typ string) (dns.Asked, error) {
	return f(ctx, name, typ)
}

// TestWildcardInDoubt: ID-17. Whoever has the name that a wildcard points to answers
// as they like, the right thing for our names and nothing for those that nobody
// published; and an answer that does not come is not one that says no.
func TestWildcardInDoubt(t *testing.T) {
	t.Parallel()
	t.Run("it ends elsewhere when it is tried", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, true)
		r := b.rec("mail_cname")
		b.lab.drop(r.Host)
		b.lab.on("*.acme.test", alias("hired.example"))
		turns := &turning{to: r.Data}
		b.s.Resolver = turns
		c := b.s.Examine(t.Context(), b.d, b.keys)
		if c.Valid || !slices.ContainsFunc(c.Findings, func(f finding.Finding) bool { return f.Code == codeWildcard }) {
			t.Errorf("valid %t: %+v", c.Valid, c.Findings)
		}
	})
	for _, held := range []bool{false, true} {
		t.Run(fmt.Sprintf("no answer, held %t", held), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, true)
			if held {
				b.d.State = relay.DomainVerified
			}
			published := map[string]bool{"acme.test": true}
			for _, r := range Records(b.s.Zone, b.d, b.keys) {
				published[r.Host] = true
			}
			b.s.Authority = askerFunc(func(ctx context.Context, name, typ string) (dns.Asked, error) {
				if !published[name] {
					return dns.Asked{}, dns.ErrTemporary
				}
				return b.lab.Ask(ctx, name, typ)
			})
			if c := b.s.Examine(t.Context(), b.d, b.keys); c.Valid != held || c.Unknown == held {
				t.Errorf("valid %t, unknown %t: %+v", c.Valid, c.Unknown, c.Findings)
			}
		})
	}
}

// turning is a resolver for which an alias ends at our name the first time that it
// is asked, and nowhere after that.
type turning struct {
	dns.Static
	to    string
	asked atomic.Int32
}

func (r *turning) CNAME(context.Context, string) (string, bool, error) {
	if r.asked.Add(1) > 1 {
		return "", false, dns.ErrNotFound
	}
	return r.to, false, nil
}
