package api

import (
	"context"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// An action on all that a filter finds goes on when some of it was delivered
// between the list and the action.
func TestFilterActionSkipsWhatHasLeft(t *testing.T) {
	t.Parallel()
	f := newFake()
	for i := range 5 {
		id := relay.MessageID{ID: relay.NewID(now.Add(time.Duration(i) * time.Millisecond))}
		f.queue = append(f.queue, store.Queued{Message: relay.Message{ID: id, State: relay.MessageQueued}})
	}
	left := f.queue[2].Message.ID
	a := &admin{Services: Services{Queue: f}}
	n, err := a.applyAll(t.Context(), store.MessageFilter{}, func(_ context.Context, ids []relay.MessageID) (int64, error) {
		for _, id := range ids {
			if id == left {
				return 0, relay.E(relay.NotFound, "There is no such message.")
			}
		}
		return int64(len(ids)), nil
	})
	if n != 4 || err != nil {
		t.Errorf("acted on %d, %v; want the 4 that are still there", n, err)
	}
}
