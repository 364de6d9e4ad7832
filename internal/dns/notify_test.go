package dns_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"postern/internal/dns"
)

// A secondary is told when the server starts, and of changes, and can tell from
// the message which serial there is.
func TestServerNotifies(t *testing.T) {
	t.Parallel()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	got := make(chan *mdns.Msg, 10)
	srv := &mdns.Server{PacketConn: pc, Handler: mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
		got <- q
		_ = w.WriteMsg(new(mdns.Msg).SetReply(q))
	})}
	go srv.ActivateAndServe()
	t.Cleanup(func() { _ = srv.Shutdown() })
	z := sourceZone(t)
	src := newSource(1)
	z.SetSource(src)
	s, err := dns.ListenZonesWith("127.0.0.1:0", dns.ServeConfig{Transfer: []netip.AddrPort{pc.LocalAddr().(*net.UDPAddr).AddrPort()}}, z)
	must(t, err)
	dns.NotifyFaster(s, 100)
	run(t, s)
	for range 2 {
		select {
		case m := <-got:
			q := m.Question[0]
			soa, ok := m.Answer[0].(*mdns.SOA)
			if m.Opcode != mdns.OpcodeNotify || m.Response || !m.Authoritative || q.Name != "example.test." || q.Qtype != mdns.TypeSOA || !ok || soa.Serial != z.Serial() {
				t.Errorf("told %v", m)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("not told")
		}
		src.set(dns.Record{Name: "new.example.test", Type: "TXT", TTL: time.Minute, Data: "v"})
		s.Changed("Example.TEST.")
		s.Changed("other.test") // not ours: nobody is told
		s.Changed("")
	}
}

func TestServerWithoutSecondariesNotifiesNobody(t *testing.T) {
	t.Parallel()
	s := serve(t, sourceZone(t))
	s.Changed("example.test")
}
