package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"postern/internal/relay"
	"postern/internal/secret"
)

const (
	// chunkBytes is the text in one sealed chunk.
	chunkBytes = 64 << 10
	// memoryBytes is how much of a body is held in memory. What is longer goes to
	// the database while it is received.
	memoryBytes = 256 << 10
	// spillSeq is the number of the first chunk of a spilled body. The header
	// section, which is written last, has the numbers before it.
	spillSeq = 1 << 16
	// firstBuffer is what a body starts with: most mail fits without growing.
	firstBuffer = 16 << 10
)

// Body collects a message's octets after the header section while they are
// received. Up to 256 KiB stay in memory; beyond it, sealed chunks are committed
// as pending, and belong to no message until Accept adopts them. A body is used
// by one goroutine. Whoever made it must call Discard unless Accept returned nil.
type Body struct {
	s    *Store
	id   relay.MessageID
	key  *secret.BodyKey // made with the first spilled chunk, or by Accept
	mem  []byte          // what is in memory: all of it, or the tail
	size int64           // in memory and spilled

	spilled  int // chunks committed as pending
	accepted bool
	tried    bool  // an acceptance was made of the spilled body
	err      error // a write failed; nothing more is taken
}

var (
	stmtPendingAdd = newStmt(`INSERT INTO pending_bodies (message_id, epoch, created_at) VALUES ($1, $2, $3)`)
	stmtPendingEnd = newStmt(`DELETE FROM pending_bodies WHERE message_id = $1 AND epoch = $2`)
	stmtChunkAdd   = newStmt(`INSERT INTO bodies (message_id, seq, chunk) VALUES ($1, $2, $3)`)
	// Chunks of a body that was adopted are not pending any more and stay.
	stmtChunksDiscard = newStmt(`DELETE FROM bodies WHERE message_id = $1 AND EXISTS (SELECT 1 FROM pending_bodies WHERE message_id = $2 AND epoch = $3)`)
)

// NewBody starts the body of a message. Nothing is stored until it outgrows
// memory or is accepted.
func (s *Store) NewBody(id relay.MessageID) *Body { return &Body{s: s, id: id} }

// BodyOf makes a body of octets that are in memory already, which it keeps and
// must not change.
func (s *Store) BodyOf(id relay.MessageID, octets []byte) *Body {
	return &Body{s: s, id: id, mem: octets, size: int64(len(octets))}
}

// Grow makes room for n more octets, as announced by SIZE; at most what is held
// in memory.
func (b *Body) Grow(n int64) {
	if want := min(b.size+n, memoryBytes); want > int64(cap(b.mem)) && b.spilled == 0 {
		b.mem = append(make([]byte, 0, want), b.mem...)
	}
}

// Size is the number of octets written.
func (b *Body) Size() int64 { return b.size }

// Write is WriteContext with a context that does not end.
func (b *Body) Write(p []byte) (int, error) { return b.WriteContext(context.Background(), p) }

// WriteContext appends p. It returns ErrFull when chunks cannot be stored for
// lack of space, ErrStopped or ErrClosed when the store is no longer there. After
// an error the body can only be discarded.
func (b *Body) WriteContext(ctx context.Context, p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.accepted {
		return 0, errors.New("write to a body that was accepted")
	}
	if b.mem == nil {
		b.mem = make([]byte, 0, firstBuffer)
	}
	total := len(p)
	for len(p) > 0 {
		n := min(len(p), memoryBytes-len(b.mem))
		b.mem = append(b.mem, p[:n]...)
		p, b.size = p[n:], b.size+int64(n)
		if len(p) > 0 {
			if err := b.spill(ctx); err != nil {
				b.err = err
				return total - len(p), err
			}
		}
	}
	return total, nil
}

// spill commits what is in memory as pending chunks. A crash after it leaves
// chunks with a pending row, which the next start sweeps.
func (b *Body) spill(ctx context.Context) error {
	if err := b.s.refuse(); err != nil {
		return fmt.Errorf("store body: %w", err)
	}
	if b.key == nil {
		var err error
		if b.key, err = secret.NewBodyKey(); err != nil {
			return err
		}
	}
	o := newOp("store body chunks")
	o.grows = true
	id := blob(b.id.ID)
	if b.spilled == 0 {
		o.add(stmtPendingAdd, id, b.s.epoch, b.s.now())
	}
	n := b.appendChunks(o, spillSeq+b.spilled, b.mem)
	if err := b.s.w.do(ctx, o); err != nil {
		return err
	}
	b.spilled += n
	b.mem = b.mem[:0]
	return nil
}

// appendChunks adds the sealed chunks of data to an operation and returns how
// many they are.
func (b *Body) appendChunks(o *op, seq int, data []byte) int {
	n := 0
	for ; len(data) > 0; n++ {
		part := data[:min(len(data), chunkBytes)]
		data = data[len(part):]
		sealed := b.key.SealChunk(make([]byte, 0, len(part)+secret.ChunkOverhead), b.id.ID, uint32(seq+n), part)
		o.add(stmtChunkAdd, blob(b.id.ID), int64(seq+n), sealed)
		o.bytes += len(sealed)
	}
	return n
}

// Bytes returns the octets when all of them are in memory. They must not be
// changed while the body is in use.
func (b *Body) Bytes() ([]byte, bool) { return b.mem, b.spilled == 0 }

// Open reads the body again from its start, e.g. to rewrite it into another
// body. Nothing may be written meanwhile.
func (b *Body) Open(ctx context.Context) (io.ReadCloser, error) {
	if b.err != nil {
		return nil, b.err
	}
	if b.spilled == 0 {
		return io.NopCloser(bytes.NewReader(b.mem)), nil
	}
	r := &chunkReader{ctx: ctx, s: b.s, id: b.id, key: b.key, next: spillSeq, runs: []run{{spillSeq, b.spilled}}}
	r.left = b.size - int64(len(b.mem))
	return io.NopCloser(io.MultiReader(r, bytes.NewReader(b.mem))), nil
}

// Discard removes what was stored of a body that is not accepted. After a
// successful Accept it does nothing, so that it may be deferred. What it cannot
// remove now, the sweep does later.
func (b *Body) Discard(ctx context.Context) error {
	if b.accepted || b.spilled == 0 && b.err == nil {
		b.mem = nil
		return nil
	}
	o := newOp("discard body")
	id := blob(b.id.ID)
	o.add(stmtChunksDiscard, id, id, b.s.epoch)
	o.add(stmtPendingEnd, id, b.s.epoch)
	b.mem, b.spilled = nil, 0
	if b.err == nil {
		b.err = errors.New("body was discarded")
	}
	return b.s.w.do(context.WithoutCancel(ctx), o)
}
