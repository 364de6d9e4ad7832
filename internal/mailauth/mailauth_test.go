package mailauth_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"postern/internal/dns"
	"postern/internal/finding"
	"postern/internal/mailauth"
)

// publicKey is an RSA key record's p= of that many bits. Nobody signs with it,
// so any odd number of the size does for the modulus.
func publicKey(bits int) string {
	n := new(big.Int).SetBit(big.NewInt(1), bits-1, 1)
	der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n, E: 65537})
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

func edKey() string {
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(pub)
}

var addr = netip.MustParseAddr

// good is a domain with everything as it should be.
func good() *dns.Static {
	return &dns.Static{
		Secure: true,
		MXs: map[string][]dns.MX{
			"example.com": {{Host: "mx1.example.com", Preference: 10}, {Host: "mx2.example.com", Preference: 20}},
			"org":         {{Host: "mx.org"}},
		},
		Addrs: map[string][]netip.Addr{"mx1.example.com": {addr("198.51.100.1"), addr("2001:db8::1")}, "mx2.example.com": {addr("198.51.100.2")}},
		TXTs: map[string][]string{
			"example.com":                {"v=spf1 ip4:198.51.100.0/24 -all", "unrelated"},
			"_dmarc.example.com":         {"v=DMARC1; p=reject; rua=mailto:dmarc@example.com"},
			"s1._domainkey.example.com":  {"v=DKIM1; k=rsa; p=" + publicKey(2048)},
			"s1e._domainkey.example.com": {"v=DKIM1; k=ed25519; p=" + edKey()},
			"_mta-sts.example.com":       {"v=STSv1; id=20260101T000000;"},
			"_smtp._tls.example.com":     {"v=TLSRPTv1; rua=mailto:tls@example.com,https://tls.example.com/report"},
			"default._bimi.example.com":  {"v=BIMI1; l=https://example.com/logo.svg; a="},
		},
		TLSAs: map[string][]dns.TLSA{
			"_25._tcp.mx1.example.com": {{Usage: 3, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}},
			"_25._tcp.mx2.example.com": {{Usage: 3, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}},
		},
	}
}

func look(r dns.Resolver, domain string, selectors ...string) mailauth.Report {
	return mailauth.Look(context.Background(), mailauth.Options{Resolver: r, Domain: domain, Selectors: selectors})
}

