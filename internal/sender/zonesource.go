package sender

import (
	"hash/maphash"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/internal/dkim"
	"postern/internal/dns"
	"postern/internal/relay"
)

// ZoneDirectory is what ZoneSource answers from; *identity.Directory has it.
type ZoneDirectory interface {
	DomainByToken(token string) (relay.Domain, bool) // deleted ones too
	DomainsNamed(name string) []relay.Domain
	AllDomains() iter.Seq[relay.Domain]
	AllDKIMKeys(id relay.DomainID) []relay.DKIMKey
	// DomainsRevision is another one whenever a domain, a key of one, or an address
	// of a pool changed.
	DomainsRevision() int64
}

// ZoneSource makes the records of all domains in the zone that this installation
// serves, when they are asked for. It implements dns.Source: nothing is stored, so
// a key or an address that changes is in the DNS at once.
//
// Below the zone Z, for a domain D with token T that has automatic security:
//
//	uT.wl.Z                MX, TXT   return path and its SPF
//	S.domainkey.uT.wl.Z    TXT       the record of selector S; of a slot without a key: revoked
//
// and for every domain D with a token that was proven once:
//
//	dmarc.Z                        MX    where DMARC reports are read
//	D._report._dmarc.dmarc.Z       TXT   they may be sent there (RFC 9990)
//
// A deleted domain is served for Overlap longer: its mail is still on its way.
type ZoneSource struct {
	Zone      Zone
	Directory ZoneDirectory
	Overlap   time.Duration    // 0: 7 days
	Now       func() time.Time // nil: time.Now

	mu       sync.Mutex
	revision int64 // that serial was computed at
	serial   uint32
	sum      uint64 // of the content then
	walked   time.Time
	rest     time.Duration // before the next walk
}

// keyTTL is short: a rotation waits for it, and a withdrawn key must soon be gone
// from caches.
const keyTTL = 5 * time.Minute

// reportTTL is that of records that hardly ever change.
const reportTTL = time.Hour

// The fixed labels of the zone.
const (
	zoneDomains = "wl"
	zoneKeys    = "domainkey"
	zoneReports = "dmarc"
	reportLabel = "_report._dmarc"
	zoneToken   = 'u' // begins a domain's label
)

// Records are all records of a name, which is in lower case and without its last
// dot. exists is false for names that neither have records nor stand above others
// (RFC 8020). It asks nothing but the directory.
func (s *ZoneSource) Records(name string) (rs []dns.Record, exists bool) {
	rest, ok := below(name, s.Zone.Name)
	if !ok || s.Zone.Name == "" {
		return nil, false
	}
	if under, ok := below(rest, zoneDomains); ok {
		return s.domain(name, under)
	}
	if under, ok := below(rest, zoneReports); ok {
		return s.reports(name, under)
	}
	return nil, false
}

// below cuts a zone's name off a name in it: "" of the zone itself.
func below(name, zone string) (rest string, ok bool) {
	if name == zone {
		return "", true
	}
	rest, ok = strings.CutSuffix(name, zone)
	if !ok || len(rest) < 2 || rest[len(rest)-1] != '.' {
		return "", false
	}
	return rest[:len(rest)-1], true
}

// domain answers for what lies below wl.Z.
func (s *ZoneSource) domain(name, rest string) ([]dns.Record, bool) {
	if rest == "" {
		return nil, true
	}
	rest, label := lastLabel(rest)
	if len(label) != 1+tokenLength || label[0] != zoneToken {
		return nil, false
	}
	d, ok := s.Directory.DomainByToken(label[1:])
	if !ok || !d.Automatic || !s.served(&d) {
		return nil, false
	}
	if rest == "" {
		return s.returnPath(name, d), true
	}
	selector, ok := below(rest, zoneKeys)
	if !ok || selector == "" {
		return nil, ok
	}
	return s.key(name, d, selector)
}

// lastLabel cuts the last label off a name.
func lastLabel(name string) (rest, label string) {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}

// served reports whether a domain has records in the zone.
func (s *ZoneSource) served(d *relay.Domain) bool {
	if d.Token == "" {
		return false
	}
	if d.DeletedAt.IsZero() {
		return true
	}
	return s.now().Before(d.DeletedAt.Add(overlapOr(s.Overlap)))
}

func (s *ZoneSource) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

func (s *ZoneSource) returnPath(name string, d relay.Domain) []dns.Record {
	return []dns.Record{
		{Name: name, Type: "MX", TTL: keyTTL, Data: s.Zone.MX()},
		{Name: name, Type: "TXT", TTL: keyTTL, Data: s.Zone.SPF(d)},
	}
}

// key answers for a selector: a key's record, or for a slot that has had none yet
// the form that says so. The alias to it is published from the first day.
func (s *ZoneSource) key(name string, d relay.Domain, selector string) ([]dns.Record, bool) {
	for _, k := range s.Directory.AllDKIMKeys(d.ID) {
		if k.Selector == selector && k.Record != "" {
			return []dns.Record{{Name: name, Type: "TXT", TTL: keyTTL, Data: k.Record}}, true
		}
	}
	slots := SelectorsOf(d)
	switch {
	case slices.Contains(slots.RSA[:], selector):
		return []dns.Record{{Name: name, Type: "TXT", TTL: keyTTL, Data: dkim.Revoked(dkim.RSA, "")}}, true
	case slices.Contains(slots.Ed25519[:], selector):
		return []dns.Record{{Name: name, Type: "TXT", TTL: keyTTL, Data: dkim.Revoked(dkim.Ed25519, "")}}, true
	}
	return nil, false
}

