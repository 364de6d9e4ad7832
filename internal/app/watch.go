package app

import (
	"context"
	"net/netip"
	"time"

	"postern/internal/api/v3"
	"postern/internal/event"
	"postern/internal/relay"
	"postern/internal/watch"
	"postern/internal/webhook"
)

// placesEvery is how often the operator's files of places are looked at for newer
// ones.
const placesEvery = time.Minute

// makeWatch makes what notices what is odd.
func (a *App) makeWatch(context.Context) error {
	c := a.opt.Config
	if c.Watch.Places != "" || c.Watch.Networks != "" {
		files, err := watch.OpenPlaces(c.Watch.Places, c.Watch.Networks)
		if err != nil {
			return err
		}
		a.places = files
	}
	hooks := webhook.NewClient(webhook.Config{})
	a.stops = append(a.stops, step{"webhooks", func(context.Context) error { hooks.Close(); return nil }})
	a.watch = watch.NewRunner(watch.RunnerConfig{
		Store: a.store, Places: a.lookPlaces(), Key: a.keyCopy, Account: a.directory.Account, Logger: a.log, OnFinding: a.noticed,
		OnFailure: a.watchFailed,
		Answers:   &watch.Answers{Store: a.store, Account: a.directory.Account, Mail: a.letter, Operator: func() string { return a.cfg.Load().Contact }, Post: hooks.Post, Host: c.Hostname},
	})
	a.watchRuns = a.watch.Held
	return nil
}

// lookPlaces is nil where the operator gave no file: places are networks then.
func (a *App) lookPlaces() watch.Places {
	if a.places == nil {
		return nil
	}
	return a.places
}

// countryOf names the country of an address; nil where the operator gave no file.
func (a *App) countryOf() func(netip.Addr) string {
	if a.places == nil {
		return nil
	}
	return func(addr netip.Addr) string {
		p, _ := a.places.Look(addr)
		return p.Country
	}
}

func (a *App) keyCopy(id relay.KeyID) (relay.Key, bool) {
	k, ok := a.directory.Key(id)
	if !ok {
		return relay.Key{}, false
	}
	return *k, true
}

// noticed puts a finding into the operator's log, and among the events: from there it
// leaves by the exports. The watch itself makes nothing of such an event.
func (a *App) noticed(f relay.WatchFinding) {
	a.metrics.finding(f.Rule, f.Severity)
	a.recordAlert(f.Tenant, f.Key, relay.Alert{Kind: relay.AlertWatch, Text: f.Title, Finding: f.ID, Rule: f.Rule, Severity: f.Severity})
	a.log.Warn("app: the watch noticed", "rule", string(f.Rule), "severity", string(f.Severity), "text", f.Text,
		"account", f.Account.String(), "key", f.Key.String(), "finding", f.ID.String())
}

// watchFailed keeps why the watch stands still for who asks; it reads two logs at once.
func (a *App) watchFailed(err error) {
	a.failures.set(event.NameWatch, "events", err)
	a.failures.set(event.NameWatch, "logins", err)
}

// freshPlaces takes newer files of places. What is wrong with one is said once.
func (a *App) freshPlaces(ctx context.Context) error {
	if a.places == nil {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(placesEvery)
	defer tick.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		changed, err := a.places.Refresh()
		if changed {
			a.log.Info("app: took a new file of places")
		}
		switch {
		case err == nil:
			said = ""
		case said != err.Error():
			said = err.Error()
			a.log.Warn("app: the new file of places cannot be used; the old one stays", "error", err)
		}
	}
}

// watchServices are what the API needs of the watch.
func (a *App) watchServices() v3.WatchServices {
	return v3.WatchServices{Watch: a.store, Replays: &watch.Replayer{
		Logs: a.store, Engine: watch.Config{Places: a.lookPlaces(), Key: a.keyCopy, Account: a.directory.Account},
	}}
}
