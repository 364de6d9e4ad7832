package dns

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	mdns "github.com/miekg/dns"
)

// Record is one record in presentation form, as Zone.Set takes it.
type Record struct {
	Name, Type string
	TTL        time.Duration
	Data       string
}

// Source holds records of a zone that are made when they are asked for. Its
// methods are called concurrently, for every question, and must not call back
// into the zone.
type Source interface {
	// Records returns all records, of all types, that a normal name owns. exists:
	// the name is there, though maybe without records, because a name below it
	// has some (RFC 8020).
	Records(name string) (rs []Record, exists bool)
	// All goes through all records, for transfers.
	All() iter.Seq[Record]
	// Serial rises with every change of what the others return, also from one
	// start of the program to the next. A change that shows nowhere should not
	// raise it: each makes the secondaries fetch the zone. It is asked for once a
	// second, besides transfers and NOTIFY.
	Serial() uint32
}

// SetSource adds a source to the zone; nil takes it away. It is asked for names
// that the zone itself does not hold, and never for the zone's own name. Unless
// ZoneConfig.Serial was given, the zone's serial now counts on from the current
// time, in seconds: what the zone counts itself is forgotten when the program
// ends, and the serial must not fall then.
func (z *Zone) SetSource(s Source) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.source == nil && s != nil && !z.fixedSerial {
		z.soa.Serial += uint32(time.Now().Unix())
	}
	z.source = s
	z.seen.Store(nil)
	z.soa.Serial++
}

// made is what a source knows about one name and type.
func (z *Zone) made(s Source, name string, typ uint16) found {
	if s == nil {
		return found{}
	}
	rs, exists := s.Records(name)
	sets := make(map[uint16][]mdns.RR)
	for _, r := range rs {
		rrtype := mdns.StringToType[strings.ToUpper(r.Type)]
		if rrtype != typ && rrtype != mdns.TypeCNAME && typ != mdns.TypeANY {
			continue
		}
		rr, err := r.rr(name)
		if err != nil { // saying that there is no record would be a lie
			return found{fail: true}
		}
		sets[rrtype] = append(sets[rrtype], rr)
	}
	if len(sets) == 0 {
		return found{name: exists || len(rs) > 0}
	}
	return pick(sets, typ, name)
}

// rr makes the record, owned by a normal name.
func (r Record) rr(owner string) (mdns.RR, error) {
	rrtype := mdns.StringToType[strings.ToUpper(r.Type)]
	if !served[rrtype] || rrtype == mdns.TypeNS {
		return nil, fmt.Errorf("%s: records of type %q are not served", owner, r.Type)
	}
	return record(owner, rrtype, r.TTL, r.Data)
}

// each goes through all records but the SOA, the origin's first, until yield
// returns false. Records of the source that cannot be served are counted.
func (z *Zone) each(yield func(mdns.RR) bool) (bad int) {
	z.mu.RLock()
	names := slices.Sorted(maps.Keys(z.names))
	source := z.source
	z.mu.RUnlock()
	if i, ok := slices.BinarySearch(names, z.origin); ok {
		names = slices.Insert(slices.Delete(names, i, i+1), 0, z.origin)
	}
	for _, name := range names {
		for _, rr := range z.held(name) {
			if !yield(rr) {
				return bad
			}
		}
	}
	if source == nil {
		return bad
	}
	for r := range source.All() {
		owner, err := z.owner(r.Name)
		if err == nil && (owner == z.origin || z.holds(owner)) {
			continue
		}
		rr, rerr := r.rr(owner)
		if err != nil || rerr != nil {
			bad++
			continue
		}
		if !yield(rr) {
			return bad
		}
	}
	return bad
}

// held are the records that the zone itself holds for a name. They are
// never changed, only replaced.
func (z *Zone) held(name string) (rrs []mdns.RR) {
	z.mu.RLock()
	defer z.mu.RUnlock()
	sets := z.names[name]
	for _, typ := range slices.Sorted(maps.Keys(sets)) {
		rrs = append(rrs, sets[typ]...)
	}
	return rrs
}

// holds reports whether the zone itself has records of a name.
func (z *Zone) holds(name string) bool {
	z.mu.RLock()
	defer z.mu.RUnlock()
	return z.names[name] != nil
}
