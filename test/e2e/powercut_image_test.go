package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"

	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

// holding is what a data directory says of one recipient.
type holding struct {
	queued    bool
	possibly  bool // marked as possibly delivered
	finalKind relay.EventKind
	finals    int
}

// holdings are everything that a data directory says, by "message recipient".
type holdings struct {
	recipients map[string]*holding
	sums       map[string][sha256.Size]byte // of queued bodies, by message
}

func (h *holdings) of(message, recipient string) *holding {
	key := message + " " + recipient
	if h.recipients[key] == nil {
		h.recipients[key] = &holding{}
	}
	return h.recipients[key]
}

// openImage opens a data directory as the relay does after a power cut, with the
// recovery that belongs to it, and reads everything that it holds: the queue,
// every queued body, all events.
func openImage(ctx context.Context, dir string) (_ *holdings, err error) {
	sealer, err := secret.OpenSealer(filepath.Join(dir, "sealing.key"))
	if err != nil {
		return nil, err
	}
	s, _, err := store.Open(ctx, store.Config{Path: filepath.Join(dir, "postern.db"), Sealer: sealer, Logger: slog.New(slog.DiscardHandler), MinFree: -1})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	h := &holdings{recipients: map[string]*holding{}, sums: map[string][sha256.Size]byte{}}
	return h, errors.Join(h.readQueue(ctx, s), h.readEvents(ctx, s))
}

func (h *holdings) readQueue(ctx context.Context, s *store.Store) error {
	for f := (store.MessageFilter{Limit: 1000}); ; {
		page, err := s.Messages(ctx, f)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, q := range page {
			id := q.Message.ID.String()
			if q.Message.State == relay.MessageQuarantined {
				return fmt.Errorf("message %s is quarantined: %s", id, q.Message.Reason)
			}
			for _, r := range q.Recipients {
				r1 := h.of(id, r.Address)
				r1.queued, r1.possibly = true, r.PossiblyDelivered
			}
			if h.sums[id], err = bodySum(ctx, s, q.Message.ID); err != nil {
				return fmt.Errorf("body of %s: %w", id, err)
			}
		}
		f.After = page[len(page)-1].Message.ID
	}
}

func bodySum(ctx context.Context, s *store.Store, id relay.MessageID) (sum [sha256.Size]byte, err error) {
	c, err := s.Content(ctx, id)
	if err != nil {
		return sum, err
	}
	r, err := c.Open(ctx)
	if err != nil {
		return sum, err
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return sum, err
	}
	_, body, ok := bytes.Cut(b, []byte("\r\n\r\n"))
	if !ok {
		return sum, errors.New("no end of the header")
	}
	return sha256.Sum256(body), nil
}

func (h *holdings) readEvents(ctx context.Context, s *store.Store) error {
	for f := (store.EventFilter{Limit: 10_000}); ; {
		page, err := s.Events(ctx, f)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, e := range page {
			switch e.Kind {
			case relay.EventDelivered, relay.EventBounced, relay.EventDropped:
				r := h.of(e.Message.String(), e.Recipient)
				r.finalKind = e.Kind
				r.finals++
			}
		}
		last := page[len(page)-1]
		f.AfterEpoch, f.AfterSeq = last.Epoch, last.Seq
	}
}
