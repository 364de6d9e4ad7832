package powercut

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// TestParse: whole calls, halves, calls that never returned, and lines that are
// no calls.
func TestParse(t *testing.T) {
	t.Parallel()
	text := `7 1700000000.000000001 write(5<\x2f\x61>, "\x2c\x29", 2) = 2
7 1700000000.000000002 write(4<TCP:[127.0.0.1:25->127.0.0.1:4000]>, "\x32", 1 <unfinished ...>
8 1700000000.000000003 +++ exited with 0 +++
8 1700000000.000000004 --- SIGURG {si_signo=SIGURG} ---
8 1700000001.000000005 mmap(NULL, 8, PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0xffffffffff600000
7 1700000001.000000006 <... write resumed>) = 1
9 1700000001.000000007 fsync(5<\x2f\x61>)         = -1 EIO (Input/output error)
9 1700000001.000000008 openat(AT_FDCWD<\x2f>, "\x2f\x61", O_RDONLY) = 13<\x2f\x61>
9 1700000001.000000009 fsync(13<\x2f\x61> <unfinished ...>
`
	r, err := Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	at := func(sec, ns int64) time.Time { return time.Unix(1_700_000_000+sec, ns) }
	want := []*Call{
		{PID: 7, Name: "write", Args: []string{`5<\x2f\x61>`, `"\x2c\x29"`, "2"}, Ret: 2, Entry: 1, Exit: 1, At: at(0, 1)},
		{PID: 7, Name: "write", Args: []string{"4<TCP:[127.0.0.1:25->127.0.0.1:4000]>", `"\x32"`, "1"}, Ret: 1, Entry: 2, Exit: 6, At: at(0, 2)},
		{PID: 8, Name: "mmap", Args: []string{"NULL", "8", "PROT_NONE", "MAP_PRIVATE|MAP_ANONYMOUS", "-1", "0"}, Ret: math.MaxInt64, Entry: 5, Exit: 5, At: at(1, 5)},
		{PID: 9, Name: "fsync", Args: []string{`5<\x2f\x61>`}, Ret: -1, Errno: "EIO", Tail: "EIO (Input/output error)", Entry: 7, Exit: 7, At: at(1, 7)},
		{PID: 9, Name: "openat", Args: []string{`AT_FDCWD<\x2f>`, `"\x2f\x61"`, "O_RDONLY"}, Ret: 13, Tail: `<\x2f\x61>`, Entry: 8, Exit: 8, At: at(1, 8)},
		{PID: 9, Name: "fsync", Args: []string{`13<\x2f\x61>`}, Ret: -1, Errno: "?", Entry: 9, Exit: 10, At: at(1, 9)},
	}
	if diff := cmp.Diff(want, r.Calls); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"x", "x 1700000000.000000001 close(1) = 0", "7 17 close(1) = 0", "7 1700000000.000000001 close",
		"7 1700000000.000000001 close(1", "7 1700000000.000000001 close(1) = what",
		"7 1700000000.000000001 <... close resumed>) = 0", `7 1700000000.000000001 write(1, "a) = 0`,
	} {
		if _, err := Parse(strings.NewReader(line)); err == nil {
			t.Errorf("%q: no error", line)
		}
	}
}

func TestDescriptor(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]string{
		"5": "", `5<\x2f\x61>`: "/a", `5<\x2f\x61>(deleted)`: "/a (deleted)", `6<\x2f\x64<char 1:9>>`: "/d",
		"7<TCP:[127.0.0.1:1->127.0.0.1:2]>": "TCP:[127.0.0.1:1->127.0.0.1:2]", `AT_FDCWD<\x2f>`: "/",
	} {
		if _, got, err := descriptor(arg); err != nil || got != want {
			t.Errorf("descriptor(%s) = %q, %v; want %q", arg, got, err, want)
		}
	}
	for _, arg := range []string{"", "x", `5<\x2f`, `5<\x2>`, `5<\xzz>`} {
		if _, got, err := descriptor(arg); err == nil {
			t.Errorf("descriptor(%s) = %q, no error", arg, got)
		}
	}
}

// TestWrote finds the write that carried what a peer had read by a moment.
func TestWrote(t *testing.T) {
	t.Parallel()
	text := `7 1700000000.000000001 write(4<TCP:[127.0.0.1:25->127.0.0.1:4000]>, "\x31", 1) = 1
7 1700000000.000000002 write(5<TCPv6:[[::ffff:127.0.0.1]:25->[::ffff:127.0.0.1]:4001]>, "\x31", 1) = 1
7 1700000000.000000003 write(4<TCP:[127.0.0.1:25->127.0.0.1:4000]>, "\x32", 1) = 1
7 1700000000.000000004 write(4<TCP:[127.0.0.1:25->127.0.0.1:4000]>, "\x33", 1) = -1 EPIPE (Broken pipe)
7 1700000000.000000005 write(4<TCP:[127.0.0.1:25->127.0.0.1:4000]>, "\x34", 1) = 1
`
	r, err := Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewModel(r, "/d", t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_700_000_000, 4)
	if pos, err := m.WroteTo("127.0.0.1:4000", at); pos != 3 || err != nil {
		t.Errorf("4000: line %d, %v", pos, err)
	}
	if pos, err := m.WroteTo("127.0.0.1:4001", at); pos != 2 || err != nil {
		t.Errorf("4001: line %d, %v", pos, err)
	}
	if pos, err := m.WroteFrom("127.0.0.1:25", at.Add(time.Second)); pos != 5 || err != nil {
		t.Errorf("from 25: line %d, %v", pos, err)
	}
	if pos, err := m.WroteTo("127.0.0.1:4002", at); err == nil {
		t.Errorf("4002: line %d, no error", pos)
	}
}

// FuzzRecord: no record makes the parser or the model panic.
func FuzzRecord(f *testing.F) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range txtar.Parse(b).Files {
			if file.Name == "record" {
				f.Add(encode(string(file.Data)))
			}
		}
	}
	base := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse(strings.NewReader(text))
		if err != nil {
			return
		}
		m, err := NewModel(r, "/d", base, Volatile)
		if err != nil || m.Writes() > 50 {
			return
		}
		for _, o := range m.ops {
			if o.off > 1<<20 || o.size > 1<<20 || o.off < 0 || o.size < 0 {
				return // an image would be as large as the record says
			}
		}
		for i := range m.Images(1, Modes) {
			i.replay()
		}
	})
}
