package finding

import "testing"

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
