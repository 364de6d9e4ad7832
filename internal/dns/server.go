package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	maxTCPQueries  = 128             // per connection
	tcpIdle        = 5 * time.Second // RFC 7766 §6.2.3: a few seconds
	stopLimit      = 3 * time.Second // for answers under way when the server stops
	bindAttempts   = 20
	minUDPResponse = 512 // RFC 1035 §4.2.1
)

// ZoneServer answers questions about its zones with authority, over UDP and
// TCP. It never recurses: about other names it says REFUSED, whoever asks.
type ZoneServer struct {
	log      *slog.Logger
	udp      net.PacketConn
	tcp      net.Listener
	zones    atomic.Pointer[map[string]*Zone] // by origin; replaced, never changed
	mu       sync.Mutex                       // held to replace zones
	answered atomic.Uint64
	limited  atomic.Uint64
	panics   atomic.Uint64

	secondaries []netip.AddrPort
	limiter     *limiter // nil: no limit
	notifier    *notifier
	transfers   chan struct{} // one per transfer under way
}

// ServeConfig says how zones are served. The zero value serves them to all,
// without limit, and transfers them to nobody.
type ServeConfig struct {
	Log *slog.Logger
	// Transfer are the secondaries: their addresses alone may transfer the zones
	// (AXFR, IXFR), and they are told of changes (NOTIFY) at that port, 53 if it is 0.
	Transfer []netip.AddrPort
	// AnswersPerSecond bounds the answers over UDP to one network, /24 or /56.
	// Beyond that every second answer is dropped and every other sent truncated, so
	// that a true asker comes back over TCP. 0: no limit. What secondaries ask for
	// (SOA, transfers) is exempt.
	AnswersPerSecond int
}

// ListenZones is ListenZonesWith with nothing but a log.
func ListenZones(addr string, log *slog.Logger, zones ...*Zone) (*ZoneServer, error) {
	return ListenZonesWith(addr, ServeConfig{Log: log}, zones...)
}

// ListenZonesWith binds addr ("127.0.0.1:0" for a free port) for UDP and TCP. The
// server answers once Run is called; Close releases the port if it never is.
func ListenZonesWith(addr string, c ServeConfig, zones ...*Zone) (*ZoneServer, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &ZoneServer{log: c.Log, transfers: make(chan struct{}, maxTransfers)}
	for _, t := range c.Transfer {
		if t.Port() == 0 {
			t = netip.AddrPortFrom(t.Addr(), defaultDNSPort)
		}
		s.secondaries = append(s.secondaries, netip.AddrPortFrom(t.Addr().Unmap().WithZone(""), t.Port()))
	}
	if c.AnswersPerSecond > 0 {
		s.limiter = newLimiter(c.AnswersPerSecond)
	}
	s.notifier = newNotifier(s.notify)
	s.zones.Store(&map[string]*Zone{})
	for _, z := range zones {
		s.Add(z)
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listen for DNS on %q: %w", addr, err)
	}
	// A port that is free for TCP may be taken for UDP: try another.
	for try := 1; ; try++ {
		s.tcp, err = net.Listen("tcp", addr)
		if err != nil {
			return nil, fmt.Errorf("listen for DNS: %w", err)
		}
		s.udp, err = net.ListenPacket("udp", s.tcp.Addr().String())
		if err == nil {
			return s, nil
		}
		s.tcp.Close()
		if port != "0" || try == bindAttempts {
			return nil, fmt.Errorf("listen for DNS: %w", err)
		}
	}
}

// Addr is where the server listens.
func (s *ZoneServer) Addr() netip.AddrPort {
	return s.tcp.Addr().(*net.TCPAddr).AddrPort()
}

// Add serves a zone, instead of one with the same origin.
func (s *ZoneServer) Add(z *Zone) { s.change(func(m map[string]*Zone) { m[z.origin] = z }) }

// Remove stops serving the zone of that origin.
func (s *ZoneServer) Remove(origin string) {
	if n, err := normal(origin); err == nil {
		s.change(func(m map[string]*Zone) { delete(m, n) })
	}
}

