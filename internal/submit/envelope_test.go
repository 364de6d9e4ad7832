package submit

import (
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// What the HTTP API says beside the message: when, by which pool, and what its
// events are to carry.
func TestEnvelopeSaysWhenAndHow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	later := time.Now().Add(2 * time.Hour).UTC().Truncate(time.Second)
	env := envelope("a@rcpt.test")
	env.SendAt, env.Categories, env.UniqueArgs = later, []string{"receipts"}, map[string]string{"order": "7"}
	id, err := w.send(env, "From: news@acme.test\r\nSubject: x\r\n\r\nx\r\n", 64)
	if err != nil {
		t.Fatal(err)
	}
	q, err := w.store.Message(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if due := q.Recipients[0].DueAt; !due.Equal(later) {
		t.Errorf("due at %v, want %v", due, later)
	}
	if got := q.Message.ExpiresAt.Sub(later); got < time.Hour {
		t.Errorf("it has only %v left when it is due", got)
	}
	if m := q.Message; len(m.Categories) != 1 || m.Categories[0] != "receipts" || m.UniqueArgs["order"] != "7" {
		t.Errorf("categories %v, arguments %v", m.Categories, m.UniqueArgs)
	}
	if q.Recipients[0].Lease != 0 {
		t.Error("an attempt was started at once")
	}
	events, err := w.store.Events(t.Context(), store.EventFilter{Message: id, Kinds: []relay.EventKind{relay.EventDeferred}})
	if err != nil || len(events) != 1 {
		t.Errorf("%d events say that it waits, %v", len(events), err)
	}
	if q.Message.Reason != "the sender wants it sent later" {
		t.Errorf("reason %q", q.Message.Reason)
	}
	env = envelope("a@rcpt.test")
	env.Pool = "nobody's"
	if _, err := w.send(env, "From: news@acme.test\r\nSubject: x\r\n\r\nx\r\n", 64); err == nil {
		t.Error("a pool that is not there was taken")
	}
}
