package ledger

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	netsmtp "net/smtp"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// fakeRelay is a relay that forwards each message at once, with one defect at
// choice, so that every finding of the ledger is seen to be possible.
type fakeRelay struct {
	login  Login
	sink   string
	defect func(n int, m *mail) // may change m; n counts from 1

	mu sync.Mutex
	n  int
}

type mail struct {
	from   string
	to     []string
	octets []byte
	drop   bool  // say 250 and forget
	twice  bool  // deliver two copies
	answer error // instead of 250
	hangUp bool  // deliver, then close without an answer
}

type fakeSession struct {
	relay *fakeRelay
	conn  *smtp.Conn
	m     mail
}

func startRelay(t *testing.T, sink string, defect func(int, *mail)) *fakeRelay {
	t.Helper()
	cert, roots := selfSigned(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeRelay{sink: sink, defect: defect}
	f.login = Login{Addr: ln.Addr().String(), TLS: &tls.Config{ServerName: "relay.test", RootCAs: roots}, User: "u", Password: "p", Timeout: 10 * time.Second}
	srv := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &fakeSession{relay: f, conn: c}, nil
	}))
	srv.Domain = "relay.test"
	srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
	srv.ErrorLog = quiet{}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	return f
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

func (s *fakeSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *fakeSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "u" || password != "p" {
			return smtp.ErrAuthFailed
		}
		return nil
	}), nil
}

func (s *fakeSession) Mail(from string, _ *smtp.MailOptions) error {
	s.m = mail{from: from}
	return nil
}

func (s *fakeSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.m.to = append(s.m.to, to)
	return nil
}

func (s *fakeSession) Data(r io.Reader) error {
	var err error
	if s.m.octets, err = io.ReadAll(r); err != nil {
		return err
	}
	f := s.relay
	f.mu.Lock()
	f.n++
	if f.defect != nil {
		f.defect(f.n, &s.m)
	}
	f.mu.Unlock()
	m := s.m
	if m.drop {
		return queuedAs
	}
	for range map[bool]int{false: 1, true: 2}[m.twice] {
		if err := netsmtp.SendMail(f.sink, nil, m.from, m.to, m.octets); err != nil {
			return err
		}
	}
	if m.hangUp {
		s.conn.Close()
		return errors.New("gone")
	}
	if m.answer != nil {
		return m.answer
	}
	return queuedAs
}

// queuedAs makes go-smtp say a good reply with our words.
var queuedAs = &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: "Ok: queued as AAAAAAAAAAAAAAAAAAAAAA"}

func (s *fakeSession) Reset()        {}
func (s *fakeSession) Logout() error { return nil }

func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "relay.test"}, DNSNames: []string{"relay.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// spoil changes one octet of the body.
func spoil(m *mail) {
	i := bytes.Index(m.octets, []byte("\r\n\r\n")) + 6
	m.octets = bytes.Clone(m.octets)
	m.octets[i] ^= 1
}
