package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"

	"postern/internal/relay"
	"postern/internal/secret"
)

// layout is where a message's octets are, and under which key.
type layout struct {
	wrapped    []byte
	headChunks int64
	bodyChunks int64
	size       int64
}

// content is a stored message's octets.
type content struct {
	s   *Store
	id  relay.MessageID
	key *secret.BodyKey
	layout
}

const (
	selectLayout = `SELECT body_key, head_chunks, body_chunks, content_size FROM messages WHERE id = $1`
	selectKept   = `SELECT body_key, head_chunks, body_chunks, content_size FROM kept_bodies WHERE message_id = $1`
	selectChunk  = `SELECT chunk FROM bodies WHERE message_id = $1 AND seq = $2`
)

// Content returns the octets of a queued message, or of one that has ended and
// whose body is still kept. It returns relay.NotFound, or ErrDamaged when the
// key of the body does not open.
func (s *Store) Content(ctx context.Context, id relay.MessageID) (Content, error) {
	c := &content{s: s, id: id}
	var err error
	for _, query := range []string{selectLayout, selectKept} {
		err = s.db.QueryRowContext(ctx, query, blob(id.ID)).Scan(&c.wrapped, &c.headChunks, &c.bodyChunks, &c.size)
		if !errors.Is(err, sql.ErrNoRows) {
			break
		}
	}
	if errors.Is(err, sql.ErrNoRows) {
		return nil, notFound("message")
	}
	if err != nil {
		return nil, fmt.Errorf("read message %s: %w", id, s.readError(err))
	}
	if c.key, err = s.seal.UnwrapBodyKey(c.wrapped, id.ID[:]); err != nil {
		return nil, fmt.Errorf("content of %s: %w (%w)", id, ErrDamaged, err)
	}
	return c, nil
}

// Size is the number of octets.
func (c *content) Size() int64 { return c.size }

// Open starts a reading. Chunks are fetched one by one, so that a slow reader
// holds 64 KiB and no transaction.
func (c *content) Open(ctx context.Context) (io.ReadCloser, error) {
	r := &chunkReader{ctx: ctx, s: c.s, id: c.id, key: c.key, left: c.size,
		runs: []run{{0, int(c.headChunks)}, {spillSeq, int(c.bodyChunks)}}}
	return r, nil
}

// run is a series of chunk numbers.
type run struct{ first, count int }

// chunkReader reads sealed chunks in their order and checks that their text has
// exactly the recorded length.
type chunkReader struct {
	ctx  context.Context //nolint:containedctx // a reading is one call that io.Reader cuts into pieces
	s    *Store
	id   relay.MessageID
	key  *secret.BodyKey
	runs []run
	next int
	left int64
	buf  []byte // scratch
	rest []byte // what is left of the current chunk
	err  error
}

// Read implements io.Reader. ErrDamaged: a chunk is missing, was changed, or is
// another's; nothing of it was returned.
func (r *chunkReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		if r.err = r.fetch(); r.err != nil && !errors.Is(r.err, io.EOF) {
			r.err = fmt.Errorf("content of %s: %w", r.id, r.err)
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *chunkReader) fetch() error {
	for len(r.runs) > 0 && r.runs[0].count == 0 {
		r.runs = r.runs[1:]
	}
	if len(r.runs) == 0 {
		if r.left != 0 {
			return fmt.Errorf("%w: %d octets are missing", ErrDamaged, r.left)
		}
		return io.EOF
	}
	seq := r.runs[0].first
	r.runs[0].first, r.runs[0].count = seq+1, r.runs[0].count-1
	var sealed []byte
	err := r.s.db.QueryRowContext(r.ctx, selectChunk, blob(r.id.ID), int64(seq)).Scan(&sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%w: chunk %d is missing", ErrDamaged, seq)
	}
	if err != nil {
		return r.s.readError(err)
	}
	text, err := r.key.OpenChunk(r.buf[:0], r.id.ID, uint32(seq), sealed)
	if err != nil {
		return fmt.Errorf("%w: chunk %d: %w", ErrDamaged, seq, err)
	}
	r.buf, r.rest = text, text
	r.left -= int64(len(text))
	if r.left < 0 {
		r.rest = nil
		return fmt.Errorf("%w: more octets than were accepted", ErrDamaged)
	}
	return nil
}

// Close ends the reading.
func (r *chunkReader) Close() error {
	r.rest, r.err = nil, errors.New("read from closed content")
	return nil
}

// readError classes an error of a read: a damaged database stops the store, a
// database that is away is Unavailable.
func (s *Store) readError(err error) error {
	switch judge(err) {
	case vStop:
		s.w.stop(err)
		return stopped(err)
	case vUnknown, vBusy:
		if errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		return unavailable(err)
	}
	return err
}
