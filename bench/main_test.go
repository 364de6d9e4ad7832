package main

import "testing"

// A page that is made anew keeps what this command does not measure.
func TestKept(t *testing.T) {
	for page, want := range map[string]string{
		"":                                     "",
		"# Benchmarks\n\n## signed\n\ntable\n": "",
		"# B\n\ntable\n\n## What the figures say\n\nx\n\n## Keys and logins\n\ny\n": "\n## What the figures say\n\nx\n\n## Keys and logins\n\ny\n",
		"# B\n\ntable\n\n## Keys and logins\n\ny\n":                                 "\n## Keys and logins\n\ny\n",
	} {
		if got := kept(page); got != want {
			t.Errorf("%q: kept %q, want %q", page, got, want)
		}
	}
}
