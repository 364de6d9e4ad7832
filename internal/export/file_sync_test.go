package export

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/store"
)

// disk is what a crash would leave of a directory: the octets of each file that were
// synced, under the names that were.
type disk struct {
	t    *testing.T
	dir  string
	size map[string]int64 // synced octets, by the file's name when it was
	name map[string]bool  // names that were synced
	fail string           // the base name of what cannot be synced
}

func (d *disk) sync(f *os.File) error {
	if filepath.Base(f.Name()) == d.fail {
		return errors.New("input/output error")
	}
	info, err := f.Stat()
	if err != nil {
		d.t.Fatal(err)
	}
	if !info.IsDir() {
		d.size[filepath.Base(f.Name())] = info.Size()
		return nil
	}
	if f.Name() != d.dir {
		d.t.Errorf("%s was synced", f.Name())
	}
	d.name = map[string]bool{}
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, e := range entries {
		d.name[e.Name()] = true
	}
	return nil
}

func watched(t *testing.T, c FileConfig) (*File, *disk) {
	d := &disk{t: t, dir: filepath.Dir(c.Path), size: map[string]int64{}, name: map[string]bool{}}
	f := NewFile(c)
	f.sync = d.sync
	return f, d
}

// Whatever Send said it has is on the disk: the records, the name of a new file, and
// that of one which was put aside.
func TestFileIsOnTheDisk(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	path := filepath.Join(t.TempDir(), "log.json")
	f, d := watched(t, FileConfig{Path: path, Size: 700, Now: func() time.Time { return now }})
	for i := range 6 {
		if _, err := f.Send(t.Context(), some(1, now)); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || d.size["log.json"] != info.Size() {
			t.Errorf("batch %d: %d octets are on the disk of %d, %v", i, d.size["log.json"], info.Size(), err)
		}
		entries, err := os.ReadDir(d.dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !d.name[e.Name()] {
				t.Errorf("batch %d: a crash would lose the name %s", i, e.Name())
			}
		}
		now = now.Add(time.Minute)
	}
	if len(d.name) < 2 {
		t.Error("nothing was put aside: the test says nothing about it")
	}
}

// What cannot be put on the disk was not taken, and the next batch tries all of it
// again, the name of the file too.
func TestFileThatIsNotOnTheDisk(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"the file", "its directory"} {
		path := filepath.Join(t.TempDir(), "log.json")
		f, d := watched(t, FileConfig{Path: path})
		d.fail = "log.json"
		if what == "its directory" {
			d.fail = filepath.Base(d.dir)
		}
		for range 3 {
			if _, err := f.Send(t.Context(), some(1, time.Now())); err == nil {
				t.Errorf("%s: it is not on the disk, and Send said it is", what)
			}
		}
		d.fail = ""
		if _, err := f.Send(t.Context(), some(1, time.Now())); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || d.size["log.json"] != info.Size() || !d.name["log.json"] {
			t.Errorf("%s: %d octets and the names %v are on the disk, %v", what, d.size["log.json"], d.name, err)
		}
	}
}

// The cursor of a file stands still until the records are on the disk, however long
// that takes, and where it fails.
func TestCursorWaitsForTheDisk(t *testing.T) {
	t.Parallel()
	s := opened(t)
	change(t, s, 3)
	const name = "export/file/changes"
	cursor := func() string {
		c, err := s.Consumer(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return c.String()
	}
	f := NewFile(FileConfig{Path: filepath.Join(t.TempDir(), "log.json")})
	var failed, slow, whole atomic.Int64
	slowly, goOn := make(chan struct{}), make(chan struct{})
	f.sync = func(file *os.File) error {
		if info, err := file.Stat(); err != nil || info.IsDir() {
			return err
		}
		switch {
		case failed.Add(1) == 1:
			return errors.New("input/output error")
		case slow.Add(1) == 1:
			close(slowly)
			<-goOn
		}
		whole.Add(1)
		return file.Sync()
	}
	begin := cursor()
	stop := serve(t, &Exporter{Name: "file", Streams: []Stream{Changes}, Target: f, Store: s, All: true, Logger: slog.New(slog.DiscardHandler)})
	defer stop()
	select {
	case <-slowly:
	case <-time.After(time.Minute):
		t.Error("the records were not synced")
		return
	}
	if c := cursor(); c != begin {
		t.Errorf("the cursor moved from %s to %s after a sync that failed, and within one", begin, c)
	}
	close(goOn)
	eventually(t, "the cursor did not move", func() bool { return cursor() != begin })
	if whole.Load() == 0 {
		t.Error("the cursor moved, and nothing was synced")
	}
	all, err := s.Changes(t.Context(), store.ChangeFilter{})
	if got, _ := lines(t, f.cfg.Path); err != nil || len(got) < len(all) {
		t.Errorf("%d records of %d, %v", len(got), len(all), err)
	}
}
