package console

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestDifferences(t *testing.T) {
	t.Parallel()
	far := strings.Repeat("a", 200)
	for _, test := range []struct{ before, after, want string }{
		{`{"a":1,"b":"x"}`, `{"a":2,"b":"x"}`, "a: 1 → 2"},
		{``, `{"name":"shop"}`, "name: shop"},
		{`{"name":"shop"}`, ``, "name: shop → nothing"},
		{`{"n":null}`, `{}`, ""},
		{`"text"`, `[1]`, ""},
		{``, `{"account_id":"A","name":"shop"}`, "name: shop"},
		{`{"seen":null}`, `{"seen":"2026-11-22T16:21:40.989892+01:00"}`, "seen: 2026-11-22 15:21:40 UTC"},
		{`{`, `}`, ""},
		{`null`, ``, ""},
		// A difference behind the cut is seen.
		{`{"note":"` + far + `1"}`, `{"note":"` + far + `2"}`, "note: …" + far[:20] + "1 → …" + far[:20] + "2"},

		// Lists: what was added and what was removed, one entry a line.
		{`{"ips":["a","b","c"]}`, `{"ips":["a","c","d"]}`, "ips, added: d; ips, removed: b"},
		{`{"ips":null}`, `{"ips":["a","b"]}`, "ips, added: a; ips, added: b"},
		{`{"ips":["a","a","b"]}`, `{"ips":["b","a"]}`, "ips, removed: a"},
		{`{"ips":["a","b"]}`, `{"ips":["b","a"]}`, "ips in another order"},
		{`{"ips":[]}`, `{"ips":null}`, ""},
		{`{"ips":["a"]}`, `{}`, "ips, removed: a"},
		{`{"ips":[1]}`, `{"ips":"one"}`, "ips: 1 → one"},
		{`["a"]`, `["b"]`, "added: b; removed: a"},
		{`["a","b"]`, `["b","a"]`, "in another order"},

		// Objects: the members that differ, by name.
		{`{"tls":{"min":"1.2","force":true}}`, `{"tls":{"min":"1.3","force":true}}`, "tls.min: 1.2 → 1.3"},
		{`{"tls":null}`, `{"tls":{"min":"1.3","ca":{"name":"x"}}}`, "tls.ca.name: x; tls.min: 1.3"},
		// Nothing was added to the list of what is new as a whole.
		{``, `{"senders":["a","b"]}`, "senders: a; senders: b"},
		{`{"senders":["a"]}`, `null`, "senders: a → nothing"},
		{`{"rules":["a","b"],"before":null}`, `{"rules":["a"],"before":{"rules":["a","b"]}}`, "before.rules: a; before.rules: b; rules, removed: b"},
		{`{"tls":{"ips":["a"]}}`, `{"tls":{"ips":["b"]}}`, "tls.ips, added: b; tls.ips, removed: a"},
		{`{"a":{"b":{"c":{"d":{"e":1}}}}}`, `{"a":{"b":{"c":{"d":{"e":2}}}}}`, "a.b.c.d: e 1 → e 2"},
		{`{"tls":{"min":1}}`, `{"tls":"off"}`, "tls: min 1 → off"},

		// Objects in lists: those of one id are the same entry.
		{`{"rules":[{"id":1,"network":"192.0.2.0/24","created_at":"2026-03-01T00:00:00Z","updated_at":"2026-03-01T00:00:00Z"}]}`,
			`{"rules":[{"id":1,"network":"192.0.2.0/24","note":"office","created_at":"2026-03-01T00:00:00Z","updated_at":"2026-03-04T00:00:00Z"},{"id":2,"host":"vpn.example.com","created_at":"2026-03-04T00:00:00Z"}]}`,
			"rules, 192.0.2.0/24: note: office; rules, added: host vpn.example.com"},
		{`{"rules":[{"id":1,"network":"192.0.2.0/24"},{"id":2,"host":"a"}]}`, `{"rules":[{"id":2,"host":"a"}]}`, "rules, removed: network 192.0.2.0/24"},
		{`[{"id":1,"n":1}]`, `[{"id":1,"n":2}]`, "1: n: 1 → 2"},
		{`{"rules":[{"id":1,"n":1},{"id":1,"n":2}]}`, `{"rules":[{"id":1,"n":1}]}`, "rules, removed: n 2"},
		{`{"rules":[{"network":"a"}]}`, `{"rules":[{"network":"b"}]}`, "rules, added: network b; rules, removed: network a"},
	} {
		if got := strings.Join(differences(json.RawMessage(test.before), json.RawMessage(test.after)), "; "); got != test.want {
			t.Errorf("%s to %s: %q instead of %q", test.before, test.after, got, test.want)
		}
	}
}

// However much a change set, its row stays a row.
func TestDifferencesAreBounded(t *testing.T) {
	t.Parallel()
	long := map[string]string{}
	for i := range maxDifferences + 4 {
		long[fmt.Sprint("m", i)] = strings.Repeat("ä", 200)
	}
	b, _ := json.Marshal(long)
	got := differences(nil, b)
	if len(got) != maxDifferences+1 || got[len(got)-1] != "and 4 more differences" || slices.ContainsFunc(got, func(s string) bool { return len([]rune(s)) > 90 }) {
		t.Errorf("%q", got)
	}
	var was, is []map[string]any
	for i := range 1000 {
		was = append(was, map[string]any{"id": i, "name": strings.Repeat("x", 200), "n": 1})
		is = append(is, map[string]any{"id": i, "name": strings.Repeat("x", 200), "n": 2})
	}
	before, _ := json.Marshal(map[string]any{"a": was, "b": was, "name": "old"})
	after, _ := json.Marshal(map[string]any{"a": is, "name": "new"})
	got = differences(before, after)
	if len(got) != 2*(maxEntries+1)+1 || got[maxEntries] != "a, changed: 985 more" || got[2*maxEntries+1] != "b, removed: 985 more" || got[len(got)-1] != "name: old → new" {
		t.Errorf("%d lines: %q", len(got), got)
	}
	if i := slices.IndexFunc(got, func(s string) bool { return len([]rune(s)) > 2*maxValue }); i >= 0 {
		t.Errorf("a line of %d characters", len([]rune(got[i])))
	}
}
