package store

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/relay"
)

func TestLifeOfAMessage(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx := context.Background()
		a := mail(t, s, 2, 10_000, true)
		accept(t, s, a)
		wantRows(t, s, 1, 2, 1, 0)
		q, err := s.Message(ctx, a.Message.ID)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(a.Message, q.Message, sameAddr); d != "" {
			t.Errorf("message (-accepted +stored):\n%s", d)
		}
		if d := cmp.Diff(a.Recipients, q.Recipients, sameAddr); d != "" {
			t.Errorf("recipients (-accepted +stored):\n%s", d)
		}
		sameOctets(t, readAll(t, s, a.Message.ID), append(append([]byte{}, testHead...), octetsOf(a.Message.ID, 10_000)...))
		if err := s.Start(ctx, refs(a)).Wait(ctx); err != nil {
			t.Fatal(err)
		}
		if err := s.Finish(ctx, final(a.Message.ID, a.Recipients[:1])); err != nil {
			t.Fatal(err)
		}
		wantRows(t, s, 1, 1, 1, 0)
		if err := s.Finish(ctx, final(a.Message.ID, a.Recipients[1:])); err != nil {
			t.Fatal(err)
		}
		wantRows(t, s, 0, 0, 0, 0)
		h, err := s.MessageHistory(ctx, a.Message.ID)
		if err != nil || len(h) != 3 {
			t.Fatalf("%d events, %v", len(h), err)
		}
		if h[0].Kind != relay.EventReceived || h[2].Kind != relay.EventDelivered || h[2].Recipient != "r1@site.test" || string(h[0].Data) != `{"size":10036}` {
			t.Errorf("events are not what was put: %+v", h)
		}
		if _, err := s.Message(ctx, a.Message.ID); relay.KindOf(err) != relay.NotFound {
			t.Errorf("a message that has left: %v", err)
		}
		if _, err := s.Content(ctx, a.Message.ID); relay.KindOf(err) != relay.NotFound {
			t.Errorf("content of a message that has left: %v", err)
		}
		checkInvariants(t, s)
	})
}

func TestFinishKeepsWhatWaits(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx := context.Background()
		a := mail(t, s, 1, 100, true)
		accept(t, s, a)
		due := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
		res := Result{Message: a.Message.ID, Signatures: []byte("DKIM-Signature: x\r\n"), SignedWith: []string{"s1._domainkey.example.test"},
			Recipients: []RecipientResult{{Generation: 1, DueAt: due, Attempts: 1, PossiblyDelivered: true, DelayNoticed: true,
				LastReply: "451 \x00 caf\xe9", LastHost: "mx.site.test", LastAt: due.Add(-time.Hour)}}}
		if err := s.Finish(ctx, res); err != nil {
			t.Fatal(err)
		}
		q, err := s.Message(ctx, a.Message.ID)
		if err != nil {
			t.Fatal(err)
		}
		want := a.Recipients[0]
		want.Lease, want.DueAt, want.Attempts, want.PossiblyDelivered, want.DelayNoticed = 0, due, 1, true, true
		want.LastReply, want.LastHost, want.LastAt = "451 \ufffd caf\ufffd", "mx.site.test", due.Add(-time.Hour)
		if d := cmp.Diff([]relay.Recipient{want}, q.Recipients); d != "" {
			t.Errorf("recipient (-want +got):\n%s", d)
		}
		if string(q.Message.Signatures) != string(res.Signatures) || cmp.Diff(q.Message.SignedWith, res.SignedWith) != "" {
			t.Errorf("signatures %q with %q", q.Message.Signatures, q.Message.SignedWith)
		}
		lane := relay.Lane{Pool: testPool, Site: "site.test"}
		if jobs, err := s.Claim(ctx, lane, testTenant, time.Now(), 10); err != nil || len(jobs) != 0 {
			t.Errorf("claimed before it is due: %v, %v", jobs, err)
		}
		jobs, err := s.Claim(ctx, lane, testTenant, due, 10)
		if err != nil || len(jobs) != 1 || jobs[0].Recipients[0].Generation != 2 || jobs[0].Recipients[0].Lease != s.Epoch() {
			t.Fatalf("claim: %+v, %v", jobs, err)
		}
		if d := cmp.Diff(q.Message, jobs[0].Message, sameAddr); d != "" {
			t.Errorf("claimed message (-listed +claimed):\n%s", d)
		}
		checkInvariants(t, s)
	})
}

