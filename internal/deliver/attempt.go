package deliver

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"postern/internal/dns"
	"postern/internal/relay"
	"postern/internal/smtp"
	"postern/internal/smtpclient"
	"postern/internal/tlspolicy"
)

// Bounds of one attempt.
const (
	maxTries = 10               // addresses that are tried in vain
	maxTime  = 10 * time.Minute // after this no further address is tried
)

// attempt is one call of Deliver.
type attempt struct {
	d     *Deliverer
	ctx   context.Context
	req   *Request
	level tlspolicy.Requirement
	begin time.Time

	out     []Outcome // a zero State: not decided yet
	pending []int     // positions of the undecided
	tries   int       // addresses tried in vain
	session bool      // a host was talked to
	slow    bool      // the destination asks for less
	content error
	grant   *grant // what the source address in use may send; nil: it is warm
	full    *full  // a source address that may send no more now

	// Why the undecided are where they are: the last temporary failure, and the
	// last permanent one. A temporary one wins: some host may yet take the mail.
	later, never *Outcome
}

// Deliver makes one attempt. It returns when every recipient has an outcome,
// which the time-outs, and bounds on what is tried, make sure of. When ctx is
// done, it breaks off: what is not yet handed over is Deferred.
func (d *Deliverer) Deliver(ctx context.Context, req Request) Result {
	a := &attempt{d: d, ctx: ctx, req: &req, begin: time.Now(), out: make([]Outcome, len(req.Recipients))}
	a.pending = make([]int, len(req.Recipients))
	for i := range a.pending {
		a.pending[i] = i
	}
	a.run()
	a.conclude()
	res := Result{Outcomes: a.out, Connect: a.class(), Duration: time.Since(a.begin), Content: a.content}
	a.logEnd(&res)
	return res
}

func (a *attempt) run() {
	r := &a.req.Route
	level, err := a.d.cfg.TLS.Decide(a.ctx, r.Domain, levelOf(a.req.TLS))
	if err != nil {
		a.note(&Outcome{Reply: replyPolicy})
		a.d.log.Info("deliver: no TLS policy", "domain", r.Domain, "error", err)
		return
	}
	if a.req.Message.RequireTLS {
		// RFC 8689 §4.2.1: a verified certificate, at a host whose name nobody forged.
		if !r.Secure && level.AllowHost == nil && r.via == nil {
			a.note(&Outcome{Reply: replyRequireTLS})
			return
		}
		level.Level = max(level.Level, tlspolicy.Verified)
	}
	a.level = level
	for group := range sameHostPreference(r.Hosts) {
		for _, h := range group {
			if len(a.pending) == 0 || a.spent() || !a.host(h) {
				return
			}
		}
	}
}

var replyRequireTLS = smtp.R(550, 5, 7, 30, "REQUIRETLS is needed and the mail servers' names are not authenticated")

// sameHostPreference yields the hosts of each preference in turn, shuffled
// among themselves (RFC 5321 §5.1).
func sameHostPreference(hosts []Host) func(func([]Host) bool) {
	return func(yield func([]Host) bool) {
		for len(hosts) > 0 {
			n := 1
			for n < len(hosts) && hosts[n].Preference == hosts[0].Preference {
				n++
			}
			group := slices.Clone(hosts[:n])
			rand.Shuffle(n, func(i, j int) { group[i], group[j] = group[j], group[i] })
			if !yield(group) {
				return
			}
			hosts = hosts[n:]
		}
	}
}

// spent reports that enough was tried, or that the caller wants no more.
func (a *attempt) spent() bool {
	return a.ctx.Err() != nil || a.tries >= maxTries || time.Since(a.begin) > maxTime
}

// host tries one host. It returns false where no further host may be tried.
func (a *attempt) host(h Host) bool {
	if allow := a.level.AllowHost; allow != nil {
		if err := allow(h.Name); err != nil {
			a.note(&Outcome{Reply: replyHostPolicy, Host: h.Name})
			return true
		}
	}
	addrs, err := a.addresses(h.Name)
	switch {
	case errors.Is(err, dns.ErrNotFound), errors.Is(err, dns.ErrNoData):
		a.note(&Outcome{Reply: replyNoRoute, Host: h.Name})
		return true
	case err != nil:
		a.note(&Outcome{Reply: replyHostDNS, Host: h.Name})
		return true
	}
	g := a.d.guard()
	sources := a.d.sources(&a.req.Pool, a.req.Message, a.req.Route.Domain)
	for _, ip := range interleave(addrs) {
		if len(a.pending) == 0 || a.spent() {
			return false
		}
		if a.req.Route.via == nil {
			switch g.judge(ip) {
			case dialOwn:
				// RFC 5321 §5.1: hosts that are not preferred to this relay would send the
				// mail back here.
				a.note(&Outcome{Reply: replyLoop, Host: h.Name, IP: ip})
				return false
			case dialRefused:
				a.note(&Outcome{Reply: replyNotPublic, Host: h.Name, IP: ip})
				continue
			}
		}
		a.address(h.Name, ip, sources)
	}
	return true
}

