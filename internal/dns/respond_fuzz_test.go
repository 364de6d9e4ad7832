package dns

import (
	"net"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
)

// answerTo is a mdns.ResponseWriter that keeps what is written to it.
type answerTo struct {
	from net.Addr
	wire [][]byte
}

func (a *answerTo) LocalAddr() net.Addr  { return a.from }
func (a *answerTo) RemoteAddr() net.Addr { return a.from }
func (a *answerTo) WriteMsg(m *mdns.Msg) error {
	wire, err := m.Pack()
	if err == nil {
		a.wire = append(a.wire, wire)
	}
	return err
}
func (a *answerTo) Write(b []byte) (int, error) { a.wire = append(a.wire, b); return len(b), nil }
func (a *answerTo) Close() error                { return nil }
func (a *answerTo) TsigStatus() error           { return nil }
func (a *answerTo) TsigTimersOnly(bool)         {}
func (a *answerTo) Hijack()                     {}

// FuzzServe: whatever a stranger asks, the server answers once at most, with no
// more than fits, never recursing, never a panic, and never with the whole zone.
func FuzzServe(f *testing.F) {
	z, err := NewZone(ZoneConfig{Origin: "example.test"})
	if err != nil {
		f.Fatal(err)
	}
	for _, r := range []Record{{"example.test", "MX", time.Minute, "10 a.test"}, {"*.w.example.test", "TXT", time.Minute, "x"}, {"c.example.test", "CNAME", time.Minute, "w.w.example.test"}} {
		if err := z.Set(r.Name, r.Type, r.TTL, r.Data); err != nil {
			f.Fatal(err)
		}
	}
	s, err := ListenZones("127.0.0.1:0", nil, z)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	for _, typ := range []uint16{mdns.TypeMX, mdns.TypeTXT, mdns.TypeAXFR, mdns.TypeIXFR, mdns.TypeANY} {
		for _, name := range []string{"example.test.", "x.c.w.example.test.", ".", `\000\.example.test.`} {
			m := new(mdns.Msg)
			m.SetQuestion(name, typ)
			m.SetEdns0(4096, true)
			wire, err := m.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(wire, typ%2 == 0)
		}
	}
	f.Fuzz(func(t *testing.T, wire []byte, tcp bool) {
		q := new(mdns.Msg)
		if q.Unpack(wire) != nil {
			return
		}
		w := &answerTo{from: &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 53}}
		if tcp {
			w.from = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 53}
		}
		s.serve(t.Context(), w, q)
		if s.panics.Load() > 0 {
			t.Fatal("panic")
		}
		if len(w.wire) > 1 {
			t.Fatalf("%d answers", len(w.wire))
		}
		for _, b := range w.wire {
			if !tcp && len(b) > ednsSize {
				t.Fatalf("%d octets over UDP", len(b))
			}
			r := new(mdns.Msg)
			if err := r.Unpack(b); err != nil {
				t.Fatalf("answered what is no message: %v", err)
			}
			if r.RecursionAvailable || !r.Response || r.Id != q.Id {
				t.Fatalf("answered %v", r)
			}
			if asksTransfer(q) && len(r.Answer) > 0 {
				t.Fatalf("transferred to a stranger: %v", r)
			}
		}
	})
}
