package dmarc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"postern/internal/dns"
	"postern/internal/finding"
)

// forecast is a Forecast in short: policy, SPF, DKIM; then the same by the Public
// Suffix List where it differs.
func forecast(f Forecast) string {
	word := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	out := fmt.Sprintf("%s %s %s", word(string(f.Policy)), word(string(f.SPF)), word(string(f.DKIM)))
	if f.PSLDiffers {
		out += fmt.Sprintf(" | %s %s %s", word(string(f.PSLPolicy)), word(string(f.PSLSPF)), word(string(f.PSLDKIM)))
	}
	return out
}

func TestPredict(t *testing.T) {
	t.Parallel()
	mail := func(author, path string, signers ...string) Mail { return Mail{author, path, signers} }
	for _, tt := range []struct {
		name    string
		records map[string]string
		mail    Mail
		want    string
		codes   string // of the findings that are not ok
	}{
		// What postern is set up for: the return path below the domain, d= the domain.
		{"as it should be", map[string]string{"example.com": "v=DMARC1; p=reject; rua=mailto:a@example.com"}, mail("example.com", "em1.example.com", "example.com"), "reject relaxed strict", ""},
		{"both the same", map[string]string{"example.com": "v=DMARC1; p=reject; rua=mailto:a@example.com"}, mail("Example.COM.", "user@Example.com", "EXAMPLE.com"), "reject strict strict", ""},
		{"no policy: as if there were one", nil, mail("example.com", "em1.example.com", "example.com"), "- relaxed strict", "dmarc_missing"},
		{"no policy, and strangers sign", nil, mail("example.com", "esp.test", "esp.test"), "- - -", "dmarc_missing spf_unaligned dkim_unaligned dmarc_unaligned"},
		{"strict SPF", map[string]string{"example.com": "v=DMARC1; p=none; aspf=s; rua=mailto:a@example.com"}, mail("example.com", "em1.example.com", "example.com"), "none - strict", "spf_unaligned"},
		{"strict DKIM", map[string]string{"example.com": "v=DMARC1; p=none; adkim=s; rua=mailto:a@example.com"}, mail("example.com", "em1.example.com", "mail.example.com"), "none relaxed -", "dkim_unaligned"},
		{"the best of the signers", map[string]string{"example.com": "v=DMARC1; p=none; rua=mailto:a@example.com"}, mail("example.com", "", "esp.test", "x.example.com", "example.com", "esp.test"), "none - strict", "spf_unaligned"},
		{"a null return path, no signature", map[string]string{"example.com": "v=DMARC1; p=reject; rua=mailto:a@example.com"}, mail("example.com", ""), "reject - -", "spf_unaligned dkim_unaligned dmarc_unaligned"},
		{"identifiers that are no names", map[string]string{"example.com": "v=DMARC1; p=reject; rua=mailto:a@example.com"}, mail("example.com", "..", "a b.example.com"), "reject - -", "spf_unaligned dkim_unaligned dmarc_unaligned"},
		{"a subdomain under its parent's policy", map[string]string{"example.com": "v=DMARC1; p=reject; sp=quarantine; rua=mailto:a@example.com"}, mail("mail.example.com", "em1.mail.example.com", "example.com"), "quarantine relaxed relaxed", ""},
		// reference: older receivers decide otherwise, and both are shown.
		{"no record anywhere: a parent's signature aligns by the list only", nil, mail("mail.example.com", "mail.example.com", "example.com"), "- strict - | - strict relaxed", "dmarc_missing dkim_unaligned dmarc_psl"},
		{"a suffix with a record without psd", map[string]string{"co.uk": "v=DMARC1; p=reject; rua=mailto:a@co.uk"}, mail("shop.co.uk", "em1.shop.co.uk", "shop.co.uk"), "reject relaxed strict | - relaxed strict", "dmarc_psl"},
		{"names below such a suffix align with each other", map[string]string{"co.uk": "v=DMARC1; p=reject; rua=mailto:a@co.uk"}, mail("shop.co.uk", "other.co.uk", "other.co.uk"), "reject relaxed relaxed | - - -", "dmarc_psl"},
		{"psd=n below the organization", map[string]string{"dept.example.com": "v=DMARC1; p=none; psd=n; rua=mailto:a@example.com", "example.com": "v=DMARC1; p=reject"},
			mail("dept.example.com", "example.com", "dept.example.com"), "none - strict | none relaxed strict", "spf_unaligned dmarc_psl"},
		{"np counts for newer receivers only", map[string]string{"example.com": "v=DMARC1; p=none; np=reject; rua=mailto:a@example.com"}, mail("no.example.com", "no.example.com", "no.example.com"), "reject strict strict | none strict strict", "dmarc_psl"},
		{"psd=y", map[string]string{"bank": "v=DMARC1; p=reject; psd=y; rua=mailto:a@reg.bank"}, mail("shop.bank", "em1.shop.bank", "shop.bank"), "reject relaxed strict | - relaxed strict", "dmarc_psl"},
		{"psd=y at the author domain", map[string]string{"gov.test": "v=DMARC1; p=reject; psd=y; rua=mailto:a@gov.test"}, mail("gov.test", "a.gov.test", "gov.test"), "reject - strict | reject relaxed strict", "dmarc_psd spf_unaligned dmarc_psl"},
		// Voids, and why.
		{"several records", map[string]string{"example.com": "v=DMARC1; p=reject|v=DMARC1; p=none"}, mail("example.com", "example.com", "example.com"), "- strict strict", "dmarc_several dmarc_missing"},
		{"an invalid record", map[string]string{"example.com": "v=DMARC1; p=rejekt"}, mail("example.com", "example.com", "example.com"), "- strict strict", "dmarc_invalid dmarc_missing"},
		{"a record in quotes", map[string]string{"example.com": `"v=DMARC1; p=reject"`}, mail("example.com", "example.com", "example.com"), "- strict strict", "dmarc_start dmarc_missing"},
		{"in small letters", map[string]string{"example.com": "v=dmarc1; p=reject"}, mail("example.com", "example.com", "example.com"), "- strict strict", "dmarc_start dmarc_missing"},
		{"another text there", map[string]string{"example.com": "hello"}, mail("example.com", "example.com", "example.com"), "- strict strict", "dmarc_missing"},
		{"void below a parent that has one", map[string]string{"a.example.com": "v=DMARC1", "example.com": "v=DMARC1; p=reject; rua=mailto:a@example.com"}, mail("a.example.com", "a.example.com", "a.example.com"), "reject strict strict", "dmarc_invalid"},
		// Tags.
		{"what was removed", map[string]string{"example.com": "v=DMARC1; p=none; pct=20; rf=afrf; ri=3600; rua=mailto:a@example.com"}, mail("example.com", "example.com", "example.com"), "none strict strict", "dmarc_obsolete dmarc_obsolete dmarc_obsolete"},
		{"what is unknown", map[string]string{"example.com": "v=DMARC1; p=none; future=1; rua=mailto:a@example.com"}, mail("example.com", "example.com", "example.com"), "none strict strict", "dmarc_tag"},
		{"test mode, no reports", map[string]string{"example.com": "v=DMARC1; p=reject; t=y"}, mail("example.com", "example.com", "example.com"), "reject strict strict", "dmarc_test dmarc_no_reports"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, err := Predict(context.Background(), zone(tt.records), tt.mail)
			if err != nil {
				t.Fatal(err)
			}
			if got := forecast(f); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			var codes []string
			for _, one := range f.Findings {
				if one.Severity != finding.OK {
					codes = append(codes, one.Code)
				}
				if one.Text == "" || one.Code == "" || one.Record == "" || !strings.HasSuffix(one.Text, ".") {
					t.Errorf("finding %+v", one)
				}
			}
			if got := strings.Join(codes, " "); got != tt.codes {
				t.Errorf("findings %s, want %s", got, tt.codes)
			}
			// A message that is sent so, and whose checks pass, is judged as it was foretold.
			if f.Record == nil {
				return
			}
			in := Input{Author: tt.mail.Author, SPF: Check{Domain: tt.mail.ReturnPath[strings.LastIndexByte(tt.mail.ReturnPath, '@')+1:], Pass: true}}
			for _, s := range tt.mail.Signers {
				in.DKIM = append(in.DKIM, Check{Domain: s, Pass: true})
			}
			if res := Evaluate(context.Background(), zone(tt.records), in); res.SPF != (f.SPF != MatchNone) || res.DKIM != (f.DKIM != MatchNone) || res.Policy != f.Policy {
				t.Errorf("foretold %s, judged %+v", forecast(f), res)
			}
		})
	}
}

