package smtpserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/netip"

	"postern/internal/sasl"
	"postern/internal/smtp"
)

// Role says what a listener is for.
type Role string

// The roles.
const (
	// RoleSubmission takes mail from those who logged in, under TLS.
	RoleSubmission Role = "submission"
	// RoleMX takes mail from anyone for the recipients that the backend accepts.
	RoleMX Role = "mx"
)

// TLS describes the encryption of a session.
type TLS struct {
	Version    uint16 // tls.VersionTLS12, …
	Cipher     uint16 // suite
	ServerName string // SNI as the client sent it, made printable
	ALPN       string
}

// String is "TLSv1.3 TLS_AES_128_GCM_SHA256"; empty for a nil *TLS.
func (t *TLS) String() string {
	if t == nil {
		return ""
	}
	version := "TLS"
	switch t.Version {
	case tls.VersionTLS12:
		version = "TLSv1.2"
	case tls.VersionTLS13:
		version = "TLSv1.3"
	}
	name, ok := cipherNames[t.Cipher]
	if !ok {
		name = tls.CipherSuiteName(t.Cipher) // a number
	}
	return version + " " + name
}

// cipherNames has the names of all suites. tls.CipherSuiteName makes its table
// anew for each call, and this is asked a dozen times a session.
var cipherNames = func() map[uint16]string {
	names := map[uint16]string{}
	for _, list := range [][]*tls.CipherSuite{tls.CipherSuites(), tls.InsecureCipherSuites()} {
		for _, s := range list {
			names[s.ID] = s.Name
		}
	}
	return names
}()

// Peer is who is at the other end, as far as it is known.
type Peer struct {
	Listener string // Config.Name
	Role     Role
	Remote   netip.AddrPort // zero where the connection is not TCP
	Local    netip.AddrPort
	Helo     string // argument of EHLO or HELO: a domain or a literal, its form checked; "" before
	ESMTP    bool   // EHLO, not HELO
	TLS      *TLS   // nil: plain text
	// Certificates are what the client sent, leaf first; nil: none. TLS has proven
	// that it holds the leaf's key, and nothing else of the chain.
	Certificates []*x509.Certificate
}

// Backend decides for one listener.
type Backend interface {
	// Connect is asked before the greeting (after the handshake where TLS is
	// implicit). An error is answered in place of the greeting, and the connection
	// is closed. It may take its time; ctx ends when the server drains too.
	Connect(ctx context.Context, peer Peer) (Session, error)
}

// Session decides for one connection. Its methods are called one at a time, and
// so are those of its Body. ctx ends when the connection is to be closed by
// force.
//
// An error that is (or wraps) an smtp.Reply is sent as it is; any other is
// answered with a temporary failure that shows nothing of it, and is logged.
// After a reply 421 the connection is closed.
type Session interface {
	// Helo tells a new greeting. After STARTTLS it is the first thing called, with
	// Peer.TLS set: all that was told before is forgotten. An error refuses it.
	Helo(ctx context.Context, peer Peer) error

	// Login returns what one exchange by a mechanism may ask; the server fills in
	// Binding and Plus. What its functions return ends the exchange: nil lets the
	// client in. Refusals are 535, and leave at a fixed time after the line that
	// decided them, whatever the decision took; other errors leave at once. An error
	// that has HoldBack() time.Duration is held back at least that long, up to 30 s.
	Login(ctx context.Context, mechanism string) sasl.Exchange

	// Offers reports whether a mechanism of the listener is offered to this session
	// now: in the reply to EHLO, and when the client asks for it. What the session
	// lacks for it (Mechanism.Needs) was looked at before.
	Offers(ctx context.Context, mechanism string) bool

	// LoginFailed tells of an attempt that ended without anything to judge, and of
	// one in which the client gave up (LoginAborted) although the exchange had let it
	// in: it is not in then.
	LoginFailed(ctx context.Context, mechanism string, why LoginFault)

	// Mail opens a transaction. In a submission session the client has logged in.
	Mail(ctx context.Context, from smtp.Address, p smtp.MailParams) error

	// Rcpt adds a recipient. An error refuses this one only.
	Rcpt(ctx context.Context, to smtp.Address, p smtp.RcptParams) error

	// Data opens the message's content: at DATA before 354, or at the first BDAT.
	Data(ctx context.Context) (Body, error)

	// Reset tells that the transaction which Mail opened is gone without a message.
	// It is not called after Commit.
	Reset(ctx context.Context)

	// Close tells that the connection is gone. Body.Abort and Reset came before it
	// where something was open.
	Close()
}

// Body takes the content of one message: canonical text (CRLF only, no NUL),
// dots unstuffed. Exactly one of Commit and Abort ends it.
type Body interface {
	// Write takes the next octets, which are valid during the call only. After an
	// error the rest is read and thrown away, and the error answered at the end.
	Write(p []byte) (int, error)

	// Commit is called after the true end of the content: the message is complete.
	// Its reply is sent: 250 after the message is on stable storage, else an
	// error. ctx is not cancelled when the client goes away; the backend bounds
	// the time.
	Commit(ctx context.Context) (smtp.Reply, error)

	// Abort drops what was written. Nothing of it may be kept.
	Abort()
}

// LoginFault says why an attempt to log in had nothing to judge.
type LoginFault string

// The faults.
const (
	// LoginCleartext: AUTH without TLS. The credential is exposed.
	LoginCleartext LoginFault = "cleartext"
	// LoginAborted: the client gave up with "*".
	LoginAborted LoginFault = "aborted"
	// LoginMalformed: not what the mechanism allows, bad base64 or too long.
	LoginMalformed LoginFault = "malformed"
	// LoginBinding: client and server do not see the same TLS, or not the same
	// mechanisms: somebody may sit between them, or the client is at fault.
	LoginBinding LoginFault = "binding"
)
