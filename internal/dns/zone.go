package dns

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	mdns "github.com/miekg/dns"
)

// Zone is the content of one authoritative zone: an SOA, the name servers and
// whatever else is set. It can be changed at any time, also while a ZoneServer
// answers from it. Names are given whole ("mail.example.test", not "mail").
//
// Delegations, DNAME and DNSSEC are not supported; wildcards (RFC 4592) are.
type Zone struct {
	origin string

	mu      sync.RWMutex
	soa     *mdns.SOA
	names   map[string]map[uint16][]mdns.RR // by normal owner name
	below   map[string]int                  // names with records below this one
	records int
	stars   int // names that are wildcards
	failing map[string]bool
	source  Source // may be nil

	seen atomic.Pointer[seenSerial]

	fixedSerial bool // ZoneConfig.Serial was given; never changes
}

// maxZoneRecords bounds what one zone holds; everything is kept in memory.
const maxZoneRecords = 1 << 20

// ZoneConfig is how a zone presents itself.
type ZoneConfig struct {
	Origin      string   // the zone's name
	NameServers []string // host names; empty: "ns." + Origin. Their addresses are set like any record
	Contact     string   // mailbox of who answers for it; empty: hostmaster@Origin
	DenialTTL   time.Duration
	// Serial is where the serial begins to count. 0: 1, or with a source the
	// current time. Several servers of one zone need a common one.
	Serial uint32
}

// NewZone makes a zone with nothing but its SOA and NS records. DenialTTL is how
// long "no such name" may be kept by those who ask; 0: 60 s.
func NewZone(c ZoneConfig) (*Zone, error) {
	origin, err := normal(c.Origin)
	if err != nil {
		return nil, fmt.Errorf("zone: %w", err)
	}
	if len(c.NameServers) == 0 {
		c.NameServers = []string{"ns." + origin}
	}
	if c.Contact == "" {
		c.Contact = "hostmaster@" + origin
	}
	if c.DenialTTL <= 0 {
		c.DenialTTL = time.Minute
	}
	local, domain, ok := strings.Cut(c.Contact, "@")
	if !ok || local == "" {
		return nil, fmt.Errorf("zone %s: contact %q is not a mailbox", origin, c.Contact)
	}
	// RFC 1035 §8: the local part is one label, its dots escaped.
	mbox := strings.ReplaceAll(local, ".", `\.`) + "." + domain + "."
	ns, ok := hostname(c.NameServers[0])
	if _, valid := mdns.IsDomainName(mbox); !ok || !valid {
		return nil, fmt.Errorf("zone %s: bad name server %q or contact %q", origin, c.NameServers[0], c.Contact)
	}
	z := &Zone{
		origin: origin,
		soa: &mdns.SOA{
			Hdr: header(origin, mdns.TypeSOA, c.DenialTTL), Ns: ns + ".", Mbox: mbox,
			Serial: 1, Refresh: 3600, Retry: 600, Expire: 7 * 86400, Minttl: uint32(c.DenialTTL / time.Second),
		},
		names:   make(map[string]map[uint16][]mdns.RR),
		below:   make(map[string]int),
		failing: make(map[string]bool),

		fixedSerial: c.Serial != 0,
	}
	z.soa.Serial = max(c.Serial, 1)
	if err := z.Set(origin, "NS", time.Hour, c.NameServers...); err != nil {
		return nil, err
	}
	return z, nil
}

func header(name string, typ uint16, ttl time.Duration) mdns.RR_Header {
	secs := min(max(ttl/time.Second, 0), 1<<31-1)
	return mdns.RR_Header{Name: name + ".", Rrtype: typ, Class: mdns.ClassINET, Ttl: uint32(secs)}
}

// Origin is the zone's name.
func (z *Zone) Origin() string { return z.origin }

// Serial is the SOA serial; it rises with every change of the zone and of its
// source.
func (z *Zone) Serial() uint32 { return z.current().Serial }

// current is the zone's SOA record as it is now.
func (z *Zone) current() *mdns.SOA {
	z.mu.RLock()
	soa, source := mdns.Copy(z.soa).(*mdns.SOA), z.source
	z.mu.RUnlock()
	if source != nil {
		made := &seenSerial{at: time.Now()}
		made.serial = source.Serial()
		// Of two that look at once the later answer stays: serials do not fall.
		if old := z.seen.Load(); old == nil || int32(made.serial-old.serial) >= 0 {
			z.seen.CompareAndSwap(old, made)
		}
		soa.Serial += made.serial
	}
	return soa
}

