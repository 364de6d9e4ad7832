package smtpserver

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"sync/atomic"
)

// served watches which certificate a TLS configuration serves; crypto/tls does
// not tell. A session that is resumed has the certificate of its first
// handshake, so a ticket names it, and is good only while that one is served.
type served struct {
	conf *tls.Config // with the certificates as they were given
	last atomic.Pointer[leafSum]
}

type leafSum struct {
	cert *tls.Certificate
	sum  [sha256.Size]byte
}

// handshakeKey is the context key of the *tls.Certificate that a handshake
// fills in.
type handshakeKey struct{}

// watch puts the watching into t.
func watch(t *tls.Config) *served {
	w := &served{conf: t.Clone()}
	t.Certificates, t.GetCertificate = nil, w.choose
	if t.WrapSession == nil && t.UnwrapSession == nil {
		t.WrapSession = func(state tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
			if l := w.last.Load(); l != nil {
				s.Extra = append(s.Extra, l.sum[:])
			}
			return t.EncryptTicket(state, s)
		}
		t.UnwrapSession = func(ticket []byte, state tls.ConnectionState) (*tls.SessionState, error) {
			s, err := t.DecryptTicket(ticket, state)
			l := w.last.Load()
			if s == nil || err != nil || l == nil || !slices.ContainsFunc(s.Extra, func(p []byte) bool { return string(p) == string(l.sum[:]) }) {
				return nil, err // a full handshake
			}
			return s, nil
		}
	}
	return w
}

// choose does what crypto/tls does with Certificates and GetCertificate, and
// notes the choice.
func (w *served) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c, err := w.pick(hello)
	if err != nil || c == nil || len(c.Certificate) == 0 {
		return c, err
	}
	if p, ok := hello.Context().Value(handshakeKey{}).(**tls.Certificate); ok {
		*p = c
	}
	if l := w.last.Load(); l == nil || l.cert != c {
		w.last.Store(&leafSum{c, sha256.Sum256(c.Certificate[0])})
	}
	return c, nil
}

func (w *served) pick(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	certs := w.conf.Certificates
	if get := w.conf.GetCertificate; get != nil && (len(certs) == 0 || hello.ServerName != "") {
		if c, err := get(hello); c != nil || err != nil {
			return c, err
		}
	}
	for i := range certs {
		if len(certs) == 1 || hello.SupportsCertificate(&certs[i]) == nil {
			return &certs[i], nil
		}
	}
	if len(certs) == 0 {
		return nil, nil // crypto/tls has the words
	}
	return &certs[0], nil
}

// handshake runs a server's handshake. The certificate is nil where it is not
// known: a configuration that GetConfigForClient gave, say.
func (w *served) handshake(conn *tls.Conn) (*tls.Certificate, error) {
	var c *tls.Certificate
	if err := conn.HandshakeContext(context.WithValue(context.Background(), handshakeKey{}, &c)); err != nil {
		return nil, err
	}
	if conn.ConnectionState().DidResume {
		c = nil
		if l := w.last.Load(); l != nil && w.conf.GetConfigForClient == nil {
			c = l.cert
		}
	}
	return c, nil
}

// The most that a client may send as its certificates.
const (
	maxChain      = 10
	maxChainBytes = 64 << 10
)

// checkChain bounds what a client sends; who it is, the backend decides.
func checkChain(raw [][]byte, _ [][]*x509.Certificate) error {
	size := 0
	for _, c := range raw {
		size += len(c)
	}
	if len(raw) > maxChain || size > maxChainBytes {
		return fmt.Errorf("client sent %d certificates of %d octets: want at most %d of %d", len(raw), size, maxChain, maxChainBytes)
	}
	return nil
}
