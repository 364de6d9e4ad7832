package sender

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/dkim"
	"postern/internal/dns"
	"postern/internal/relay"
)

// fakeZoneDirectory has domains and their keys.
type fakeZoneDirectory struct {
	domains  []relay.Domain
	keys     map[relay.DomainID][]relay.DKIMKey
	revision int64
	walks    int
}

func (f *fakeZoneDirectory) DomainByToken(token string) (relay.Domain, bool) {
	for _, d := range f.domains {
		if d.Token == token && token != "" {
			return d, true
		}
	}
	return relay.Domain{}, false
}

func (f *fakeZoneDirectory) DomainsNamed(name string) (out []relay.Domain) {
	for _, d := range f.domains {
		if d.Name == name {
			out = append(out, d)
		}
	}
	return out
}

// AllDomains goes over them in another order each time.
func (f *fakeZoneDirectory) AllDomains() iter.Seq[relay.Domain] {
	f.walks++
	return func(yield func(relay.Domain) bool) {
		for _, i := range rand.Perm(len(f.domains)) {
			if !yield(f.domains[i]) {
				return
			}
		}
	}
}
func (f *fakeZoneDirectory) AllDKIMKeys(id relay.DomainID) []relay.DKIMKey { return f.keys[id] }
func (f *fakeZoneDirectory) DomainsRevision() int64                        { return f.revision }

func zoneToken26(c string) string { return strings.Repeat(c, tokenLength) }

var zoneNow = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func zoneSourceForTest() (*ZoneSource, *fakeZoneDirectory) {
	id := func(n byte) relay.DomainID { return relay.DomainID{ID: relay.ID{n}} }
	dir := &fakeZoneDirectory{
		domains: []relay.Domain{
			{ID: id(1), Account: acme, Name: "acme.test", Token: zoneToken26("a"), Automatic: true, VerifiedAt: zoneNow},
			{ID: id(2), Account: globex, Name: "acme.test", Token: zoneToken26("b"), Automatic: true, Selector: "org", IPs: []netip.Addr{netip.MustParseAddr("2001:db8::1")}},
			{ID: id(3), Account: acme, Name: "manual.test", Token: zoneToken26("c"), State: relay.DomainAsserted},
			{ID: id(4), Account: acme, Name: "gone.example.test", Token: zoneToken26("d"), Automatic: true, VerifiedAt: zoneNow, DeletedAt: zoneNow.Add(-time.Hour)},
			{ID: id(5), Account: acme, Name: "longgone.test", Token: zoneToken26("e"), Automatic: true, VerifiedAt: zoneNow, DeletedAt: zoneNow.Add(-8 * 24 * time.Hour)},
			{ID: id(6), Account: acme, Name: "old.test"}, // from before there were tokens
			{ID: id(7), Account: acme, Name: "claimed.test", Token: zoneToken26("h"), State: relay.DomainPending},
		},
		keys: map[relay.DomainID][]relay.DKIMKey{id(1): {
			{Selector: "s1", Algorithm: relay.DKIMRSA, Record: "v=DKIM1; k=rsa; p=AAAA", Active: true},
			{Selector: "mail", Algorithm: relay.DKIMRSA, Record: "v=DKIM1; k=rsa; p=BBBB", Imported: true},
		}},
		revision: 7,
	}
	return &ZoneSource{
		Zone: Zone{Name: "z.example.test", Hostname: "mx.example.test", Addresses: func(relay.Domain) []netip.Addr {
			return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}
		}},
		Directory: dir, Now: func() time.Time { return zoneNow },
	}, dir
}

