package httpx

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/relay"
)

var update = flag.Bool("update", false, "write the golden files")

// serve answers one request with one handler at /x and returns answer and log.
func serve(t testing.TB, o Options, h Handler, r *http.Request) (*httptest.ResponseRecorder, string) {
	t.Helper()
	var log bytes.Buffer
	o.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w := httptest.NewRecorder()
	New(o, []Route{{Method: "GET", Pattern: "/x", Handler: h}, {Method: "POST", Pattern: "/x", Handler: h}, {Method: "GET", Pattern: "/things/{id}", Handler: h}}).ServeHTTP(w, r)
	return w, log.String()
}

func failing(err error) Handler {
	return func(http.ResponseWriter, *http.Request) error { return err }
}

func get(path string) *http.Request { return httptest.NewRequest("GET", path, nil) }

// leak is in the inner error of every case: it must never get out.
const leak = "SELECT secret FROM /var/lib/postern"

func TestErrorAnswers(t *testing.T) {
	t.Parallel()
	inner := errors.New(leak)
	cases := map[string]error{
		"unclassified": fmt.Errorf("list keys: %w", inner),
		"field":        &relay.Error{Kind: relay.Invalid, Public: "The name is too long.", Field: "name", Err: inner},
		"joined": errors.Join(
			&relay.Error{Kind: relay.Invalid, Public: "The name is required.", Field: "name", Err: inner},
			&relay.Error{Kind: relay.Invalid, Public: "The domain is not one.", Field: "domains.0"}, inner),
		"wrapped":         fmt.Errorf("create: %w", &relay.Error{Kind: relay.Conflict, Public: "This name is taken.", Err: inner}),
		"internal_public": &relay.Error{Kind: relay.Internal, Public: leak},
		"unknown_kind":    &relay.Error{Kind: relay.Kind(99), Public: leak},
		"deadline":        fmt.Errorf("%s: %w", leak, context.DeadlineExceeded),
		"body_too_large":  &http.MaxBytesError{Limit: 5},
	}
	for kind := relay.Internal; kind <= relay.Unavailable; kind++ {
		cases["kind_"+strings.ReplaceAll(kind.String(), " ", "_")] = &relay.Error{Kind: kind, Err: inner}
	}
	for name, err := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, log := serve(t, Options{Local: true}, failing(err), get("/x"))
			id := w.Header().Get("X-Request-Id")
			body := strings.ReplaceAll(w.Body.String(), id, "REQUEST-ID")
			if strings.Contains(w.Body.String(), leak) {
				t.Errorf("the answer shows internals: %s", w.Body)
			}
			if !strings.Contains(log, id) {
				t.Errorf("the log does not have the request id")
			}
			golden(t, name, fmt.Sprintf("%d\n%s%s", w.Code, headers(w, "WWW-Authenticate", "Retry-After", "Content-Type"), body))
			var parsed ErrorBody
			if err := json.Unmarshal(w.Body.Bytes(), &parsed); err != nil || len(parsed.Errors) == 0 || parsed.Errors[0].Message == "" {
				t.Errorf("not an error body: %s, %v", w.Body, err)
			}
		})
	}
}

func headers(w *httptest.ResponseRecorder, names ...string) string {
	var b strings.Builder
	for _, n := range names {
		if v := w.Header().Get(n); v != "" {
			fmt.Fprintf(&b, "%s: %s\n", n, v)
		}
	}
	return b.String()
}

func golden(t testing.TB, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestPanicIsOneRequestsOwn(t *testing.T) {
	t.Parallel()
	panics := 0
	w, log := serve(t, Options{Local: true, OnPanic: func() { panics++ }}, func(http.ResponseWriter, *http.Request) error {
		panic(leak)
	}, get("/x"))
	if w.Code != 500 || strings.Contains(w.Body.String(), leak) || panics != 1 {
		t.Errorf("answer %d %s, %d panics counted", w.Code, w.Body, panics)
	}
	if !strings.Contains(log, leak) || !strings.Contains(log, "httpx_test.go") || !strings.Contains(log, `"level":"ERROR"`) {
		t.Errorf("the log lacks panic, stack or level: %s", log)
	}
}

// A client must not take half an answer for a whole one.
func TestPanicInTheMiddleCutsTheConnection(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]Handler{
		"panic": func(w http.ResponseWriter, _ *http.Request) error {
			_, _ = io.WriteString(w, "half an answer")
			panic("boom")
		},
		"error": func(w http.ResponseWriter, _ *http.Request) error {
			_, _ = io.WriteString(w, "half an answer")
			return errors.New("boom")
		},
		"abort": func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(New(Options{Local: true}, []Route{{Method: "GET", Pattern: "/x", Handler: h}}))
			defer s.Close()
			resp, err := http.Get(s.URL + "/x")
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			if err == nil {
				t.Error("the client got a whole answer")
			}
		})
	}
}

