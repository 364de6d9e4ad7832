package app

import (
	"slices"
	"testing"
	"time"

	"postern/internal/finding"
	"postern/internal/relay"
)

// Every domain counts under a word of the closed set, or not at all.
func TestDomainState(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	for want, d := range map[string]relay.Domain{
		"pending":  {State: relay.DomainPending},
		"asserted": {State: relay.DomainAsserted},
		"verified": {State: relay.DomainVerified},
		"failing":  {State: relay.DomainVerified, FailingSince: now},
		"paused":   {State: relay.DomainPaused, FailingSince: now},
		"failed":   {State: relay.DomainFailed, FailingSince: now},
		"disabled": {State: relay.DomainVerified, DisabledAt: now},
	} {
		if got := domainState(&d); got != want || !slices.Contains(domainStates, got) {
			t.Errorf("%+v is %q, want %q", d, got, want)
		}
	}
	for _, d := range []relay.Domain{{State: relay.DomainVerified, DeletedAt: now}, {State: relay.DomainVerified, System: true}} {
		if got := domainState(&d); got != "" {
			t.Errorf("%+v counts as %q", d, got)
		}
	}
}

func TestZoneIsWell(t *testing.T) {
	t.Parallel()
	for severity, want := range map[finding.Severity]bool{finding.OK: true, finding.Info: true, finding.Warning: false, finding.Error: false, finding.Unknown: false} {
		h := zoneHealth{findings: []finding.Finding{{Severity: finding.OK}, {Severity: severity}}}
		if h.well() != want {
			t.Errorf("%s: well is %v", severity, !want)
		}
	}
}
