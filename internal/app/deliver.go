package app

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"

	"postern/internal/config"
	"postern/internal/deliver"
	"postern/internal/dns"
	"postern/internal/smtpclient"
	"postern/internal/tlspolicy"
)

// currentDeliverer is the queue's way to whatever deliverer the last reload made.
type currentDeliverer struct{ a *App }

func (c currentDeliverer) Route(ctx context.Context, domain string) (deliver.Route, error) {
	return c.a.deliverer.Load().Route(ctx, domain)
}

func (c currentDeliverer) Deliver(ctx context.Context, r deliver.Request) deliver.Result {
	return c.a.deliverer.Load().Deliver(ctx, r)
}

// runDeliverers runs whatever deliverer is in use, until ctx ends.
func (a *App) runDeliverers(ctx context.Context) error {
	for {
		d := a.deliverer.Load()
		if err := d.Run(ctx); err != nil || ctx.Err() != nil {
			return err
		}
		if a.deliverer.Load() == d {
			return errEnded
		}
		// A reload closed it and put another in its place.
	}
}

// swapDeliverer takes a new one into use. The old one ends the attempts that it
// has and keeps no idle sessions.
func (a *App) swapDeliverer(d *deliver.Deliverer) { a.deliverer.Swap(d).Close() }

// deliverConfig turns the configuration into the deliverer's terms.
func (a *App) deliverConfig(c *config.Config) (deliver.Config, error) {
	resolver, err := a.resolver(c)
	if err != nil {
		return deliver.Config{}, err
	}
	decider, routes, err := destinations(c.Deliver)
	if err != nil {
		return deliver.Config{}, err
	}
	roots, err := rootCAs(c.Deliver.CAFile)
	if err != nil {
		return deliver.Config{}, fmt.Errorf("deliver.%w", err)
	}
	command, data := c.Deliver.CommandTimeout.Duration, c.Deliver.DataTimeout.Duration
	t := smtpclient.Timeouts{
		Greeting: command, Hello: command, Auth: command, Mail: command, Rcpt: command,
		Data: data, Block: data, End: c.Deliver.EndOfDataTimeout.Duration,
	}
	return deliver.Config{
		Resolver: resolver, Hostname: c.Hostname, Port: c.Deliver.Port, Timeouts: t, ConnectTimeout: c.Deliver.ConnectTimeout.Duration,
		Allow: c.Deliver.AllowNetworks, NoIPv6: !c.Deliver.IPv6, OwnAddrs: a.ownAddrs(), OwnNames: a.ownNames,
		TLS: decider, RootCAs: roots, Routes: routes, Warmups: a.warmups, MaxIdle: idleSessions(c.Deliver.IdleSessions),
		IdleTimeout: c.Deliver.IdleTimeout.Duration, MessagesPerSession: c.Deliver.MessagesPerSession, Logger: a.log,
	}, nil
}

func idleSessions(n int) int {
	if n == 0 {
		return -1 // none
	}
	return n
}

func (a *App) resolver(c *config.Config) (dns.Resolver, error) {
	if a.opt.Resolver != nil {
		return a.opt.Resolver, nil
	}
	return dns.NewClient(dns.Config{Servers: c.Deliver.DNSServers, TrustAD: c.Deliver.TrustAD})
}

// ownNames are the host names under which mail comes to this relay.
func (a *App) ownNames() []string {
	names := []string{a.opt.Config.Hostname}
	if _, d, ok := a.directory.System(); ok {
		names = append(names, d.Name)
		if d.ReturnPath != "" {
			names = append(names, d.ReturnPath)
		}
	}
	return names
}

// ownAddrs are the addresses that this relay listens on for mail. A wildcard
// stands for every address of the machine, read when the process starts.
func (a *App) ownAddrs() func() []netip.Addr {
	var own []netip.Addr
	for _, l := range a.opt.Config.Listen {
		for _, s := range l.Addresses {
			host, _, err := net.SplitHostPort(s)
			if err != nil {
				continue
			}
			if ip, err := netip.ParseAddr(host); err == nil && !ip.IsUnspecified() {
				own = append(own, ip.Unmap())
				continue
			}
			own = append(own, machineAddrs()...)
		}
	}
	return func() []netip.Addr { return own }
}

func machineAddrs() (out []netip.Addr) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap())
		}
	}
	return out
}

// destinations are the levels and routes of [[deliver.destination]].
func destinations(c config.Deliver) (*tlspolicy.Decider, map[string]deliver.Smarthost, error) {
	levels := map[string]tlspolicy.Level{}
	general, err := tlspolicy.ParseLevel(string(c.TLS))
	if err != nil {
		return nil, nil, fmt.Errorf("deliver.tls: %w", err)
	}
	routes := map[string]deliver.Smarthost{}
	for _, d := range c.Destinations {
		if d.TLS != "" {
			if levels[d.Domain], err = tlspolicy.ParseLevel(string(d.TLS)); err != nil {
				return nil, nil, fmt.Errorf("deliver.destination %s: %w", d.Domain, err)
			}
		}
		if d.Route == "" {
			continue
		}
		host, port, err := net.SplitHostPort(d.Route)
		if err != nil {
			return nil, nil, fmt.Errorf("deliver.destination %s: route %q: %w", d.Domain, d.Route, err)
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			return nil, nil, fmt.Errorf("deliver.destination %s: route %q: %w", d.Domain, d.Route, err)
		}
		routes[d.Domain] = deliver.Smarthost{Host: host, Port: n}
	}
	table, err := tlspolicy.NewTable(levels)
	if err != nil {
		return nil, nil, err
	}
	return &tlspolicy.Decider{Default: general, Destinations: table}, routes, nil
}

func rootCAs(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file %s holds no certificate", path)
	}
	return pool, nil
}