func (s *ZoneServer) change(f func(map[string]*Zone)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := make(map[string]*Zone)
	for n, z := range *s.zones.Load() {
		next[n] = z
	}
	f(next)
	s.zones.Store(&next)
}

// Answered counts the responses sent.
func (s *ZoneServer) Answered() uint64 { return s.answered.Load() }

// Limited counts the answers that were dropped or cut for AnswersPerSecond.
func (s *ZoneServer) Limited() uint64 { return s.limited.Load() }

// Close releases the port of a server that is not running.
func (s *ZoneServer) Close() error { return errors.Join(s.tcp.Close(), s.udp.Close()) }

// Run answers until ctx is done, or until one of the two sockets fails. It
// begins by telling the secondaries: the zones may have changed since the last run.
func (s *ZoneServer) Run(ctx context.Context) error {
	ctx, cancelAll := context.WithCancel(ctx)
	defer cancelAll()
	var telling sync.WaitGroup
	defer telling.Wait()
	defer cancelAll()
	if len(s.secondaries) > 0 {
		telling.Go(func() { s.notifier.run(ctx, s.secondaries, s.untold) })
		for origin := range *s.zones.Load() {
			s.Changed(origin)
		}
	}
	servers := [...]*mdns.Server{
		{PacketConn: s.udp, UDPSize: ednsSize},
		{Listener: newStreams(ctx, s.tcp, s.secondary), MaxTCPQueries: maxTCPQueries, IdleTimeout: func() time.Duration { return tcpIdle }},
	}
	ended := make(chan error, len(servers))
	for _, srv := range servers {
		srv.Handler = mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) { s.serve(ctx, w, q) })
		go func() { ended <- srv.ActivateAndServe() }()
	}
	var err error
	left := len(servers)
	select {
	case <-ctx.Done():
	case err = <-ended:
		left--
		if err == nil {
			err = errors.New("the socket was closed")
		}
		err = fmt.Errorf("answer DNS on %s: %w", s.Addr(), err)
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	for _, srv := range servers {
		_ = srv.ShutdownContext(stop)
	}
	_ = s.Close() // ends one that had not begun, which Shutdown cannot
	for range left {
		select {
		case <-ended:
		case <-stop.Done():
			return errors.Join(err, fmt.Errorf("stop DNS on %s: %w", s.Addr(), stop.Err()))
		}
	}
	return err
}

// serve answers one message; it is the root of a goroutine of the library.
func (s *ZoneServer) serve(ctx context.Context, w mdns.ResponseWriter, q *mdns.Msg) {
	defer func() {
		if p := recover(); p != nil {
			s.panics.Add(1)
			s.log.Error("dns question made the server panic", "panic", fmt.Sprint(p))
		}
	}()
	if s.limit(w, q) {
		return
	}
	if asksTransfer(q) {
		s.transfer(ctx, w, q)
		return
	}
	r := s.respond(q)
	size := mdns.MaxMsgSize
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		size = minUDPResponse
		if opt := q.IsEdns0(); opt != nil {
			size = min(max(int(opt.UDPSize()), minUDPResponse), ednsSize)
		}
	}
	r.Truncate(size)
	s.send(w, r)
}

func (s *ZoneServer) send(w mdns.ResponseWriter, r *mdns.Msg) {
	if err := w.WriteMsg(r); err != nil {
		s.log.Debug("dns response not sent", "error", err, "remote", w.RemoteAddr().String())
		return
	}
	s.answered.Add(1)
}

// limit reports that the question gets no answer, or got an empty one, because
// its network has had enough of them.
func (s *ZoneServer) limit(w mdns.ResponseWriter, q *mdns.Msg) bool {
	from, udp := w.RemoteAddr().(*net.UDPAddr)
	if s.limiter == nil || !udp || s.secondary(from) && asksSerial(q) {
		return false
	}
	v := s.limiter.take(addrOf(from), time.Now())
	if v == send {
		return false
	}
	s.limited.Add(1)
	if v == slip {
		r := new(mdns.Msg)
		r.SetReply(q)
		r.Truncated = true
		if opt := q.IsEdns0(); opt != nil {
			r.SetEdns0(ednsSize, opt.Do())
		}
		_ = w.WriteMsg(r)
	}
	return true
}

