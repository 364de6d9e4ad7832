package smtpserver

import (
	"context"
	"io"

	"postern/internal/smtp"
)

// data is RFC 5321 §4.1.1.4. When it is refused and the client has sent
// something behind it, that is the text of a message, sent blind: none of its
// lines may run as a command (RFC 2920 §3.1: DATA ends a group).
func (x *session) data(ctx context.Context, arg string) (smtp.Reply, *end) {
	r := x.mayData(ctx, arg)
	if r.Code != 0 {
		if x.w.pending() {
			return r, &end{"text behind a refused DATA", replyPipelined}
		}
		return r, nil
	}
	if e := x.say(replyData); e != nil {
		return smtp.Reply{}, e
	}
	in := x.tx.body
	in.begin()
	defer in.pause()
	content := smtp.NewDataReader(x.w.in())
	for {
		p, err := content.Next()
		if err == io.EOF {
			return in.finish(ctx), nil
		}
		if err == nil {
			err = in.feed(ctx, p)
		}
		if err != nil {
			return smtp.Reply{}, x.cutOff(in, err)
		}
	}
}

// mayData opens the content, or says why not.
func (x *session) mayData(ctx context.Context, arg string) smtp.Reply {
	if arg != "" {
		return replyNoArgument
	}
	if bad, ok := x.mayMail(); !ok {
		return bad
	}
	switch {
	case x.tx == nil:
		return replyNeedMail
	case x.tx.chunks > 0:
		return replyNotInBdat
	case x.tx.params.Body == smtp.BodyBinary:
		return replyBinaryData
	}
	return x.open(ctx)
}

// open asks the backend for a body; the zero Reply means that it is there.
func (x *session) open(ctx context.Context) smtp.Reply {
	switch {
	case x.tx.rcpts == 0:
		return replyNeedRcpt
	case x.cfg.Quota.full():
		return replyNoRoom
	}
	b, err := x.backend.Data(ctx)
	if err != nil {
		return x.refusal(ctx, "data", err, replyInternal)
	}
	x.tx.body = x.newIntake(b)
	return smtp.Reply{}
}

// cutOff is the end of a session in the middle of content. A fault that was
// found before is what the client is told, where it can still be told anything.
func (x *session) cutOff(in *intake, err error) *end {
	e := x.lost(err)
	if e.last == replyFlood && in.fault.Code != 0 {
		e.last = in.fault
	}
	return e
}
