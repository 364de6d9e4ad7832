package sink

import (
	"context"
	"errors"
	"log/slog"

	"postern/internal/sasl"
	"postern/internal/smtp"
	"postern/internal/smtpserver"
)

// noMechanisms: nobody logs in to a sink.
var noMechanisms = []sasl.Mechanism{}

// session is one connection.
type session struct {
	server *Server
	peer   smtpserver.Peer
	from   smtp.Address
	to     []smtp.Address
	rcpts  []string // to, in text
}

func (x *session) strike(ctx context.Context, at Stage, to ...string) error {
	return x.server.faults.strike(ctx, at, x.peer.Remote, x.from.String(), to...)
}

// Helo implements smtpserver.Session.
func (x *session) Helo(ctx context.Context, peer smtpserver.Peer) error {
	x.peer = peer
	return x.strike(ctx, AtHelo)
}

// Login implements smtpserver.Session; AUTH is not offered.
func (x *session) Login(context.Context, string) sasl.Exchange { return sasl.Exchange{} }

// Offers implements smtpserver.Session.
func (x *session) Offers(context.Context, string) bool { return false }

// LoginFailed implements smtpserver.Session.
func (x *session) LoginFailed(context.Context, string, smtpserver.LoginFault) {}

// Mail implements smtpserver.Session.
func (x *session) Mail(ctx context.Context, from smtp.Address, _ smtp.MailParams) error {
	x.forget()
	x.from = from
	if err := x.strike(ctx, AtMail); err != nil {
		x.forget()
		return err
	}
	return nil
}

// Rcpt implements smtpserver.Session.
func (x *session) Rcpt(ctx context.Context, to smtp.Address, _ smtp.RcptParams) error {
	if !x.server.accepts(to) {
		return smtp.R(550, 5, 7, 1, "Mail for that domain is not taken here")
	}
	if err := x.strike(ctx, AtRcpt, to.String()); err != nil {
		return err
	}
	x.to, x.rcpts = append(x.to, to), append(x.rcpts, to.String())
	return nil
}

// Data implements smtpserver.Session.
func (x *session) Data(ctx context.Context) (smtpserver.Body, error) {
	if err := x.strike(ctx, AtData, x.rcpts...); err != nil {
		return nil, err
	}
	return &body{session: x}, nil
}

// Reset implements smtpserver.Session.
func (x *session) Reset(context.Context) { x.forget() }

// Close implements smtpserver.Session.
func (x *session) Close() { x.forget() }

func (x *session) forget() { x.from, x.to, x.rcpts = smtp.Address{}, nil, nil }

// body gathers one message's octets; the server bounds how many.
type body struct {
	session *session
	raw     []byte
}

func (b *body) Write(p []byte) (int, error) {
	b.raw = append(b.raw, p...)
	return len(p), nil
}

// Commit takes the message, or refuses it as requested.
func (b *body) Commit(ctx context.Context) (smtp.Reply, error) {
	x := b.session
	defer x.forget()
	if err := x.strike(ctx, AtEnd, x.rcpts...); err != nil {
		return smtp.Reply{}, err
	}
	m, err := x.server.take(ctx, x, b.raw)
	log := []slog.Attr{
		slog.String("id", m.ID), slog.String("from", m.MailFrom), slog.Int("recipients", len(m.RcptTo)), slog.Int("size", len(m.Raw)),
		slog.String("tls", m.TLS), slog.String("spf", m.SPF), slog.String("dkim", m.DKIM), slog.String("dmarc", m.DMARC),
	}
	if err != nil {
		if r, ok := errors.AsType[smtp.Reply](err); ok { // a fault of ours is logged by the server
			x.server.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "message refused", append(log, slog.String("reply", r.String()))...)
		}
		return smtp.Reply{}, err
	}
	x.server.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "message taken", log...)
	return smtp.R(250, 2, 0, 0, "Ok: taken as "+m.ID), nil
}

// Abort drops the octets.
func (b *body) Abort() { b.raw = nil }
