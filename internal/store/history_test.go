package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"postern/internal/relay"
)

// happened puts events of a message into the log, in this order.
func happened(t *testing.T, s *Store, all ...relay.Event) {
	t.Helper()
	for part := range slices.Chunk(all, 5000) {
		if err := s.Finish(t.Context(), Result{Events: part}); err != nil {
			t.Fatal(err)
		}
	}
}

// The nodes of a cluster run side by side, and each numbers what it does by itself:
// who held a message last is told by the time of it, also on another day and behind
// any number of attempts.
func TestLastHoldIsByTime(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, ctx := newTest(t, cfg), t.Context()
		day := time.Now().UTC().Truncate(24 * time.Hour)
		id, other := relay.MessageID{ID: relay.NewID(day.Add(-time.Hour))}, relay.MessageID{ID: relay.NewID(day.Add(-time.Hour))}
		if e, err := s.LastHold(ctx, id); relay.KindOf(err) != relay.NotFound {
			t.Errorf("before any: %+v, %v", e, err)
		}
		at := func(of relay.MessageID, kind relay.EventKind, n int, after time.Duration) relay.Event {
			return relay.Event{At: day.Add(after), Kind: kind, Message: of, N: n, Tenant: testTenant}
		}
		for _, step := range []struct {
			e    relay.Event
			want int
		}{
			{at(id, relay.EventHeld, 1, -10*time.Minute), 1},
			{at(id, relay.EventHeld, 2, -20*time.Minute), 1}, // of a node that commits late
			{at(other, relay.EventHeld, 3, time.Minute), 1},
			{at(id, relay.EventHeld, 4, -10*time.Minute), 4}, // of one time, the one that was committed last
			{at(id, relay.EventQuarantined, 5, 2*time.Second), 5},
			{at(id, relay.EventHeld, 6, time.Second), 5},
			{at(id, relay.EventReleased, 7, 3*time.Second), 5},
		} {
			happened(t, s, step.e)
			if e, err := s.LastHold(ctx, id); err != nil || e.N != step.want {
				t.Errorf("after %d: %+v, %v, want %d", step.e.N, e, err, step.want)
			}
		}
		var many []relay.Event
		for i := range maxEventsPage {
			many = append(many, at(id, relay.EventDeferred, 10+i, time.Minute))
		}
		happened(t, s, append(many, at(id, relay.EventHeld, 8, 2*time.Minute))...)
		if e, err := s.LastHold(ctx, id); err != nil || e.N != 8 {
			t.Errorf("behind %d attempts: %+v, %v", len(many), e, err)
		}
	})
}

// The history of a message is in the order of time. A long one leaves out its middle,
// never its end.
func TestHistoryOfManyEvents(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, ctx := newTest(t, cfg), t.Context()
		day := time.Now().UTC().Truncate(24 * time.Hour)
		id := relay.MessageID{ID: relay.NewID(day.Add(-time.Hour))}
		var all []relay.Event
		for i := range MaxHistory + 5 {
			all = append(all, relay.Event{At: day.Add(time.Duration(i-MaxHistory/4) * time.Millisecond), Kind: relay.EventDeferred, Message: id, N: i})
		}
		late := all[MaxHistory-1]
		happened(t, s, late) // the first one that was committed
		for _, step := range []struct {
			upTo  int
			first int // how many of the beginning, and how many of the end
			last  int
		}{{maxEventsPage - 1, maxEventsPage - 1, 1}, {maxEventsPage + 3, maxEventsPage + 3, 1}, {len(all), maxEventsPage, maxEventsPage}} {
			from := map[int]int{maxEventsPage + 3: maxEventsPage - 1, len(all): maxEventsPage + 3}[step.upTo]
			happened(t, s, slices.DeleteFunc(slices.Clone(all[from:step.upTo]), func(e relay.Event) bool { return e.N == late.N })...)
			got, err := s.MessageHistory(ctx, id)
			if err != nil || len(got) != step.first+step.last {
				t.Fatalf("of %d: %d, %v", step.upTo, len(got), err)
			}
			want := slices.Clone(all[:step.first])
			if step.last == 1 {
				want = append(want, late)
			} else {
				want = append(want, all[len(all)-step.last:]...)
			}
			for i := range want {
				if got[i].N != want[i].N {
					t.Fatalf("of %d: %d is at %d, want %d", step.upTo, got[i].N, i, want[i].N)
				}
			}
		}
	})
}

// A message's events are looked for from its own time on, less an hour: on PostgreSQL
// the days before it are not read, as in SQLite.
func TestEventsOfAMessageAreOfItsTime(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, ctx := newTest(t, cfg), t.Context()
		made := time.Now().UTC().Truncate(24 * time.Hour).Add(-time.Minute)
		id := relay.MessageID{ID: relay.NewID(made)}
		happened(t, s, relay.Event{At: made.Add(-2 * time.Hour), Kind: relay.EventHeld, Message: id, N: 1}, relay.Event{At: made.Add(-30 * time.Minute), Kind: relay.EventHeld, Message: id, N: 2},
			relay.Event{At: made, Kind: relay.EventHeld, Message: id, N: 3})
		for since, want := range map[time.Time]string{{}: "[2 3]", made.Add(-3 * time.Hour): "[2 3]", made.Add(-time.Minute): "[3]"} {
			all, err := s.Events(ctx, EventFilter{Message: id, Since: since})
			got := []int{}
			for _, e := range all {
				got = append(got, e.N)
			}
			if err != nil || fmt.Sprint(got) != want {
				t.Errorf("since %v: %v, %v, want %s", since, got, err, want)
			}
		}
		if all, err := s.MessageHistory(ctx, id); err != nil || len(all) != 2 || all[0].N != 2 {
			t.Errorf("%+v, %v", all, err)
		}
	})
}
