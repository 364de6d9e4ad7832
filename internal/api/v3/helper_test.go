package v3

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/auth"
	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

// t0 is when every test begins.
var t0 = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

// world is an installation in memory: the account acme with the subusers staging
// and receipts, the account globex with the subuser branch, and the system's. It
// implements what the framework needs; each group of routes adds its fakes in a
// setup.
type world struct {
	t  testing.TB
	mu sync.Mutex

	now      time.Time
	accounts []relay.Account // guarded by mu, as all below
	subusers []relay.Subuser
	keys     []relay.Key
	secrets  map[string]relay.KeyID // whole key → id
	tokens   map[string]*relay.Token
	changes  []string
	attempts []auth.Attempt
	fail     error // returned by what can fail
	log      bytes.Buffer

	system, acme, globex      relay.Tenant
	staging, receipts, branch relay.Tenant
	services                  Services
	handler, socket           http.Handler
	direct                    *Direct
	users                     []relay.User
	extra                     map[string]any // fakes of the groups, by name
}

// setups let each group of routes put its fakes into a world's services. They are
// added by init functions of test files.
var setups []func(w *world, s *Services)

func newWorld(t testing.TB, change ...func(*Services)) *world {
	t.Helper()
	w := &world{t: t, now: t0, secrets: map[string]relay.KeyID{}, tokens: map[string]*relay.Token{}, extra: map[string]any{}}
	w.system = w.addAccount("system")
	w.acme, w.globex = w.addAccount("acme"), w.addAccount("globex")
	w.staging, w.receipts, w.branch = w.addSubuser(w.acme, "staging"), w.addSubuser(w.acme, "receipts"), w.addSubuser(w.globex, "branch")
	w.services = Services{Auth: w, Directory: w, Accounts: w, Answers: &fakeAnswers{w: w, rows: map[string]store.Idempotency{}}, Listener: "http", Now: w.clock, KeyRate: 1 << 30, AccountRate: 1 << 30}
	for _, f := range setups {
		f(w, &w.services)
	}
	for _, f := range change {
		f(&w.services)
	}
	log := slog.New(slog.NewJSONHandler(&w.log, nil))
	w.handler = httpx.New(httpx.Options{Local: true, Logger: log, Now: w.clock}, New(w.services))
	w.direct = NewDirect(w.services)
	onSocket := w.services
	onSocket.Operator = func(context.Context) (store.By, bool) { return store.By{Who: "uid 0", From: "admin.sock"}, true }
	socket := sync.OnceValue(func() http.Handler { // most tests do not need it
		return httpx.New(httpx.Options{Local: true, Logger: log, Now: w.clock}, New(onSocket))
	})
	w.socket = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { socket().ServeHTTP(rw, r) })
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// pass lets time go by.
func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) addAccount(name string) relay.Tenant {
	n := int64(len(w.accounts) + 1)
	a := relay.Account{ID: relay.AccountID{ID: relay.NewID(t0)}, Name: name, Number: n, OwnerEmail: "ops@" + name + ".example", TimeZone: "UTC", System: name == "system", CreatedAt: t0}
	w.accounts = append(w.accounts, a)
	return relay.Tenant{Account: a.ID}
}

func (w *world) addSubuser(of relay.Tenant, name string) relay.Tenant {
	s := relay.Subuser{ID: relay.SubuserID{ID: relay.NewID(t0)}, Account: of.Account, Number: int64(100 + len(w.subusers)), Name: name, Email: name + "@example.test", CreatedAt: t0}
	w.subusers = append(w.subusers, s)
	return relay.Tenant{Account: of.Account, Subuser: s.ID}
}

// addKey makes a live key and returns it with its text.
func (w *world) addKey(of relay.Tenant, scopes ...string) (relay.Key, string) {
	w.t.Helper()
	made, err := secret.GenerateKey("SG")
	if err != nil {
		w.t.Fatal(err)
	}
	k := relay.Key{ID: relay.KeyID{ID: made.ID}, Account: of.Account, Subuser: of.Subuser, Kind: relay.KeyAPI, Name: "key", Scopes: scopes, Mode: relay.KeyLive, CreatedAt: t0}
	k.Verifier = relay.Verifier{SHA256: made.SHA256(), SCRAMSalt: make([]byte, 16), SCRAMIterations: 1}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keys = append(w.keys, k)
	w.secrets[made.Text().Reveal()] = k.ID
	return k, made.Text().Reveal()
}

