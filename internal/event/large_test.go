package event

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// TestFollowerReadsOnAfterALargePage: pages that are short because their events are
// large do not mean that the end is reached. It looks once, and has all.
func TestFollowerReadsOnAfterALargePage(t *testing.T) {
	t.Parallel()
	s := opened(t, nil)
	const events = 700 // of 16 KiB
	data := json.RawMessage(`"` + strings.Repeat("x", 16<<10-2) + `"`)
	for range events {
		s.RecordEvent(relay.Event{Kind: relay.EventAlert, N: -1, Data: data})
	}
	until(t, "the events are stored", func() bool {
		all, _, err := s.ReadEvents(t.Context(), store.Cursor{}, 1)
		b, berr := s.EventsBehind(t.Context(), store.Cursor{})
		return err == nil && berr == nil && len(all) == 1 && b.Records == events
	})
	got := make(chan int, 100)
	f := Events("large", s, func(_ context.Context, batch []relay.Event, _ store.Cursor) error {
		got <- len(batch)
		return nil
	})
	f.Every, f.Logger = time.Hour, slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.Run(ctx) }()
	for n, pages := 0, 0; n < events; pages++ {
		select {
		case more := <-got:
			if n += more; more > events/2 {
				t.Errorf("%d events of 16 KiB at once", more)
			}
		case <-time.After(time.Minute):
			t.Fatalf("it stands still after %d events in %d pages", n, pages)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
