package store

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

// sized commits an event of a size, by a clock that is back by something.
func sized(t testing.TB, s *Store, size int, back time.Duration) {
	t.Helper()
	o := newOp("event")
	data := json.RawMessage(`"` + strings.Repeat("x", size) + `"`)
	if err := s.appendEvents(o, []relay.Event{{At: time.Now().Add(-back), Kind: relay.EventAlert, N: -1, Data: data}}); err != nil {
		t.Fatal(err)
	}
	if err := s.w.do(context.Background(), o); err != nil {
		t.Fatal(err)
	}
}

// largest reads everything from the beginning, and returns the octets of the largest
// page, and of the largest event.
func largest(t testing.TB, s *Store, limit int) (page, event, pages int) {
	t.Helper()
	var all []relay.Event
	for c := (Cursor{}); ; pages++ {
		events, next, err := s.ReadEvents(context.Background(), c, limit)
		if err != nil {
			t.Fatal(err)
		}
		octets := 0
		for _, e := range events {
			octets, event = octets+len(e.Data), max(event, len(e.Data))
		}
		page = max(page, octets)
		if next.More() != (octets >= readBytes) {
			t.Errorf("%d octets, and more is %t", octets, next.More())
		}
		if c = next; len(events) == 0 {
			wantWhole(t, s, all)
			return page, event, pages
		}
		all = append(all, events...)
	}
}

// TestReadEventsBySize: a page holds a bounded number of octets and one event, however
// many events are asked for, and nothing is passed over for that: not where days lie
// across each other, nor between runs of the process.
func TestReadEventsBySize(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		const day = 24 * time.Hour
		for run := range 2 {
			s, _ := openTest(t, cfg)
			stop := runTest(t, s)
			// Small ones of other days stand between the large ones.
			for i, size := range []int{10, 900_000, 10, 1_800_000, 2_000_000, 10, 10, 700_000, 10, 5_000_000, 5_000_000, 1_500_000, 10, 2_500_000, 600_000, 10} {
				sized(t, s, size, time.Duration([]int{0, 1, 3}[(i+run)%3])*day)
			}
			if run == 0 {
				if err := stop(); err != nil {
					t.Fatal(err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				continue
			}
			for _, limit := range []int{1, 3, 1000} {
				page, event, pages := largest(t, s, limit)
				if page >= readBytes+event || page < event {
					t.Errorf("limit %d: a page of %d octets", limit, page)
				}
				if limit == 1000 && (pages < 5 || pages > 12) {
					t.Errorf("%d pages", pages)
				}
			}
		}
	})
}
