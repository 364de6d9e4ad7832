package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/relay"
)

// TestContextCountsUntilTaken: a caller who gives up before the writer took the
// operation leaves nothing; one who gives up later learns the truth.
func TestContextCountsUntilTaken(t *testing.T) {
	t.Parallel()
	reached, goOn := make(chan struct{}), make(chan struct{})
	var armed atomic.Bool
	s, _ := openTest(t, Config{fault: func(point string) error {
		if point == "commit" && armed.CompareAndSwap(true, false) {
			close(reached)
			<-goOn
		}
		return nil
	}})
	ended, cancelEnded := context.WithCancel(context.Background())
	cancelEnded()
	if err := s.Accept(ended, mail(t, s, 1, 10, false)); !errors.Is(err, context.Canceled) {
		t.Fatalf("context over before the call: %v", err)
	}
	// Nobody writes yet: the caller may give up.
	waiting, giveUp := context.WithCancel(context.Background())
	res := make(chan error, 1)
	never := mail(t, s, 1, 10, false)
	go func() { res <- s.Accept(waiting, never) }()
	giveUp()
	if err := <-res; !errors.Is(err, context.Canceled) {
		t.Fatalf("gave up while waiting: %v", err)
	}
	runTest(t, s)
	taken, cancelTaken := context.WithCancel(context.Background())
	armed.Store(true)
	stored := mail(t, s, 1, 10, false)
	go func() { res <- s.Accept(taken, stored) }()
	<-reached
	cancelTaken()
	select {
	case err := <-res:
		t.Fatalf("answered before the commit: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(goOn)
	if err := <-res; err != nil {
		t.Fatalf("committed, and told %v", err)
	}
	wantRows(t, s, 1, 1, 1, 0)
	checkInvariants(t, s)
}

// TestEndWritesWhatWasHandedIn: Run ends, what came before is stored, what comes
// after is refused, and nobody hangs.
func TestEndWritesWhatWasHandedIn(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		stop := runTest(t, s)
		var ok, closed atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for {
					err := s.Accept(context.Background(), mail(t, s, 1, 10, false))
					switch {
					case err == nil:
						ok.Add(1)
						continue
					case errors.Is(err, ErrClosed):
						closed.Add(1)
					default:
						t.Error(err)
					}
					return
				}
			})
		}
		for ok.Load() < 20 {
			time.Sleep(time.Millisecond)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if closed.Load() != 8 || rows(t, s, "messages") != int(ok.Load()) {
			t.Errorf("%d refused, %d told stored, %d stored", closed.Load(), ok.Load(), rows(t, s, "messages"))
		}
	})
}

// TestRandomLives runs many lives at once with faults of single operations mixed
// in, then looks at the invariants and at each message's events.
func TestRandomLives(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		var n atomic.Int64
		cfg.fault = func(point string) error {
			switch point {
			case "accept", "finish", "claim", "start", "store body chunks":
				if n.Add(1)%17 == 0 {
					return fmt.Errorf("%w %d", errInjected, n.Load())
				}
			}
			return nil
		}
		s := newTest(t, cfg)
		var mu sync.Mutex
		ends := map[relay.MessageID]int{} // stored messages → recipients
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for i := range 12 {
					if a := randomLife(t, s, g*100+i); a != nil {
						mu.Lock()
						ends[a.Message.ID] = len(a.Recipients)
						mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
		if len(ends) == 0 {
			t.Fatal("nothing was accepted")
		}
		checkInvariants(t, s)
		for id, recipients := range ends {
			done := 0
			h, err := s.MessageHistory(context.Background(), id)
			if err != nil {
				t.Fatalf("accepted message %s has no history: %v", id, err)
			}
			for _, e := range h {
				if e.Kind == relay.EventDelivered {
					done++
				}
			}
			left := 0
			if q, err := s.Message(context.Background(), id); err == nil {
				left = len(q.Recipients)
			}
			if done+left != recipients {
				t.Errorf("message %s: %d delivered and %d queued of %d", id, done, left, recipients)
			}
		}
	})
}

// randomLife brings a message as far as the faults let it. It returns nil when
// it was not accepted.
func randomLife(t *testing.T, s *Store, seed int) *Acceptance {
	ctx := context.Background()
	a := mail(t, s, 1+seed%3, 50, seed%2 == 0)
	body := s.NewBody(a.Message.ID)
	a.Body = body
	defer func() {
		// Discard itself is not injected; after an acceptance it does nothing.
		if err := body.Discard(ctx); err != nil {
			t.Errorf("discard: %v", err)
		}
	}()
	if _, err := body.Write(octetsOf(a.Message.ID, seed%7*70_000)); err != nil {
		return nil
	}
	if err := s.Accept(ctx, a); err != nil {
		return nil
	}
	work := a.Recipients
	if seed%2 != 0 {
		jobs, err := s.Claim(ctx, testLane, testTenant, time.Now(), 5)
		if err != nil {
			return a
		}
		for _, j := range jobs {
			if s.Start(ctx, refsOf(j.Recipients)).Wait(ctx) == nil {
				_ = s.Finish(ctx, final(j.Message.ID, j.Recipients)) // may be the injected one
			}
		}
		return a
	}
	if s.Start(ctx, refsOf(work)).Wait(ctx) == nil {
		_ = s.Finish(ctx, final(a.Message.ID, work)) // may be the injected one
	}
	return a
}

func refsOf(rs []relay.Recipient) []Ref {
	var out []Ref
	for _, r := range rs {
		out = append(out, Ref{Message: r.Message, N: r.N, Generation: r.Generation})
	}
	return out
}

// TestRecordsNeverCrowdOutMail: with both queues full, a batch carries mail and
// at most its share of records.
func TestRecordsNeverCrowdOutMail(t *testing.T) {
	t.Parallel()
	w := newWriter(&Store{})
	for range 2000 {
		w.submit(newOp("mail"), false)
		w.submit(newOp("record"), true)
	}
	for range 4 {
		mail, records := 0, 0
		for _, o := range w.take() {
			if o.name == "mail" {
				mail++
			} else {
				records++
			}
		}
		if mail != maxBatchOps-maxLowOps || records != maxLowOps {
			t.Errorf("%d mail, %d records", mail, records)
		}
	}
	big := newWriter(&Store{})
	for range 10 {
		o := newOp("big")
		o.bytes = 3 << 20
		big.submit(o, false)
	}
	if n := len(big.take()); n != 2 {
		t.Errorf("%d operations of 3 MiB in a batch", n)
	}
}

// TestLogStaysShort: under load the write-ahead log starts again before it grows.
func TestLogStaysShort(t *testing.T) {
	t.Parallel()
	s := newTest(t, Config{})
	e, ok := s.eng.(*sqliteEngine)
	if !ok {
		t.Fatal("not SQLite")
	}
	var most int64
	for range 16 {
		for range 4 {
			accept(t, s, mail(t, s, 1, memoryBytes, false))
		}
		if err := e.checkpoint(context.Background(), true); err != nil {
			t.Fatal(err)
		}
		most = max(most, e.walSize())
	}
	if most > 8<<20 { // a reader may keep it from starting anew, now and then
		t.Errorf("the log grew to %d octets though it was copied", most)
	}
	checkInvariants(t, s)
}
