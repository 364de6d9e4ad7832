package logfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestReopenAfterRename(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "postern.log")
	if err := os.WriteFile(path, []byte("earlier\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(l, "one")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(l, "two")
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(l, "three")
	if got := read(t, path+".1"); got != "earlier\none\ntwo\n" {
		t.Errorf("old file holds %q", got)
	}
	if got := read(t, path); got != "three\n" {
		t.Errorf("new file holds %q", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if _, err := l.Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write after Close: %v", err)
	}
	if err := l.Reopen(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Reopen after Close: %v", err)
	}
}

func TestReopenThatFailsKeepsTheOldFile(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "log")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := Open(filepath.Join(dir, "postern.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Rename(dir, dir+".gone"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("Reopen in a directory that is gone: %v", err)
	}
	fmt.Fprintln(l, "still")
	if got := read(t, filepath.Join(dir+".gone", "postern.log")); got != "still\n" {
		t.Errorf("old file holds %q", got)
	}
}

func TestNoLineIsLostOrSplit(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "postern.log")
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	const writers, lines, rotations = 4, 200, 10
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range lines {
				fmt.Fprintf(l, "writer %d line %d\n", w, n)
			}
		})
	}
	for n := range rotations {
		if err := os.Rename(path, fmt.Sprintf("%s.%d", path, n)); err != nil {
			t.Fatal(err)
		}
		if err := l.Reopen(); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	all := read(t, path)
	for n := range rotations {
		all += read(t, fmt.Sprintf("%s.%d", path, n))
	}
	for w := range writers {
		for n := range lines {
			if c := strings.Count(all, fmt.Sprintf("writer %d line %d\n", w, n)); c != 1 {
				t.Fatalf("line %d of writer %d is there %d times", n, w, c)
			}
		}
	}
}

func TestOpenWithoutDirectory(t *testing.T) {
	t.Parallel()
	if _, err := Open(filepath.Join(t.TempDir(), "no", "postern.log")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("Open: %v", err)
	}
}
