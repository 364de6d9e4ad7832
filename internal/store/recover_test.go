package store

import (
	"context"
	"testing"
	"time"

	"postern/internal/relay"
)

// TestRecovery kills a process that holds leases, some past the in-flight mark.
func TestRecovery(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		ctx := context.Background()
		s, rec := openTest(t, cfg)
		if !rec.Clean {
			t.Error("a new database is not clean")
		}
		stop := runTest(t, s)
		leased, flying, waiting := mail(t, s, 1, 100, true), mail(t, s, 3, 100, true), mail(t, s, 1, 100, false)
		for _, a := range []*Acceptance{leased, flying, waiting} {
			accept(t, s, a)
		}
		if err := s.Start(ctx, refs(flying)[:2]).Wait(ctx); err != nil {
			t.Fatal(err)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		cfg2 := killed(t, s, cfg)
		s2, rec := openTest(t, cfg2)
		if rec.Clean || rec.Requeued != 2 || rec.InFlight != 2 || rec.Quarantined != 0 {
			t.Errorf("recovery %+v", rec)
		}
		stop2 := runTest(t, s2)
		if s2.Epoch() <= s.Epoch() {
			t.Errorf("epoch %d after %d", s2.Epoch(), s.Epoch())
		}
		q, err := s2.Message(ctx, flying.Message.ID)
		if err != nil || q.Message.Crashes != 1 {
			t.Fatalf("crashes %d, %v", q.Message.Crashes, err)
		}
		for _, r := range q.Recipients {
			if r.PossiblyDelivered != (r.N < 2) || r.Lease != 0 || r.Generation != 2 || r.DueAt.After(time.Now()) {
				t.Errorf("recipient %+v", r)
			}
		}
		h, _ := s2.MessageHistory(ctx, flying.Message.ID)
		n := 0
		for _, e := range h {
			if e.Kind == relay.EventRecovered && e.Epoch == s2.Epoch() && e.Recipient != "" {
				n++
			}
		}
		if n != 2 {
			t.Errorf("%d recovered events", n)
		}
		// The dead process comes back and reports: it changes nothing.
		if err := s2.Finish(ctx, final(flying.Message.ID, flying.Recipients)); err == nil {
			t.Error("a result of before the crash counted")
		}
		jobs, err := s2.Claim(ctx, testLane, testTenant, time.Now(), 100)
		if err != nil || len(jobs) != 3 {
			t.Fatalf("claimed %d, %v", len(jobs), err)
		}
		checkInvariants(t, s2)
		if err := s2.Unlease(ctx, []Ref{{Message: leased.Message.ID, Generation: 3}}); err != nil {
			t.Fatal(err)
		}
		if err := stop2(); err != nil {
			t.Fatal(err)
		}
		if err := s2.Close(); err != nil {
			t.Fatal(err)
		}
		_, rec = openTest(t, cfg2)
		if !rec.Clean || rec.InFlight != 0 || rec.Requeued != 4 {
			t.Errorf("after an orderly end with leases: %+v", rec)
		}
	})
}

// TestCrashesQuarantine: the third death with an attempt under way takes the
// message out of the queue.
func TestCrashesQuarantine(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		ctx := context.Background()
		s, _ := openTest(t, cfg)
		stop := runTest(t, s)
		a := mail(t, s, 1, 100, true)
		accept(t, s, a)
		ref := refs(a)
		for crash := 1; crash <= maxCrashes; crash++ {
			if err := s.Start(ctx, ref).Wait(ctx); err != nil {
				t.Fatal(err)
			}
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			cfg = killed(t, s, cfg)
			var rec Recovery
			s, rec = openTest(t, cfg)
			stop = runTest(t, s)
			jobs, err := s.Claim(ctx, testLane, testTenant, time.Now(), 1)
			if err != nil {
				t.Fatal(err)
			}
			if crash == maxCrashes {
				if rec.Quarantined != 1 || len(jobs) != 0 {
					t.Errorf("third crash: %+v, %d claimed", rec, len(jobs))
				}
				break
			}
			if len(jobs) != 1 {
				t.Fatalf("crash %d: not claimed", crash)
			}
			ref = []Ref{{Message: a.Message.ID, Generation: jobs[0].Recipients[0].Generation}}
		}
		q, err := s.Message(ctx, a.Message.ID)
		if err != nil || q.Message.State != relay.MessageQuarantined || q.Message.Reason == "" {
			t.Errorf("message %+v, %v", q.Message, err)
		}
		if _, err := s.Release(ctx, By{Who: "test"}, MessageFilter{IDs: []relay.MessageID{a.Message.ID}}); err != nil {
			t.Fatal(err)
		}
		if q, _ := s.Message(ctx, a.Message.ID); q.Message.Crashes != 0 || q.Message.State != relay.MessageQueued {
			t.Errorf("released: %+v", q.Message)
		}
		checkInvariants(t, s)
	})
}

// TestRecoveryIsIdempotent stops recovery at each batch and starts it anew.
func TestRecoveryIsIdempotent(t *testing.T) {
	t.Parallel()
	var f faults
	s, _ := openTest(t, Config{})
	stop := runTest(t, s)
	a := mail(t, s, 5, 10, true)
	accept(t, s, a)
	if err := s.Start(context.Background(), refs(a)[:3]).Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	cfg := killed(t, s, s.cfg)
	cfg.fault = f.hook
	f.set("recover", 5, errInjected)
	for range 2 {
		if _, _, err := Open(context.Background(), cfg); err == nil {
			t.Fatal("opened although recovery failed")
		}
	}
	f.set("recover", 0, nil)
	s2, rec := openTest(t, cfg)
	if rec.InFlight != 3 || rec.Requeued != 2 {
		t.Errorf("recovery %+v", rec)
	}
	if q, err := s2.Message(context.Background(), a.Message.ID); err != nil || q.Message.Crashes != 1 {
		t.Errorf("one crash was counted %d times, %v", q.Message.Crashes, err)
	}
	checkInvariants(t, s2)
}
