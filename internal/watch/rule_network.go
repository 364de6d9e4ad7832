package watch

import (
	"fmt"
	"strings"
	"time"

	"postern/internal/relay"
)

const (
	// settled is how long a key must have kept to its networks before another one
	// says something. Until then it may be a pool that is still showing itself.
	settled = 10
	// networkAge, networkDays: before that a key's networks are being learned.
	networkAge  = 7 * day
	networkDays = 4
)

// placesKnown reports whether enough is known of from where a key is used.
func (b *baseline) placesKnown(c clock) bool {
	return b.known(c, networkAge, networkDays) || b.known(c, 3*networkAge, 3)
}

// network looks for a key that is used from a network or country where it never
// was. Another network of a provider that the key uses in a country that it knows
// is none; neither is another /24 in a /16 that it knows.
func (s *scene) network(b *baseline, o *origin) {
	w := &b.whereabouts
	wide, provider := o.wide.String(), ""
	if o.ASN != 0 {
		provider = asnKey(o.ASN)
	}
	seen := w.Networks.find(wide)
	country := o.Country != "" && w.Countries.find(o.Country) == nil
	if seen != nil && !country {
		if seen.Odd {
			s.again(relay.WatchNetwork, o)
		} else {
			s.remember(w, o, wide, provider)
		}
		return
	}
	set, on := s.set(relay.WatchNetwork)
	strange, why := s.strange(b, o, country, provider)
	learned := b.placesKnown(s.clock)
	if !on || !learned || !strange {
		s.remember(w, o, wide, provider)
		if seen == nil {
			w.NewAt = s.day
		}
		return
	}
	if country {
		w.Countries.see(o.Country, s.day, maxCountries).Odd = true
	}
	w.Networks.see(wide, s.day, maxNetworks).Odd = true
	s.reportNetwork(b, o, country, why, set)
}

// remember takes the networks of a use into what is usual.
func (s *scene) remember(w *whereabouts, o *origin, wide, provider string) {
	w.Networks.see(wide, s.day, maxNetworks)
	if o.Country != "" {
		w.Countries.see(o.Country, s.day, maxCountries)
	}
	if provider != "" {
		w.Providers.see(provider, s.day, maxProviders)
	}
}

// strange judges a network that is new for a key.
func (s *scene) strange(b *baseline, o *origin, country bool, provider string) (bool, string) {
	w := &b.whereabouts
	if country {
		if len(w.Countries) == 0 || w.Countries.roams(5) {
			return false, ""
		}
		return true, "It has never been used from " + countryWords(o.Country) + " before"
	}
	if provider != "" && w.Providers.find(provider) != nil {
		return false, ""
	}
	if len(w.Networks) == 0 || w.Networks.roams(5) || w.NewAt != 0 && s.day-w.NewAt < settled {
		return false, ""
	}
	if provider != "" {
		return true, "It has never been used from a network of AS" + provider + " before"
	}
	return true, "It has never been used from a network near " + o.near.String() + " before"
}

func (s *scene) reportNetwork(b *baseline, o *origin, country bool, why string, _ relay.WatchRuleSetting) {
	w := &b.whereabouts
	p := o.show()
	f := relay.WatchFinding{
		Rule: relay.WatchNetwork, Subject: o.wide.String(), Severity: relay.WatchNotice,
		Title: "Key " + s.keyShort() + " is used from a new network, " + p.Network,
	}
	if country {
		f.Subject, f.Severity = o.Country, relay.WatchWarning
		f.Title = "Key " + s.keyShort() + " is used from a new country, " + countryWords(o.Country)
	}
	f.Evidence = relay.WatchEvidence{Places: []relay.WatchPlace{p}, Times: []time.Time{s.at.UTC()}, Was: s.usualPlaces(w), Now: placeWords(p),
		Values: map[string]float64{"networks": float64(len(w.Networks)), "days": float64(b.Days)}}
	f.Text = fmt.Sprintf("%s was used from %s on %s. %s: in %d days of use it came from %s.",
		s.theKey(), placeWords(p), s.when(), why, b.Days, s.usualPlaces(w))
	f.Fix = "If somebody of yours has moved it there, dismiss this and teach the watch. If not, the key is in other hands: rotate or revoke it, look at what it sent, and restrict it to your networks."
	s.report(f)
}

// again adds a use to the finding that its network is. It is answered as the settings
// say now, like what is reported anew; a rule that is off asks for nothing.
func (s *scene) again(rule relay.WatchRule, o *origin) {
	set, on := s.set(rule)
	if !on {
		set.Answer = ""
	}
	for _, subject := range []string{o.Country, o.wide.String()} {
		if f := s.live(rule, subject); subject != "" && f != nil {
			s.e.add(f, &relay.WatchFinding{Severity: f.Severity, LastAt: s.at.UTC(), Answer: set.Answer, Evidence: relay.WatchEvidence{Places: []relay.WatchPlace{o.show()}}})
			return
		}
	}
	// The finding has faded and nobody said that it is real: a first use is first
	// once.
	if b := s.e.keys[s.key]; b != nil {
		for _, m := range []*mark{b.Networks.find(o.wide.String()), b.Countries.find(o.Country)} {
			if m != nil {
				m.Odd = false
			}
		}
	}
}

// usualPlaces names from where a key is usually used.
func (s *scene) usualPlaces(w *whereabouts) string {
	names := func(m marks, word func(string) string) []string {
		var out []string
		for i := range m {
			if !m[i].Odd && len(out) < 5 {
				out = append(out, word(m[i].What))
			}
		}
		return out
	}
	if c := names(w.Countries, countryWords); len(c) > 0 {
		return strings.Join(c, ", ")
	}
	if n := names(w.Networks, func(n string) string { return n }); len(n) > 0 {
		return strings.Join(n, ", ")
	}
	return "nowhere that is known"
}

// asnKey is how a provider stands among the marks.
func asnKey(asn uint) string { return fmt.Sprint(asn) }

func countryWords(code string) string { return printable(code, 10) }
