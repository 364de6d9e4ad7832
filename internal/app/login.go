package app

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"postern/internal/auth"
	"postern/internal/config"
	"postern/internal/credit"
	"postern/internal/oauth"
	"postern/internal/relay"
	"postern/internal/secret"
)

// guardState is the name under which the store keeps what the guard knows.
const guardState = "login guard"

// guardEvery is how often it is kept: what a crash forgets of guessing. guardSoon
// is how soon where somebody was shut out or let in again; in a flood of that it
// is kept no more often.
const (
	guardEvery = 30 * time.Second
	guardSoon  = 3 * time.Second
)

// makeAuth makes what judges logins: keys, outside issuers, the guard against
// guessing, and the ledger of credits.
func (a *App) makeAuth(ctx context.Context) error {
	c := a.opt.Config
	resolver, err := a.resolver(c)
	if err != nil {
		return err
	}
	a.ledger = credit.New(credit.Config{Store: a.store, Alert: a.alert})
	a.guard = auth.NewGuard(auth.GuardConfig{Failures: c.Auth.Failures, KeyFailures: c.Auth.KeyFailures, Alert: a.alert})
	state, err := a.store.State(ctx, guardState)
	if err != nil {
		return err
	}
	if err := a.guard.Load(state); err != nil {
		a.log.Warn("app: what was known of failed logins cannot be read; counting starts anew", "error", err)
	}
	a.hosts = auth.NewHosts(resolver, a.log)
	a.hosts.Expect(a.directory.HostNames()...)
	cfg := auth.Config{
		Directory: a.directory, Recorder: a.store, Activity: a.store, Prefix: a.opt.KeyPrefix, Observer: a.metrics.login,
		Sealer: a.sealer, Guard: a.guard, Hosts: a.hosts, AppPasswords: c.Auth.AppPasswords, Exhausted: a.exhausted, Alert: a.alert,
	}
	if len(c.Issuers) > 0 {
		issuers, err := outsideIssuers(c.Issuers)
		if err != nil {
			return err
		}
		v := oauth.New(oauth.Config{Issuers: issuers, Logger: a.log})
		a.stops = append(a.stops, step{"outside issuers", func(context.Context) error { v.Close(); return nil }})
		cfg.Outside = outside(v)
	}
	a.auth = auth.New(cfg)
	return nil
}

// outsideIssuers reads what the configuration only names.
func outsideIssuers(in []config.Issuer) ([]oauth.Issuer, error) {
	var out []oauth.Issuer
	for _, i := range in {
		o := oauth.Issuer{URL: i.URL, JWKSURL: i.JWKSURL, Algorithms: i.Algorithms, Private: i.Private}
		roots, err := rootCAs(i.CAFile)
		if err != nil {
			return nil, fmt.Errorf("issuer %s: %w", i.URL, err)
		}
		o.Roots = roots
		if i.IntrospectionURL != "" {
			text, err := os.ReadFile(i.ClientSecretFile)
			if err != nil {
				return nil, fmt.Errorf("issuer %s: read client_secret_file: %w", i.URL, err)
			}
			o.Introspection = &oauth.Introspection{
				URL: i.IntrospectionURL, ClientID: i.ClientID, ClientSecret: secret.Redacted(strings.TrimSpace(string(text))),
			}
		}
		out = append(out, o)
	}
	return out, nil
}

// outside lets auth ask a verifier without knowing it.
func outside(v *oauth.Verifier) auth.OutsideFunc {
	return func(ctx context.Context, raw secret.Redacted, hint string) (auth.OutsideToken, error) {
		t, err := v.Verify(ctx, raw, hint)
		return auth.OutsideToken(t), err
	}
}

// exhausted says whether a login is of any use: nil if there is credit left.
func (a *App) exhausted(ctx context.Context, p *relay.Principal) error {
	account, ok := a.directory.Account(p.Account)
	if !ok {
		return relay.E(relay.Unavailable, "the account is not known")
	}
	var subuser *relay.Subuser
	if s, ok := a.directory.Subuser(p.Subuser); ok {
		subuser = &s
	}
	if over := a.ledger.Exhausted(ctx, account, subuser, p.Key); over != nil {
		return over
	}
	return nil
}

// alert puts something that a person should look at into the event log and the
// operator's log. It never waits.
func (a *App) alert(t relay.Tenant, key relay.KeyID, alert relay.Alert) {
	a.recordAlert(t, key, alert)
	a.log.Warn("app: alert", "kind", string(alert.Kind), "text", alert.Text, "account", t.Account.String(), "key", key.String(), "addr", alert.Addr)
}

// recordAlert is alert without a line in the operator's log.
func (a *App) recordAlert(t relay.Tenant, key relay.KeyID, alert relay.Alert) {
	data, err := json.Marshal(relay.EventData{Reason: alert.Text, Alert: &alert})
	if err != nil { // strings and numbers: cannot happen
		return
	}
	a.store.RecordEvent(relay.Event{At: time.Now().UTC(), Kind: relay.EventAlert, Tenant: t, Key: key, N: -1, Data: data})
	a.metrics.alert(alert.Kind)
}

// keepGuard keeps what the guard knows, now and then and at the end, so that a
// restart forgives nobody.
func (a *App) keepGuard(ctx context.Context) error {
	due := time.NewTimer(guardEvery)
	defer due.Stop()
	changed := a.guard.Changed()
	for {
		select {
		case <-changed:
			due.Reset(guardSoon)
			changed = nil // the rest of a flood does not put it off
		case <-due.C:
			if err := a.store.PutState(ctx, guardState, a.guard.Save()); err != nil && ctx.Err() == nil {
				a.log.Warn("app: what is known of failed logins was not kept", "error", err)
			}
			due.Reset(guardEvery)
			changed = a.guard.Changed()
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopMargin)
			defer cancel()
			return a.store.PutState(last, guardState, a.guard.Save())
		}
	}
}

// shutsOut judges an access list for the API as a login would.
func (a *App) shutsOut(ctx context.Context, list *relay.AccessList, addr netip.Addr) bool {
	return auth.ShutsOut(ctx, list, addr, a.hosts)
}
