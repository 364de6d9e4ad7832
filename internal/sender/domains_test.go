package sender

import (
	"context"
	"errors"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"postern/internal/dkim"
	"postern/internal/relay"
)

func refused(err error, field string) bool {
	e, ok := errors.AsType[*relay.Error](err)
	return ok && e.Kind == relay.Invalid && e.Field == field && len(e.Public) > 15
}

// ID-18: names that nobody owns alone, or that are ours.
func TestAddRefusesNames(t *testing.T) {
	t.Parallel()
	s, m := newDomains(t)
	for _, name := range []string{
		"com", "co.uk", "github.io", "xn--p1ai", "localhost", "a.localhost", "host.local", "db.internal", "x.onion", "1.168.192.in-addr.arpa", "home.arpa",
		"no.invalid", "192.0.2.1", "[192.0.2.1]", "[IPv6:2001:db8::1]", "2001:db8::1", "example", "", ".", "example.com.", ".example.com", "a..com",
		"gmail.com", "GMail.com", "mail.gmail.com", "googlemail.com", "outlook.com", "hotmail.com", "hotmail.co.uk", "live.com", "yahoo.com", "yahoo.co.jp", "aol.com",
		"icloud.com", "me.com", "mac.com", "proton.me", "protonmail.com", "gmx.net", "gmx.de", "web.de", "mail.ru", "yandex.ru", "yandex.com", "qq.com", "163.com",
		"zoho.com", "fastmail.com",
		testHost, strings.ToUpper(testHost), "a." + testHost, testZone, "x." + testZone, "exa mple.com", "exam_ple.com", "-a.com", "example.com/x",
		"exa\u00admple.com", "example\u3002com", "\uff45xample.com", "xn--zzzzzz.com", strings.Repeat("a", 64) + ".com", "user@example.com", "example.123", "0x7f.0x1",
	} {
		if _, _, err := s.Add(context.Background(), testBy, NewDomain{Account: acme, Name: name}); !refused(err, "domain") {
			t.Errorf("%q: %v", name, err)
		}
	}
	if len(m.domains) != 0 {
		t.Errorf("%d domains were made", len(m.domains))
	}
}

func TestAddTakesNames(t *testing.T) {
	t.Parallel()
	s, _ := newDomains(t)
	for name, want := range map[string]string{
		"Example.COM": "example.com", "b\u00fccher.example": "xn--bcher-kva.example", "XN--bcher-kva.test": "xn--bcher-kva.test",
		"acme.test": "acme.test", "mail.acme.co.uk": "mail.acme.co.uk", "postern.test": "postern.test", "live.fm": "live.fm", "my.github.io": "my.github.io",
	} {
		d, _, err := s.Add(context.Background(), testBy, NewDomain{Account: acme, Name: name})
		if err != nil || d.Name != want {
			t.Errorf("%q: %q %v, want %q", name, d.Name, err, want)
		}
	}
}

func TestAddMakesDomainAndKeys(t *testing.T) {
	t.Parallel()
	s, m := newDomains(t)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s.Now = func() time.Time { return now }
	d, keys, err := s.Add(context.Background(), testBy, NewDomain{Account: acme, Name: "acme.test", Default: true, AllSubusers: true, Quiet: true})
	if err != nil {
		t.Fatal(err)
	}
	if d.State != relay.DomainPending || !d.Automatic || d.Label != "em1" || d.ReturnPath != "em1.acme.test" || d.Usable() || !d.Default || !d.AllSubusers || !d.Quiet {
		t.Errorf("%+v", d)
	}
	if !regexp.MustCompile(`^[a-z2-7]{26}$`).MatchString(d.Token) {
		t.Errorf("token %q", d.Token)
	}
	if len(keys) != 2 || keys[0].Selector != "s1" || !keys[0].Active || keys[0].Bits != 2048 || !keys[0].ActivatedAt.Equal(now) ||
		keys[1].Selector != "s1e" || keys[1].Active || keys[1].Bits != 0 || !keys[1].ActivatedAt.IsZero() {
		t.Fatalf("%+v", keys)
	}
	for _, k := range keys {
		der, err := s.Sealer.Open(k.Sealed, keyPlace(d.ID, k.Selector))
		if err != nil {
			t.Fatal(err)
		}
		private, alg, err := dkim.ParseKey(der)
		if err != nil {
			t.Fatal(err)
		}
		if record, _ := dkim.Record(private.Public()); record != k.Record || relay.DKIMAlgorithm(alg) != k.Algorithm || k.Generation != 1 {
			t.Errorf("key %+v", k)
		}
	}
	// ID-16: each domain of each account has a token of its own.
	other, _, err := s.Add(context.Background(), testBy, NewDomain{Account: globex, Name: "acme.test"})
	if err != nil || other.Token == d.Token {
		t.Errorf("another account's: %q %v", other.Token, err)
	}
	if _, _, err := s.Add(context.Background(), testBy, NewDomain{Account: acme, Name: "ACME.test"}); relay.KindOf(err) != relay.Conflict {
		t.Errorf("twice: %v", err)
	}
	if len(m.domains) != 2 {
		t.Errorf("%d domains", len(m.domains))
	}
}

