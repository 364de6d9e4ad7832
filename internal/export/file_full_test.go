package export

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A disk that is full in the midst of a batch keeps the whole lines: what it has is
// not written again, and a half line stands alone.
func TestFileOnAFullDisk(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log.json")
	f := NewFile(FileConfig{Path: path})
	room := 0
	f.write = func(file *os.File, b []byte) (int, error) {
		if len(b) <= room {
			return file.Write(b)
		}
		n, err := file.Write(b[:room])
		return n, errors.Join(err, errors.New("no space left on device"))
	}
	all := some(20, time.Now())
	rest, fails := all, 0
	// First a line of which nothing but its end is missing.
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(lineOf(&all[0])); err != nil {
		t.Fatal(err)
	}
	room = b.Len() - 1
	n, err := f.Send(t.Context(), rest)
	if err == nil || n != 1 {
		t.Errorf("%d, %v", n, err)
	}
	rest = rest[n:]
	for room = 0; len(rest) > 0; room += 97 {
		n, err := f.Send(t.Context(), rest)
		if err == nil && n != len(rest) {
			t.Fatalf("%d of %d, and no error", n, len(rest))
		}
		if err != nil {
			fails++
		}
		rest = rest[n:]
	}
	got, torn := lines(t, path)
	if len(got) != len(all) || fails < 5 || torn > fails {
		t.Errorf("%d records of %d, %d torn after %d failures", len(got), len(all), torn, fails)
	}
	for i := range min(len(got), len(all)) {
		if got[i].ID != all[i].ID {
			t.Errorf("%s stands in the place of %s", got[i].ID, all[i].ID)
		}
	}
}

// A file that is moved away while a batch goes into it may be read to its end by then:
// the batch is also in the new one.
func TestFileThatIsMovedWhileItIsWritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log.json")
	f := NewFile(FileConfig{Path: path})
	moved := false
	f.write = func(file *os.File, b []byte) (int, error) {
		if !moved {
			moved = true
			if err := os.Remove(path); err != nil { // it was compressed
				t.Error(err)
			}
		}
		return file.Write(b)
	}
	all := some(3, time.Now())
	if n, err := f.Send(t.Context(), all); err == nil || n != 0 {
		t.Errorf("%d records count as taken that are in no file, %v", n, err)
	}
	if n, err := f.Send(t.Context(), all); err != nil || n != 3 {
		t.Errorf("%d, %v", n, err)
	}
	if got, torn := lines(t, path); len(got) != 3 || torn != 0 {
		t.Errorf("%d records, %d torn", len(got), torn)
	}
}

// A clock that was ahead when a file was begun, or when its first record was made, does
// not keep it from getting old.
func TestFileAgesByAClockThatWasAhead(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for name, restart := range map[string]bool{"running": false, "restarted": true} {
		at := now.AddDate(1, 0, 0)
		conf := FileConfig{Path: filepath.Join(t.TempDir(), "log.json"), Age: time.Hour, Now: func() time.Time { return at }}
		f := NewFile(conf)
		send := func() {
			t.Helper()
			if _, err := f.Send(t.Context(), some(1, at)); err != nil {
				t.Fatal(err)
			}
		}
		send()
		at = now
		if restart {
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			f = NewFile(conf)
		}
		send()
		at = now.Add(2 * time.Hour)
		send()
		if all, err := f.asides(); err != nil || len(all) != 1 {
			t.Errorf("%s: %d files put aside, %v", name, len(all), err)
		}
	}
}

// A path may be a symbolic link, which is followed wherever it leads by then.
func TestFileBehindALink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "log.json")
	f := NewFile(FileConfig{Path: path})
	for _, to := range []string{"one", "two"} {
		_ = os.Remove(path)
		if err := os.Symlink(filepath.Join(dir, to), path); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if n, err := f.Send(t.Context(), some(1, time.Now())); err != nil || n != 1 {
				t.Fatalf("%s: %d, %v", to, n, err)
			}
		}
		if got, torn := lines(t, filepath.Join(dir, to)); len(got) != 2 || torn != 0 {
			t.Errorf("%s: %d records, %d torn", to, len(got), torn)
		}
	}
}
