package submit

import (
	"context"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
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
