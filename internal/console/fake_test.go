package console

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/secret"
)

// clock is the time of all tests.
var clock = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// fakeAPI answers calls by "METHOD path-without-query" with JSON, and keeps what it
// was asked.
type fakeAPI struct {
	mu      sync.Mutex
	answers map[string]any // a value to marshal, an error, or func(Request) (any, error)
	calls   []Request
	denied  []string // "METHOD pattern" that May refuses
}

func (a *fakeAPI) on(what string, answer any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.answers == nil {
		a.answers = map[string]any{}
	}
	a.answers[what] = answer
}

func (a *fakeAPI) Call(_ context.Context, r Request, out any) error {
	path, _, _ := strings.Cut(r.Path, "?")
	a.mu.Lock()
	a.calls = append(a.calls, r)
	answer, ok := a.answers[r.Method+" "+path]
	a.mu.Unlock()
	if !ok {
		return relay.E(relay.NotFound, "not found")
	}
	if f, ok := answer.(func(Request) (any, error)); ok {
		var err error
		if answer, err = f(r); err != nil {
			return err
		}
	}
	if err, ok := answer.(error); ok {
		return err
	}
	if out == nil || answer == nil {
		return nil
	}
	b, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	if b, err = a.withoutRevoked(r, b); err != nil {
		return err
	}
	return json.Unmarshal(b, out)
}

// withoutRevoked is an answer about keys to those who have not asked for revoked ones:
// these are not there, as in the API.
func (a *fakeAPI) withoutRevoked(r Request, answer []byte) ([]byte, error) {
	path, asked, _ := strings.Cut(r.Path, "?")
	rest, ok := strings.CutPrefix(path, apiKeys)
	if !ok || r.Method == http.MethodPost || strings.Contains("&"+asked+"&", "&revoked=true&") {
		return answer, nil
	}
	revoked := func(key any) bool { m, _ := key.(map[string]any); return m["revoked_at"] != nil }
	if rest == "" {
		var list struct {
			Result []any `json:"result"`
		}
		if err := json.Unmarshal(answer, &list); err != nil {
			return nil, err
		}
		list.Result = slices.DeleteFunc(list.Result, revoked)
		return json.Marshal(list)
	}
	a.mu.Lock()
	key := a.answers["GET "+strings.TrimSuffix(path, "/users")]
	a.mu.Unlock()
	b, err := json.Marshal(key)
	if err != nil {
		return nil, err
	}
	var k any
	if err := json.Unmarshal(b, &k); err != nil {
		return nil, err
	}
	if revoked(k) {
		return nil, relay.E(relay.NotFound, "not found")
	}
	return answer, nil
}

func (a *fakeAPI) Stream(_ context.Context, r Request, w io.Writer) error {
	a.mu.Lock()
	a.calls = append(a.calls, r)
	a.mu.Unlock()
	_, err := fmt.Fprintf(w, "a,b\n%s,1\n", r.Path)
	return err
}

func (a *fakeAPI) May(p *relay.Principal, method, pattern string) bool {
	if p.User != nil && p.User.Restricted && p.User.Subuser.IsZero() {
		return false // nothing of the account's own is theirs
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return !slices.Contains(a.denied, method+" "+pattern)
}

// made are the calls of one kind, "METHOD path".
func (a *fakeAPI) made(what string) []Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []Request
	for _, r := range a.calls {
		if path, _, _ := strings.Cut(r.Path, "?"); r.Method+" "+path == what {
			out = append(out, r)
		}
	}
	return out
}

// fakeTenants has one account and some subusers.
type fakeTenants struct {
	account relay.AccountID
	name    string
	subs    map[string]relay.SubuserID
}

func (t *fakeTenants) AccountName(relay.AccountID) string { return t.name }

