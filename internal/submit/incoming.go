package submit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"postern/internal/message"
	"postern/internal/relay"
	"postern/internal/smtp"
	"postern/internal/store"
)

// Incoming is a message while its octets arrive. Not for concurrent use. It
// ends in exactly one Commit or Abort.
type Incoming struct {
	s    *Service
	p    *relay.Principal
	env  Envelope
	id   relay.MessageID
	head []byte // the header section, until and with its empty line
	done bool   // the empty line was seen
	body *store.Body
	size int64

	line   int  // octets of the current body line so far
	long   bool // a body line over 998 octets was seen
	eight  bool // an octet over 127 in the body
	failed error
}

// Begin starts a message of a principal. Commit checks everything; Begin only
// what makes receiving pointless.
func (s *Service) Begin(ctx context.Context, p *relay.Principal, env Envelope) (*Incoming, error) {
	if err := s.mayBegin(p); err != nil {
		return nil, err
	}
	id := relay.MessageID{ID: relay.NewID(s.cfg.Now())}
	return &Incoming{s: s, p: p, env: env, id: id, body: s.cfg.Store.NewBody(id)}, nil
}

// ID is the message's id: what "queued as" will say.
func (in *Incoming) ID() relay.MessageID { return in.id }

// Write takes the next octets. Errors are kept for Commit: a client learns of
// them after its final dot.
func (in *Incoming) Write(ctx context.Context, p []byte) {
	in.size += int64(len(p))
	if in.failed != nil {
		return
	}
	if !in.done {
		p = in.header(p)
	}
	if len(p) > 0 && in.failed == nil {
		in.look(p)
		_, in.failed = in.body.WriteContext(ctx, p)
	}
}

// header takes octets into the header section and returns what follows it.
func (in *Incoming) header(p []byte) []byte {
	from := max(len(in.head)-3, 0)
	in.head = append(in.head, p...)
	end := bytes.Index(in.head[from:], []byte("\r\n\r\n"))
	if from == 0 && bytes.HasPrefix(in.head, []byte("\r\n")) {
		end = -2 // an empty header section: refused at Commit
	}
	switch {
	case end != -1:
		in.done = true
		n := from + end + 4
		rest := in.head[n:]
		// The rest aliases the header's memory only until the body has copied it.
		in.head = in.head[:n:n]
		if n > in.s.cfg.HeaderBytes {
			in.failed = smtp.R(552, 5, 3, 4, "Header section exceeds the limit")
		}
		return rest
	case len(in.head) > in.s.cfg.HeaderBytes:
		in.failed = smtp.R(552, 5, 3, 4, "Header section exceeds the limit")
		in.head = nil
		in.done = true
	}
	return nil
}

// look notes what the body's lines are like.
func (in *Incoming) look(p []byte) {
	if !in.eight {
		in.eight = !ascii(p)
	}
	for !in.long && len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			in.line += len(p)
			in.long = in.line > message.MaxLine+1 // its CR may be the last
			return
		}
		if in.line+i > message.MaxLine+1 {
			in.long = true
		}
		in.line = 0
		p = p[i+1:]
	}
}

// Abort ends a message that is not to be: cut off, refused, over a limit.
func (in *Incoming) Abort(ctx context.Context) {
	if err := in.body.Discard(context.WithoutCancel(ctx)); err != nil {
		// The store's sweep removes it later.
		in.s.cfg.Logger.Warn("submit: body not discarded", "message", in.id.String(), "error", err)
	}
}

// Commit judges the whole message and commits it. p is the principal as it is
// at the end of data. A nil error means that everything is on stable storage;
// otherwise the error is the smtp.Reply to send, or a *Limited or *Refused that has
// one, and nothing remains.
func (in *Incoming) Commit(ctx context.Context, p *relay.Principal) error {
	in.p = p
	r, err := in.prepare(ctx)
	if err == nil {
		err = in.s.accept(ctx, []*ready{r}, nil)
	}
	if err == nil {
		return nil
	}
	in.Abort(ctx)
	return in.s.refusal(err, in.id)
}

// CommitAll judges several messages of one principal and commits them together,
// all or none: what one HTTP request hands in. With idem, the answer to the
// request commits with them. Otherwise as Incoming.Commit; an error about one of
// the messages is a *PartError that says which. Every one of ins has ended with
// this call.
func (s *Service) CommitAll(ctx context.Context, p *relay.Principal, ins []*Incoming, idem *store.Idempotency) error {
	err := s.commitAll(ctx, p, ins, idem)
	if err == nil {
		return nil
	}
	for _, in := range ins {
		in.Abort(ctx)
	}
	if part, ok := errors.AsType[*PartError](err); ok {
		part.Err = s.refusal(part.Err, ins[part.Index].id)
		return part
	}
	if relay.KindOf(err) == relay.Conflict { // the request was answered before
		return err
	}
	var id relay.MessageID
	if len(ins) > 0 {
		id = ins[0].id
	}
	return s.refusal(err, id)
}

