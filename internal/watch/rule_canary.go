package watch

import (
	"fmt"
	"strings"
	"time"

	"postern/internal/relay"
)

// canaryHosts is how many hosts that try a canary have a finding of their own within a
// week: it is told as soon as possible, and whoever has many hosts must neither fill a
// mailbox nor make other findings be forgotten.
const canaryHosts = 20

// allHosts is the subject of the finding of all further ones.
const allHosts = "others"

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
	if f.Tenant, f.Key = s.tenant, s.key; s.e.share.isUsual(&f) {
		return
	}
	if s.live(f.Rule, f.Subject) == nil && s.canaries() >= canaryHosts {
		f.Subject, f.Title = allHosts, "Canary key "+s.keyShort()+" was tried from many addresses"
		f.Text = fmt.Sprintf("%s is a canary: nobody has a use for it. %d addresses that tried it of late have findings of their own; "+
			"this one is about all others, since %s on %s%s. Many have read the place where it was left.", s.theKey(), canaryHosts, placeWords(p), s.when(), by)
	}
	s.reportUnusual(f)
}

// canaries counts the findings about the key that new signs add to.
func (s *scene) canaries() (n int) {
	for k := range s.e.open {
		if k.rule == relay.WatchCanary && k.tenant == s.tenant && k.key == s.key && s.live(k.rule, k.subject) != nil {
			n++
		}
	}
	return n
}