// addresses looks a host up. An address literal in place of a name is a name
// that does not exist, unless a route says so.
func (a *attempt) addresses(host string) ([]netip.Addr, error) {
	if via := a.req.Route.via; via != nil {
		if ip, err := netip.ParseAddr(via.Host); err == nil {
			return []netip.Addr{ip}, nil
		}
	}
	addrs, _, err := a.d.cfg.Resolver.Addr(a.ctx, host)
	if err == nil && len(addrs) == 0 {
		err = dns.ErrNoData
	}
	return addrs, err
}

// interleave shuffles each family and takes from them in turn, IPv6 first, so
// that a family that does not work costs one try and not all.
func interleave(addrs []netip.Addr) []netip.Addr {
	var v6, v4 []netip.Addr
	for _, ip := range addrs {
		if ip = ip.Unmap(); ip.Is4() {
			v4 = append(v4, ip)
		} else {
			v6 = append(v6, ip)
		}
	}
	for _, f := range [][]netip.Addr{v6, v4} {
		rand.Shuffle(len(f), func(i, j int) { f[i], f[j] = f[j], f[i] })
	}
	out := make([]netip.Addr, 0, len(addrs))
	for i := range max(len(v6), len(v4)) {
		if i < len(v6) {
			out = append(out, v6[i])
		}
		if i < len(v4) {
			out = append(out, v4[i])
		}
	}
	return out[:min(len(out), maxAddrs)]
}

// address tries one address, from the first source that works.
func (a *attempt) address(host string, ip netip.Addr, sources []source) {
	if ip.Is6() && a.d.cfg.NoIPv6 && a.req.Route.via == nil {
		a.note(&Outcome{Reply: replyNoSource, Host: host, IP: ip})
		return
	}
	port := a.d.cfg.Port
	if via := a.req.Route.via; via != nil {
		port = via.Port
	}
	tried := false
	var undecided []int // that were tried from some source, and need another address
	for _, src := range sources {
		if !src.fits(ip) {
			continue
		}
		tried = true
		t := &target{host: host, remote: netip.AddrPortFrom(ip, uint16(port)), source: src, via: a.req.Route.via, req: a.level}
		rest, ok := a.admit(&src)
		if !ok {
			continue
		}
		usable := a.target(t)
		a.endGrant()
		if !usable {
			a.pending = append(a.pending, rest...)
			continue
		}
		undecided, a.pending = append(undecided, a.pending...), rest
		if len(rest) == 0 {
			break
		}
	}
	a.pending = append(undecided, a.pending...)
	if !tried {
		a.note(&Outcome{Reply: replyNoSource, Host: host, IP: ip})
	}
}

var replyNoSource = smtp.R(451, 4, 4, 1, "No source address can reach the mail server's address")

// target sends what it can to one target. It returns false where another source
// address should be tried.
func (a *attempt) target(t *target) bool {
	fresh := false // the next session must not be an idle one
	for len(a.pending) > 0 && a.ctx.Err() == nil {
		var s *smtpclient.Session
		if !fresh {
			s = a.d.idle.take(t.key(), time.Now())
		}
		reused := s != nil
		if s == nil {
			var err error
			if s, err = a.d.connect(a.ctx, t); err != nil {
				return a.noSession(t, err)
			}
			if a.loop(t, s) {
				return true
			}
		}
		how := a.use(t, s, reused)
		if how == usedStale {
			// The host ended an idle session, as it may. That is no failure; but the
			// other idle ones may be as dead.
			fresh = true
			continue
		}
		a.session = true
		if how == usedUp {
			a.tries++
			return true
		}
	}
	return true
}

