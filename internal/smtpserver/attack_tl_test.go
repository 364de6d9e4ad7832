package smtpserver_test

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/smtpserver"
)

func TestTL(t *testing.T) {
	t.Parallel()
	plain := func(id string, f func(t *testing.T, w *world, c *client)) {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			w := start(t, nil)
			c := w.greeted()
			c.cmd("EHLO client.test", "250")
			f(t, w, c)
		})
	}
	plain("TL-01", func(t *testing.T, w *world, c *client) {
		c.send("STARTTLS\r\nRSET\r\n")
		c.expect("503 5.5.0")
		c.gone()
	})
	plain("TL-02", func(t *testing.T, w *world, c *client) {
		c.send("STARTTLS\r\nEHLO evil.test\r\nAUTH PLAIN " + plainLogin + "\r\nMAIL FROM:<a@acme.test>\r\n")
		c.expect("503 5.5.0")
		c.gone()
		if w.backend.count("auth") > 0 || w.backend.count("helo") != 1 {
			t.Errorf("injected commands ran: %q", w.backend.log())
		}
	})
	plain("TL-03", func(t *testing.T, w *world, c *client) {
		c.cmd("STARTTLS", "220 2.0.0")
		c.send("NOOP\r\n")
		if err := tls.Client(c.conn, clientTLS()).Handshake(); err == nil {
			t.Error("the handshake went through")
		}
		eventually(t, "session closed", func() bool { return w.backend.count("close") == 1 })
	})
	plain("TL-04", func(t *testing.T, w *world, c *client) {
		c.startTLS()
		c.cmd("AUTH PLAIN "+plainLogin, "503 5.5.1")
		c.cmd("MAIL FROM:<a@acme.test>", "503 5.5.1")
		c.cmd("EHLO client.test", "250")
		c.cmd("AUTH PLAIN "+plainLogin, "235")
	})
	plain("TL-05", func(t *testing.T, w *world, c *client) {
		c.cmd("STARTTLS now", "501 5.5.4")
		c.startTLS()
	})
	plain("TL-06", func(t *testing.T, w *world, c *client) {
		if r := c.cmd("EHLO x.test", "250"); !strings.Contains(r.Text, "\nSTARTTLS") || strings.Contains(r.Text, "AUTH") {
			t.Errorf("in plain text: %q", r.Text)
		}
		c.startTLS()
		if r := c.cmd("EHLO x.test", "250"); strings.Contains(r.Text, "STARTTLS") || !strings.Contains(r.Text, "\nAUTH PLAIN LOGIN\nAUTH=PLAIN LOGIN") {
			t.Errorf("under TLS: %q", r.Text)
		}
		c.cmd("STARTTLS", "503 5.5.1")
	})
	plain("TL-07", func(t *testing.T, w *world, c *client) {
		c.cmd("STARTTLS", "220 2.0.0")
		c.send("EHLO again.test\r\nMAIL FROM:<a@acme.test>\r\n")
		if rest, _ := io.ReadAll(c.br); strings.Contains(string(rest), "250") {
			t.Errorf("said in plain text: %q", rest)
		}
		eventually(t, "session closed", func() bool { return w.backend.count("close") == 1 })
	})
	plain("TL-08", func(t *testing.T, w *world, c *client) {
		c.cmd("AUTH PLAIN "+plainLogin, "538 5.7.11")
		c.cmd("AUTH LOGIN", "538 5.7.11")
		c.cmd("AUTH secret-by-mistake", "538 5.7.11")
		got := strings.Join(w.backend.log(), "|")
		if !strings.HasSuffix(got, "login failed PLAIN cleartext|login failed LOGIN cleartext|login failed  cleartext") {
			t.Errorf("log %q", got)
		}
	})
	plain("TL-09", func(t *testing.T, w *world, c *client) {
		c.cmd("MAIL FROM:<a@acme.test>", "530 5.7.0 Must issue a STARTTLS command first")
		c.cmd("RCPT TO:<b@inbox.test>", "530 5.7.0")
		c.cmd("DATA", "530 5.7.0")
	})
	t.Run("TL-10", testTLSVersions)
	t.Run("TL-11", testTLSCiphers)
	t.Run("TL-12", testTLSVersions)
	t.Run("TL-13", testSlowHandshake)
	t.Run("TL-14", testNoEarlyData)
	t.Run("TL-15", testTicketsAndALPN)
	t.Run("TL-16", testSNI)
	t.Run("TL-17", testReload)
	t.Run("TL-18", testClientCertificate)
}

