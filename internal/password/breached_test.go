package password

import (
	"crypto/sha1"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// list makes a file of passwords, with counts and line ends as asked for.
func list(n int, line func(hash string, i int) string) (text string, in []string) {
	var hashes []string
	for i := range n {
		in = append(in, fmt.Sprintf("stolen password %d", i))
		hashes = append(hashes, fmt.Sprintf("%X", sha1.Sum([]byte(in[i]))))
	}
	slices.Sort(hashes)
	var b strings.Builder
	for i, h := range hashes {
		b.WriteString(line(h, i))
	}
	return b.String(), in
}

// AC-02: offline, in a file that is not loaded.
func TestBreached(t *testing.T) {
	forms := map[string]func(string, int) string{
		"counts":  func(h string, i int) string { return fmt.Sprintf("%s:%d\r\n", h, i*i*i) },
		"bare":    func(h string, _ int) string { return h + "\n" },
		"small":   func(h string, i int) string { return fmt.Sprintf("%s:%d\n", strings.ToLower(h), i) },
		"unended": func(h string, i int) string { return strings.Repeat("\n", min(i, 1)) + h },
	}
	for name, form := range forms {
		for _, n := range []int{1, 2, 3, 10, 1000} {
			text, in := list(n, form)
			path := filepath.Join(t.TempDir(), "list")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			b, err := OpenBreached(path)
			if err != nil {
				t.Fatalf("%s %d: %v", name, n, err)
			}
			for _, p := range in {
				if ok, err := b.Contains(p); !ok || err != nil {
					t.Errorf("%s %d: %q not found: %v", name, n, p, err)
				}
			}
			for i := range 200 {
				if ok, err := b.Contains(fmt.Sprintf("fresh %d", i)); ok || err != nil {
					t.Errorf("%s %d: found what is not there: %v", name, n, err)
				}
			}
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// reads counts how often the list is read.
type reads struct {
	text string
	n    int
}

func (r *reads) ReadAt(p []byte, off int64) (int, error) {
	r.n++
	return strings.NewReader(r.text).ReadAt(p, off)
}

func TestBreachedReadsLittle(t *testing.T) {
	text, in := list(20_000, func(h string, i int) string { return fmt.Sprintf("%s:%d\r\n", h, i) })
	r := &reads{text: text}
	b := NewBreached(r, int64(len(text)))
	for _, p := range in[:50] {
		r.n = 0
		if ok, err := b.Contains(p); !ok || err != nil || r.n > 21 { // log2 of the octets
			t.Fatalf("%v %v in %d reads", ok, err, r.n)
		}
	}
}

func TestBreachedIsARule(t *testing.T) {
	text, _ := list(10, func(h string, i int) string { return fmt.Sprintf("%s:%d\n", h, i) })
	r := &Rules{Breached: NewBreached(strings.NewReader(text), int64(len(text)))}
	got, err := r.Check("stolen password 7", nil)
	if err != nil || !strings.Contains(strings.Join(got, " "), "stolen elsewhere") {
		t.Errorf("%q %v", got, err)
	}
	r.Breached = NewBreached(strings.NewReader("x"), 1)
	if _, err := r.Check("tall copper lamps hum", nil); !errors.Is(err, ErrBreachedFile) {
		t.Errorf("a damaged file passes: %v", err)
	}
}

func TestWrongBreachedFiles(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenBreached(dir); err == nil {
		t.Error("a directory opens")
	}
	if _, err := OpenBreached(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	a, z := strings.Repeat("A", 40), strings.Repeat("F", 40)
	for name, text := range map[string]string{
		"empty": "", "passwords": "123456\npassword\n", "NTLM": strings.Repeat("A", 32) + ":3\n", "unsorted": z + "\n" + a + "\n",
		"a long line": strings.Repeat("A", 400), "SHA-256": strings.Repeat("A", 64) + "\n",
	} {
		path := filepath.Join(dir, "list")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenBreached(path); !errors.Is(err, ErrBreachedFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// SP 800-63B-4 §3.1.1.2: a stolen password is found however its characters were
// composed at the keyboard, and one that stands in the list as somebody typed it is,
// too: what is hashed is the same password.
func TestBreachedHoweverItIsComposed(t *testing.T) {
	const composed, apart, wide = "caf\u00e9 fi cr\u00e8me", "cafe\u0301 \ufb01 cre\u0300me", "\uff43\uff41\uff46\u00e9 fi cr\u00e8me"
	line := func(p string) string { return fmt.Sprintf("%X\n", sha1.Sum([]byte(p))) }
	for name, c := range map[string]struct {
		listed, typed string
		want          bool
	}{
		"as it is listed":                    {composed, composed, true},
		"apart, of one listed composed":      {composed, apart, true},
		"wide letters, of one listed narrow": {composed, wide, true},
		"as somebody typed it":               {apart, apart, true},
		"another one":                        {composed, "cafe fi creme", false},
		"not UTF-8":                          {"caf\xe9", "caf\xe9", true},
		"not UTF-8, another one":             {composed, "caf\xe9 fi cr\xe8me", false},
	} {
		text := line(c.listed)
		b := NewBreached(strings.NewReader(text), int64(len(text)))
		if got, err := b.Contains(c.typed); got != c.want || err != nil {
			t.Errorf("%s: %t, %v", name, got, err)
		}
		if !utf8.ValidString(c.typed) {
			continue // refused as what it is
		}
		r := &Rules{Breached: b}
		refused, err := r.Check(c.typed, nil)
		if got := strings.Contains(strings.Join(refused, " "), "stolen elsewhere"); got != c.want || err != nil {
			t.Errorf("%s: refused for %q, %v", name, refused, err)
		}
	}
}
