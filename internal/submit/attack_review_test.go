package submit

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"postern/internal/queue"
	"postern/internal/relay"
	"postern/internal/smtp"
	"postern/internal/store"
)

// A re-encoded body must not be handed to the writer in one piece: its commit
// would hold up everybody's, and its memory is held until then.
func TestRewrittenBodyIsStoredInChunks(t *testing.T) {
	w := newWorld(t, nil)
	in, err := w.service.Begin(t.Context(), &relay.Principal{Tenant: relay.Tenant{Account: acme}, Key: &w.key}, envelope("b@one.test"))
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat("\xe9", 20000) + "\r\n"
	raw := "From: sender@acme.test\r\n\r\n" + strings.Repeat(line, 100)
	in.Write(t.Context(), []byte(raw))
	if err := in.Commit(t.Context(), in.p); err != nil {
		t.Fatal(err)
	}
	if b, whole := in.body.Bytes(); whole {
		t.Errorf("%d octets are in memory in one piece", len(b))
	}
	got := w.content(in.ID())
	if !strings.Contains(got, "quoted-printable") || strings.Count(got, "=E9") != 100*20000 {
		t.Errorf("%d octets, %d of the encoded characters", len(got), strings.Count(got, "=E9"))
	}
}

// However many sessions hand in text with long lines, what is re-encoded at
// once stays within the budget, and who waits too long is told to come again.
func TestRewritesShareABudget(t *testing.T) {
	t.Parallel()
	b := newBudget(4 << 20)
	ctx := t.Context()
	var give []func()
	for range 4 {
		done, err := b.take(ctx, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		give = append(give, done)
	}
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if _, err := b.take(short, 1); err == nil {
		t.Fatal("a fifth MiB was given out of four")
	}
	got := make(chan func())
	go func() {
		done, err := b.take(ctx, 1<<40) // more than there is: all of it
		if err != nil {
			t.Error(err)
		}
		got <- done
	}()
	for _, f := range give {
		select {
		case <-got:
			t.Fatal("given before all of it was free")
		default:
		}
		f()
	}
	(<-got)()
	if done, err := b.take(ctx, 1); err != nil {
		t.Error("nothing is free after all was given back:", err)
	} else {
		done()
	}
}

// returning makes an intake that ends recipients in the real store.
func (w *world) returning() *Intake {
	real := queue.New(queue.Config{Store: w.store, Deliverer: nil, Directory: w.dir})
	return NewIntake(IntakeConfig{
		Directory: w.dir, ReturnPaths: w.service.cfg.ReturnPaths, Store: w.store, Queue: real, Hostname: "relay.test",
		Notifier: &Notifier{Directory: w.dir, Store: w.store, Hostname: "relay.test"},
	})
}

// happened records what an attempt for a recipient came to.
func (w *world) happened(id relay.MessageID, kind relay.EventKind, n int, d relay.EventData) {
	w.t.Helper()
	m := relay.Message{ID: id, Tenant: relay.Tenant{Account: acme}, AcceptedAt: time.Now()}
	err := w.store.Finish(w.t.Context(), store.Result{Message: id, Events: []relay.Event{event(kind, &m, n, "", d)}})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) notices() int {
	w.t.Helper()
	n, err := w.store.Messages(w.t.Context(), store.MessageFilter{Account: system})
	if err != nil {
		w.t.Fatal(err)
	}
	return len(n)
}

// The return path is the message's, so every recipient's server knows it. None
// of them may end a recipient that nothing was handed over for yet.
func TestForgedBounceDoesNotEndAWaitingRecipient(t *testing.T) {
	w := newWorld(t, nil)
	in := w.returning()
	id, err := w.send(envelope("b@one.test", "victim@two.test"), plain, 1000)
	if err != nil {
		t.Fatal(err)
	}
	q, err := w.store.Message(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	w.happened(id, relay.EventDelivered, 0, relay.EventData{})
	forged := strings.NewReplacer("%RP%", q.Message.ReturnPath, "%TO%", "victim@two.test").Replace(dsn)
	err = in.take(t, q.Message.ReturnPath, forged)
	if r, ok := errors.AsType[smtp.Reply](err); !ok || r.Code != 451 {
		t.Errorf("a bounce before anything was handed over: %v, want a 451", err)
	}
	if q, err = w.store.Message(t.Context(), id); err != nil || len(q.Recipients) != 2 {
		t.Errorf("still queued: %v %v", q.Recipients, err)
	}
	if n := w.notices(); n != 0 {
		t.Errorf("%d notices about it", n)
	}
	// After an attempt that may have been taken, the same report is believed.
	w.happened(id, relay.EventDeferred, 1, relay.EventData{Ambiguous: true})
	if err := in.take(t, q.Message.ReturnPath, forged); err != nil {
		t.Error(err)
	}
	if ev := w.events(id, relay.EventBounced); len(ev) != 1 || ev[0].N != 1 {
		t.Errorf("bounced %v", ev)
	}
}

// Whoever received one message must not be able to have the relay write to its
// sender without end.
func TestReportsOfOneKindAreForwardedOnce(t *testing.T) {
	w := newWorld(t, nil)
	in := w.returning()
	id, err := w.send(envelope("b@one.test"), plain, 1000)
	if err != nil {
		t.Fatal(err)
	}
	q, err := w.store.Message(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	w.happened(id, relay.EventDelivered, 0, relay.EventData{})
	for _, action := range []string{"delayed", "delayed", "relayed", "delivered", "expanded", "delayed", "relayed", "delivered", "expanded", "failed", "failed"} {
		raw := strings.NewReplacer("%RP%", q.Message.ReturnPath, "%TO%", "b@one.test", "Action: failed", "Action: "+action, "5.1.1", "4.0.0").Replace(dsn)
		if err := in.take(t, q.Message.ReturnPath, raw); err != nil {
			t.Fatal(action, err)
		}
	}
	if n := w.notices(); n != 5 {
		t.Errorf("%d notices to the sender, want one of each action", n)
	}
}

// Strangers who begin messages and never end them hold a bounded part of memory,
// and what they hold is free again when they go.
func TestUnfinishedIntakeIsBounded(t *testing.T) {
	w := newWorld(t, nil)
	in, _ := w.intake(func(c *IntakeConfig) { c.InFlight, c.MaxMessage = 1<<20, 400<<10 })
	var open []*Returned
	refused := 0
	for range 20 {
		r, err := in.Begin(Envelope{}, []Route{{local: "abuse"}})
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, r)
		for range 10 {
			if _, err := r.Write(make([]byte, 32<<10)); err != nil {
				if reply, ok := errors.AsType[smtp.Reply](err); !ok || reply.Code != 452 {
					t.Fatal(err)
				}
				refused++
				break
			}
		}
	}
	if refused != 17 {
		t.Errorf("%d of 20 messages of 320 KiB refused, want all but the 3 that fit a MiB", refused)
	}
	for _, r := range open {
		r.Abort()
	}
	if n := in.held.Load(); n != 0 {
		t.Errorf("%d octets held by nobody", n)
	}
	r, err := in.Begin(Envelope{}, []Route{{local: "abuse"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Write(make([]byte, 401<<10)); !errors.Is(err, replyTooLarge) {
		t.Errorf("over the size: %v", err)
	}
}
