package main

import (
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func TestSpanFlags(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text string
		want time.Duration // -1: refused
	}{
		{"0", 0}, {"90m", 90 * time.Minute}, {"1h30m", 90 * time.Minute}, {"2160h", 2160 * time.Hour},
		{"90d", 2160 * time.Hour}, {"1d", 24 * time.Hour},
		{"", -1}, {"90", -1}, {"-1h", -1}, {"-3d", -1}, {"9999999999d", -1}, {"a week", -1},
	} {
		got := time.Duration(-1)
		f := pflag.NewFlagSet("", pflag.ContinueOnError)
		spanVar(f, &got, "for", time.Hour, "")
		err := f.Parse([]string{"--for", tc.text})
		if tc.want < 0 && (err == nil || got != time.Hour) || tc.want >= 0 && (err != nil || got != tc.want) {
			t.Errorf("--for %q: %v, %v; want %v", tc.text, got, err, tc.want)
		}
	}
}
