package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
)

// ErrLame: a name server does not answer for the zone that it is named for: it
// refuses, answers without authority, or has no address.
var ErrLame = errors.New("name server does not answer for the zone")

// The bounds of one Ask.
const (
	maxServers   = 13 // of one zone; what fits an old referral
	maxTargets   = 26 // addresses asked of one zone
	maxReferrals = 4  // delegations followed downwards
	maxLevels    = 16 // names tried, from the one asked for upwards
	maxRegistry  = 3  // addresses asked of a top-level domain, whose servers have others to serve
	askTries     = 2  // questions to one address before it counts as silent
	askTimeouts  = 10 // the whole of an Ask, in time-outs of one question
	askAtOnce    = 8  // questions of one Ask under way
	askInFlight  = 256
	askPerServer = 20
)

// AuthorityConfig says how an Authority asks. Only Resolver is needed.
type AuthorityConfig struct {
	// Resolver finds the name servers and their addresses, and says what DNSSEC
	// says. What is asked for itself is never taken from it, and its word on the
	// name servers is checked with the zone above.
	Resolver Resolver
	// Port that name servers are asked on. 0: 53; anything else is for labs.
	Port uint16
	// Allow lists networks of private addresses that may be asked all the same.
	Allow []netip.Prefix
	// Timeout is the longest wait for one answer. 0: 3 s. A whole Ask takes ten
	// of them at most.
	Timeout time.Duration
	// InFlight bounds the questions under way at once. 0: 256.
	InFlight int
	// PerServer is how many questions one server address is asked in a second;
	// more wait. 0: 20; negative: no limit.
	PerServer int
}

// Authority asks the name servers of a domain itself, all of them, rather than
// a resolver that may still know yesterday's answer and knows only one of
// several. It keeps no answers, only for half a minute which servers to ask and for
// ten seconds which of them were silent, and is safe for concurrent use.
type Authority struct {
	resolver Resolver
	port     uint16
	allow    []netip.Prefix
	timeout  time.Duration
	slots    chan struct{}
	pace     *pacer
	above    delegations
	quiet    quiet
	path     func(netip.AddrPort) bool // hasPath
}

// NewAuthority makes an Authority.
func NewAuthority(c AuthorityConfig) *Authority {
	a := &Authority{resolver: c.Resolver, port: c.Port, allow: slices.Clone(c.Allow), timeout: c.Timeout, path: hasPath}
	if a.port == 0 {
		a.port = 53
	}
	if a.timeout <= 0 {
		a.timeout = defaultTimeout
	}
	if c.InFlight <= 0 {
		c.InFlight = askInFlight
	}
	if c.PerServer == 0 {
		c.PerServer = askPerServer
	}
	a.slots = make(chan struct{}, c.InFlight)
	a.pace = newPacer(c.PerServer)
	return a
}

// Told is what one name server said, at one of its addresses. An alias at the
// name is told and not followed, and then Err is nil.
type Told struct {
	Server string     // host name
	Addr   netip.Addr // invalid: the host has no address
	// Err is nil, or wraps ErrNotFound, ErrNoData, ErrTemporary (no answer, or
	// SERVFAIL), ErrPrivate (not asked) or ErrLame.
	Err           error
	CNAME         string
	TXT           [][]string // the character-strings of each record
	MX            []MX       // lowest preference first
	NS            []string
	Addrs         []netip.Addr
	Authoritative bool // the server said that it answers for the zone
}

// Asked is what all name servers of a zone said about one name and type.
type Asked struct {
	Zone    string   // the closest zone that encloses the name
	Servers []string // host names of its name servers
	Told    []Told   // one for each address, and one for each server without any
	// Secure is the word of the trusted resolver that its answer about the name
	// and type was validated by DNSSEC.
	Secure bool
	// Resolved is how the resolver's own look-up ended: nil, or an error that wraps
	// ErrNotFound, ErrNoData or ErrTemporary. With good answers in Told, the last
	// tells of signatures that do not verify.
	Resolved error
}

