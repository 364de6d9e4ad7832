package app

import (
	"testing"

	"postern/internal/export"
)

// Who exports nothing but what became of mail exports no record of logins and changes.
func TestExportsRecords(t *testing.T) {
	t.Parallel()
	of := func(all ...[]export.Stream) (out []*export.Exporter) {
		for _, s := range all {
			out = append(out, &export.Exporter{Streams: s})
		}
		return out
	}
	type streams = []export.Stream
	for name, c := range map[string]struct {
		have []*export.Exporter
		want bool
	}{
		"none":               {of(), false},
		"all":                {of(export.Streams), true},
		"events alone":       {of(streams{export.Events}), false},
		"logins alone":       {of(streams{export.Logins, export.Events}), false},
		"each to another":    {of(streams{export.Logins}, streams{export.Changes}), true},
		"logins and changes": {of(streams{export.Logins, export.Changes}), true},
	} {
		if got := exportsRecords(c.have); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
