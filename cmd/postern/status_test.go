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

// Status says how far what reads the logs has come, and why it does not go on.
func TestStatusShowsReaders(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &cli{streams: streams{out: &out}}
	now := time.Now()
	if err := c.showConsumers([]api.Consumer{
		{Name: "index", Stream: "events", Configured: true, MovedAt: now},
		{Name: "watch", Stream: "logins", Configured: true, Records: 7, Oldest: now.Add(-2 * time.Hour)},
		{Name: "export siem", Stream: "changes", Configured: true, Records: 12, Oldest: now.Add(-48 * time.Hour), Stands: true, Error: "dial:\x1b[31m\nrefused"},
		{Name: "export other", Stream: "events", Configured: true, Records: 3, Oldest: now.Add(-30 * time.Hour), Stands: true},
		{Name: "export old", Stream: "events", Records: 1, Oldest: now, Stands: true},
		{Name: "export far", Stream: "events", Elsewhere: true},
		{Name: "export far", Stream: "logins", Elsewhere: true, Records: 1, Oldest: now, Stands: true},
	}, now); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	for i, want := range []string{
		"", "READER STREAM BEHIND LAST TOOK", "index events none " + show(now) + " -", "watch logins 7 for 2h0m0s - -", "export siem changes 12 for 48h0m0s - dial:?[31m?refused",
		"export other events 3 for 30h0m0s - stands: the log of the node that runs it says why", "export old events 1 for 0s - not in this node's configuration, and no other node sends it",
		"export far events none - not in this node's configuration; another node sends it",
		"export far logins 1 for 0s - not in this node's configuration; stands: the log of the node that runs it says why",
	} {
		if got := strings.Join(strings.Fields(lines[i]), " "); got != want {
			t.Errorf("line %d: %q, want %q", i, got, want)
		}
	}
}