func TestOneLogEventPerRequest(t *testing.T) {
	t.Parallel()
	var route string
	var status int
	o := Options{Local: true, Listener: "admin", OnRequest: func(r string, s int, _ time.Duration) { route, status = r, s }}
	w, log := serve(t, o, func(w http.ResponseWriter, r *http.Request) error {
		Annotate(r.Context(), slog.String("by", "uid 0"))
		if RequestID(r.Context()) == "" || Client(r.Context()) != netip.MustParseAddr("192.0.2.1") {
			t.Error("handler does not know request id or client")
		}
		return WriteJSON(w, http.StatusCreated, map[string]string{"id": r.PathValue("id")})
	}, get("/things/seven"))
	if w.Code != 201 || w.Body.String() != "{\"id\":\"seven\"}\n" {
		t.Fatalf("answer %d %s", w.Code, w.Body)
	}
	if route != "/things/{id}" || status != 201 {
		t.Errorf("metrics were told %q, %d", route, status)
	}
	var e map[string]any
	if err := json.Unmarshal([]byte(log), &e); err != nil {
		t.Fatalf("log is not one event: %v\n%s", err, log)
	}
	for key, want := range map[string]any{
		"msg": "request", "listener": "admin", "method": "GET", "route": "/things/{id}", "path": "/things/seven",
		"status": float64(201), "octets": float64(15), "client": "192.0.2.1", "by": "uid 0", "request_id": w.Header().Get("X-Request-Id"),
	} {
		if e[key] != want {
			t.Errorf("log: %s is %v, want %v", key, e[key], want)
		}
	}
}

func TestUnknownPathAndMethod(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		method, path string
		status       int
		allow        string
	}{
		"unknown path":    {"GET", "/y", 404, ""},
		"unknown method":  {"DELETE", "/x", 405, "GET, HEAD, POST"},
		"odd method":      {"BREW", "/x", 405, "GET, HEAD, POST"},
		"connect":         {"CONNECT", "/x", 404, ""},
		"options":         {"OPTIONS", "/x", 405, "GET, HEAD, POST"},
		"override ignore": {"PUT", "/things/1?_method=GET", 405, "GET, HEAD"},
		"head":            {"HEAD", "/x", 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(tt.method, "http://relay.example.test"+tt.path, nil)
			r.Header.Set("X-HTTP-Method-Override", "GET")
			w, _ := serve(t, Options{Local: true}, failing(nil), r)
			if w.Code != tt.status || w.Header().Get("Allow") != tt.allow {
				t.Errorf("answer %d, Allow %q; want %d, %q", w.Code, w.Header().Get("Allow"), tt.status, tt.allow)
			}
			if tt.status >= 400 && !strings.HasPrefix(w.Body.String(), `{"errors":[{"message":`) {
				t.Errorf("body %q", w.Body)
			}
		})
	}
}

// AP-07: every spelling of a path meets the same route, or none; never a redirect.
func TestPathSpellings(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/x": "/x", "/x/": "/x", "//x": "/x", "/./x": "/x", "/y/../x": "/x", "/../x": "/x", "/%78": "/x", "/%2e%2e/x": "/x",
		"/things/%61": "/things/a", "/X": "", "/x;a=b": "", "/x%2f": "", "/things/a%2Fb": "", "/x%5c": "", "/x%00": "", "/x%0a": "", "/x/y": "",
	} {
		t.Run(strings.ReplaceAll(path, "/", "_"), func(t *testing.T) {
			t.Parallel()
			got := ""
			w, _ := serve(t, Options{Local: true}, func(_ http.ResponseWriter, r *http.Request) error {
				got = r.URL.Path
				return nil
			}, get(path))
			if got != want || (want == "" && w.Code != 404) || w.Header().Get("Location") != "" {
				t.Errorf("%s: handled as %q, answer %d; want %q", path, got, w.Code, want)
			}
		})
	}
}

