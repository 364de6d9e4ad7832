package app

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"

	"postern/internal/config"
	"postern/internal/deliver"
	"postern/internal/relay"
	"postern/internal/smtpserver"
	"postern/internal/store"
)

// Reload implements api.System: it reads the configuration file again and
// applies it, or keeps the old one and says why. A setting that needs a restart
// refuses the whole: half a configuration is nobody's intention.
func (a *App) Reload(ctx context.Context, by store.By) error {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	old := a.cfg.Load()
	if old.Path == "" {
		return relay.E(relay.Conflict, "this process was not started from a configuration file")
	}
	now, err := config.Load(old.Path)
	if err != nil {
		return &relay.Error{Kind: relay.Invalid, Public: "the old configuration stays in use: " + err.Error()}
	}
	var names, restart []string
	for _, c := range config.Diff(old, now) {
		names = append(names, c.Key)
		if c.Restart {
			restart = append(restart, c.Key)
		}
	}
	if len(restart) > 0 {
		return relay.E(relay.Conflict, "the old configuration stays in use: a restart is needed to change "+strings.Join(restart, ", "))
	}
	if err := a.apply(now); err != nil {
		return &relay.Error{Kind: relay.Invalid, Public: "the old configuration stays in use: " + err.Error()}
	}
	a.cfg.Store(now)
	a.log.Info("app: configuration applied", "by", by.Who, "changed", names)
	if len(names) == 0 {
		return nil
	}
	// What it was and is may be a secret's place: the record has the names only.
	return a.recordDone(ctx, by, "config.reload", "configuration", map[string]any{"changed": names})
}

// recordDone records what was done to the process itself. That does not wait for the
// database, which may be why it is done; whoever did it is told if it is not recorded.
func (a *App) recordDone(ctx context.Context, by store.By, action, subject string, after map[string]any) error {
	image, err := json.Marshal(after)
	if err == nil {
		err = a.store.RecordChange(ctx, by, relay.Change{Action: action, Subject: subject, After: image})
	}
	if err != nil {
		return &relay.Error{Kind: relay.Unavailable, Public: "it is done, but the record of changes could not be written", Err: fmt.Errorf("record %s: %w", action, err)}
	}
	return nil
}

// apply takes a configuration into use. All that can fail comes first, so that
// an error leaves everything as it was.
func (a *App) apply(c *config.Config) error {
	level, err := logLevel(c.Log.Level)
	if err != nil {
		return err
	}
	dc, err := a.deliverConfig(c)
	if err != nil {
		return err
	}
	deliverer, err := deliver.New(dc)
	if err != nil {
		return err
	}
	way := a.makeWay(c)
	servers := make([]*smtpserver.Server, len(a.listeners))
	for i, l := range a.listeners {
		if servers[i], err = a.newServer(c, l.conf, way); err != nil {
			return err
		}
	}
	if err := a.certs.Reload(); err != nil {
		return fmt.Errorf("certificate: %w", err)
	}

	if a.opt.Level != nil {
		a.opt.Level.Set(level)
	}
	a.quota.SetLimits(quotaLimits(c))
	a.queue.Reconfigure(queueLimits(c))
	a.swapDeliverer(deliverer)
	a.way.Store(&way)
	for i, l := range a.listeners {
		a.swapServer(l, servers[i])
	}
	return nil
}

func logLevel(s string) (slog.Level, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(s)); err != nil {
		return 0, fmt.Errorf("log level %q: %w", s, err)
	}
	return l, nil
}

// ReopenLog implements api.System.
func (a *App) ReopenLog() error {
	if a.opt.LogFile == nil {
		return nil
	}
	return a.opt.LogFile.Reopen()
}
