package store

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/testkit/pgtest"
)

// TestTakeover: a node goes silent; another takes its leases over, and what the
// first one still says counts for nothing.
func TestTakeover(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := sharedPg(t).Database(t)
	cfg := Config{URL: url, Heartbeat: 50 * time.Millisecond, LeaseTime: 400 * time.Millisecond}
	silent, _ := openTest(t, Config{URL: url, Heartbeat: time.Hour, LeaseTime: time.Hour})
	runTest(t, silent)
	lastSeen := func(ago time.Duration) {
		t.Helper()
		_, err := silent.db.ExecContext(ctx, `UPDATE nodes SET heartbeat_at = $1 WHERE epoch = $2`, time.Now().Add(-ago).UnixMicro(), silent.epoch)
		if err != nil {
			t.Fatal(err)
		}
	}
	lastSeen(-time.Hour) // alive until the heir is there, however slow the machine
	leased, flying := mail(t, silent, 2, 10, true), mail(t, silent, 1, 10, true)
	accept(t, silent, leased)
	accept(t, silent, flying)
	if err := silent.Start(ctx, refs(flying)).Wait(ctx); err != nil {
		t.Fatal(err)
	}
	taken := make(chan []Share, 10)
	cfg.OnTakeover = func(sh []Share) { taken <- sh }
	heir := newTest(t, cfg)
	lastSeen(time.Second)
	var shares []Share
	select {
	case shares = <-taken:
	case <-time.After(time.Minute):
		t.Fatal("nobody took over")
	}
	if len(shares) != 1 || shares[0].Lane != testLane || shares[0].Count != 3 {
		t.Errorf("shares %+v", shares)
	}
	q, err := heir.Message(ctx, flying.Message.ID)
	if err != nil || !q.Recipients[0].PossiblyDelivered || q.Message.Crashes != 1 {
		t.Errorf("in flight: %+v, %v", q, err)
	}
	jobs, err := heir.Claim(ctx, testLane, testTenant, time.Now(), 10)
	if err != nil || len(jobs) != 2 {
		t.Fatalf("heir claimed %d, %v", len(jobs), err)
	}
	// The silent node was not dead. It can change nothing any more, and knows it.
	if err := silent.Finish(ctx, final(leased.Message.ID, leased.Recipients)); !errors.Is(err, ErrStopped) {
		t.Errorf("result of a node that was declared dead: %v", err)
	}
	if err := silent.Accept(ctx, mail(t, silent, 1, 10, true)); !errors.Is(err, ErrStopped) {
		t.Errorf("acceptance of a node that was declared dead: %v", err)
	}
	wantRows(t, heir, 2, 3, 2, 0)
	for _, j := range jobs {
		if err := heir.Finish(ctx, final(j.Message.ID, j.Recipients)); err != nil {
			t.Error(err)
		}
	}
	wantRows(t, heir, 0, 0, 0, 0)
	checkInvariants(t, heir)
}