func testTLSVersions(t *testing.T) {
	t.Parallel()
	for name, cert := range map[string]func() tls.Certificate{"ECDSA": ecCert, "RSA": rsaCert} {
		w := start(t, func(c *smtpserver.Config) {
			c.ImplicitTLS = true
			c.TLS = serverTLS()
			c.TLS.Certificates = []tls.Certificate{cert()}
			c.TLS.MinVersion = tls.VersionTLS10 // the server raises it
		})
		for version, ok := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
			cfg := clientTLS()
			cfg.MinVersion, cfg.MaxVersion = version, version
			c, err := w.tlsDial(cfg)
			if (err == nil) != ok {
				t.Errorf("%s, %s: %v", name, tls.VersionName(version), err)
			}
			if err == nil {
				c.expect("220")
				c.cmd("QUIT", "221")
			}
		}
	}
}

func testTLSCiphers(t *testing.T) {
	t.Parallel()
	w := start(t, implicit)
	for _, suites := range [][]uint16{
		{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}, {tls.TLS_RSA_WITH_AES_128_CBC_SHA}, {tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA},
		{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA}, {tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}, {tls.TLS_RSA_WITH_RC4_128_SHA},
	} {
		cfg := clientTLS()
		cfg.MaxVersion, cfg.CipherSuites = tls.VersionTLS12, suites
		if _, err := w.tlsDial(cfg); err == nil {
			t.Errorf("%s was agreed on", tls.CipherSuiteName(suites[0]))
		}
	}
}

func testSlowHandshake(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *smtpserver.Config) {
		c.ImplicitTLS = true
		c.Limits.Handshake = time.Second
	})
	for range 20 {
		conn, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Write([]byte("\x16\x03"))
	}
	if _, err := w.tlsDial(clientTLS()); err != nil { // others are not held up
		t.Errorf("another client: %v", err)
	}
	eventually(t, "slow ones are gone", func() bool { return w.cfg.Quota.Connections() <= 1 })
}

