package powercut

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var (
	quoted    = regexp.MustCompile(`"[^"]*"`)
	pathNote  = regexp.MustCompile(`</[^>]*>`)
	hasPrefix = regexp.MustCompile(`^\d+ `)
)

// encode turns a readable record into what strace writes with -xx: every string
// and path in \xNN, a process id and a time in front.
func encode(text string) string {
	hexed := func(s string) string {
		var b strings.Builder
		for i := range len(s) {
			fmt.Fprintf(&b, `\x%02x`, s[i])
		}
		return b.String()
	}
	var out strings.Builder
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		line = quoted.ReplaceAllStringFunc(line, func(s string) string { return `"` + hexed(s[1:len(s)-1]) + `"` })
		line = pathNote.ReplaceAllStringFunc(line, func(s string) string { return "<" + hexed(s[1:len(s)-1]) + ">" })
		pid := "7 "
		if p := hasPrefix.FindString(line); p != "" {
			pid, line = p, strings.TrimPrefix(line, p)
		}
		fmt.Fprintf(&out, "%s%d.%09d %s\n", pid, 1_700_000_000+i, i, line)
	}
	return out.String()
}

// unpack writes the base files of an archive and returns the other sections.
func unpack(t *testing.T, path string) (base string, sections map[string]string) {
	t.Helper()
	ar, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	base, sections = t.TempDir(), map[string]string{}
	for _, f := range ar.Files {
		if name, ok := strings.CutPrefix(f.Name, "base/"); ok {
			if err := os.WriteFile(filepath.Join(base, name), []byte(strings.TrimSuffix(string(f.Data), "\n")), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		sections[f.Name] = string(f.Data)
	}
	return base, sections
}

// TestModel plays the small records in testdata. Each line of their "want" is a
// cut, a mode and the files that the image must then hold.
func TestModel(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d records: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			base, sections := unpack(t, file)
			m, err := model(sections["record"], base)
			if want := strings.TrimSpace(sections["error"]); want != "" {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Fatalf("got error %v, want %q", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(sections["want"]) {
				checkImage(t, m, strings.TrimSpace(line))
			}
		})
	}
}

func model(text, base string) (*Model, error) {
	r, err := Parse(strings.NewReader(encode(text)))
	if err != nil {
		return nil, err
	}
	return NewModel(r, "/d", base, Volatile)
}

func checkImage(t *testing.T, m *Model, line string) {
	t.Helper()
	fields := strings.SplitN(line, " ", 3)
	cut := m.Record.End
	if fields[0] != "end" {
		var err error
		if cut, err = strconv.Atoi(fields[0]); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Contains(Modes, Mode(fields[1])) {
		t.Fatalf("no mode %s", fields[1])
	}
	want := map[string]string{}
	for item := range strings.FieldsSeq(fields[2]) {
		name, text, _ := strings.Cut(item, "=")
		content, err := strconv.Unquote(text)
		if err != nil {
			t.Fatal(err)
		}
		want[name] = content
	}
	if diff := cmp.Diff(want, files(t, m.Image(cut, Mode(fields[1]), 1))); diff != "" {
		t.Errorf("%s (-want +got):\n%s", line, diff)
	}
}

// files writes an image and reads it back.
func files(t *testing.T, i *Image) map[string]string {
	t.Helper()
	dir := t.TempDir()
	if err := i.Write(dir); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		got[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestTorn: what is kept of the last write ends at a unit of the device, and the
// writes before it are whole.
func TestTorn(t *testing.T) {
	t.Parallel()
	body := strings.Repeat("x", 10_000)
	m, err := model(`openat(AT_FDCWD</>, "/d/a", O_RDWR|O_CREAT, 0600) = 5</d/a>
pwrite64(5</d/a>, "`+body+`", 10000, 0) = 10000
pwrite64(5</d/a>, "`+body+`", 10000, 10000) = 10000`, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for mode, unit := range map[Mode]int{Torn512: 512, Torn4096: 4096} {
		lengths := map[int]bool{}
		for seed := range uint64(40) {
			n := len(files(t, m.Image(m.Record.End, mode, seed))["a"])
			if n < 10_000 || n >= 20_000 || n%unit != 0 {
				t.Fatalf("%s kept %d octets", mode, n)
			}
			lengths[n] = true
		}
		if len(lengths) < 2 {
			t.Errorf("%s always tears at the same place: %v", mode, lengths)
		}
	}
	tail := files(t, m.Image(m.Record.End, TornTail, 3))["a"]
	hole := strings.Count(tail, "\x00")
	if len(tail) != 20_000 || hole == 0 || (10_000+hole)%512 != 0 {
		t.Errorf("torn tail: %d octets, a hole of %d", len(tail), hole)
	}
}

// TestRandomModes: seeds draw different images, the same seed the same one, and
// an image never holds anything but zeros and what was written.
func TestRandomModes(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString(`openat(AT_FDCWD</>, "/d/a", O_RDWR|O_CREAT, 0600) = 5</d/a>` + "\n")
	for i := range 8 {
		fmt.Fprintf(&text, "pwrite64(5</d/a>, \"%s\", 8192, %d) = 8192\n", strings.Repeat(string(rune('a'+i)), 8192), i*8192)
	}
	m, err := model(text.String(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []Mode{Reordered, Blocks, Sectors, Prefix} {
		seen := map[string]bool{}
		for seed := range uint64(10) {
			got := files(t, m.Image(m.Record.End, mode, seed))["a"]
			if again := files(t, m.Image(m.Record.End, mode, seed))["a"]; again != got {
				t.Fatalf("%s: seed %d drew two images", mode, seed)
			}
			seen[got] = true
			for i := range len(got) {
				if got[i] != 0 && got[i] != byte('a'+i/8192) {
					t.Fatalf("%s: octet %d is %q", mode, i, got[i])
				}
			}
		}
		if len(seen) < 4 {
			t.Errorf("%s: ten seeds drew %d images", mode, len(seen))
		}
	}
}
