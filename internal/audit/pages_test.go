package audit

import (
	"os"
	"strings"
	"testing"
)

// hostOnly are the checks of what is changed on the host: no page mends it.
var hostOnly = map[string]bool{"export_missing": true, "setting_weak": true, "component_old": true}

// pages are the console's pages that findings may lead to; a test of the console
// knows that they are there, and that they mend.
type pages []string

func pagesOf(t *testing.T) pages {
	t.Helper()
	text, err := os.ReadFile("testdata/pages.txt")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(text))
}

// names reports whether a finding leads to one of them, or to none as it has to.
func (all pages) names(v Finding) bool {
	if hostOnly[v.Code] {
		return v.Href == ""
	}
	href := strings.TrimPrefix(v.Href, "/as/staging")
	for _, page := range all {
		before, one := strings.CutSuffix(page, "x")
		if href == page || one && strings.HasPrefix(href, before) && strings.Count(href, "/") == strings.Count(page, "/") {
			return true
		}
	}
	return false
}