func TestAddOptions(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	sub := relay.SubuserID{ID: relay.ID{7}}
	for _, tt := range []struct {
		name  string
		new   NewDomain
		zone  bool
		field string // at fault
		check func(d relay.Domain, keys []relay.DKIMKey) bool
	}{
		{name: "no zone: manual", check: func(d relay.Domain, _ []relay.DKIMKey) bool { return !d.Automatic && d.Label == "em1" }},
		{name: "automatic without a zone", new: NewDomain{Automatic: &yes}, field: "automatic_security"},
		{name: "manual with a zone", zone: true, new: NewDomain{Automatic: &no, CustomSPF: true}, check: func(d relay.Domain, _ []relay.DKIMKey) bool { return !d.Automatic && d.CustomSPF }},
		{name: "custom SPF with aliases", zone: true, new: NewDomain{CustomSPF: true}, field: "custom_spf"},
		{name: "asserted: the system's return path", zone: true, new: NewDomain{Assert: true, Ed25519: true}, check: func(d relay.Domain, k []relay.DKIMKey) bool {
			return !d.Automatic && d.ReturnPath == "" && d.State == relay.DomainAsserted && d.AssertedBy == "tester" && d.Usable() && k[1].Active
		}},
		{name: "asserted and automatic", zone: true, new: NewDomain{Assert: true, Automatic: &yes}, check: func(d relay.Domain, _ []relay.DKIMKey) bool {
			return d.Automatic && d.ReturnPath == "em1.acme.test"
		}},
		{name: "label", new: NewDomain{Label: "Bounces"}, check: func(d relay.Domain, _ []relay.DKIMKey) bool {
			return d.Label == "bounces" && d.ReturnPath == "bounces.acme.test"
		}},
		{name: "return path", new: NewDomain{ReturnPath: "b.Acme.test"}, check: func(d relay.Domain, _ []relay.DKIMKey) bool { return d.Label == "b" && d.ReturnPath == "b.acme.test" }},
		{name: "both, different", new: NewDomain{Label: "a", ReturnPath: "b.acme.test"}, field: "return_path"},
		{name: "return path elsewhere", new: NewDomain{ReturnPath: "b.globex.test"}, field: "return_path"},
		{name: "return path that only looks below", new: NewDomain{ReturnPath: "notacme.test"}, field: "return_path"},
		{name: "the domain as return path", new: NewDomain{ReturnPath: "acme.test"}, field: "return_path"},
		{name: "label with an underscore", new: NewDomain{Label: "_dmarc"}, field: "subdomain"},
		{name: "label with a space", new: NewDomain{Label: "a b"}, field: "subdomain"},
		{name: "label too long", new: NewDomain{Label: strings.Repeat("a", 64)}, field: "subdomain"},
		{name: "selector", new: NewDomain{Selector: "org"}, check: func(d relay.Domain, k []relay.DKIMKey) bool {
			return d.Selector == "org" && k[0].Selector == "org" && k[1].Selector == "orge"
		}},
		{name: "selector in upper case", new: NewDomain{Selector: "Org"}, field: "custom_dkim_selector"},
		{name: "selector too long", new: NewDomain{Selector: strings.Repeat("a", 21)}, field: "custom_dkim_selector"},
		{name: "selector of two labels", new: NewDomain{Selector: "a.b"}, field: "custom_dkim_selector"},
		{name: "selector with a hyphen at its end", new: NewDomain{Selector: "a-"}, field: "custom_dkim_selector"},
		{name: "odd key size", new: NewDomain{KeyBits: 1024}, field: "key_bits"},
		{name: "large keys", new: NewDomain{KeyBits: 4096}, check: func(d relay.Domain, k []relay.DKIMKey) bool { return k[0].Bits == 4096 && len(k[0].Record) > 700 }},
		{name: "addresses", new: NewDomain{IPs: []netip.Addr{netip.MustParseAddr("0.0.0.0")}}, field: "ips"},
		{name: "a subuser's", new: NewDomain{Subuser: sub}, check: func(d relay.Domain, _ []relay.DKIMKey) bool { return d.Subuser == sub }},
		{name: "a subuser's for all", new: NewDomain{Subuser: sub, AllSubusers: true}, field: "subusers"},
		{name: "system", new: NewDomain{System: true, Name: testHost, Assert: true}, check: func(d relay.Domain, _ []relay.DKIMKey) bool { return d.System && d.ReturnPath == "" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, _ := newDomains(t)
			if !tt.zone {
				s.Zone.Name = ""
			}
			if tt.new.Account = acme; tt.new.Name == "" {
				tt.new.Name = "acme.test"
			}
			d, keys, err := s.Add(context.Background(), testBy, tt.new)
			switch {
			case tt.field != "" && !refused(err, tt.field):
				t.Errorf("%v, want %s refused", err, tt.field)
			case tt.field == "" && err != nil:
				t.Error(err)
			case tt.field == "" && !tt.check(d, keys):
				t.Errorf("%+v", d)
			}
		})
	}
}

