package v3

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"postern/internal/httpx"
	"postern/internal/relay"
)

// addUser makes a person of a tenant who has come to the end of logging in.
func (w *world) addUser(of relay.Tenant, role relay.Role, scopes ...string) relay.User {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.users) + 1
	u := relay.User{
		ID: relay.UserID{ID: relay.NewID(t0)}, Account: of.Account, Subuser: of.Subuser, Username: fmt.Sprintf("%s%d", role, n), Email: fmt.Sprintf("%s%d@people.example", role, n),
		Role: role, Scopes: slices.Sorted(slices.Values(scopes)), TOTP: []byte("sealed"), CreatedAt: t0,
	}
	w.users = append(w.users, u)
	return u
}

// restrict makes a person of an account one who sees these subusers only.
func (w *world) restrict(u relay.User, to ...relay.Tenant) relay.User {
	w.mu.Lock()
	defer w.mu.Unlock()
	u.Restricted = true
	for _, t := range to {
		u.Subusers = append(u.Subusers, t.Subuser)
	}
	for i := range w.users {
		if w.users[i].ID == u.ID {
			w.users[i] = u
		}
	}
	return u
}

// person is a client who asks by Direct. The answers are rendered as over HTTP, so
// that both can be compared.
func (w *world) person(u relay.User, fresh bool) *client {
	p := &relay.Principal{Tenant: relay.Tenant{Account: u.Account, Subuser: u.Subuser}, User: &u, Session: relay.SessionID{ID: u.ID.ID}, Mechanism: "PASSWORD"}
	if fresh {
		p.FreshUntil = w.clock().Add(5 * time.Minute)
	}
	routes := w.direct.api.handlers()
	for i := range routes {
		routes[i].Handler = func(rw http.ResponseWriter, r *http.Request) error {
			return w.direct.serve(rw, r.WithContext(context.WithValue(r.Context(), callerKey{}, p)), netip.MustParseAddr("192.0.2.1"))
		}
	}
	return &client{w: w, handler: httpx.New(httpx.Options{Local: true, Now: w.clock}, routes), header: http.Header{}}
}
