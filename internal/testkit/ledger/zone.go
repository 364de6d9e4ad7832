package ledger

import (
	"errors"
	"net"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// Zone answers DNS questions about a made-up world: every name N below .test
// has the mail server mx.N, and every mx.N has the address 127.0.0.1. All else
// has no records. UDP only; no answer is longer than a datagram.
type Zone struct {
	pc net.PacketConn
	wg sync.WaitGroup
}

// Listen starts the zone on addr ("127.0.0.1:0" for a free port).
func (z *Zone) Listen(addr string) error {
	pc, err := net.ListenPacket("udp", addr)
	if err != nil {
		return err
	}
	z.pc = pc
	z.wg.Go(z.serve)
	return nil
}

// Addr is where the zone answers.
func (z *Zone) Addr() *net.UDPAddr { return z.pc.LocalAddr().(*net.UDPAddr) }

// Close stops the zone.
func (z *Zone) Close() {
	z.pc.Close()
	z.wg.Wait()
}

func (z *Zone) serve() {
	buf := make([]byte, 4096)
	for {
		n, from, err := z.pc.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if out, err := Answer(buf[:n]); err == nil {
			z.pc.WriteTo(out, from)
		}
	}
}

// Answer makes the response to one query.
func Answer(query []byte) ([]byte, error) {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil, err
	}
	q, err := p.Question()
	if err != nil {
		return nil, err
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: h.ID, Response: true, Authoritative: true, RecursionDesired: h.RecursionDesired, RecursionAvailable: true})
	b.EnableCompression()
	err = errors.Join(b.StartQuestions(), b.Question(q), b.StartAnswers())
	name := strings.ToLower(q.Name.String())
	rh := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 300}
	host := strings.HasPrefix(name, "mx.")
	switch {
	case !strings.HasSuffix(name, ".test."):
	case q.Type == dnsmessage.TypeMX && !host:
		mx, nameErr := dnsmessage.NewName("mx." + name)
		err = errors.Join(err, nameErr, b.MXResource(rh, dnsmessage.MXResource{Pref: 10, MX: mx}))
	case q.Type == dnsmessage.TypeA && host:
		err = errors.Join(err, b.AResource(rh, dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}))
	}
	if err != nil {
		return nil, err
	}
	return b.Finish()
}
