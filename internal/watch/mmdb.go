package watch

import (
	"errors"
	"fmt"
	"io/fs"
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
	db   atomic.Pointer[maxminddb.Reader]
	at   time.Time
	size int64
}

// OpenPlaces opens the operator's files; "" is none. A file may be replaced while
// it is open; Refresh takes the new one.
func OpenPlaces(places, networks string) (*MMDB, error) {
	m := &MMDB{}
	var err error
	if m.places, err = openFile(places); err != nil {
		return nil, err
	}
	if m.systems, err = openFile(networks); err != nil {
		return nil, err
	}
	return m, nil
}

func openFile(name string) (*file, error) {
	if name == "" {
		return nil, nil
	}
	f := &file{name: name}
	if _, err := f.refresh(); err != nil {
		return nil, err
	}
	return f, nil
}

// refresh opens the file if it is another one than before. What was open goes on
// being used by those who are in the middle of asking; the collector closes it.
func (f *file) refresh() (bool, error) {
	stat, err := os.Stat(f.name)
	if err != nil {
		return false, fmt.Errorf("database of places: %w", err)
	}
	if f.db.Load() != nil && stat.ModTime().Equal(f.at) && stat.Size() == f.size {
		return false, nil
	}
	// Into memory: a file that is cut while it is mapped would end the process.
	text, err := os.ReadFile(f.name)
	if err != nil {
		return false, fmt.Errorf("database of places: %w", err)
	}
	db, err := maxminddb.OpenBytes(text)
	if err != nil {
		return false, fmt.Errorf("database of places %s: %w", f.name, err)
	}
	f.db.Store(db)
	f.at, f.size = stat.ModTime(), stat.Size()
	return true, nil
}

// Refresh reads files anew that changed. A file that is gone or cannot be read
// leaves the one before in use, and is the error. Not at once with itself.
func (m *MMDB) Refresh() (changed bool, err error) {
	for _, f := range []*file{m.places, m.systems} {
		if f == nil {
			continue
		}
		c, e := f.refresh()
		changed = changed || c
		if e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
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
