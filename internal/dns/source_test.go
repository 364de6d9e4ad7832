package dns_test

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"postern/internal/dns"
)

// source is a dns.Source over a list.
type source struct {
	mu      sync.Mutex
	records map[string][]dns.Record
	serial  atomic.Uint32
}

func newSource(serial uint32, records ...dns.Record) *source {
	s := &source{records: make(map[string][]dns.Record)}
	for _, r := range records {
		s.records[r.Name] = append(s.records[r.Name], r)
	}
	s.serial.Store(serial)
	return s
}

func (s *source) set(r dns.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records[r.Name] = []dns.Record{r}
	s.serial.Add(1)
}

func (s *source) Records(name string) (rs []dns.Record, exists bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range s.records {
		exists = exists || n == name || strings.HasSuffix(n, "."+name)
	}
	return s.records[name], exists
}

func (s *source) All() iter.Seq[dns.Record] {
	return func(yield func(dns.Record) bool) {
		s.mu.Lock()
		all := slices.Concat(slices.Collect(maps.Values(s.records))...)
		s.mu.Unlock()
		slices.SortStableFunc(all, func(a, b dns.Record) int { return cmp.Compare(a.Name, b.Name) })
		for _, r := range all {
			if !yield(r) {
				return
			}
		}
	}
}

func (s *source) Serial() uint32 { return s.serial.Load() }

func sourceRecords() []dns.Record {
	return []dns.Record{
		{"u1.wl.example.test", "MX", time.Minute, "10 relay.example.test"},
		{"u1.wl.example.test", "TXT", time.Minute, "v=spf1 ip4:192.0.2.1 -all"},
		{"s1.domainkey.u1.wl.example.test", "TXT", 2 * time.Minute, "v=DKIM1; p=" + strings.Repeat("A", 400)},
		{"alias.u1.wl.example.test", "CNAME", time.Minute, "relay.example.test"},
		{"a.deep.wild.example.test", "TXT", time.Minute, "made"},
		{"relay.example.test", "A", time.Minute, "192.0.2.200"}, // the zone's own stands
		{"broken.example.test", "MX", time.Minute, "not a number"},
		{"odd.example.test", "NSEC", time.Minute, "x"},
		{"example.test", "TXT", time.Minute, "never asked for"},
		{"other.test", "TXT", time.Minute, "outside"},
	}
}

func sourceZone(tb testing.TB) *dns.Zone {
	return newZone(tb, "example.test",
		[]string{"relay.example.test", "A", "192.0.2.1"},
		[]string{"*.wild.example.test", "TXT", "wild"},
		[]string{"x.u1.wl.example.test", "TXT", "the zone's, below a made name"},
	)
}

func TestZoneSource(t *testing.T) {
	t.Parallel()
	z := sourceZone(t)
	z.SetSource(newSource(1, sourceRecords()...))
	s := serve(t, z)
	for _, tt := range []struct {
		name string
		typ  uint16
		want string
	}{
		{"u1.wl.example.test.", mdns.TypeMX, "NOERROR 10 relay.example.test."},
		{"U1.WL.example.test.", mdns.TypeTXT, `NOERROR "v=spf1 ip4:192.0.2.1 -all"`},
		{"u1.wl.example.test.", mdns.TypeA, "NOERROR SOA"},
		{"u1.wl.example.test.", mdns.TypeANY, "NOERROR 10 relay.example.test."},
		{"s1.domainkey.u1.wl.example.test.", mdns.TypeTXT, `NOERROR "v=DKIM1; p=` + strings.Repeat("A", 244) + `" "` + strings.Repeat("A", 156) + `"`},
		{"domainkey.u1.wl.example.test.", mdns.TypeTXT, "NOERROR SOA"}, // empty non-terminal
		{"wl.example.test.", mdns.TypeTXT, "NOERROR SOA"},
		{"u2.wl.example.test.", mdns.TypeTXT, "NXDOMAIN SOA"},
		{"x.u1.wl.example.test.", mdns.TypeTXT, `NOERROR "the zone's, below a made name"`},
		{"alias.u1.wl.example.test.", mdns.TypeA, "NOERROR relay.example.test. 192.0.2.1"},
		{"alias.u1.wl.example.test.", mdns.TypeCNAME, "NOERROR relay.example.test."},
		{"relay.example.test.", mdns.TypeA, "NOERROR 192.0.2.1"},
		{"any.wild.example.test.", mdns.TypeTXT, `NOERROR "wild"`},
		{"a.deep.wild.example.test.", mdns.TypeTXT, `NOERROR "made"`},
		// RFC 4592 §2.2.2: deep.wild exists, so the wildcard says nothing about what is below or at it.
		{"b.deep.wild.example.test.", mdns.TypeTXT, "NXDOMAIN SOA"},
		{"deep.wild.example.test.", mdns.TypeTXT, "NOERROR SOA"},
		{"broken.example.test.", mdns.TypeMX, "SERVFAIL"}, // "no such record" would be a lie
		{"broken.example.test.", mdns.TypeTXT, "NOERROR SOA"},
		{"example.test.", mdns.TypeTXT, "NOERROR SOA"},
		{"other.test.", mdns.TypeTXT, "REFUSED"},
	} {
		r := exchange(t, s, "tcp", question(tt.name, tt.typ))
		got := mdns.RcodeToString[r.Rcode]
		for _, rr := range r.Answer {
			got += " " + strings.TrimPrefix(rr.String(), rr.Header().String())
		}
		for _, rr := range r.Ns {
			got += " " + mdns.TypeToString[rr.Header().Rrtype]
		}
		if got != tt.want {
			t.Errorf("%s %s: got %s, want %s", tt.name, mdns.TypeToString[tt.typ], got, tt.want)
		}
	}
}