func (s *Service) commitAll(ctx context.Context, p *relay.Principal, ins []*Incoming, idem *store.Idempotency) error {
	all := make([]*ready, len(ins))
	for i, in := range ins {
		in.p = p
		var err error
		if all[i], err = in.prepare(ctx); err != nil {
			return &PartError{Index: i, Err: err}
		}
	}
	return s.accept(ctx, all, idem)
}

// PartError is the refusal of one of several messages.
type PartError struct {
	Index int // in the call
	Err   error
}

func (e *PartError) Error() string { return e.Err.Error() }
func (e *PartError) Unwrap() error { return e.Err }

// refusal is what the client may know of an error.
func (s *Service) refusal(err error, id relay.MessageID) error {
	if l, ok := errors.AsType[*Limited](err); ok {
		return l
	}
	if r, ok := errors.AsType[*Refused](err); ok {
		return r
	}
	if r, ok := errors.AsType[smtp.Reply](err); ok {
		return r
	}
	if r, ok := replyTo(err); ok {
		return r
	}
	s.cfg.Logger.Error("submit: message not accepted", "message", id.String(), "error", err)
	return replyStopped
}

// prepare does all that comes before the commit.
func (in *Incoming) prepare(ctx context.Context) (*ready, error) {
	if in.failed != nil {
		return nil, in.failed
	}
	if in.size > in.s.maxSize(in.p) {
		return nil, replyTooLarge
	}
	d, err := in.judge()
	if err != nil {
		return nil, err
	}
	if err := in.fixLines(ctx, d); err != nil {
		return nil, err
	}
	return in.acceptance(ctx, d)
}

// replyTo renders the errors of message and store for the client.
func replyTo(err error) (smtp.Reply, bool) {
	if e, ok := errors.AsType[*message.Error](err); ok {
		switch e.Reason {
		case message.TooLarge:
			return smtp.R(552, 5, 3, 4, e.Error()), true
		case message.Unparseable, message.Several:
			return smtp.R(550, 5, 7, 1, e.Error()), true
		}
		return smtp.R(554, 5, 6, 0, e.Error()), true
	}
	switch {
	case errors.Is(err, store.ErrFull):
		return replyFull, true
	case errors.Is(err, store.ErrStopped):
		return replyStopped, true
	}
	return smtp.Reply{}, false
}

// fixLines re-encodes long lines of the body, if there are any. This needs the
// whole body in memory, a few times over: all sessions share one budget for it.
func (in *Incoming) fixLines(ctx context.Context, d *judged) error {
	if n, field := d.header.LongestLine(); n > message.MaxLine {
		return &message.Error{Reason: message.LongLine, Field: field, Detail: "a header line is longer than 998 octets"}
	}
	if !in.long || in.env.Body == smtp.BodyBinary {
		return nil
	}
	if in.s.cfg.RefuseLong {
		return smtp.R(554, 5, 6, 0, "A line is longer than 998 octets")
	}
	done, err := in.s.rewrites.take(ctx, in.body.Size())
	if err != nil {
		return replyBusy
	}
	defer done()
	old, err := in.readBody(ctx)
	if err != nil {
		return err
	}
	head, body, changed, err := message.EncodeLongLines(d.header.Bytes(), old)
	if err != nil || !changed {
		return err
	}
	d.head = head
	in.eight = !ascii(body)
	return in.replaceBody(ctx, body)
}

// replaceBody stores octets in place of what was received. They go the way of
// received ones, in chunks, so that a large body is neither held in memory until
// the commit nor part of it.
func (in *Incoming) replaceBody(ctx context.Context, octets []byte) error {
	// What is left of the old body would stand in the way of the new one's chunks.
	if err := in.body.Discard(ctx); err != nil {
		return err
	}
	in.body = in.s.cfg.Store.NewBody(in.id)
	in.body.Grow(int64(len(octets)))
	_, err := in.body.WriteContext(ctx, octets)
	return err
}

func (in *Incoming) readBody(ctx context.Context) ([]byte, error) {
	if b, ok := in.body.Bytes(); ok {
		return b, nil
	}
	r, err := in.body.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b := make([]byte, in.body.Size())
	_, err = io.ReadFull(r, b)
	return b, err
}

// ascii reports octets that are all below 128, eight at a time.
func ascii(b []byte) bool {
	const high = 0x8080808080808080
	for len(b) >= 8 {
		if binary.NativeEndian.Uint64(b)&high != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c > 127 {
			return false
		}
	}
	return true
}

// now in microseconds: what the store keeps.
func (s *Service) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Microsecond) }

// queueNow is now as the queue has it: a step of the wall clock neither makes new
// mail wait for years nor expire at its first attempt.
func (s *Service) queueNow() time.Time { return s.cfg.QueueNow().UTC().Truncate(time.Microsecond) }
