package watch

import (
	"fmt"
	"math"
	"slices"
	"time"

	"postern/internal/relay"
)

const (
	farKM     = 500  // less may be the error of a database of places
	fastKMH   = 1000 // faster than any airline
	manyPairs = 4    // a key that is used in so many pairs of places side by side is not one person's
)

// travel looks for a key that is used in two places that nobody can have
// travelled between in the time. Places that were used side by side while the key
// was learned are two servers, and no journey; so are two regions of one provider.
func (s *scene) travel(b *baseline, o *origin) {
	if !o.known || !o.Located {
		return
	}
	w := &b.whereabouts
	cell, was := o.cell(), *w
	set, on := s.set(relay.WatchTravel)
	w.Lat, w.Lon, w.LastU, w.Cell, w.City, w.Land, w.ASN, w.Addr = float32(o.Lat), float32(o.Lon), s.at.Unix(), cell, printable(o.City, 60), o.Country, o.ASN, o.addr.String()
	if was.Cell == "" || was.Cell == cell {
		return
	}
	km := distance(float64(was.Lat), float64(was.Lon), o.Lat, o.Lon)
	hours := math.Max(math.Abs(float64(s.at.Unix()-was.LastU))/3600, 1.0/60)
	if km < farKM*set.Margin || km/hours < fastKMH*set.Margin || was.ASN != 0 && was.ASN == o.ASN {
		return
	}
	pair := pairOf(was.Cell, cell)
	if slices.Contains(w.Pairs, pair) {
		return
	}
	newLand := w.Countries.find(o.Country) == nil || w.Countries.find(was.Land) == nil
	if !on || !b.placesKnown(s.clock) || len(w.Pairs) >= manyPairs && !newLand {
		if len(w.Pairs) < maxPairs {
			w.Pairs = append(w.Pairs, pair)
		}
		return
	}
	here, there := o.show(), relay.WatchPlace{Addr: was.Addr, Country: was.Land, City: was.City, ASN: was.ASN}
	s.report(relay.WatchFinding{
		Rule: relay.WatchTravel, Subject: pair, Severity: relay.WatchWarning,
		Title: fmt.Sprintf("Key %s was in %s and %s within %s", s.keyShort(), cityWords(there), cityWords(here), spanWords(hours)),
		Text: fmt.Sprintf("%s was used from %s on %s, %s after it was used from %s. That is %s km: nobody travels so fast, so two have the key.",
			s.theKey(), placeWords(here), s.when(), spanWords(hours), placeWords(there), number(km)),
		Fix: "If both are yours (a second server, a VPN), dismiss this and teach the watch. If not, rotate the key, and give each place a key of its own.",
		Evidence: relay.WatchEvidence{Expected: fastKMH, Seen: math.Round(km / hours), Unit: "km/h", Places: []relay.WatchPlace{here, there},
			Times: []time.Time{s.at.UTC(), time.Unix(was.LastU, 0).UTC()}, Values: map[string]float64{"km": math.Round(km), "hours": math.Round(hours*100) / 100}},
	})
}

// pairOf names two places, whichever came first.
func pairOf(a, b string) string {
	if b < a {
		a, b = b, a
	}
	return a + " – " + b
}

func cityWords(p relay.WatchPlace) string {
	switch {
	case p.City != "" && p.Country != "":
		return printable(p.City, 60) + " (" + printable(p.Country, 10) + ")"
	case p.City != "" || p.Country != "":
		return printable(p.City+p.Country, 60)
	}
	return p.Addr
}

func spanWords(hours float64) string {
	if hours < 1.5 {
		return fmt.Sprintf("%.0f minutes", math.Max(hours*60, 1))
	}
	return fmt.Sprintf("%.1f hours", hours)
}
