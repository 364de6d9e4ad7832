package console

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"postern/internal/relay"
)

// samples are what the API answers to each path, one of everything that a page
// shows. Strings in them are names; hostileJSON makes weapons of them.
var samples = map[string]string{}

// sampleAnswers are all samples as answers of the API.
func sampleAnswers() map[string]any {
	out := map[string]any{}
	for what, s := range samples {
		out[what] = s
	}
	return out
}

// kept are texts that are not a stranger's: the API checks them, and pages branch
// on them.
func kept(s string) bool {
	if _, err := time.Parse(time.RFC3339, s); err == nil || s == "q80=" {
		return true
	}
	_, err := time.Parse(time.DateOnly, s)
	return err == nil
}

// hostileJSON replaces every text in a JSON value by one that would do something
// if it were not text. ids are part of addresses and stay.
func hostileJSON(v any, ids map[string]bool) any {
	switch x := v.(type) {
	case map[string]any:
		for k, y := range x {
			if s, ok := y.(string); ok && ids[k+"="+s] {
				continue
			}
			x[k] = hostileJSON(y, ids)
		}
		return x
	case []any:
		for i, y := range x {
			x[i] = hostileJSON(y, ids)
		}
		return x
	case string:
		if kept(x) || x == "" {
			return x
		}
		return hostile(x)
	}
	return v
}

// openPages are the pages that can be opened with what samples have.
func openPages(t testing.TB) []string {
	t.Helper()
	var out []string
	fill := strings.NewReplacer("{key}", "k1", "{domain}", "7", "{sender}", "5", "{rule}", "3", "{message}", "m1", "{site}", "example.org",
		"{subuser_name}", "shop", "{person}", "bob", "{finding}", "f1", "{report}", "r1", "{token}", "t1", "{scope}", "key", "{subject}", "k1",
		"{action}", "hold", "{session}", "s1", "{sso}", "i1", "{address}", "192.0.2.1", "{selector}", "p1", "{$}", "")
	for i := range resourcePages {
		p := &resourcePages[i]
		if p.Method != "GET" || strings.HasSuffix(p.Pattern, "/tail") || strings.HasSuffix(p.Pattern, "/export") || strings.HasSuffix(p.Pattern, ".html") || strings.HasSuffix(p.Pattern, "/print") || p.Pattern == "/access/preview" {
			continue
		}
		if p.Pattern == "/people/{person}/do/{action}" || p.Pattern == "/held/{action}" || strings.Contains(p.Pattern, "{mark}") {
			continue // hold is none of their actions; TestOneReportIsText has the reports
		}
		out = append(out, fill.Replace(p.Pattern))
	}
	return append(out, morePages...)
}

// morePages are pages with parameters that show other parts.
var morePages = []string{"/keys/new?for=domain", "/keys/new?for=custom", "/domains/7?host=cloudflare", "/mail/m1/body?html=1", "/held/release?key=k1", "/held/cancel", "/?span=month", "/access/preview?ips=192.0.2.1", "/people/bob/do/disable", "/watch?state=all", "/audit/compare?a=r1&b=now"}

// WB-01: whatever stands in any field of any answer is text on every page.
func TestHostileValuesAreText(t *testing.T) {
	t.Parallel()
	answers := map[string]any{}
	for what, s := range samples {
		var v any
		if err := json.Unmarshal([]byte(s), &v); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		b, err := json.Marshal(hostileJSON(v, map[string]bool{"subject=k1": true, "username=bob": true, "id=i1": true, "address=192.0.2.1": true, "selector=p1": true}))
		if err != nil {
			t.Fatal(err)
		}
		answers[what] = string(b)
	}
	w := newPages(t, answers)
	u := &w.visit().User // who may not do what the key may is not led to its new secret
	u.Scopes = slices.Sorted(slices.Values(append([]string{hostile("mail.send")}, u.Granted()...)))
	u.Role = relay.RoleCustom
	for _, path := range openPages(t) {
		t.Run(path, func(t *testing.T) { noHostility(t, w.at(t).get(path).want(200)) })
	}
}

// at is the same world in another test.
func (w *world) at(t testing.TB) *world {
	c := *w
	c.t = t
	return &c
}

// noHostility fails if a hostile value has become an element or an address.
func noHostility(t testing.TB, r *reply) {
	t.Helper()
	for n := range r.root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch {
		case n.Data == "script" && !strings.HasPrefix(attribute(n, "src"), "/assets/"):
			t.Error("a value became a script")
		case n.Data == "img":
			t.Error("a value became an image")
		}
		for _, a := range n.Attr {
			if strings.Contains(a.Key, "onerror") || strings.Contains(a.Key, "<") {
				t.Errorf("a value became the attribute %s", a.Key)
			}
			if a.Key != "href" && a.Key != "action" {
				continue
			}
			u, err := url.Parse(a.Val)
			if err != nil || u.Host != "" || u.Scheme != "" {
				t.Errorf("a value became the address %q", a.Val)
			}
		}
	}
}

// A query is hostile, too: it stands in the forms of searches.
func TestHostileQueryIsText(t *testing.T) {
	t.Parallel()
	names := []string{"since", "until", "key", "addr", "tried", "mechanism", "result", "action", "for", "host", "to", "from", "id", "domain", "state",
		"subject", "match", "offset", "after", "a", "b", "start_date", "end_date", "q", "by", "rule"}
	q := url.Values{}
	for _, n := range names {
		q.Set(n, hostile(n))
	}
	w := newPages(t, sampleAnswers())
	for _, path := range openPages(t) {
		if strings.Contains(path, "?") {
			continue
		}
		t.Run(path, func(t *testing.T) {
			r := w.at(t).get(path + "?" + q.Encode())
			if r.status/100 != 2 && r.status/100 != 4 {
				t.Fatalf("status %d", r.status)
			}
			noHostility(t, r)
		})
	}
}

// Every page stands with all there is, with nothing, and for somebody who may see
// this page and nothing else.
func TestPagesStandFullAndEmpty(t *testing.T) {
	t.Parallel()
	nothing := map[string]any{}
	for what, s := range samples {
		nothing[what] = "{}"
		if strings.HasPrefix(s, "[") {
			nothing[what] = "[]"
		}
	}
	full, empty := newPages(t, sampleAnswers()), newPages(t, nothing)
	for _, path := range openPages(t) {
		t.Run(path, func(t *testing.T) {
			full.at(t).get(path).want(200)
			if r := empty.at(t).get(path); r.status != 200 && r.status != 404 {
				t.Errorf("with nothing: %d", r.status)
			}
		})
	}
}

func TestPagesShowOnlyWhatIsAllowed(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	for i := range resourcePages {
		p := &resourcePages[i]
		if len(p.Needs) == 0 && p.Pattern != "/{$}" {
			t.Errorf("%s %s needs nothing", p.Method, p.Pattern)
		}
		if p.Method == "POST" {
			continue
		}
		for _, need := range p.Needs {
			w.api.denied = []string{need}
			if r := w.get(openPath(p.Pattern)); r.status != 404 {
				t.Errorf("%s without %s: %d", p.Pattern, need, r.status)
			}
		}
	}
}

func openPath(pattern string) string {
	var b strings.Builder
	for i, part := range strings.Split(pattern, "{") {
		if i > 0 {
			_, rest, _ := strings.Cut(part, "}")
			part = strconv.Itoa(i) + rest
			if strings.HasSuffix(pattern, "{$}") {
				part = ""
			}
		}
		b.WriteString(part)
	}
	return b.String()
}
