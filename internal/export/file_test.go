package export

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func some(n int, at time.Time) []Record {
	var out []Record
	for i := range n {
		out = append(out, Record{Stream: Logins, ID: "login-" + string(rune('a'+i)), At: at, Name: "login.ok", Severity: Info, Text: "who\nwhere <b>", Body: []byte(`{"helo":"x\ny"}`)})
	}
	return out
}

// lines reads the records of a file; torn ones are counted.
func lines(t *testing.T, path string) (got []line, torn int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var l line
		if json.Unmarshal(s.Bytes(), &l) != nil {
			torn++
			continue
		}
		got = append(got, l)
	}
	return got, torn
}

func TestFileHasALineEach(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log.json")
	f := NewFile(FileConfig{Path: path})
	if _, err := f.Send(t.Context(), some(3, time.Now())); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	got, torn := lines(t, path)
	if len(got) != 3 || torn != 0 || got[1].ID != "login-b" || got[1].Text != "who\nwhere <b>" || string(got[1].Record) != `{"helo":"x\ny"}` {
		t.Errorf("%+v, %d torn", got, torn)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o007 != 0 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// A line that a crash cut does not swallow the next one.
func TestFileAfterACrash(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log.json")
	if err := os.WriteFile(path, []byte(`{"id":"whole","time":"2026-01-02T03:04:05Z"}`+"\n"+`{"id":"cu`), 0o600); err != nil {
		t.Fatal(err)
	}
	f := NewFile(FileConfig{Path: path})
	if _, err := f.Send(t.Context(), some(2, time.Now())); err != nil {
		t.Fatal(err)
	}
	got, torn := lines(t, path)
	if len(got) != 3 || torn != 1 {
		t.Errorf("%+v, %d torn", got, torn)
	}
	if f.since.Year() != 2026 {
		t.Errorf("its age counts from %s", f.since)
	}
}

func TestFileRotates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	f := NewFile(FileConfig{Path: filepath.Join(dir, "log.json"), Size: 700, Age: time.Hour, Keep: 2, Now: func() time.Time { return now }})
	other := filepath.Join(dir, "log.json.notes")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 6 { // each about 300 octets; by the third the size is reached
		if _, err := f.Send(t.Context(), some(2, now)); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			now = now.Add(2 * time.Hour) // and once its age
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var aside int
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "log.json.2026") {
			aside++
			if got, torn := lines(t, filepath.Join(dir, e.Name())); len(got) == 0 || torn > 0 {
				t.Errorf("%s: %d records, %d torn", e.Name(), len(got), torn)
			}
		}
	}
	if aside != 2 {
		t.Errorf("%d files were put aside, want the last 2: %v", aside, entries)
	}
	if _, err := os.Stat(other); err != nil {
		t.Error("a file that is not ours was removed")
	}
}

// What cannot be written is an error, and the file is opened anew.
func TestFileThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := NewFile(FileConfig{Path: filepath.Join(dir, "no", "log.json")})
	if _, err := f.Send(t.Context(), some(1, time.Now())); err == nil {
		t.Error("no error")
	}
	if err := os.Mkdir(filepath.Join(dir, "no"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Send(t.Context(), some(1, time.Now())); err != nil {
		t.Error(err)
	}
}
