package credit

import (
	"time"

	"postern/internal/relay"
)

// moment is one time in every unit that is counted in. The day is that of the
// date in the account's time zone.
type moment struct{ sec, min, day int64 }

func momentOf(t time.Time, zone *time.Location) moment {
	s := t.Unix()
	return moment{sec: s, min: s / 60, day: dayOf(t.In(zone))}
}

const secondsPerDay = 24 * 60 * 60

// dayOf is the number of days from 1970-01-01 to the date that t shows.
func dayOf(t time.Time) int64 {
	y, m, d := t.Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / secondsPerDay
}

// dateOf is a day as a date: midnight UTC.
func dateOf(day int64) time.Time { return time.Unix(day*secondsPerDay, 0).UTC() }

// days returns the first and the last day of the calendar window around a day.
func days(w relay.Window, day int64) (first, last int64) {
	switch w {
	case relay.WindowWeek:
		first = day - (day+3)%7 // 1970-01-01 was a Thursday
		return first, first + 6
	case relay.WindowMonth:
		t := dateOf(day)
		first = day - int64(t.Day()-1)
		return first, dayOf(t.AddDate(0, 1, 1-t.Day())) - 1
	}
	return day, day
}

// beginning is the moment at which a day begins in a time zone: where the clock
// leaves midnight out, the first moment after it; where the clock goes back over
// midnight, a moment of that day.
func beginning(day int64, zone *time.Location) time.Time {
	y, m, d := dateOf(day).Date()
	t := time.Date(y, m, d, 0, 0, 0, 0, zone)
	// time.Date may answer with the clock of before the change, which then still
	// shows the evening before.
	for dayOf(t) < day {
		h, min, s := t.Clock()
		t = t.Add(24*time.Hour - time.Duration(h)*time.Hour - time.Duration(min)*time.Minute - time.Duration(s)*time.Second)
	}
	return t
}
