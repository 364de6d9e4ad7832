package api

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/relay"
)

func TestRetryParse(t *testing.T) {
	good := Retry{Intervals: []string{"5m", "15m", "1h"}, Lifetime: "96h", DelayNotice: "4h"}
	got, err := good.parse()
	want := relay.Retry{Intervals: []time.Duration{5 * time.Minute, 15 * time.Minute, time.Hour}, Lifetime: 96 * time.Hour, DelayNotice: 4 * time.Hour}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	if got, err := (&Retry{}).parse(); err != nil || got.Lifetime != 0 || got.Intervals != nil {
		t.Errorf("nothing asked for: %v %v", got, err)
	}
	for field, in := range map[string]Retry{
		"intervals.0":  {Intervals: []string{"soon"}},
		"intervals.1":  {Intervals: []string{"5m", "-5m"}},
		"lifetime":     {Lifetime: "10000h"},
		"delay_notice": {DelayNotice: "1s"},
		"intervals":    {Intervals: make([]string, 65)},
	} {
		_, err := in.parse()
		e, ok := err.(*relay.Error)
		if !ok || e.Kind != relay.Invalid || e.Field != field || e.Public == "" {
			t.Errorf("%s: %v", field, err)
		}
	}
}
