package store

import (
	"context"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"postern/internal/relay"
)

// TestManyQueued opens a store with many queued messages. It needs minutes and
// gigabytes for a million, so it runs with POSTERN_TEST_QUEUED=1000000 only; a few
// thousand are always tried.
func TestManyQueued(t *testing.T) {
	t.Parallel()
	n := 2000
	if v := os.Getenv("POSTERN_TEST_QUEUED"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	s, _ := openTest(t, Config{})
	stop := runTest(t, s)
	fillQueue(t, s, n)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	cfg := s.cfg
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	s2, rec := openTest(t, cfg)
	opened := time.Since(began)
	if rec.Requeued != int64(n/100) {
		t.Errorf("requeued %d", rec.Requeued)
	}
	runTest(t, s2)
	began = time.Now()
	var shares, waiting int64
	if err := s2.Backlog(context.Background(), func(sh Share) error { shares++; waiting += sh.Count; return nil }); err != nil {
		t.Fatal(err)
	}
	backlog := time.Since(began)
	if waiting != int64(n) {
		t.Errorf("%d wait, want %d", waiting, n)
	}
	began = time.Now()
	jobs, err := s2.Claim(context.Background(), relay.Lane{Pool: testPool, Site: "site7.test"}, testTenant, time.Now(), 100)
	if err != nil || len(jobs) == 0 {
		t.Fatalf("claim: %d, %v", len(jobs), err)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("%d queued: opened in %v, backlog of %d lanes in %v, claim of %d in %v, heap %d MB", n, opened, shares, backlog, len(jobs), time.Since(began), m.HeapInuse>>20)
}

// fillQueue puts n messages straight into the tables, 1 % of them leased.
func fillQueue(t *testing.T, s *Store, n int) {
	t.Helper()
	for done := 0; done < n; {
		o := newOp("fill")
		for range min(500, n-done) {
			a := mail(t, s, 1, 1000, false)
			r := &a.Recipients[0]
			r.Site = "site" + strconv.Itoa(done%50) + ".test"
			if done%100 == 0 {
				r.Lease = s.epoch
			}
			if err := s.appendAcceptance(o, a); err != nil {
				t.Fatal(err)
			}
			done++
		}
		if err := s.w.do(context.Background(), o); err != nil {
			t.Fatal(err)
		}
	}
	var busy int64
	_ = s.db.QueryRow("SELECT count(*) FROM recipients").Scan(&busy)
	if busy != int64(n) {
		t.Fatalf("%d recipients", busy)
	}
}