func testNoEarlyData(t *testing.T) {
	t.Parallel()
	w := start(t, implicit)
	cfg := clientTLS()
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	cfg.Renegotiation = tls.RenegotiateFreelyAsClient
	for range 2 {
		c, err := w.tlsDial(cfg)
		if err != nil {
			t.Fatal(err)
		}
		c.expect("220")
		c.cmd("QUIT", "221")
		// crypto/tls offers early data over QUIC only, and has neither compression nor
		// server-side renegotiation; a resumed session must not bring a login along.
		if st := c.conn.(*tls.Conn).ConnectionState(); st.Version != tls.VersionTLS13 {
			t.Errorf("version %x", st.Version)
		}
	}
	c, err := w.tlsDial(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.expect("220")
	if !c.conn.(*tls.Conn).ConnectionState().DidResume {
		t.Error("the session was not resumed: this test shows nothing")
	}
	c.cmd("EHLO x.test", "250")
	c.cmd("MAIL FROM:<a@acme.test>", "530 5.7.0")
}

func testTicketsAndALPN(t *testing.T) {
	t.Parallel()
	shared := serverTLS()
	use := func(role smtpserver.Role) func(*smtpserver.Config) {
		return func(c *smtpserver.Config) { c.ImplicitTLS, c.TLS, c.Role = true, shared, role }
	}
	one, two, mx := start(t, use(smtpserver.RoleSubmission)), start(t, use(smtpserver.RoleSubmission)), start(t, use(smtpserver.RoleMX))
	cfg := clientTLS()
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	resumed := func(w *world) bool {
		c, err := w.tlsDial(cfg)
		if err != nil {
			t.Fatal(err)
		}
		c.expect("220")
		c.cmd("QUIT", "221") // reads the ticket too
		c.gone()
		return c.conn.(*tls.Conn).ConnectionState().DidResume
	}
	resumed(one)
	if !resumed(one) {
		t.Error("a listener does not resume its own sessions")
	}
	if resumed(two) {
		t.Error("a session of one listener was resumed on another")
	}
	resumed(mx)
	if resumed(mx) {
		t.Error("an mx listener gives tickets")
	}
	for proto, ok := range map[string]bool{"smtp": true, "": true, "http/1.1": false, "h2": false} {
		cfg := clientTLS()
		if proto != "" {
			cfg.NextProtos = []string{proto}
		}
		if _, err := one.tlsDial(cfg); (err == nil) != ok {
			t.Errorf("ALPN %q: %v", proto, err)
		}
	}
}

func testSNI(t *testing.T) {
	t.Parallel()
	w := start(t, implicit)
	for _, name := range []string{"unknown.test", "", "UPPER.test", strings.Repeat("x.", 120) + "test"} {
		cfg := clientTLS()
		cfg.ServerName = name
		c, err := w.tlsDial(cfg)
		if err != nil {
			t.Errorf("SNI %.20q: %v", name, err)
			continue
		}
		c.expect("220")
	}
	// crypto/tls clients do not send these: write the hello by hand.
	for _, name := range []string{strings.Repeat("y", 5120), "a\x00b.test", "a\nb.test", "\x1b[31m.test"} {
		conn, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(patience))
		conn.Write(helloWithSNI(name))
		var b [1]byte
		if _, err := conn.Read(b[:]); err == nil && b[0] != 0x15 && b[0] != 0x16 {
			t.Errorf("SNI %.20q: answered with 0x%02x", name, b[0])
		}
		conn.Close()
	}
	if _, err := w.tlsDial(clientTLS()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	for _, p := range w.backend.seen() {
		if strings.ContainsAny(p.TLS.ServerName, "\x00\n\x1b") || len(p.TLS.ServerName) > 255 {
			t.Errorf("name for logs: %q", p.TLS.ServerName)
		}
	}
}

// helloWithSNI is a minimal TLS 1.2 ClientHello with any octets as its name.
func helloWithSNI(name string) []byte {
	u16 := func(n int) []byte { return []byte{byte(n >> 8), byte(n)} }
	join := func(parts ...[]byte) (out []byte) {
		for _, p := range parts {
			out = append(out, p...)
		}
		return out
	}
	entry := join([]byte{0}, u16(len(name)), []byte(name))
	sni := join(u16(0), u16(len(entry)+2), u16(len(entry)), entry)
	groups := join(u16(10), u16(4), u16(2), u16(23))
	points := join(u16(11), u16(2), []byte{1, 0})
	sigs := join(u16(13), u16(4), u16(2), u16(0x0403))
	ext := join(sni, groups, points, sigs)
	body := join([]byte{3, 3}, make([]byte, 32), []byte{0}, u16(2), u16(int(tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)), []byte{1, 0}, u16(len(ext)), ext)
	hs := join([]byte{1, 0}, u16(len(body)), body)
	return join([]byte{0x16, 3, 1}, u16(len(hs)), hs)
}

func testReload(t *testing.T) {
	t.Parallel()
	var now atomic.Pointer[tls.Certificate]
	set := func(c tls.Certificate) { now.Store(&c) }
	set(ecCert())
	w := start(t, func(c *smtpserver.Config) {
		c.ImplicitTLS = true
		c.TLS = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if c := now.Load(); c != nil {
				return c, nil
			}
			return nil, errors.New("no certificate")
		}}
	})
	serial := func() string {
		c, err := w.tlsDial(clientTLS())
		if err != nil {
			return err.Error()
		}
		return c.conn.(*tls.Conn).ConnectionState().PeerCertificates[0].PublicKeyAlgorithm.String()
	}
	old, err := w.tlsDial(clientTLS())
	if err != nil {
		t.Fatal(err)
	}
	old.expect("220")
	if got := serial(); got != "ECDSA" {
		t.Errorf("before: %s", got)
	}
	set(rsaCert())
	if got := serial(); got != "RSA" {
		t.Errorf("after: %s", got)
	}
	old.cmd("NOOP", "250") // sessions that run go on
	if _, err := smtpserver.New(smtpserver.Config{Role: smtpserver.RoleSubmission, Hostname: testHost, ImplicitTLS: true}, w.backend); err == nil {
		t.Error("a TLS listener was made without TLS")
	}
}

func testClientCertificate(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *smtpserver.Config) {
		c.ImplicitTLS = true
		c.TLS = serverTLS()
		c.TLS.ClientAuth = tls.RequireAnyClientCert // the server takes it back
	})
	cfg := clientTLS()
	asked := false
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked = true
		c := ecCert()
		return &c, nil
	}
	c, err := w.tlsDial(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.expect("220")
	if asked {
		t.Error("a client certificate was asked for")
	}
	c.cmd("EHLO x.test", "250")
	c.cmd("AUTH EXTERNAL "+base64.StdEncoding.EncodeToString([]byte("x")), "504 5.5.4")
}
