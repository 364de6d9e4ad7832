package finding

import (
	"strings"
	"testing"
)

func TestWorst(t *testing.T) {
	of := func(s ...Severity) (fs []Finding) {
		for _, one := range s {
			fs = append(fs, Finding{Severity: one})
		}
		return fs
	}
	for _, tt := range []struct {
		have []Finding
		want Severity
	}{
		{nil, OK},
		{of(OK, Info), Info},
		{of(Warning, Info, OK), Warning},
		{of(Warning, Unknown), Unknown},
		{of(Unknown, Error, Warning), Error},
	} {
		if got := Worst(tt.have); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.have, got, tt.want)
		}
	}
}

func TestQuote(t *testing.T) {
	for have, want := range map[string]string{
		"plain":                      "“plain”",
		"a\x1b[31mb\r\nc\u202ed\xff": "“a?[31mb??c?d?”",
		strings.Repeat("é", 121):     "“" + strings.Repeat("é", 120) + "...”",
	} {
		if got := Quote(have); got != want {
			t.Errorf("%q: %q, want %q", have, got, want)
		}
	}
}
