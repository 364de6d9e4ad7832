package watch

import (
	"fmt"
	"math"
	"strings"
	"time"

	"postern/internal/relay"
)

const (
	hoursAge    = 35 * day // a month, with the run at its end
	hoursDays   = 14
	hoursEnough = 60 // hours with mail that were seen, or an empty hour may be chance
	hoursFloor  = 5  // messages
)

// late looks for mail at an hour of the day at which the key never sends, nor in
// the hours beside it.
func (s *scene) late(b *baseline) {
	set, on := s.set(relay.WatchHours)
	h := &b.hours
	if !on || float64(h.Mails) < math.Max(floor(set, hoursFloor)*set.Margin, 0.1*float64(h.Usual.Mean)) || !b.known(s.clock, hoursAge, hoursDays) {
		return
	}
	hour := int(s.hour % 24)
	subject := fmt.Sprintf("%02d:00", hour)
	around, solid, sum := h.around(hour)
	// One stray night in three hundred hours is no habit. What was a finding is known
	// from then on, and adds to it while it lasts.
	if (sum < hoursEnough || solid > 0 || around > sum/300) && s.live(relay.WatchHours, subject) == nil {
		return
	}
	s.report(relay.WatchFinding{
		Rule: relay.WatchHours, Subject: subject, Severity: relay.WatchWarning,
		Title: fmt.Sprintf("Key %s sends at %02d:00, when it never does", s.keyShort(), hour),
		Text: fmt.Sprintf("%s handed in %s messages within the hour until %s. In %d days of use it did not send at that time of the day: it sends between %s.",
			s.theKey(), number(float64(h.Mails)), s.when(), b.Days, h.words()),
		Fix: "If a job of yours runs at a new time, dismiss this and teach the watch. If not, look at what was sent and from where, and rotate the key. Hours of the week can be set for a key.",
		Evidence: relay.WatchEvidence{Expected: 0, Seen: float64(h.Mails), Unit: "messages in an hour", Times: []time.Time{s.at.UTC()},
			Values: map[string]float64{"hours_seen": float64(sum), "hour": float64(hour)}},
	})
}

// words names the hours of the day at which a key sends: "08:00 and 18:00".
func (h *hours) words() string {
	_, _, sum := h.around(0)
	var spans []string
	for i := 0; i < 24; i++ {
		if h.Active[i] <= sum/300 {
			continue
		}
		end := i
		for end < 23 && h.Active[end+1] > sum/300 {
			end++
		}
		spans = append(spans, fmt.Sprintf("%02d:00 and %02d:00", i, (end+1)%24))
		i = end
	}
	return strings.Join(spans, ", and between ")
}
