package watch

import (
	"fmt"
	"net/netip"
	"time"

	"postern/internal/relay"
)

func parseAddr(s string) (netip.Addr, error) { return netip.ParseAddr(s) }

// alert takes in an alert event: of a canary, or of a domain.
func (s *scene) alert(a *relay.Alert) {
	switch a.Kind {
	case relay.AlertCanary:
		s.canary(a.Addr, "", "", a.Text)
	case relay.AlertDomain:
		s.domain(a)
	}
}

// domain makes a finding of a domain whose records vanished, and ends it when
// they are back.
func (s *scene) domain(a *relay.Alert) {
	s.key = relay.KeyID{}
	name := printable(a.Domain, 255)
	severity, state := relay.WatchWarning, ""
	switch a.State {
	case "failing":
		state = "Mail still goes, for as long as the grace lasts."
	case "paused":
		state = "Mail as it is answered 450 until they are back."
		severity = relay.WatchCritical
	case "failed":
		state = "Mail as it is refused."
		severity = relay.WatchCritical
	case "recovered", "verified":
		s.e.finish(findingKey{relay.WatchDomain, s.tenant, relay.KeyID{}, name}, s.at)
		return
	default:
		return
	}
	if _, on := s.set(relay.WatchDomain); !on || name == "" {
		return
	}
	s.reportUnusual(relay.WatchFinding{
		Rule: relay.WatchDomain, Subject: name, Severity: severity,
		Title: "The DNS records of " + name + " have vanished",
		Text:  fmt.Sprintf("The DNS records that prove the domain %s are gone since %s. %s %s", name, s.when(), state, printable(a.Text, 500)),
		Fix:   "Publish the records again: `postern domain show " + name + "` lists them. If you did not take them away, ask who can change your DNS.",
		Evidence: relay.WatchEvidence{Seen: 1, Unit: "checks", Times: []time.Time{s.at.UTC()}, Was: "verified", Now: a.State,
			Samples: []string{printable(a.Text, 300)}},
	})
}