// asksSerial reports whether q is what a secondary asks: has the zone changed?
// Nothing else is answered to its address without limit, for anybody can write
// that into a question, and SOA is a poor amplifier.
func asksSerial(q *mdns.Msg) bool {
	return asksTransfer(q) || len(q.Question) == 1 && q.Question[0].Qtype == mdns.TypeSOA
}

// untold is called for a secondary that could not be told of a change.
func (s *ZoneServer) untold(origin string, to netip.AddrPort, err error) {
	s.log.Warn("secondary not told of a changed zone", "zone", origin, "secondary", to.String(), "error", err)
}

// respond makes the response to a message.
func (s *ZoneServer) respond(q *mdns.Msg) *mdns.Msg {
	r := new(mdns.Msg)
	r.SetReply(q)
	r.Compress = true
	opt := q.IsEdns0()
	if opt != nil {
		// RFC 6891 §6.1.1: a response to a question with OPT has one. DO is echoed
		// (RFC 3225 §3), though nothing here is signed.
		r.SetEdns0(ednsSize, opt.Do())
	}
	switch {
	case opt != nil && opt.Version() != 0:
		r.Rcode = mdns.RcodeBadVers // RFC 6891 §6.1.3
	case q.Opcode != mdns.OpcodeQuery:
		r.Rcode = mdns.RcodeNotImplemented
	case len(q.Question) != 1:
		r.Rcode = mdns.RcodeFormatError
	default:
		s.answer(r, q.Question[0])
	}
	return r
}

// zone is the closest zone that holds a normal name.
func (s *ZoneServer) zone(name string) *Zone {
	zones := *s.zones.Load()
	for n := name; n != ""; n = parent(n) {
		if z, ok := zones[n]; ok {
			return z
		}
	}
	return nil
}

// answer fills in answer, authority and response code for one question,
// following aliases as far as our zones go (RFC 1034 §4.3.2).
func (s *ZoneServer) answer(r *mdns.Msg, q mdns.Question) {
	name, z := s.subject(q.Name)
	if z == nil || q.Qclass != mdns.ClassINET || q.Qtype == mdns.TypeAXFR || q.Qtype == mdns.TypeIXFR {
		r.Rcode = mdns.RcodeRefused
		return
	}
	r.Authoritative = true
	for hop := 0; ; hop++ {
		f := found{}
		if name != "" {
			f = z.find(name, q.Qtype)
		}
		if f.fail {
			r.Rcode, r.Answer, r.Authoritative = mdns.RcodeServerFailure, nil, false
			return
		}
		if hop == 0 { // the asker's own spelling comes back
			for _, rr := range f.rrs {
				rr.Header().Name = q.Name
			}
		}
		r.Answer = append(r.Answer, f.rrs...)
		if f.alias == "" {
			s.deny(r, z, f)
			return
		}
		name = f.alias
		if z = s.zone(name); z == nil || hop == maxChain {
			return // the asker goes on elsewhere
		}
	}
}

// subject is the normal form of the name asked for and the zone that it is in.
// A name that no zone can hold is empty, in the zone that it is below.
func (s *ZoneServer) subject(asked string) (string, *Zone) {
	if name, err := normal(fromLibrary(asked)); err == nil {
		return name, s.zone(name)
	}
	labels := mdns.SplitDomainName(asked)
	for i := range labels {
		if up, err := normal(fromLibrary(strings.Join(labels[i:], "."))); err == nil {
			return "", s.zone(up)
		}
	}
	return "", nil
}

// deny adds what a response without records needs: the zone's SOA, and
// NXDOMAIN where the name itself does not exist (RFC 2308 §2). The code is
// that of the last name of a chain (RFC 6604 §3).
func (s *ZoneServer) deny(r *mdns.Msg, z *Zone, f found) {
	if len(f.rrs) > 0 {
		return
	}
	if !f.name {
		r.Rcode = mdns.RcodeNameError
	}
	r.Ns = append(r.Ns, z.recent())
}
