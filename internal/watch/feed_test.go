package watch

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// pageLogs has events alone, a page of them at each reading.
type pageLogs struct{ at []time.Time }

func (l *pageLogs) ReadEvents(_ context.Context, c store.Cursor, limit int) ([]relay.Event, store.Cursor, error) {
	var out []relay.Event
	for i, at := range l.at[:min(limit, len(l.at))] {
		out = append(out, relay.Event{Epoch: 1, Seq: int64(i + 1), At: at})
	}
	return out, c, nil
}

func (l *pageLogs) ReadLogins(_ context.Context, c store.Cursor, _ time.Time, _ int) ([]store.StoredLogin, store.Cursor, error) {
	return nil, c, nil
}

// Under load there is always a page of events that have not settled: the runner
// must wait for them, not read them again and again.
func TestUnsettledEventsAreWaitedFor(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	settled := now.Add(-store.LoginSettle)
	for _, c := range []struct {
		name  string
		at    func(i int) time.Time
		n     int
		taken int
		more  bool
	}{
		{"none", nil, 0, 0, false},
		{"few settled", func(int) time.Time { return settled.Add(-time.Minute) }, 10, 10, false},
		{"a page of settled ones", func(i int) time.Time { return settled.Add(-time.Hour).Add(time.Duration(i)) }, feedPage + 5, feedPage, true},
		{"a page of new ones", func(int) time.Time { return now }, feedPage + 5, 0, false},
		{"a page that ends in new ones", func(i int) time.Time { return settled.Add(time.Duration(i-100) * time.Second / 10) }, feedPage + 5, 101, false},
		{"a page from a clock that is wrong", func(int) time.Time { return now.Add(time.Hour) }, feedPage + 5, feedPage, true},
	} {
		l := &pageLogs{}
		for i := range c.n {
			l.at = append(l.at, c.at(i))
		}
		s, err := nextSlice(t.Context(), l, position{}, now, store.LoginSettle)
		if err != nil || len(s.events) != c.taken || s.more != c.more {
			t.Errorf("%s: %d events, more %v (%v), want %d, %v", c.name, len(s.events), s.more, err, c.taken, c.more)
		}
	}
}

// A page that is short because its events are large is not the end of the log: what
// follows is read at once, and no login is told before the events that came before it.
func TestPagesOfLargeEventsAreReadOn(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	s := openStore(t, func() time.Time { return now })
	const events = 500 // of 16 KiB
	data := json.RawMessage(`"` + strings.Repeat("x", 16<<10-2) + `"`)
	for i := range events {
		s.RecordEvent(relay.Event{Kind: relay.EventAlert, N: -1, Data: data, At: now.Add(time.Duration(i-events) * time.Second)})
	}
	until := time.Now().Add(time.Minute)
	for b, err := s.EventsBehind(t.Context(), store.Cursor{}); b.Records < events; b, err = s.EventsBehind(t.Context(), store.Cursor{}) {
		if err != nil || time.Now().After(until) {
			t.Fatalf("%d events are stored: %v", b.Records, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	var at position
	read, pages := 0, 0
	for more := true; more; pages++ {
		piece, err := nextSlice(t.Context(), s, at, now, 0)
		if err != nil {
			t.Fatal(err)
		}
		read, more, at = read+len(piece.events), piece.more, piece.next
	}
	if read != events || pages < 2 {
		t.Errorf("%d of %d events in %d pages", read, events, pages)
	}
}
