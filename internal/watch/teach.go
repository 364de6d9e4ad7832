package watch

import (
	"slices"

	"postern/internal/relay"
)

// teach makes what a finding saw normal for its key.
func (b *baseline) teach(f *relay.WatchFinding) {
	seen := f.Evidence.Seen
	switch f.Rule {
	case relay.WatchNetwork:
		b.settleNetworks(f, true)
	case relay.WatchTravel:
		if !slices.Contains(b.Pairs, f.Subject) {
			if len(b.Pairs) >= maxPairs {
				b.Pairs = b.Pairs[1:]
			}
			b.Pairs = append(b.Pairs, f.Subject)
		}
	case relay.WatchPlaces:
		b.Places.Max = max(b.Places.Max, float32(seen))
		b.Many = false
	case relay.WatchBurst:
		b.teachBurst(f)
	case relay.WatchHours:
		hour := int(f.Evidence.Values["hour"]) % 24
		b.Active[hour]++
		b.Solid[hour]++
	case relay.WatchRecipients:
		b.NewDay.accept(seen, f.Evidence.Values["rate"])
		b.NewHour.Odd = false
	case relay.WatchBounces:
		b.BounceDay.accept(seen, f.Evidence.Values["rate"])
		b.BounceHour.accept(seen, f.Evidence.Values["rate"])
	case relay.WatchUnknown:
		b.UnknownDay.accept(seen, f.Evidence.Values["rate"])
		b.UnknownHour.accept(seen, f.Evidence.Values["rate"])
	case relay.WatchDowngrade:
		b.teachMeans(f.Evidence.Now)
	}
}

// teachBurst makes a volume usual: for that hour of the week, and as the largest
// hour.
func (b *baseline) teachBurst(f *relay.WatchFinding) {
	seen := f.Evidence.Seen
	b.Excess.Max = max(b.Excess.Max, float32(b.excess(seen, f.Evidence.Values["usual"])))
	b.Peak = max(b.Peak, float32(seen))
	b.Burst = false
}

// teachMeans adds a TLS version or a mechanism by its name.
func (b *baseline) teachMeans(name string) {
	if v := slices.Index(tlsNames, name); v >= 0 {
		b.TLS |= 1 << v
		return
	}
	if v := mechStrength(name); v >= 0 {
		b.Mechanisms |= 1 << v
		if len(b.Names) < 8 && !slices.Contains(b.Names, name) {
			b.Names = append(b.Names, name)
		}
	}
}

// settleNetworks makes the networks of a finding usual, or strange again.
func (b *baseline) settleNetworks(f *relay.WatchFinding, usual bool) {
	set := func(m *marks, what string, room int) {
		k := m.find(what)
		switch {
		case what == "" || k != nil && !k.Odd:
		case !usual:
			m.forget(what)
		case k != nil:
			k.Odd = false
		default:
			m.see(what, b.Day, room)
		}
	}
	for _, p := range f.Evidence.Places {
		a, err := parseAddr(p.Addr)
		if err != nil {
			continue
		}
		o := (&Engine{}).origin(a)
		set(&b.Networks, o.wide.String(), maxNetworks)
		set(&b.Countries, p.Country, maxCountries)
		if usual && p.ASN != 0 {
			b.Providers.see(asnKey(p.ASN), b.Day, maxProviders)
		}
	}
}

// unlearn makes what a finding saw strange again, where that was noted.
func (b *baseline) unlearn(f *relay.WatchFinding) {
	switch f.Rule {
	case relay.WatchNetwork:
		b.settleNetworks(f, false)
	case relay.WatchHours:
		hour := int(f.Evidence.Values["hour"]) % 24
		b.Active[hour], b.Solid[hour] = 0, 0
		if b.Hour%24 == int64(hour) {
			b.Mails = 0 // the hour that is open, too
		}
	}
}

// teach makes normal what no key's baseline knows of: an account that has so many
// failures, an address that may fail, a canary that is tried from there, a domain
// whose records come and go.
func (s *shared) teach(f *relay.WatchFinding) {
	switch f.Rule {
	case relay.WatchSpread:
		a := s.Accounts[f.Account]
		if a == nil {
			s.dropAccount()
			a = &failing{}
			s.Accounts[f.Account] = a
		}
		if f.Evidence.Unit == "addresses in an hour" {
			a.Hours.Max = max(a.Hours.Max, float32(f.Evidence.Seen))
		}
		a.Days.Max = max(a.Days.Max, float32(f.Evidence.Seen))
		a.Odd = false
	case relay.WatchSweep:
		if !slices.Contains(s.Allowed, f.Subject) {
			if len(s.Allowed) >= maxAllowed {
				s.Allowed = s.Allowed[1:]
			}
			s.Allowed = append(s.Allowed, f.Subject)
		}
	case relay.WatchCanary, relay.WatchDomain:
		s.makeUsual(f)
	default:
		return
	}
	s.dirty = true
}
