package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is committed must be what the comments say now.
func TestGeneratedFilesAreCurrent(t *testing.T) {
	t.Parallel()
	files, err := generate(os.DirFS(".."))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 3 {
		t.Fatalf("generator makes %d files, want 3", len(files))
	}
	for path, want := range files {
		have, err := os.ReadFile(filepath.Join("..", "..", "..", filepath.FromSlash(path)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(have)); diff != "" {
			t.Errorf("%s is not current; run go generate ./internal/config (-want +have):\n%s", path, diff)
		}
	}
}

func TestEverySettingHasADoc(t *testing.T) {
	t.Parallel()
	files, err := generate(os.DirFS(".."))
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(files["docs/config.md"], "\n") {
		if strings.HasPrefix(line, "| `") && (strings.HasSuffix(line, "|  |") || strings.HasSuffix(line, "|  *restart* |")) {
			t.Errorf("docs/config.md:%d: a setting without a comment: %s", i+1, line)
		}
	}
}

func TestUnreadableSource(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.go"), []byte("package"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := generate(os.DirFS(dir)); err == nil || !strings.Contains(err.Error(), "parse source") {
		t.Fatalf("generate from broken source: %v", err)
	}
}
