package smtpclient

import (
	"bufio"
	"context"
	"sync"
	"time"

	"postern/internal/smtp"
)

// Buffer sizes in octets. The output buffer is what one write takes at most: a
// common message leaves in one. Replies are short.
const (
	outSize = 32 << 10
	inSize  = 4 << 10
)

// buffers are lent to a session while it works; an idle session holds none.
type buffers struct {
	in   *bufio.Reader
	out  []byte // outSize, empty
	copy []byte // outSize
}

var bufferPool = sync.Pool{New: func() any {
	return &buffers{in: bufio.NewReaderSize(nil, inSize), out: make([]byte, 0, outSize), copy: make([]byte, outSize)}
}}

// past is a deadline that is over: it interrupts reads and writes.
var past = time.Unix(1, 0)

// begin lends buffers to the session and lets ctx interrupt it. The function it
// returns ends both.
func (s *Session) begin(ctx context.Context) (done func()) {
	s.buf = bufferPool.Get().(*buffers)
	s.buf.in.Reset(s.conn)
	s.out = s.buf.out[:0]
	s.stop = s.interruptible(ctx)
	return func() {
		if !s.stop() {
			s.broken = true // a deadline in the past is set, or about to be
		}
		if s.buf.in.Buffered() > 0 {
			s.broken = true // it spoke unasked: later replies could not be mapped
		}
		s.buf.in.Reset(nil)
		bufferPool.Put(s.buf)
		s.buf, s.out, s.stop = nil, nil, nil
		s.until = time.Time{}
	}
}

// interruptible makes ctx interrupt reads and writes until stop is called,
// which reports false if ctx was faster.
func (s *Session) interruptible(ctx context.Context) (stop func() bool) {
	if ctx.Done() == nil {
		return func() bool { return true }
	}
	conn := s.raw
	return context.AfterFunc(ctx, func() { conn.SetDeadline(past) })
}

// deadline is the moment at which a wait of d is over, or the transaction is.
func (s *Session) deadline(d time.Duration) (at time.Time, slow bool) {
	at = time.Now().Add(d)
	if !s.until.IsZero() && s.until.Before(at) {
		return s.until, true
	}
	return at, false
}

// read reads one reply within d. Errors are of type *Error; the session is
// broken then.
func (s *Session) read(ctx context.Context, stage Stage, d time.Duration) (smtp.Reply, *Error) {
	at, slow := s.deadline(d)
	s.raw.SetReadDeadline(at)
	// The context interrupts by setting a deadline in the past, which the line
	// above may just have undone. It was done then, and is seen here.
	if err := ctx.Err(); err != nil {
		s.broken = true
		return smtp.Reply{}, broke(ctx, stage, slow, err)
	}
	return s.receive(ctx, stage, slow)
}

// receive reads one reply under the deadline that is set.
func (s *Session) receive(ctx context.Context, stage Stage, slow bool) (smtp.Reply, *Error) {
	r, err := smtp.ReadReply(s.buf.in)
	if err != nil {
		s.broken = true
		return smtp.Reply{}, broke(ctx, stage, slow, err)
	}
	if r.Code == 421 { // RFC 5321 §3.8: the host closes the channel
		s.broken = true
	}
	if stage != StageEHLO && stage != StageAuth { // there the text is data
		r.Text = sanitise(r.Text)
	}
	return r, nil
}

// exchange sends what is buffered and reads one reply within d. A host that has
// already spoken is answering something that nobody asked.
func (s *Session) exchange(ctx context.Context, stage Stage, d time.Duration) (smtp.Reply, *Error) {
	if s.buf.in.Buffered() > 0 {
		s.broken = true
		return smtp.Reply{}, local(stage, replyProtocol, errUnasked)
	}
	if _, err := s.flush(ctx, stage); err != nil {
		return smtp.Reply{}, err
	}
	return s.read(ctx, stage, d)
}

// flush writes what is buffered. all reports that every octet was handed over,
// with or without an error.
func (s *Session) flush(ctx context.Context, stage Stage) (all bool, err *Error) {
	if len(s.out) == 0 {
		return true, nil
	}
	at, slow := s.deadline(s.opts.Timeouts.Block)
	s.raw.SetWriteDeadline(at)
	if e := ctx.Err(); e != nil { // see read
		s.broken = true
		return false, broke(ctx, stage, slow, e)
	}
	n, e := s.conn.Write(s.out)
	all = n == len(s.out)
	s.out = s.out[:0]
	if e != nil {
		s.broken = true
		return all, broke(ctx, stage, slow, e)
	}
	return true, nil
}

// command buffers one command line.
func (s *Session) command(line string) {
	s.out = append(append(s.out, line...), "\r\n"...)
}

// body is an io.Writer over the output buffer, for content.
type body struct {
	s   *Session
	ctx context.Context
	n   int64  // octets written
	err *Error // of the link
}

func (b *body) Write(p []byte) (int, error) {
	s := b.s
	for n := 0; ; {
		m := min(len(p)-n, outSize-len(s.out))
		s.out = append(s.out, p[n:n+m]...)
		b.n += int64(m)
		if n += m; n == len(p) {
			return n, nil
		}
		if _, err := s.flush(b.ctx, StageBody); err != nil {
			b.err = err
			return n, err
		}
	}
}