// reports answers for what lies below dmarc.Z.
func (s *ZoneSource) reports(name, rest string) ([]dns.Record, bool) {
	if rest == "" {
		return []dns.Record{s.reportHost()}, true
	}
	of, ok := below(rest, reportLabel)
	if !ok {
		return nil, rest == "_dmarc"
	}
	if of == "" {
		return nil, true
	}
	for _, d := range s.Directory.DomainsNamed(of) {
		if s.reported(&d) {
			return []dns.Record{authorisation(name)}, true
		}
	}
	// Every other name could stand above that of a domain, and to know would take a
	// walk over all of them for any stranger's question. "No such record" is always
	// safe here: a resolver that asks label by label (QNAME minimisation) goes on.
	return nil, true
}

func (s *ZoneSource) reportHost() dns.Record {
	return dns.Record{Name: zoneReports + "." + s.Zone.Name, Type: "MX", TTL: reportTTL, Data: s.Zone.MX()}
}

func authorisation(name string) dns.Record {
	return dns.Record{Name: name, Type: "TXT", TTL: reportTTL, Data: "v=DMARC1"}
}

// All are all records, for secondaries.
func (s *ZoneSource) All() iter.Seq[dns.Record] {
	return func(yield func(dns.Record) bool) {
		if s.Zone.Name == "" || !yield(s.reportHost()) {
			return
		}
		for d := range s.Directory.AllDomains() {
			if !s.served(&d) {
				continue
			}
			if d.Automatic && !s.allOf(d, yield) {
				return
			}
			if !s.speaksFor(&d) {
				continue
			}
			if name := d.Name + "." + reportLabel + "." + zoneReports + "." + s.Zone.Name; !yield(authorisation(name)) {
				return
			}
		}
	}
}

// allOf yields what is below a domain's token.
func (s *ZoneSource) allOf(d relay.Domain, yield func(dns.Record) bool) bool {
	for _, r := range s.returnPath(s.Zone.Host(d), d) {
		if !yield(r) {
			return false
		}
	}
	slots := SelectorsOf(d)
	selectors := slices.Concat(slots.RSA[:], slots.Ed25519[:])
	for _, k := range s.Directory.AllDKIMKeys(d.ID) {
		if !slices.Contains(selectors, k.Selector) {
			selectors = append(selectors, k.Selector)
		}
	}
	for _, sel := range selectors {
		rs, _ := s.key(s.Zone.KeyHost(d, sel), d, sel)
		for _, r := range rs {
			if !yield(r) {
				return false
			}
		}
	}
	return true
}

// speaksFor picks one of the domains of a name, so that a record that several
// accounts need is there once.
func (s *ZoneSource) speaksFor(d *relay.Domain) bool {
	if !s.reported(d) {
		return false
	}
	for _, other := range s.Directory.DomainsNamed(d.Name) {
		if s.reported(&other) {
			return other.ID == d.ID
		}
	}
	return true
}

// reported reports whether reports about a domain may be sent here: of one that was
// proven once. What somebody only claims, or has not published yet, is nobody's
// business: anybody may ask for any name, and the zone's word would tell that it is
// a customer's, and make reporters send what its owner never wanted.
func (s *ZoneSource) reported(d *relay.Domain) bool {
	return s.served(d) && (!d.VerifiedAt.IsZero() || d.State == relay.DomainAsserted)
}

// Serial is when the last change that shows in the zone was seen here, in unix
// seconds: secondaries fetch all of it whenever the serial rises, and most
// administrative changes, such as a new API key, are none of its business. It is a
// time because several nodes serve one zone: whichever of them a secondary asked
// last, the next change has a higher serial at all of them, after a restart and a
// restored database too. The first call, and the first after each change of a
// domain, a key or a pool, goes through all domains; where there are very many, a
// change may show some seconds later, as answers never do.
func (s *ZoneSource) Serial() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Read before the walk: what changes meanwhile is looked at again.
	if rev := s.Directory.DomainsRevision(); rev != s.revision || s.serial == 0 {
		now := s.now()
		if since := now.Sub(s.walked); s.serial != 0 && since >= 0 && since < s.rest {
			return s.serial
		}
		sum, domains := s.content()
		s.walked, s.rest = now, 0
		if domains >= manyServed {
			s.rest = time.Duration(domains) * restOfEach
		}
		if sum != s.sum || s.serial == 0 {
			s.sum, s.serial = sum, max(s.serial+1, uint32(s.now().Unix()))
		}
		s.revision = rev
	}
	return s.serial
}

// Going through a domain takes some microseconds, and so does sending it to each
// secondary when the serial has risen. Changes can come one after the other for
// hours, when all keys were made on one day and have grown old on another: then
// both together may take a fifth of one processor.
const (
	manyServed = 10_000
	restOfEach = 200 * time.Microsecond
)

var zoneSeed = maphash.MakeSeed()

// content is a sum over what the records are made of. The directory gives neither
// domains nor keys in an order, so each counts by itself.
func (s *ZoneSource) content() (sum uint64, domains int) {
	var h maphash.Hash
	count := func(parts ...string) {
		h.SetSeed(zoneSeed)
		for _, p := range parts {
			h.WriteString(p)
			h.WriteByte(0)
		}
		sum += h.Sum64()
	}
	for d := range s.Directory.AllDomains() {
		if domains++; !s.served(&d) {
			continue
		}
		if s.reported(&d) {
			count(zoneReports, d.Name)
		}
		if !d.Automatic {
			continue
		}
		count(d.Name, d.Token, d.Selector, s.Zone.SPF(d))
		for _, k := range s.Directory.AllDKIMKeys(d.ID) {
			count(d.Token, k.Selector, k.Record)
		}
	}
	return sum, domains
}