// codes lists a report's findings of all areas.
func codes(r mailauth.Report) []string {
	var out []string
	for _, a := range r.Areas() {
		for _, f := range a.Findings {
			if s := string(f.Severity) + " " + f.Code; !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	slices.Sort(out)
	return out
}

func TestGood(t *testing.T) {
	t.Parallel()
	r := look(good(), "Example.COM.")
	want := []string{"ok bimi_present", "ok dane_ok", "ok dkim_ok", "ok dmarc_policy", "ok dnssec_secure", "ok mta_sts_present", "ok mx_ok", "ok spf_ok", "ok tls_rpt_present"}
	if diff := cmp.Diff(want, codes(r)); diff != "" {
		t.Error(diff)
	}
	if r.Spoofable != mailauth.No || !strings.HasPrefix(r.Verdict[0], "Others can hardly send mail as example.com: ") || r.Worst() != finding.OK {
		t.Errorf("%s: %q", r.Spoofable, r.Verdict)
	}
	if len(r.Verdict) != 2 || r.Verdict[1] != "For its own mail it has an SPF record that can be used and a DKIM key." {
		t.Errorf("%q", r.Verdict)
	}
	if len(r.DKIM.Keys) != 2 || r.DKIM.Keys[0].Bits != 2048 || r.DKIM.Keys[1].Type != "ed25519" || !r.DKIM.Guessed {
		t.Errorf("%+v", r.DKIM.Keys)
	}
}

// The names in JSON are for programs of others.
func TestJSON(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(look(good(), "example.com"))
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"domain", "exists", "verdict", "spoofable", "mx.hosts", "mx.null", "mx.findings", "spf.record", "spf.lookups", "spf.all", "spf.tree", "spf.findings",
		"dkim.asked", "dkim.keys", "dkim.findings", "dmarc.record", "dmarc.at", "dmarc.policy", "dmarc.subdomain_policy", "dmarc.non_existent_policy", "dmarc.aspf",
		"dmarc.reports", "dmarc.organizational_domain", "dmarc.psl_organizational_domain", "mta_sts.present", "mta_sts.record", "tls_rpt.present", "dane.hosts",
		"dnssec.state", "bimi.name", "name_servers.asked",
	} {
		at := any(v)
		for part := range strings.SplitSeq(path, ".") {
			m, _ := at.(map[string]any)
			if at = m[part]; at == nil {
				t.Errorf("no %s in %s", path, b)
				break
			}
		}
	}
}

// change makes one case of the good domain.
type change struct {
	name      string
	do        func(r *dns.Static)
	selectors []string
	want      string // a finding that must be there
	gone      string // one that must not
	spoofable mailauth.Spoofable
	says      string // in the verdict
}

func TestFindings(t *testing.T) {
	t.Parallel()
	txt := func(name string, values ...string) func(*dns.Static) {
		return func(r *dns.Static) {
			delete(r.TXTs, name)
			if len(values) > 0 {
				r.TXTs[name] = values
			}
		}
	}
	dmarc := func(v ...string) func(*dns.Static) { return txt("_dmarc.example.com", v...) }
	key := func(v ...string) func(*dns.Static) { return txt("s1._domainkey.example.com", v...) }
	s1 := []string{"S1"}
	for _, tt := range []change{
		// MX.
		{name: "null MX", do: func(r *dns.Static) { r.MXs["example.com"] = []dns.MX{{Host: "."}} }, want: "info mx_null", gone: "ok mx_ok", says: "It takes no mail"},
		{name: "no MX, an address", do: func(r *dns.Static) {
			delete(r.MXs, "example.com")
			r.Addrs["example.com"] = []netip.Addr{addr("198.51.100.9")}
		}, want: "warning mx_implicit"},
		{name: "no MX, no address", do: func(r *dns.Static) { delete(r.MXs, "example.com") }, want: "warning mx_missing", says: "It cannot take mail"},
		{name: "MX down", do: func(r *dns.Static) { r.Fail = []string{"mx example.com"} }, want: "unknown dns_unknown", gone: "error mx_unresolvable"},
		{name: "host without address", do: func(r *dns.Static) { delete(r.Addrs, "mx1.example.com") }, want: "error mx_unresolvable"},
		{name: "host down", do: func(r *dns.Static) { r.Fail = []string{"addr mx1.example.com"} }, want: "unknown dns_unknown", gone: "error mx_unresolvable"},
		{name: "host is an address", do: func(r *dns.Static) { r.MXs["example.com"] = []dns.MX{{Host: "198.51.100.1"}} }, want: "error mx_address"},
		{name: "host is an alias", do: func(r *dns.Static) { r.CNAMEs = map[string]string{"mx1.example.com": "x.example.net"} }, want: "warning mx_alias"},
		{name: "private", do: func(r *dns.Static) { r.Addrs["mx1.example.com"] = []netip.Addr{addr("10.0.0.1"), addr("198.51.100.1")} }, want: "warning mx_private"},
		{name: "only private", do: func(r *dns.Static) { r.Addrs["mx1.example.com"] = []netip.Addr{addr("100.64.0.1"), addr("::1")} }, want: "error mx_private"},
		{name: "many", do: func(r *dns.Static) { r.MXs["example.com"] = slices.Repeat(r.MXs["example.com"], 6) }, want: "info mx_many"},
		{name: "not there", do: func(r *dns.Static) { *r = dns.Static{} }, want: "error domain_missing", gone: "error spf_missing", spoofable: mailauth.Yes, says: "does not exist"},
		// SPF.
		{name: "SPF open", do: txt("example.com", "v=spf1 +all"), want: "error spf_pass_all", spoofable: mailauth.Yes, says: "every address"},
		{name: "SPF missing", do: txt("example.com", "x"), want: "error spf_missing", says: "no SPF record"},
		{name: "SPF broken", do: txt("example.com", "v=spf1 a:x -all"), want: "error spf_syntax", says: "is broken"},
		{name: "SPF down", do: func(r *dns.Static) { r.Fail = []string{"txt example.com"} }, want: "unknown spf_unknown", says: "SPF could not be judged"},
		// DKIM.
		{name: "short", do: key("v=DKIM1; p=" + publicKey(768)), want: "error dkim_weak", spoofable: mailauth.Yes, says: "so short"},
		{name: "1024", do: key("v=DKIM1; p=" + publicKey(1024)), want: "warning dkim_weak", spoofable: mailauth.No},
		{name: "8192", do: key("v=DKIM1; p=" + publicKey(8192)), want: "warning dkim_large"},
		{name: "PKCS1", do: func(r *dns.Static) {
			der := x509.MarshalPKCS1PublicKey(&rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 2047, 1), E: 3})
			key("p=" + base64.RawStdEncoding.EncodeToString(der))(r)
		}, want: "ok dkim_ok", gone: "error dkim_key"},
		{name: "cut off", do: func(r *dns.Static) { key(("v=DKIM1; k=rsa; p=" + publicKey(2048))[:255])(r) }, want: "error dkim_key"},
		{name: "not base64", do: key("v=DKIM1; p=AA*"), want: "error dkim_key"},
		{name: "PEM", do: key("v=DKIM1; p=-----BEGIN PUBLIC KEY-----AAAA"), want: "error dkim_key"},
		{name: "Ed25519 wrapped", do: key("v=DKIM1; k=ed25519; p=MCowBQYDK2VwAyEA" + edKey()), want: "error dkim_key"},
		{name: "type", do: key("v=DKIM1; k=dsa; p=AAAA"), want: "error dkim_type"},
		{name: "no p", do: key("v=DKIM1; k=rsa"), want: "error dkim_no_key"},
		{name: "revoked", do: key("v=DKIM1; p="), want: "info dkim_revoked"},
		{name: "testing", do: key("v=DKIM1; t=s:y; p=" + publicKey(2048)), want: "warning dkim_testing"},
		{name: "sha1", do: key("v=DKIM1; h=sha1; p=" + publicKey(2048)), want: "error dkim_hash"},
		{name: "sha256", do: key("v=DKIM1; h=sha1:sha256; s=tlsrpt : email; p=" + publicKey(2048)), want: "ok dkim_ok", gone: "error dkim_hash"},
		{name: "service", do: key("v=DKIM1; s=tlsrpt; p=" + publicKey(2048)), want: "error dkim_service"},
		{name: "quotes", do: key(`"v=DKIM1; p=AAAA" "BBBB"`), want: "error dkim_quoted"},
		{name: "version", do: key("v=dkim1; p=" + publicKey(2048)), want: "error dkim_version"},
		{name: "version late", do: key("k=rsa; v=DKIM1; p=" + publicKey(2048)), want: "error dkim_version"},
		{name: "semicolons", do: key("v=DKIM1 k=rsa p=" + publicKey(2048)), want: "error dkim_syntax"},
		{name: "twice", do: key("v=DKIM1; p=; p=" + publicKey(2048)), want: "error dkim_syntax"},
		{name: "no tags", do: key("hello"), want: "error dkim_syntax"},
		{name: "two records", do: key("v=DKIM1; p=", "x"), want: "error dkim_several"},
		{name: "asked for and there", do: func(*dns.Static) {}, selectors: s1, want: "ok dkim_ok"},
		{name: "asked for and missing", do: func(*dns.Static) {}, selectors: []string{"s1", "nope"}, want: "error dkim_missing"},
		{name: "asked for and down", do: func(r *dns.Static) { r.Fail = []string{"s1._domainkey.example.com"} }, selectors: s1, want: "unknown dns_unknown", gone: "error dkim_missing"},
		{name: "all selectors down", do: func(r *dns.Static) {
			r.Fail = []string{"txt postern-asks-for-a-selector-that-is-not-there._domainkey.example.com"}
		}, want: "unknown dns_unknown", gone: "ok dkim_ok"},
		{name: "one common selector down", do: func(r *dns.Static) { r.Fail = []string{"s2._domainkey.example.com"} }, want: "unknown dns_unknown", gone: "info dkim_not_found"},
		{name: "dangling", do: func(r *dns.Static) {
			key()(r)
			r.CNAMEs = map[string]string{"s1._domainkey.example.com": "gone.esp.test"}
		}, want: "error dkim_dangling"},
		{name: "none of the common", do: func(r *dns.Static) {
			key()(r)
			txt("s1e._domainkey.example.com")(r)
		}, want: "info dkim_not_found", says: "no DKIM key was found under the common selectors"},
		{name: "Ed25519 alone", do: key(), want: "info dkim_ed25519_only"},
		{name: "Ed25519 alone, all selectors given", do: func(*dns.Static) {}, selectors: []string{"s1e"}, want: "warning dkim_ed25519_only"},
		// DMARC.
		{name: "no policy", do: dmarc(), want: "warning dmarc_missing", spoofable: mailauth.Yes, says: "no DMARC policy"},
		{name: "none", do: dmarc("v=DMARC1; p=none"), want: "warning dmarc_none", spoofable: mailauth.Yes, says: "is none"},
		{name: "quarantine", do: dmarc("v=DMARC1; p=quarantine"), want: "ok dmarc_policy", spoofable: mailauth.Partly, says: "spam folder"},
		{name: "test", do: dmarc("v=DMARC1; p=reject; t=y"), want: "info dmarc_test", spoofable: mailauth.Partly},
		{name: "test of quarantine", do: dmarc("v=DMARC1; p=quarantine; t=y"), want: "info dmarc_test", spoofable: mailauth.Yes, says: "amounts to none"},
		{name: "no reports", do: dmarc("v=DMARC1; p=reject"), want: "info dmarc_no_reports"},
		{name: "obsolete", do: dmarc("v=DMARC1; p=reject; pct=50"), want: "warning dmarc_obsolete"},
		{name: "two policies", do: dmarc("v=DMARC1; p=reject", "v=DMARC1; p=none"), want: "error dmarc_several", spoofable: mailauth.Yes},
		{name: "subdomains", do: dmarc("v=DMARC1; p=reject; sp=none"), want: "warning dmarc_subdomains", spoofable: mailauth.No, says: "does not hold for names below"},
		{name: "names that are not there", do: dmarc("v=DMARC1; p=reject; np=none"), want: "warning dmarc_subdomains"},
		{name: "policy down", do: func(r *dns.Static) { r.Fail = []string{"_dmarc.example.com"} }, want: "unknown dns_unknown", spoofable: mailauth.Unclear, says: "could not be told"},
		{name: "reports refused", do: dmarc("v=DMARC1; p=reject; rua=mailto:a@reports.test!10m"), want: "warning dmarc_report_refused"},
		{name: "reports accepted", do: func(r *dns.Static) {
			dmarc("v=DMARC1; p=reject; rua=mailto:a@reports.test, mailto:b@sub.example.com")(r)
			r.TXTs["example.com._report._dmarc.reports.test"] = []string{"v=DMARC1"}
		}, want: "ok dmarc_policy", gone: "warning dmarc_report_refused"},
		{name: "authorisation down", do: func(r *dns.Static) {
			dmarc("v=DMARC1; p=reject; rua=mailto:a@reports.test")(r)
			r.Fail = []string{"example.com._report._dmarc.reports.test"}
		}, want: "unknown dns_unknown", gone: "warning dmarc_report_refused"},
		{name: "parked", do: func(r *dns.Static) {
			r.MXs["example.com"] = []dns.MX{{Host: "."}}
			txt("example.com", "v=spf1 -all")(r)
			dmarc("v=DMARC1; p=none")(r)
			key()(r)
			txt("s1e._domainkey.example.com")(r)
		}, want: "info dmarc_parked", says: "sends no mail"},
		// Transport, logo.
		{name: "no MTA-STS", do: txt("_mta-sts.example.com"), want: "info mta_sts_missing"},
		{name: "MTA-STS down", do: func(r *dns.Static) { r.Fail = []string{"_mta-sts.example.com"} }, want: "unknown dns_unknown", gone: "info mta_sts_missing"},
		{name: "MTA-STS id", do: txt("_mta-sts.example.com", "v=STSv1; id=2026-01"), want: "error mta_sts_syntax"},
		{name: "MTA-STS twice", do: txt("_mta-sts.example.com", "v=STSv1; id=1", "v=STSv1; id=2"), want: "error mta_sts_several"},
		{name: "MTA-STS misspelt", do: txt("_mta-sts.example.com", "v=stsv1; id=1"), want: "error mta_sts_misspelt"},
		{name: "no TLS-RPT", do: txt("_smtp._tls.example.com"), want: "info tls_rpt_missing"},
		{name: "TLS-RPT", do: txt("_smtp._tls.example.com", "v=TLSRPTv1; rua=tls@example.com"), want: "error tls_rpt_syntax"},
		{name: "TLS-RPT quoted", do: txt("_smtp._tls.example.com", `"v=TLSRPTv1; rua=mailto:x@example.com"`), want: "error tls_rpt_misspelt"},
		{name: "no BIMI", do: txt("default._bimi.example.com"), want: "info bimi_missing"},
		{name: "BIMI", do: txt("default._bimi.example.com", "v=BIMI1; l=http://example.com/x.svg"), want: "error bimi_syntax"},
		{name: "BIMI without policy", do: dmarc("v=DMARC1; p=none"), want: "warning bimi_policy"},
		{name: "no DANE", do: func(r *dns.Static) { r.TLSAs = nil }, want: "info dane_missing"},
		{name: "DANE at one", do: func(r *dns.Static) { delete(r.TLSAs, "_25._tcp.mx2.example.com") }, want: "warning dane_partial"},
		{name: "DANE down", do: func(r *dns.Static) { r.Fail = []string{"tlsa _25._tcp.mx2.example.com"} }, want: "unknown dns_unknown"},
		{name: "DANE insecure", do: func(r *dns.Static) { r.Insecure = []string{"mx example.com"} }, want: "info dane_insecure", gone: "ok dane_ok"},
		{name: "DANE usage", do: func(r *dns.Static) { r.TLSAs["_25._tcp.mx2.example.com"][0].Usage = 1 }, want: "warning dane_usage"},
		{name: "not signed", do: func(r *dns.Static) { r.Insecure = []string{"txt example.com"} }, want: "info dnssec_insecure"},
		{name: "nobody validates", do: func(r *dns.Static) { r.Secure = false }, want: "info dnssec_unknown", gone: "info dnssec_insecure"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := good()
			tt.do(r)
			rep := look(r, "example.com", tt.selectors...)
			got := codes(rep)
			if !slices.Contains(got, tt.want) || tt.gone != "" && slices.Contains(got, tt.gone) {
				t.Errorf("got %q, want %q and not %q", got, tt.want, tt.gone)
			}
			if tt.spoofable != "" && rep.Spoofable != tt.spoofable || !strings.Contains(strings.Join(rep.Verdict, " "), tt.says) {
				t.Errorf("%s: %q; want %s, %q", rep.Spoofable, rep.Verdict, tt.spoofable, tt.says)
			}
			if b, err := json.Marshal(rep); err != nil || strings.Contains(string(b), `"findings":null`) {
				t.Errorf("%v: %s", err, b)
			}
			for _, a := range rep.Areas() {
				for _, f := range a.Findings {
					if f.Text == "" || f.Record == "" || f.Severity == finding.Error && f.Fix == "" {
						t.Errorf("%s: finding %+v", a.Name, f)
					}
				}
			}
		})
	}
}

