package export

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// numbered sends one record after another, each into a file of its own, and returns
// the ids of those that are kept, the oldest file first.
func numbered(t *testing.T, keep, n int, clock func(i int) time.Time) (kept []string) {
	t.Helper()
	now := clock(0)
	path := filepath.Join(t.TempDir(), "log.json")
	f := NewFile(FileConfig{Path: path, Size: 1, Keep: keep, Now: func() time.Time { return now }})
	for i := range n {
		now = clock(i)
		r := some(1, now)
		r[0].ID = fmt.Sprintf("login-%d", i)
		if _, err := f.Send(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	all, err := f.asides()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range append(all, retired{name: "log.json"}) {
		records, _ := lines(t, filepath.Join(filepath.Dir(path), a.name))
		for _, r := range records {
			kept = append(kept, r.ID)
		}
	}
	return kept
}

// Of the files that were put aside the newest are kept, however many come in one
// second, and where the clock is put back.
func TestFileKeepsTheNewest(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	want := fmt.Sprint([]string{"login-11", "login-12", "login-13", "login-14"})
	for name, clock := range map[string]func(i int) time.Time{
		"a second each":     func(i int) time.Time { return begin.Add(time.Duration(i) * time.Second) },
		"all in one second": func(int) time.Time { return begin },
		"a clock put back":  func(i int) time.Time { return begin.Add(-time.Duration(i/6) * time.Hour) },
		"always earlier":    func(i int) time.Time { return begin.Add(-time.Duration(i) * time.Minute) },
	} {
		if got := fmt.Sprint(numbered(t, 3, 15, clock)); got != want {
			t.Errorf("%s: %s are kept, want %s", name, got, want)
		}
	}
	all := numbered(t, 0, 15, func(int) time.Time { return begin })
	if len(all) != 15 || all[0] != "login-0" || all[14] != "login-14" {
		t.Errorf("of all: %v", all)
	}
}

// A file that somebody moved or removed is not written on: what Send said it has would
// be in a file without a name.
func TestFileThatIsNotThereAnyMore(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log.json")
	f := NewFile(FileConfig{Path: path})
	send := func() {
		t.Helper()
		if _, err := f.Send(t.Context(), some(1, time.Now())); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(path string, want int) {
		t.Helper()
		if got, torn := lines(t, path); len(got) != want || torn > 0 {
			t.Errorf("%s: %d records and %d torn, want %d", filepath.Base(path), len(got), torn, want)
		}
	}
	send()
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	send()
	send()
	holds(path+".1", 1)
	holds(path, 2)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	send()
	holds(path, 1)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("{}\n"), 0o600); err != nil { // another one took its place
		t.Fatal(err)
	}
	send()
	holds(path, 2)
}

// One that was emptied in place has room again.
func TestFileThatWasEmptied(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "log.json")
	f := NewFile(FileConfig{Path: path, Size: 700})
	for range 8 {
		if _, err := f.Send(t.Context(), some(1, time.Now())); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := f.asides(); err != nil || len(all) > 0 {
		t.Errorf("%v put aside, %v", all, err)
	}
}
