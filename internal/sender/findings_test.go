package sender

import "testing"

func TestCleanKeepsOurQuotes(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Publish “v=spf1 -all”.": `Publish "v=spf1 -all".`, "‘a’ …": "'a' ...", "a\x1b[2Jé\u202e": "a?[2J??", "\xff": "?",
	} {
		if got := clean(in, 100); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := clean("12345", 3); got != "123..." {
		t.Errorf("%q", got)
	}
}
