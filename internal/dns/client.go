package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	mdns "github.com/miekg/dns"
)

// ResolvConf is where the system names its recursive servers.
const ResolvConf = "/etc/resolv.conf"

const (
	defaultTimeout  = 3 * time.Second
	defaultAttempts = 2
	defaultInFlight = 256
	defaultCache    = 32 << 20

	minTTL       = 5 * time.Second // a TTL of 0 would ask again for each of a burst of messages
	maxTTL       = time.Hour
	maxDenialTTL = 5 * time.Minute
	failureTTL   = 5 * time.Second // RFC 9520 §3.2: failures are kept too, for at least 1 s
)

// Config says whom a Client asks. The zero value asks the system's servers.
type Config struct {
	// Servers are the recursive servers as "address" or "address:port", asked in
	// this order. Empty: those of /etc/resolv.conf.
	Servers []string
	// TrustAD takes the servers' word for DNSSEC even though they are reached
	// over a network. Servers on loopback addresses are trusted anyway.
	TrustAD bool
	// Timeout is the longest wait for one server's answer. 0: 3 s.
	Timeout time.Duration
	// Attempts is how often the list of servers is gone through. 0: 2.
	Attempts int
	// CacheBytes bounds the memory of kept answers. 0: 32 MiB; negative: none are kept.
	CacheBytes int
	// InFlight bounds the questions under way at once; more wait. 0: 256.
	InFlight int
}

// Client is a stub resolver with a cache. It is safe for concurrent use and
// keeps no goroutine or socket when nobody asks.
type Client struct {
	servers  []server
	timeout  time.Duration
	attempts int
	first    atomic.Uint32 // index of the server that answered last
	cache    *cache
}

type server struct {
	addr    string // address:port
	trusted bool
}

// NewClient makes a Client. It fails where a server is not an address, or where
// none is configured and the system names none.
func NewClient(c Config) (*Client, error) {
	list := c.Servers
	if len(list) == 0 {
		sys, err := mdns.ClientConfigFromFile(ResolvConf)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", ResolvConf, err)
		}
		for _, s := range sys.Servers {
			list = append(list, net.JoinHostPort(s, sys.Port))
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no name server in the configuration, none in %s", ResolvConf)
	}
	cl := &Client{timeout: c.Timeout, attempts: c.Attempts}
	for _, s := range list {
		ap, err := parseServer(s)
		if err != nil {
			return nil, err
		}
		cl.servers = append(cl.servers, server{addr: ap.String(), trusted: c.TrustAD || ap.Addr().IsLoopback()})
	}
	if cl.timeout <= 0 {
		cl.timeout = defaultTimeout
	}
	if cl.attempts <= 0 {
		cl.attempts = defaultAttempts
	}
	size, flights := c.CacheBytes, c.InFlight
	if size == 0 {
		size = defaultCache
	}
	if flights <= 0 {
		flights = defaultInFlight
	}
	cl.cache = newCache(cl.resolve, size, flights)
	return cl, nil
}

func parseServer(s string) (netip.AddrPort, error) {
	bare := s
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		bare = s[1 : len(s)-1]
	}
	if a, err := netip.ParseAddr(bare); err == nil {
		return netip.AddrPortFrom(a.Unmap(), 53), nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("name server %q: want an IP address, with or without port", s)
	}
	a, err := netip.ParseAddr(host)
	p, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil || p == 0 {
		return netip.AddrPort{}, fmt.Errorf("name server %q: want an IP address, with or without port", s)
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(p)), nil
}

// Servers lists the servers as address:port.
func (c *Client) Servers() []string {
	out := make([]string, len(c.servers))
	for i, s := range c.servers {
		out[i] = s.addr
	}
	return out
}

// Flush forgets all kept answers.
func (c *Client) Flush() { c.cache.flush() }

