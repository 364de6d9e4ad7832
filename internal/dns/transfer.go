package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	// transferSize is how much of a zone goes into one message, in octets before
	// compression: names are compressed against the first 16 KiB only.
	transferSize = 16 << 10
	maxTransfers = 8                // at once
	transferTime = 30 * time.Minute // for one
)

// secondary reports whether an address may transfer our zones.
func (s *ZoneServer) secondary(addr net.Addr) bool {
	a := addrOf(addr)
	for _, t := range s.secondaries {
		if t.Addr() == a {
			return true
		}
	}
	return false
}

func addrOf(addr net.Addr) netip.Addr {
	switch a := addr.(type) {
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap().WithZone("")
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// asksTransfer reports whether q asks for a whole zone or what changed in it.
func asksTransfer(q *mdns.Msg) bool {
	return q.Opcode == mdns.OpcodeQuery && len(q.Question) == 1 &&
		(q.Question[0].Qtype == mdns.TypeAXFR || q.Question[0].Qtype == mdns.TypeIXFR)
}

// transfer answers AXFR (RFC 5936) and IXFR (RFC 1995) for those who may, and
// refuses everybody else. We keep no history: who asks for what changed gets the
// whole zone, or its SOA alone if nothing did, or over UDP, where the whole does
// not fit (RFC 1995 §2).
func (s *ZoneServer) transfer(ctx context.Context, w mdns.ResponseWriter, q *mdns.Msg) {
	_, udp := w.RemoteAddr().(*net.UDPAddr)
	question := q.Question[0]
	r := new(mdns.Msg)
	r.SetReply(q)
	name, z := s.subject(question.Name)
	switch {
	case question.Qclass != mdns.ClassINET || !s.secondary(w.RemoteAddr()):
		r.Rcode = mdns.RcodeRefused
	case z == nil || name != z.origin:
		r.Rcode = mdns.RcodeNotAuth // RFC 5936 §2.2.1
	case udp && question.Qtype == mdns.TypeAXFR:
		r.Rcode = mdns.RcodeFormatError // RFC 5936 §4.2
	default:
		soa := z.current()
		if question.Qtype == mdns.TypeIXFR && (udp || upToDate(q, soa.Serial)) {
			r.Authoritative, r.Answer = true, []mdns.RR{soa}
			break
		}
		s.stream(ctx, w, q, z, soa)
		return
	}
	s.send(w, r)
}

// upToDate reports that the asker of an IXFR has this serial or a later one.
func upToDate(q *mdns.Msg, serial uint32) bool {
	for _, rr := range q.Ns {
		if soa, ok := rr.(*mdns.SOA); ok {
			return int32(serial-soa.Serial) <= 0 // RFC 1982 §3.2
		}
	}
	return false
}

// stream sends a whole zone in as many messages as it takes. Changes meanwhile
// may or may not be in it; its serial is the one from before them, so that the
// secondary comes back. A transfer that cannot be completed ends with the
// connection, never with the closing SOA.
func (s *ZoneServer) stream(ctx context.Context, w mdns.ResponseWriter, q *mdns.Msg, z *Zone, soa *mdns.SOA) {
	log := s.log.With("zone", z.origin, "remote", w.RemoteAddr().String(), "serial", soa.Serial)
	select {
	case s.transfers <- struct{}{}:
		defer func() { <-s.transfers }()
	default:
		log.Warn("zone transfer put off: too many at once")
		r := new(mdns.Msg)
		s.send(w, r.SetRcode(q, mdns.RcodeServerFailure))
		return
	}
	ctx, cancel := context.WithTimeout(ctx, transferTime)
	defer cancel()
	begin := time.Now()
	out := envelope{ctx: ctx, w: w, q: q}
	out.add(soa)
	bad := z.each(out.add)
	out.add(soa)
	err := out.flush()
	if err != nil {
		_ = w.Close()
		log.Warn("zone transfer broke off", "error", err, "records", out.sent)
		return
	}
	s.answered.Add(1)
	if bad > 0 {
		log.Error("records left out of a zone transfer", "records", bad)
	}
	log.Info("zone transferred", "records", out.sent, "duration", time.Since(begin))
}

// envelope gathers records into messages.
type envelope struct {
	ctx  context.Context
	w    mdns.ResponseWriter
	q    *mdns.Msg
	rrs  []mdns.RR
	size int
	sent int
	err  error
}

// add returns false once the transfer has failed.
func (e *envelope) add(rr mdns.RR) bool {
	if n := mdns.Len(rr); e.size+n > transferSize && len(e.rrs) > 0 {
		e.write()
	}
	if e.err != nil {
		return false
	}
	e.size += mdns.Len(rr)
	e.rrs = append(e.rrs, rr)
	return true
}

func (e *envelope) flush() error {
	if e.err == nil && len(e.rrs) > 0 {
		e.write()
	}
	return e.err
}

func (e *envelope) write() {
	if e.err = e.ctx.Err(); e.err != nil {
		e.err = errors.Join(e.err, context.Cause(e.ctx))
		return
	}
	r := new(mdns.Msg)
	r.SetReply(e.q)
	r.Authoritative, r.Compress, r.Answer = true, true, e.rrs
	if e.err = e.w.WriteMsg(r); e.err == nil {
		e.sent += len(e.rrs)
	}
	e.rrs, e.size = e.rrs[:0], 0
}
