package smtpclient

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"

	"postern/internal/smtp"
)

// greet runs everything up to a session that can take transactions.
func (s *Session) greet(ctx context.Context) *Error {
	if s.opts.TLS == TLSImmediate {
		if err := s.handshake(ctx); err != nil {
			return err
		}
	}
	if err := s.readBanner(ctx); err != nil {
		return err
	}
	if err := s.hello(ctx); err != nil {
		return err
	}
	if err := s.startTLS(ctx); err != nil {
		return err
	}
	if s.opts.Auth == nil {
		return nil
	}
	return s.authenticate(ctx)
}

func (s *Session) readBanner(ctx context.Context) *Error {
	r, err := s.read(ctx, StageBanner, s.opts.Timeouts.Greeting)
	switch {
	case err != nil:
		return err
	case r.Code == 220:
		s.banner = hostWord(r.Text)
		return nil
	}
	return s.unexpected(StageBanner, r)
}

// hello says EHLO, and HELO to a host that does not know EHLO (RFC 5321 §3.2).
// There is no way back to HELO where it would lose what is required: TLS before
// the handshake, AUTH.
func (s *Session) hello(ctx context.Context) *Error {
	s.command("EHLO " + s.opts.HeloName)
	r, err := s.exchange(ctx, StageEHLO, s.opts.Timeouts.Hello)
	switch {
	case err != nil:
		return err
	case r.Code/100 == 2:
		first, rest, _ := strings.Cut(r.Text, "\n")
		s.name = hostWord(first)
		s.ext = smtp.ParseExtensions(strings.Split(rest, "\n"))
		return nil
	case r.Code/100 != 5 || !s.mayHELO():
		return s.unexpected(StageEHLO, r)
	}
	s.command("HELO " + s.opts.HeloName)
	if r, err = s.exchange(ctx, StageEHLO, s.opts.Timeouts.Hello); err != nil {
		return err
	}
	if r.Code/100 != 2 {
		return s.unexpected(StageEHLO, r)
	}
	s.name, s.ext = hostWord(r.Text), smtp.Extensions{}
	return nil
}

func (s *Session) mayHELO() bool {
	return s.opts.Auth == nil && (s.opts.TLS != TLSRequired || s.tls != nil)
}

func (s *Session) startTLS(ctx context.Context) *Error {
	if s.opts.TLS == TLSNone || s.opts.TLS == TLSImmediate {
		return nil
	}
	required := s.opts.TLS == TLSRequired
	if !s.ext.StartTLS {
		if required {
			return local(StageSTARTTLS, replyNoTLS, nil)
		}
		return nil
	}
	s.command("STARTTLS")
	r, err := s.exchange(ctx, StageSTARTTLS, s.opts.Timeouts.StartTLS)
	if err != nil {
		return err
	}
	// RFC 3207 §4: what comes in the clear after the 220, or beside a refusal, was
	// put there for us to take as said under TLS.
	if s.buf.in.Buffered() > 0 {
		s.broken = true
		return local(StageSTARTTLS, replyProtocol, errInjected)
	}
	switch {
	case r.Code == 220:
	case r.Code/100 == 2 || r.Code/100 == 3 || r.Code == 421:
		return s.unexpected(StageSTARTTLS, r)
	case required:
		return local(StageSTARTTLS, replyTLSRefused, remote(StageSTARTTLS, r))
	default:
		return nil
	}
	if err := s.handshake(ctx); err != nil {
		return err
	}
	err = s.hello(ctx)
	if alert, ok := errors.AsType[*net.OpError](asError(err)); ok && alert.Op == "remote error" {
		// In TLS 1.3 the client is done first: what the host then has against the
		// handshake (no client certificate, say) arrives with the first read.
		return local(StageHandshake, replyHandshake, alert)
	}
	return err
}

// asError keeps a nil *Error from becoming an error that is not nil.
func asError(err *Error) error {
	if err == nil {
		return nil
	}
	return err
}

// handshake puts TLS over the connection. Nothing learnt before counts any more
// (RFC 3207 §4.2).
func (s *Session) handshake(ctx context.Context) *Error {
	s.ext, s.name = smtp.Extensions{}, ""
	at, slow := s.deadline(s.opts.Timeouts.StartTLS)
	s.raw.SetDeadline(at)
	err := ctx.Err()
	conn := tls.Client(s.raw, s.opts.TLSConfig)
	if err == nil {
		err = conn.HandshakeContext(ctx)
	}
	if err != nil {
		s.broken = true
		e := broke(ctx, StageHandshake, slow, err)
		if ctx.Err() == nil {
			e = local(StageHandshake, replyHandshake, err)
		}
		return e
	}
	state := conn.ConnectionState()
	s.conn, s.tls = conn, &state
	s.buf.in.Reset(conn)
	return nil
}

// unexpected makes the error of a reply that ends the session: the host's words
// if it is a refusal, ours if it makes no sense here.
func (s *Session) unexpected(stage Stage, r smtp.Reply) *Error {
	r.Text = sanitise(r.Text)
	if r.Temporary() || r.Permanent() {
		return remote(stage, r)
	}
	s.broken = true
	return local(stage, replyProtocol, remote(stage, r))
}

// hostWord is the first word of a text, lower case and without a trailing dot.
func hostWord(text string) string {
	word, _, _ := strings.Cut(text, " ")
	word, _, _ = strings.Cut(word, "\n")
	return strings.ToLower(strings.TrimSuffix(word, "."))
}