func TestWildcard(t *testing.T) {
	t.Parallel()
	for wild, want := range map[string]string{"v=spf1 -all": "info dkim_not_found", "v=DKIM1; p=": "info dkim_not_found"} {
		r := wildcard{good(), wild}
		r.MXs["example.net"] = r.MXs["example.com"]
		rep := look(r, "example.net")
		if got := codes(rep); !slices.Contains(got, "warning dkim_wildcard") || !slices.Contains(got, want) || len(rep.DKIM.Keys) != 0 {
			t.Errorf("%q: %q, %d keys", wild, got, len(rep.DKIM.Keys))
		}
		if rep := look(r, "example.net", "real"); !slices.Contains(codes(rep), "error dkim_missing") {
			t.Errorf("%q", codes(rep))
		}
	}
}

// wildcard answers about every name below example.net.
type wildcard struct {
	*dns.Static
	value string
}

func (w wildcard) TXT(ctx context.Context, name string) ([]string, bool, error) {
	if strings.HasSuffix(name, ".example.net") {
		return []string{w.value}, false, nil
	}
	return w.Static.TXT(ctx, name)
}

func TestNames(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Example.COM.": "example.com ", "bücher.example": "xn--bcher-kva.example bücher.example", "XN--BCHER-KVA.example": "xn--bcher-kva.example bücher.example",
		"_x.example.com": "_x.example.com ", " example.com ": "example.com ", "faß.example": "xn--fa-hia.example faß.example",
		"": "!", "example": "!", "a..b": "!", "a b.example": "!", "exa\x1bmple.com": "!", strings.Repeat("x", 64) + ".example": "!", strings.Repeat("x.", 130) + "com": "!",
		"[192.0.2.1]": "!", "a/b.example": "!", "user@example.com": "!", "\u202eexample.com": "!",
	} {
		ascii, unicode, err := mailauth.Name(in)
		if got := ascii + " " + unicode; (err != nil) != (want == "!") || err == nil && got != want {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
		if rep := look(good(), in); (want == "!") != (codes(rep)[0] == "error domain_name") {
			t.Errorf("%q: %v", in, codes(rep))
		}
	}
	r := good()
	r.TXTs["_dmarc.xn--bcher-kva.example"] = []string{"v=DMARC1; p=none"}
	if rep := look(r, "bücher.example"); !strings.Contains(rep.Verdict[0], "bücher.example (xn--bcher-kva.example)") {
		t.Errorf("%q", rep.Verdict)
	}
}

