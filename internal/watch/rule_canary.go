package watch

import (
	"fmt"
	"strings"
	"time"

	"postern/internal/relay"
)

// canary makes a finding of a canary key that was tried: nobody has a use for it.
func (s *scene) canary(addr, protocol, mechanism, text string) {
	if _, on := s.set(relay.WatchCanary); !on || s.key.IsZero() {
		return
	}
	p, host := relay.WatchPlace{Addr: addr}, addr
	if a, err := parseAddr(addr); err == nil {
		o := s.e.origin(a)
		p, host = o.show(), hostOf(a) // who has an IPv6 /64 has more addresses than anybody can be told of
	}
	by := strings.TrimSpace(printable(protocol, 20) + " " + printable(mechanism, 30))
	if by != "" {
		by = " by " + by
	}
	f := relay.WatchFinding{
		Rule: relay.WatchCanary, Subject: host, Severity: relay.WatchCritical,
		Title: "Canary key " + s.keyShort() + " was tried from " + p.Addr,
		Text: fmt.Sprintf("%s is a canary: nobody has a use for it. It was tried from %s on %s%s. Whoever did has read the place where it was left.",
			s.theKey(), placeWords(p), s.when(), by),
		Fix:      "Find out who could read that place, and rotate every other secret that is there.",
		Evidence: relay.WatchEvidence{Seen: 1, Unit: "attempts", Places: []relay.WatchPlace{p}, Times: []time.Time{s.at.UTC()}},
	}
	if text != "" {
		f.Evidence.Samples = []string{printable(text, 300)}
	}
	s.reportUnusual(f)
}
