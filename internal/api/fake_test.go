package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/store"
)

var now = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

// fake is every service, in memory. It keeps the promises of the interfaces:
// taken names are Conflict, absent things NotFound, and everything that changes
// is noted with its author.
type fake struct {
	accounts []relay.Account
	subusers []relay.Subuser
	keys     []relay.Key
	pools    []relay.Pool
	queue    []store.Queued
	changes  []string
	filters  []any // what the history was asked for
	draining bool
	fail     error // returned by everything
	other    func()
	log      bytes.Buffer
}

var (
	systemID = relay.AccountID{ID: relay.NewID(now.Add(-time.Hour))}
	acmeID   = relay.AccountID{ID: relay.NewID(now.Add(-time.Minute))}
)

func newFake() *fake {
	return &fake{
		accounts: []relay.Account{{ID: systemID, Name: "system", System: true}, {ID: acmeID, Name: "acme", OwnerEmail: "ops@acme.example"}},
	}
}

func (f *fake) change(by store.By, format string, args ...any) error {
	if f.fail != nil {
		return f.fail
	}
	f.changes = append(f.changes, by.Who+" "+by.From+": "+fmt.Sprintf(format, args...))
	return nil
}

func taken(name string) error {
	return &relay.Error{Kind: relay.Conflict, Field: "name", Public: "The name " + name + " is taken."}
}

func at(disabled bool) time.Time {
	if disabled {
		return now
	}
	return time.Time{}
}

func (f *fake) Accounts(context.Context) ([]relay.Account, error) {
	return slices.Clone(f.accounts), f.fail
}

func (f *fake) CreateAccount(_ context.Context, by store.By, a relay.Account) error {
	if slices.ContainsFunc(f.accounts, func(x relay.Account) bool { return x.Name == a.Name }) {
		return taken(a.Name)
	}
	f.accounts = append(f.accounts, a)
	return f.change(by, "account %s", a.Name)
}

func (f *fake) SwapAccount(_ context.Context, by store.By, _, a relay.Account) error {
	return f.change(by, "update account %s", a.Name)
}

func (f *fake) SetAccountDisabled(_ context.Context, by store.By, id relay.AccountID, disabled bool) error {
	for i := range f.accounts {
		if f.accounts[i].ID == id {
			f.accounts[i].DisabledAt = at(disabled)
		}
	}
	return f.change(by, "account disabled %v", disabled)
}

func (f *fake) Subusers(context.Context) ([]relay.Subuser, error) {
	return slices.Clone(f.subusers), f.fail
}

func (f *fake) Keys(context.Context) ([]relay.Key, error) { return slices.Clone(f.keys), f.fail }

func (f *fake) Pools(context.Context) ([]relay.Pool, error) { return slices.Clone(f.pools), f.fail }

func (f *fake) CreatePool(_ context.Context, by store.By, p relay.Pool) error {
	f.pools = append(f.pools, p)
	return f.change(by, "pool %s", p.Name)
}

func (f *fake) SwapPool(_ context.Context, by store.By, was, p relay.Pool) error {
	if other := f.other; other != nil { // another node, once, in the moment before
		f.other = nil
		other()
	}
	if i := slices.IndexFunc(f.pools, func(x relay.Pool) bool { return x.ID == p.ID }); i >= 0 && !reflect.DeepEqual(f.pools[i], was) {
		return &relay.Error{Kind: relay.Conflict, Public: "too late", Err: store.ErrMeanwhile}
	}
	for i := range f.pools {
		if f.pools[i].ID == p.ID {
			f.pools[i] = p
		}
	}
	return f.change(by, "update pool %s", p.Name)
}

func (f *fake) SetPoolDisabled(_ context.Context, by store.By, id relay.PoolID, disabled bool) error {
	for i := range f.pools {
		if f.pools[i].ID == id {
			f.pools[i].DisabledAt = at(disabled)
		}
	}
	return f.change(by, "pool disabled %v", disabled)
}

