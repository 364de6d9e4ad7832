package export

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/store"
)

// slow takes nothing until it is told to stop, and sees that one call is made at a time.
type slow struct {
	t    *testing.T
	busy sync.Mutex
}

func (s *slow) Send(ctx context.Context, _ []Record) (int, error) {
	if !s.busy.TryLock() {
		s.t.Error("two calls at a time")
		return 0, nil
	}
	defer s.busy.Unlock()
	<-ctx.Done()
	return 0, ctx.Err()
}

func (*slow) Close() error { return nil }

// A target that answers slowly holds up no stream for longer than its lease may be
// left alone, also while it is another stream's turn: else another node would send the
// same meanwhile.
func TestSlowTargetIsWithinTheLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const lease, renewed = 30 * time.Second, 10 * time.Second // of internal/event
		e := &Exporter{Target: &slow{t: t}, turn: make(chan struct{}, 1)}
		e.out = newOutbox(e)
		send := (&feed[int]{e: e, record: func(*int) (Record, error) { return Record{}, nil }}).Apply
		begin := time.Now()
		var all sync.WaitGroup
		for range Streams {
			all.Go(func() {
				if err := send(t.Context(), []int{1}, store.Cursor{}); err == nil {
					t.Error("what was not taken counts as sent")
				}
				if took := time.Since(begin); took >= lease-renewed {
					t.Errorf("a batch took %s, and its lease may end after %s", took, lease-renewed)
				}
			})
		}
		all.Wait()
	})
}
