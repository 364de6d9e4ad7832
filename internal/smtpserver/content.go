package smtpserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"postern/internal/smtp"
)

// errTooSlow ends a message that trickles in.
var errTooSlow = errors.New("content comes in too slowly")

// errBackend marks errors of Body.Write among those of the text filter.
var errBackend = errors.New("body")

// intake receives the content of one message, from DATA or from chunks: it
// checks, counts and hands on, and once something is wrong it only counts.
type intake struct {
	x      *session
	body   Body // nil once aborted or committed
	text   smtp.TextFilter
	binary bool

	first   time.Time // when the content began
	started time.Time // when this chunk of it began; with DATA the same
	got     int64     // octets received since started
	size    int64     // octets of content
	held    int64     // octets counted in the quota
	wasted  int64     // octets received after the fault
	fault   smtp.Reply
}

func (x *session) newIntake(b Body) *intake {
	return &intake{
		x: x, body: b, binary: x.tx.params.Body == smtp.BodyBinary,
		text: smtp.TextFilter{Policy: x.cfg.TextPolicy, MaxLine: x.cfg.Limits.TextLine},
	}
}

// swallow makes an intake that only throws away, for chunks that nobody asked for.
func (x *session) swallow() *intake { return &intake{x: x, fault: replyNeedMail} }

// begin starts the clocks of reading: each block has its time, the whole has
// its own, and after a grace a rate is asked for.
func (in *intake) begin() {
	in.started, in.got = time.Now(), 0
	if in.first.IsZero() {
		in.first = in.started
	}
	in.x.w.readBy = in.deadline
}

func (in *intake) deadline() (time.Time, error) {
	l, now := &in.x.cfg.Limits, time.Now()
	spent := now.Sub(in.started)
	if spent > l.RateGrace && in.got < int64(spent.Seconds()*float64(l.MinimumRate)) {
		return now, errTooSlow
	}
	by := now.Add(l.DataBlock)
	if last := in.first.Add(l.MessageTime); last.Before(by) {
		by = last
	}
	return by, nil
}

// pause stops the clocks.
func (in *intake) pause() { in.x.w.readBy = nil }

// feed takes the next octets; an error ends the session.
func (in *intake) feed(ctx context.Context, p []byte) error {
	in.got += int64(len(p))
	if in.fault.Code != 0 {
		return in.waste(int64(len(p)))
	}
	in.size += int64(len(p))
	if in.size > in.x.cfg.Limits.MessageSize {
		in.fail(replyTooBig)
		return in.waste(int64(len(p)))
	}
	if !in.x.cfg.Quota.take(int64(len(p))) {
		in.fail(replyNoRoom)
		return in.waste(int64(len(p)))
	}
	in.held += int64(len(p))
	in.check(ctx, in.filter(p))
	return nil
}

func (in *intake) filter(p []byte) error {
	if in.binary {
		return in.write(p)
	}
	return in.text.Filter(p, in.write)
}

func (in *intake) write(p []byte) error {
	if _, err := in.body.Write(p); err != nil {
		return fmt.Errorf("%w: %w", errBackend, err)
	}
	return nil
}

// check turns an error of the filter or the backend into the message's fault.
func (in *intake) check(ctx context.Context, err error) {
	switch {
	case err == nil:
	case errors.Is(err, errBackend):
		in.fail(in.x.refusal(ctx, "data", err, replyInternal))
	default:
		in.fail(replyBadContent)
	}
}

// fail settles the answer, and drops what was kept at once: a client that goes
// on sending must not hold memory meanwhile.
func (in *intake) fail(r smtp.Reply) {
	in.fault = r
	in.abort()
}

// waste bounds what is read only to find the end of a message that is refused
// already.
func (in *intake) waste(n int64) error {
	if in.wasted += n; in.wasted > max(in.x.cfg.Limits.MessageSize, 64<<20) {
		return smtp.ErrLineFlood
	}
	return nil
}

// abort drops the message. It is safe on a nil intake, and twice.
func (in *intake) abort() {
	if in == nil {
		return
	}
	in.x.cfg.Quota.give(in.held)
	in.held = 0
	if b := in.body; b != nil {
		in.body = nil
		b.Abort()
	}
}

// finish is called at the true end of the content, and returns the reply. The
// transaction is over afterwards.
func (in *intake) finish(ctx context.Context) smtp.Reply {
	x := in.x
	if in.fault.Code == 0 && !in.binary {
		in.check(ctx, in.text.End(in.write))
	}
	r := in.fault
	rcpts := x.tx.rcpts
	if r.Code != 0 {
		x.forget(ctx)
	} else {
		x.tx = nil
		r = in.commit(ctx)
	}
	x.junk = 0
	if r.Positive() {
		x.accepted++
	}
	if call := x.cfg.Hooks.Message; call != nil {
		call(in.size, rcpts, r.Code)
	}
	x.cfg.Log.LogAttrs(ctx, slog.LevelDebug, "smtp transaction", slog.Any("peer", x.peer),
		slog.Int64("size", in.size), slog.Int("recipients", rcpts), slog.Int("code", r.Code),
		slog.Duration("duration", time.Since(in.first)))
	return r
}

func (in *intake) commit(ctx context.Context) smtp.Reply {
	b := in.body
	in.body = nil
	defer in.abort() // gives the octets back
	// From here on the client may go, the server may drain: the message is complete
	// and the backend brings it to its end.
	r, err := b.Commit(context.WithoutCancel(ctx))
	switch {
	case err != nil:
		return in.x.refusal(ctx, "commit", err, replyInternal)
	case r.Code == 0:
		return replyOK
	}
	return r
}