// noSession books a session that could not be opened.
func (a *attempt) noSession(t *target, err error) bool {
	o := Outcome{Host: t.host, IP: t.remote.Addr(), LocalIP: t.source.addr}
	var refused *refusedError
	if e, ok := errors.AsType[*smtpclient.Error](err); ok {
		a.grant.refused(e)
		o.Reply, o.Stage = e.Reply(), e.Stage
	} else if errors.As(err, &refused) {
		o.Reply = replyNotPublic
		if refused.own {
			o.Reply = replyLoop
		}
	} else {
		o.Reply, o.Stage = connectReply(err), smtpclient.StageConnect
	}
	if a.ctx.Err() != nil {
		o.Reply = replyInterrupt
	}
	a.note(&o)
	if cannotBind(err) {
		a.d.log.Warn("deliver: source address cannot be used", "address", t.source.addr, "error", err)
		return false
	}
	if !noPath(err) {
		a.tries++
	}
	return true
}

// loop recognises a host that gives itself the name that we give ourselves
// (RFC 5321 §6.3). The domains that we receive mail for are not compared: a
// mail server may greet with its organisation's domain.
func (a *attempt) loop(t *target, s *smtpclient.Session) bool {
	banner, ehlo := s.Names()
	ours := func(name string) bool {
		return strings.EqualFold(name, a.d.cfg.Hostname) || strings.EqualFold(name, t.source.helo)
	}
	if t.via != nil || !ours(banner) && !ours(ehlo) {
		return false
	}
	a.d.retire(s)
	o := a.at(t, s)
	o.Reply, o.Stage = replyLoop, smtpclient.StageEHLO
	a.note(&o)
	a.tries++
	return true
}

// at is an outcome that names the session's ends.
func (a *attempt) at(t *target, s *smtpclient.Session) Outcome {
	o := Outcome{Host: t.host, IP: t.remote.Addr(), LocalIP: t.source.addr, TLS: s.TLS()}
	if tcp, ok := s.LocalAddr().(*net.TCPAddr); ok {
		o.LocalIP = tcp.AddrPort().Addr().Unmap()
	}
	return o
}

// note remembers why the undecided are undecided.
func (a *attempt) note(o *Outcome) {
	a.slow = a.slow || throttles(o.Reply)
	if o.Reply.Permanent() {
		a.never = o
	} else {
		a.later = o
	}
}

// conclude gives the undecided their outcome.
func (a *attempt) conclude() {
	why := a.later
	if a.full != nil && why == a.full.outcome && len(a.pending) > 0 {
		a.turnAway()
	}
	switch {
	case a.ctx.Err() != nil && (why == nil || why.Stage == ""):
		why = &Outcome{Reply: replyInterrupt}
	case why == nil && a.never != nil:
		why = a.never
	case why == nil:
		why = &Outcome{Reply: replyUnknown}
	}
	for _, i := range a.pending {
		a.settle(i, *why)
	}
	a.pending = nil
}

var replyUnknown = smtp.R(451, 4, 4, 0, "No mail server could be tried")

// settle makes an outcome final for this attempt.
func (a *attempt) settle(i int, o Outcome) {
	o.N = a.req.Recipients[i].N
	switch {
	case o.Stage == smtpclient.StageEnd && o.Reply.Code/100 == 2:
		o.State = Delivered
	case o.Reply.Permanent():
		o.State = Failed
	default:
		o.State = Deferred
	}
	a.out[i] = o
}

// class is what the attempt says about the destination as a whole.
func (a *attempt) class() Connect {
	deferred := slices.ContainsFunc(a.out, func(o Outcome) bool { return o.State == Deferred })
	switch {
	case a.slow:
		return Throttled
	case deferred && a.full != nil && !a.session && a.tries == 0:
		return Untried
	case deferred && !a.session && a.ctx.Err() == nil && a.content == nil:
		return ConnFailed
	}
	return ConnOK
}

func levelOf(l relay.TLSLevel) tlspolicy.Level {
	switch l {
	case relay.TLSOpportunistic:
		return tlspolicy.Opportunistic
	case relay.TLSRequired:
		return tlspolicy.Required
	}
	return tlspolicy.Verified // also for a level that is not known here: never weaker than meant
}

func (a *attempt) logEnd(res *Result) {
	if !a.d.log.Enabled(a.ctx, slog.LevelDebug) {
		return
	}
	attrs := []slog.Attr{
		slog.String("message", a.req.Message.ID.String()), slog.String("domain", a.req.Route.Domain),
		slog.Int("recipients", len(res.Outcomes)), slog.String("connect", string(res.Connect)),
		slog.Duration("duration", res.Duration),
	}
	if len(res.Outcomes) > 0 {
		o := &res.Outcomes[0]
		attrs = append(attrs, slog.String("state", string(o.State)), slog.String("reply", o.Reply.String()),
			slog.String("host", o.Host), slog.String("tls", o.TLS))
	}
	a.d.log.LogAttrs(a.ctx, slog.LevelDebug, "deliver: attempt", attrs...)
}
