package export

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

// target is one that may be down.
type target struct {
	mu     sync.Mutex
	got    map[string]int
	down   bool
	tried  int
	closed bool
}

func (t *target) Send(_ context.Context, records []Record) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tried++
	if t.down {
		return 0, errors.New("down")
	}
	for _, r := range records {
		t.got[r.ID]++
	}
	return len(records), nil
}

func (t *target) Close() error { t.closed = true; return nil }

func (t *target) count() (ids, tried int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.got), t.tried
}

func (t *target) set(down bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.down = down
}

// opened is a running store with its own directory.
func opened(t *testing.T) *store.Store {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "sealing.key")
	if err := secret.WriteKeyFile(key, secret.NewSealingKey()); err != nil {
		t.Fatal(err)
	}
	sealer, err := secret.OpenSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := store.Open(t.Context(), store.Config{Path: filepath.Join(dir, "postern.db"), Sealer: sealer, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, s.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// serve runs an exporter until the returned function is called.
func serve(t *testing.T, e *Exporter) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

func change(t *testing.T, s *store.Store, n int) {
	t.Helper()
	for range n {
		if err := s.RecordChange(t.Context(), store.By{Who: "ann", From: "test"}, relay.Change{Action: "key.create", Subject: "k"}); err != nil {
			t.Fatal(err)
		}
	}
}

// A new target begins with now; from then on nothing is left out: not what happens
// while it is down, nor while nobody serves it.
func TestNothingIsLeftOut(t *testing.T) {
	t.Parallel()
	s := opened(t)
	change(t, s, 3) // before its time
	out := &target{got: map[string]int{}, down: true}
	e := func() *Exporter {
		return &Exporter{Name: "siem", Streams: Streams, Target: out, Store: s, Logger: slog.New(slog.DiscardHandler)}
	}
	stop := serve(t, e())
	eventually(t, "the consumer is not there", func() bool {
		ok, err := s.HasConsumer(t.Context(), "export/siem/changes")
		return ok && err == nil
	})
	change(t, s, 4)
	eventually(t, "it was not tried", func() bool { _, tried := out.count(); return tried > 0 })
	stop()
	change(t, s, 2)
	out.set(false)
	stop = serve(t, e())
	eventually(t, "not all arrived", func() bool { n, _ := out.count(); return n == 6 })
	change(t, s, 1)
	eventually(t, "what came later did not arrive", func() bool { n, _ := out.count(); return n == 7 })
	stop()
	for id, n := range out.got {
		if n != 1 {
			t.Errorf("%s arrived %d times", id, n)
		}
	}
	if !out.closed {
		t.Error("the target was not closed")
	}
}

// With All a new target gets what was there before it.
func TestAllThatIsKept(t *testing.T) {
	t.Parallel()
	s := opened(t)
	change(t, s, 3)
	all, err := s.Changes(t.Context(), store.ChangeFilter{})
	if err != nil || len(all) < 3 {
		t.Fatalf("%d changes, %v", len(all), err)
	}
	out := &target{got: map[string]int{}}
	stop := serve(t, &Exporter{Name: "file", Streams: []Stream{Changes}, Target: out, Store: s, All: true, Logger: slog.New(slog.DiscardHandler)})
	eventually(t, "not all arrived", func() bool { n, _ := out.count(); return n == len(all) })
	stop()
}

// It is kept where a new target begins before anything is sent: what prunes the record
// sees that a target is there which has nothing yet.
func TestNewTargetIsKept(t *testing.T) {
	t.Parallel()
	s := opened(t)
	to := &target{got: map[string]int{}, down: true}
	e := &Exporter{Name: "siem", Streams: Streams, Target: to, Store: s, All: true, Logger: slog.New(slog.DiscardHandler)}
	defer serve(t, e)()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		all, err := s.Consumers(t.Context())
		if err == nil && len(all) == len(Streams) {
			for i := range all {
				if !all[i].Cursor.IsZero() || all[i].MovedAt.IsZero() {
					t.Errorf("%+v", all[i])
				}
			}
			return
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%+v %v", all, err)
		}
	}
}