// The serial rises with the zone's changes and with the source's, and at the
// start of a new process, which knows nothing of the former, it has not fallen.
func TestZoneSerial(t *testing.T) {
	t.Parallel()
	z, src := sourceZone(t), newSource(7)
	z.SetSource(src)
	last := z.Serial()
	for i, change := range []func(){
		func() { must(t, z.Set("x.example.test", "TXT", time.Minute, "v")) },
		func() { src.set(dns.Record{"y.example.test", "TXT", time.Minute, "v"}) },
		func() { must(t, z.Remove("x.example.test")) },
		func() { must(t, z.Parse(strings.NewReader("z TXT v"))) },
	} {
		change()
		if now := z.Serial(); int32(now-last) <= 0 {
			t.Errorf("change %d: %d after %d", i, now, last)
		} else {
			last = now
		}
	}
	fixed, err := dns.NewZone(dns.ZoneConfig{Origin: "example.test", Serial: 1000})
	must(t, err)
	fixed.SetSource(newSource(50))
	if n := fixed.Serial(); n < 1050 || n > 1060 {
		t.Errorf("serial %d, counted from 1000 and 50", n)
	}
}

// Questions, changes and transfers at the same time.
func TestZoneSourceConcurrently(t *testing.T) {
	t.Parallel()
	z := sourceZone(t)
	src := newSource(1, sourceRecords()...)
	z.SetSource(src)
	s := serve(t, z)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 50 {
				src.set(dns.Record{fmt.Sprintf("n%d.%d.example.test", n, i), "TXT", time.Minute, "v"})
				_ = z.Set(fmt.Sprintf("o%d.%d.example.test", n, i), "TXT", time.Minute, "v")
				if r := exchange(t, s, "udp", question(fmt.Sprintf("n%d.%d.example.test.", n, i), mdns.TypeTXT)); len(r.Answer) != 1 {
					t.Errorf("%v", r)
				}
				z.SetSource(src)
			}
		})
	}
	wg.Wait()
}

// slowSerial is a source that counts how often it is asked for its serial.
type slowSerial struct {
	*source
	asked atomic.Int64
}

func (s *slowSerial) Serial() uint32 {
	s.asked.Add(1)
	return s.source.Serial()
}

// A flood of questions does not make the source work out its serial each time;
// a transfer and Serial get today's, and answers never fall behind them.
func TestZoneAsksForSerialSeldom(t *testing.T) {
	t.Parallel()
	z, src := sourceZone(t), &slowSerial{source: newSource(1)}
	z.SetSource(src)
	s := serve(t, z)
	begin := time.Now()
	for range 500 {
		exchange(t, s, "udp", question("none.example.test.", mdns.TypeTXT))
		exchange(t, s, "udp", question("example.test.", mdns.TypeSOA))
	}
	if n, most := src.asked.Load(), int64(3+2*time.Since(begin)/time.Second); n > most {
		t.Errorf("asked for its serial %d times", n)
	}
	src.set(dns.Record{"new.example.test", "TXT", time.Minute, "v"})
	now := z.Serial()
	for _, q := range []*mdns.Msg{question("none.example.test.", mdns.TypeTXT), question("example.test.", mdns.TypeSOA)} {
		r := exchange(t, s, "udp", q)
		if soa := append(r.Answer, r.Ns...)[0].(*mdns.SOA); soa.Serial != now {
			t.Errorf("serial %d, want %d", soa.Serial, now)
		}
	}
	must(t, z.Set("own.example.test", "TXT", time.Minute, "v"))
	r := exchange(t, s, "udp", question("example.test.", mdns.TypeSOA))
	if soa := r.Answer[0].(*mdns.SOA); soa.Serial <= now {
		t.Errorf("serial %d after a change of the zone itself, before %d", soa.Serial, now)
	}
}
