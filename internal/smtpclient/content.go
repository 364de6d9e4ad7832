package smtpclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"postern/internal/smtp"
)

// data sends the message after 354 and reads the verdict.
func (x *sending) data() *Error {
	w := &body{s: x.s, ctx: x.ctx}
	dots := smtp.NewDotWriter(w)
	n, err := dots.Write(x.t.Prefix)
	if err == nil {
		var m int64
		m, err = io.CopyBuffer(dots, x.t.Content, x.s.buf.copy)
		err = x.complete(int64(n)+m, err)
	}
	if err != nil {
		return x.spoilt(w, err)
	}
	if err := x.beforeEnd(); err != nil {
		return err
	}
	if err := dots.End(); err != nil {
		return x.spoilt(w, err)
	}
	return x.verdict()
}

// chunkSize is the most that one BDAT carries, so that the host's reply comes
// within the time for a block.
const chunkSize = 1 << 20

// bdat sends the message in chunks (RFC 3030 §2), and the end as an empty last
// one.
func (x *sending) bdat() *Error {
	s, content := x.s, io.MultiReader(bytes.NewReader(x.t.Prefix), x.t.Content)
	for left := x.t.size(); left > 0; {
		n := min(left, chunkSize)
		s.command("BDAT " + strconv.FormatInt(n, 10))
		w := &body{s: s, ctx: x.ctx}
		if _, err := io.CopyBuffer(w, io.LimitReader(content, n), s.buf.copy); err != nil {
			return x.spoilt(w, err)
		}
		if w.n != n {
			return x.spoilt(w, x.complete(x.t.size()-left+w.n, nil))
		}
		if _, err := s.flush(x.ctx, StageBody); err != nil {
			return x.lastWords(err)
		}
		r, err := s.read(x.ctx, StageBody, s.opts.Timeouts.Block)
		switch {
		case err != nil:
			return err
		case r.Code == 421:
			return remote(StageBody, r)
		case r.Temporary() || r.Permanent():
			x.settle(x.accepted, StageBody, r)
			return nil
		case r.Code/100 != 2:
			return s.unexpected(StageBody, r)
		}
		left -= n
	}
	if n, err := content.Read(make([]byte, 1)); n > 0 || err != nil && err != io.EOF {
		return x.spoilt(&body{}, x.complete(x.t.size()+int64(n), err))
	}
	if err := x.beforeEnd(); err != nil {
		return err
	}
	s.command("BDAT 0 LAST")
	return x.verdict()
}

// complete makes sure that content was neither cut nor grown on the way here.
func (x *sending) complete(n int64, err error) error {
	if err == io.EOF {
		err = nil
	}
	if err == nil && n != x.t.size() {
		return fmt.Errorf("content of %d octets where %d were announced", n, x.t.size())
	}
	return err
}

// spoilt drops the connection after an error within the content, so that a part
// is never taken for the whole, and makes the session's error: of the link, of
// the content's form, or of reading it.
func (x *sending) spoilt(w *body, err error) *Error {
	x.s.broken = true
	switch {
	case w.err != nil:
		return x.lastWords(w.err)
	case notText(err):
		return local(StageBody, replyNotText, err)
	}
	return local(StageBody, replyContent, fmt.Errorf("read content: %w", err))
}

// lastWordsWait is how long a host that closed the connection within the content
// is given to have said why.
const lastWordsWait = time.Second

// lastWords looks for the reply of a host that closed the connection within the
// content (too large, going down): it may have arrived before the close.
func (x *sending) lastWords(err *Error) *Error {
	if x.ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	r, readErr := x.s.read(x.ctx, StageBody, lastWordsWait)
	if readErr != nil || !r.Temporary() && !r.Permanent() {
		return err
	}
	said := remote(StageBody, r)
	said.Err = err
	return said
}

// beforeEnd tells the caller that the end of the data is next. From here on ctx
// no longer breaks the link.
func (x *sending) beforeEnd() *Error {
	s := x.s
	if x.t.BeforeEnd != nil {
		if err := x.t.BeforeEnd(x.ctx); err != nil {
			s.broken = true
			return local(StageBody, replyBeforeEnd, fmt.Errorf("before end of data: %w", err))
		}
	}
	if !s.stop() || x.ctx.Err() != nil {
		s.broken = true
		s.stop = func() bool { return false }
		return broke(x.ctx, StageBody, false, context.Cause(x.ctx))
	}
	s.stop = func() bool { return true }
	return nil
}

// verdict sends what is left, which ends with the end of the data, and reads the
// reply that decides.
func (x *sending) verdict() *Error {
	s, ctx := x.s, context.WithoutCancel(x.ctx)
	if all, err := s.flush(ctx, StageEnd); err != nil {
		// What was not handed over whole cannot have arrived whole.
		if x.ambiguous = all; !all {
			err.Stage = StageBody
			return x.lastWords(err)
		}
		return err
	}
	s.raw.SetReadDeadline(time.Now().Add(s.opts.Timeouts.End))
	s.stop = s.hurriedBy(x.ctx)
	r, err := s.receive(ctx, StageEnd, false)
	if err == nil && r.Code/100 == 3 {
		err = s.unexpected(StageEnd, r)
	}
	if err != nil {
		x.ambiguous = true
		return err
	}
	s.dirty = false
	if r.Code/100 == 2 {
		s.sent++
	}
	x.settle(x.accepted, StageEnd, r)
	return nil
}

// hurriedBy makes ctx shorten the wait for the last reply.
func (s *Session) hurriedBy(ctx context.Context) (stop func() bool) {
	if ctx.Done() == nil {
		return func() bool { return true }
	}
	conn, wait := s.raw, s.opts.Timeouts.Interrupt
	return context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Now().Add(wait)) })
}