// How bad it is depends on the policy.
func TestPredictSeverity(t *testing.T) {
	t.Parallel()
	for record, want := range map[string]finding.Severity{"v=DMARC1; p=none": finding.Warning, "v=DMARC1; p=quarantine": finding.Error, "v=DMARC1; p=reject": finding.Error} {
		f, err := Predict(context.Background(), zone(map[string]string{"example.com": record}), Mail{"example.com", "esp.test", []string{"esp.test"}})
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(f.Findings, func(f finding.Finding) bool { return f.Code == "dmarc_unaligned" })
		if i < 0 || f.Findings[i].Severity != want {
			t.Errorf("%s: %+v", record, f.Findings)
		}
	}
}

func TestPredictFails(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fail string
		mail Mail
		want error
	}{
		"the author's policy":           {"txt _dmarc.example.com", Mail{Author: "example.com"}, dns.ErrTemporary},
		"where a signer belongs":        {"txt _dmarc.a.example.com", Mail{Author: "example.com", Signers: []string{"a.example.com"}}, dns.ErrTemporary},
		"where the return path belongs": {"txt _dmarc.a.example.com", Mail{Author: "example.com", ReturnPath: "a.example.com"}, dns.ErrTemporary},
		"no name":                       {"", Mail{Author: "a b"}, dns.ErrBadName},
	} {
		r := zone(map[string]string{"example.com": "v=DMARC1; p=reject"})
		r.Fail = []string{tt.fail}
		if f, err := Predict(context.Background(), r, tt.mail); !errors.Is(err, tt.want) {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
}

// Many signers cost no more look-ups than a message may cause.
func TestPredictIsBounded(t *testing.T) {
	t.Parallel()
	r := &counting{Resolver: zone(map[string]string{"example.com": "v=DMARC1; p=reject"})}
	m := Mail{Author: "example.com", ReturnPath: "x.example.com"}
	for i := range 1000 {
		m.Signers = append(m.Signers, fmt.Sprintf("1.2.3.4.5.6.7.8.9.n%d.example.com", i))
	}
	if _, err := Predict(context.Background(), r, m); err != nil {
		t.Fatal(err)
	}
	if most := maxQueries*(2+maxSignatures) + 4; len(r.asked) > most {
		t.Errorf("asked %d times, want at most %d", len(r.asked), most)
	}
}

func TestListOrganizational(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"example.com": "example.com", "a.b.Example.com.": "example.com", "shop.co.uk": "shop.co.uk", "a.shop.co.uk": "shop.co.uk", "co.uk": "co.uk", "com": "com",
		"a.b.unlisted": "b.unlisted", "": "",
	} {
		if got := ListOrganizational(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
