package people

import (
	"strings"
	"testing"
)

func TestLocalLinks(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]string{
		"http://localhost:8025":       "http://localhost:8025, which is the relay's own machine: they work only there, and behind \"ssh -L 8025:localhost:8025\"",
		"http://127.0.0.1:8025/relay": "ssh -L 8025:localhost:8025",
		"https://[::1]":               "ssh -L 443:localhost:443",
		"http://localhost":            "ssh -L 80:localhost:80",
		"https://relay.example.org":   "",
		"https://localhost.example":   "",
		"https://192.0.2.1:8443":      "",
		"":                            "",
		"://":                         "",
	} {
		got := LocalLinks(base)
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q", base, got)
		}
		if want != "" && !strings.Contains(got, "the operator sets http.url") {
			t.Errorf("%s: it does not say what helps: %q", base, got)
		}
	}
}
