package v3

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"postern/internal/httpx"
	"postern/internal/relay"
)

func TestUnknownPath(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.as(w.acme).refused("GET", "/v3/nothing", "", 404, "not found", "")
}

// AP-07: every spelling of a path and method meets the same decision.
func TestSpellings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	may, mayNot := w.as(w.acme, "api_keys.read"), w.as(w.acme, "alerts.read")
	k, _ := w.addKey(w.acme)
	id := k.ID.String()
	for _, path := range []string{
		"/v3/api_keys", "/v3/api_keys/", "/v3//api_keys", "//v3/api_keys", "/v3/./api_keys", "/v3/x/../api_keys", "/v3/x/%2e%2e/api_keys", "/v3/%61pi_keys",
		"/v3/api_keys/" + id, "/v3/api_keys/" + id + "/", "/v3/api_keys//" + id,
	} {
		may.want("GET", path, "", 200, nil)
		mayNot.refused("GET", path, "", 403, "access forbidden", "")
		if a := may.do("HEAD", path, ""); a.Status != 200 {
			t.Errorf("HEAD %s: %d", path, a.Status)
		}
		if a := mayNot.do("HEAD", path, ""); a.Status != 403 {
			t.Errorf("HEAD %s without the scope: %d", path, a.Status)
		}
	}
	for _, path := range []string{"/V3/api_keys", "/v3/Api_Keys", "/v3/api_keys;a=b", "/v3/api_keys%2f" + id, "/v3/api_keys/..%2f" + id, "/v3/api_keys/" + id + "%00"} {
		may.refused("GET", path, "", 404, "not found", "")
	}
	for _, method := range []string{"OPTIONS", "TRACE", "COPY", "PUT"} {
		a := may.with("X-HTTP-Method-Override", "GET").with("X-Method-Override", "GET").do(method, "/v3/api_keys?_method=GET", "")
		if a.Status != 405 || a.Header.Get("Allow") == "" {
			t.Errorf("%s: %d %s", method, a.Status, a.Body)
		}
	}
	if a := may.with("X-HTTP-Method-Override", "DELETE").do("GET", "/v3/api_keys/"+id, ""); a.Status != 200 || len(w.changes) != 0 {
		t.Errorf("a method was overridden: %d %q", a.Status, w.changes)
	}
}

// AP-16: a page elsewhere gets no word that its browser may read the answer.
func TestNoCORS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, origin := range []string{"https://evil.example", "null"} {
		c := w.as(w.acme).with("Origin", origin).with("Access-Control-Request-Method", "GET")
		c.want("GET", "/v3/scopes", "", 200, nil) // checkAnswer looks for the headers
		c.want("OPTIONS", "/v3/scopes", "", 405, nil)
	}
}

// AP-14: per key, and over all keys of an account.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *Services) { s.KeyRate, s.AccountRate = 3, 5 })
	one, two, theirs := w.as(w.acme), w.as(w.acme), w.as(w.globex)
	w.pass(10 * time.Second)
	reset := strconv.FormatInt(t0.Add(time.Minute).Unix(), 10)
	steps := []struct {
		c           *client
		status      int
		limit, left string
	}{
		{one, 200, "3", "2"}, {one, 200, "3", "1"}, {one, 200, "3", "0"}, {one, 429, "3", "0"},
		{two, 200, "5", "0"}, {two, 429, "5", "0"}, // two has not used its own, but the account's
		{theirs, 200, "3", "2"},
	}
	for i, s := range steps {
		a := s.c.do("GET", "/v3/scopes", "")
		if a.Status != s.status || a.Header.Get("X-RateLimit-Limit") != s.limit || a.Header.Get("X-RateLimit-Remaining") != s.left || a.Header.Get("X-RateLimit-Reset") != reset {
			t.Errorf("step %d: %d %q", i, a.Status, a.Header)
		}
		if s.status == 429 && (a.Header.Get("Retry-After") != "50" || a.Body != `{"errors":[{"message":"too many requests","field":null,"help":null}]}`+"\n") {
			t.Errorf("step %d: %q %s", i, a.Header, a.Body)
		}
	}
	// Neither letter case, nor slashes, nor a token make a new count.
	one.want("GET", "/v3//scopes/", "", 429, nil)
	w.withToken(one, "alerts.read").want("GET", "/v3/scopes", "", 429, nil)
	w.pass(50 * time.Second)
	one.want("GET", "/v3/scopes", "", 200, nil)
}

