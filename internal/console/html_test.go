package console

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// reply is an answer, parsed.
type reply struct {
	t      testing.TB
	status int
	header http.Header
	body   string
	root   *html.Node
}

func readReply(t testing.TB, rec *httptest.ResponseRecorder) *reply {
	t.Helper()
	r := &reply{t: t, status: rec.Code, header: rec.Header(), body: rec.Body.String()}
	if rec.Code/100 != 3 && strings.HasPrefix(rec.Header().Get("Content-Type"), "text/html") {
		root, err := html.Parse(strings.NewReader(r.body))
		if err != nil {
			t.Fatal(err)
		}
		r.root = root
		checkPage(t, r)
	}
	return r
}

// want fails unless the status is right.
func (r *reply) want(status int) *reply {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("status %d, want %d; %s", r.status, status, text(r.find("main")))
	}
	return r
}

// goes fails unless the answer leads to a path.
func (r *reply) goes(path string) *reply {
	r.t.Helper()
	r.want(http.StatusSeeOther)
	if got := r.header.Get("Location"); got != path {
		r.t.Fatalf("leads to %q, want %q", got, path)
	}
	return r
}

// shows fails unless an element that the selector finds has a text.
func (r *reply) shows(selector, want string) *reply {
	r.t.Helper()
	var all []string
	for _, n := range r.all(selector) {
		if strings.Contains(text(n), want) {
			return r
		}
		all = append(all, text(n))
	}
	r.t.Fatalf("%s does not show %q, but %q", selector, want, all)
	return r
}

// lacks fails if the selector finds something.
func (r *reply) lacks(selector string) *reply {
	r.t.Helper()
	if n := r.find(selector); n != nil {
		r.t.Fatalf("%s is there: %q", selector, text(n))
	}
	return r
}

func (r *reply) find(selector string) *html.Node {
	if all := r.all(selector); len(all) > 0 {
		return all[0]
	}
	return nil
}

// all finds elements by a selector: steps apart by blanks, each a tag with .class,
// #id, [attribute] and [attribute=value].
func (r *reply) all(selector string) []*html.Node {
	r.t.Helper()
	if r.root == nil {
		r.t.Fatalf("no page: %d %q", r.status, r.body)
	}
	found := []*html.Node{r.root}
	for _, step := range strings.Fields(selector) {
		m := parseStep(r.t, step)
		var next []*html.Node
		seen := map[*html.Node]bool{}
		for _, from := range found {
			for n := range from.Descendants() {
				if !seen[n] && m(n) {
					seen[n] = true
					next = append(next, n)
				}
			}
		}
		found = next
	}
	return found
}

var stepPart = regexp.MustCompile(`^(?:([a-z0-9]+)|\.([\w-]+)|#([\w.-]+)|\[([\w-]+)(?:=([^\]]*))?\])`)

func parseStep(t testing.TB, step string) func(*html.Node) bool {
	t.Helper()
	var tests []func(*html.Node) bool
	for rest := step; rest != ""; {
		m := stepPart.FindStringSubmatch(rest)
		if m == nil {
			t.Fatalf("selector %q", step)
		}
		rest = rest[len(m[0]):]
		switch {
		case m[1] != "":
			tests = append(tests, func(n *html.Node) bool { return n.Data == m[1] })
		case m[2] != "":
			tests = append(tests, func(n *html.Node) bool { return strings.Contains(" "+attribute(n, "class")+" ", " "+m[2]+" ") })
		case m[3] != "":
			tests = append(tests, func(n *html.Node) bool { return attribute(n, "id") == m[3] })
		default:
			value := strings.Contains(m[0], "=")
			tests = append(tests, func(n *html.Node) bool {
				return hasAttribute(n, m[4]) && (!value || attribute(n, m[4]) == m[5])
			})
		}
	}
	return func(n *html.Node) bool {
		if n.Type != html.ElementNode {
			return false
		}
		for _, is := range tests {
			if !is(n) {
				return false
			}
		}
		return true
	}
}

func attribute(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func hasAttribute(n *html.Node, key string) bool {
	for _, a := range n.Attr {
		if a.Key == key {
			return true
		}
	}
	return false
}

func text(n *html.Node) string {
	if n == nil {
		return ""
	}
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			b.WriteString(c.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// checkPage holds for every page that any test sees: the policy, nothing inline,
// nothing from elsewhere, a name for each input, one h1, tables with captions.
func checkPage(t testing.TB, r *reply) {
	t.Helper()
	if got := r.header.Get("Content-Security-Policy"); got != csp && got != strings.Replace(csp, "'none';", "'none'; frame-src 'self';", 1) {
		t.Errorf("Content-Security-Policy: %s", got)
	}
	if got := r.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control: %s", got)
	}
	ids := map[string]bool{}
	for _, n := range r.all("[id]") {
		if id := attribute(n, "id"); ids[id] {
			t.Errorf("the id %q is there twice", id)
		} else {
			ids[id] = true
		}
	}
	labels := map[string]bool{}
	for _, n := range r.all("label[for]") {
		labels[attribute(n, "for")] = true
		if !ids[attribute(n, "for")] {
			t.Errorf("the label %q is for nothing", text(n))
		}
	}
	for n := range r.root.Descendants() {
		if n.Type == html.ElementNode {
			checkElement(t, n, ids, labels)
		}
	}
	if n := len(r.all("h1")); n != 1 {
		t.Errorf("%d h1: %s", n, text(r.find("title")))
	}
	if r.find("html[lang=en]") == nil || r.find("main") == nil || text(r.find("title")) == "" {
		t.Error("no language, main or title")
	}
}

func checkElement(t testing.TB, n *html.Node, ids, labels map[string]bool) {
	t.Helper()
	for _, a := range n.Attr {
		switch {
		case strings.HasPrefix(a.Key, "on") || a.Key == "style":
			t.Errorf("<%s %s=%q>: inline", n.Data, a.Key, a.Val)
		case (a.Key == "src" || a.Key == "action") && !strings.HasPrefix(a.Val, "/") && !strings.HasPrefix(a.Val, "data:image/"):
			t.Errorf("<%s %s=%q>: elsewhere", n.Data, a.Key, a.Val)
		case a.Key == "href" && strings.HasPrefix(strings.ToLower(a.Val), "javascript:"):
			t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
		case a.Key == "aria-describedby" || a.Key == "aria-labelledby":
			for id := range strings.FieldsSeq(a.Val) {
				if !ids[id] {
					t.Errorf("<%s %s=%q>: no such id", n.Data, a.Key, a.Val)
				}
			}
		}
	}
	switch n.Data {
	case "style":
		t.Error("an inline style")
	case "script":
		if attribute(n, "src") == "" {
			t.Error("an inline script")
		}
	case "input", "select", "textarea":
		if attribute(n, "type") != "hidden" && !labels[attribute(n, "id")] && attribute(n, "aria-label") == "" {
			t.Errorf("<%s name=%q> has no label", n.Data, attribute(n, "name"))
		}
	case "table":
		if n.FirstChild == nil || !hasCaption(n) {
			t.Error("a table without caption")
		}
	case "form":
		if m := strings.ToLower(attribute(n, "method")); m != "post" && m != "get" {
			t.Errorf("a form with method %q", m)
		}
	case "button", "a":
		if text(n) == "" && attribute(n, "aria-label") == "" {
			t.Errorf("<%s> without text", n.Data)
		}
	}
}

func hasCaption(table *html.Node) bool {
	for n := range table.ChildNodes() {
		if n.Type == html.ElementNode && n.Data == "caption" {
			return true
		}
	}
	return false
}