func TestHTTPSOnly(t *testing.T) {
	t.Parallel()
	proxy := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/28"), netip.MustParsePrefix("::1/128")}
	for name, tt := range map[string]struct {
		local   bool
		proxies []netip.Prefix
		peer    string
		tls     bool
		proto   []string
		forward []string
		status  int
		client  string
	}{
		"plain":                     {false, nil, "198.51.100.7:1", false, nil, nil, 403, ""},
		"plain with a claim":        {false, nil, "198.51.100.7:1", false, []string{"https"}, []string{"203.0.113.9"}, 403, ""},
		"tls":                       {false, nil, "198.51.100.7:1", true, nil, []string{"203.0.113.9"}, 200, "198.51.100.7"},
		"loopback":                  {true, nil, "127.0.0.1:1", false, nil, []string{"203.0.113.9"}, 200, "127.0.0.1"},
		"proxy says https":          {false, proxy, "192.0.2.1:1", false, []string{"https"}, []string{"203.0.113.9"}, 200, "203.0.113.9"},
		"proxy says http":           {false, proxy, "192.0.2.1:1", false, []string{"http"}, []string{"203.0.113.9"}, 403, ""},
		"proxy says nothing":        {false, proxy, "192.0.2.1:1", false, nil, nil, 403, ""},
		"proxy says both":           {false, proxy, "192.0.2.1:1", false, []string{"https", "http"}, nil, 403, ""},
		"loopback proxy says http":  {true, proxy, "[::1]:1", false, []string{"http"}, nil, 403, ""},
		"client forges a hop":       {false, proxy, "192.0.2.1:1", false, []string{"https"}, []string{"10.0.0.1, 203.0.113.9"}, 200, "203.0.113.9"},
		"two proxies":               {false, proxy, "192.0.2.1:1", false, []string{"https"}, []string{"10.0.0.1", "203.0.113.9, 192.0.2.2"}, 200, "203.0.113.9"},
		"garbage hop":               {false, proxy, "192.0.2.1:1", false, []string{"https"}, []string{"203.0.113.9, nonsense"}, 200, "192.0.2.1"},
		"mapped address is its own": {false, proxy, "[::ffff:192.0.2.1]:1", false, []string{"https"}, []string{"::ffff:203.0.113.9"}, 200, "203.0.113.9"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := get("/x")
			r.RemoteAddr, r.Host = tt.peer, "localhost"
			if tt.tls {
				r.TLS = &tls.ConnectionState{}
			}
			r.Header["X-Forwarded-Proto"], r.Header["X-Forwarded-For"] = tt.proto, tt.forward
			client, encrypted := "", false
			w, _ := serve(t, Options{Local: tt.local, Proxies: tt.proxies}, func(_ http.ResponseWriter, r *http.Request) error {
				client, encrypted = Client(r.Context()).String(), Encrypted(r.Context())
				return nil
			}, r)
			if want := tt.status == 200 && (tt.tls || len(tt.proxies) > 0); encrypted != want {
				t.Errorf("encrypted: %v, want %v", encrypted, want)
			}
			if w.Code != tt.status || client != tt.client {
				t.Errorf("answer %d for client %q; want %d, %q", w.Code, client, tt.status, tt.client)
			}
			if hsts := w.Header().Get("Strict-Transport-Security") != ""; hsts != (tt.tls || (tt.status == 200 && len(tt.proxies) > 0)) {
				t.Errorf("Strict-Transport-Security there: %v", hsts)
			}
		})
	}
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/x", "/unknown"} {
		w, _ := serve(t, Options{Local: true}, failing(nil), get(path))
		for key, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := w.Header().Get(key); got != want {
				t.Errorf("%s: %s is %q, want %q", path, key, got, want)
			}
		}
		if w.Header().Get("Access-Control-Allow-Origin") != "" || w.Header().Get("Server") != "" {
			t.Errorf("%s: a header that should not be there", path)
		}
	}
}

// TestErrorPages: a route, and what no route is found for, may answer in a form of
// their own; an error page that declines leaves the answer to JSON.
func TestErrorPages(t *testing.T) {
	t.Parallel()
	page := func(w http.ResponseWriter, r *http.Request, err error) bool {
		if r.URL.Query().Has("json") {
			return false
		}
		status, body := Answer(err, RequestID(r.Context()))
		w.WriteHeader(status)
		fmt.Fprintf(w, "<p>%s", body.Errors[0].Message)
		return true
	}
	h := New(Options{Local: true, Unmatched: page}, []Route{
		{Method: "GET", Pattern: "/page", Errors: page, Handler: func(http.ResponseWriter, *http.Request) error { return errors.New("secret detail") }},
		{Method: "GET", Pattern: "/panics", Errors: page, Handler: func(http.ResponseWriter, *http.Request) error { panic("secret detail") }},
		{Method: "GET", Pattern: "/plain", Handler: func(http.ResponseWriter, *http.Request) error { return relay.E(relay.NotFound, "gone") }},
	})
	for _, c := range []struct {
		method, path string
		status       int
		html         bool
	}{
		{"GET", "/page", 500, true}, {"GET", "/page?json", 500, false}, {"GET", "/panics", 500, true},
		{"GET", "/plain", 404, false}, {"GET", "/nowhere", 404, true}, {"GET", "/nowhere?json", 404, false}, {"POST", "/plain", 405, true},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(c.method, "http://localhost"+c.path, nil))
		if w.Code != c.status || strings.HasPrefix(w.Body.String(), "<p>") != c.html || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s %s: %d %q", c.method, c.path, w.Code, w.Body)
		}
	}
}
