package api

import (
	"net/http"
	"slices"

	"postern/internal/relay"
	"postern/internal/store"
)

// maxRecords is the most events in one answer.
const maxRecords = 10_000

// eventKinds are the kinds that can be asked for.
var eventKinds = []relay.EventKind{
	relay.EventReceived, relay.EventDeferred, relay.EventDelivered, relay.EventBounced, relay.EventDropped, relay.EventHeld,
	relay.EventReleased, relay.EventRetried, relay.EventQuarantined, relay.EventRecovered, relay.EventNotified, relay.EventRelayed,
	relay.EventRefused, relay.EventAlert,
}

// listEvents answers with events, oldest first. To follow, ask again with the
// epoch and sequence of the last one.
func (a *admin) listEvents(w http.ResponseWriter, r *http.Request) error {
	q := query(r)
	f := store.EventFilter{
		Message: relay.MessageID{ID: q.id("message")}, Recipient: q.text("recipient"),
		Since: q.time("since"), Until: q.time("until"), Newest: q.flag("newest"),
		AfterEpoch: q.number("after_epoch", 1<<62), AfterSeq: q.number("after_seq", 1<<62), Limit: int(q.number("limit", maxRecords)),
	}
	accountRef, keyRef := q.text("account"), q.text("key")
	for _, kind := range q.texts("event") {
		if !slices.Contains(eventKinds, relay.EventKind(kind)) {
			q.fail("event", "%q is not an event; choose of %v.", kind, eventKinds)
		}
		f.Kinds = append(f.Kinds, relay.EventKind(kind))
	}
	if err := q.end(); err != nil {
		return err
	}
	if accountRef != "" {
		account, err := a.account(r.Context(), "account", accountRef)
		if err != nil {
			return err
		}
		f.Account = account.ID
	}
	if keyRef != "" {
		k, err := a.key(r.Context(), keyRef)
		if err != nil {
			return err
		}
		f.Key = k.ID
	}
	events, err := a.History.Events(r.Context(), f)
	if err != nil {
		return err
	}
	return reply(w, listOf(events))
}