// AP-14: another listener is not another limit.
func TestRateLimitOverListeners(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *Services) { s.KeyRate, s.State = 1, NewState() })
	c := w.as(w.acme)
	c.want("GET", "/v3/scopes", "", 200, nil)
	c.handler = httpx.New(httpx.Options{Local: true, Now: w.clock}, New(w.services))
	c.want("GET", "/v3/scopes", "", 429, nil)
}

func TestNoRateLimitRoutes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *Services) { s.KeyRate = 1 })
	a := &API{Services: w.services, State: NewState()}
	route := &Route{Method: "POST", Pattern: "/send", NoRateLimit: true, Handler: func(_ *API, c *Call) error { return c.Empty(202) }}
	c := w.as(w.acme)
	for range 3 {
		if got := serveRoute(t, a, route, c); got.Status != 202 || got.Header.Get("X-RateLimit-Limit") != "" {
			t.Errorf("%d %q", got.Status, got.Header)
		}
	}
	for range 5 { // the operator is never limited
		if got := w.operator("acme").do("GET", "/v3/scopes", ""); got.Status != 200 || got.Header.Get("X-RateLimit-Limit") != "" {
			t.Errorf("operator: %d %q", got.Status, got.Header)
		}
	}
}

// The table of counts does not grow with what is asked of it.
func TestRatesAreBounded(t *testing.T) {
	t.Parallel()
	r := newRates()
	for i := range maxRated + 1000 {
		r.add(relay.ID{1, byte(i), byte(i >> 8), byte(i >> 16)})
	}
	if len(r.count) > maxRated+1 || r.count[relay.ID{}] != 1000 {
		t.Errorf("%d counts, %d in the shared one", len(r.count), r.count[relay.ID{}])
	}
}

func gzipped(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGzipBodies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, "user.email.update").with("Content-Encoding", "gzip")
	c.want("PUT", "/v3/user/email", gzipped(t, `{"email":"ops@example.test"}`), 200, nil)
	bomb := gzipped(t, `{"email":"`+strings.Repeat("a", 8<<20)+`"}`)
	if len(bomb) > 64<<10 {
		t.Fatalf("the bomb has %d octets", len(bomb))
	}
	c.refused("PUT", "/v3/user/email", bomb, 413, "content too large", "")
	whole := gzipped(t, `{"email":"ops@example.test"}`)
	c.refused("PUT", "/v3/user/email", whole[:len(whole)-6], 400, "not gzip", "")
	c.refused("PUT", "/v3/user/email", `{"email":"ops@example.test"}`, 400, "not gzip", "")
	c.with("Content-Encoding", "br").refused("PUT", "/v3/user/email", "x", 415, "gzip", "")
	w.as(w.acme, "user.email.update").refused("PUT", "/v3/user/email", `{"email":"`+strings.Repeat("a", 2<<20)+`"}`, 413, "content too large", "")
}

// AP-04, AP-08: nothing is read that is not what it seems.
func TestStrictBodies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, "api_keys.create", "mail.send")
	for body, field := range map[string]string{
		`{"name":"a","account_id":"` + w.globex.Account.String() + `"}`: "account_id",
		`{"name":"a","subuser_id":"x"}`:                                 "subuser_id",
		`{"name":"a","created_at":"2020-01-01T00:00:00Z"}`:              "created_at",
		`{"name":"a","api_key":"SG.mine"}`:                              "api_key",
		`{"name":"a","api_key_id":"` + absentID + `"}`:                  "api_key_id",
		`{"name":"a","use_count":1}`:                                    "use_count",
		`{"name":"a","login":"dev-aaaaaaaa"}`:                           "login",
		`{"name":"a","verifier":{}}`:                                    "verifier",
		`{"name":"a","Scopes":["mail.send"]}`:                           "Scopes",
		`{"name":"a","name":"b"}`:                                       "name",
		`{"name":"a","per_hour":1e99}`:                                  "per_hour",
		`{"name":"a","per_hour":1.5}`:                                   "per_hour",
		`{"name":"a","per_hour":"1"}`:                                   "per_hour",
		`{"name":"a","match":{"nobody":1}}`:                             "match.nobody",
	} {
		c.refused("POST", "/v3/api_keys", body, 400, "", field)
	}
	for _, body := range []string{`[]`, `"x"`, `{"name":"a"}{}`, "\xef\xbb\xbf{}", `{"name":"` + "\xff" + `"}`, `{"name":NaN}`, `{`, ` `} {
		c.refused("POST", "/v3/api_keys", body, 400, "", "")
	}
	for _, media := range []string{"text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "json"} {
		c.with("Content-Type", media).refused("POST", "/v3/api_keys", newKeyBody, 415, "application/json", "")
	}
	if len(w.changes) > 0 {
		t.Errorf("%q", w.changes)
	}
	c.with("Content-Type", "application/json; charset=UTF-8").want("POST", "/v3/api_keys", newKeyBody, 201, nil)
}

