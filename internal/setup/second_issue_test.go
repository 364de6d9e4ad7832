package setup

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"postern/internal/testkit/pgtest"
)

// AC-15: a database that has an installation takes no second one, whoever asks from
// a new directory: it would have an owner's key of its own in it.
func TestSecondInitOfADatabase(t *testing.T) {
	t.Parallel()
	server, err := pgtest.New()
	if errors.Is(err, pgtest.ErrNotInstalled) {
		t.Skip("no PostgreSQL server is installed")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	url := server.Database(t)
	first := options(filepath.Join(t.TempDir(), "one"))
	first.StoreURL = url
	made, err := Init(context.Background(), first)
	if err != nil || made.APIKey == "" {
		t.Fatalf("%+v, %v", made, err)
	}
	second := options(filepath.Join(t.TempDir(), "two"))
	second.StoreURL, second.Account = url, "intruder"
	again, err := Init(context.Background(), second)
	if err == nil || again != nil {
		t.Fatalf("a second one was made: %+v", again)
	}
	if left := names(t, filepath.Dir(second.Dir)); len(left) > 0 {
		t.Errorf("it left %q", left)
	}
	t.Log(err)
}
