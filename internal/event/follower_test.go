package event

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/store"
)

// fakeLog is a log of numbers with one consumer. Its cursors are of the form that
// the store's have: one epoch, and a number in it.
type fakeLog struct {
	mu     sync.Mutex
	kept   int
	end    int
	told   chan struct{}
	other  bool // another node has the lease
	freed  bool
	leases int
	reads  int
	passed int // how often the consumer was moved without having taken anything
	lines  strings.Builder
}

func cursorAt(n int) store.Cursor {
	if n == 0 {
		return store.Cursor{}
	}
	c, err := store.ParseCursor("1:" + strconv.Itoa(n) + ".1")
	if err != nil {
		panic(err)
	}
	return c
}

func numberOf(c store.Cursor) int {
	text := strings.TrimSuffix(strings.TrimPrefix(c.String(), "1:"), ".1")
	n, _ := strconv.Atoi(text)
	return n
}

func (l *fakeLog) Consumer(context.Context, string) (store.Cursor, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return cursorAt(l.kept), nil
}

func (l *fakeLog) SetConsumer(_ context.Context, _ string, c store.Cursor) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = numberOf(c)
	return nil
}

func (l *fakeLog) PassConsumer(ctx context.Context, name string, c store.Cursor) error {
	l.mu.Lock()
	l.passed++
	l.mu.Unlock()
	return l.SetConsumer(ctx, name, c)
}

func (l *fakeLog) LeaseConsumer(context.Context, string, time.Duration) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leases++
	return !l.other, nil
}

func (l *fakeLog) FreeConsumer(context.Context, string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.freed = true
	return nil
}

func (l *fakeLog) Committed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told == nil {
		l.told = make(chan struct{})
	}
	return l.told
}

// add commits n more, on this node or silently on another.
func (l *fakeLog) add(n int, here bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end += n
	if here && l.told != nil {
		close(l.told)
		l.told = nil
	}
}

func (l *fakeLog) read(_ context.Context, c store.Cursor, limit int) ([]int, store.Cursor, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	n := numberOf(c)
	var out []int
	for ; n < l.end && len(out) < limit; n++ {
		out = append(out, n+1)
	}
	return out, cursorAt(n), nil
}

// after waits for what a follower does within d, and looks at it while it stands
// still.
func (l *fakeLog) after(d time.Duration, look func()) {
	time.Sleep(d)
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	look()
}

// Write keeps log lines.
func (l *fakeLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(b)
}

// started runs a follower in the bubble; stop ends it and waits.
func started(t *testing.T, f *Follower[int]) (stop func()) {
	t.Helper()
	if f.Logger == nil {
		f.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
}

// TestFollowerWakes: soon after a commit here, within a second after one elsewhere,
// and in batches.
func TestFollowerWakes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLog{end: 25}
		var got []int
		most := 0
		f := &Follower[int]{Name: "x", Log: l, Read: l.read, Batch: 10, Apply: func(_ context.Context, batch []int, _ store.Cursor) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			got, most = append(got, batch...), max(most, len(batch))
			return nil
		}}
		stop := started(t, f)
		l.after(0, func() {
			if len(got) != 25 || most != 10 || l.kept != 25 {
				t.Errorf("at first: %d, batches of %d, kept %d", len(got), most, l.kept)
			}
		})
		l.add(3, true)
		l.after(defaultGather+time.Millisecond, func() {
			if len(got) != 28 {
				t.Errorf("after a commit here: %d", len(got))
			}
		})
		l.add(3, false)
		reads := 0
		l.after(time.Second+time.Millisecond, func() {
			if len(got) != 31 || !slices.IsSorted(got) || l.kept != 31 {
				t.Errorf("after a commit elsewhere: %v, kept %d", got, l.kept)
			}
			reads = l.reads
		})
		l.after(time.Minute, func() {
			if n := l.reads - reads; n > 61 {
				t.Errorf("%d readings of nothing in a minute", n)
			}
		})
		stop()
		if !l.freed {
			t.Error("the lease was kept")
		}
	})
}

// TestFollowerFails: what fails is tried again, ever later and in smaller parts,
// nothing is passed over, and the log says so when it begins and when it ends.
func TestFollowerFails(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"error", "panic"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := &fakeLog{end: 100}
				poison, tries := 70, 0
				var got []int
				f := &Follower[int]{Name: "x", Log: l, Read: l.read, Batch: 40, Logger: slog.New(slog.NewTextHandler(l, nil)),
					Apply: func(_ context.Context, batch []int, _ store.Cursor) error {
						l.mu.Lock()
						defer l.mu.Unlock()
						if slices.Contains(batch, poison) {
							tries++
							if how == "panic" {
								panic("bad record")
							}
							return errors.New("bad record")
						}
						got = append(got, batch...)
						return nil
					}}
				stop := started(t, f)
				l.after(10*time.Minute, func() {
					if len(got) != 69 || l.kept != 69 {
						t.Errorf("applied %d, kept %d; want all before the bad one", len(got), l.kept)
					}
					if tries > 40 {
						t.Errorf("tried %d times in ten minutes", tries)
					}
					if n := strings.Count(l.lines.String(), "tries again"); n < 1 || n > 10 {
						t.Errorf("%d lines about it", n)
					}
					poison = 0
				})
				l.after(time.Minute, func() {
					if len(got) != 100 || !slices.IsSorted(got) || l.kept != 100 {
						t.Errorf("then applied %d, kept %d", len(got), l.kept)
					}
					if n := strings.Count(l.lines.String(), "goes on"); n < 1 {
						t.Error("nothing says that it goes on")
					}
				})
				stop()
			})
		})
	}
}

