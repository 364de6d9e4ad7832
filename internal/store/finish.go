package store

import (
	"context"
	"fmt"
	"time"

	"postern/internal/relay"
)

var (
	stmtRecipientEnd = newStmt(`DELETE FROM recipients WHERE message_id = $1 AND n = $2 AND lease = $3 AND generation = $4`)
	stmtRecipientPut = newStmt(`UPDATE recipients SET lease = 0, started = 0, due_at = $1, attempts = $2, possibly_delivered = $3,
		delay_noticed = $4, last_reply = $5, last_host = $6, last_at = $7
		WHERE message_id = $8 AND n = $9 AND lease = $10 AND generation = $11`)
	stmtSignatures = newStmt(`UPDATE messages SET signatures = $1, signed_with = $2 WHERE id = $3`)
	stmtKeepBody   = newStmt(`INSERT INTO kept_bodies (message_id, account_id, body_key, head_chunks, body_chunks, content_size, until)
		SELECT id, account_id, body_key, head_chunks, body_chunks, content_size, CAST($1 AS BIGINT) FROM messages
		WHERE id = $2 AND NOT EXISTS (SELECT 1 FROM recipients WHERE message_id = $3)`)
	stmtMessageEnd = newStmt(`DELETE FROM messages WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM recipients WHERE message_id = $2)`)
	stmtBodyEnd    = newStmt(`DELETE FROM bodies WHERE message_id = $1 AND NOT EXISTS (SELECT 1 FROM messages WHERE id = $2)`)
)

// Finish records the end of an attempt in one commit: each recipient leaves the
// queue or waits again, with its events and the messages that it gives birth to.
// The last recipient takes the message and its octets along.
//
// ErrLeaseLost: a recipient is no longer ours under that generation; nothing
// changed, and whoever holds it now decides. relay.Unavailable and ErrFull:
// nothing changed, try again. Without recipients only events and generated
// messages are stored. ctx counts until the writer has taken the result: a result
// is worth finishing, so pass one that outlives the attempt.
func (s *Store) Finish(ctx context.Context, r Result) error {
	o := newOp("finish")
	o.miss = ErrLeaseLost
	o.grows = len(r.Generated) > 0
	if err := s.appendResult(o, &r); err != nil {
		return fmt.Errorf("finish %s: %w", r.Message, err)
	}
	if err := s.w.do(ctx, o); err != nil {
		return err
	}
	for _, a := range r.Generated {
		s.adopted(a)
	}
	return nil
}

func (s *Store) appendResult(o *op, r *Result) error {
	id := blob(r.Message.ID)
	final, stays := 0, 0
	for i := range r.Recipients {
		v := &r.Recipients[i]
		if v.Final {
			final++
			o.must(1, stmtRecipientEnd, id, int64(v.N), s.epoch, v.Generation)
			continue
		}
		stays++
		o.must(1, stmtRecipientPut, micros(v.DueAt), int64(v.Attempts), flag(v.PossiblyDelivered), flag(v.DelayNoticed),
			text(v.LastReply), text(v.LastHost), micros(v.LastAt), id, int64(v.N), s.epoch, v.Generation)
		o.bytes += len(v.LastReply)
	}
	if len(r.Recipients) > 0 {
		o.lock(r.Message)
	}
	if r.Signatures != nil {
		with, err := packJSON(r.SignedWith, len(r.SignedWith) == 0)
		if err != nil {
			return err
		}
		if stays > 0 || final > 0 {
			o.add(stmtSignatures, packSignatures(r.Signatures), with, id)
		}
	}
	if final > 0 && stays == 0 {
		// Other recipients may be left, waiting or with other lanes; the statements
		// look for themselves.
		s.appendEnd(o, id)
	}
	if err := s.appendEvents(o, r.Events); err != nil {
		return err
	}
	for _, a := range r.Generated {
		if err := s.appendAcceptance(o, a); err != nil {
			return err
		}
	}
	return nil
}

// appendEnd removes a message that has no recipients left, with its octets.
func (s *Store) appendEnd(o *op, id []byte) {
	if s.cfg.KeepBodies > 0 {
		until := s.cfg.Now().Add(s.cfg.KeepBodies).UnixMicro()
		o.add(stmtKeepBody, until, id, id)
		o.add(stmtMessageEnd, id, id)
		return
	}
	o.add(stmtMessageEnd, id, id)
	o.add(stmtBodyEnd, id, id)
}

// Backlog calls fn for each lane and tenant that has unleased, unheld
// recipients, in the order of lane and tenant. It has read all of them before
// the first call.
func (s *Store) Backlog(ctx context.Context, fn func(Share) error) error {
	shares, err := s.shares(ctx, selectBacklog)
	if err != nil {
		return fmt.Errorf("read backlog: %w", s.readError(err))
	}
	for _, sh := range shares {
		if err := fn(sh); err != nil {
			return err
		}
	}
	return nil
}

const selectBacklog = `SELECT pool_id, site, account_id, subuser_id, count(*), min(due_at) FROM recipients
	WHERE lease = 0 AND held = 0 GROUP BY pool_id, site, account_id, subuser_id ORDER BY pool_id, site, account_id, subuser_id`

// event makes an event of the store's own about a message.
func (s *Store) event(kind relay.EventKind, m *relay.Message, n int, at time.Time) relay.Event {
	return relay.Event{At: at, Kind: kind, Tenant: m.Tenant, Key: m.Key, Message: m.ID, N: n}
}