func TestZoneSourceRecords(t *testing.T) {
	t.Parallel()
	s, _ := zoneSourceForTest()
	const z = ".z.example.test"
	u := func(c string) string { return "u" + zoneToken26(c) + ".wl" + z }
	spf := "v=spf1 ip4:192.0.2.1 ip4:192.0.2.2 -all"
	for name, want := range map[string][]string{
		// nil: no such name. Empty: the name is there and has nothing.
		"wl" + z:                                {},
		u("a"):                                  {"MX 10 mx.example.test", "TXT " + spf},
		u("b"):                                  {"MX 10 mx.example.test", "TXT v=spf1 ip6:2001:db8::1 -all"},
		"domainkey." + u("a"):                   {},
		"s1.domainkey." + u("a"):                {"TXT v=DKIM1; k=rsa; p=AAAA"},
		"mail.domainkey." + u("a"):              {"TXT v=DKIM1; k=rsa; p=BBBB"},
		"s2.domainkey." + u("a"):                {"TXT " + dkim.Revoked(dkim.RSA, "")},
		"s1e.domainkey." + u("a"):               {"TXT " + dkim.Revoked(dkim.Ed25519, "")},
		"s2e.domainkey." + u("a"):               {"TXT " + dkim.Revoked(dkim.Ed25519, "")},
		"org.domainkey." + u("b"):               {"TXT " + dkim.Revoked(dkim.RSA, "")},
		"org2e.domainkey." + u("b"):             {"TXT " + dkim.Revoked(dkim.Ed25519, "")},
		"s1.domainkey." + u("b"):                nil,
		"mail.domainkey." + u("b"):              nil, // another domain's
		"x.s1.domainkey." + u("a"):              nil,
		"x." + u("a"):                           nil,
		"adomainkey." + u("a"):                  nil,
		u("c"):                                  nil, // publishes TXT and MX itself
		u("d"):                                  {"MX 10 mx.example.test", "TXT " + spf},
		u("e"):                                  nil, // deleted for too long
		u("f"):                                  nil,
		"u.wl" + z:                              nil,
		"x" + zoneToken26("a")[:26] + ".wl" + z: nil,
		"awl" + z:                               nil,
		"z.example.test":                        nil,
		"example.test":                          nil,
		"":                                      nil,
		".wl" + z:                               nil,
		"..wl" + z:                              nil,
		"domainkey..wl" + z:                     nil,
		".domainkey." + u("a"):                  nil,
		"dmarc" + z:                             {"MX 10 mx.example.test"},
		"_dmarc.dmarc" + z:                      {},
		"_report._dmarc.dmarc" + z:              {},
		"acme.test._report._dmarc.dmarc" + z:    {"TXT v=DMARC1"},
		"manual.test._report._dmarc.dmarc" + z:  {"TXT v=DMARC1"},
		"gone.example.test._report._dmarc.dmarc" + z:      {"TXT v=DMARC1"},
		"longgone.test._report._dmarc.dmarc" + z:          {},
		"old.test._report._dmarc.dmarc" + z:               {},
		"claimed.test._report._dmarc.dmarc" + z:           {}, // nobody learns who only claims or prepares a domain
		"test._report._dmarc.dmarc" + z:                   {}, // QNAME minimisation: asked on the way to acme.test
		"evil.example._report._dmarc.dmarc" + z:           {},
		"acme.test._report_dmarc.dmarc" + z:               nil,
		"other.dmarc" + z:                                 nil,
		"x._dmarc.dmarc" + z:                              nil,
		"acme.test._report._dmarc.dmarc.z.example.test.x": nil,
	} {
		rs, exists := s.Records(name)
		var got []string
		if exists {
			got = []string{}
		}
		for _, r := range rs {
			got = append(got, r.Type+" "+r.Data)
			if r.Name != name || r.TTL <= 0 || r.TTL > time.Hour {
				t.Errorf("%s: record of %s with TTL %s", name, r.Name, r.TTL)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", name, diff)
		}
	}
	none := &ZoneSource{Directory: s.Directory}
	for _, name := range []string{"", "wl", "wl.", "u" + zoneToken26("a") + ".wl", "dmarc"} {
		if rs, exists := none.Records(name); exists {
			t.Errorf("without a zone, %q is there: %v", name, rs)
		}
	}
}

// TestZoneSourceAll: what secondaries transfer is what is answered, once each.
func TestZoneSourceAll(t *testing.T) {
	t.Parallel()
	s, _ := zoneSourceForTest()
	type key struct{ name, typ, data string }
	seen := map[key]int{}
	for r := range s.All() {
		seen[key{r.Name, r.Type, r.Data}]++
		rs, _ := s.Records(r.Name)
		if !slices.Contains(rs, r) {
			t.Errorf("%+v is transferred and not answered", r)
		}
	}
	for k, n := range seen {
		if n != 1 {
			t.Errorf("%v is there %d times", k, n)
		}
	}
	// Three automatic domains with MX, TXT and four selectors, one imported selector,
	// three names with reports, and where those go.
	if want := 3*6 + 1 + 3 + 1; len(seen) != want {
		t.Errorf("%d records, want %d", len(seen), want)
	}
	for stop := range len(seen) {
		n := 0
		for range s.All() {
			if n++; n > stop {
				break
			}
		}
	}
	zone, err := dns.NewZone(dns.ZoneConfig{Origin: "z.example.test"})
	if err != nil {
		t.Fatal(err)
	}
	zone.SetSource(s) // and every record can be served
	if rs, _ := s.Records("dmarc.z.example.test"); len(rs) != 1 {
		t.Error("no records behind a zone")
	}
}

// TestZoneSerial: secondaries fetch the zone when something in it changed, and only
// then.
func TestZoneSerial(t *testing.T) {
	t.Parallel()
	s, dir := zoneSourceForTest()
	first := s.Serial()
	if first != uint32(zoneNow.Unix()) {
		t.Errorf("serial %d, want the time", first)
	}
	walks := dir.walks
	for range 5 {
		s.Serial()
	}
	if dir.walks != walks {
		t.Error("all domains are gone through again where nothing changed")
	}
	for range 20 {
		dir.revision++ // a domain of which nothing is in the zone
		if got := s.Serial(); got != first {
			t.Fatalf("serial %d after a change elsewhere, want %d", got, first)
		}
	}
	last := first
	for name, change := range map[string]func(){
		"a key": func() { dir.keys[dir.domains[0].ID][0].Record = "v=DKIM1; k=rsa; p=CCCC" },
		"a domain": func() {
			dir.domains = append(dir.domains, relay.Domain{ID: relay.DomainID{ID: relay.ID{9}}, Name: "new.test", Token: zoneToken26("g"), Automatic: true})
		},
		"a proof":   func() { dir.domains[6].VerifiedAt = zoneNow },
		"addresses": func() { dir.domains[1].IPs = nil },
	} {
		dir.revision++
		change()
		if got := s.Serial(); got <= last {
			t.Errorf("%s: serial %d after %d", name, got, last)
		}
		last = s.Serial()
	}
}

// TestZoneSerialOfSeveralNodes: a secondary asks any of them, and never again one
// whose serial is behind. Each change overtakes what any node said before it,
// however late one of them began, and though it knows a higher revision or, after
// a restore, a lower one.
func TestZoneSerialOfSeveralNodes(t *testing.T) {
	t.Parallel()
	early, dir := zoneSourceForTest()
	now := zoneNow
	early.Now = func() time.Time { return now }
	early.Serial()
	now = now.Add(time.Hour)
	dir.revision += 100 // others' business
	late := &ZoneSource{Zone: early.Zone, Directory: dir, Now: early.Now}
	for _, revision := range []int64{500, 3} { // the second: restored from a backup
		was := max(early.Serial(), late.Serial())
		now = now.Add(time.Minute)
		dir.revision = revision
		dir.keys[dir.domains[0].ID][0].Record += "x"
		for name, node := range map[string]*ZoneSource{"early": early, "late": late} {
			if got := node.Serial(); got <= was {
				t.Errorf("%s: serial %d after a change, and a secondary may have %d", name, got, was)
			}
		}
	}
	now = now.Add(time.Second)
	if again := (&ZoneSource{Zone: early.Zone, Directory: dir, Now: early.Now}); again.Serial() <= max(early.Serial(), late.Serial()) {
		t.Error("the serial does not rise with a restart, and the configuration may have changed")
	}
}

// TestZoneSerialRests: a zone of very many domains is not gone through at each of
// many changes, and no change is forgotten.
func TestZoneSerialRests(t *testing.T) {
	t.Parallel()
	s, dir := zoneSourceForTest()
	now := zoneNow
	s.Now = func() time.Time { return now }
	for i := range manyServed {
		dir.domains = append(dir.domains, relay.Domain{ID: relay.DomainID{ID: relay.NewID(zoneNow)}, Name: fmt.Sprintf("c%d.test", i), Token: fmt.Sprintf("%026d", i)})
	}
	first, walks := s.Serial(), dir.walks
	for range 10 {
		now = now.Add(10 * time.Millisecond)
		dir.revision++
		dir.domains[0].Selector += "x"
		if s.Serial() != first || dir.walks != walks {
			t.Fatalf("gone through again %v later", now.Sub(zoneNow))
		}
	}
	now = zoneNow.Add(3 * time.Second)
	if s.Serial() <= first || dir.walks != walks+1 {
		t.Errorf("the change is not seen three seconds later: serial %d, %d times", s.Serial(), dir.walks-walks)
	}
	now = zoneNow.Add(-time.Hour) // a clock that was put back holds nothing up
	dir.revision++
	dir.domains[0].Selector += "x"
	if last := s.Serial(); last <= first+1 {
		t.Errorf("serial %d, want more than %d", last, first+1)
	}
}

func FuzzZoneSourceRecords(f *testing.F) {
	s, _ := zoneSourceForTest()
	for r := range s.All() {
		f.Add(r.Name)
	}
	f.Add("..wl.z.example.test")
	f.Fuzz(func(t *testing.T, name string) {
		rs, exists := s.Records(name)
		if len(rs) > 0 && !exists || len(rs) > 2 {
			t.Fatalf("%q: %d records, exists %t", name, len(rs), exists)
		}
		for _, r := range rs {
			if r.Name != name {
				t.Fatalf("%q: record of %q", name, r.Name)
			}
		}
	})
}

func BenchmarkZoneSource(b *testing.B) {
	s, _ := zoneSourceForTest()
	for _, name := range []string{"s1.domainkey.u" + zoneToken26("a") + ".wl.z.example.test", "nobody.wl.z.example.test"} {
		b.Run(fmt.Sprint(len(name)), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Records(name)
			}
		})
	}
}