// AP-21: parameters are judged, and not cut to fit.
func TestParameters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, "api_keys.read")
	for query, field := range map[string]string{
		"limit=0": "limit", "limit=-1": "limit", "limit=1001": "limit", "limit=99999999999999999999": "limit", "limit=1;drop": "",
		"limit=ten": "limit", "limit=1e2": "limit", "limit=1&limit=2": "limit", "offset=-1": "offset", "offset=2147483648": "offset",
		"revoked=yes": "revoked", "revoked=1": "revoked", "limit=%zz": "",
	} {
		c.refused("GET", "/v3/api_keys?"+query, "", 400, "", field)
	}
	for _, query := range []string{"limit=1000", "limit=1&offset=2147483647", "limit=", "sort=name;drop table keys", "unknown=1"} {
		if strings.Contains(query, ";") {
			query = strings.ReplaceAll(query, ";", "%3B")
		}
		c.want("GET", "/v3/api_keys?"+strings.ReplaceAll(query, " ", "+"), "", 200, nil)
	}
}

// AP-22: what fails inside stays inside.
func TestInternalErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, relay.FullAccess()...)
	k, _ := w.addKey(w.acme)
	w.fail = errors.New("SELECT secret FROM /var/lib/postern")
	for _, ask := range [][3]string{
		{"GET", "/v3/api_keys", ""}, {"GET", "/v3/api_keys?revoked=true", ""}, {"GET", "/v3/api_keys/" + k.ID.String(), ""},
		{"POST", "/v3/api_keys", newKeyBody}, {"PATCH", "/v3/api_keys/" + k.ID.String(), `{"name":"x"}`}, {"DELETE", "/v3/api_keys/" + k.ID.String(), ""},
		{"POST", "/v3/api_keys/" + k.ID.String() + "/rotate", "{}"}, {"GET", "/v3/api_keys/" + k.ID.String() + "/users", ""},
		{"GET", "/v3/user/email", ""}, {"PUT", "/v3/user/email", `{"email":"a@example.test"}`}, {"GET", "/v3/user/usage", ""}, {"GET", "/v3/user/credits", ""},
	} {
		a := c.do(ask[0], ask[1], ask[2])
		if a.Status != 500 || strings.Contains(a.Body, "SELECT") || !strings.Contains(a.Body, a.Header.Get("X-Request-Id")) {
			t.Errorf("%v: %d %s", ask, a.Status, a.Body)
		}
	}
	if !strings.Contains(w.log.String(), "SELECT secret") {
		t.Error("the log does not have the cause")
	}
}

// AP-06: the attempt is judged with the address that the trusted proxy says, and
// with what else is known of the client.
func TestAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := httpx.New(httpx.Options{Logger: slog.New(slog.DiscardHandler), Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, New(w.services))
	ask := func(peer, forwarded string) {
		c := w.as(w.acme)
		r := httptest.NewRequest("GET", "https://relay.example.test/v3/scopes", nil)
		r.RemoteAddr, r.Header = peer, c.header
		r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256}
		r.Header.Set("X-Forwarded-Proto", "https")
		r.Header.Set("X-Forwarded-For", forwarded)
		r.Header.Set("User-Agent", "sendgrid/"+strings.Repeat("x", 300)+"\x01")
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	ask("198.51.100.9:1", "203.0.113.1")
	ask("192.0.2.1:1", "10.0.0.1, 203.0.113.7")
	ask("[::ffff:192.0.2.1]:1", "::ffff:203.0.113.8")
	want := []string{"198.51.100.9", "203.0.113.7", "203.0.113.8"}
	if len(w.attempts) != len(want) {
		t.Fatalf("%d attempts", len(w.attempts))
	}
	for i, at := range w.attempts {
		if at.Addr.String() != want[i] || at.Protocol != "http" || at.Listener != "http" || at.Mechanism != "BEARER" || at.TLS != "TLSv1.3 TLS_AES_128_GCM_SHA256" || len(at.Helo) != 255 {
			t.Errorf("attempt %d: %+v", i, at)
		}
	}
}

