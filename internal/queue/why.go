package queue

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
)

// Explanation answers "why is this mail waiting?".
type Explanation struct {
	Message    relay.MessageID    `json:"message_id"`
	State      relay.MessageState `json:"state"`
	Text       []string           `json:"text"` // in words, a sentence an item
	Recipients []WhyRecipient     `json:"recipients"`
}

// WhyRecipient explains one recipient.
type WhyRecipient struct {
	Recipient relay.Recipient `json:"recipient"`
	Text      string          `json:"text"`
	Lane      LaneStatus      `json:"lane"`
}

// Why explains what a queued message waits for: the remote's last words, the
// time of the next attempt, a back-off of its destination, a person's hold.
func (q *Queue) Why(ctx context.Context, id relay.MessageID) (Explanation, error) {
	qd, err := q.cfg.Store.Message(ctx, id)
	if err != nil {
		return Explanation{}, err
	}
	now := q.now()
	e := Explanation{Message: id, State: qd.Message.State}
	e.Text = append(e.Text, fmt.Sprintf("Accepted %s ago, from %s; %d of its recipients still wait.",
		short(now.Sub(qd.Message.AcceptedAt)), orNull(qd.Message.EnvelopeFrom), len(qd.Recipients)))
	switch qd.Message.State {
	case relay.MessageHeld:
		e.Text = append(e.Text, "It is held: "+orElse(qd.Message.Reason, "no reason was given")+". It goes on after: postern queue release "+id.String())
	case relay.MessageQuarantined:
		e.Text = append(e.Text, "It is quarantined: "+orElse(qd.Message.Reason, "no reason was recorded")+". It goes on only after: postern queue release "+id.String())
	case relay.MessageQueued:
		if qd.Message.Reason != "" && slices.ContainsFunc(qd.Recipients, func(r relay.Recipient) bool { return r.Attempts == 0 && r.DueAt.After(now) }) {
			e.Text = append(e.Text, "It was put off when it was accepted: "+qd.Message.Reason+".")
		}
	}
	if q.cfg.Directory.Deleted(qd.Message.Tenant) {
		e.Text = append(e.Text, "Its subuser was deleted: it is dropped and never sent; nobody is told.")
	} else if ok, why := q.cfg.Directory.Sending(qd.Message.Tenant); !ok {
		e.Text = append(e.Text, "Nothing of its sender leaves now: "+why+".")
	}
	if n := qd.Message.Crashes; n > 0 {
		e.Text = append(e.Text, fmt.Sprintf("The process died %d times while it was being sent.", n))
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range qd.Recipients {
		lane := relay.Lane{Pool: qd.Message.Pool, Site: r.Site}
		w := WhyRecipient{Recipient: r, Lane: LaneStatus{Lane: lane}}
		if l := q.lanes[lane]; l != nil {
			w.Lane = q.laneStatus(l)
		}
		w.Text = q.whyRecipient(&qd.Message, &r, w.Lane, now)
		e.Recipients = append(e.Recipients, w)
	}
	return e, nil
}

// whyRecipient says it for one recipient. mu is held.
func (q *Queue) whyRecipient(m *relay.Message, r *relay.Recipient, l LaneStatus, now time.Time) string {
	var b strings.Builder
	b.WriteString(r.Address + ": ")
	switch {
	case r.Attempts == 0:
		b.WriteString("not tried yet")
	case r.Attempts == 1:
		fmt.Fprintf(&b, "tried once, %s ago", short(now.Sub(r.LastAt)))
	default:
		fmt.Fprintf(&b, "tried %d times, last %s ago", r.Attempts, short(now.Sub(r.LastAt)))
	}
	if r.LastReply != "" {
		fmt.Fprintf(&b, "; %s said: %q", orElse(r.LastHost, "postern"), r.LastReply)
	}
	if r.PossiblyDelivered {
		b.WriteString("; it may have arrived already (the link or process died before the answer was recorded)")
	}
	b.WriteString(". ")
	b.WriteString(q.whyNext(m, r, l, now))
	return b.String()
}

func (q *Queue) whyNext(m *relay.Message, r *relay.Recipient, l LaneStatus, now time.Time) string {
	if m.State != relay.MessageQueued {
		return "It waits for a person."
	}
	for _, j := range q.jobs[m.ID] {
		if j.rcpts[0].Site != r.Site {
			continue
		}
		if j.running {
			return "An attempt is under way now."
		}
		if !l.Until.IsZero() {
			return fmt.Sprintf("It is in memory; its destination is given a rest for %s: %s.", short(l.Until.Sub(now)), l.Reason)
		}
		return fmt.Sprintf("It is in memory and waits for its turn: %d of %d connections to the destination are busy.", l.Active, l.Limit)
	}
	var parts []string
	if r.DueAt.After(now) {
		parts = append(parts, fmt.Sprintf("The next attempt is due in %s (%s).", short(r.DueAt.Sub(now)), r.DueAt.Format(time.RFC3339)))
	} else {
		parts = append(parts, "It is due, and waits for its turn.")
	}
	if !l.Until.IsZero() {
		parts = append(parts, fmt.Sprintf("Its destination is given a rest for %s: %s.", short(l.Until.Sub(now)), l.Reason))
	}
	if l.NoRoute != "" {
		parts = append(parts, "The last look-up of its destination: "+l.NoRoute+".")
	}
	parts = append(parts, fmt.Sprintf("It is returned to its sender if it is not delivered by %s.", m.ExpiresAt.Format(time.RFC3339)))
	return strings.Join(parts, " ")
}

func short(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

func orNull(s string) string { return orElse(s, "<>") }

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
