package app

import (
	"context"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"postern/internal/audit"
	"postern/internal/dkim"
	"postern/internal/export"
	"postern/internal/relay"
)

// auditsEvery is how often it is looked for reports that are due.
const auditsEvery = time.Minute

// makeAudit makes what makes audit reports.
func (a *App) makeAudit(context.Context) error {
	a.audits = audit.New(audit.Config{
		Store: a.store, Log: a.log, Settings: a.weakSettings, Components: a.components,
		Exported: func(context.Context, relay.AccountID) (bool, error) { return exportsRecords(a.exports), nil },
		Mail: func(ctx context.Context, l audit.Letter) error {
			return a.letterBoth(ctx, l.To, l.Subject, l.Text, string(l.HTML))
		},
	})
	return nil
}

// exportsRecords reports whether both logins and changes leave this host; that mail's
// events do says nothing of who did what.
func exportsRecords(all []*export.Exporter) bool {
	for _, s := range []export.Stream{export.Logins, export.Changes} {
		if !slices.ContainsFunc(all, func(e *export.Exporter) bool { return slices.Contains(e.Streams, s) }) {
			return false
		}
	}
	return true
}

// weakSettings are those of the configuration as it is now.
func (a *App) weakSettings() []audit.Setting {
	var out []audit.Setting
	for _, w := range a.cfg.Load().Weak() {
		out = append(out, audit.Setting{Name: w.Setting, Value: w.Value, Recommended: w.Recommended, Why: w.Why, Standards: w.Standards})
	}
	return out
}

// components are what this process is made of. The libcrypto counts where it is
// there: it signs, unless the configuration says otherwise.
func (a *App) components() []audit.Component {
	info, _ := debug.ReadBuildInfo()
	out := audit.BuildComponents(a.opt.Version, info)
	if says := dkim.LibcryptoVersion(); says != "" && !strings.EqualFold(a.opt.Config.Sign.Backend, "go") {
		out = append(out, audit.LibcryptoComponent(says))
	}
	return out
}

// runAudits makes, keeps and mails the reports that are due.
func (a *App) runAudits(ctx context.Context) error {
	tick := time.NewTicker(auditsEvery)
	defer tick.Stop()
	for {
		if err := a.audits.RunDue(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("app: an audit report was not made; it is tried again", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