// as returns a client with a fresh key of a tenant.
func (w *world) as(of relay.Tenant, scopes ...string) *client {
	w.t.Helper()
	k, text := w.addKey(of, scopes...)
	return &client{w: w, handler: w.handler, key: k, header: http.Header{"Authorization": {"Bearer " + text}}}
}

// withToken returns a client with a token that was made from its key and has
// these scopes of it.
func (w *world) withToken(c *client, scopes ...string) *client {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := "pst_" + relay.NewID(t0).String()
	w.tokens[text] = &relay.Token{ID: relay.TokenID{ID: relay.NewID(t0)}, Key: c.key.ID, Scopes: scopes, IssuedAt: t0, ExpiresAt: t0.Add(time.Hour)}
	return c.with("Authorization", "Bearer "+text)
}

// operator returns a client on admin.sock that names an account.
func (w *world) operator(account string) *client {
	c := &client{w: w, handler: w.socket, header: http.Header{}}
	if account != "" {
		c.header.Set("account-id", account)
	}
	return c
}

// client calls routes.
type client struct {
	w       *world
	handler http.Handler
	key     relay.Key
	header  http.Header
}

// with returns a client that sends one more header.
func (c *client) with(name, value string) *client {
	out := *c
	out.header = c.header.Clone()
	out.header.Set(name, value)
	return &out
}

// answer is what came back.
type answer struct {
	Status int
	Header http.Header
	Body   string
}

// do sends a request; a body that is not empty is sent as JSON unless the client
// has another Content-Type.
func (c *client) do(method, path, body string) answer {
	c.w.t.Helper()
	r := httptest.NewRequest(method, "http://relay.example.test"+path, strings.NewReader(body))
	r.Header = c.header.Clone()
	if body != "" && r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", "application/json")
	}
	rec := httptest.NewRecorder()
	c.handler.ServeHTTP(rec, r)
	text, err := io.ReadAll(rec.Body)
	if err != nil {
		c.w.t.Fatal(err)
	}
	a := answer{Status: rec.Code, Header: rec.Header(), Body: string(text)}
	checkAnswer(c.w.t, r, a)
	checkDocument(c.w.t, r, body, a)
	return a
}

// serveRoute answers a request of a route that is not in the table.
func serveRoute(t testing.TB, a *API, route *Route, c *client) answer {
	t.Helper()
	h := httpx.New(httpx.Options{Local: true, Now: a.Now}, []httpx.Route{{Method: route.Method, Pattern: route.Pattern, MaxBody: route.MaxBody,
		Handler: func(w http.ResponseWriter, r *http.Request) error { return a.serve(route, w, r) }}})
	other := *c
	other.handler = h
	return other.do(route.Method, route.Pattern, "")
}

// want is do that must answer with a status; v, if not nil, is decoded into.
func (c *client) want(method, path, body string, status int, v any) answer {
	c.w.t.Helper()
	a := c.do(method, path, body)
	if a.Status != status {
		c.w.t.Fatalf("%s %s %s: %d %s, want %d", method, path, body, a.Status, a.Body, status)
	}
	if v != nil {
		if err := json.Unmarshal([]byte(a.Body), v); err != nil {
			c.w.t.Fatalf("%s %s: %v: %s", method, path, err, a.Body)
		}
	}
	return a
}

// refused is want of an error with a text in it, about a field ("": none).
func (c *client) refused(method, path, body string, status int, message, field string) {
	c.w.t.Helper()
	var e httpx.ErrorBody
	a := c.want(method, path, body, status, &e)
	if len(e.Errors) == 0 || !strings.Contains(e.Errors[0].Message, message) {
		c.w.t.Fatalf("%s %s %s: %s, want %q", method, path, body, a.Body, message)
	}
	if f := e.Errors[0].Field; field != "" && (f == nil || *f != field) || field == "" && f != nil {
		c.w.t.Fatalf("%s %s %s: %s, want field %q", method, path, body, a.Body, field)
	}
}

