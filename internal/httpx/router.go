package httpx

import (
	"net/http"
	"slices"
	"strings"
)

// router finds the route of a request. It wraps net/http's mux, which answers
// unknown paths and methods in plain text.
type router struct {
	mux     *http.ServeMux
	known   map[string]bool // by "METHOD pattern"
	methods []string
	lost    ErrorPage // where no route was found
}

func newRouter(routes []Route, maxBody int64) *router {
	rt := &router{mux: http.NewServeMux(), known: map[string]bool{}}
	for _, route := range routes {
		key := route.Method + " " + route.Pattern
		if strings.HasSuffix(route.Pattern, "/") && route.Pattern != "/" {
			panic("httpx: pattern " + route.Pattern + " would make the mux redirect")
		}
		if route.MaxBody == 0 {
			route.MaxBody = maxBody
		}
		rt.mux.HandleFunc(key, func(w http.ResponseWriter, r *http.Request) {
			e := eventOf(r.Context())
			e.page = route.Errors
			e.result = route.serve(w, r)
		})
		rt.known[key] = true
		if !slices.Contains(rt.methods, route.Method) {
			rt.methods = append(rt.methods, route.Method)
		}
	}
	slices.Sort(rt.methods)
	return rt
}

// serve bounds the body, then calls the handler.
func (route *Route) serve(w http.ResponseWriter, r *http.Request) error {
	if r.ContentLength > route.MaxBody {
		return &http.MaxBytesError{Limit: route.MaxBody}
	}
	r.Body = http.MaxBytesReader(w, r.Body, route.MaxBody)
	return route.Handler(w, r)
}

func (rt *router) serve(w http.ResponseWriter, r *http.Request) error {
	_, key := rt.mux.Handler(r)
	if !rt.known[key] {
		eventOf(r.Context()).page = rt.lost
		if allowed := rt.allowed(r); len(allowed) > 0 {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			return Refuse(http.StatusMethodNotAllowed, "method not allowed")
		}
		return Refuse(http.StatusNotFound, "not found")
	}
	_, pattern, _ := strings.Cut(key, " ")
	e := eventOf(r.Context())
	e.route = pattern
	rt.mux.ServeHTTP(w, r)
	return e.result
}

// allowed lists the methods that the path has.
func (rt *router) allowed(r *http.Request) []string {
	var out []string
	for _, m := range rt.methods {
		probe := *r
		probe.Method = m
		if _, key := rt.mux.Handler(&probe); rt.known[key] {
			out = append(out, m)
			if m == http.MethodGet {
				out = append(out, http.MethodHead)
			}
		}
	}
	return out
}
