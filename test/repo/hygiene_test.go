package repo

import (
	"bytes"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// unwanted is what no file of the tree may hold. The patterns are put together
// from pieces so that this file does not match itself.
var unwanted = []struct {
	pattern *regexp.Regexp
	why     string
}{
	{regexp.MustCompile(`(^|[\s"'=(:` + "`" + `])/(wo` + `rk|ro` + `ot|Us` + `ers)/[A-Za-z0-9.]`), "a path of one machine"},
	{regexp.MustCompile(`(^|[\s"'=(:` + "`" + `])/ho` + `me/[a-z]`), "a path of one machine"},
	{regexp.MustCompile(`\b(proxy\.gol` + `ang|sum\.gol` + `ang|goproxy|registry\.np` + `mjs|registry\.yar` + `npkg|deb\.deb` + `ian|ftp\.deb` + `ian|pypi|files\.python` + `hosted)\.(org|com|io|net)\b`), "a package registry's host"},
	{regexp.MustCompile(`"resolved": *"ht` + `tps?:`), "a lock file that names a registry"},
	{regexp.MustCompile(`GOPR` + `OXY=ht` + `tp`), "a package registry's host"},
}

// unfinished marks work left open in code.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X:)`)

// lines above which a file asks for a second look.
const longFile = 500

// TestNothingUnwanted: no machine's paths, no registry's hosts, no work left open.
func TestNothingUnwanted(t *testing.T) {
	for _, name := range files(t) {
		text := read(t, name)
		if bytes.IndexByte([]byte(text[:min(len(text), 8000)]), 0) >= 0 {
			continue // not text
		}
		for _, u := range unwanted {
			if m := u.pattern.FindString(text); m != "" {
				t.Errorf("%s holds %q: %s", name, strings.TrimSpace(m), u.why)
			}
		}
		if strings.HasSuffix(name, ".go") {
			if m := unfinished.FindString(text); m != "" {
				t.Errorf("%s holds %q: finish it or file it as an issue", name, m)
			}
		}
	}
}

// TestUnwantedPatterns proves that the patterns find what they are meant to.
func TestUnwantedPatterns(t *testing.T) {
	for _, bad := range []string{
		"see /wo" + "rk/main", `dir := "/ro` + `ot/x"`, "cd /ho" + "me/anna", "https://pro" + "xy.gol" + "ang.org/x",
		`"resolved": "ht` + `tps://example.com/x.tgz"`, "GOPR" + "OXY=ht" + "tps://example.com",
	} {
		found := false
		for _, u := range unwanted {
			found = found || u.pattern.MatchString(bad)
		}
		if !found {
			t.Errorf("%q is not found", bad)
		}
	}
	for _, good := range []string{"GET /network/root", "/var/lib/postern", "https://example.com/homework/x", "/proc/self"} {
		for _, u := range unwanted {
			if u.pattern.MatchString(good) {
				t.Errorf("%q is taken for %s", good, u.why)
			}
		}
	}
}

// TestLongFiles only tells: a size is a question, not a limit.
func TestLongFiles(t *testing.T) {
	for _, name := range files(t) {
		if filepath.Ext(name) != ".go" {
			continue
		}
		if n := strings.Count(read(t, name), "\n"); n > longFile {
			t.Logf("%s has %d lines: is there a second room inside?", name, n)
		}
	}
}