func TestAddCountsDomains(t *testing.T) {
	t.Parallel()
	s, _ := newDomains(t)
	s.Settings.Max = 2
	ctx := context.Background()
	add := func(name string, sub byte) (relay.Domain, error) {
		n := NewDomain{Account: acme, Name: name}
		if sub != 0 {
			n.Subuser = relay.SubuserID{ID: relay.ID{sub}}
		}
		d, _, err := s.Add(ctx, testBy, n)
		return d, err
	}
	first, err := add("a.test.example", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := add("b.test.example", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := add("c.test.example", 0); relay.KindOf(err) != relay.Conflict {
		t.Errorf("the third: %v", err)
	}
	if _, err := add("d.test.example", 1); err != nil {
		t.Errorf("a subuser's first: %v", err)
	}
	if err := s.Remove(ctx, testBy, first.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := add("c.test.example", 0); err != nil {
		t.Errorf("after one was removed: %v", err)
	}
}

func TestUpdateShareRemove(t *testing.T) {
	t.Parallel()
	s, m := newDomains(t)
	ctx := context.Background()
	d, _, err := s.Add(ctx, testBy, NewDomain{Account: acme, Name: "acme.test"})
	if err != nil {
		t.Fatal(err)
	}
	yes, never, bits := true, -time.Second, 4096
	got, err := s.Update(ctx, testBy, d.ID, DomainUpdate{Default: &yes, Quiet: &yes, Rotate: &never, KeyBits: &bits})
	if err != nil || !got.Default || !got.Quiet || got.Rotate != never || got.KeyBits != 4096 || got.Subdomains || got.Token != d.Token {
		t.Errorf("%+v %v", got, err)
	}
	if _, err := s.Update(ctx, testBy, d.ID, DomainUpdate{CustomSPF: &yes}); !refused(err, "custom_spf") {
		t.Errorf("custom SPF: %v", err)
	}
	if bits = 512; true {
		if _, err := s.Update(ctx, testBy, d.ID, DomainUpdate{KeyBits: &bits}); !refused(err, "key_bits") {
			t.Errorf("key bits: %v", err)
		}
	}
	one, two := relay.SubuserID{ID: relay.ID{1}}, relay.SubuserID{ID: relay.ID{2}}
	if err := s.EditSharing(ctx, testBy, d.ID, func(to *Sharing) { to.Subusers = []relay.SubuserID{one, two, one, {}} }); err != nil {
		t.Fatal(err)
	}
	if shared := m.domains[d.ID]; len(shared.Subusers) != 2 || shared.AllSubusers {
		t.Errorf("shared with %v", shared.Subusers)
	}
	if err := s.Remove(ctx, testBy, d.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Records(ctx, d.ID); relay.KindOf(err) != relay.NotFound {
		t.Errorf("records of a removed domain: %v", err)
	}
	sys, _, err := s.Add(ctx, testBy, NewDomain{Account: acme, Name: testHost, System: true, Assert: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(ctx, testBy, sys.ID); relay.KindOf(err) != relay.Conflict {
		t.Errorf("the system's domain: %v", err)
	}
}
