package api

import (
	"context"
	"net/http"
	"net/http/pprof"
	"strings"

	"postern/internal/httpx"
	"postern/internal/relay"
)

// Health answers whether the process works, and whether it should be given
// mail. The errors' texts are shown on the operator's listener only.
type Health interface {
	// Live is nil while the process can do its work at all.
	Live(ctx context.Context) error
	// Ready is nil while it takes mail: not while starting, draining, out of disk,
	// or behind on its key feed.
	Ready(ctx context.Context) error
}

// health is the answer of both.
type health struct {
	Status string `json:"status"`           // ok or unavailable
	Reason string `json:"reason,omitempty"` // on the operator's listener
}

// Public is the route table of the public listener that stands without a key.
// It says that the process lives and nothing else.
func Public(h Health) []httpx.Route {
	return []httpx.Route{{Method: "GET", Pattern: "/healthz", Handler: func(w http.ResponseWriter, r *http.Request) error {
		if err := h.Live(r.Context()); err != nil {
			return &relay.Error{Kind: relay.Unavailable, Err: err}
		}
		return reply(w, health{Status: "ok"})
	}}}
}

// Operator is the route table of the loopback listener: readiness, metrics and
// profiles.
func Operator(h Health, metrics http.Handler) []httpx.Route {
	check := func(f func(context.Context) error) httpx.Handler {
		return func(w http.ResponseWriter, r *http.Request) error {
			if err := f(r.Context()); err != nil {
				return httpx.WriteJSON(w, http.StatusServiceUnavailable, health{Status: "unavailable", Reason: err.Error()})
			}
			return reply(w, health{Status: "ok"})
		}
	}
	plain := func(h http.Handler) httpx.Handler {
		return func(w http.ResponseWriter, r *http.Request) error {
			h.ServeHTTP(w, r)
			return nil
		}
	}
	return []httpx.Route{
		{Method: "GET", Pattern: "/healthz", Handler: check(h.Live)},
		{Method: "GET", Pattern: "/readyz", Handler: check(h.Ready)},
		{Method: "GET", Pattern: "/metrics", Handler: plain(metrics)},
		{Method: "GET", Pattern: "/debug/pprof", Handler: profileIndex},
		{Method: "GET", Pattern: "/debug/pprof/{profile}", Handler: profile},
	}
}

// Diagnostic reports whether a path is one that tells how the process is. It is
// answered also when the store is not: whoever restarts what does not answer would only
// make it worse.
func Diagnostic(path string) bool {
	return path == "/healthz" || path == "/readyz" || path == "/metrics" || strings.HasPrefix(path, "/debug/")
}

// profileIndex lists the profiles. pprof links them relative to its own path
// with a slash at the end, which our paths do not have.
func profileIndex(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	r2 := r.Clone(r.Context())
	r2.URL.Path = "/debug/pprof/"
	pprof.Index(slashLinks{w}, r2)
	return nil
}

var indexLinks = strings.NewReplacer("<a href='", "<a href='pprof/", `<a href="`, `<a href="pprof/`)

// slashLinks rewrites the index's links to be relative to "/debug/".
type slashLinks struct{ http.ResponseWriter }

func (w slashLinks) Write(p []byte) (int, error) {
	if _, err := w.ResponseWriter.Write([]byte(indexLinks.Replace(string(p)))); err != nil {
		return 0, err
	}
	return len(p), nil
}

func profile(w http.ResponseWriter, r *http.Request) error {
	switch name := r.PathValue("profile"); name {
	case "cmdline":
		return relay.E(relay.NotFound, "not found") // flags may name files that are nobody's business
	case "profile":
		pprof.Profile(w, r)
	case "symbol":
		pprof.Symbol(w, r)
	case "trace":
		pprof.Trace(w, r)
	default:
		pprof.Handler(name).ServeHTTP(w, r)
	}
	return nil
}
