package watch

import (
	"context"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// Logs is where events and login records are read; *store.Store is one.
type Logs interface {
	ReadEvents(ctx context.Context, c store.Cursor, limit int) ([]relay.Event, store.Cursor, error)
	ReadLogins(ctx context.Context, c store.Cursor, settled time.Time, limit int) ([]store.StoredLogin, store.Cursor, error)
}

const (
	// feedPage is how many events, and how many logins, are read at once.
	feedPage = 2000
	// urgentSettle is how far behind the watch reads for what cannot wait: the login
	// record and the alert of one attempt are both written by then.
	urgentSettle = 3 * time.Second
	// ahead is how far a node's clock may be wrong. What is later still is not waited
	// for, or one bad clock would stop the watch.
	ahead = 5 * time.Minute
)

// slice is a piece of both logs up to one moment: no later piece has anything
// before it, but for what a node wrote late.
type slice struct {
	events []relay.Event
	logins []store.StoredLogin
	next   position // after it
	more   bool     // there is more to read already
}

// position is how far both logs were read.
type position struct{ events, logins store.Cursor }

// nextSlice reads on in both logs, up to settle ago. Live and in a replay it cuts
// the logs at the same kind of place: neither runs ahead of the other.
func nextSlice(ctx context.Context, logs Logs, from position, now time.Time, settle time.Duration) (slice, error) {
	settled := now.Add(-settle)
	var s slice
	var err error
	if s.logins, s.next.logins, err = logs.ReadLogins(ctx, from.logins, settled, feedPage); err != nil {
		return s, err
	}
	if s.events, s.next.events, err = logs.ReadEvents(ctx, from.events, feedPage); err != nil {
		return s, err
	}
	end := settled
	if len(s.logins) >= feedPage {
		end = earlier(end, latest(len(s.logins), now, func(i int) time.Time { return s.logins[i].At }))
	}
	if len(s.events) >= feedPage || s.next.events.More() {
		end = earlier(end, latest(len(s.events), now, func(i int) time.Time { return s.events[i].At }))
	}
	// What is read but has not settled is not worth another look at once: under load
	// there are always pages of it.
	s.more = end.Before(settled)
	waits := func(at time.Time) bool { return at.After(end) && !at.After(now.Add(ahead)) }
	for i := range s.logins {
		if waits(s.logins[i].At) {
			s.logins = s.logins[:i]
			s.next.logins = s.next.logins.AfterLogins(s.logins)
			break
		}
	}
	for i := range s.events {
		if waits(s.events[i].At) {
			s.events = s.events[:i]
			s.next.events = s.next.events.After(s.events)
			break
		}
	}
	return s, nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// latest is the latest of a page's times, but for those of clocks that are wrong.
func latest(n int, now time.Time, at func(int) time.Time) (last time.Time) {
	for i := range n {
		if t := at(i); t.After(last) && !t.After(now.Add(ahead)) {
			last = t
		}
	}
	return last
}