// hostile answers every question with what a terminal or a reader would choke on.
type hostile struct {
	mu sync.Mutex
	n  int
}

const evil = "\x1b]0;x\a\u202e\r\n\u0085<script>\xff "

func (h *hostile) count() {
	h.mu.Lock()
	h.n++
	h.mu.Unlock()
}

func (h *hostile) TXT(_ context.Context, name string) ([]string, bool, error) {
	h.count()
	var out []string
	for _, version := range []string{"v=spf1 include:", "v=DMARC1; p=none; rua=mailto:x@", "v=DKIM1; p=", "v=STSv1; id=", "\"v=TLSRPTv1;", "v=BIMI1;"} {
		if strings.HasPrefix(name, "_dmarc") != strings.HasPrefix(version, "v=DMARC1") {
			continue
		}
		out = append(out, version+evil+strings.Repeat("x"+evil, 2000))
	}
	return out, false, nil
}

func (h *hostile) MX(context.Context, string) ([]dns.MX, bool, error) {
	h.count()
	return slices.Repeat([]dns.MX{{Host: "mx.test"}}, 200), false, nil
}

func (h *hostile) Addr(context.Context, string) ([]netip.Addr, bool, error) {
	h.count()
	return slices.Repeat([]netip.Addr{addr("127.0.0.1")}, 10), false, nil
}

