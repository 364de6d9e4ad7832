package app

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"postern/internal/config"
	"postern/internal/relay"
	"postern/internal/setup"
	"postern/internal/store"
)

// Whoever was told that something is stored finds it with the next request, also
// when the view that follows the store has not caught up by itself: here nothing
// follows it.
func TestRequestsSeeWhatIsStored(t *testing.T) {
	t.Parallel()
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
	a, err := New(t.Context(), Options{Config: c, Version: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}()
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
