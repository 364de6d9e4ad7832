package api

import (
	"net/http"
	"slices"

	"postern/internal/relay"
	"postern/internal/store"
)

// The most of each kind of record in one answer.
const maxRecords = 10_000

// eventKinds are the kinds that can be asked for.
var eventKinds = []relay.EventKind{
	relay.EventReceived, relay.EventDeferred, relay.EventDelivered, relay.EventBounced, relay.EventDropped, relay.EventHeld,
	relay.EventReleased, relay.EventRetried, relay.EventQuarantined, relay.EventRecovered, relay.EventNotified, relay.EventRelayed, relay.EventAlert,
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

// listLogins answers with login records, oldest first.
func (a *admin) listLogins(w http.ResponseWriter, r *http.Request) error {
	q := query(r)
	f := store.LoginFilter{
		Addr: q.text("addr"), Result: relay.LoginResult(q.text("result")), Since: q.time("since"), Until: q.time("until"),
		After: q.number("after", 1<<62), Newest: q.flag("newest"), Limit: int(q.number("limit", maxRecords)),
	}
	accountRef, keyRef := q.text("account"), q.text("key")
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
	logins, err := a.History.Logins(r.Context(), f)
	if err != nil {
		return err
	}
	return reply(w, listOf(logins))
}

// listChanges answers with administrative changes, oldest first.
func (a *admin) listChanges(w http.ResponseWriter, r *http.Request) error {
	q := query(r)
	f := store.ChangeFilter{
		Action: q.text("action"), Since: q.time("since"), Until: q.time("until"),
		After: q.number("after", 1<<62), Newest: q.flag("newest"), Limit: int(q.number("limit", maxRecords)),
	}
	accountRef := q.text("account")
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
	changes, err := a.History.Changes(r.Context(), f)
	if err != nil {
		return err
	}
	return reply(w, listOf(changes))
}
