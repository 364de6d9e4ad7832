package app

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"postern/internal/httpx"
)

// AC-10: cookies are for https only wherever the browser came by it: to us, to a
// proxy that is known, or by what the configuration says; and no stranger's header
// makes them so or not.
func TestSecureWay(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}
	for name, c := range map[string]struct {
		peer, proto, base string
		tls, want         bool
	}{
		"our TLS":                     {"198.51.100.7:1", "", "http://localhost:8025", true, true},
		"a known proxy, no URL":       {"192.0.2.1:1", "https", "http://localhost:8025", false, true},
		"plain on the machine":        {"127.0.0.1:1", "", "http://localhost:8025", false, false},
		"a stranger's header":         {"127.0.0.1:1", "https", "http://localhost:8025", false, false},
		"a stranger's denial":         {"198.51.100.7:1", "http", "http://localhost:8025", true, true},
		"the configured URL is https": {"127.0.0.1:1", "", "https://relay.example", false, true},
	} {
		got := false
		h := httpx.New(httpx.Options{Local: true, Proxies: proxies}, []httpx.Route{{Method: "GET", Pattern: "/x", Handler: func(_ http.ResponseWriter, r *http.Request) error {
			got = secureWay(r, c.base)
			return nil
		}}})
		r := httptest.NewRequest("GET", "/x", nil)
		r.RemoteAddr, r.Host = c.peer, "localhost"
		if r.TLS = nil; c.tls {
			r.TLS = &tls.ConnectionState{}
		}
		if c.proto != "" {
			r.Header.Set("X-Forwarded-Proto", c.proto)
		}
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != http.StatusOK || got != c.want {
			t.Errorf("%s: %v, want %v (%d)", name, got, c.want, w.Code)
		}
	}
}
