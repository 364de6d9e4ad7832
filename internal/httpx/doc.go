// Package httpx is what every HTTP handler of postern stands on: handlers that
// return errors, one renderer for those, one log event per request, recovery
// from panics, security headers, strict JSON and a router whose routes are data.
// It knows no route and no service.
//
// Its one invariant: an answer never shows more of an error than the Public text
// of a relay.Error; what has none is answered with a request id and nothing else.
//
//	handler := httpx.New(httpx.Options{Logger: log}, []httpx.Route{
//		{Method: "GET", Pattern: "/things/{id}", Handler: getThing},
//	})
package httpx

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Handler answers a request or returns an error, which is then rendered. After it
// has written, it must return nil or an error that it accepts to be only logged.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Route is one line of a route table.
type Route struct {
	Method string // GET also answers HEAD
	// Pattern is as net/http.ServeMux, without method and host: "/things/{id}". What
	// stands at "{token}" is a secret: no log has it, nor what comes after.
	Pattern string
	Handler Handler
	// MaxBody is the largest request body in octets, as it is sent; 0: Options.MaxBody.
	MaxBody int64
	// Errors answers with the handler's errors instead of JSON, for pages. Optional.
	Errors ErrorPage
}

// ErrorPage answers with an error and returns true, or writes nothing and returns
// false: then the answer is JSON. What may be shown of err is what Answer says.
type ErrorPage func(w http.ResponseWriter, r *http.Request, err error) bool

// Options are what the handlers of one listener share.
type Options struct {
	Logger   *slog.Logger
	Listener string // its name in log events
	// MaxBody is the largest request body of routes that do not say, in octets; 0: 1 MiB.
	MaxBody int64
	// Proxies are the reverse proxies whose X-Forwarded-For and X-Forwarded-Proto
	// are believed.
	Proxies []netip.Prefix
	// Local serves requests in the clear from anywhere: for Unix sockets and
	// listeners that are bound to loopback. Others serve https only.
	Local bool
	// OnRequest is told of each request at its end, for metrics. Route is the
	// pattern, "" if none matched. Optional; must not block.
	OnRequest func(route string, status int, took time.Duration)
	// Unmatched answers where no route was found, or none for the method. Optional.
	Unmatched ErrorPage
	// OnPanic is told of each recovered panic. Optional; must not block.
	OnPanic func()
	// Now is the clock; nil: time.Now.
	Now func() time.Time

	secrets []string // what paths begin with that have a secret after it
}

// defaultMaxBody is generous for administration; mail has a limit of its own.
const defaultMaxBody = 1 << 20

// New makes the handler of a listener: the routes with everything around them.
// Conflicting patterns are a programming error and panic at start, as with
// net/http.
func New(o Options, routes []Route) http.Handler {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxBody == 0 {
		o.MaxBody = defaultMaxBody
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	for _, r := range routes {
		if before, _, ok := strings.Cut(r.Pattern, "{token}"); ok && !slices.Contains(o.secrets, before) {
			o.secrets = append(o.secrets, before)
		}
	}
	rt := newRouter(routes, o.MaxBody)
	rt.lost = o.Unmatched
	return o.observe(o.guard(rt.serve))
}

// ServerLimits sets the time-outs and sizes that a public net/http server needs
// (slow headers, slow bodies, idle connections) and silences its own log in
// favour of l.
func ServerLimits(s *http.Server, l *slog.Logger) {
	s.ReadHeaderTimeout = 10 * time.Second
	s.ReadTimeout = 5 * time.Minute // a 30 MB message over a slow line
	s.WriteTimeout = 5 * time.Minute
	s.IdleTimeout = 2 * time.Minute
	s.MaxHeaderBytes = 32 << 10
	s.ErrorLog = slog.NewLogLogger(l.Handler(), slog.LevelDebug)
}

type contextKey struct{}

// eventOf returns the request's event; outside of New's handlers one that goes
// nowhere.
func eventOf(ctx context.Context) *event {
	if e, ok := ctx.Value(contextKey{}).(*event); ok {
		return e
	}
	return &event{}
}

// RequestID returns the id under which the request is logged.
func RequestID(ctx context.Context) string { return eventOf(ctx).id }

// Client returns the address of the client, behind the known proxies. It is not
// valid for a Unix socket.
func Client(ctx context.Context) netip.Addr { return eventOf(ctx).client }

// Encrypted reports whether the client's way here was encrypted, up to us or to a
// known proxy that says so: what a cookie's Secure goes by. Anybody else's
// X-Forwarded-Proto counts for nothing.
func Encrypted(ctx context.Context) bool { return eventOf(ctx).https }

// Annotate adds attributes to the request's log event. Not for secrets.
func Annotate(ctx context.Context, attrs ...slog.Attr) {
	e := eventOf(ctx)
	e.attrs = append(e.attrs, attrs...)
}
