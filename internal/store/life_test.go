package store

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLifeOfAMessage(t *testing.T) {
	t.Parallel()
	s := newTest(t, Config{})
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
	checkInvariants(t, s)
}
