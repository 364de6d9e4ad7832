package store

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/relay"
)

// RX-09: a file system without inodes is none of our concern: once the store is
// open, neither a message nor a record makes a file, whatever its size.
func TestNothingMakesAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newTest(t, Config{Path: filepath.Join(dir, "postern.db")})
	accept(t, s, mail(t, s, 1, 10, false))
	before := namesIn(t, dir)
	if len(before) != 4 { // database, lock, log and its index
		t.Fatalf("files %q", before)
	}
	ctx := context.Background()
	for i := range 40 {
		a := mail(t, s, 3, 30_000*i, true)
		accept(t, s, a)
		s.RecordLogin(relay.Login{Result: relay.LoginWrong, Addr: netip.MustParseAddr("192.0.2.1"), At: time.Now()})
		if _, err := s.Messages(ctx, MessageFilter{Limit: maxMessages}); err != nil {
			t.Fatal(err)
		}
		if err := s.Finish(ctx, final(a.Message.ID, a.Recipients)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, namesIn(t, dir)); diff != "" {
			t.Fatalf("after %d messages:\n%s", i+1, diff)
		}
	}
	if err := s.sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, namesIn(t, dir)); diff != "" {
		t.Errorf("after housekeeping:\n%s", diff)
	}
}

func namesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
