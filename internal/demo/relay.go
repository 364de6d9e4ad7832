package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"postern/internal/app"
	"postern/internal/config"
	"postern/internal/secret"
	"postern/internal/sender"
	"postern/internal/store"
)

// The names of the relay's listeners.
const (
	listenStartTLS = "submission"
	listenTLS      = "submissions"
	listenMX       = "mx"
	listenHTTP     = "http"
	listenAdmin    = "admin"
)

// relayConfig is the product's default configuration but for what makes it
// local: where it listens, whom it asks, and that it may deliver to loopback.
func relayConfig(dir string) *config.Config {
	c := config.Default()
	c.Hostname, c.DataDir, c.Contact = hostname, dir, operator
	c.Deliver.AllowNetworks = []netip.Prefix{netip.PrefixFrom(loopback, 8).Masked()}
	c.Deliver.CAFile = c.CAPath()
	c.Deliver.TLS = config.TLSVerified // the demo's authority vouches for the receiving server
	return c
}

// seedDirectory opens the store before the relay ever ran on it, and fills it.
func seedDirectory(ctx context.Context, c *config.Config, log *slog.Logger) (_ []tenantDomain, err error) {
	sealer, err := secret.OpenSealer(c.SealingKeyPath())
	if err != nil {
		return nil, err
	}
	st, _, err := store.Open(ctx, store.Config{Path: c.DatabasePath(), Sealer: sealer, Logger: log})
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- st.Run(running) }()
	defer func() {
		stop()
		err = errors.Join(err, <-done, st.Close())
	}()
	now, domains := time.Now().UTC(), &sender.Domains{Store: st, Sealer: sealer}
	all, err := seed(ctx, st, domains, now)
	if err != nil {
		return nil, err
	}
	if err := plantFlaws(ctx, st, domains, sealer, now); err != nil {
		return nil, fmt.Errorf("make account %s: %w", flawedAccount, err)
	}
	return all, nil
}

// openRelay starts the relay itself, with the inbox beside its own routes.
func (w *world) openRelay(ctx context.Context, c *config.Config, o Options, log *slog.Logger) error {
	c.Listen = []config.Listener{
		{Name: listenStartTLS, Role: config.RoleSubmission, TLS: config.TLSStart, Addresses: []string{or(o.ListenSMTP)}},
		{Name: listenTLS, Role: config.RoleSubmission, TLS: config.TLSImplicit, Addresses: []string{or(o.ListenSMTPS)}},
		{Name: listenMX, Role: config.RoleMX, TLS: config.TLSStart, Addresses: []string{or("")}},
	}
	c.HTTP.Listen, c.Admin.Listen = []string{or(o.ListenHTTP)}, or("")
	// All who try the demo, also what is to be refused, come from one address.
	c.Auth.Failures = 56
	show := w.inbox.Handler()
	a, err := app.New(ctx, app.Options{
		Config: c, Version: o.Version, Logger: log, LocalURL: true,
		Routes: []app.Route{{Method: http.MethodGet, Pattern: "/demo/inbox", Handler: func(rw http.ResponseWriter, r *http.Request) error {
			show.ServeHTTP(rw, r)
			return nil
		}}, {Method: http.MethodPost, Pattern: "/demo/dns", Handler: w.publishRecords}},
	})
	if err != nil {
		return err
	}
	// The zone that the relay serves is asked for at the demo's name server too, which
	// stands for all of the internet's.
	w.dns.Add(a.Zone())
	up := make(chan struct{})
	w.run("the relay", func(ctx context.Context) error { return a.Run(ctx, func() { close(up) }) }, nil)
	select {
	case <-up:
	case err := <-w.failed:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return w.addresses(a)
}

// addresses notes where the relay listens.
func (w *world) addresses(a *app.App) error {
	for name, to := range map[string]*string{
		listenStartTLS: &w.ready.SMTPStartTLS, listenTLS: &w.ready.SMTPTLS, listenMX: &w.ready.SMTPMX,
		listenHTTP: &w.ready.HTTP, listenAdmin: &w.ready.Admin,
	} {
		addrs := a.Addrs(name)
		if len(addrs) == 0 {
			return fmt.Errorf("the relay does not listen for %s", name)
		}
		*to = addrs[0].String()
	}
	// A name, so that browsers take the page for a secure origin.
	if host, port, err := net.SplitHostPort(w.ready.HTTP); err == nil && host == loopback.String() {
		w.ready.HTTP = net.JoinHostPort("localhost", port)
	}
	return nil
}
