package v3

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"postern/internal/relay"
)

// hostileNames are what stands where a name or an id belongs.
var hostileNames = map[string]string{
	"NUL":            "a%00b",
	"line break":     "a%0d%0aX-Evil:%201",
	"invalid UTF-8":  "%ff%fe%c0%af",
	"overlong slash": "..%c0%af..%c0%afetc",
	"slash":          "a%2f..%2fb",
	"backslash":      "..%5c..%5c",
	"dots":           "...",
	"parameters":     "x;y=1",
	"long":           strings.Repeat("x", 4000),
	"long number":    strings.Repeat("9", 40),
	"beyond int64":   "9223372036854775808",
	"below int64":    "-9223372036854775809",
	"negative":       "-1",
	"float":          "1e3",
	"hex":            "0x1",
	"plus":           "+1",
	"other digits":   "%d9%a1%d9%a2",
	"bidi":           "%e2%80%aegpj.exe",
	"quote":          "'%22--",
	"LIKE":           "%25_%25",
	"markup":         "%3Cscript%3Ealert(1)%3C%2fscript%3E",
	"template":       "$%7B7*7%7D%7B%7B7%7D%7D",
	"zero id":        "AAAAAAAAAAAAAAAAAAAAAA",
	"not base64":     "AAAAAAAAAAAAAAAAAAAAA!",
	"padding":        "AAAAAAAAAAAAAAAAAAAAAA==",
	"space":          "%20",
	"star":           "*",
}

var pathParam = regexp.MustCompile(`\{[^}]+\}`)

// AP-01: whatever stands where the name or id of a thing belongs, nobody finds
// anything by it: no fault of ours, no change, and no echo that a log or a page would
// take for more than text.
func TestHostileNamesInPaths(t *testing.T) {
	t.Parallel()
	for _, route := range Routes() {
		f := fixtures[route.Method+" "+route.Pattern]
		if !strings.Contains(route.Pattern, "{") || route.OperatorOnly || route.Open {
			continue
		}
		t.Run(route.Method+" "+route.Pattern, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			owner := w.person(w.addUser(w.acme, relay.RoleOwner), true)
			key := w.as(w.acme, relay.Scopes...)
			query := ""
			if _, q, ok := strings.Cut(f.Absent.Path, "?"); ok {
				query = "?" + q
			}
			for name, hostile := range hostileNames {
				path := pathParam.ReplaceAllString(route.Pattern, strings.ReplaceAll(hostile, "$", "$$"))
				if _, err := url.Parse(path); err != nil {
					t.Fatal(err)
				}
				for who, c := range map[string]*client{"person": owner, "key": key} {
					a := c.do(route.Method, path+query, f.Absent.Body)
					// 204: to take away what is not there is fine, where a route says so.
					if a.Status < 400 && a.Status != 204 || a.Status >= 500 {
						t.Errorf("%s, %s: %d %.300s", who, name, a.Status, a.Body)
					}
					if strings.ContainsAny(a.Body, "\x00\u202e") || strings.Contains(a.Body, "<script") || slices.Contains(a.Header.Values("X-Evil"), "1") {
						t.Errorf("%s, %s: answered with %.300s", who, name, a.Body)
					}
				}
			}
			if len(w.changes) > 0 {
				t.Errorf("changed %q", w.changes)
			}
		})
	}
}
