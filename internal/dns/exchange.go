package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	// ednsSize is the UDP payload that we say we take: what passes every common
	// path unfragmented, since fragments can be forged (RFC 9715 §3.2).
	ednsSize = 1232
	// maxStray is how many datagrams that answer another question are ignored
	// before the question is asked again over TCP: somebody may be guessing.
	maxStray = 8
)

var errStray = errors.New("too many datagrams that answer something else")

// resolve answers q from the servers, following aliases that they leave open.
// Its errors wrap ErrTemporary.
func (c *Client) resolve(ctx context.Context, q question) (*answer, error) {
	secure, hops, ttl := true, 0, maxTTL
	for at := q; ; {
		a, next, used, err := c.askServers(ctx, at, hops)
		if err != nil {
			return nil, err
		}
		hops += used
		secure, ttl = secure && a.secure, min(ttl, a.ttl)
		if next == "" {
			a.secure, a.ttl = secure, ttl
			return a, nil
		}
		at.name = next
	}
}

// askServers goes through the servers, beginning with the one that answered
// last, until one answers. A server that is slow, lame or broken is passed
// over; the last of their errors is returned when all were.
func (c *Client) askServers(ctx context.Context, q question, hops int) (a *answer, next string, used int, err error) {
	begin, last := int(c.first.Load()), error(nil)
	for range c.attempts {
		for i := range c.servers {
			n := (begin + i) % len(c.servers)
			s := c.servers[n]
			r, err := c.exchange(ctx, s.addr, q)
			if err == nil {
				a, next, used, err = read(q, r, hops)
			}
			switch {
			case err == nil:
				c.first.Store(uint32(n))
				a.secure = r.AuthenticatedData && s.trusted
				return a, next, used, nil
			case ctx.Err() != nil:
				return nil, "", 0, fmt.Errorf("%s: %w: %w", q, ErrTemporary, context.Cause(ctx))
			case errors.Is(err, ErrTemporary): // the answer itself is the trouble
				return nil, "", 0, err
			}
			last = fmt.Errorf("%s: %w: server %s: %w", q, ErrTemporary, s.addr, err)
		}
	}
	return nil, "", 0, last
}

// exchange asks one server, by UDP and where that is not enough by TCP, and
// returns a response that says yes or no.
func (c *Client) exchange(ctx context.Context, addr string, q question) (*mdns.Msg, error) {
	m := new(mdns.Msg)
	m.SetQuestion(q.name+".", q.typ) // the library draws the ID from crypto/rand
	m.RecursionDesired = true
	m.AuthenticatedData = true // RFC 6840 §5.7: the AD bit is wanted
	m.SetEdns0(ednsSize, true)
	x := exchanger{timeout: c.timeout}
	r, err := x.exchange(ctx, addr, m)
	if err != nil {
		return nil, err
	}
	if r.Rcode != mdns.RcodeSuccess && r.Rcode != mdns.RcodeNameError {
		return nil, fmt.Errorf("answered %s", rcodeName(r.Rcode))
	}
	return r, nil
}

func rcodeName(rc int) string {
	if s, ok := mdns.RcodeToString[rc]; ok {
		return s
	}
	return fmt.Sprintf("RCODE %d", rc)
}

// exchanger sends questions, whoever is asked.
type exchanger struct {
	timeout time.Duration // for one question on one network
	// before, if set, is called before each of them, and what it returns after.
	before func(context.Context) (after func(), err error)
}

// exchange sends m and returns the response to it, whatever it says.
func (x exchanger) exchange(ctx context.Context, addr string, m *mdns.Msg) (*mdns.Msg, error) {
	r, err := x.roundTrip(ctx, addr, m)
	if err == nil && (r.Rcode == mdns.RcodeFormatError || r.Rcode == mdns.RcodeNotImplemented) && r.IsEdns0() == nil {
		// RFC 6891 §7: a server from before EDNS.
		m.Extra = nil
		m.Id = mdns.Id()
		r, err = x.roundTrip(ctx, addr, m)
	}
	return r, err
}

func (x exchanger) roundTrip(ctx context.Context, addr string, m *mdns.Msg) (*mdns.Msg, error) {
	r, err := x.transfer(ctx, "udp", addr, m)
	if err == nil && !r.Truncated {
		return r, nil
	}
	if err != nil && !errors.Is(err, errStray) {
		return nil, err
	}
	// RFC 7766 §5: a truncated answer is asked for again over TCP. A new ID,
	// for the old one has been seen on the wire.
	m.Id = mdns.Id()
	if r, err = x.transfer(ctx, "tcp", addr, m); err == nil && r.Truncated {
		return nil, fmt.Errorf("truncated over TCP: %w", ErrLame)
	}
	return r, err
}

// transfer sends m from a socket of its own, so that the source port is a
// fresh random one (RFC 5452 §9.2), and waits for the response to it.
func (x exchanger) transfer(ctx context.Context, network, addr string, m *mdns.Msg) (*mdns.Msg, error) {
	if x.before != nil {
		after, err := x.before(ctx)
		if err != nil {
			return nil, err
		}
		defer after()
	}
	ctx, cancel := context.WithTimeout(ctx, x.timeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	// A caller that gives up must not wait for the deadline.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	co := &mdns.Conn{Conn: conn, UDPSize: ednsSize}
	if err := co.WriteMsg(m); err != nil {
		return nil, err
	}
	for range maxStray {
		r, err := co.ReadMsg()
		if r == nil && !errors.Is(err, mdns.ErrShortRead) {
			return nil, err // the connection's error
		}
		if err == nil && answers(r, m) {
			return r, nil
		}
		if network == "tcp" {
			return nil, fmt.Errorf("not an answer to the question: %w", errors.Join(err, ErrLame))
		}
	}
	return nil, errStray
}

// answers reports whether r is the response to m: same ID, same single
// question, the response bit (RFC 5452 §9.1).
func answers(r, m *mdns.Msg) bool {
	if r.Id != m.Id || !r.Response || r.Opcode != mdns.OpcodeQuery {
		return false
	}
	if len(r.Question) == 0 && (r.Rcode == mdns.RcodeFormatError || r.Rcode == mdns.RcodeNotImplemented) {
		return true // such servers may not have understood the question
	}
	return len(r.Question) == 1 && r.Question[0].Qtype == m.Question[0].Qtype &&
		r.Question[0].Qclass == m.Question[0].Qclass &&
		owns(strings.TrimSuffix(m.Question[0].Name, "."), r.Question[0].Name)
}
