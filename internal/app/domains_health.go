package app

import (
	"context"
	"slices"
	"sync"
	"time"

	"postern/internal/api"
	"postern/internal/finding"
	"postern/internal/relay"
	"postern/internal/sender"
)

// zoneHealth is what was found when the zone was looked at from outside.
type zoneHealth struct {
	at       time.Time
	findings []finding.Finding
}

// well reports whether nothing is to be done.
func (h *zoneHealth) well() bool {
	worst := finding.Worst(h.findings)
	return worst == finding.OK || worst == finding.Info
}

// lookAtZone asks as others do, logs what is new, and reports whether all is well.
func (a *App) lookAtZone(ctx context.Context) bool {
	c := a.opt.Config
	found := sender.ZoneHealth(ctx, a.senders.authority, c.DNS.Zone, c.DNS.NameServers)
	if ctx.Err() != nil {
		return true
	}
	now := &zoneHealth{at: time.Now().UTC(), findings: found}
	before := a.senders.health.Swap(now)
	if before == nil {
		before = &zoneHealth{}
	}
	for _, f := range found {
		same := func(x finding.Finding) bool { return x.Code == f.Code }
		switch {
		case slices.ContainsFunc(before.findings, same):
		case f.Severity == finding.OK || f.Severity == finding.Info:
			a.log.Info("app: "+f.Text, "code", f.Code)
		default:
			a.log.Warn("app: "+f.Text, "code", f.Code, "fix", f.Fix)
		}
	}
	return now.well()
}

// zoneStatus is what Status says of the zone; nil: none is served.
func (a *App) zoneStatus() *api.ZoneStatus {
	zone := a.senders.zone
	if zone == nil {
		return nil
	}
	s := &api.ZoneStatus{Name: a.opt.Config.DNS.Zone, Serial: zone.Serial(), Findings: []finding.Finding{}}
	if h := a.senders.health.Load(); h != nil {
		s.LookedAt, s.Healthy, s.Findings = h.at, h.well(), h.findings
	}
	return s
}

// domainStates are all words of domainState.
var domainStates = []string{
	string(relay.DomainPending), string(relay.DomainAsserted), string(relay.DomainVerified), stateFailing, string(relay.DomainPaused),
	string(relay.DomainFailed), stateDisabled,
}

const (
	stateFailing  = "failing" // verified, and its records are gone
	stateDisabled = "disabled"
)

// domainState is one word for how a domain is; "" for those that do not count.
func domainState(d *relay.Domain) string {
	switch {
	case d.System, !d.DeletedAt.IsZero():
		return ""
	case !d.DisabledAt.IsZero():
		return stateDisabled
	case d.State == relay.DomainVerified && !d.FailingSince.IsZero():
		return stateFailing
	}
	return string(d.State)
}

// domainTally is the last count of domains by state. It stands until a
// domain changes.
type domainTally struct {
	mu       sync.Mutex
	revision int64
	counts   map[string]int
}

// countDomains counts the domains by state. The map is not to be changed.
func (a *App) countDomains() map[string]int {
	t := &a.senders.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	revision := a.directory.DomainsRevision()
	if t.counts != nil && t.revision == revision {
		return t.counts
	}
	counts := make(map[string]int, len(domainStates))
	for _, s := range domainStates {
		counts[s] = 0
	}
	for d := range a.directory.AllDomains() {
		if s := domainState(&d); s != "" {
			counts[s]++
		}
	}
	t.counts, t.revision = counts, revision
	return counts
}
