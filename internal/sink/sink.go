package sink

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"postern/internal/dmarc"
	"postern/internal/dns"
	"postern/internal/relay"
	"postern/internal/smtp"
	"postern/internal/smtpserver"
)

const (
	defaultMessages = 10_000
	defaultBytes    = 256 << 20
	// verifyTime bounds the DNS questions about one message; clients wait ten
	// minutes for the reply (RFC 5321 §4.5.3.2.6).
	verifyTime = 60 * time.Second
)

// Config sets a Server up.
type Config struct {
	Hostname string      // greeting, and the name in Authentication-Results
	TLS      *tls.Config // for STARTTLS; nil: not offered
	Domains  []string    // taken for, A-labels; names below them too; empty: any
	Verify   bool        // check SPF, DKIM and DMARC; needs Resolver
	Enforce  bool        // refuse with 550 5.7.1 what the author's domain asks to be rejected
	Resolver dns.Resolver
	Faults   []Fault
	// Dir keeps each message in two files, "<time>-<id>.eml" and ".json", without
	// limit. It is made if it is not there.
	Dir string
	// MaxMessages and MaxBytes bound what the inbox keeps in memory; the oldest go
	// first. 0: 10,000 messages, 256 MiB.
	MaxMessages int
	MaxBytes    int64
	Limits      smtpserver.Limits
	Quota       *smtpserver.Quota // nil: one of its own
	Log         *slog.Logger      // nil: discarded
}

// Server is a receiving server.
type Server struct {
	cfg      Config
	smtp     *smtpserver.Server
	verifier *Verifier
	faults   *faults
	inbox    *Inbox
}

// New makes a server; it starts nothing.
func New(c Config) (*Server, error) {
	if c.Verify && c.Resolver == nil {
		return nil, errors.New("sink: to verify takes a resolver")
	}
	if c.Enforce && !c.Verify {
		return nil, errors.New("sink: what is not verified cannot be refused for it")
	}
	if c.MaxMessages <= 0 {
		c.MaxMessages = defaultMessages
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = defaultBytes
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Domains = slices.Clone(c.Domains)
	for i, d := range c.Domains {
		c.Domains[i] = strings.ToLower(strings.TrimSuffix(d, "."))
	}
	if c.Dir != "" {
		if err := os.MkdirAll(c.Dir, 0o700); err != nil {
			return nil, fmt.Errorf("sink: %w", err)
		}
	}
	f, err := newFaults(slices.Clone(c.Faults))
	if err != nil {
		return nil, fmt.Errorf("sink: %w", err)
	}
	s := &Server{cfg: c, faults: f, inbox: newInbox(c.MaxMessages, c.MaxBytes)}
	s.verifier = &Verifier{Resolver: c.Resolver, Hostname: c.Hostname}
	s.smtp, err = smtpserver.New(smtpserver.Config{
		Name: "sink", Role: smtpserver.RoleMX, Hostname: c.Hostname, TLS: c.TLS,
		Mechanisms: noMechanisms, Limits: c.Limits, Quota: c.Quota, Log: c.Log,
	}, s)
	if err != nil {
		return nil, fmt.Errorf("sink: %w", err)
	}
	return s, nil
}

// Inbox is where messages go.
func (s *Server) Inbox() *Inbox { return s.inbox }

// Serve takes connections until ctx ends or the server is drained; it closes ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	return s.smtp.Serve(ctx, s.faults.watch(ln))
}

// Drain ends the sessions at their next command and returns when all are gone.
func (s *Server) Drain(ctx context.Context) error { return s.smtp.Drain(ctx) }

// Connect implements smtpserver.Backend.
func (s *Server) Connect(ctx context.Context, peer smtpserver.Peer) (smtpserver.Session, error) {
	if err := s.faults.strike(ctx, AtConnect, peer.Remote, ""); err != nil {
		return nil, err
	}
	return &session{server: s, peer: peer}, nil
}

// accepts reports whether mail for a recipient is taken.
func (s *Server) accepts(to smtp.Address) bool {
	if len(s.cfg.Domains) == 0 || to.Domain() == "" { // postmaster is everybody's (RFC 5321 §4.5.1)
		return true
	}
	domain := to.ASCIIDomain()
	return slices.ContainsFunc(s.cfg.Domains, func(d string) bool {
		return domain == d || strings.HasSuffix(domain, "."+d)
	})
}

// take verifies and keeps one message. Its error is a reply, or a fault of ours.
func (s *Server) take(ctx context.Context, x *session, raw []byte) (Message, error) {
	now := time.Now()
	m := Message{
		ID: relay.NewID(now).String(), ReceivedAt: now.UTC(), MailFrom: x.from.String(), TLS: x.peer.TLS.String(), Raw: raw,
		Remote: x.peer.Remote.String(), Helo: x.peer.Helo,
	}
	for _, to := range x.to {
		m.RcptTo = append(m.RcptTo, to.String())
	}
	if s.cfg.Verify {
		ctx, cancel := context.WithTimeout(ctx, verifyTime)
		defer cancel()
		env := Envelope{Remote: x.peer.Remote.Addr(), Helo: x.peer.Helo, MailFrom: m.MailFrom, Domain: x.from.ASCIIDomain()}
		v := s.verifier.Verify(ctx, env, raw)
		m.SPF, m.DKIM, m.DMARC, m.Signatures = v.SPF, v.DKIM, v.DMARC, v.Signatures
		m.AuthenticationResults = s.verifier.AuthenticationResults(env, v)
		if s.cfg.Enforce && v.Result.Disposition == dmarc.Reject {
			return m, smtp.R(550, 5, 7, 1, "Email rejected per DMARC policy for "+token(v.Author))
		}
	}
	if s.cfg.Dir != "" {
		if err := s.save(&m); err != nil {
			return m, fmt.Errorf("keep message %s: %w", m.ID, err)
		}
	}
	s.inbox.put(m)
	return m, nil
}

// save writes the octets and then, under a name that tells they are whole, what
// is known of them. A crash leaves at most an .eml without its .json; after an
// error, which refuses the message, nothing is left.
func (s *Server) save(m *Message) (err error) {
	base := filepath.Join(s.cfg.Dir, m.ReceivedAt.Format("20060102T150405.000000Z-")+m.ID)
	defer func() {
		if err != nil {
			_ = os.Remove(base + ".eml")
			_ = os.Remove(base + ".tmp")
		}
	}()
	if err := os.WriteFile(base+".eml", m.Raw, 0o600); err != nil {
		return err
	}
	m.File = base + ".eml"
	known := *m
	known.Raw = nil // beside it, in the .eml
	j, err := json.MarshalIndent(known, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(base+".tmp", append(j, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(base+".tmp", base+".json")
}
