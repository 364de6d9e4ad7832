package audit

import (
	"time"
)

// Every says how often a report is mailed.
type Every string

// The ways.
const (
	Never   Every = "off"
	Weekly  Every = "weekly"  // on Monday
	Monthly Every = "monthly" // on the first
)

// MaxRecipients bounds whom a report is mailed to.
const MaxRecipients = 20

// sendHour is when a report leaves, in the account's time zone: before work.
const sendHour = 6

// Schedule says when an account's report is made and whom it is mailed to, and
// what its checks measure against.
type Schedule struct {
	Every   Every    `json:"every"`
	To      []string `json:"to"`
	Options Options  `json:"options"`
	// NextAt is when it is due; zero: never.
	NextAt time.Time `json:"next_at,omitzero"`
	LastAt time.Time `json:"last_at,omitzero"`
}

// Next is the first moment after a time when a report of this schedule is due:
// six o'clock of a Monday, or of the first of a month. Zero: never.
func (s *Schedule) Next(after time.Time, zone *time.Location) time.Time {
	y, m, d := after.In(zone).Date()
	switch s.Every {
	case Weekly:
		for ; ; d++ {
			if t := time.Date(y, m, d, sendHour, 0, 0, 0, zone); t.After(after) && t.Weekday() == time.Monday {
				return t.UTC()
			}
		}
	case Monthly:
		t := time.Date(y, m, 1, sendHour, 0, 0, 0, zone)
		if !t.After(after) {
			t = time.Date(y, m+1, 1, sendHour, 0, 0, 0, zone)
		}
		return t.UTC()
	}
	return time.Time{}
}

// Due reports whether a report is to be made now.
func (s *Schedule) Due(now time.Time) bool {
	return (s.Every == Weekly || s.Every == Monthly) && !s.NextAt.IsZero() && !now.Before(s.NextAt)
}
