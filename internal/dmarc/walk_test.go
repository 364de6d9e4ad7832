package dmarc

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"postern/internal/dns"
)

// zone makes a resolver that knows policy records by the name they are for.
func zone(records map[string]string, exist ...string) *dns.Static {
	r := &dns.Static{TXTs: map[string][]string{}, MXs: map[string][]dns.MX{}}
	for name, record := range records {
		r.TXTs["_dmarc."+name] = strings.Split(record, "|")
	}
	for _, name := range exist {
		r.MXs[name] = []dns.MX{{Host: "mx." + name}}
	}
	return r
}

// counting counts TXT look-ups and remembers their names.
type counting struct {
	dns.Resolver
	asked []string
}

func (c *counting) TXT(ctx context.Context, name string) ([]string, bool, error) {
	c.asked = append(c.asked, name)
	return c.Resolver.TXT(ctx, name)
}

func TestWalkAsks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		records map[string]string
		want    string // the names asked about, without _dmarc.
	}{
		{"example.com", nil, "example.com com"},
		{"com", nil, "com"},
		{"a.b.example.com", nil, "a.b.example.com b.example.com example.com com"},
		// 7 labels: one less each time.
		{"a.b.c.d.e.example.com", nil, "a.b.c.d.e.example.com b.c.d.e.example.com c.d.e.example.com d.e.example.com e.example.com example.com com"},
		// 8 labels and more: the rightmost 7 come second, so that 8 queries do.
		{"a.b.c.d.e.f.example.com", nil, "a.b.c.d.e.f.example.com b.c.d.e.f.example.com c.d.e.f.example.com d.e.f.example.com e.f.example.com f.example.com example.com com"},
		{"a.b.c.d.e.f.g.h.i.j.mail.example.com", nil, "a.b.c.d.e.f.g.h.i.j.mail.example.com g.h.i.j.mail.example.com h.i.j.mail.example.com i.j.mail.example.com j.mail.example.com mail.example.com example.com com"},
		{"1.2.3.4.5.6.7.example.com", nil, "1.2.3.4.5.6.7.example.com 3.4.5.6.7.example.com 4.5.6.7.example.com 5.6.7.example.com 6.7.example.com 7.example.com example.com com"},
		{"1.2.3.4.5.6.7.example.com", map[string]string{"3.4.5.6.7.example.com": "v=DMARC1; p=none; psd=n"}, "1.2.3.4.5.6.7.example.com 3.4.5.6.7.example.com"},
		// psd=y and psd=n end the walk, another record does not.
		{"a.example.com", map[string]string{"a.example.com": "v=DMARC1; p=none; psd=u"}, "a.example.com example.com com"},
		{"a.example.com", map[string]string{"a.example.com": "v=DMARC1; p=none; psd=n"}, "a.example.com"},
		{"a.example.com", map[string]string{"example.com": "v=DMARC1; p=none; psd=y"}, "a.example.com example.com"},
		{"a.example.com", map[string]string{"example.com": "v=DMARC1; p=none"}, "a.example.com example.com com"},
		{"a.example.com", map[string]string{"example.com": "v=DMARC1; p=nonsense; psd=n"}, "a.example.com example.com com"},
		{"a.example.com", map[string]string{"example.com": "v=DMARC1; p=none; psd=n|v=DMARC1; p=none; psd=n"}, "a.example.com example.com com"},
	} {
		r := &counting{Resolver: zone(tt.records)}
		if _, err := walk(context.Background(), r, tt.name); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		got := strings.ReplaceAll(strings.Join(r.asked, " "), "_dmarc.", "")
		if got != tt.want || len(r.asked) > maxQueries {
			t.Errorf("%s: asked %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

func TestDiscover(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, author string
		records      map[string]string
		exist        []string
		want         string // organizational domain, where the record is, policy
	}{
		{"nothing at all", "mail.example.com", nil, nil, "mail.example.com - -"},
		{"its own record", "example.com", map[string]string{"example.com": "v=DMARC1; p=reject; sp=none"}, nil, "example.com example.com reject"},
		{"of the organizational domain, name exists", "mail.example.com", map[string]string{"example.com": "v=DMARC1; p=none; sp=quarantine; np=reject"},
			[]string{"mail.example.com"}, "example.com example.com quarantine"},
		{"an empty non-terminal exists", "mail.example.com", map[string]string{"example.com": "v=DMARC1; p=none; sp=quarantine; np=reject"},
			[]string{"x.mail.example.com"}, "example.com example.com quarantine"},
		{"of the organizational domain, name does not exist", "no.example.com", map[string]string{"example.com": "v=DMARC1; p=none; sp=quarantine; np=reject"},
			nil, "example.com example.com reject"},
		{"np falls back to sp", "no.example.com", map[string]string{"example.com": "v=DMARC1; p=none; sp=quarantine"}, nil, "example.com example.com quarantine"},
		{"np falls back to p", "no.example.com", map[string]string{"example.com": "v=DMARC1; p=reject"}, nil, "example.com example.com reject"},
		{"sp falls back to p, not to np", "is.example.com", map[string]string{"example.com": "v=DMARC1; p=reject; np=none"}, []string{"is.example.com"}, "example.com example.com reject"},
		{"own record before the parent's", "mail.example.com", map[string]string{"example.com": "v=DMARC1; p=reject", "mail.example.com": "v=DMARC1; p=none"},
			nil, "example.com mail.example.com none"},
		{"the fewest labels are the organizational domain; records between do not count", "a.b.example.com",
			map[string]string{"b.example.com": "v=DMARC1; p=none", "example.com": "v=DMARC1; p=reject"}, nil, "example.com example.com reject"},
		{"psd=n below: the parent's record does not apply", "a.dept.example.com",
			map[string]string{"dept.example.com": "v=DMARC1; p=quarantine; psd=n", "example.com": "v=DMARC1; p=reject"}, nil, "dept.example.com dept.example.com quarantine"},
		{"psd=n at the author domain", "example.com", map[string]string{"example.com": "v=DMARC1; p=none; psd=n"}, nil, "example.com example.com none"},
		{"psd=y above: one label below it", "a.b.giant.gov.test", map[string]string{"gov.test": "v=DMARC1; p=reject; psd=y"}, nil, "giant.gov.test gov.test reject"},
		{"psd=y above, np", "fake.gov.test", map[string]string{"gov.test": "v=DMARC1; p=none; np=reject; psd=y"}, nil, "fake.gov.test gov.test reject"},
		{"psd=y above and a record of the organizational domain", "a.giant.gov.test",
			map[string]string{"gov.test": "v=DMARC1; p=reject; psd=y", "giant.gov.test": "v=DMARC1; p=none"}, nil, "giant.gov.test giant.gov.test none"},
		{"psd=y at the author domain itself", "gov.test", map[string]string{"gov.test": "v=DMARC1; p=reject; psd=y"}, nil, "gov.test gov.test reject"},
		{"psd=y between: what is above is not seen", "a.b.gov.test", map[string]string{"b.gov.test": "v=DMARC1; p=none; psd=y", "test": "v=DMARC1; p=reject"}, nil, "a.b.gov.test b.gov.test none"},
		{"a public suffix with a record without psd is a parent like any other", "shop.co.uk", map[string]string{"co.uk": "v=DMARC1; p=reject"}, nil, "co.uk co.uk reject"},
		{"a top-level domain is asked", "shop.bank", map[string]string{"bank": "v=DMARC1; p=reject; psd=y"}, nil, "shop.bank bank reject"},
		{"two records are none", "example.com", map[string]string{"example.com": "v=DMARC1; p=reject|v=DMARC1; p=none"}, nil, "example.com - -"},
		{"an invalid one beside a valid one is two", "example.com", map[string]string{"example.com": "v=DMARC1; p=reject|v=DMARC1; p=nix"}, nil, "example.com - -"},
		{"other records beside it do not matter", "example.com", map[string]string{"example.com": "v=spf1 -all|v=DMARC1; p=reject|hello"}, nil, "example.com example.com reject"},
		{"a record that the walk jumps over does not count", "1.2.3.4.5.6.7.example.com",
			map[string]string{"2.3.4.5.6.7.example.com": "v=DMARC1; p=reject; psd=n", "example.com": "v=DMARC1; p=none"}, nil, "example.com example.com none"},
		{"its own record, however many labels", "1.2.3.4.5.6.7.example.com", map[string]string{"1.2.3.4.5.6.7.example.com": "v=DMARC1; p=reject"}, nil,
			"1.2.3.4.5.6.7.example.com 1.2.3.4.5.6.7.example.com reject"},
		{"psd=y above eight labels", "1.2.3.4.5.6.7.gov.test", map[string]string{"gov.test": "v=DMARC1; p=none; sp=reject; psd=y"}, []string{"1.2.3.4.5.6.7.gov.test"}, "7.gov.test gov.test reject"},
		{"no valid p, somebody to report to: none", "example.com", map[string]string{"example.com": "v=DMARC1; rua=mailto:a@example.com"}, nil, "example.com example.com none"},
		{"no valid p, nobody to report to: void", "example.com", map[string]string{"example.com": "v=DMARC1; sp=reject"}, nil, "example.com - -"},
		{"void: the parent's applies, and the name is no organization", "a.example.com", map[string]string{"a.example.com": "v=DMARC1; psd=n", "example.com": "v=DMARC1; p=reject"}, nil, "example.com example.com reject"},
		{"psd=u says nothing", "a.example.com", map[string]string{"a.example.com": "v=DMARC1; p=none; psd=u", "example.com": "v=DMARC1; p=reject"}, nil, "example.com a.example.com none"},
		{"eleven labels", "a.b.c.d.e.f.g.h.mail.example.com", map[string]string{"example.com": "v=DMARC1; p=reject"}, nil, "example.com example.com reject"},
		{"upper case and a dot", "MAIL.Example.COM.", map[string]string{"example.com": "v=DMARC1; p=reject"}, nil, "example.com example.com reject"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := Discover(context.Background(), zone(tt.records, tt.exist...), tt.author)
			if err != nil {
				t.Fatal(err)
			}
			got := d.Organizational + " - -"
			if d.Record != nil {
				got = d.Organizational + " " + d.At + " " + string(d.Policy)
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestDiscoverFails(t *testing.T) {
	t.Parallel()
	r := zone(map[string]string{"example.com": "v=DMARC1; p=none; np=reject", "own.example.net": "v=DMARC1; p=none"}, "a.example.com")
	r.Fail = []string{"txt _dmarc.com", "cname a.example.net"}
	r.TXTs["_dmarc.example.net"] = []string{"v=DMARC1; p=none; np=reject"}
	for _, name := range []string{
		"a.example.com", // a failure above may hide a psd=y
		"a.example.net", // whether it exists is not known, and decides the policy
	} {
		if d, err := Discover(context.Background(), r, name); !errors.Is(err, dns.ErrTemporary) {
			t.Errorf("%s: got %+v, %v", name, d, err)
		}
	}
	for _, name := range []string{"", ".", "a..b", "ü.test", "a b.test", strings.Repeat("x", 64) + ".test"} {
		if _, err := Discover(context.Background(), r, name); !errors.Is(err, dns.ErrBadName) {
			t.Errorf("%q: %v", name, err)
		}
		if _, err := OrganizationalDomain(context.Background(), r, name); !errors.Is(err, dns.ErrBadName) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestOrganizationalDomain(t *testing.T) {
	t.Parallel()
	r := zone(map[string]string{"example.com": "v=DMARC1; p=none", "gov.test": "v=DMARC1; p=none; psd=y"})
	got := map[string]string{}
	for _, name := range []string{"example.com", "a.b.example.com", "x.y.gov.test", "gov.test", "nothing.example.org"} {
		org, err := OrganizationalDomain(context.Background(), r, name)
		if err != nil {
			t.Fatal(err)
		}
		got[name] = org
	}
	want := map[string]string{"example.com": "example.com", "a.b.example.com": "example.com", "x.y.gov.test": "y.gov.test", "gov.test": "gov.test", "nothing.example.org": "nothing.example.org"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
