package app

import (
	"context"

	"postern/internal/api/v3"
	"postern/internal/queue"
	"postern/internal/relay"
	"postern/internal/store"
)

// consoleServices show mail on its way and what became of it.
func (a *App) consoleServices() v3.ConsoleServices {
	return v3.ConsoleServices{Index: a.store, Messages: a.store, Queue: tenantQueue{queueService{a}}, Lookout: a.openFindings, Place: a.countryOf()}
}

// tenantQueue is the queue as the HTTP API asks for it.
type tenantQueue struct{ queueService }

func (q tenantQueue) Why(ctx context.Context, id relay.MessageID) (queue.Explanation, error) {
	return q.a.queue.Why(ctx, id)
}

func (q tenantQueue) Lanes() []queue.LaneStatus { return q.a.queue.Lanes() }

// openFindings are those of the watch that nobody has decided on: a subuser's own,
// or an account's with its subusers'.
func (a *App) openFindings(ctx context.Context, of relay.Tenant, limit int) ([]relay.WatchFinding, error) {
	return a.store.WatchFindings(ctx, store.WatchFilter{Account: of.Account, Subuser: of.Subuser, States: []relay.WatchState{relay.WatchOpen}, Limit: limit})
}