func TestFinishUnderALostLease(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx := context.Background()
		a := mail(t, s, 2, 100, true)
		accept(t, s, a)
		if err := s.Unlease(ctx, refs(a)[1:]); err != nil {
			t.Fatal(err)
		}
		before := rows(t, s, "messages")
		res := final(a.Message.ID, a.Recipients)
		res.Generated = []*Acceptance{mail(t, s, 1, 300_000, false)}
		if err := s.Finish(ctx, res); !errors.Is(err, ErrLeaseLost) {
			t.Fatalf("finish of a recipient that was given back: %v", err)
		}
		if err := s.Start(ctx, refs(a)).Wait(ctx); !errors.Is(err, ErrLeaseLost) {
			t.Fatalf("start: %v", err)
		}
		if n := rows(t, s, "messages"); n != before {
			t.Errorf("a generated message of a failed result was stored")
		}
		if err := res.Generated[0].Body.Discard(ctx); err != nil {
			t.Fatal(err)
		}
		wantRows(t, s, 1, 2, 1, 0)
		h, _ := s.MessageHistory(ctx, a.Message.ID)
		if len(h) != 1 {
			t.Errorf("%d events after a result that counts for nothing", len(h))
		}
		// The wrong generation is as good as no lease.
		bad := final(a.Message.ID, a.Recipients[:1])
		bad.Recipients[0].Generation = 7
		if err := s.Finish(ctx, bad); !errors.Is(err, ErrLeaseLost) {
			t.Errorf("other generation: %v", err)
		}
		if err := s.Finish(ctx, final(a.Message.ID, a.Recipients[:1])); err != nil {
			t.Errorf("the one that is ours: %v", err)
		}
		checkInvariants(t, s)
	})
}

func TestGeneratedMessagesCommitWithTheResult(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx := context.Background()
		a, dsn := mail(t, s, 1, 100, true), mail(t, s, 1, 2000, true)
		accept(t, s, a)
		res := final(a.Message.ID, a.Recipients)
		res.Generated = []*Acceptance{dsn}
		if err := s.Finish(ctx, res); err != nil {
			t.Fatal(err)
		}
		wantRows(t, s, 1, 1, 1, 0)
		sameOctets(t, readAll(t, s, dsn.Message.ID), append(append([]byte{}, testHead...), octetsOf(dsn.Message.ID, 2000)...))
		// A report about mail that has left: events and a message, no recipients.
		late := Result{Events: []relay.Event{{At: time.Now(), Kind: relay.EventBounced, Message: a.Message.ID}}, Generated: []*Acceptance{mail(t, s, 1, 0, false)}}
		if err := s.Finish(ctx, late); err != nil {
			t.Fatal(err)
		}
		wantRows(t, s, 2, 2, 2, 0)
		checkInvariants(t, s)
	})
}

func TestAcceptRefusesWhatIsNotWellFormed(t *testing.T) {
	t.Parallel()
	s := newTest(t, Config{})
	for name, spoil := range map[string]func(a *Acceptance){
		"no id":                func(a *Acceptance) { a.Message.ID = relay.MessageID{} },
		"same number twice":    func(a *Acceptance) { a.Recipients[1].N = 0 },
		"negative number":      func(a *Acceptance) { a.Recipients[1].N = -1 },
		"no address":           func(a *Acceptance) { a.Recipients[1].Address = "" },
		"foreign lease":        func(a *Acceptance) { a.Recipients[1].Lease = s.Epoch() + 1 },
		"lease on held mail":   func(a *Acceptance) { a.Message.State = relay.MessageHeld; a.Recipients[0].Lease = s.Epoch() },
		"no state":             func(a *Acceptance) { a.Message.State = "" },
		"another body":         func(a *Acceptance) { a.Body = s.NewBody(relay.MessageID{ID: relay.NewID(time.Now())}) },
		"event without time":   func(a *Acceptance) { a.Events[0].At = time.Time{} },
		"event data, not JSON": func(a *Acceptance) { a.Events[0].Data = []byte("{") },
	} {
		a := mail(t, s, 2, 10, false)
		spoil(a)
		if err := s.Accept(context.Background(), a); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	wantRows(t, s, 0, 0, 0, 0)
	checkInvariants(t, s)
}

func TestAcceptSameIDTwice(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		a := mail(t, s, 3, 100, false)
		accept(t, s, a)
		b := mail(t, s, 5, 0, false)
		b.Message.ID = a.Message.ID
		if err := s.Accept(context.Background(), b); relay.KindOf(err) != relay.Conflict {
			t.Fatalf("same id again: %v", err)
		}
		wantRows(t, s, 1, 3, 1, 0)
		checkInvariants(t, s)
	})
}

// TestAcceptWithoutRecipients is a test key's mail: recorded, never delivered.
func TestAcceptWithoutRecipients(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		for _, size := range []int{100, 400_000} {
			a := mail(t, s, 0, size, false)
			accept(t, s, a)
			wantRows(t, s, 0, 0, 0, 0)
			if h, err := s.MessageHistory(context.Background(), a.Message.ID); err != nil || len(h) != 1 {
				t.Errorf("history: %v, %v", h, err)
			}
		}
	})
}