// BenchmarkZoneSerial is what each change of anything costs with 100,000 domains
// of four keys each: how the zone is found not to have changed.
func BenchmarkZoneSerial(b *testing.B) {
	const many = 100_000
	s, dir := zoneSourceForTest()
	crowd := &zoneCrowd{domains: make(map[relay.DomainID]*relay.Domain, many), keys: make(map[relay.DomainID][]relay.DKIMKey, many)}
	for i := range many {
		id := relay.DomainID{ID: relay.NewID(zoneNow)}
		crowd.domains[id] = &relay.Domain{ID: id, Account: acme, Name: fmt.Sprintf("c%06d.test", i), Token: fmt.Sprintf("%026d", i), Automatic: true}
		for _, sel := range []string{"s1", "s2", "s1e", "s2e"} {
			crowd.keys[id] = append(crowd.keys[id], relay.DKIMKey{Domain: id, Selector: sel, Record: fmt.Sprintf("v=DKIM1; k=rsa; p=%0392d", i)})
		}
	}
	crowd.fakeZoneDirectory = dir
	s.Directory = crowd
	now := zoneNow
	s.Now = func() time.Time { now = now.Add(time.Minute); return now }
	b.ReportAllocs()
	for b.Loop() {
		dir.revision++
		s.Serial()
	}
}

// zoneCrowd holds many domains as the identity directory does.
type zoneCrowd struct {
	*fakeZoneDirectory
	domains map[relay.DomainID]*relay.Domain
	keys    map[relay.DomainID][]relay.DKIMKey
}

func (c *zoneCrowd) AllDomains() iter.Seq[relay.Domain] {
	return func(yield func(relay.Domain) bool) {
		for _, d := range c.domains {
			if !yield(*d) {
				return
			}
		}
	}
}

func (c *zoneCrowd) AllDKIMKeys(id relay.DomainID) []relay.DKIMKey { return slices.Clone(c.keys[id]) }
