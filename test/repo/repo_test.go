// Package repo holds the checks of the tree itself: who may import whom, which
// modules may be used, that every RFC named in the code stands in docs/rfc.md,
// that the links of the documentation lead somewhere, and that every row of the
// security table has its test. The rules are data with reasons; a rule about
// something that no longer exists fails, so that none outlives its subject.
package repo

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// root is the top of the tree.
const root = "../.."

// module is the path of this module.
const module = "postern"

// listed is what `go list` says of one package.
type listed struct {
	ImportPath   string
	Name         string
	Dir          string
	Standard     bool
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string
}

// rel is the package's path inside the module.
func (p listed) rel() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

// goList runs `go list -json` at the root, with whatever does not build left in.
func goList(args ...string) ([]listed, error) {
	cmd := exec.Command("go", append([]string{"list", "-e", "-json=ImportPath,Name,Dir,Standard,Imports,TestImports,XTestImports,Deps"}, args...)...)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, errors.Join(err, errors.New(stderr.String()))
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
}

var ownPackages = sync.OnceValues(func() ([]listed, error) { return goList("./...") })

// own lists the packages of this module.
func own(t *testing.T) []listed {
	t.Helper()
	all, err := ownPackages()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if len(all) < 3 {
		t.Fatalf("go list found only %d packages", len(all))
	}
	return all
}

// files lists the tree's files (those git knows or would add), relative to the root.
func files(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err == nil {
		var names []string
		for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
			// A file that is deleted but not yet committed is still listed.
			if st, err := os.Lstat(filepath.Join(root, name)); err == nil && st.Mode().IsRegular() {
				names = append(names, name)
			}
		}
		return names
	}
	// An unpacked archive has no git: take all but what is built.
	var names []string
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && (name == ".git" || name == ".cache" || name == "bin"):
			return filepath.SkipDir
		case d.Type().IsRegular():
			names = append(names, filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// read returns a file of the tree.
func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// tableRows returns the cells of every table row of a Markdown text whose first
// cell starts with prefix. A pipe inside a cell is written \|.
func tableRows(text, prefix string) [][]string {
	var rows [][]string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			continue
		}
		line = strings.ReplaceAll(strings.Trim(line, "|"), `\|`, "\x00")
		cells := strings.Split(line, "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(strings.ReplaceAll(cells[i], "\x00", "|"))
		}
		if strings.HasPrefix(cells[0], prefix) {
			rows = append(rows, cells)
		}
	}
	return rows
}
