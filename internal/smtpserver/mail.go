package smtpserver

import (
	"context"
	"strings"

	"postern/internal/smtp"
)

// mayMail answers commands of a transaction that are not allowed yet: before
// EHLO, and on a submission listener before TLS and login (RFC 6409 §4.3).
func (x *session) mayMail() (smtp.Reply, bool) {
	switch {
	case x.peer.Helo == "":
		return replyNeedHelo, false
	case x.cfg.Role == RoleSubmission && !x.loggedIn && x.peer.TLS == nil && x.cfg.TLS != nil:
		return replyNeedTLS, false
	case x.cfg.Role == RoleSubmission && !x.loggedIn:
		return replyNeedLogin, false
	}
	return smtp.Reply{}, true
}

func (x *session) mail(ctx context.Context, arg string) (smtp.Reply, *end) {
	if bad, ok := x.mayMail(); !ok {
		return bad, nil
	}
	if x.tx != nil {
		return replyNested, nil
	}
	from, p, err := smtp.ParseMail(arg)
	switch {
	case err != nil:
		return asReply(err), nil
	case len(p.Unknown) > 0 || p.RequireTLS || p.Body == smtp.BodyBinary && !x.cfg.BinaryMIME:
		return replyParameter, nil // RFC 5321 §4.1.1.11: only what was announced
	case p.Size > x.cfg.Limits.MessageSize:
		return replyTooBig, nil
	case x.messages >= x.cfg.Limits.Messages:
		return replyMessages, &end{why: "too many messages"}
	case x.cfg.Quota.full():
		return replyNoRoom, nil
	}
	if err := x.backend.Mail(ctx, from, p); err != nil {
		return x.refusal(ctx, "mail", err, replyInternal), nil
	}
	x.messages++
	x.tx = &transaction{params: p}
	return replySenderOK, nil
}

func (x *session) rcpt(ctx context.Context, arg string) (smtp.Reply, *end) {
	if bad, ok := x.mayMail(); !ok {
		return bad, nil
	}
	switch {
	case x.tx == nil:
		return replyNeedMail, nil
	case x.tx.chunks > 0:
		return replyNotInBdat, nil
	}
	r := x.recipient(ctx, arg)
	if !r.Positive() {
		// A list with some bad addresses is no attack, a list of nothing else is one.
		x.tx.refused++
		x.excused = x.loggedIn && x.tx.refused < x.cfg.Limits.Recipients
	}
	return r, nil
}

func (x *session) recipient(ctx context.Context, arg string) smtp.Reply {
	to, p, err := smtp.ParseRcpt(arg, x.tx.params.SMTPUTF8)
	switch {
	case err != nil:
		return asReply(err)
	case len(p.Unknown) > 0:
		return replyParameter
	case x.tx.rcpts >= x.cfg.Limits.Recipients:
		return replyRecipients
	case to.Domain() != "" && !strings.Contains(to.ASCIIDomain(), ".") && (x.loggedIn || x.cfg.Role == RoleSubmission):
		return replyNotFQDN // RFC 6409 §5.1
	}
	if err := x.backend.Rcpt(ctx, to, p); err != nil {
		return x.refusal(ctx, "rcpt", err, replyInternal)
	}
	x.tx.rcpts++
	return replyRecipientOK
}

// asReply unpacks the errors of package smtp's parsers, which are replies.
func asReply(err error) smtp.Reply {
	if r, ok := err.(smtp.Reply); ok {
		return r
	}
	return replyInternal
}