// checkAnswer holds for every answer of every test.
func checkAnswer(t testing.TB, r *http.Request, a answer) {
	t.Helper()
	if a.Header.Get("X-Request-Id") == "" {
		t.Errorf("%s %s: no request id", r.Method, r.URL.Path)
	}
	for name := range a.Header { // AP-16
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("%s %s: %s in the answer", r.Method, r.URL.Path, name)
		}
	}
	if a.Status >= 300 && a.Status < 400 {
		t.Errorf("%s %s: a redirect: %d", r.Method, r.URL.Path, a.Status)
	}
}

// noted records a change, as the store does, with who made it.
func (w *world) noted(by store.By, what string) error {
	if w.fail != nil {
		return w.fail
	}
	w.changes = append(w.changes, by.Who+" "+by.From+": "+what)
	return nil
}

// Bearer implements Authenticator over the world's keys.
func (w *world) Bearer(_ context.Context, at auth.Attempt) (*relay.Principal, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attempts = append(w.attempts, at)
	bad := relay.E(relay.Unauthenticated, "The provided authorization grant is invalid, expired, or revoked")
	id, ok := w.secrets[at.Secret.Reveal()]
	token := w.tokens[at.Secret.Reveal()]
	if token != nil {
		id, ok = token.Key, true
	}
	i := 0
	for i < len(w.keys) && w.keys[i].ID != id { // slices.IndexFunc would copy each
		i++
	}
	if !ok || i == len(w.keys) {
		return nil, bad
	}
	k := w.keys[i]
	if !k.RevokedAt.IsZero() || !k.DisabledAt.IsZero() || (!k.ExpiresAt.IsZero() && !w.now.Before(k.ExpiresAt)) {
		return nil, bad
	}
	return &relay.Principal{Tenant: relay.Tenant{Account: k.Account, Subuser: k.Subuser}, Key: &k, Mechanism: at.Mechanism, Token: token}, nil
}

// The Directory.

func (w *world) Account(id relay.AccountID) (relay.Account, bool) {
	return w.findAccount(func(a relay.Account) bool { return a.ID == id })
}

func (w *world) AccountNamed(name string) (relay.Account, bool) {
	return w.findAccount(func(a relay.Account) bool { return a.Name == name })
}

func (w *world) findAccount(is func(relay.Account) bool) (relay.Account, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := slices.IndexFunc(w.accounts, is); i >= 0 {
		return w.accounts[i], true
	}
	return relay.Account{}, false
}

func (w *world) Subuser(id relay.SubuserID) (relay.Subuser, bool) {
	return w.findSubuser(func(s relay.Subuser) bool { return s.ID == id })
}

func (w *world) SubuserNamed(name string) (relay.Subuser, bool) {
	return w.findSubuser(func(s relay.Subuser) bool { return s.Name == name && s.DeletedAt.IsZero() })
}

func (w *world) findSubuser(is func(relay.Subuser) bool) (relay.Subuser, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := slices.IndexFunc(w.subusers, is); i >= 0 {
		return w.subusers[i], true
	}
	return relay.Subuser{}, false
}

func (w *world) SubusersOf(account relay.AccountID) []relay.Subuser {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []relay.Subuser
	for _, s := range w.subusers {
		if s.Account == account && s.DeletedAt.IsZero() {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b relay.Subuser) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (w *world) KeysOf(t relay.Tenant) []*relay.Key {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*relay.Key
	for _, k := range w.keys {
		if (relay.Tenant{Account: k.Account, Subuser: k.Subuser}) == t && k.RevokedAt.IsZero() {
			out = append(out, &k)
		}
	}
	return out
}

// Accounts implements Services.Accounts.
func (w *world) Accounts(context.Context) ([]relay.Account, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.accounts), w.fail
}

// failingAuth refuses everybody.
type failingAuth struct{ err error }

func (f failingAuth) Bearer(context.Context, auth.Attempt) (*relay.Principal, error) {
	return nil, f.err
}

// nobodyKnown is a connection that the kernel could not name.
func nobodyKnown(context.Context) (store.By, bool) { return store.By{}, false }
