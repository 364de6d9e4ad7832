package console

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// newPages is a console whose API answers as given: "METHOD path" with JSON, or
// with an error, or nothing.
func newPages(t testing.TB, answers map[string]any) *world {
	t.Helper()
	w := newWorld(t)
	for what, answer := range answers {
		if s, ok := answer.(string); ok {
			if s == "" {
				answer = nil
			} else {
				answer = json.RawMessage(s)
			}
		}
		w.api.on(what, answer)
	}
	return w
}

// says fails unless all texts are on the page.
func (r *reply) says(texts ...string) *reply {
	r.t.Helper()
	all := text(r.find("main"))
	for _, s := range texts {
		if !strings.Contains(all, s) {
			r.t.Errorf("the page does not say %q:\n%s", s, all)
		}
	}
	return r
}

// never fails if one of the texts is on the page.
func (r *reply) never(texts ...string) *reply {
	r.t.Helper()
	all := text(r.find("main"))
	for _, s := range texts {
		if strings.Contains(all, s) {
			r.t.Errorf("the page says %q:\n%s", s, all)
		}
	}
	return r
}

// asked is the body of the last call of a kind, as JSON; "" if there was none.
func (w *world) asked(what string) string {
	w.t.Helper()
	calls := w.api.made(what)
	if len(calls) == 0 {
		return ""
	}
	b, err := json.Marshal(calls[len(calls)-1].Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

// hostile is a value that would do something if it were not text, by every way
// that pages have for values.
func hostile(name string) string {
	return fmt.Sprintf("%s\"'></textarea></title></script><script>alert(1)</script><img src=x onerror=alert(2)>{{.}}", name)
}
