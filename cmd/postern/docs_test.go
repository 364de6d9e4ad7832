package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every command that the documentation shows exists, with its flags.
func TestDocumentedCommandsExist(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, "../../README.md", "../../packaging/postern.service")
	inline := regexp.MustCompile("`(postern [^`]+)`")
	seen := 0
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for line := range strings.Lines(string(text)) {
			line = strings.TrimLeft(strings.TrimSpace(line), "#$ ")
			for _, as := range []string{"sudo ", "-u postern "} {
				line = strings.TrimPrefix(line, as)
			}
			if strings.HasPrefix(line, "postern ") && strings.HasSuffix(path, ".md") {
				lines = append(lines, line)
			}
		}
		for _, m := range inline.FindAllStringSubmatch(strings.ReplaceAll(string(text), "\n", " "), -1) {
			lines = append(lines, m[1])
		}
		for _, line := range lines {
			if words, ok := commandWords(line); ok {
				seen++
				checkCommand(t, path, line, words)
			}
		}
	}
	if seen == 0 {
		t.Error("no command found in the documentation: this test could not fail")
	}
}

// commandWords cuts a line at what belongs to the shell. Prose that begins with
// the name is no command.
func commandWords(line string) ([]string, bool) {
	for _, end := range []string{" #", " |", " >", " &", ";", "\\", "…", " (", "|", "["} {
		line, _, _ = strings.Cut(line, end)
	}
	words := strings.Fields(line)[1:]
	if len(words) == 0 {
		return nil, false
	}
	for _, c := range (&cli{}).root().Commands() {
		if c.Name() == words[0] {
			return words, true
		}
	}
	return nil, strings.HasPrefix(words[0], "-")
}

func checkCommand(t *testing.T, path, line string, words []string) {
	t.Helper()
	cmd, rest, err := (&cli{}).root().Find(words)
	if err != nil || !cmd.HasParent() {
		t.Errorf("%s: %q: %v", path, line, err)
		return
	}
	if cmd.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		t.Errorf("%s: %q: there is no %s %s", path, line, cmd.CommandPath(), rest[0])
	}
	for _, w := range rest {
		name, isFlag := strings.CutPrefix(w, "--")
		name, _, _ = strings.Cut(name, "=")
		name = strings.TrimRight(name, ",.:)'\"")
		if isFlag && name != "" && cmd.Flag(name) == nil && cmd.InheritedFlags().Lookup(name) == nil {
			t.Errorf("%s: %q: %s has no flag --%s", path, line, cmd.CommandPath(), name)
		}
	}
}
