package smtpserver

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"postern/internal/sasl"
	"postern/internal/smtp"
)

// Config sets a Server up. It is not changed after New.
type Config struct {
	Name     string // of the listener, for logs and records
	Role     Role
	Hostname string // greeting and EHLO
	// TLS is what to encrypt with; its GetCertificate may change its mind at any
	// time. New takes a copy, and raises the floor to TLS 1.2 where it is lower.
	// Ticket keys belong to the copy: a session of one listener cannot be resumed on
	// another. Nil: no TLS, so no AUTH either.
	TLS *tls.Config
	// ImplicitTLS starts with the handshake (RFC 8314) in place of STARTTLS.
	ImplicitTLS bool
	// ClientCertificates asks clients for one. crypto/tls does not judge what comes
	// (Peer.Certificates); chains over 10 certificates or 64 KiB end the handshake.
	ClientCertificates bool
	// Mechanisms are offered under TLS, in this order. Nil: PLAIN and LOGIN. Empty:
	// no AUTH.
	Mechanisms []sasl.Mechanism
	Limits     Limits
	TextPolicy smtp.TextPolicy // for bare CR and LF in content
	// BinaryMIME offers BODY=BINARYMIME (RFC 3030), by BDAT only; its content is
	// passed on unchecked.
	BinaryMIME bool
	Quota      *Quota // shared with other servers; nil: one of its own
	Hooks      Hooks
	Log        *slog.Logger // nil: discarded
}

// Limits bound one session. 0 means the default in brackets.
type Limits struct {
	CommandLine int   // octets with CRLF [4096] (RFC 5321 §4.5.3.1.4: at least 512)
	AuthLine    int   // octets with CRLF, of AUTH and of each response [12288] (RFC 4954 §4)
	TextLine    int   // octets of a line of content, without CRLF [1 MiB]; more: 554 5.6.0
	MessageSize int64 // octets of content [31457280]; more: 552 5.3.4
	Recipients  int   // accepted, of one message [1000]; more: 452 4.5.3
	Messages    int   // transactions of one session [10000]; more: 421 4.7.0
	Commands    int   // between two messages, without getting nearer to one [100]; more: 421 4.7.0
	Errors      int   // refused commands of one session [20]; then 421 4.7.0
	AuthFails   int   // failed logins of one session [10]; the last one: 421 4.7.0
	Chunks      int   // BDAT commands of one message [10000]; more: 421 4.7.0

	Idle        time.Duration // for a command line to be complete [5m] (RFC 5321 §4.5.3.2.7)
	DataBlock   time.Duration // for the next octets of content [3m] (§4.5.3.2.5)
	MessageTime time.Duration // for all of one message's content [1h]
	Handshake   time.Duration // for TLS [30s]
	Write       time.Duration // for the client to take a reply [1m]
	// MinimumRate is what content must arrive with, in octets a second over the
	// message, after RateGrace [60s]. [100]; negative: any rate.
	MinimumRate int64
	RateGrace   time.Duration
	// AuthDelay is when a 535 leaves after its response was read [250ms]. It doubles
	// with every failure of the session, up to 8 s.
	AuthDelay time.Duration
}

// Defaults of Limits.
func (l Limits) withDefaults() Limits {
	def(&l.CommandLine, 4096)
	def(&l.AuthLine, 12288)
	def(&l.TextLine, smtp.MaxTextLine)
	def(&l.MessageSize, 31457280)
	def(&l.Recipients, 1000)
	def(&l.Messages, 10000)
	def(&l.Commands, 100)
	def(&l.Errors, 20)
	def(&l.AuthFails, 10)
	def(&l.Chunks, 10000)
	def(&l.Idle, 5*time.Minute)
	def(&l.DataBlock, 3*time.Minute)
	def(&l.MessageTime, time.Hour)
	def(&l.Handshake, 30*time.Second)
	def(&l.Write, time.Minute)
	def(&l.MinimumRate, 100)
	def(&l.RateGrace, time.Minute)
	def(&l.AuthDelay, 250*time.Millisecond)
	return l
}

func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

