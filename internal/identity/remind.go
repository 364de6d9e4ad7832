package identity

import (
	"fmt"
	"time"

	"postern/internal/relay"
)

// remindDays are how many days before a key ends its owner is told, latest last.
var remindDays = [...]int{14, 3, 1}

// Ending names what of a key is about to end.
type Ending string

// The endings.
const (
	EndingKey      Ending = "key"             // the key itself
	EndingPrevious Ending = "previous secret" // the secret from before a rotation, which is still in use
)

// Reminder says that a key's owner should be told now that something ends.
type Reminder struct {
	Key    *relay.Key
	Ending Ending
	EndsAt time.Time
	Days   int // how long before the end this reminder was due
}

// Expiring lists the reminders that are due at now: 14, 3 and 1 days before a
// key ends, and 1 day before the old secret of a rotated key ends that somebody
// used since. Each comes once if the caller then sets RemindedAt to now. Of
// several that were missed only the latest comes. A key that was made with less
// life than that is not announced the moment it is made.
//
// The keys must come from the store: the Directory does not follow RemindedAt
// and the use of old secrets, which are no changes.
func Expiring(keys []*relay.Key, now time.Time) []Reminder {
	var due []Reminder
	for _, k := range keys {
		if k.Canary || !k.RevokedAt.IsZero() || !k.DisabledAt.IsZero() {
			continue
		}
		if days, ok := remindable(k.ExpiresAt, k.CreatedAt, k.RemindedAt, now, remindDays[:]...); ok {
			due = append(due, Reminder{Key: k, Ending: EndingKey, EndsAt: k.ExpiresAt, Days: days})
		}
		if k.Previous == nil || k.PreviousUsedAt.Before(k.RotatedAt) || k.PreviousUsedAt.IsZero() {
			continue
		}
		if days, ok := remindable(k.PreviousUntil, k.RotatedAt, k.RemindedAt, now, 1); ok {
			due = append(due, Reminder{Key: k, Ending: EndingPrevious, EndsAt: k.PreviousUntil, Days: days})
		}
	}
	return due
}

// remindable finds the latest moment for a reminder that has come; it counts if
// it lies after the beginning of what ends, and nobody was reminded since.
func remindable(ends, began, reminded, now time.Time, days ...int) (int, bool) {
	if ends.IsZero() || !now.Before(ends) {
		return 0, false
	}
	for i := len(days) - 1; i >= 0; i-- {
		moment := ends.Add(-time.Duration(days[i]) * day)
		if now.Before(moment) {
			continue
		}
		return days[i], moment.After(began) && reminded.Before(moment)
	}
	return 0, false
}

// Alert is the reminder in words.
func (r Reminder) Alert() relay.Alert {
	text := fmt.Sprintf("Key %q (%s) ends at %s. Give it a later expires_at, or put another key in its place.", r.Key.Name, r.Key.ID, stamp(r.EndsAt))
	if r.Ending == EndingPrevious {
		from := ""
		if r.Key.PreviousUsedFrom != "" {
			from = " from " + r.Key.PreviousUsedFrom
		}
		text = fmt.Sprintf("The old secret of key %q (%s) ends at %s and was last used at %s%s. Give that program the new secret.",
			r.Key.Name, r.Key.ID, stamp(r.EndsAt), stamp(r.Key.PreviousUsedAt), from)
	}
	return relay.Alert{Kind: relay.AlertExpiry, Text: text, Addr: r.Key.PreviousUsedFrom}
}
