package secret

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeyFileRoundTrip(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "seal.key")
	k1, k2 := NewSealingKey(), NewSealingKey()
	if err := WriteKeyFile(path, k1); err != nil {
		t.Fatal(err)
	}
	if err := WriteKeyFile(path, k2, k1); err != nil {
		t.Fatal(err)
	}
	keys, err := ReadKeyFile(path)
	if err != nil || len(keys) != 2 || keys[0] != k2 || keys[1] != k1 {
		t.Fatalf("read: %v, %v", keys, err)
	}
	if fi, _ := os.Stat(path); fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %o", fi.Mode().Perm())
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("%d files left", len(left))
	}
	s, err := OpenSealer(path)
	if err != nil || s.CurrentID() != k2.ID {
		t.Errorf("open sealer: %v", err)
	}
}

func TestKeyFileRefusals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	if err := WriteKeyFile(good, NewSealingKey()); err != nil {
		t.Fatal(err)
	}
	content, _ := os.ReadFile(good)
	line := strings.TrimSpace(string(content))
	words := strings.Fields(line)
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"group may read":   {line, 0o640, "mode is 0640"},
		"others may read":  {line, 0o604, "mode is 0604"},
		"others may write": {line, 0o602, "mode is 0602"},
		"empty":            {"", 0o600, "holds no key"},
		"comment only":     {"# nothing\n", 0o600, "holds no key"},
		"cut":              {line[:len(line)-2], 0o600, "line 1 is not a key"},
		"other word":       {"key " + line, 0o600, "line 1 is not a key"},
		"not hex":          {line + "\n" + words[0] + " " + words[1] + " " + strings.Repeat("g", 64), 0o600, "line 2 is not a key"},
		"zero key":         {words[0] + " " + words[1] + " " + strings.Repeat("0", 64), 0o600, "all-zero"},
		"one endless line": {strings.Repeat("a", 70_000), 0o600, ""},
	} {
		path := filepath.Join(dir, "bad-"+strings.ReplaceAll(name, " ", "-"))
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		_, err := ReadKeyFile(path)
		if !errors.Is(err, ErrKeyFile) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), words[2][:16]) {
			t.Errorf("%s: the error shows the key", name)
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(good, link); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKeyFile(link); !errors.Is(err, ErrKeyFile) {
		t.Errorf("symbolic link: %v", err)
	}
	if _, err := ReadKeyFile(dir); !errors.Is(err, ErrKeyFile) {
		t.Errorf("directory: %v", err)
	}
	if _, err := ReadKeyFile(filepath.Join(dir, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
}

func TestWriteFileAtomic(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target := filepath.Join(dir, "target")
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(target, []byte("untouched"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	if err := WriteFileAtomic(path, []byte("new"), 0o640); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(target); string(b) != "untouched" {
		t.Error("wrote through a symbolic link")
	}
	if fi, err := os.Lstat(path); err != nil || fi.Mode() != 0o640 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	// A failure leaves no temporary file: the target is a directory that is not empty.
	if err := os.MkdirAll(filepath.Join(dir, "d", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFileAtomic(filepath.Join(dir, "d"), []byte("x"), 0o600); err == nil {
		t.Error("replaced a directory")
	}
	if err := WriteFileAtomic(filepath.Join(dir, "none", "f"), nil, 0o600); err == nil {
		t.Error("wrote into a directory that does not exist")
	}
	left, _ := filepath.Glob(filepath.Join(dir, ".*.tmp"))
	if len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func FuzzKeyFile(f *testing.F) {
	f.Add(keyFileWord + " 0011223344556677 " + strings.Repeat("ab", 32) + "\n")
	f.Add("# c\n\n\n")
	f.Fuzz(func(t *testing.T, in string) {
		keys, err := parseKeyFile(strings.NewReader(in))
		if (err == nil) == (len(keys) == 0) {
			t.Fatalf("%d keys and %v", len(keys), err)
		}
	})
}