// seenSerial is a source's serial at a time.
type seenSerial struct {
	serial uint32
	at     time.Time
}

// serialAge is how old the source's serial in an answer may be. A source may have
// to look at all that it has to say it, which no flood of questions should cause.
const serialAge = time.Second

// recent is current for answers to anybody.
func (z *Zone) recent() *mdns.SOA {
	seen := z.seen.Load()
	if seen == nil || time.Since(seen.at).Abs() > serialAge {
		return z.current()
	}
	z.mu.RLock()
	defer z.mu.RUnlock()
	soa := mdns.Copy(z.soa).(*mdns.SOA)
	if z.source != nil {
		soa.Serial += seen.serial
	}
	return soa
}

// Set replaces the records of one name and type; without rdata it removes them.
// typ is "A", "AAAA", "MX", "TXT", "CNAME", "NS", "PTR", "SRV", "CAA", "HTTPS" or "TLSA".
// rdata is what stands in a zone file ("10 mx.example.test"), host names whole
// and with or without the last dot; for TXT it is the value itself, of up to
// 64 KiB, which is cut into strings of 255 octets.
func (z *Zone) Set(name, typ string, ttl time.Duration, rdata ...string) error {
	owner, err := z.owner(name)
	if err != nil {
		return err
	}
	rrtype, ok := mdns.StringToType[strings.ToUpper(typ)]
	if !ok || !served[rrtype] {
		return fmt.Errorf("zone %s: records of type %q are not served", z.origin, typ)
	}
	rrs := make([]mdns.RR, 0, len(rdata))
	for _, d := range rdata {
		rr, err := record(owner, rrtype, ttl, d)
		if err != nil {
			return fmt.Errorf("zone %s: %s %s: %w", z.origin, typ, owner, err)
		}
		rrs = append(rrs, rr)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.put(owner, rrtype, rrs)
}

// Remove removes all records of a name; of the origin, all but SOA and NS.
func (z *Zone) Remove(name string) error {
	owner, err := z.owner(name)
	if err != nil {
		return err
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	delete(z.failing, owner)
	for typ := range z.names[owner] {
		if owner != z.origin || typ != mdns.TypeNS {
			z.drop(owner, typ)
		}
	}
	z.soa.Serial++
	return nil
}

// Fail makes questions about a name end in SERVFAIL, or no longer: a fault for
// labs and tests to meet.
func (z *Zone) Fail(name string, on bool) error {
	owner, err := z.owner(name)
	if err != nil {
		return err
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.failing[owner] = on; !on {
		delete(z.failing, owner)
	}
	return nil
}

func (z *Zone) owner(name string) (string, error) {
	owner, err := normal(name)
	if err != nil {
		return "", fmt.Errorf("zone %s: %w", z.origin, err)
	}
	if !within(owner, z.origin) {
		return "", fmt.Errorf("zone %s: %s is outside", z.origin, owner)
	}
	return owner, nil
}

// record makes one record of a value in presentation form.
func record(owner string, typ uint16, ttl time.Duration, value string) (mdns.RR, error) {
	if typ == mdns.TypeTXT {
		if len(value) > maxTXT-1024 { // it must fit a message with its header
			return nil, fmt.Errorf("a TXT value of %d octets is too long", len(value))
		}
		rr := &mdns.TXT{Hdr: header(owner, typ, ttl)}
		for first := true; first || value != ""; first = false {
			n := min(len(value), 255)
			rr.Txt = append(rr.Txt, escape(value[:n]))
			value = value[n:]
		}
		return rr, nil
	}
	if strings.ContainsAny(value, "\r\n") {
		return nil, fmt.Errorf("bad value %.80q", value)
	}
	// The owner could hold what means something in a zone file: it is put in after.
	rr, err := mdns.NewRR("owner. 0 IN " + mdns.TypeToString[typ] + " " + value)
	if err != nil {
		return nil, fmt.Errorf("bad value %.80q: %w", value, err)
	}
	if rr == nil || rr.Header().Rrtype != typ {
		return nil, fmt.Errorf("bad value %.80q", value)
	}
	rdlength := rr.Header().Rdlength
	*rr.Header() = header(owner, typ, ttl)
	rr.Header().Rdlength = rdlength
	return rr, nil
}

// served are the types that a zone may hold.
var served = map[uint16]bool{
	mdns.TypeA: true, mdns.TypeAAAA: true, mdns.TypeMX: true, mdns.TypeTXT: true, mdns.TypeCNAME: true, mdns.TypeNS: true,
	mdns.TypePTR: true, mdns.TypeSRV: true, mdns.TypeCAA: true, mdns.TypeTLSA: true, mdns.TypeHTTPS: true,
}

// put stores a record set, or removes it if there is nothing in it. z.mu is held.
func (z *Zone) put(owner string, typ uint16, rrs []mdns.RR) error {
	if typ == mdns.TypeNS && (owner != z.origin || len(rrs) == 0) {
		return fmt.Errorf("zone %s: %s: name servers are the origin's, and it must have one", z.origin, owner)
	}
	if len(rrs) == 0 {
		z.drop(owner, typ)
		z.soa.Serial++
		return nil
	}
	sets := z.names[owner]
	// RFC 1034 §3.6.2: an alias stands alone.
	if typ == mdns.TypeCNAME {
		if owner == z.origin || len(rrs) > 1 || len(sets) > 1 || len(sets) == 1 && sets[typ] == nil {
			return fmt.Errorf("zone %s: %s: a CNAME must be the only record", z.origin, owner)
		}
	} else if sets[mdns.TypeCNAME] != nil {
		return fmt.Errorf("zone %s: %s is an alias and can have no other record", z.origin, owner)
	}
	if z.records+len(rrs) > maxZoneRecords {
		return fmt.Errorf("zone %s: more than %d records", z.origin, maxZoneRecords)
	}
	z.drop(owner, typ)
	if z.names[owner] == nil {
		z.names[owner] = make(map[uint16][]mdns.RR)
		z.climb(owner, 1)
	}
	z.names[owner][typ] = rrs
	z.records += len(rrs)
	z.soa.Serial++
	return nil
}

// drop removes a record set. z.mu is held.
func (z *Zone) drop(owner string, typ uint16) {
	sets := z.names[owner]
	if sets[typ] == nil {
		return
	}
	z.records -= len(sets[typ])
	if delete(sets, typ); len(sets) == 0 {
		delete(z.names, owner)
		z.climb(owner, -1)
	}
}

// climb counts an owner in or out: n is added to what the names above it have
// below them. z.mu is held.
func (z *Zone) climb(owner string, n int) {
	if strings.HasPrefix(owner, "*.") {
		z.stars += n
	}
	for up := parent(owner); owner != z.origin && within(up, z.origin); up = parent(up) {
		if z.below[up] += n; z.below[up] == 0 {
			delete(z.below, up)
		}
		if up == z.origin {
			return
		}
	}
}

// Parse adds records in zone-file form; relative names and "@" are the
// origin's, the default TTL is 300 s. Each name and type in the text replaces
// what the zone had for it. $INCLUDE is refused, and an SOA is ignored: the
// zone keeps its own. On an error nothing is changed.
func (z *Zone) Parse(r io.Reader) error {
	type key struct {
		owner string
		typ   uint16
	}
	sets := make(map[key][]mdns.RR)
	var order []key
	zp := mdns.NewZoneParser(io.LimitReader(r, 64<<20), z.origin+".", "")
	zp.SetDefaultTTL(300)
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		h := rr.Header()
		if h.Rrtype == mdns.TypeSOA {
			continue
		}
		owner, err := z.owner(h.Name)
		if err != nil {
			return err
		}
		if h.Class != mdns.ClassINET || !served[h.Rrtype] {
			return fmt.Errorf("zone %s: %s: records of type %s %s are not served", z.origin, owner,
				mdns.ClassToString[h.Class], mdns.TypeToString[h.Rrtype])
		}
		h.Name = owner + "."
		k := key{owner, h.Rrtype}
		if sets[k] == nil {
			order = append(order, k)
		}
		sets[k] = append(sets[k], rr)
	}
	if err := zp.Err(); err != nil {
		return fmt.Errorf("zone %s: %w", z.origin, err)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	trial := &Zone{origin: z.origin, soa: mdns.Copy(z.soa).(*mdns.SOA), records: z.records, stars: z.stars, below: maps.Clone(z.below)}
	trial.names = make(map[string]map[uint16][]mdns.RR, len(z.names))
	for n, sets := range z.names {
		trial.names[n] = maps.Clone(sets)
	}
	for _, k := range order {
		if err := trial.put(k.owner, k.typ, sets[k]); err != nil {
			return err
		}
	}
	z.soa, z.names, z.below, z.records, z.stars = trial.soa, trial.names, trial.below, trial.records, trial.stars
	return nil
}

// String is the zone as a zone file.
func (z *Zone) String() string {
	z.mu.RLock()
	defer z.mu.RUnlock()
	var b strings.Builder
	fmt.Fprintln(&b, z.soa)
	for _, name := range slices.Sorted(maps.Keys(z.names)) {
		for _, typ := range slices.Sorted(maps.Keys(z.names[name])) {
			for _, rr := range z.names[name][typ] {
				fmt.Fprintln(&b, rr)
			}
		}
	}
	return b.String()
}

// found is what a zone knows about one name and type.
type found struct {
	rrs   []mdns.RR // of the type, or the one alias
	alias string    // set when rrs is an alias that was not asked for: normal target
	name  bool      // the name exists
	fail  bool
}

// find looks a normal name up. Names between an owner and the origin exist
// without records (RFC 4592 §2.2.2).
func (z *Zone) find(name string, typ uint16) found {
	if name == z.origin && typ == mdns.TypeSOA && !z.fails(name) {
		return found{rrs: []mdns.RR{z.recent()}, name: true}
	}
	f, source := z.own(name, typ)
	if f.fail || len(f.rrs) > 0 || source == nil && f.name {
		return f
	}
	if source != nil && name != z.origin && !z.holds(name) {
		made := z.made(source, name, typ)
		if made.fail || made.name || f.name {
			made.name = true
			return made
		}
	}
	if f.name {
		return f
	}
	return z.wildcard(source, name, typ)
}

func (z *Zone) fails(name string) bool {
	z.mu.RLock()
	defer z.mu.RUnlock()
	return z.failing[name]
}

// own is what the zone itself knows about a name, wildcards apart.
func (z *Zone) own(name string, typ uint16) (found, Source) {
	z.mu.RLock()
	defer z.mu.RUnlock()
	if z.failing[name] {
		return found{fail: true}, z.source
	}
	if sets, ok := z.names[name]; ok {
		return pick(sets, typ, name), z.source
	}
	return found{name: name == z.origin || z.below[name] > 0}, z.source
}

// wildcard looks below the closest name that exists, RFC 4592 §3.3.1.
func (z *Zone) wildcard(source Source, name string, typ uint16) found {
	z.mu.RLock()
	defer z.mu.RUnlock()
	for up := parent(name); z.stars > 0 && within(up, z.origin); up = parent(up) {
		if sets, ok := z.names["*."+up]; ok {
			return pick(sets, typ, name)
		}
		if _, ok := z.names[up]; ok || up == z.origin || z.below[up] > 0 {
			break
		}
		if source != nil {
			if rs, exists := source.Records(up); exists || len(rs) > 0 {
				break
			}
		}
	}
	return found{}
}

// pick copies the records of typ, or the alias, with name as their owner.
func pick(sets map[uint16][]mdns.RR, typ uint16, name string) found {
	f := found{name: true}
	rrs := sets[typ]
	if alias := sets[mdns.TypeCNAME]; rrs == nil && alias != nil {
		rrs = alias
		if target, err := normal(alias[0].(*mdns.CNAME).Target); err == nil {
			f.alias = target
		}
	}
	if typ == mdns.TypeANY && len(sets) > 0 { // RFC 8482 §4.1: one of the sets will do
		rrs = sets[slices.Min(slices.Collect(maps.Keys(sets)))]
	}
	for _, rr := range rrs {
		rr = mdns.Copy(rr)
		rr.Header().Name = name + "."
		f.rrs = append(f.rrs, rr)
	}
	return f
}

// ZoneFor is the zone among several that a name belongs to: the one with the
// longest origin that it is within; nil: none.
func ZoneFor(zones []*Zone, name string) *Zone {
	n, err := normal(name)
	if err != nil {
		return nil
	}
	var best *Zone
	for _, z := range zones {
		if within(n, z.origin) && (best == nil || len(z.origin) > len(best.origin)) {
			best = z
		}
	}
	return best
}