// A person's name and password are handed to be recorded, and refused whatever
// they are: in the same words if the password is a good key.
func TestBasicIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, live := w.addKey(w.acme)
	var answers []string
	for _, password := range []string{"hunter2", live} {
		r := httptest.NewRequest("GET", "/", nil)
		r.SetBasicAuth("apikey", password)
		c := &client{w: w, handler: w.handler, header: r.Header}
		a := c.want("GET", "/v3/scopes", "", 401, nil)
		answers = append(answers, a.Body)
	}
	if answers[0] != answers[1] || !strings.Contains(answers[0], textBasic) {
		t.Errorf("%q", answers)
	}
	if len(w.attempts) != 2 || w.attempts[0].Mechanism != "BASIC" || w.attempts[0].User != "apikey" || w.attempts[1].Secret.Reveal() != live {
		t.Errorf("attempts %+v", w.attempts)
	}
}

func TestTwoCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme)
	c.header.Add("Authorization", "Bearer other")
	c.refused("GET", "/v3/scopes", "", 401, textNoKey, "")
}

// A request that runs into a ban, or into our own trouble, hears that.
func TestAttemptErrors(t *testing.T) {
	t.Parallel()
	for status, kind := range map[int]relay.Kind{429: relay.RateLimited, 503: relay.Unavailable, 403: relay.Forbidden} {
		w := newWorld(t, func(s *Services) { s.Auth = failingAuth{relay.E(kind, "words")} })
		c := w.as(w.acme)
		if status != 403 {
			c.with("Authorization", "Basic YTpi").refused("GET", "/v3/scopes", "", status, "words", "")
		}
		c.refused("GET", "/v3/scopes", "", status, "words", "")
	}
}

// The operator is whom the kernel names, on that listener only.
func TestOperator(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var scopes scopesView
	w.operator("acme").want("GET", "/v3/scopes", "", 200, &scopes)
	if len(scopes.Scopes) != len(relay.Scopes) {
		t.Errorf("%d scopes", len(scopes.Scopes))
	}
	w.operator("acme").want("PUT", "/v3/user/email", `{"email":"a@example.test"}`, 200, nil)
	if w.changes[0] != "uid 0 admin.sock: account.update acme" {
		t.Errorf("%q", w.changes)
	}
	w.accounts = w.accounts[:2] // the system's, and acme
	w.operator("").want("GET", "/v3/user/username", "", 200, nil)

	nobody := newWorld(t)
	nobody.services.Operator = nobodyKnown
	h := httpx.New(httpx.Options{Local: true}, New(nobody.services))
	(&client{w: nobody, handler: h, header: http.Header{}}).refused("GET", "/v3/scopes", "", 403, "access forbidden", "")
}

// Every change names its maker.
func TestBy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, "user.email.update", scopeBehalf)
	c.with("on-behalf-of", "staging").want("PUT", "/v3/user/email", `{"email":"a@example.test"}`, 200, nil)
	if want := "key " + c.key.ID.String() + " 192.0.2.1: subuser.update staging"; len(w.changes) != 1 || w.changes[0] != want {
		t.Errorf("%q, want %q", w.changes, want)
	}
}

func TestScopesOfToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var v scopesView
	w.withToken(w.as(w.acme, "mail.send", "alerts.read"), "alerts.read", "api_keys.read").want("GET", "/v3/scopes", "", 200, &v)
	if len(v.Scopes) != 1 || v.Scopes[0] != "alerts.read" {
		t.Errorf("%q: want what both key and token have", v.Scopes)
	}
	if a := w.as(w.acme).want("GET", "/v3/scopes", "", 200, nil); a.Body != `{"scopes":[]}`+"\n" {
		t.Errorf("%s", a.Body)
	}
}