func (t *fakeTenants) SubuserNames(u *relay.User, limit int) []string {
	var out []string
	for name, id := range t.subs {
		if u.Sees(relay.Tenant{Account: t.account, Subuser: id}) && len(out) < limit {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func (t *fakeTenants) SubuserNamed(u *relay.User, name string) (relay.Tenant, bool) {
	id, ok := t.subs[name]
	tenant := relay.Tenant{Account: t.account, Subuser: id}
	return tenant, ok && u.Sees(tenant)
}

// fakePeople knows sessions by token; people_fake_test.go has what it knows of
// factors and links.
type fakePeople struct {
	People // what is not faked panics
	mu     sync.Mutex
	visits map[string]*Visit
	opened int
	idle   int // of opened, those with nobody there
	made   int // tokens
	// subuser is the name of the one that a person of a subuser belongs to.
	subuser string
	fakeFactors
}

func (p *fakePeople) Open(_ context.Context, from Visitor, token secret.Redacted) (*Visit, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opened++
	if from.Passive {
		p.idle++
	}
	v, ok := p.visits[token.Reveal()]
	if !ok {
		return nil, relay.E(relay.Unauthenticated, "log in")
	}
	c := *v
	return &c, nil
}

func (p *fakePeople) Principal(_ context.Context, v *Visit) (*relay.Principal, error) {
	if v.Session.Level != relay.SessionFull {
		return nil, relay.E(relay.Unauthenticated, "log in")
	}
	u := v.User
	name := ""
	if !u.Subuser.IsZero() {
		name = p.subuser
	}
	return &relay.Principal{
		Tenant: relay.Tenant{Account: u.Account, Subuser: u.Subuser}, SubuserName: name, User: &u, Session: v.Session.ID, FreshUntil: v.Session.FreshUntil,
	}, nil
}

// world is a console with fakes around it.
type world struct {
	t       testing.TB
	api     *fakeAPI
	people  *fakePeople
	tenants *fakeTenants
	console *Console
	handler http.Handler
	cookies map[string]string
	now     time.Time
}

// newWorld has an owner who is logged in with the cookie "token".
func newWorld(t testing.TB, more ...page) *world {
	t.Helper()
	account := relay.AccountID{ID: relay.NewID(clock)}
	w := &world{t: t, now: clock, api: &fakeAPI{}, cookies: map[string]string{"postern": "token"}}
	w.tenants = &fakeTenants{account: account, name: "Example <b>& Co", subs: map[string]relay.SubuserID{}}
	owner := relay.User{
		ID: relay.UserID{ID: relay.NewID(clock)}, Account: account, Username: "anna", Email: "anna@example.com", FirstName: "Anna", LastName: "Smith",
		Role: relay.RoleOwner, Password: "hash", TOTP: []byte{1}, RecoveryCodes: 10,
	}
	w.people = &fakePeople{visits: map[string]*Visit{
		"token": {User: owner, Session: relay.Session{ID: relay.SessionID{ID: relay.NewID(clock)}, User: owner.ID, Level: relay.SessionFull, FreshUntil: clock.Add(5 * time.Minute)}},
	}}
	c, err := New(Config{
		People: w.people, API: w.api, Tenants: w.tenants, URL: func() string { return "http://localhost" }, Hostname: "mail.example.com",
		Ports: []Port{{Number: 587}, {Number: 465, Implicit: true}}, Version: "1.2.3", Now: func() time.Time { return w.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	c.pages = append(more, c.pages...)
	w.console = c
	w.handler = httpx.New(httpx.Options{Local: true, Unmatched: c.RenderError, Logger: slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelError}))}, c.Routes())
	return w
}

// visit is the owner's.
func (w *world) visit() *Visit { return w.people.visits["token"] }

// do sends a request as a browser does on this origin.
func (w *world) do(r *http.Request) *httptest.ResponseRecorder {
	w.t.Helper()
	for name, value := range w.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	for _, k := range rec.Result().Cookies() {
		if k.MaxAge < 0 {
			delete(w.cookies, k.Name)
		} else {
			w.cookies[k.Name] = k.Value
		}
	}
	return rec
}

func request(method, path string, body io.Reader) *http.Request {
	r := httptest.NewRequest(method, "http://localhost"+path, body)
	r.RemoteAddr = netip.MustParseAddrPort("127.0.0.1:4000").String()
	r.Header.Set("Accept", "text/html,application/xhtml+xml")
	r.Header.Set("User-Agent", "test browser")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return r
}

// get opens a page.
func (w *world) get(path string) *reply {
	w.t.Helper()
	return readReply(w.t, w.do(request("GET", path, nil)))
}

// post sends a form.
func (w *world) post(path string, fields ...string) *reply {
	w.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	r := request("POST", path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return readReply(w.t, w.do(r))
}

// json sends what a script of ours sends.
func (w *world) json(path, body string) *reply {
	w.t.Helper()
	r := request("POST", path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	return readReply(w.t, w.do(r))
}

type redacted = secret.Redacted

// testLog shows faults with the test that met them.
type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Logf("%s", p)
	return len(p), nil
}

func (a *fakeAPI) deny(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.denied = append(a.denied, what)
}
