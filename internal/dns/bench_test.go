package dns_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"postern/internal/dns"
)

// BenchmarkAnswers is the server and its askers on one machine, over UDP: names
// that are made when they are asked for, and names that do not exist.
func BenchmarkAnswers(b *testing.B) {
	for _, bb := range []struct {
		what, name string
		typ        uint16
	}{
		{"held", "relay.example.test.", mdns.TypeA},
		{"made", "s1.domainkey.u%d.wl.example.test.", mdns.TypeTXT},
		{"missing", "n%d.example.test.", mdns.TypeTXT},
		{"missing with wildcards", "n%d.example.test.", mdns.TypeMX},
	} {
		b.Run(bb.what, func(b *testing.B) {
			z := newZone(b, "example.test", []string{"relay.example.test", "A", "192.0.2.1"})
			if bb.typ == mdns.TypeMX {
				must(b, z.Set("*.wild.example.test", "TXT", time.Minute, "v"))
			}
			z.SetSource(oneKey{})
			s := serveWith(b, dns.ServeConfig{AnswersPerSecond: 1 << 30}, z)
			var n atomic.Uint64
			b.SetParallelism(8)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				conn, err := net.Dial("udp", s.Addr().String())
				if err != nil {
					b.Error(err)
					return
				}
				defer conn.Close()
				buf := make([]byte, 4096)
				for pb.Next() {
					name := bb.name
					if bb.what != "held" {
						name = fmt.Sprintf(name, n.Add(1))
					}
					q := question(name, bb.typ)
					q.SetEdns0(1232, false)
					wire, err := q.Pack()
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = conn.Write(wire)
					_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
					if _, err := conn.Read(buf); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "answers/s")
		})
	}
}

// oneKey is a source in which every name under domainkey has the same key.
type oneKey struct{ many }

func (oneKey) Records(name string) ([]dns.Record, bool) {
	if len(name) < 13 || name[:13] != "s1.domainkey." {
		return nil, false
	}
	return []dns.Record{{Name: name, Type: "TXT", TTL: time.Minute, Data: "v=DKIM1; k=rsa; p=" + dkimKey}}, true
}

// BenchmarkTransfer is AXFR of 700,000 records to a secondary on this machine
// that throws them away. peak-MB is by how much the heap grew meanwhile.
func BenchmarkTransfer(b *testing.B) {
	const records = 700_000
	z := sourceZone(b)
	z.SetSource(many{n: records})
	s := serveWith(b, dns.ServeConfig{Transfer: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9")}}, z)
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	base, peak := m.HeapAlloc, uint64(0)
	octets := 0
	b.ResetTimer()
	for b.Loop() {
		conn, err := net.Dial("tcp", s.Addr().String())
		must(b, err)
		wire, err := axfr("example.test.").Pack()
		must(b, err)
		_, err = conn.Write(append([]byte{byte(len(wire) >> 8), byte(len(wire))}, wire...))
		must(b, err)
		got := 0
		for buf := make([]byte, 1<<16+2); got < records+6; {
			_, err := io.ReadFull(conn, buf[:2])
			must(b, err)
			n := int(buf[0])<<8 | int(buf[1])
			_, err = io.ReadFull(conn, buf[:n])
			must(b, err)
			got += int(buf[6])<<8 | int(buf[7]) // ANCOUNT
			if octets += n; octets%(1<<20) < n {
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapAlloc-min(base, m.HeapAlloc))
			}
		}
		conn.Close()
	}
	b.ReportMetric(float64(peak)/1e6, "peak-MB")
	b.ReportMetric(float64(octets)/float64(b.N)/1e6, "wire-MB")
	b.ReportMetric(float64(b.N)*records/b.Elapsed().Seconds(), "records/s")
}
