package httpx

import (
	"net"
	"net/http"
	"net/netip"
	"path"
	"strings"
)

// guard is between observe and the routes: who asks, how, and for which path.
func (o *Options) guard(next Handler) Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		client, https, proxied := o.origin(r)
		eventOf(r.Context()).client, eventOf(r.Context()).https = client, https
		if https {
			w.Header().Set("Strict-Transport-Security", "max-age=31536000")
		} else if proxied || !o.Local {
			return Refuse(http.StatusForbidden, "This service is available over https only.")
		}
		if !https && !proxied && client.IsLoopback() && !localHost(r.Host) {
			// A page elsewhere may point its own name at loopback and ask us through the
			// visitor's browser (DNS rebinding); its requests carry that name.
			return Refuse(http.StatusMisdirectedRequest, "This service answers to localhost only.")
		}
		clean, ok := cleanPath(r)
		if !ok {
			return Refuse(http.StatusNotFound, "not found")
		}
		return next(w, clean)
	}
}

// localHost reports whether a request's Host means this machine by a name that
// nobody else can give: localhost, or a loopback address.
func localHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.Trim(name, "[]")
	if a, err := netip.ParseAddr(name); err == nil {
		return a.Unmap().IsLoopback()
	}
	return strings.EqualFold(name, "localhost")
}

// origin says who the client is, whether its way here was encrypted and whether
// it came through a known proxy. Only
// what a known proxy says of its own client counts: the last address of
// X-Forwarded-For that is not a proxy itself.
func (o *Options) origin(r *http.Request) (client netip.Addr, https, proxied bool) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false, false // a Unix socket
	}
	client = peer.Addr().Unmap()
	if !o.isProxy(client) {
		return client, r.TLS != nil, false
	}
	https = strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") && len(r.Header.Values("X-Forwarded-Proto")) == 1
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		a, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break // what is left of it was written by who knows whom
		}
		if client = a.Unmap().WithZone(""); !o.isProxy(client) {
			break
		}
	}
	return client, https, true
}

func (o *Options) isProxy(a netip.Addr) bool {
	for _, p := range o.Proxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// cleanPath returns the request with its path in canonical form, so that every
// spelling of a path meets the same route and the same check, and none is
// answered with a redirect that a client would follow with its key. A path that
// hides a separator or a control octet has no canonical form.
func cleanPath(r *http.Request) (*http.Request, bool) {
	p, raw := r.URL.Path, strings.ToLower(r.URL.EscapedPath())
	if p == "" || p[0] != '/' || strings.Contains(raw, "%2f") || strings.Contains(raw, "%5c") || strings.ContainsAny(p, "\\;") {
		return nil, false
	}
	for i := range len(p) {
		if p[i] < 0x20 || p[i] == 0x7f {
			return nil, false
		}
	}
	if c := path.Clean(p); c != p || r.URL.RawPath != "" {
		u := *r.URL
		u.Path, u.RawPath = c, ""
		r2 := *r
		r2.URL = &u
		return &r2, true
	}
	return r, true
}
