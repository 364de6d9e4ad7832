package ledger

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Report is what a comparison of the two sides found.
type Report struct {
	Seed       int64
	Kills      int
	Offered    int
	Acked      int // messages
	Recipients int // of acked messages
	Unknown    int // messages sent without an answer
	Copies     int // copies taken, of any message
	Extra      int // copies beyond the first of each recipient
	Marks      int // recipients marked "possibly delivered"

	Lost     []string // acked, no copy: the one thing that must never be
	Unmarked []string // more copies than one plus the marks
	TooMany  []string // more extra copies than kills between its end of data and its last copy
	Forged   []string // a copy of what was refused or cut off
	Damaged  []string // a copy whose body is not what was sent
	Unknowns []string // copies of messages or recipients that were never offered
}

// Check compares every promise with every copy. marks are the relay's own
// records of "possibly delivered". Call it after the relay has come to rest.
func (l *Ledger) Check(marks []Mark) Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := Report{Seed: l.Seed, Kills: len(l.kills), Offered: len(l.order), Copies: len(l.takes), Marks: len(marks)}
	copies := map[string][]Take{}
	for _, t := range l.takes {
		copies[t.ID+" "+t.Recipient] = append(copies[t.ID+" "+t.Recipient], t)
	}
	marked := map[string][]time.Time{}
	for _, m := range marks {
		marked[m.ID+" "+m.Recipient] = append(marked[m.ID+" "+m.Recipient], m.At)
	}
	for _, takes := range copies {
		// The sink's sessions note their copies when they get to it.
		slices.SortFunc(takes, func(a, b Take) int { return a.At.Compare(b.At) })
	}
	for _, id := range l.order {
		e := l.entries[id]
		switch e.Phase {
		case Acked:
			r.Acked++
			r.Recipients += len(e.Recipients)
		case Sent:
			r.Unknown++
		}
		for _, rcpt := range e.Recipients {
			k := id + " " + rcpt
			r.judge(e, k, copies[k], len(marked[k]), l.killsOf(e, copies[k]))
			if n := len(r.TooMany); n > 0 && strings.HasPrefix(r.TooMany[n-1], k+" (") {
				r.TooMany[n-1] += l.story(e, copies[k], marked[k])
			}
			delete(copies, k)
		}
	}
	for k := range copies {
		r.Unknowns = append(r.Unknowns, k)
	}
	slices.Sort(r.Unknowns)
	return r
}

// killsOf counts the kills that can have caused a second copy: those between the
// end of data and the last copy.
func (l *Ledger) killsOf(e *Entry, copies []Take) int {
	n := 0
	for _, k := range l.kills {
		if len(copies) > 0 && k.To.After(e.EndAt) && k.From.Before(copies[len(copies)-1].At) {
			n++
		}
	}
	return n
}

// story tells what is known of a copy too many, in order of time.
func (l *Ledger) story(e *Entry, copies []Take, marks []time.Time) string {
	const clock = "15:04:05.000000"
	s := fmt.Sprintf(": end of data %s, 250 %s", e.EndAt.Format(clock), e.ReplyAt.Format(clock))
	for _, c := range copies {
		s += fmt.Sprintf(", copy %s over %s", c.At.Format(clock), c.Conn)
	}
	for _, m := range marks {
		s += ", marked " + m.Local().Format(clock)
	}
	for _, k := range l.kills {
		if k.To.After(e.EndAt.Add(-3*time.Second)) && k.From.Before(copies[len(copies)-1].At.Add(time.Second)) {
			s += fmt.Sprintf(", kill %s to %s", k.From.Format(clock), k.To.Format(clock))
		}
	}
	return s
}

// judge compares one recipient's copies with what its client was told.
func (r *Report) judge(e *Entry, key string, copies []Take, marks, kills int) {
	for _, c := range copies {
		if !c.Intact {
			r.Damaged = append(r.Damaged, key)
			break
		}
	}
	n := len(copies)
	if n == 0 {
		if e.Phase == Acked {
			r.Lost = append(r.Lost, fmt.Sprintf("%s (queued as %s at %s)", key, e.QueueID, e.ReplyAt.UTC().Format(time.RFC3339Nano)))
		}
		return
	}
	if e.Phase == Refused || e.Phase == Cut {
		r.Forged = append(r.Forged, fmt.Sprintf("%s (%s %q, %d copies)", key, e.Phase, e.Reply, n))
	}
	extra := n - 1
	r.Extra += extra
	if extra > kills {
		r.TooMany = append(r.TooMany, fmt.Sprintf("%s (%d copies, %d kills in its time)", key, n, kills))
	}
	if extra > marks {
		r.Unmarked = append(r.Unmarked, fmt.Sprintf("%s (%d copies, marked %d times)", key, n, marks))
	}
}

// Err is nil where every promise was kept.
func (r *Report) Err() error {
	var errs []error
	add := func(what string, list []string) {
		if len(list) > 0 {
			errs = append(errs, fmt.Errorf("%s: %d\n\t%s", what, len(list), strings.Join(list[:min(len(list), 20)], "\n\t")))
		}
	}
	add("LOST: acknowledged and never delivered", r.Lost)
	add("extra copies that the relay did not mark possibly delivered", r.Unmarked)
	add("more extra copies than kills", r.TooMany)
	add("delivered although refused or cut off", r.Forged)
	add("delivered with another body than was sent", r.Damaged)
	add("copies of what nobody sent", r.Unknowns)
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("ledger does not balance (%s):\n%w", r, errors.Join(errs...))
}

func (r *Report) String() string {
	return fmt.Sprintf("seed %d: %d kills, %d offered, %d acknowledged for %d recipients, %d without an answer, %d copies, %d extra, %d marked, %d lost",
		r.Seed, r.Kills, r.Offered, r.Acked, r.Recipients, r.Unknown, r.Copies, r.Extra, r.Marks, len(r.Lost))
}
