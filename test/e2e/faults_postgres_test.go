package e2e

import (
	"context"
	"testing"
	"time"

	"postern/internal/testkit/ledger"
	"postern/internal/testkit/ledger/relayproc"
	"postern/internal/testkit/pgtest"
)

// TestFaultPostgresRestart: the database is restarted, and once crashed, while
// clients hand mail in and deliveries go on. Clients are put off meanwhile, never
// lied to and never refused for good; the relay goes on by itself.
func TestFaultPostgresRestart(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a while")
	}
	db := pgtest.Require(t)
	seed := int64(81)
	w := relayproc.New(t, seed, relayproc.Options{Binary: binary(t), StoreURL: db.Database(t), Judge: relayproc.LazySink(seed)})
	w.Setup(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	load := w.Load(4, 0)
	load.Pause = 5 * time.Millisecond
	ended := make(chan error, 1)
	go func() { ended <- load.Run(ctx) }()
	more := func(n int) {
		want := w.Ledger.Acked() + n
		until(t, "more messages acknowledged", func() bool { return w.Ledger.Acked() >= want })
	}
	more(30)
	for _, end := range []func(){db.Stop, db.Crash, db.Stop} {
		// What is in flight may be delivered and not recorded: as by a kill.
		outage := func(f func()) {
			from := time.Now()
			f()
			w.Ledger.Kill(ledger.Kill{From: from, To: time.Now()})
		}
		outage(end)
		time.Sleep(700 * time.Millisecond)
		outage(func() { must(t, db.Start()) })
		more(30)
	}
	select {
	case <-w.Process().Done():
		t.Fatal("the relay ended")
	default:
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for _, e := range w.Ledger.Entries() {
		if e.Phase == ledger.Refused && permanent(e.Reply) {
			t.Errorf("%s was refused for good: %s", e.ID, e.Reply)
		}
	}
	w.Rest(t, 90*time.Second)
	r := w.Check(t)
	t.Log(r.String())
	w.Stop(t)
}

// TestFaultPostgresKill is PF-01 on PostgreSQL: kill -9 of the relay, the database
// stays.
func TestFaultPostgresKill(t *testing.T) {
	t.Parallel()
	if testing.Short() || !mustHaveAll() {
		t.Skip("takes a while; POSTERN_TEST_EXTERNAL=1 runs it")
	}
	db := pgtest.Require(t)
	seed := int64(82)
	w := relayproc.New(t, seed, relayproc.Options{Binary: binary(t), StoreURL: db.Database(t), Judge: relayproc.LazySink(seed)})
	w.Setup(t)
	rounds := envInt(t, "POSTERN_CRASH_ROUNDS", 3)
	w.KillRounds(t, min(rounds, 5))
	w.Rest(t, 120*time.Second)
	r := w.Check(t)
	t.Log(r.String())
	w.Stop(t)
}
