package relay

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Hours are hours of the week, on the clock of the account's time zone. The zero
// value is always open.
//
// In text they are entries with ";" between them. An entry is days, times, or
// both: "mon-fri 08-18", "sat,sun 10:30-12:00", "sun" (all day), "22-06" (every
// day). Lists have ",". A time range is [from, to): 24 is the end of the day. A
// range that ends before it begins ends on the next day: "fri 22-06" is the
// night to Saturday. Days may wrap as well: "sat-mon".
type Hours struct {
	spans []span // sorted, disjoint, never touching but at the week's ends
}

// span is [from, to) in minutes since Monday 00:00, within one week.
type span struct{ from, to int }

const (
	dayMinutes  = 24 * 60
	weekMinutes = 7 * dayMinutes
	maxHours    = 1000 // octets of text: enough for every hour of a week by itself
)

var dayNames = [7]string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}

// ParseHours reads hours of the week; see Hours for the form. Empty text is
// always open. An error is a relay.Error of kind Invalid for the field "hours".
func ParseHours(s string) (Hours, error) {
	if len(s) > maxHours {
		return Hours{}, badHours("they are longer than %d characters", maxHours)
	}
	if strings.TrimSpace(s) == "" {
		return Hours{}, nil
	}
	var spans []span
	for entry := range strings.SplitSeq(strings.ToLower(s), ";") {
		days, times, err := parseEntry(strings.TrimSpace(entry))
		if err != nil {
			return Hours{}, err
		}
		for d := range dayNames {
			if !days[d] {
				continue
			}
			for _, t := range times {
				spans = appendSpan(spans, span{d*dayMinutes + t.from, d*dayMinutes + t.to})
			}
		}
	}
	return Hours{merge(spans)}, nil
}

func badHours(format string, args ...any) error {
	return &Error{
		Kind: Invalid, Field: "hours",
		Public: "The hours are not understood: " + fmt.Sprintf(format, args...) + `. Write them like "mon-fri 08-18; sat 10:30-12:00".`,
	}
}

// parseEntry reads one entry: which days, and which times of each (to may pass
// the end of the day).
func parseEntry(entry string) (days [7]bool, times []span, err error) {
	if entry == "" {
		return days, nil, badHours("an entry is empty")
	}
	first := strings.IndexAny(entry, "0123456789")
	if first < 0 {
		first = len(entry)
	}
	if err := parseDays(strings.TrimSpace(entry[:first]), &days); err != nil {
		return days, nil, err
	}
	if first == len(entry) {
		return days, []span{{0, dayMinutes}}, nil
	}
	for part := range strings.SplitSeq(entry[first:], ",") {
		t, err := parseTimes(part)
		if err != nil {
			return days, nil, err
		}
		times = append(times, t)
	}
	return days, times, nil
}

func parseDays(s string, days *[7]bool) error {
	if s == "" {
		*days = [7]bool{true, true, true, true, true, true, true}
		return nil
	}
	for part := range strings.SplitSeq(s, ",") {
		first, last, ranged := strings.Cut(part, "-")
		from, err := parseDay(first)
		if err != nil {
			return err
		}
		to := from
		if ranged {
			if to, err = parseDay(last); err != nil {
				return err
			}
		}
		for d := from; ; d = (d + 1) % 7 {
			days[d] = true
			if d == to {
				break
			}
		}
	}
	return nil
}

func parseDay(s string) (int, error) {
	s = strings.TrimSpace(s)
	if d := slices.Index(dayNames[:], s); d >= 0 {
		return d, nil
	}
	return 0, badHours("%q is not a day (mon, tue, wed, thu, fri, sat, sun)", s)
}

func parseTimes(s string) (span, error) {
	first, last, ok := strings.Cut(s, "-")
	if !ok {
		return span{}, badHours("%q is not a range of times", strings.TrimSpace(s))
	}
	from, err := parseTime(first)
	if err != nil {
		return span{}, err
	}
	to, err := parseTime(last)
	if err != nil {
		return span{}, err
	}
	switch {
	case from == dayMinutes:
		return span{}, badHours("%q begins at the end of the day; write 00", strings.TrimSpace(s))
	case from == to:
		return span{}, badHours("%q is empty; all day is 00-24", strings.TrimSpace(s))
	case to < from:
		to += dayMinutes
	}
	return span{from, to}, nil
}

// parseTime reads H, HH, H:MM or HH:MM, until 24:00.
func parseTime(s string) (int, error) {
	s = strings.TrimSpace(s)
	hour, minute, ok := strings.Cut(s, ":")
	h, hok := digits(hour, 1, 2)
	m, mok := 0, true
	if ok {
		m, mok = digits(minute, 2, 2)
	}
	if !hok || !mok || m > 59 || h*60+m > dayMinutes {
		return 0, badHours("%q is not a time of the day", s)
	}
	return h*60 + m, nil
}