// Messages pages by id, as the store does.
func (f *fake) Messages(_ context.Context, m store.MessageFilter) ([]store.Queued, error) {
	var out []store.Queued
	for _, q := range f.queue {
		if bytes.Compare(q.Message.ID.ID[:], m.After.ID[:]) > 0 && (m.State == "" || q.Message.State == m.State) && (m.Account.IsZero() || q.Message.Account == m.Account) && len(out) < m.Limit {
			out = append(out, q)
		}
	}
	f.filters = append(f.filters, m)
	return out, f.fail
}

func (f *fake) Message(_ context.Context, id relay.MessageID) (store.Queued, error) {
	for _, q := range f.queue {
		if q.Message.ID == id {
			return q, f.fail
		}
	}
	return store.Queued{}, relay.E(relay.NotFound, "There is no such message in the queue.")
}

func (f *fake) Why(ctx context.Context, id relay.MessageID) (any, error) {
	if _, err := f.Message(ctx, id); err != nil {
		return nil, err
	}
	return map[string][]string{"text": {"It waits."}}, f.fail
}

func (f *fake) act(by store.By, what string, ids []relay.MessageID, reason string) (int64, error) {
	var n int64
	for _, id := range ids {
		for i := range f.queue {
			if f.queue[i].Message.ID == id {
				n++
			}
		}
	}
	return n, f.change(by, "%s %d %s", what, n, reason)
}

func (f *fake) Hold(_ context.Context, by store.By, ids []relay.MessageID, reason string) (int64, error) {
	return f.act(by, "hold", ids, reason)
}

func (f *fake) Release(_ context.Context, by store.By, ids []relay.MessageID) (int64, error) {
	return f.act(by, "release", ids, "")
}

func (f *fake) Retry(_ context.Context, by store.By, ids []relay.MessageID) (int64, error) {
	return f.act(by, "retry", ids, "")
}

func (f *fake) Bounce(_ context.Context, by store.By, ids []relay.MessageID, reason string) (int64, error) {
	return f.act(by, "bounce", ids, reason)
}

func (f *fake) Drain(_ context.Context, by store.By, on bool) error {
	f.draining = on
	return f.change(by, "drain %v", on)
}

func (f *fake) Events(_ context.Context, e store.EventFilter) ([]relay.Event, error) {
	f.filters = append(f.filters, e)
	return nil, f.fail
}

func (f *fake) Reload(_ context.Context, by store.By) error { return f.change(by, "reload") }

func (f *fake) ReopenLog() error { return f.fail }

func (f *fake) Status(context.Context) (Status, error) {
	return Status{Version: "v1", Epoch: 3, Ready: true, Draining: f.draining}, f.fail
}

func (f *fake) services() Services {
	return Services{
		Accounts: f, Subusers: f, Keys: f, Pools: f, Queue: f, History: f, System: f,
		Hostname: "relay.example.test", Now: func() time.Time { return now },
	}
}

// call asks the administration as uid 1000, or as nobody.
func (f *fake) call(t testing.TB, method, path, body string, anonymous ...bool) (int, string) {
	t.Helper()
	h := httpx.New(httpx.Options{Local: true, Logger: slog.New(slog.NewJSONHandler(&f.log, nil))}, Admin(f.services()))
	var content *strings.Reader
	if content = strings.NewReader(body); body == "" {
		content = strings.NewReader("")
	}
	r := httptest.NewRequest(method, "/admin/v1"+path, content)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if len(anonymous) == 0 {
		r = r.WithContext(withBy(r.Context(), store.By{Who: "uid 1000", From: FromSocket}))
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if !json.Valid(w.Body.Bytes()) {
		t.Errorf("%s %s: not JSON: %s", method, path, w.Body)
	}
	return w.Code, w.Body.String()
}

// ok is call that must answer with a status and decodes into v.
func (f *fake) ok(t testing.TB, method, path, body string, status int, v any) {
	t.Helper()
	code, text := f.call(t, method, path, body)
	if code != status {
		t.Fatalf("%s %s: %d %s, want %d", method, path, code, text, status)
	}
	if v != nil {
		if err := json.Unmarshal([]byte(text), v); err != nil {
			t.Fatal(err)
		}
	}
}

var _ http.Handler = httpx.New(httpx.Options{}, Admin(newFake().services())) // patterns do not clash