func (h *hostile) CNAME(context.Context, string) (string, bool, error) {
	h.count()
	return evil + "a.test", false, nil
}

func (h *hostile) PTR(context.Context, netip.Addr) ([]string, bool, error) {
	return nil, false, dns.ErrNoData
}
func (h *hostile) NS(context.Context, string) ([]string, bool, error) {
	return nil, false, dns.ErrNoData
}
func (h *hostile) TLSA(context.Context, string) ([]dns.TLSA, bool, error) {
	h.count()
	return slices.Repeat([]dns.TLSA{{Usage: 9, Data: make([]byte, 9999)}}, 200), false, nil
}

// RX-13: what strangers publish is bounded and cannot move a cursor.
func TestHostile(t *testing.T) {
	t.Parallel()
	h := &hostile{}
	rep := look(h, "example.com", slices.Repeat([]string{"s" + evil, "s1"}, 200)...)
	if h.n > 400 {
		t.Errorf("%d questions", h.n)
	}
	for _, a := range rep.Areas() {
		if len(a.Findings) > 100 {
			t.Errorf("%s: %d findings", a.Name, len(a.Findings))
		}
		for _, f := range a.Findings {
			if strings.ContainsAny(f.Text+f.Fix, "\x1b\u202e\r\n\a\u0085") || len(f.Text) > 3000 || len(f.Found) > 50000 {
				t.Errorf("%s: %.300q", f.Code, f.Text+f.Fix)
			}
		}
	}
	if s := strings.Join(rep.Verdict, ""); strings.ContainsAny(s, "\x1b\u202e") {
		t.Errorf("%q", s)
	}
	b, err := json.Marshal(rep)
	if err != nil || len(b) > 2<<20 {
		t.Errorf("%d octets, %v", len(b), err)
	}
}

func TestGivesUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var mu sync.Mutex
	var said []string
	rep := mailauth.Look(ctx, mailauth.Options{Resolver: good(), Domain: "example.com", Progress: func(s string) {
		mu.Lock()
		defer mu.Unlock()
		said = append(said, s)
	}})
	if rep.Spoofable != mailauth.Unclear || rep.Worst() != finding.Unknown {
		t.Errorf("%s: %q", rep.Spoofable, codes(rep))
	}
	if len(said) != 9 {
		t.Errorf("progress %q", said)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	rep := mailauth.Look(context.Background(), mailauth.Options{Resolver: good(), Domain: "example.com", Addrs: []netip.Addr{addr("198.51.100.7"), addr("203.0.113.1")}})
	if got := fmt.Sprint(rep.SPF.Senders); got != "[{198.51.100.7 pass a term ip4 or ip6 names it} {203.0.113.1 fail no term but “all” matches}]" {
		t.Error(got)
	}
	if rep.Worst() != finding.Error {
		t.Error(codes(rep))
	}
}

// FuzzKey: whatever a selector publishes, the report stands.
func FuzzKey(f *testing.F) {
	for _, s := range []string{"v=DKIM1; k=rsa; p=" + publicKey(1024), "v=DKIM1; k=ed25519; h=sha1:sha256; s=*; t=y; p=AAAA", "p=", "v=DKIM1 p=x", `"v=DKIM1; p=" "x"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := &dns.Static{TXTs: map[string][]string{"s1._domainkey.example.com": {s}, "example.com": {"x"}}}
		rep := look(r, "example.com", "s1")
		if len(rep.DKIM.Keys) != 1 || len(rep.DKIM.Findings) == 0 {
			t.Fatalf("%+v", rep.DKIM)
		}
		if k := rep.DKIM.Keys[0]; k.Usable && (k.Bits == 0 || k.Revoked) {
			t.Fatalf("%+v", k)
		}
	})
}