func (l Limits) check() error {
	switch {
	case l.CommandLine < 512 || l.CommandLine > maxLine:
		return fmt.Errorf("command line of %d octets: want 512 to %d", l.CommandLine, maxLine)
	case l.AuthLine < 512 || l.AuthLine > maxLine:
		return fmt.Errorf("AUTH line of %d octets: want 512 to %d", l.AuthLine, maxLine)
	case l.TextLine < 998:
		return errors.New("text line under 998 octets")
	case l.Recipients < 100: // RFC 5321 §4.5.3.1.8
		return errors.New("fewer than 100 recipients")
	case l.AuthFails < 1 || l.AuthFails > 10:
		return fmt.Errorf("%d failed logins: want 1 to 10", l.AuthFails)
	}
	for _, n := range []int64{l.MessageSize, int64(l.Messages), int64(l.Commands), int64(l.Errors), int64(l.Chunks),
		int64(l.Idle), int64(l.DataBlock), int64(l.MessageTime), int64(l.Handshake), int64(l.Write), int64(l.RateGrace), int64(l.AuthDelay)} {
		if n < 0 {
			return errors.New("a limit is negative")
		}
	}
	return nil
}

// Hooks are told what happens, for metrics. Nil members are not called. They
// must not block.
type Hooks struct {
	Opened    func()                                // a connection was admitted
	Closed    func(d time.Duration)                 // and is gone
	Refused   func(why string)                      // a connection was not admitted: "address", "total", "draining"
	Handshake func(t *TLS, err error)               // a TLS handshake ended
	Login     func(mechanism string, ok bool)       // an AUTH command ended
	Replied   func(code int)                        // a reply was queued for writing
	Message   func(size int64, rcpts int, code int) // the content of a message was answered
	Panicked  func()                                // a session died of a fault of ours
	Accept    func(err error)                       // accepting failed; it is tried again
}

// prepare validates c and fills in its defaults.
func (c Config) prepare() (Config, error) {
	if c.Role != RoleSubmission && c.Role != RoleMX {
		return c, fmt.Errorf("role %q: want %q or %q", c.Role, RoleSubmission, RoleMX)
	}
	if !validHelo(c.Hostname) {
		return c, fmt.Errorf("hostname %q: not a domain", c.Hostname)
	}
	if c.ImplicitTLS && c.TLS == nil {
		return c, errors.New("implicit TLS without a TLS configuration")
	}
	c.Limits = c.Limits.withDefaults()
	if err := c.Limits.check(); err != nil {
		return c, fmt.Errorf("limits: %w", err)
	}
	if c.Mechanisms == nil {
		c.Mechanisms = []sasl.Mechanism{sasl.Plain, sasl.Login}
	}
	if c.Quota == nil {
		c.Quota = NewQuota(QuotaLimits{})
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if err := checkMechanisms(c.Mechanisms); err != nil {
		return c, err
	}
	if c.TLS != nil {
		c.TLS = hardened(c.TLS, c.Role, c.ClientCertificates)
	}
	return c, nil
}

// checkMechanisms: each once, and all of them on one line (RFC 5321 §4.5.3.1.5:
// 512 octets).
func checkMechanisms(list []sasl.Mechanism) error {
	size := len("250-AUTH\r\n")
	seen := make(map[string]bool)
	for _, m := range list {
		if size += 1 + len(m.Name); seen[m.Name] || m.Name == "" || m.New == nil {
			return fmt.Errorf("mechanism %q: twice, or empty", m.Name)
		}
		seen[m.Name] = true
	}
	if size > 512 {
		return errors.New("the names of the mechanisms do not fit a line")
	}
	return nil
}

// hardened copies a TLS configuration and makes sure of what a mail session
// relies on, whoever wrote it.
func hardened(in *tls.Config, role Role, clientCertificates bool) *tls.Config {
	t := in.Clone()
	t.MinVersion = max(t.MinVersion, tls.VersionTLS12) // RFC 8996
	t.ClientAuth = tls.NoClientCert
	if clientCertificates {
		t.ClientAuth, t.VerifyPeerCertificate = tls.RequestClientCert, checkChain
	}
	if role == RoleMX {
		t.SessionTicketsDisabled = true // strangers come once
	} else if len(t.NextProtos) == 0 {
		t.NextProtos = []string{"smtp"} // a browser that was sent here is refused
	}
	return t
}