// TestTwoNodesFinishOneMessage: each ends recipients of the same messages at the
// same time; the last one takes the message along, whoever it is, and nobody
// blocks for good.
func TestTwoNodesFinishOneMessage(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := sharedPg(t).Database(t)
	nodes := []*Store{newTest(t, Config{URL: url, LeaseTime: time.Hour}), newTest(t, Config{URL: url, LeaseTime: time.Hour})}
	const messages, per = 25, 4
	for range messages {
		accept(t, nodes[0], mail(t, nodes[0], per, 10, false))
	}
	var wg sync.WaitGroup
	for _, s := range nodes {
		for range 4 {
			wg.Go(func() {
				for empty := 0; empty < 5; {
					jobs, err := s.Claim(ctx, testLane, testTenant, time.Now(), 3)
					if err != nil {
						t.Error(err)
						return
					}
					if len(jobs) == 0 {
						empty++
					}
					for _, j := range jobs {
						if err := s.Finish(ctx, final(j.Message.ID, j.Recipients)); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
	}
	wg.Wait()
	wantRows(t, nodes[0], 0, 0, 0, 0)
	checkInvariants(t, nodes[0])
	if n := rows(t, nodes[0], "events"); n != messages*(per+1) {
		t.Errorf("%d events, want %d", n, messages*(per+1))
	}
}

// TestChangeReachesTheOtherNode within a second.
func TestChangeReachesTheOtherNode(t *testing.T) {
	t.Parallel()
	url := sharedPg(t).Database(t)
	a, b := newTest(t, Config{URL: url, LeaseTime: time.Hour}), newTest(t, Config{URL: url, LeaseTime: time.Hour})
	w := newWorld(t, a)
	for b.Revision() != a.Revision() {
		select {
		case <-b.Changed():
		case <-time.After(time.Minute):
			t.Fatal("the other node never heard of it")
		}
	}
	changed := b.Changed()
	began := time.Now()
	if err := a.RevokeKey(context.Background(), testBy, w.key.ID, time.Now()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	case <-time.After(time.Minute):
		t.Fatal("the other node never heard of it")
	}
	t.Logf("heard after %v", time.Since(began))
	snap, err := b.Snapshot(context.Background(), 0)
	if err != nil || snap.Keys[0].RevokedAt.IsZero() {
		t.Errorf("snapshot: %v", err)
	}
	if age := time.Since(b.LastChecked()); age > 5*time.Second {
		t.Errorf("checked %v ago", age)
	}
}

// TestDatabaseRestartsUnderLoad: acceptances fail for a while and are told so;
// results wait; every message that was told stored is there, none twice.
func TestDatabaseRestartsUnderLoad(t *testing.T) {
	t.Parallel()
	pg := pgtest.Require(t)
	s := newTest(t, Config{URL: pg.Database(t), LeaseTime: time.Hour})
	ctx := context.Background()
	var ok, away atomic.Int64
	var lost sync.Map
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				a := mail(t, s, 1, 2000, true)
				err := s.Accept(ctx, a)
				if relay.KindOf(err) == relay.Unavailable {
					away.Add(1)
					time.Sleep(5 * time.Millisecond)
					continue
				}
				if err != nil {
					t.Errorf("accept: %v", err)
					return
				}
				if n := ok.Add(1); n%2 == 0 {
					if err := s.Finish(ctx, final(a.Message.ID, a.Recipients)); err != nil {
						t.Errorf("finish: %v", err)
						return
					}
				} else {
					lost.Store(a.Message.ID, true)
				}
			}
		})
	}
	until := func(c *atomic.Int64, n int64) {
		for end := time.Now().Add(time.Minute); c.Load() < n && time.Now().Before(end); {
			time.Sleep(2 * time.Millisecond)
		}
	}
	until(&ok, 30)
	for _, end := range []func(){pg.Crash, pg.Stop} {
		before := ok.Load()
		end()
		time.Sleep(300 * time.Millisecond) // let it be away for a while
		probe, cancel := context.WithTimeout(ctx, time.Minute)
		if err := s.Accept(probe, mail(t, s, 1, 10, false)); relay.KindOf(err) != relay.Unavailable {
			t.Errorf("accept while the database is away: %v", err)
		}
		cancel()
		if err := pg.Start(); err != nil {
			t.Fatal(err)
		}
		until(&ok, before+30)
	}
	close(stop)
	wg.Wait()
	lost.Range(func(id, _ any) bool {
		m, _ := id.(relay.MessageID)
		if _, err := readContent(s, m); err != nil {
			t.Errorf("a message that was told stored: %v", err)
		}
		return true
	})
	checkInvariants(t, s)
	t.Logf("%d stored, %d told to try again", ok.Load(), away.Load())
}

// A database that is away for hours must not fill the disk with the log of it.
func TestRevisionFeedIsSaidOnce(t *testing.T) {
	t.Parallel()
	pg := pgtest.Require(t)
	var said saidTimes
	s := newTest(t, Config{URL: pg.Database(t), LeaseTime: time.Hour, Logger: slog.New(&said)})
	for outage := int64(1); outage <= 2; outage++ {
		pg.Stop()
		time.Sleep(6 * revisionEvery)
		if err := pg.Start(); err != nil {
			t.Fatal(err)
		}
		back := time.Now()
		for s.LastChecked().Before(back) {
			if time.Since(back) > time.Minute {
				t.Fatal("the feed never came back")
			}
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(2 * revisionEvery)
		if broke, on := said.broke.Load(), said.on.Load(); broke != outage || on != outage {
			t.Errorf("after outage %d: broken is said %d times, and that it goes on %d times", outage, broke, on)
		}
	}
}

// saidTimes counts what the revision feed logs.
type saidTimes struct {
	slog.Handler
	broke, on atomic.Int64
}

func (*saidTimes) Enabled(context.Context, slog.Level) bool { return true }

func (s *saidTimes) Handle(_ context.Context, r slog.Record) error {
	switch r.Message {
	case "revision feed":
		s.broke.Add(1)
	case "revision feed goes on":
		s.on.Add(1)
	}
	return nil
}

// How a node's last run ended is told by that run, not by whoever came last: the others
// may be living, or have ended well after it was killed.
func TestHowANodeEnded(t *testing.T) {
	t.Parallel()
	url := sharedPg(t).Database(t)
	node := func(name string) Config { return Config{URL: url, LeaseTime: time.Hour, Node: name} }
	start := func(name string, clean bool) *Store {
		t.Helper()
		s, rec := openTest(t, node(name))
		if rec.Clean != clean {
			t.Errorf("%s starts with clean = %t", name, rec.Clean)
		}
		return s
	}
	end := func(s *Store) {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	start("a", true)       // and lives on
	end(start("b", false)) // never seen: it may be the first one under another name
	end(start("b", true))
	b := start("b", true)
	killed(t, b, node("b"))
	end(start("c", false))
	end(start("c", true))
	end(start("b", false))
	end(start("b", true))
}
