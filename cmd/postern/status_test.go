package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"postern/internal/api"
	"postern/internal/finding"
)

// Status says how domains and the zone are, and what to do; text of the DNS does
// nothing to the terminal.
func TestStatusShowsDomainsAndZone(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &cli{streams: streams{out: &out}}
	s := api.Status{
		Ready: true, StartedAt: time.Now(), Domains: map[string]int{"verified": 2, "failing": 1, "pending": 0},
		Zone: &api.ZoneStatus{Name: "mail.relay.example", LookedAt: time.Now(), Findings: []finding.Finding{
			{Severity: finding.Warning, Text: "These do not answer: \x1b[31mns2.", Fix: "Open port 53."},
		}},
	}
	if err := c.showStatus(s); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2 verified, 1 failing\n", "mail.relay.example: needs attention, see below\n", "warning: These do not answer", "Open port 53."} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "\x1b") || strings.Contains(out.String(), "pending") {
		t.Errorf("%q", out.String())
	}
	out.Reset()
	if err := c.showStatus(api.Status{Ready: true, Zone: &api.ZoneStatus{Name: "z.example", LookedAt: time.Now(), Healthy: true}}); err != nil || !strings.Contains(out.String(), "z.example: healthy") {
		t.Errorf("%v\n%s", err, out.String())
	}
}
