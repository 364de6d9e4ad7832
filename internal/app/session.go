package app

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"postern/internal/auth"
	"postern/internal/cert"
	"postern/internal/credit"
	"postern/internal/relay"
	"postern/internal/sasl"
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
	guard  *auth.Guard
	ledger *credit.Ledger
	plans  plans
	// hostname is the name that clients connect to.
	hostname string
	certs    *cert.Source
}

// plans is where the plan of a tenant is found.
type plans interface {
	Account(id relay.AccountID) (relay.Account, bool)
	Subuser(id relay.SubuserID) (relay.Subuser, bool)
}

// Connect implements smtpserver.Backend. Who failed to log in before waits for
// the greeting.
func (d *door) Connect(ctx context.Context, peer smtpserver.Peer) (smtpserver.Session, error) {
	s := &session{door: d, peer: peer}
	if wait := d.guard.Delay(s.addr()); wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s, nil
}

// session is one connection. smtpserver calls it one method at a time.
type session struct {
	door      *door
	peer      smtpserver.Peer
	principal *relay.Principal
	env       submit.Envelope
	intake    []submit.Route // MX role without login: where the recipients lead
	release   []func()       // gives back what counts this connection
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
		Addr: s.addr(), Helo: s.peer.Helo, TLS: s.peer.TLS.String(), Certificates: s.peer.Certificates,
	}
}

// Login implements smtpserver.Session.
func (s *session) Login(_ context.Context, mechanism string) sasl.Exchange {
	x := s.door.auth.Exchange(s.attempt(mechanism), func(p *relay.Principal) { s.principal = p })
	x.Host, x.KnownAs = s.door.hostname, s.knownAs
	return x
}

// knownAs reports whether a host name or address leads to this listener: one of
// the certificate's names, or the address that the client connected to.
func (s *session) knownAs(host string) bool {
	if c := s.door.certs.Certificate(); c != nil && c.Leaf != nil && c.Leaf.VerifyHostname(host) == nil {
		return true
	}
	local := s.peer.Local.Addr().Unmap()
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap() == local
	}
	return local.IsLoopback() && strings.EqualFold(host, "localhost")
}

// Offers implements smtpserver.Session.
func (s *session) Offers(_ context.Context, mechanism string) bool {
	return s.door.auth.Offers(s.attempt(mechanism), mechanism)
}

func (s *session) LoginFailed(_ context.Context, mechanism string, why smtpserver.LoginFault) {
	s.principal = nil // a client that gives up after it was let in is out again
	at := s.attempt(mechanism)
	switch why {
	case smtpserver.LoginCleartext:
		s.door.auth.Cleartext(at)
	case smtpserver.LoginAborted:
		s.door.auth.Ended(at, relay.LoginAborted)
	case smtpserver.LoginBinding:
		s.door.auth.Ended(at, relay.LoginBinding)
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
	if err := s.connect(); err != nil {
		return err
	}
	return s.door.submit.BeginMail(ctx, principal, p.Size)
}

// connect counts this connection against the plans of its tenant, once.
func (s *session) connect() error {
	if len(s.release) > 0 {
		return nil
	}
	account, _ := s.door.plans.Account(s.principal.Account)
	limits := []struct {
		tenant relay.Tenant
		most   int
	}{{relay.Tenant{Account: account.ID}, account.Plan.Connections}}
	if sub, ok := s.door.plans.Subuser(s.principal.Subuser); ok {
		limits = append(limits, struct {
			tenant relay.Tenant
			most   int
		}{s.principal.Tenant, sub.Plan.Connections})
	}
	for _, l := range limits {
		release, ok := s.door.ledger.Connect(l.tenant, l.most)
		if !ok {
			s.disconnect()
			return smtp.R(421, 4, 7, 0, "Too many connections at once for this account")
		}
		s.release = append(s.release, release)
	}
	return nil
}

func (s *session) disconnect() {
	for _, release := range s.release {
		release()
	}
	s.release = nil
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
	return s.door.submit.AddRecipient(s.principal, &s.env, submit.Recipient{Address: to, Notify: relay.Notify(p.Notify), ORcpt: p.ORcpt})
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

func (s *session) Close() { s.disconnect() }

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
