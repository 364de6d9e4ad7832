package smtpserver_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/smtp"
	"postern/internal/smtpserver"
)

const (
	testUser   = "apikey"
	testSecret = "correct-horse-battery"
	testHost   = "mail.postern.test"
	// patience is how long a test waits for what must come.
	patience = time.Minute
)

var plainLogin = base64.StdEncoding.EncodeToString([]byte("\x00" + testUser + "\x00" + testSecret))

// certificate makes a self-signed certificate for testHost.
func certificate(key any, pub any) tls.Certificate {
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: testHost}, DNSNames: []string{testHost},
		// Valid in fake time too, which begins in 2000.
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

var ecCert = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return certificate(key, &key.PublicKey)
})

var rsaCert = sync.OnceValue(func() tls.Certificate {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return certificate(key, &key.PublicKey)
})

func serverTLS() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{ecCert()}, CipherSuites: []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}
}

func clientTLS() *tls.Config { return &tls.Config{ServerName: testHost, InsecureSkipVerify: true} }

// world is a running server with its backend.
type world struct {
	t       testing.TB
	srv     *smtpserver.Server
	backend *recorder
	addr    string
	cfg     smtpserver.Config
	served  chan error
}

// start runs a submission server with STARTTLS on loopback, changed by edit,
// and checks when the test ends that nothing is left of its sessions.
func start(t testing.TB, edit func(*smtpserver.Config)) *world {
	t.Helper()
	w := &world{t: t, backend: &recorder{t: t}, served: make(chan error, 1)}
	w.cfg = smtpserver.Config{
		Name: "test", Role: smtpserver.RoleSubmission, Hostname: testHost, TLS: serverTLS(),
		Quota:  smtpserver.NewQuota(smtpserver.QuotaLimits{}),
		Limits: smtpserver.Limits{AuthDelay: time.Millisecond},
	}
	if edit != nil {
		edit(&w.cfg)
	}
	var err error
	if w.srv, err = smtpserver.New(w.cfg, w.backend); err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	w.addr = ln.Addr().String()
	go func() { w.served <- w.srv.Serve(context.Background(), ln) }()
	t.Cleanup(w.stop)
	return w
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func (w *world) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w.srv.Close()
	if err := w.srv.Drain(ctx); err != nil {
		w.t.Errorf("sessions are left: %v", err)
	}
	if err := <-w.served; err != nil {
		w.t.Errorf("serve: %v", err)
	}
	w.backend.checkEnd()
	eventually(w.t, "quota given back", func() bool {
		return w.cfg.Quota.Connections() == 0 && w.cfg.Quota.InFlight() == 0
	})
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("not in time: %s", what)
			return
		}
	}
}

// client is a raw SMTP client: it sends octets and reads replies.
type client struct {
	t    testing.TB
	conn net.Conn
	br   *bufio.Reader
}

// dial connects and does nothing else.
func (w *world) dial() *client {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	return newClient(w.t, conn)
}

func newClient(t testing.TB, conn net.Conn) *client {
	conn.SetDeadline(time.Now().Add(patience))
	return &client{t: t, conn: conn, br: bufio.NewReader(conn)}
}

// greeted connects, and reads the greeting.
func (w *world) greeted() *client {
	w.t.Helper()
	c := w.dial()
	c.expect("220 " + testHost + " ESMTP service ready")
	return c
}

// secure is greeted, then under TLS with EHLO said.
func (w *world) secure() *client {
	w.t.Helper()
	c := w.greeted()
	c.cmd("EHLO client.test", "250")
	c.startTLS()
	c.cmd("EHLO client.test", "250")
	return c
}

// login is secure, then logged in.
func (w *world) login() *client {
	w.t.Helper()
	c := w.secure()
	c.cmd("AUTH PLAIN "+plainLogin, "235 2.7.0 Authentication successful")
	return c
}

// envelope opens a transaction with one recipient.
func (c *client) envelope() *client {
	c.t.Helper()
	c.cmd("MAIL FROM:<a@acme.test>", "250 2.1.0 Sender address accepted")
	c.cmd("RCPT TO:<b@inbox.test>", "250 2.1.5 Recipient address accepted")
	return c
}

// inData is envelope, then 354.
func (c *client) inData() *client {
	c.t.Helper()
	c.envelope()
	c.cmd("DATA", "354 Continue")
	return c
}

func (c *client) startTLS() {
	c.t.Helper()
	c.cmd("STARTTLS", "220 2.0.0 Begin TLS negotiation now")
	c.upgrade(clientTLS())
}

func (c *client) upgrade(cfg *tls.Config) {
	c.t.Helper()
	t := tls.Client(c.conn, cfg)
	if err := t.Handshake(); err != nil {
		c.t.Fatalf("TLS handshake: %v", err)
	}
	c.conn, c.br = t, bufio.NewReader(t)
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := c.conn.Write([]byte(s)); err != nil {
		c.t.Fatalf("send %.60q: %v", s, err)
	}
}

func (c *client) reply() smtp.Reply {
	c.t.Helper()
	r, err := smtp.ReadReply(c.br)
	if err != nil {
		c.t.Fatalf("read reply: %v", err)
	}
	checkEnhanced(c.t, r)
	return r
}

// checkEnhanced holds RFC 2034 §4: every 2yz, 4yz and 5yz reply has an enhanced
// code of its class, but for the greeting and the reply to EHLO.
func checkEnhanced(t testing.TB, r smtp.Reply) {
	t.Helper()
	bare := r.Code == 220 || r.Code/100 == 3 || r.Code == 250 && strings.HasPrefix(r.Text, testHost)
	if r.Enhanced.IsZero() && !bare || !r.Enhanced.IsZero() && r.Enhanced[0] != r.Code/100 {
		t.Errorf("reply without its enhanced code: %s", r)
	}
}

// expect reads one reply, which must begin with one of the texts.
func (c *client) expect(want ...string) smtp.Reply {
	c.t.Helper()
	r := c.reply()
	for _, w := range want {
		if strings.HasPrefix(r.String(), w) {
			return r
		}
	}
	c.t.Fatalf("reply %q, want %q", r, want)
	return r
}

// cmd sends one command and expects its reply.
func (c *client) cmd(line string, want ...string) smtp.Reply {
	c.t.Helper()
	c.send(line + "\r\n")
	return c.expect(want...)
}

// gone expects the connection to be closed without another word.
func (c *client) gone() {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(patience))
	var rest [512]byte
	if n, err := c.br.Read(rest[:]); n > 0 {
		c.t.Fatalf("more was said: %q", rest[:n])
	} else if err, ok := err.(net.Error); ok && err.Timeout() {
		c.t.Fatal("the connection is still open")
	}
}

// alive expects that the session is in step: the next reply is to NOOP.
func (c *client) alive() {
	c.t.Helper()
	c.cmd("NOOP", "250 2.0.0")
}

// netConn is the TCP connection beneath.
func netConn(c *client) net.Conn {
	if t, ok := c.conn.(*tls.Conn); ok {
		return t.NetConn()
	}
	return c.conn
}

func implicit(c *smtpserver.Config) { c.ImplicitTLS = true }

// tlsDial connects to an implicit-TLS server.
func (w *world) tlsDial(cfg *tls.Config) (*client, error) {
	conn, err := tls.Dial("tcp", w.addr, cfg)
	if err != nil {
		return nil, err
	}
	w.t.Cleanup(func() { conn.Close() })
	return newClient(w.t, conn), nil
}
