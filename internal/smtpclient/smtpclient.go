// Package smtpclient runs one outbound SMTP session over a connection that
// somebody else made. It never dials, resolves or retries, and keeps no state
// between sessions.
//
// New does, in this order and on the same connection:
//
//  1. read the banner
//  2. EHLO; HELO where the host does not know EHLO
//  3. STARTTLS, if the mode wants it and the host offers it; nothing that came
//     before the handshake has any effect after it
//  4. EHLO again, and AUTH where the route has credentials
//
// Send then runs one transaction, as often as the caller likes:
//
//  1. what the host did not offer and the message needs is refused here, before
//     a command is sent
//  2. MAIL, every RCPT and DATA in one write where PIPELINING was offered; the
//     replies are mapped to the commands strictly in order
//  3. the message, then the caller's BeforeEnd, then the end of the data
//  4. the reply, which is the only thing that makes a message delivered
//
// Its one invariant: every recipient of a transaction has exactly one outcome,
// and an outcome is positive only if the host said 2yz after the end of the
// data. Whatever breaks once the end of the data may have left is marked
// Ambiguous: the host may or may not have the message (RFC 1047).
//
// DATA is preferred to BDAT even where CHUNKING is offered: it is what every
// receiver exercises all day, and dot-stuffing costs about a microsecond for a
// common message. BDAT is used for what DATA cannot carry: BINARYMIME
// (RFC 3030). It sends the end as a chunk of its own ("BDAT 0 LAST"), so that a
// connection lost within the content never looks like a whole message to a
// careless receiver.
package smtpclient

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"

	"postern/internal/smtp"
)

// TLSMode says what New does about TLS.
type TLSMode uint8

// The modes.
const (
	// TLSNone does not use STARTTLS even if offered.
	TLSNone TLSMode = iota
	// TLSOpportunistic uses STARTTLS if it is offered and not refused. A handshake
	// that fails is an error all the same: the connection is spent, and whether to
	// try again without TLS is the caller's decision.
	TLSOpportunistic
	// TLSRequired sends nothing without TLS. How the certificate is judged stands
	// in Options.TLSConfig.
	TLSRequired
	// TLSImmediate starts TLS with the first octet, before the banner (RFC 8314 §3).
	TLSImmediate
)

// Options are the settings of one session.
type Options struct {
	// HeloName is what EHLO says: a host name or an address literal. Required.
	HeloName string
	TLS      TLSMode
	// TLSConfig is used for the handshake; needed unless TLS is TLSNone.
	TLSConfig *tls.Config
	// Auth, if set, authenticates, and only under TLS.
	Auth Auth
	// Timeouts of zero take their value from DefaultTimeouts.
	Timeouts Timeouts
	// MaxRecipients is the most recipients in one transaction, at most what the
	// host announces. 0: 100, what every server must take (RFC 5321 §4.5.3.1.8).
	MaxRecipients int
}

// Session is one SMTP session. It is used by one goroutine at a time; only
// Close may be called beside it.
type Session struct {
	raw  net.Conn // as given; deadlines are set here
	conn net.Conn // raw, or the TLS connection over it
	opts Options

	// Between calls these are empty.
	buf   *buffers
	out   []byte      // what waits to be written; a slice of buf.out
	stop  func() bool // ends what ctx may do to the connection
	until time.Time   // the end of the current transaction's time; zero: none

	banner  string // first word of the banner: the host's own name for itself
	name    string // and of its EHLO reply
	ext     smtp.Extensions
	tls     *tls.ConnectionState
	started int  // transactions begun (RFC 9422 MAILMAX counts them)
	sent    int  // messages that the host took
	dirty   bool // a transaction is open at the host: RSET before the next
	broken  bool // out of step, lost or told to go: of no more use
}

