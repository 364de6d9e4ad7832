package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/store"
)

// admin handles the administration's routes.
type admin struct{ Services }

// Admin is the route table of the administration, for admin.sock only: whoever
// can open the socket may do everything. Subusers, keys, domains, access and
// records are routes of the HTTP API (package v3), which answers there too.
func Admin(s Services) []httpx.Route {
	if s.Now == nil {
		s.Now = time.Now
	}
	a := &admin{s}
	const v = "/admin/v1"
	return []httpx.Route{
		{Method: "GET", Pattern: v + "/status", Handler: a.status},
		{Method: "POST", Pattern: v + "/reload", Handler: a.reload},
		{Method: "POST", Pattern: v + "/reopen-log", Handler: a.reopenLog},

		{Method: "GET", Pattern: v + "/accounts", Handler: a.listAccounts},
		{Method: "POST", Pattern: v + "/accounts", Handler: a.addAccount},
		{Method: "GET", Pattern: v + "/accounts/{account}", Handler: a.showAccount},
		{Method: "PUT", Pattern: v + "/accounts/{account}/retry", Handler: a.setAccountRetry},
		{Method: "POST", Pattern: v + "/accounts/{account}/{verb}", Handler: a.switchAccount},

		{Method: "GET", Pattern: v + "/pools", Handler: a.listPools},
		{Method: "POST", Pattern: v + "/pools", Handler: a.addPool},
		{Method: "GET", Pattern: v + "/pools/{pool}", Handler: a.showPool},
		{Method: "PUT", Pattern: v + "/pools/{pool}/addresses", Handler: a.setPoolAddresses},
		{Method: "PUT", Pattern: v + "/pools/{pool}/retry", Handler: a.setPoolRetry},
		{Method: "POST", Pattern: v + "/pools/{pool}/{verb}", Handler: a.switchPool},

		{Method: "GET", Pattern: v + "/queue", Handler: a.listQueue},
		{Method: "GET", Pattern: v + "/queue/{message}", Handler: a.showMessage},
		{Method: "GET", Pattern: v + "/queue/{message}/why", Handler: a.why},
		{Method: "POST", Pattern: v + "/queue/{verb}", Handler: a.actOnQueue},

		{Method: "GET", Pattern: v + "/events", Handler: a.listEvents},
	}
}

type byKey struct{}

// withBy notes who is at the other end of a connection.
func withBy(ctx context.Context, by store.By) context.Context {
	return context.WithValue(ctx, byKey{}, by)
}

// Operated says who is at the other end of a request on admin.sock.
func Operated(ctx context.Context) (store.By, bool) {
	b, ok := ctx.Value(byKey{}).(store.By)
	return b, ok
}

// by says who makes a change. A connection without a name has no business here.
func by(r *http.Request) (store.By, error) {
	b, ok := r.Context().Value(byKey{}).(store.By)
	if !ok {
		return store.By{}, &relay.Error{Kind: relay.Forbidden, Err: errors.New("no peer credentials on this connection")}
	}
	httpx.Annotate(r.Context(), slog.String("by", b.Who))
	return b, nil
}

// list is the shape of every answer with several things.
type list[T any] struct {
	Result []T `json:"result"`
}

// listOf never is null.
func listOf[T any](items []T) list[T] {
	if items == nil {
		items = []T{}
	}
	return list[T]{items}
}

func reply(w http.ResponseWriter, v any) error { return httpx.WriteJSON(w, http.StatusOK, v) }

func created(w http.ResponseWriter, v any) error { return httpx.WriteJSON(w, http.StatusCreated, v) }

// onOff reads the verb of a route that switches a thing: disabled or not.
func onOff(r *http.Request) (disabled bool, err error) {
	switch r.PathValue("verb") {
	case "disable":
		return true, nil
	case "enable":
		return false, nil
	}
	return false, relay.E(relay.NotFound, "not found")
}

// empty is the answer of what has nothing to tell.
type empty struct{}

func (a *admin) status(w http.ResponseWriter, r *http.Request) error {
	s, err := a.System.Status(r.Context())
	if err != nil {
		return err
	}
	return reply(w, s)
}

func (a *admin) reload(w http.ResponseWriter, r *http.Request) error {
	who, err := by(r)
	if err != nil {
		return err
	}
	if err := a.System.Reload(r.Context(), who); err != nil {
		return err
	}
	return reply(w, empty{})
}

func (a *admin) reopenLog(w http.ResponseWriter, r *http.Request) error {
	if _, err := by(r); err != nil {
		return err
	}
	if err := a.System.ReopenLog(); err != nil {
		return &relay.Error{Kind: relay.Conflict, Public: "The log file cannot be opened anew; the old one stays in use.", Err: err}
	}
	return reply(w, empty{})
}
