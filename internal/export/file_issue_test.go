package export

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// aside are the names of the files that were put aside in a directory, by age.
func aside(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "log.json.") {
			names = append(names, e.Name())
		}
	}
	return names
}

// Size, age and number each do what they say, by themselves.
func TestFileRotatesForEachReason(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		conf  FileConfig
		sends int
		every time.Duration
		want  []string // put aside
	}{
		"never":            {FileConfig{}, 20, time.Hour, nil},
		"by age alone":     {FileConfig{Age: 90 * time.Minute}, 5, time.Hour, []string{"log.json.20261122T120000Z", "log.json.20261122T140000Z"}},
		"by size alone":    {FileConfig{Size: 1}, 3, time.Hour, []string{"log.json.20261122T110000Z", "log.json.20261122T120000Z"}},
		"the newest alone": {FileConfig{Size: 1, Keep: 2}, 6, time.Hour, []string{"log.json.20261122T140000Z", "log.json.20261122T150000Z"}},
		"all of a second":  {FileConfig{Size: 1}, 3, 0, []string{"log.json.20261122T100000Z", "log.json.20261122T100000Z.2"}},
	} {
		dir, now := t.TempDir(), begin
		c.conf.Path, c.conf.Now = filepath.Join(dir, "log.json"), func() time.Time { return now }
		f := NewFile(c.conf)
		for range c.sends {
			if _, err := f.Send(t.Context(), some(1, now)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			now = now.Add(c.every)
		}
		if err := f.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got := aside(t, dir)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: put aside %q, want %q", name, got, c.want)
		}
		whole := 0
		for _, file := range append(got, "log.json") {
			records, torn := lines(t, filepath.Join(dir, file))
			if whole += len(records); torn > 0 {
				t.Errorf("%s: %s: %d torn", name, file, torn)
			}
		}
		if c.conf.Keep == 0 && whole != c.sends {
			t.Errorf("%s: %d records in all files, want %d", name, whole, c.sends)
		}
	}
}

// The age of a file is that of its first record, over a restart too: else one that
// is restarted often would never be put aside.
func TestFileAgesOverRestarts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for i := range 4 {
		f := NewFile(FileConfig{Path: filepath.Join(dir, "log.json"), Age: 25 * time.Hour, Now: func() time.Time { return now }})
		if _, err := f.Send(t.Context(), some(1, now)); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if got, want := len(aside(t, dir)), i/3; got != want {
			t.Errorf("%s: %s put aside", now, fmt.Sprint(aside(t, dir)))
		}
		now = now.Add(10 * time.Hour)
	}
}
