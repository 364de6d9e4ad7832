package watch

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"
)

// MMDB knows places from the operator's MaxMind DB files: one with countries or
// cities, one with autonomous systems. Either may be missing. It may be used by
// many at once.
type MMDB struct {
	places, systems *file
}

// file is one database, read anew when it changes on disk.
type file struct {
	name string
	kind kind
	db   atomic.Pointer[maxminddb.Reader]
	// What was looked at last, and what was wrong with it.
	at      time.Time
	size    int64
	problem error
}

// kind is what a database must have to be of use.
type kind struct {
	what string
	of   func(*placeRecord) bool
}

var (
	ofPlaces = kind{"countries or cities", func(r *placeRecord) bool {
		return r.Country.ISO != "" || r.Registered.ISO != "" || r.City.Names.English != "" || r.Location.Lat != nil
	}}
	ofSystems = kind{"autonomous systems", func(r *placeRecord) bool { return r.ASN != 0 }}
)

// OpenPlaces opens the operator's files; "" is none. One that is no MaxMind DB
// file, or one of another kind, is an error. A file may be replaced while it is
// open; Refresh takes the new one.
func OpenPlaces(places, networks string) (*MMDB, error) {
	m := &MMDB{}
	var err error
	if m.places, err = openFile(places, ofPlaces); err != nil {
		return nil, err
	}
	if m.systems, err = openFile(networks, ofSystems); err != nil {
		return nil, err
	}
	return m, nil
}

func openFile(name string, k kind) (*file, error) {
	if name == "" {
		return nil, nil
	}
	f := &file{name: name, kind: k}
	if _, err := f.refresh(); err != nil {
		return nil, err
	}
	return f, nil
}

// refresh takes the file if it is another one than before. What was open goes on
// being used by those who are in the middle of asking; the collector closes it. A
// file that cannot be used is read once, and remains the error.
func (f *file) refresh() (bool, error) {
	stat, err := os.Stat(f.name)
	if err != nil {
		f.at, f.size, f.problem = time.Time{}, 0, nil // when it is back, it is another one
		return false, fmt.Errorf("database of places: %w", err)
	}
	if stat.ModTime().Equal(f.at) && stat.Size() == f.size {
		return false, f.problem
	}
	f.at, f.size, f.problem = stat.ModTime(), stat.Size(), nil
	db, err := readDatabase(f.name, f.kind)
	if err != nil {
		f.problem = fmt.Errorf("database of places %s: %w", f.name, err)
		return false, f.problem
	}
	f.db.Store(db)
	return true, nil
}

// readDatabase reads a file into memory: one that is cut while it is mapped would
// end the process.
func readDatabase(name string, k kind) (*maxminddb.Reader, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	db, err := maxminddb.OpenBytes(text)
	if err != nil {
		return nil, err
	}
	return db, k.check(db)
}

// looked is how many networks of a database are looked at for what it has.
const looked = 10_000

// check refuses a database that has nothing of its kind: what the formats of others
// have under other names would not be found either.
func (k *kind) check(db *maxminddb.Reader) error {
	n := 0
	for result := range db.Networks() {
		var r placeRecord
		if result.Decode(&r) == nil && k.of(&r) {
			return nil
		}
		if n++; n >= looked {
			break
		}
	}
	return fmt.Errorf("it has no %s: it is damaged, or of another kind (%s)", k.what, printable(db.Metadata.DatabaseType, 60))
}

// Refresh takes files that changed. One that is gone, or cannot be used, leaves the
// one before in use, and is the error for as long as it is so. Not at once with
// itself.
func (m *MMDB) Refresh() (changed bool, err error) {
	for _, f := range []*file{m.places, m.systems} {
		if f == nil {
			continue
		}
		c, e := f.refresh()
		changed, err = changed || c, errors.Join(err, e)
	}
	return changed, err
}

// placeRecord is what is read of a country or city database.
type placeRecord struct {
	Country struct {
		ISO string `maxminddb:"iso_code"`
	} `maxminddb:"country"`
	Registered struct {
		ISO string `maxminddb:"iso_code"`
	} `maxminddb:"registered_country"`
	City struct {
		Names struct {
			English string `maxminddb:"en"`
		} `maxminddb:"names"`
	} `maxminddb:"city"`
	Location struct {
		Lat *float64 `maxminddb:"latitude"`
		Lon *float64 `maxminddb:"longitude"`
	} `maxminddb:"location"`
	ASN uint `maxminddb:"autonomous_system_number"`
}

// Look finds an address in the files.
func (m *MMDB) Look(addr netip.Addr) (p Place, ok bool) {
	addr = addr.Unmap().WithZone("")
	for _, f := range []*file{m.places, m.systems} {
		if f == nil {
			continue
		}
		var r placeRecord
		result := f.db.Load().Lookup(addr)
		if !result.Found() || result.Decode(&r) != nil {
			continue
		}
		ok = true
		if p.Country == "" {
			p.Country = r.Country.ISO
		}
		if p.Country == "" {
			p.Country = r.Registered.ISO
		}
		if p.City == "" {
			p.City = r.City.Names.English
		}
		if r.Location.Lat != nil && r.Location.Lon != nil && !p.Located {
			p.Lat, p.Lon, p.Located = *r.Location.Lat, *r.Location.Lon, true
		}
		if r.ASN != 0 {
			p.ASN = r.ASN
		}
	}
	return p, ok
}