func (c *Client) ask(ctx context.Context, name string, typ uint16) (*answer, error) {
	n, err := normal(name)
	if err != nil {
		return nil, err
	}
	q := question{n, typ}
	a, err := c.cache.get(ctx, q)
	if err != nil {
		return nil, err
	}
	if a.denial != nil {
		return a, fmt.Errorf("%s: %w", q, a.denial)
	}
	return a, nil
}

// MX implements Resolver: at most 20, those with the lowest preference.
func (c *Client) MX(ctx context.Context, name string) ([]MX, bool, error) {
	a, err := c.ask(ctx, name, mdns.TypeMX)
	if a == nil {
		return nil, false, err
	}
	return a.mx, a.secure, err
}

// TXT implements Resolver: at most 64 KiB in all.
func (c *Client) TXT(ctx context.Context, name string) ([]string, bool, error) {
	a, err := c.ask(ctx, name, mdns.TypeTXT)
	if a == nil {
		return nil, false, err
	}
	return a.txt, a.secure, err
}

// CNAME implements Resolver. A name that is no alias is ErrNoData.
func (c *Client) CNAME(ctx context.Context, name string) (string, bool, error) {
	a, err := c.ask(ctx, name, mdns.TypeCNAME)
	if a == nil {
		return "", false, err
	}
	if err != nil {
		return "", a.secure, err
	}
	return a.names[0], a.secure, nil
}

// NS implements Resolver: at most 13.
func (c *Client) NS(ctx context.Context, name string) ([]string, bool, error) {
	a, err := c.ask(ctx, name, mdns.TypeNS)
	if a == nil {
		return nil, false, err
	}
	return a.ns, a.secure, err
}

// PTR implements Resolver: at most 10.
func (c *Client) PTR(ctx context.Context, addr netip.Addr) ([]string, bool, error) {
	if !addr.IsValid() {
		return nil, false, fmt.Errorf("PTR of an invalid address: %w", ErrBadName)
	}
	name, err := mdns.ReverseAddr(addr.Unmap().WithZone("").String())
	if err != nil {
		return nil, false, fmt.Errorf("PTR of %s: %w", addr, ErrBadName)
	}
	a, err := c.ask(ctx, name, mdns.TypePTR)
	if a == nil {
		return nil, false, err
	}
	return a.names, a.secure, err
}

// TLSA implements Resolver. name is the whole name, "_25._tcp.mx.example.com".
func (c *Client) TLSA(ctx context.Context, name string) ([]TLSA, bool, error) {
	a, err := c.ask(ctx, name, mdns.TypeTLSA)
	if a == nil {
		return nil, false, err
	}
	return a.tlsa, a.secure, err
}

// Addr implements Resolver: at most 10 of each family. Both families are asked
// for at once; where one look-up fails for now and the other has addresses,
// those are the answer. It is secure only if all that it rests on is.
func (c *Client) Addr(ctx context.Context, host string) ([]netip.Addr, bool, error) {
	type result struct {
		a   *answer
		err error
	}
	six := make(chan result, 1)
	go func() {
		a, err := c.ask(ctx, host, mdns.TypeAAAA)
		six <- result{a, err}
	}()
	a4, err4 := c.ask(ctx, host, mdns.TypeA)
	r6 := <-six
	a6, err6 := r6.a, r6.err

	secure := (a4 == nil || a4.secure) && (a6 == nil || a6.secure) && (a4 != nil || a6 != nil)
	var addrs []netip.Addr
	if err6 == nil {
		addrs = append(addrs, a6.addrs...)
	}
	if err4 == nil {
		addrs = append(addrs, a4.addrs...)
	}
	switch {
	case len(addrs) > 0:
		return addrs, secure, nil
	case errors.Is(err4, ErrTemporary):
		return nil, false, err4
	case errors.Is(err6, ErrTemporary):
		return nil, false, err6
	case errors.Is(err4, ErrNotFound) && !errors.Is(err6, ErrNotFound):
		// Servers that deny the whole name for want of one type: it exists.
		return nil, secure, err6
	}
	return nil, secure, err4
}
