package app

import (
	"context"
	"slices"
	"sync"
	"time"

	"postern/internal/api"
	"postern/internal/config"
	"postern/internal/event"
)

// startConsumers runs what reads the logs: search and counts, and the exports.
func (a *App) startConsumers(hold context.Context) {
	index, logins := event.Mail(a.store), event.LoginCounts(a.store)
	index.Logger, logins.Logger = a.log, a.log
	index.OnLag = func(records int64, age time.Duration) { a.metrics.lag(event.NameIndex, "events", records, age) }
	logins.OnLag = func(records int64, age time.Duration) { a.metrics.lag(event.NameCounts, "logins", records, age) }
	index.OnFailure = func(err error) { a.failures.set(event.NameIndex, "events", err) }
	logins.OnFailure = func(err error) { a.failures.set(event.NameCounts, "logins", err) }
	a.background("mail index", hold, index.Run)
	a.background("login counts", hold, logins.Run)
	for _, e := range a.exports {
		a.background("export "+e.Name, hold, e.Run)
	}
}

// failures are why consumers do not go on, as this node knows.
type failures struct {
	mu  sync.Mutex
	why map[[2]string]string // by consumer and stream
}

func (f *failures) set(consumer, stream string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		delete(f.why, [2]string{consumer, stream})
		return
	}
	if f.why == nil {
		f.why = map[[2]string]string{}
	}
	f.why[[2]string{consumer, stream}] = err.Error()
}

func (f *failures) of(consumer, stream string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.why[[2]string{consumer, stream}]
}

// consumers tells how far what reads the logs is behind.
func (a *App) consumers(ctx context.Context, now time.Time) ([]api.Consumer, error) {
	all, err := event.Backlogs(ctx, a.store, now)
	if err != nil {
		return nil, err
	}
	out := make([]api.Consumer, 0, len(all))
	for i := range all {
		b := &all[i]
		out = append(out, api.Consumer{
			Name: b.Consumer, Stream: b.Stream, Records: b.Records, Oldest: b.Oldest, MovedAt: b.MovedAt, Stands: b.Stands(now),
			Configured: a.configured(b), Elsewhere: b.HeldBy != 0 && b.HeldBy != a.store.Epoch(), Error: a.failures.of(b.Consumer, b.Stream),
		})
	}
	return out, nil
}

// configured reports whether this node runs a consumer, when it is its turn; a stream of
// a target of exports may have left the configuration, or be in another node's alone.
func (a *App) configured(b *event.Backlog) bool {
	if slices.Contains([]string{event.NameIndex, event.NameCounts, event.NameWatch}, b.Consumer) {
		return true
	}
	return slices.ContainsFunc(a.opt.Config.Exports, func(e config.Export) bool {
		return event.ExportName(e.Name) == b.Consumer && (len(e.Streams) == 0 || slices.Contains(e.Streams, b.Stream))
	})
}

// measureWatch shows how far the watch is behind, where it runs.
func (a *App) measureWatch(ctx context.Context, now time.Time) {
	var all []event.Backlog
	if a.watchRuns() {
		var err error
		if all, err = event.WatchBacklogs(ctx, a.store, now); err != nil {
			return // what is wrong with the store the watch itself says
		}
	} else {
		all = []event.Backlog{{Stream: "events"}, {Stream: "logins"}}
	}
	for i := range all {
		age := time.Duration(0)
		if all[i].Records > 0 {
			age = max(0, now.Sub(all[i].Oldest))
		}
		a.metrics.lag(event.NameWatch, all[i].Stream, all[i].Records, age)
	}
}
