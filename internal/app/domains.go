package app

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"postern/internal/config"
	"postern/internal/dns"
	"postern/internal/relay"
	"postern/internal/sender"
)

// domainParts is everything that proves senders and keeps them proven.
type domainParts struct {
	resolver  dns.Resolver
	authority *dns.Authority
	domains   *sender.Domains
	checker   *sender.Checker
	singles   *sender.Singles
	reports   *sender.Reports
	zone      *dns.Zone // ours; nil: none is served
	source    *sender.ZoneSource
	servers   []*dns.ZoneServer
	health    atomic.Pointer[zoneHealth] // of the zone, when last looked at
	tally     domainTally
}

// makeDomains puts them together, and binds the zone's addresses.
func (a *App) makeDomains(context.Context) error {
	c := a.opt.Config
	resolver, err := a.resolver(c)
	if err != nil {
		return err
	}
	d := &a.senders
	d.resolver = resolver
	d.authority = dns.NewAuthority(dns.AuthorityConfig{
		Resolver: resolver, Port: uint16(c.DNS.AskPort), Allow: c.DNS.AllowNetworks, PerServer: questionsPerServer,
	})
	zone := sender.Zone{Name: c.DNS.Zone, Hostname: c.Hostname, Addresses: func(d relay.Domain) []netip.Addr { return a.directory.PoolAddresses(d.Account) }}
	d.domains = &sender.Domains{
		Store: a.store, Sealer: a.sealer, Directory: a.directory, Zone: zone, Authority: d.authority, Resolver: resolver,
		Settings: domainSettings(c), Alert: a.alertTenant, Tell: a.writeToOwner, Logger: a.log,
	}
	d.checker = &sender.Checker{Domains: d.domains, PerMinute: c.Domains.ChecksPerMinute}
	d.singles = &sender.Singles{
		Store: a.store, Directory: a.directory, Resolver: resolver, Letter: a.letter, URL: c.HTTP.URL, Logger: a.log,
	}
	d.reports = sender.NewReports(sender.ReportsConfig{
		Store: a.store, Resolver: resolver, Address: zone.ReportAddress, Addresses: zone.Addresses, Logger: a.log,
	})
	d.domains.Seen, d.domains.Checked = d.reports.Seen, a.metrics.domainCheck
	if c.DNS.Zone == "" {
		return nil
	}
	d.source = &sender.ZoneSource{Directory: a.directory, Zone: zone, Overlap: c.Overlap()}
	return a.bindZone(c)
}

// reportHost is where DMARC reports come in beside the host name itself.
func reportHost(c *config.Config) string {
	if c.DNS.Zone == "" {
		return ""
	}
	return "dmarc." + c.DNS.Zone
}

// questionsPerServer: name servers of others are asked gently.
const questionsPerServer = 20

func domainSettings(c *config.Config) sender.Settings {
	return sender.Settings{
		CheckEvery: c.Domains.CheckEvery.Duration, Grace: c.Domains.Grace.Duration, Pause: c.Domains.Pause.Duration,
		KeyOverlap: c.Overlap(), RotateEvery: c.Domains.RotateEvery.Duration, RSABits: c.Domains.RSABits, Max: c.Domains.Max,
	}
}

// bindZone binds the addresses that the zone is served at.
func (a *App) bindZone(c *config.Config) error {
	zone, err := dns.NewZone(dns.ZoneConfig{
		Origin: c.DNS.Zone, NameServers: c.DNS.NameServers, Contact: c.Contact,
		Serial: 1, // the same at all nodes: what the source counts is added, and that is a time
	})
	if err != nil {
		return err
	}
	zone.SetSource(a.senders.source)
	a.senders.zone = zone
	var transfer []netip.AddrPort
	for _, s := range c.DNS.Secondaries {
		at, err := netip.ParseAddrPort(s)
		if err != nil {
			addr, err := netip.ParseAddr(s)
			if err != nil {
				return fmt.Errorf("dns.secondaries: %w", err)
			}
			at = netip.AddrPortFrom(addr, 53)
		}
		transfer = append(transfer, at)
	}
	for _, addr := range c.DNS.Listen {
		s, err := dns.ListenZonesWith(addr, dns.ServeConfig{Log: a.log, Transfer: transfer, AnswersPerSecond: c.DNS.AnswersPerSecond}, zone)
		if err != nil {
			return err
		}
		a.senders.servers = append(a.senders.servers, s)
		a.stops = append(a.stops, step{"close zone " + addr, func(context.Context) error { _ = s.Close(); return nil }})
	}
	return nil
}

// Zone is the zone that is served; nil: none is.
func (a *App) Zone() *dns.Zone { return a.senders.zone }

// startDomains runs the checks and the zone.
func (a *App) startDomains(ctx context.Context) {
	for _, s := range a.senders.servers {
		a.background("zone "+s.Addr().String(), ctx, s.Run)
		a.log.Info("app: listening", "listener", "dns", "address", s.Addr().String(), "zone", a.opt.Config.DNS.Zone)
	}
	a.background("domain checks", ctx, a.senders.checker.Run)
	if a.senders.zone != nil {
		a.background("zone changes", ctx, a.watchZone)
	}
}

const (
	// zoneLook is how often the zone's content is compared with what was announced.
	zoneLook = time.Second
	// zoneHealthEvery is how often the zone is looked at from outside; zoneAilingEvery,
	// while it is not as it should be.
	zoneHealthEvery = time.Hour
	zoneAilingEvery = time.Minute
)

// watchZone tells the secondaries of changes, and looks at the zone as others
// see it: at once, and then again and again.
func (a *App) watchZone(ctx context.Context) error {
	tick := time.NewTicker(zoneLook)
	defer tick.Stop()
	serial := a.senders.zone.Serial()
	var looked time.Time
	every := zoneHealthEvery
	for {
		if now := a.senders.zone.Serial(); now != serial {
			serial = now
			for _, s := range a.senders.servers {
				s.Changed(a.senders.zone.Origin())
			}
		}
		if now := time.Now(); now.Sub(looked).Abs() >= every {
			looked = now
			if every = zoneAilingEvery; a.lookAtZone(ctx) {
				every = zoneHealthEvery
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// alertTenant records an alert that no key is behind.
func (a *App) alertTenant(t relay.Tenant, alert relay.Alert) { a.alert(t, relay.KeyID{}, alert) }

// letter mails a text from postern itself.
func (a *App) letter(ctx context.Context, to, subject, text string) error {
	return a.letterBoth(ctx, to, subject, text, "")
}

// letterBoth is letter with the same words as HTML.
func (a *App) letterBoth(ctx context.Context, to, subject, text, html string) error {
	letter, err := a.notifier(a.cfg.Load()).LetterBoth(to, subject, text+"\n", html)
	if err != nil {
		return err
	}
	if err := a.store.Accept(ctx, letter); err != nil {
		return errors.Join(errors.New("queue the letter"), err)
	}
	m := letter.Message
	a.queue.Waiting(relay.Lane{Pool: m.Pool, Site: letter.Recipients[0].Site}, m.Tenant, letter.Recipients[0].DueAt)
	return nil
}