// New opens a session on conn: banner, EHLO, TLS and AUTH as told. Errors are
// of type *Error; the connection is closed then. From here on the connection
// belongs to the session.
func New(ctx context.Context, conn net.Conn, opts Options) (*Session, error) {
	opts.Timeouts = opts.Timeouts.withDefaults()
	if opts.MaxRecipients <= 0 {
		opts.MaxRecipients = defaultMaxRecipients
	}
	s := &Session{raw: conn, conn: conn, opts: opts}
	if err := s.open(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

func (s *Session) open(ctx context.Context) error {
	if !validHelo(s.opts.HeloName) {
		return local(StageEHLO, smtp.R(451, 4, 3, 5, "The name to say in EHLO is not usable"), fmt.Errorf("EHLO name %q", s.opts.HeloName))
	}
	if s.opts.TLS != TLSNone && s.opts.TLSConfig == nil {
		return local(StageSTARTTLS, smtp.R(451, 4, 3, 5, "TLS is not configured"), nil)
	}
	defer s.begin(ctx)()
	return asError(s.greet(ctx))
}

// Extensions is what the host offered last: under TLS what it offered there.
func (s *Session) Extensions() *smtp.Extensions { return &s.ext }

// Names are the names that the host gave itself in the banner and in its reply
// to EHLO: lower case, unverified, perhaps empty.
func (s *Session) Names() (banner, ehlo string) { return s.banner, s.name }

// TLS describes the TLS connection as records want it
// ("TLSv1.3 TLS_AES_128_GCM_SHA256"); empty in the clear.
func (s *Session) TLS() string {
	if s.tls == nil {
		return ""
	}
	return versionName(s.tls.Version) + " " + tls.CipherSuiteName(s.tls.CipherSuite)
}

// ConnectionState is the state of the TLS connection, nil in the clear.
func (s *Session) ConnectionState() *tls.ConnectionState { return s.tls }

// LocalAddr and RemoteAddr are those of the connection.
func (s *Session) LocalAddr() net.Addr { return s.conn.LocalAddr() }

// RemoteAddr is the host's end of the connection.
func (s *Session) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }

// Messages is the number of messages that the host took in this session.
func (s *Session) Messages() int { return s.sent }

// Usable reports whether another transaction may be begun: the session is in
// step, was not told to go, and is within the host's MAILMAX.
func (s *Session) Usable() bool {
	limit := s.ext.Limits.MailMax
	return !s.broken && (limit == 0 || int64(s.started) < limit)
}

// MaxRecipients is how many recipients one transaction may have here.
func (s *Session) MaxRecipients() int {
	if limit := s.ext.Limits.RcptMax; limit > 0 && limit < int64(s.opts.MaxRecipients) {
		return int(limit)
	}
	return s.opts.MaxRecipients
}

// Reset ends whatever transaction is open (RFC 5321 §4.1.1.5), and proves that
// the host still answers. There is no new EHLO. Errors are of type *Error.
func (s *Session) Reset(ctx context.Context) error {
	if s.broken {
		return local(StageReset, replyUnusable, nil)
	}
	defer s.begin(ctx)()
	s.command("RSET")
	r, err := s.exchange(ctx, StageReset, s.opts.Timeouts.Reset)
	switch {
	case err != nil:
		return err
	case r.Code/100 != 2:
		s.broken = true
		return remote(StageReset, r)
	}
	s.dirty = false
	return nil
}

// Quit says QUIT, waits a short while for the answer (RFC 5321 §4.1.1.10) and
// closes the connection. What the host answers changes nothing any more.
func (s *Session) Quit(ctx context.Context) {
	if !s.broken {
		done := s.begin(ctx)
		s.command("QUIT")
		s.exchange(ctx, StageQuit, s.opts.Timeouts.Quit)
		done()
		s.broken = true
	}
	s.raw.SetDeadline(time.Now().Add(s.opts.Timeouts.Quit))
	s.conn.Close() // under TLS with its close_notify
}

// Close drops the connection without a word.
func (s *Session) Close() error {
	// The connection below is closed, not the TLS one, which would wait to write
	// an alert.
	return s.raw.Close()
}

// validHelo refuses what would break the EHLO line or lie in somebody's trace.
func validHelo(name string) bool {
	if name == "" || len(name) > smtp.MaxDomain {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

func versionName(v uint16) string {
	return strings.Replace(tls.VersionName(v), "TLS ", "TLSv", 1)
}

// defaultMaxRecipients is what every server must take (RFC 5321 §4.5.3.1.8).
const defaultMaxRecipients = 100
