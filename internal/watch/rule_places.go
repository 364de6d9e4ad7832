package watch

import (
	"fmt"
	"math"
	"slices"
	"time"

	"postern/internal/relay"
)

// placesFloor is how many places in a day are worth a finding at least.
const placesFloor = 5

// places looks for a key that is used from many more places in a day than it ever
// was: it stands in a list that others pass on.
func (s *scene) places(b *baseline, o *origin) {
	w := &b.whereabouts
	h := uint32(hash(o.unit()))
	if slices.Contains(w.Today, h) || len(w.Today) >= maxToday {
		return
	}
	w.Today = append(w.Today, h)
	set, on := s.set(relay.WatchPlaces)
	usual := float64(w.Places.Max)
	limit := math.Max(floor(set, placesFloor), set.Margin*(2*usual+3))
	if !on || float64(len(w.Today)) < limit || !b.known(s.clock, networkAge, networkDays+1) {
		return
	}
	w.Many = true
	p := o.show()
	s.report(relay.WatchFinding{
		Rule: relay.WatchPlaces, Severity: relay.WatchWarning,
		Title: fmt.Sprintf("Key %s is used from %d places in a day", s.keyShort(), len(w.Today)),
		Text: fmt.Sprintf("%s was used from %d different places until %s on one day, the last of them %s. Until then it came from no more than %s a day.",
			s.theKey(), len(w.Today), s.when(), placeWords(p), number(math.Ceil(usual))),
		Fix: "If these are new servers of yours, dismiss this and teach the watch. If not, the key was passed on: rotate it at once, and restrict it to your networks.",
		Evidence: relay.WatchEvidence{Expected: math.Ceil(usual), Seen: float64(len(w.Today)), Unit: "places in a day", Places: []relay.WatchPlace{p},
			Times: []time.Time{s.at.UTC()}, Values: map[string]float64{"limit": limit}},
	})
}
