package app

import (
	"context"
	"time"

	"postern/internal/event"
)

// startConsumers runs what reads the logs: search and counts, and the exports.
func (a *App) startConsumers(hold context.Context) {
	index, logins := event.Mail(a.store), event.LoginCounts(a.store)
	index.Logger, logins.Logger = a.log, a.log
	index.OnLag = func(records int64, age time.Duration) { a.metrics.lag("index", "events", records, age) }
	logins.OnLag = func(records int64, age time.Duration) { a.metrics.lag("counts", "logins", records, age) }
	a.background("mail index", hold, index.Run)
	a.background("login counts", hold, logins.Run)
	for _, e := range a.exports {
		a.background("export "+e.Name, hold, e.Run)
	}
}
