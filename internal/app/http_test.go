package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/api/v3"
	"postern/internal/config"
	"postern/internal/httpx"
	"postern/internal/identity"
	"postern/internal/relay"
	"postern/internal/setup"
	"postern/internal/store"
)

// idle is an installation of which nothing runs by itself, and its first key.
func idle(t testing.TB) (*App, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	res, err := setup.Init(t.Context(), setup.Options{Dir: dir, Hostname: "relay.example.org", Owner: "o@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(res.Config, []byte(fmt.Sprintf(reloadConfig, dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(res.Config)
	if err != nil {
		t.Fatal(err)
	}
	c.HTTP.Listen, c.Auth.RequestsPerMinute = []string{"127.0.0.1:0"}, 1<<40
	a, err := New(t.Context(), Options{Config: c, Version: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return a, res.APIKey
}

// Whoever was told that something is stored finds it with the next request, also
// when the view that follows the store has not caught up by itself: here nothing
// follows it.
func TestRequestsSeeWhatIsStored(t *testing.T) {
	t.Parallel()
	a, _ := idle(t)
	for _, e := range a.edges {
		account := relay.Account{ID: relay.AccountID{ID: relay.NewID(time.Now())}, Name: "by " + e.name, OwnerEmail: "o@globex.example", CreatedAt: time.Now()}
		if err := a.store.CreateAccount(t.Context(), store.By{Who: "test"}, account); err != nil {
			t.Fatal(err)
		}
		if _, ok := a.directory.AccountNamed(account.Name); ok {
			t.Fatal("something follows the store")
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/nothing", nil)
		e.server.Handler.ServeHTTP(httptest.NewRecorder(), r)
		if _, ok := a.directory.AccountNamed(account.Name); !ok {
			t.Errorf("a request to %s does not see the new account", e.name)
		}
	}
	if len(a.edges) == 0 {
		t.Error("no listeners")
	}
}

// deaf is a store that has news and does not give them.
type deaf struct {
	*store.Store
	ahead atomic.Bool
	asked atomic.Int64
}

func (d *deaf) Revision() int64 {
	n := d.Store.Revision()
	if d.ahead.Load() {
		n++
	}
	return n
}

func (d *deaf) Snapshot(ctx context.Context, since int64) (*store.Snapshot, error) {
	if d.ahead.Load() {
		d.asked.Add(1)
		return nil, errors.New("no answer")
	}
	return d.Store.Snapshot(ctx, since)
}

// Whoever asks whether the process lives does not wait for the store; everybody else
// does.
func TestHealthDoesNotHangOnTheStore(t *testing.T) {
	t.Parallel()
	a, _ := idle(t)
	source := &deaf{Store: a.store}
	d, err := identity.Open(t.Context(), source, a.log)
	if err != nil {
		t.Fatal(err)
	}
	a.directory = d
	source.ahead.Store(true)
	edges := map[string][]string{}
	for _, e := range a.edges {
		edges[e.name] = []string{"/healthz"}
		if e.name == "admin" {
			edges[e.name] = []string{"/healthz", "/readyz", "/metrics", "/debug/pprof/cmdline"}
		}
		for _, path := range edges[e.name] {
			// Whether it is ready is the store's to say: that asks once, and no more.
			most := int64(0)
			if path == "/readyz" {
				most = 1
			}
			source.asked.Store(0)
			e.server.Handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
			if n := source.asked.Load(); n > most {
				t.Errorf("%s of %s asks the store %d times", path, e.name, n)
			}
		}
		source.asked.Store(0)
		e.server.Handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v3/scopes", nil))
		if source.asked.Load() == 0 {
			t.Errorf("a request to %s asks for no news", e.name)
		}
	}
	if _, public := edges["http"]; !public || len(edges) < 3 {
		t.Errorf("listeners %v", edges)
	}
}

// BenchmarkGET is a request with a key: with a look at whether the view is up to date,
// and without.
func BenchmarkGET(b *testing.B) {
	a, key := idle(b)
	opt := a.httpOptions("http")
	opt.Local = true
	h := httpx.New(opt, v3.New(a.apiServices("http")))
	for _, c := range []struct {
		name string
		h    http.Handler
	}{{"without", h}, {"caught up", a.caughtUp(h)}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "http://localhost/v3/scopes", nil)
				r.Header.Set("Authorization", "Bearer "+key)
				w := httptest.NewRecorder()
				if c.h.ServeHTTP(w, r); w.Code != http.StatusOK {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
	}
	b.Run("the look alone", func(b *testing.B) {
		for b.Loop() {
			a.directory.CatchUp(b.Context())
		}
	})
}
