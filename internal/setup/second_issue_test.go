package setup

import (
	"context"
	"path/filepath"
	"testing"

	"postern/internal/testkit/pgtest"
)

// AC-15: a database that has an installation takes no second one, whoever asks from
// a new directory: it would have an owner's key of its own in it.
func TestSecondInitOfADatabase(t *testing.T) {
	t.Parallel()
	url := pgtest.Require(t).Database(t)
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
