package repo

import (
	"encoding/json"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// goMod is the part of `go mod edit -json` that is looked at.
type goMod struct {
	Require []struct {
		Path, Version string
		Indirect      bool
	}
	Replace []struct{ Old struct{ Path string } }
	Exclude []struct{ Path string }
}

func readGoMod(t *testing.T, dir string) goMod {
	t.Helper()
	cmd := exec.Command("go", "mod", "edit", "-json")
	cmd.Dir = root + "/" + dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go mod edit in %s: %v", dir, err)
	}
	var m goMod
	if err := json.Unmarshal(out, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestDependenciesAreExplained: each direct dependency has a row in
// docs/development.md saying why, and each row is a dependency.
func TestDependenciesAreExplained(t *testing.T) {
	explained := map[string]bool{}
	for _, row := range tableRows(read(t, "docs/development.md"), "`") {
		name := strings.Trim(row[0], "`")
		if !strings.Contains(name, ".") || strings.Contains(name, " ") || !strings.Contains(name, "/") {
			continue // a table about something else
		}
		if len(row) < 2 || len(row[1]) < 20 {
			t.Errorf("docs/development.md: %s has no reason", name)
		}
		explained[name] = true
	}
	direct := map[string]bool{}
	for _, dir := range []string{".", "tools"} {
		m := readGoMod(t, dir)
		if len(m.Replace) > 0 || len(m.Exclude) > 0 {
			t.Errorf("%s/go.mod replaces or excludes modules", dir)
		}
		for _, r := range m.Require {
			if dir == "tools" && r.Path == "honnef.co/go/tools" {
				direct[r.Path] = true // a tool line makes it indirect
			}
			if !r.Indirect {
				direct[r.Path] = true
			}
		}
	}
	for path := range direct {
		if !explained[path] {
			t.Errorf("go.mod requires %s, but docs/development.md does not say why", path)
		}
	}
	for path := range explained {
		if !direct[path] {
			t.Errorf("docs/development.md explains %s, which go.mod does not require", path)
		}
	}
}

// rfcNumber finds citations such as "RFC 5321"; without the space it is a layout of package time.
var rfcNumber = regexp.MustCompile(`\bRFCs? ([0-9]{3,5})\b`)

// TestRFCsAreListed: every RFC that the code or the docs name stands in
// docs/rfc.md with its level, and every path that page names exists.
func TestRFCsAreListed(t *testing.T) {
	page := read(t, "docs/rfc.md")
	listed := map[string]bool{}
	for _, row := range tableRows(page, "") {
		for _, m := range rfcNumber.FindAllStringSubmatch(row[0], -1) {
			if listed[m[1]] {
				t.Errorf("docs/rfc.md lists RFC %s twice", m[1])
			}
			listed[m[1]] = true
			if len(row) < 4 {
				t.Errorf("docs/rfc.md: the row of RFC %s needs level, where and deviations", m[1])
			}
		}
	}
	if len(listed) < 20 {
		t.Fatalf("docs/rfc.md lists only %d RFCs: is its table still read rightly?", len(listed))
	}
	cited := map[string]string{}
	for _, name := range files(t) {
		if name == "docs/rfc.md" || !(strings.HasSuffix(name, ".go") || strings.HasSuffix(name, ".md")) || strings.Contains(name, "/testdata/") {
			continue
		}
		for _, m := range rfcNumber.FindAllStringSubmatch(read(t, name), -1) {
			cited[m[1]] = name
		}
	}
	for number, name := range cited {
		if !listed[number] {
			t.Errorf("%s cites RFC %s, which is not in docs/rfc.md", name, number)
		}
	}
}
