package httpx

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
)

// Inside answers requests that come from within the process: the same routes, the
// same rules for paths and bodies, and the same errors as over the network, but
// no log event, no headers of its own, and errors returned instead of rendered.
type Inside struct{ routes *router }

// NewInside makes one. A route that does not say how large its body may be gets
// 1 MiB.
func NewInside(routes []Route) *Inside { return &Inside{newRouter(routes, defaultMaxBody)} }

// Serve answers a request that is made for a client at an address. What the
// handler adds to its log event goes to the event of r's context.
func (i *Inside) Serve(w http.ResponseWriter, r *http.Request, client netip.Addr) error {
	clean, ok := cleanPath(r)
	if !ok {
		return Refuse(http.StatusNotFound, "not found")
	}
	outer := eventOf(r.Context())
	inner := &event{id: outer.id, client: client}
	err := i.routes.serve(w, clean.WithContext(context.WithValue(r.Context(), contextKey{}, inner)))
	outer.attrs = append(outer.attrs, inner.attrs...)
	return err
}

// Refused is what a client would get to see of an error: its status and items.
// The error stays in it, for logs. nil: the error is a fault of ours, of which
// nothing is shown.
func Refused(err error) *Refusal {
	if s, ok := errors.AsType[*Refusal](err); ok {
		return s
	}
	status, body := render(err, "")
	if status == http.StatusInternalServerError {
		return nil
	}
	return &Refusal{Status: status, Items: body.Errors, Err: err}
}
