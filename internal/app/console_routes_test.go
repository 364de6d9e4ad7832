package app

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postern/internal/api/v3"
)

var (
	// apiConst is a constant of the console that names a path of the API, such as
	// apiKey = apiKeys + "/{key}".
	apiConst = regexp.MustCompile(`(?m)^\s*(?:const )?(api[A-Z]\w*)\s*=\s*(?:(api\w+) \+ )?"([^"]*)"`)
	// apiNeed is a method and a path that a page or a button needs.
	apiNeed = regexp.MustCompile(`"(GET|POST|PUT|PATCH|DELETE)(?:", | " ?\+ ?)(?:(api[A-Z]\w*)(?: ?\+ ?"([^"]*)")?|"(/v3/[^"]*)")( ?\+)?|"(GET|POST|PUT|PATCH|DELETE) (/v3/[^"]*)"( ?\+)?`)
	// askedIf are reads that are left out where the person may not do them.
	askedIf = regexp.MustCompile(`askIf\[[^(]*\]\(v, (?:(api[A-Z]\w*)(?: ?\+ ?"([^"]*)")?|"(/v3/[^"]*)"),`)
)

// A page or a button that needs a route which the API does not have is there for
// nobody, and nothing says so: findings of the watch had no page.
func TestConsoleNeedsRoutesThatAre(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../console/*.go")
	if err != nil {
		t.Fatal(err)
	}
	sources, consts := map[string]string{}, map[string]string{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sources[name] = string(b)
	}
	for range 3 { // constants are made of constants
		for _, text := range sources {
			for _, m := range apiConst.FindAllStringSubmatch(text, -1) {
				if m[2] == "" || consts[m[2]] != "" {
					consts[m[1]] = consts[m[2]] + m[3]
				}
			}
		}
	}
	routes := map[string]bool{}
	for _, r := range v3.Routes() {
		routes[r.Method+" "+r.Pattern] = true
	}
	found := 0
	need := func(file, method, base, rest string) {
		path := rest
		if base != "" {
			path = consts[base] + rest
		}
		if found++; !routes[method+" "+path] && !strings.ContainsAny(path, "?") {
			t.Errorf("%s needs %s %s, which is no route", filepath.Base(file), method, path)
		}
	}
	for name, text := range sources {
		for _, m := range apiNeed.FindAllStringSubmatch(text, -1) {
			if m[5]+m[8] != "" || m[2] != "" && consts[m[2]] == "" { // parts are known when it runs
				continue
			}
			need(name, m[1]+m[6], m[2], m[3]+m[4]+m[7])
		}
		for _, m := range askedIf.FindAllStringSubmatch(text, -1) {
			need(name, "GET", m[1], m[2]+m[3])
		}
	}
	if found < 150 {
		t.Errorf("only %d needs were found in the pages", found)
	}
}
