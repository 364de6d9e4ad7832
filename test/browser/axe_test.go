package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// axeSource is axe-core, which tools/testdeps installs.
var axeSource = sync.OnceValues(func() (string, error) {
	b, err := os.ReadFile(filepath.FromSlash("../../.cache/axe/node_modules/axe-core/axe.min.js"))
	return string(b), err
})

// finding is one rule of axe that a page breaks.
type finding struct {
	ID, Impact, Help string
	Nodes            []struct {
		HTML           string
		Target         []any
		FailureSummary string
	}
}

// axe has the page that is shown judged by WCAG 2.2 A and AA and by axe's best
// practices, in light and dark. What it finds serious or critical is a fault.
func (b *tab) axe() {
	b.t.Helper()
	source, err := axeSource()
	if err != nil {
		if os.Getenv("POSTERN_TEST_EXTERNAL") != "" {
			b.t.Fatalf("axe-core is not installed (tools/testdeps installs it): %v", err)
		}
		b.t.Logf("not judged: axe-core is not installed")
		return
	}
	if script[bool](b, `typeof axe === "undefined"`) {
		script[bool](b, source+";true")
	}
	for _, scheme := range []string{"light", "dark"} {
		b.scheme(scheme)
		found := script[[]finding](b, `axe.run(document, {resultTypes: ["violations"], runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}).then((r) => r.violations)`)
		for _, f := range found {
			var places []string
			for _, n := range f.Nodes {
				places = append(places, fmt.Sprintf("  %v %s\n    %s", n.Target, n.HTML, strings.ReplaceAll(n.FailureSummary, "\n", " ")))
			}
			report := fmt.Sprintf("%s (%s): %s, at %s:\n%s", f.ID, f.Impact, f.Help, b.at(), strings.Join(places, "\n"))
			if f.Impact == "serious" || f.Impact == "critical" {
				b.t.Error(scheme + ": " + report)
			} else {
				b.t.Log(scheme + ": " + report)
			}
		}
	}
	b.scheme("light")
}
