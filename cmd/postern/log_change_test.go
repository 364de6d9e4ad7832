package main

import (
	"strings"
	"testing"
)

func TestChangesSayWhatTheyChanged(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, before, after, want string }{
		{"a list", `{"a":1,"rules":[{"id":1,"network":"192.0.2.0/24","created_at":"x"}]}`, `{"a":1,"rules":[{"id":2,"network":"0.0.0.0/0","updated_at":"y"}]}`,
			`rules: without {"id":1,"network":"192.0.2.0/24"}` + "\n" + `rules: with {"id":2,"network":"0.0.0.0/0"}`},
		{"the first entry", `{"rules":null}`, `{"rules":["a"]}`, "rules: with a"},
		{"a member of a member", `{"n":"x"}`, `{"n":"x","policy":{"max_key_life":7776000000000000}}`, "policy.max_key_life: 7776000000000000, was nothing"},
		{"a value that went", `{"disabled_at":"2026"}`, `{}`, "disabled_at: nothing, was 2026"},
		{"a hostile name", `{"name":"a"}`, `{"name":"\u001b[2Jb\n"}`, "name: ?[2Jb?, was a"},
		{"nothing", `{"a":[1,2]}`, `{"a":[1,2]}`, ""},
		{"made", ``, `{"a":1}`, ""},
		{"no object", `[1]`, `"a"`, ""},
	} {
		if got := strings.Join(differences([]byte(tc.before), []byte(tc.after)), "\n"); got != tc.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tc.name, got, tc.want)
		}
	}
}
