package main

import (
	"bytes"
	"strings"
	"testing"
)

// What others wrote is shown on the operator's terminal as text: it moves no
// cursor, makes no lines and hides nothing. (HD-13.)
func TestHostileTextIsShownAsText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"\x1b[2J\x1b]0;title\a":        "?[2J?]0;title?",
		"invoice\u202efdp.exe":         "invoice?fdp.exe",
		"two\r\nlines\u2028of\u0085it": "two??lines?of?it",
		"zero\u200bwidth\ufeff":        "zero?width?",
		"a\ttab":                       "a?tab",
		"not \xff UTF-8":               "not \ufffd UTF-8",
		"plain ünïcode":                "plain ünïcode",
	} {
		if got := show(in); got != want {
			t.Errorf("show(%q) = %q, want %q", in, got, want)
		}
		var out bytes.Buffer
		if err := pairs(&out, "subject", in); err != nil || strings.Count(out.String(), "\n") != 1 || !strings.Contains(out.String(), want) {
			t.Errorf("pairs of %q: %q, %v", in, &out, err)
		}
		out.Reset()
		table := newTable(&out, "A", "B")
		table.row(in, "b")
		if err := table.end(); err != nil || strings.Count(out.String(), "\n") != 2 || !strings.Contains(out.String(), want) {
			t.Errorf("table with %q: %q, %v", in, &out, err)
		}
	}
}
