package app

import (
	"context"
	"net/netip"

	"postern/internal/auth"
	"postern/internal/relay"
	"postern/internal/sasl"
	"postern/internal/secret"
	"postern/internal/smtp"
	"postern/internal/smtpserver"
	"postern/internal/submit"
)

// door is the SMTP edge: it turns what smtpserver tells of a session into calls
// of auth and submit. It decides nothing itself.
type door struct {
	auth   *auth.Authenticator
	submit *submit.Service
	intake *submit.Intake
	gate   *gate
}

// Connect implements smtpserver.Backend.
func (d *door) Connect(_ context.Context, peer smtpserver.Peer) (smtpserver.Session, error) {
	return &session{door: d, peer: peer}, nil
}

// session is one connection. smtpserver calls it one method at a time.
type session struct {
	door      *door
	peer      smtpserver.Peer
	principal *relay.Principal
	env       submit.Envelope
	intake    []submit.Route // MX role without login: where the recipients lead
}

func (s *session) Helo(_ context.Context, peer smtpserver.Peer) error {
	if s.peer.TLS == nil && peer.TLS != nil {
		s.principal = nil // RFC 3207 §4.2: nothing from before TLS counts
	}
	s.peer = peer
	return nil
}

func (s *session) addr() netip.Addr { return s.peer.Remote.Addr().Unmap() }

func (s *session) attempt(mechanism string) auth.Attempt {
	return auth.Attempt{
		Protocol: "smtp", Listener: s.peer.Listener, Mechanism: mechanism,
		Addr: s.addr(), Helo: s.peer.Helo, TLS: s.peer.TLS.String(),
	}
}

// Login lets keys in by the two mechanisms that hand the secret over.
func (s *session) Login(context.Context, string) sasl.Exchange {
	return sasl.Exchange{Authenticate: s.authenticate}
}

// Offers implements smtpserver.Session.
func (s *session) Offers(_ context.Context, mechanism string) bool {
	return mechanism == sasl.Plain.Name || mechanism == sasl.Login.Name
}

func (s *session) authenticate(ctx context.Context, c sasl.Credentials) error {
	at := s.attempt(c.Mechanism)
	at.Authzid, at.User, at.Secret = c.Authzid, c.User, secret.Redacted(c.Secret.Reveal())
	p, err := s.door.auth.Login(ctx, at)
	if err != nil {
		return err
	}
	s.principal = p
	return nil
}

func (s *session) LoginFailed(_ context.Context, mechanism string, why smtpserver.LoginFault) {
	s.principal = nil // a client that gives up after it was let in is out again
	at := s.attempt(mechanism)
	switch why {
	case smtpserver.LoginCleartext:
		s.door.auth.Cleartext(at)
	case smtpserver.LoginAborted:
		s.door.auth.Ended(at, relay.LoginAborted)
	default:
		s.door.auth.Ended(at, relay.LoginMalformed)
	}
}

func (s *session) Mail(ctx context.Context, from smtp.Address, p smtp.MailParams) error {
	if err := s.door.gate.open(); err != nil {
		return err
	}
	if len(p.Unknown) > 0 {
		return smtp.R(555, 5, 5, 4, "Parameter not supported")
	}
	if p.RequireTLS {
		return smtp.R(555, 5, 5, 4, "REQUIRETLS is not supported")
	}
	s.env = submit.Envelope{
		From: from, Body: p.Body, SMTPUTF8: p.SMTPUTF8, Ret: p.Ret, EnvID: p.EnvID,
		Source: relay.Source{Addr: s.addr(), Helo: s.peer.Helo, Protocol: s.protocol(p.SMTPUTF8), TLS: s.peer.TLS.String()},
	}
	s.intake = s.intake[:0]
	if s.principal == nil {
		return s.door.intake.Mail(from)
	}
	s.env.Source.Mechanism = s.principal.Mechanism
	principal, err := s.door.auth.Check(ctx, s.principal, s.addr())
	if err != nil {
		return err
	}
	s.principal = principal
	return nil
}

// protocol is the "with" word of the trace header (RFC 3848, RFC 6531 §4.3).
func (s *session) protocol(utf8 bool) string {
	word := "SMTP"
	switch {
	case utf8:
		word = "UTF8SMTP"
	case s.peer.ESMTP:
		word = "ESMTP"
	default:
		return word
	}
	if s.peer.TLS != nil {
		word += "S"
	}
	if s.principal != nil {
		word += "A"
	}
	return word
}

func (s *session) Rcpt(_ context.Context, to smtp.Address, p smtp.RcptParams) error {
	if len(p.Unknown) > 0 {
		return smtp.R(555, 5, 5, 4, "Parameter not supported")
	}
	if s.principal == nil {
		r, err := s.door.intake.Route(to, len(s.intake))
		if err != nil {
			return err
		}
		s.intake = append(s.intake, r)
		return nil
	}
	if err := s.door.submit.CheckRecipient(s.principal, to); err != nil {
		return err
	}
	s.env.Recipients = append(s.env.Recipients, submit.Recipient{Address: to, Notify: relay.Notify(p.Notify), ORcpt: p.ORcpt})
	return nil
}

func (s *session) Data(ctx context.Context) (smtpserver.Body, error) {
	if s.principal == nil {
		return s.door.intake.Begin(s.env, s.intake)
	}
	in, err := s.door.submit.Begin(ctx, s.principal, s.env)
	if err != nil {
		return nil, err
	}
	return &body{s: s, in: in}, nil
}

func (s *session) Reset(context.Context) {
	s.env = submit.Envelope{}
	s.intake = s.intake[:0]
}

func (s *session) Close() {}

// body is one message being handed in.
type body struct {
	s  *session
	in *submit.Incoming
}

func (b *body) Write(p []byte) (int, error) {
	// Chunks of large bodies are stored while they come: bounded by the store.
	b.in.Write(context.Background(), p)
	return len(p), nil
}

// Commit judges the key once more, then the message, then stores it.
func (b *body) Commit(ctx context.Context) (smtp.Reply, error) {
	p, err := b.s.door.auth.Check(ctx, b.s.principal, b.s.addr())
	if err != nil {
		b.in.Abort(ctx)
		return smtp.Reply{}, err
	}
	b.s.principal = p
	if err := b.in.Commit(ctx, p); err != nil {
		return smtp.Reply{}, err
	}
	return smtp.R(250, 2, 0, 0, "Ok: queued as "+b.in.ID().String()), nil
}

func (b *body) Abort() { b.in.Abort(context.Background()) }
