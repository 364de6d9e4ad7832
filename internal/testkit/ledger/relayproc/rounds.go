package relayproc

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/testkit/ledger"
)

// Round is one kill: when it came, and what the ledger held by then.
type Round struct {
	Number int
	After  time.Duration // since the process was started
	Acked  int           // messages acknowledged so far
	Taken  int           // copies taken so far
}

// LazySink is a sink's judge for kill rounds: one recipient in twenty is first
// put off, and the answer to the end of data comes late now and then, so that
// kills find attempts under way.
func LazySink(seed int64) ledger.Judge {
	rng := rand.New(rand.NewPCG(uint64(seed), 99))
	var mu sync.Mutex
	putOff := map[string]bool{}
	return func(step ledger.Step, _, rcpt string) ledger.Verdict {
		mu.Lock()
		defer mu.Unlock()
		switch n := rng.IntN(100); {
		case step == ledger.AtRcpt && n < 5 && !putOff[rcpt]:
			putOff[rcpt] = true
			return ledger.Verdict{Reply: "451 4.2.0 come back later"}
		case step == ledger.AtEnd && n < 50:
			return ledger.Verdict{Delay: time.Duration(rng.IntN(60)) * time.Millisecond}
		}
		return ledger.Verdict{}
	}
}

// KillRounds loads a running relay, kills it at random moments and starts it
// again on the same data, so many times, and leaves it running with the load
// ended. One kill in four comes while the relay is still starting.
func (w *World) KillRounds(t testing.TB, rounds int) []Round {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(w.Ledger.Seed), 7))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	load := w.Load(8, 0)
	load.Pause = 5 * time.Millisecond
	ended := make(chan error, 1)
	go func() { ended <- load.Run(ctx) }()
	var out []Round
	for n := 1; n <= rounds; n++ {
		started := time.Now()
		if rng.IntN(4) > 0 {
			if err := w.WaitReady(60 * time.Second); err != nil {
				t.Fatalf("seed %d, before kill %d: %v\n%s", w.Ledger.Seed, n, err, w.LogTail(4000))
			}
			time.Sleep(time.Duration(50+rng.IntN(1200)) * time.Millisecond)
		} else {
			time.Sleep(time.Duration(rng.IntN(250)) * time.Millisecond)
		}
		w.Kill()
		out = append(out, Round{Number: n, After: time.Since(started), Acked: w.Ledger.Acked(), Taken: len(w.Ledger.Takes())})
		must(t, w.Launch(nil))
	}
	if err := w.WaitReady(60 * time.Second); err != nil {
		t.Fatalf("seed %d, after the last kill: %v\n%s", w.Ledger.Seed, err, w.LogTail(4000))
	}
	// The load also meets the relay that nobody kills any more.
	time.Sleep(300 * time.Millisecond)
	stop()
	if err := <-ended; err != nil {
		t.Fatalf("seed %d: load: %v", w.Ledger.Seed, err)
	}
	return out
}

// Rest waits until every promise is kept and the queue is empty. Messages that
// were quarantined because kills hit them three times are released: they are in
// a recorded state, and a person's word must bring them on their way.
func (w *World) Rest(t testing.TB, limit time.Duration) {
	t.Helper()
	deadline := time.Now().Add(limit)
	var queued []Message
	for time.Now().Before(deadline) {
		queued = w.Queue(t)
		for _, m := range queued {
			if m.Message.State == "quarantined" {
				w.MustCLI(t, "queue", "release", m.Message.ID)
			}
		}
		if len(queued) == 0 && len(w.Ledger.Missing()) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	missing := w.Ledger.Missing()
	t.Errorf("no rest within %v: %d promises not kept, %d messages queued\n%s\n%+v", limit, len(missing), len(queued),
		strings.Join(missing[:min(len(missing), 10)], "\n"), queued[:min(len(queued), 3)])
}

// Check balances the ledger, with the relay's own events as its other half.
func (w *World) Check(t testing.TB) ledger.Report {
	t.Helper()
	events := w.Events(t)
	r := w.Ledger.Check(Marks(events))
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	if bad := w.audit(events); len(bad) > 0 {
		t.Errorf("seed %d: the relay's events do not agree with its words: %d\n\t%s", w.Ledger.Seed, len(bad), strings.Join(bad[:min(len(bad), 20)], "\n\t"))
	}
	return r
}

// audit compares the events with the ledger: every acknowledged message has its
// "received", and each of its recipients exactly one end.
func (w *World) audit(events []Event) (bad []string) {
	received, ends := map[string]string{}, map[string][]string{}
	for _, e := range events {
		switch e.Kind {
		case "received":
			received[e.Message] = ledgerID(e.Data.Subject)
		case "delivered", "bounced", "dropped":
			ends[e.Message+" "+e.Recipient] = append(ends[e.Message+" "+e.Recipient], e.Kind)
		}
	}
	for _, e := range w.Ledger.Entries() {
		if e.Phase != ledger.Acked {
			continue
		}
		if received[e.QueueID] != e.ID {
			bad = append(bad, fmt.Sprintf("%s, queued as %s: received is %q", e.ID, e.QueueID, received[e.QueueID]))
		}
		for _, rcpt := range e.Recipients {
			if got := ends[e.QueueID+" "+rcpt]; !slices.Equal(got, []string{"delivered"}) {
				bad = append(bad, fmt.Sprintf("%s %s, queued as %s: ends %v", e.ID, rcpt, e.QueueID, got))
			}
		}
	}
	return bad
}

// Markdown is a page with the rounds and what they came to.
func Markdown(r ledger.Report, rounds []Round) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| seed | kills | messages acknowledged | recipients | sent without an answer | copies | extra copies | marked possibly delivered | lost |\n|---|---|---|---|---|---|---|---|---|\n")
	fmt.Fprintf(&b, "| %d | %d | %d | %d | %d | %d | %d | %d | %d |\n\n", r.Seed, r.Kills, r.Acked, r.Recipients, r.Unknown, r.Copies, r.Extra, r.Marks, len(r.Lost))
	fmt.Fprintf(&b, "| kill | ms after start | acknowledged by then | copies by then |\n|---|---|---|---|\n")
	for _, n := range rounds {
		fmt.Fprintf(&b, "| %d | %d | %d | %d |\n", n.Number, n.After.Milliseconds(), n.Acked, n.Taken)
	}
	return b.String()
}