// asks are the types that can be asked for.
var asks = map[string]uint16{
	"TXT": mdns.TypeTXT, "CNAME": mdns.TypeCNAME, "MX": mdns.TypeMX,
	"NS": mdns.TypeNS, "A": mdns.TypeA, "AAAA": mdns.TypeAAAA,
}

// Ask asks every name server of the closest enclosing zone of name for records
// of a type: TXT, CNAME, MX, NS, A or AAAA. At most 13 servers and 26 addresses
// are asked, of a top-level domain 3. It fails only where no name servers could be found; the error wraps
// ErrTemporary, ErrNotFound or ErrBadName.
func (a *Authority) Ask(ctx context.Context, name, typ string) (Asked, error) {
	n, err := normal(name)
	if err != nil {
		return Asked{}, err
	}
	rrtype, ok := asks[strings.ToUpper(typ)]
	if !ok {
		return Asked{}, fmt.Errorf("questions of type %.20q are not asked", typ)
	}
	q := question{n, rrtype}
	ctx, cancel := context.WithTimeout(ctx, askTimeouts*a.timeout)
	defer cancel()

	var out Asked
	var resolver sync.WaitGroup
	resolver.Go(func() { out.Secure, out.Resolved = a.resolve(ctx, q) })
	at, err := a.enclosing(ctx, n)
	if err == nil {
		at, out.Told = a.descend(ctx, q, a.delegated(ctx, at))
	}
	resolver.Wait()
	if err != nil {
		return Asked{}, fmt.Errorf("name servers for %s: %w", q, err)
	}
	out.Zone, out.Servers = at.zone, at.hosts()
	return out, nil
}

// resolve is what the resolver says of the question: for DNSSEC alone.
func (a *Authority) resolve(ctx context.Context, q question) (secure bool, err error) {
	switch q.typ {
	case mdns.TypeTXT:
		_, secure, err = a.resolver.TXT(ctx, q.name)
	case mdns.TypeCNAME:
		_, secure, err = a.resolver.CNAME(ctx, q.name)
	case mdns.TypeMX:
		_, secure, err = a.resolver.MX(ctx, q.name)
	case mdns.TypeNS:
		_, secure, err = a.resolver.NS(ctx, q.name)
	default:
		_, secure, err = a.resolver.Addr(ctx, q.name)
	}
	return secure, err
}

// cut is a zone and who answers for it.
type cut struct {
	zone    string
	servers []nameServer
}

type nameServer struct {
	host string
	glue []netip.Addr // addresses that came with a referral
}

func (c cut) hosts() []string {
	out := make([]string, len(c.servers))
	for i, s := range c.servers {
		out[i] = s.host
	}
	return out
}

// enclosing finds the closest zone above or at a name that the resolver can
// name servers of. Where it fails for a name, the one above is tried: servers of
// the parent zone tell the rest.
func (a *Authority) enclosing(ctx context.Context, name string) (cut, error) {
	for strings.Count(name, ".") >= maxLevels {
		name = parent(name)
	}
	var trouble error
	for up := name; up != ""; up = parent(up) {
		hosts, _, err := a.resolver.NS(ctx, up)
		if err == nil && len(hosts) > 0 {
			c := cut{zone: up}
			for _, h := range head(hosts, maxServers) {
				c.servers = append(c.servers, nameServer{host: h})
			}
			return c, nil
		}
		if ctx.Err() != nil {
			return cut{}, fmt.Errorf("%w: %w", ErrTemporary, context.Cause(ctx))
		}
		if errors.Is(err, ErrTemporary) && trouble == nil {
			trouble = err
		}
	}
	if trouble != nil {
		return cut{}, trouble
	}
	return cut{}, fmt.Errorf("no zone has them: %w", ErrNotFound)
}
