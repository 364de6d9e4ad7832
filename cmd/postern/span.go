package main

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"postern/internal/config"
)

// span is a length of time on the command line: as Go writes one ("90m",
// "1h30m"), or in days as the configuration does ("90d"). Nobody counts the
// hours of 90 days.
type span struct{ to *time.Duration }

// spanVar makes a flag for a length of time.
func spanVar(f *pflag.FlagSet, to *time.Duration, name string, value time.Duration, usage string) {
	*to = value
	f.Var(span{to}, name, usage)
}

// parseSpan reads a length of time, which is never negative.
func parseSpan(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		var days config.Duration
		if days, err = config.ParseDuration(s); err == nil {
			d = days.Duration
		}
	}
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no length of time: write it as \"30m\", \"36h\" or \"90d\"", s)
	}
	return d, nil
}

// Set implements pflag.Value.
func (s span) Set(text string) error {
	d, err := parseSpan(text)
	if err == nil {
		*s.to = d
	}
	return err
}

// String implements pflag.Value.
func (s span) String() string {
	if s.to == nil || *s.to == 0 {
		return "" // cobra then shows no default
	}
	return config.Duration{Duration: *s.to}.String()
}

// Type implements pflag.Value.
func (span) Type() string { return "time" }
