// Package deliver makes one attempt to hand one message to the hosts of one
// destination: it finds the hosts, chooses the source address, applies the TLS
// policy, reuses sessions, and returns one outcome for every recipient. It does
// not decide when to try again, keeps no record and stores nothing; that is the
// queue's.
//
// Its invariants:
//
//   - Deliver returns exactly one outcome per recipient, whatever happens;
//     unknown is Deferred.
//   - Delivered is said only after the host's 2yz to the end of the data.
//   - No connection is made to an address that is not public, or is our own,
//     unless the configuration allows it; what is checked is the address that is
//     dialled, at the moment of dialling.
//   - What a TLS level forbids never happens, on no host and no retry.
package deliver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"postern/internal/dns"
	"postern/internal/secret"
	"postern/internal/smtp"
	"postern/internal/smtpclient"
	"postern/internal/tlspolicy"
)

// Config sets up a Deliverer. Resolver and Hostname are required; other zero
// members take the defaults named here.
type Config struct {
	Resolver dns.Resolver
	Hostname string // said in EHLO where the source address has no name of its own
	Port     int    // of the destinations' hosts; 25. Anything else is for labs

	Timeouts       smtpclient.Timeouts
	ConnectTimeout time.Duration // to connect to one address; 30 s

	// AllowPrivate switches the guard against addresses that are not public off:
	// for labs and the demo. Allow exempts networks from it.
	AllowPrivate bool
	Allow        []netip.Prefix
	NoIPv6       bool
	// OwnAddrs and OwnNames say under which public addresses and names this relay
	// receives mail; a destination that leads there is a loop. Nil: none are known
	// but Hostname. They are called often and must be quick. Loopback addresses
	// count as own only while they are refused anyway.
	OwnAddrs func() []netip.Addr
	OwnNames func() []string

	TLS     *tlspolicy.Decider // nil: opportunistic, unless a request asks for more
	RootCAs *x509.CertPool     // that TLS at level verified trusts; nil: the system's

	// Warmups counts what leaves from addresses that are being warmed up; nil: every
	// address is warm.
	Warmups *Warmups

	// Routes are destinations that go to a given host instead of their MX: keys are
	// domains as A-labels, ".example.test" for all below it, "." for all others.
	Routes map[string]Smarthost

	MaxIdle            int           // idle sessions kept, in all; 500. Negative: none
	MaxIdlePerSite     int           // and to one site; 50
	IdleTimeout        time.Duration // how long a session may idle; 15 s
	MessagesPerSession int           // 100

	// Dial replaces the dialler. local is the zero Addr where the system chooses.
	// The guard has already judged remote.
	Dial   func(ctx context.Context, local netip.Addr, remote netip.AddrPort) (net.Conn, error)
	Logger *slog.Logger // nil: none
}

// Smarthost is where a route leads. The dial guard does not apply to it: it is
// the operator's word.
type Smarthost struct {
	Host      string // name or IP address
	Port      int    // 0: 25, or 465 with Immediate
	Immediate bool   // TLS from the first octet
	User      string // for AUTH PLAIN, under TLS only; "": no AUTH
	Password  secret.Redacted
}

// Deliverer makes attempts. It is safe for concurrent use.
type Deliverer struct {
	cfg    Config
	log    *slog.Logger
	routes map[string]Smarthost
	idle   *idleSessions
	resume tls.ClientSessionCache

	quits   sync.WaitGroup // sessions being ended
	quitSem chan struct{}

	quitMu sync.Mutex
	closed bool // Close waits for quits, or has: nothing is added any more
}

// New makes a Deliverer. It starts nothing.
func New(cfg Config) (*Deliverer, error) {
	if cfg.Resolver == nil {
		return nil, errors.New("deliver: no resolver")
	}
	if _, err := smtp.DomainToASCII(cfg.Hostname); err != nil {
		return nil, fmt.Errorf("deliver: hostname %q: %w", cfg.Hostname, err)
	}
	defaults(&cfg)
	routes, err := checkRoutes(cfg.Routes)
	if err != nil {
		return nil, err
	}
	return &Deliverer{
		cfg: cfg, log: cfg.Logger, routes: routes,
		idle:    newIdleSessions(cfg.MaxIdle, cfg.MaxIdlePerSite, cfg.IdleTimeout),
		resume:  tls.NewLRUClientSessionCache(1024),
		quitSem: make(chan struct{}, maxQuits),
	}, nil
}

func defaults(cfg *Config) {
	for _, n := range []struct {
		value *int
		std   int
	}{{&cfg.Port, 25}, {&cfg.MaxIdle, 500}, {&cfg.MaxIdlePerSite, 50}, {&cfg.MessagesPerSession, 100}} {
		if *n.value == 0 {
			*n.value = n.std
		}
	}
	if cfg.ConnectTimeout <= 0 {
		cfg.ConnectTimeout = 30 * time.Second
	}
	if cfg.IdleTimeout <= 0 {
		cfg.IdleTimeout = 15 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
}

// Run ends idle sessions when their time is over, until ctx is done or Close is
// called. Without it they stay open until Close.
func (d *Deliverer) Run(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		expired, next := d.idle.expire(time.Now())
		for _, s := range expired {
			d.retire(s)
		}
		timer.Reset(next)
		select {
		case <-timer.C:
		case <-d.idle.wake:
		case <-d.idle.done:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// Close ends all idle sessions and waits for that, at most as long as the
// time-out for QUIT. Attempts under way go on; their sessions are not kept.
func (d *Deliverer) Close() {
	for _, s := range d.idle.close() {
		d.retire(s)
	}
	d.quitMu.Lock()
	d.closed = true
	d.quitMu.Unlock()
	d.quits.Wait()
}

// maxQuits is how many sessions say goodbye at the same time; beyond it they are
// dropped, which no host minds.
const maxQuits = 64

// retire ends a session politely, without making anybody wait for it.
func (d *Deliverer) retire(s *smtpclient.Session) {
	select {
	case d.quitSem <- struct{}{}:
	default:
		s.Close()
		return
	}
	d.quitMu.Lock()
	defer d.quitMu.Unlock()
	if d.closed {
		<-d.quitSem
		s.Close() // of an attempt that outlives Close
		return
	}
	d.quits.Go(func() {
		defer func() { <-d.quitSem }()
		s.Quit(context.Background())
	})
}
