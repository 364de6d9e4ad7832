package identity

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/store"
)

// slowSource takes its time to answer.
type slowSource struct {
	*fakeSource
	takes atomic.Int64 // a time.Duration
}

func (s *slowSource) Snapshot(ctx context.Context, since int64) (*store.Snapshot, error) {
	select {
	case <-time.After(time.Duration(s.takes.Load())):
		return s.fakeSource.Snapshot(ctx, since)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func openSlow(t *testing.T) (*Directory, *slowSource) {
	t.Helper()
	s := &slowSource{fakeSource: source()}
	d, err := Open(t.Context(), s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return d, s
}

// However many wait for a store that does not answer, each waits a second; one that
// answers is asked once for all of them.
func TestCatchUpIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s := openSlow(t)
		for _, c := range []struct {
			takes, most time.Duration
			want        bool
		}{{time.Hour, time.Second, false}, {time.Second / 2, time.Second / 2, true}} {
			s.takes.Store(int64(c.takes))
			s.change(func(*store.Snapshot) {})
			reads, began := s.reads, time.Now()
			var done, right atomic.Int64
			for range 200 {
				go func() {
					if d.CatchUp(t.Context()) == c.want {
						right.Add(1)
					}
					done.Add(1)
				}()
			}
			time.Sleep(c.most)
			synctest.Wait()
			if done.Load() != 200 || right.Load() != 200 || time.Since(began) > c.most {
				t.Errorf("the store takes %v: %d came back, %d of them with %v", c.takes, done.Load(), right.Load(), c.want)
			}
			if n := s.reads - reads; c.want && n != 1 {
				t.Errorf("%d readings", n)
			}
		}
	})
}

// A store that takes longer than requests wait is read all the same: they do not keep
// whoever follows it from coming to its turn.
func TestCatchUpStarvesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s := openSlow(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = d.Run(ctx) }()
		s.takes.Store(int64(3 * time.Second / 2))
		synctest.Wait()
		s.change(func(*store.Snapshot) {})
		for range 60 {
			for range 3 {
				go d.CatchUp(ctx)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if got, want := d.state.Load().revision, s.Revision(); got < want {
			t.Errorf("the view has revision %d, the store %d", got, want)
		}
		cancel()
		synctest.Wait()
	})
}