func digits(s string, least, most int) (n int, ok bool) {
	if len(s) < least || len(s) > most {
		return 0, false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// appendSpan appends a span, in two where it passes the end of the week.
func appendSpan(spans []span, s span) []span {
	if s.to > weekMinutes {
		return append(spans, span{s.from, weekMinutes}, span{0, s.to - weekMinutes})
	}
	return append(spans, s)
}

// merge sorts spans and joins those that overlap or touch.
func merge(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	out := spans[:0]
	for _, s := range spans {
		if n := len(out); n > 0 && s.from <= out[n-1].to {
			out[n-1].to = max(out[n-1].to, s.to)
			continue
		}
		out = append(out, s)
	}
	return slices.Clip(out)
}

// IsZero reports whether the hours are always open.
func (h Hours) IsZero() bool { return len(h.spans) == 0 }

// Open reports whether t, in its own location, is within the hours.
func (h Hours) Open(t time.Time) bool { return h.IsZero() || h.opens(minuteOfWeek(t)) == 0 }

// Next returns the first moment from t on that is within the hours: t itself
// when they are open. Changes of the clock between winter and summer are
// followed; an hour that the clock leaves out is never open.
func (h Hours) Next(t time.Time) time.Time {
	for !h.Open(t) {
		m := minuteOfWeek(t)
		into := time.Duration(t.Second())*time.Second + time.Duration(t.Nanosecond())
		at := t.Add(time.Duration(h.opens(m))*time.Minute - into)
		// Until the clock is changed, it runs evenly; from there on it is looked at anew.
		_, change := t.ZoneBounds()
		if change.IsZero() || at.Before(change) {
			return at
		}
		t = change
	}
	return t
}

// opens is how many minutes after a minute of the week they are open.
func (h Hours) opens(m int) int {
	for _, s := range h.spans {
		if m < s.to {
			return max(s.from-m, 0)
		}
	}
	return h.spans[0].from + weekMinutes - m
}

func minuteOfWeek(t time.Time) int {
	return (int(t.Weekday())+6)%7*dayMinutes + t.Hour()*60 + t.Minute()
}

// String returns the one text that stands for these hours; ParseHours reads it.
func (h Hours) String() string {
	var times [7][]string
	for _, p := range h.pieces() {
		day := p.from / dayMinutes
		times[day] = append(times[day], clockRange(p.from%dayMinutes, (p.to-1)%dayMinutes+1))
	}
	var entries []string
	done := [7]bool{}
	for d := range times {
		if done[d] || len(times[d]) == 0 {
			continue
		}
		same := [7]bool{}
		for e := d; e < 7; e++ {
			same[e] = slices.Equal(times[d], times[e])
			done[e] = done[e] || same[e]
		}
		entries = append(entries, daysText(same)+" "+strings.Join(times[d], ","))
	}
	return strings.Join(entries, "; ")
}

// pieces splits the hours by the day on which they begin. What goes over
// midnight stays one piece where a range can say it: when it is shorter than a
// day.
func (h Hours) pieces() []span {
	if len(h.spans) == 0 {
		return nil
	}
	var out []span
	spans := slices.Clone(h.spans)
	// Sunday night that goes on into Monday is one span.
	if last := len(spans) - 1; last > 0 && spans[0].from == 0 && spans[last].to == weekMinutes {
		spans[last].to += spans[0].to
		spans = spans[1:]
	}
	for _, s := range spans {
		for s.from < s.to {
			midnight := (s.from/dayMinutes + 1) * dayMinutes
			if s.to > midnight && (s.from%dayMinutes == 0 || s.to-s.from >= dayMinutes) {
				out = append(out, span{s.from % weekMinutes, (midnight-1)%weekMinutes + 1})
				s.from = midnight
				continue
			}
			out = append(out, span{s.from % weekMinutes, s.from%weekMinutes + s.to - s.from})
			break
		}
	}
	slices.SortFunc(out, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	return out
}

// clockRange writes a range of minutes of the day.
func clockRange(from, to int) string {
	if from%60 == 0 && to%60 == 0 {
		return fmt.Sprintf("%02d-%02d", from/60, to/60)
	}
	return fmt.Sprintf("%02d:%02d-%02d:%02d", from/60, from%60, to/60, to%60)
}

// daysText writes a set of days: three or more in a row as a range.
func daysText(days [7]bool) string {
	var parts []string
	for d := 0; d < 7; d++ {
		if !days[d] {
			continue
		}
		end := d
		for end < 6 && days[end+1] {
			end++
		}
		if end-d >= 2 {
			parts = append(parts, dayNames[d]+"-"+dayNames[end])
			d = end
			continue
		}
		parts = append(parts, dayNames[d])
	}
	return strings.Join(parts, ",")
}

// zones keeps the time zones that were asked for: reading one costs more than a
// message. It is bounded by the number of zones that there are.
var zones sync.Map // name → *time.Location

// Zone returns the time zone of an account's TimeZone. Names that no zone has
// count as UTC: the limits of such an account must go on counting.
func Zone(name string) *time.Location {
	if name == "" || name == "UTC" || name == "Local" {
		return time.UTC
	}
	if z, ok := zones.Load(name); ok {
		return z.(*time.Location)
	}
	z, err := time.LoadLocation(name)
	if err != nil {
		return time.UTC
	}
	zones.Store(name, z)
	return z
}
