package store

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/relay"
)

func TestBodies(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		for _, size := range []int{0, 1, chunkBytes - len(testHead), chunkBytes, chunkBytes + 1, memoryBytes, memoryBytes + 1, memoryBytes + chunkBytes, 3*memoryBytes + 77} {
			a := mail(t, s, 1, size, false)
			if a.Body == nil {
				a.Body = s.NewBody(a.Message.ID)
			}
			want := octetsOf(a.Message.ID, size)
			if a.Body.Size() != int64(size) {
				t.Errorf("size %d says %d", size, a.Body.Size())
			}
			mem, whole := a.Body.Bytes()
			if whole != (size <= memoryBytes) {
				t.Errorf("size %d: in memory %t", size, whole)
			}
			if whole {
				sameOctets(t, mem, want)
			}
			for range 2 {
				r, err := a.Body.Open(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(r)
				if err != nil {
					t.Fatal(err)
				}
				sameOctets(t, got, want)
			}
			accept(t, s, a)
			sameOctets(t, readAll(t, s, a.Message.ID), append(append([]byte{}, testHead...), want...))
			if _, err := a.Body.Write([]byte("x")); err == nil {
				t.Error("an accepted body takes more")
			}
			if err := a.Body.Discard(context.Background()); err != nil {
				t.Errorf("discard after accept: %v", err)
			}
			readAll(t, s, a.Message.ID)
		}
		if n := rows(t, s, "pending_bodies"); n != 0 {
			t.Errorf("%d pending bodies left", n)
		}
		checkInvariants(t, s)
	})
}

func TestDiscardLeavesNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx, cancel := context.WithCancel(context.Background())
		b := s.NewBody(relay.MessageID{ID: relay.NewID(time.Now())})
		b.Grow(1 << 40) // a lie of SIZE
		if cap(b.mem) > memoryBytes {
			t.Errorf("grew to %d", cap(b.mem))
		}
		for range 10 {
			if _, err := b.WriteContext(ctx, make([]byte, 100_000)); err != nil {
				t.Fatal(err)
			}
		}
		if rows(t, s, "bodies") == 0 || rows(t, s, "pending_bodies") != 1 {
			t.Fatal("nothing was spilled")
		}
		cancel() // the client is gone
		if err := b.Discard(ctx); err != nil {
			t.Fatal(err)
		}
		wantRows(t, s, 0, 0, 0, 0)
		if _, err := b.Write([]byte("x")); err == nil {
			t.Error("a discarded body takes more")
		}
		if err := s.Accept(context.Background(), &Acceptance{Message: relay.Message{ID: b.id, State: relay.MessageQueued}, Body: b}); err == nil {
			t.Error("a discarded body was accepted")
		}
	})
}

// TestPendingBodiesAreSwept: what a dead process had received is removed; what
// was accepted stays, and what a living one receives too.
func TestPendingBodiesAreSwept(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		stop := runTest(t, s)
		kept := mail(t, s, 1, 400_000, false)
		accept(t, s, kept)
		half := s.NewBody(relay.MessageID{ID: relay.NewID(time.Now())})
		if _, err := half.Write(make([]byte, 400_000)); err != nil {
			t.Fatal(err)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		s2, rec := openTest(t, killed(t, s, cfg))
		runTest(t, s2)
		if rec.Clean {
			t.Error("a kill counts as clean")
		}
		live := s2.NewBody(relay.MessageID{ID: relay.NewID(time.Now())})
		if _, err := live.Write(make([]byte, 400_000)); err != nil {
			t.Fatal(err)
		}
		if err := s2.sweep(context.Background()); err != nil {
			t.Fatal(err)
		}
		if n := rows(t, s2, "pending_bodies"); n != 1 {
			t.Errorf("%d pending bodies, want the living one's", n)
		}
		readAll(t, s2, kept.Message.ID)
		if err := live.Discard(context.Background()); err != nil {
			t.Fatal(err)
		}
		checkInvariants(t, s2)
	})
}

func TestKeptBodies(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		var shift atomic.Int64
		cfg.KeepBodies, cfg.Now = time.Hour, func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }
		s := newTest(t, cfg)
		ctx := context.Background()
		a := mail(t, s, 1, 300_000, true)
		accept(t, s, a)
		want := readAll(t, s, a.Message.ID)
		if err := s.Finish(ctx, final(a.Message.ID, a.Recipients)); err != nil {
			t.Fatal(err)
		}
		sameOctets(t, readAll(t, s, a.Message.ID), want)
		if rows(t, s, "messages") != 0 {
			t.Error("the message is still queued")
		}
		checkInvariants(t, s)
		if err := s.sweepKept(ctx); err != nil {
			t.Fatal(err)
		}
		sameOctets(t, readAll(t, s, a.Message.ID), want)
		shift.Store(int64(2 * time.Hour))
		if err := s.sweepKept(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Content(ctx, a.Message.ID); relay.KindOf(err) != relay.NotFound {
			t.Errorf("after its time: %v", err)
		}
		wantRows(t, s, 0, 0, 0, 0)
	})
}

// TestSpilledBodyIsAcceptedOnce: another header under the same nonces is refused.
func TestSpilledBodyIsAcceptedOnce(t *testing.T) {
	t.Parallel()
	var f faults
	s := newTest(t, Config{fault: f.hook})
	a := mail(t, s, 1, 400_000, false)
	f.set("accept", 2, errInjected)
	if err := s.Accept(context.Background(), a); !errors.Is(err, errInjected) {
		t.Fatal(err)
	}
	f.set("accept", 0, nil)
	if err := s.Accept(context.Background(), a); !errors.Is(err, errAcceptance) {
		t.Fatalf("second try: %v", err)
	}
	if err := a.Body.Discard(context.Background()); err != nil {
		t.Fatal(err)
	}
	wantRows(t, s, 0, 0, 0, 0)
	// One that is in memory can be tried again.
	b := mail(t, s, 1, 1000, false)
	f.set("accept", 2, errInjected)
	if err := s.Accept(context.Background(), b); !errors.Is(err, errInjected) {
		t.Fatal(err)
	}
	f.set("accept", 0, nil)
	accept(t, s, b)
	checkInvariants(t, s)
}