// TestFollowerYields: another node has the lease; when it is free, the cursor is
// read again.
func TestFollowerYields(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLog{end: 10, other: true}
		var got []int
		f := &Follower[int]{Name: "x", Log: l, Read: l.read, Apply: func(_ context.Context, batch []int, _ store.Cursor) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			got = append(got, batch...)
			return nil
		}}
		stop := started(t, f)
		l.after(time.Minute, func() {
			if len(got) != 0 || l.leases > 8 {
				t.Errorf("worked %v without the lease, asked %d times", got, l.leases)
			}
			l.other, l.kept = false, 6
		})
		l.after(leaseTime, func() {
			if fmt.Sprint(got) != "[7 8 9 10]" {
				t.Errorf("applied %v", got)
			}
		})
		stop()
	})
}

// TestFollowerPassesWhatIsGone: where nothing is left before a cursor it is kept, and
// not as if something had been taken.
func TestFollowerPassesWhatIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLog{end: 3}
		f := &Follower[int]{Name: "x", Log: l, Logger: slog.New(slog.DiscardHandler),
			Read: func(_ context.Context, c store.Cursor, _ int) ([]int, store.Cursor, error) {
				switch numberOf(c) {
				case 0:
					return nil, cursorAt(2), nil // retention has dropped them
				case 2:
					return []int{3}, cursorAt(3), nil
				}
				return nil, c, nil
			},
			Apply: func(_ context.Context, batch []int, _ store.Cursor) error {
				if len(batch) == 0 {
					t.Error("called with nothing")
				}
				return nil
			}}
		stop := started(t, f)
		time.Sleep(time.Minute)
		stop()
		if l.kept != 3 || l.passed != 1 {
			t.Errorf("at %d, passed %d times", l.kept, l.passed)
		}
	})
}

// TestFollowerCommits: Apply keeps the cursor, and one that was moved by somebody
// else is read anew.
func TestFollowerCommits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLog{end: 10}
		var got []int
		f := &Follower[int]{Name: "x", Log: l, Read: l.read, Commits: true, Batch: 4, Apply: func(_ context.Context, batch []int, next store.Cursor) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			if len(batch) > 0 && batch[0] != l.kept+1 {
				return store.ErrLeaseLost
			}
			if l.kept == 4 && len(got) == 4 {
				l.kept = 6 // another node did two
				return store.ErrLeaseLost
			}
			got, l.kept = append(got, batch...), numberOf(next)
			return nil
		}}
		stop := started(t, f)
		l.after(time.Minute, func() {
			if fmt.Sprint(got) != "[1 2 3 4 7 8 9 10]" || l.kept != 10 {
				t.Errorf("applied %v, kept %d", got, l.kept)
			}
		})
		stop()
	})
}

// TestFollowerLag reports the backlog while there is one, and its end.
func TestFollowerLag(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLog{end: 30}
		var lags []string
		f := &Follower[int]{Name: "x", Log: l, Read: l.read, Batch: 10,
			Apply: func(context.Context, []int, store.Cursor) error { time.Sleep(11 * time.Second); return nil },
			Behind: func(_ context.Context, c store.Cursor) (store.Behind, error) {
				return store.Behind{Records: int64(l.end - numberOf(c)), Oldest: time.Now().Add(-time.Hour)}, nil
			},
			OnLag: func(n int64, age time.Duration) { lags = append(lags, fmt.Sprint(n, " ", age)) }}
		stop := started(t, f)
		time.Sleep(40 * time.Second)
		stop()
		lags = slices.Compact(lags)
		if fmt.Sprint(lags) != "[20 1h0m0s 10 1h0m0s 0 0s]" {
			t.Errorf("%v", lags)
		}
	})
}

// TestFollowerLagOfFailures: what cannot be applied is behind, too, and for as long as
// it cannot.
func TestFollowerLagOfFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLog{end: 30}
		var lags []string
		var down atomic.Bool
		down.Store(true)
		f := &Follower[int]{Name: "x", Log: l, Read: l.read, Batch: 100, Logger: slog.New(slog.DiscardHandler),
			Apply: func(context.Context, []int, store.Cursor) error {
				if down.Load() {
					return errors.New("target is down")
				}
				return nil
			},
			Behind: func(_ context.Context, c store.Cursor) (store.Behind, error) {
				return store.Behind{Records: int64(l.end - numberOf(c)), Oldest: time.Now().Add(-time.Hour)}, nil
			},
			OnLag: func(n int64, _ time.Duration) { lags = append(lags, fmt.Sprint(n)) }}
		stop := started(t, f)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(lags); n < 2 || lags[n-1] != "30" {
			t.Errorf("while it is down: %v", lags)
		}
		down.Store(false)
		time.Sleep(time.Minute)
		stop()
		if lags[len(lags)-1] != "0" {
			t.Errorf("in the end: %v", lags)
		}
	})
}

// TestFollowerEndsWithTheStore: a store that has stopped ends it with that error.
func TestFollowerEndsWithTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLog{end: 30}
		f := &Follower[int]{Name: "x", Log: l, Read: l.read, Logger: slog.New(slog.DiscardHandler),
			Apply: func(context.Context, []int, store.Cursor) error { return fmt.Errorf("apply: %w", store.ErrStopped) }}
		if err := f.Run(t.Context()); !errors.Is(err, store.ErrStopped) {
			t.Errorf("run: %v", err)
		}
	})
}
