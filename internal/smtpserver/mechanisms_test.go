package smtpserver_test

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	netsmtp "net/smtp"
	"slices"
	"strings"
	"sync"
	"testing"

	gosasl "github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"postern/internal/sasl"
	"postern/internal/secret"
	"postern/internal/smtp"
	"postern/internal/smtpserver"
)

const (
	testToken   = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
	oauthWords  = `{"status":"invalid_token","scope":"mail.send"}`
	xoauthWords = `{"status":"400","schemes":"Bearer","scope":"mail.send"}`
)

var testKeys = sync.OnceValue(func() sasl.SCRAMKeys {
	salted, err := pbkdf2.Key(sha256.New, testSecret, []byte("sixteen octets!!"), 4096, sha256.Size)
	if err != nil {
		panic(err)
	}
	mac := func(text string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	return sasl.SCRAMKeys{StoredKey: stored[:], ServerKey: mac("Server Key")}
})

// everyExchange lets testUser in by every mechanism. judge, where set, has the
// last word about what was proven.
func everyExchange(judge func() error) func(*recSession, string) sasl.Exchange {
	return func(s *recSession, mechanism string) sasl.Exchange {
		end := func(user string, ok bool) error {
			s.r.note("auth %s %s", mechanism, user)
			switch {
			case judge != nil:
				if err := judge(); err != nil {
					return err
				}
			case !ok:
				return refusedLogin
			}
			s.in = true
			return nil
		}
		return sasl.Exchange{
			Authenticate: s.authenticate, Host: testHost, Port: 587,
			SCRAM: func(_ context.Context, user string) sasl.SCRAMUser {
				u := sasl.SCRAMUser{Salt: []byte("sixteen octets!!"), Iterations: 4096}
				if user == testUser {
					u.Keys = []sasl.SCRAMKeys{testKeys()}
				}
				return u
			},
			Proved: func(_ context.Context, p sasl.Proof) error {
				if p.Key < 0 {
					s.r.note("auth %s %s", mechanism, p.User)
					return refusedLogin
				}
				return end(p.User, true)
			},
			CRAM: func(_ context.Context, user string, fits func(secret.Redacted) bool) error {
				return end(user, user == testUser && fits(testSecret))
			},
			Bearer: func(_ context.Context, b sasl.Bearer) error { return end(b.User, b.Token == testToken) },
			External: func(_ context.Context, authzid string) error {
				return end(authzid, len(s.peer.Certificates) == 1 && authzid == "")
			},
		}
	}
}

// startEvery runs a server that offers everything and asks for certificates.
func startEvery(t testing.TB, edit func(*smtpserver.Config)) *world {
	t.Helper()
	w := start(t, func(c *smtpserver.Config) {
		c.Mechanisms, c.ClientCertificates = sasl.All, true
		if edit != nil {
			edit(c)
		}
	})
	w.backend.onLogin = everyExchange(nil)
	return w
}

// secured is greeted, then under TLS as conf says, with EHLO said.
func (w *world) secured(conf *tls.Config) *client {
	w.t.Helper()
	c := w.greeted()
	c.cmd("EHLO client.test", "250")
	c.cmd("STARTTLS", "220")
	c.upgrade(conf)
	c.cmd("EHLO client.test", "250")
	return c
}

// auth runs an exchange and returns the reply that ends it. Without an initial
// response the first challenge must be empty.
func (c *client) auth(m sasl.Client, initial bool) smtp.Reply {
	c.t.Helper()
	name, response, err := m.Start()
	if err != nil {
		c.t.Fatal(err)
	}
	switch {
	case response == nil:
		c.send("AUTH " + name + "\r\n")
	case !initial:
		c.send("AUTH " + name + "\r\n")
		if line, err := c.br.ReadString('\n'); line != "334 \r\n" || err != nil {
			c.t.Fatalf("%s: first challenge %q, %v", name, line, err)
		}
		c.send(b64(string(response)) + "\r\n")
	case len(response) == 0:
		c.send("AUTH " + name + " =\r\n")
	default:
		c.send("AUTH " + name + " " + b64(string(response)) + "\r\n")
	}
	for {
		r := c.reply()
		if r.Code != 334 {
			return r
		}
		challenge, err := base64.StdEncoding.DecodeString(r.Text)
		if err != nil {
			c.t.Fatalf("%s: challenge %q", name, r.Text)
		}
		if response, err = m.Next(challenge); err != nil {
			c.t.Fatal(err)
		}
		c.send(b64(string(response)) + "\r\n")
	}
}

func withCertificate(conf *tls.Config, certs ...[]byte) *tls.Config {
	own := ecCert()
	conf.Certificates = []tls.Certificate{{Certificate: append([][]byte{own.Certificate[0]}, certs...), PrivateKey: own.PrivateKey}}
	return conf
}

// bindingOf is what a client knows of its TLS.
func bindingOf(t testing.TB, c *client, name string) sasl.SCRAMBinding {
	t.Helper()
	state := c.conn.(*tls.Conn).ConnectionState()
	b := sasl.SCRAMBinding{Name: name}
	switch name {
	case "tls-exporter":
		var err error
		if b.Data, err = state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32); err != nil {
			t.Fatal(err)
		}
	case "tls-server-end-point":
		sum := sha256.Sum256(state.PeerCertificates[0].Raw)
		b.Data = sum[:]
	case "tls-unique":
		b.Data = state.TLSUnique
	}
	return b
}

// TestMechanisms logs in by each, with the initial response on the AUTH line and
// in a line of its own, and is refused by each.
func TestMechanisms(t *testing.T) {
	t.Parallel()
	w := startEvery(t, nil)
	for name, m := range map[string]struct {
		client func(c *client, password secret.Redacted) sasl.Client
		wrong  string // 535, after a wrong secret
	}{
		"PLAIN":    {func(_ *client, p secret.Redacted) sasl.Client { return sasl.NewPlainClient(testUser, p) }, "x"},
		"LOGIN":    {func(_ *client, p secret.Redacted) sasl.Client { return sasl.NewLoginClient(testUser, p) }, "x"},
		"CRAM-MD5": {func(_ *client, p secret.Redacted) sasl.Client { return sasl.NewCRAMMD5Client(testUser, p) }, "x"},
		"SCRAM-SHA-256": {func(_ *client, p secret.Redacted) sasl.Client {
			return sasl.NewSCRAMClient(testUser, p, sasl.SCRAMBinding{})
		}, "x"},
		"SCRAM-SHA-256-PLUS": {func(c *client, p secret.Redacted) sasl.Client {
			return sasl.NewSCRAMClient(testUser, p, bindingOf(t, c, "tls-exporter"))
		}, "x"},
		"XOAUTH2": {func(_ *client, p secret.Redacted) sasl.Client {
			return sasl.NewXOAuth2Client(testUser, map[secret.Redacted]secret.Redacted{testSecret: testToken, "x": "x"}[p])
		}, "x"},
		"OAUTHBEARER": {func(_ *client, p secret.Redacted) sasl.Client {
			return sasl.NewOAuthBearerClient(testUser, map[secret.Redacted]secret.Redacted{testSecret: testToken, "x": "x"}[p], testHost, 587)
		}, "x"},
		"EXTERNAL": {func(_ *client, p secret.Redacted) sasl.Client {
			return sasl.NewExternalClient(map[secret.Redacted]string{testSecret: "", "x": "x"}[p])
		}, "x"},
	} {
		for _, initial := range []bool{true, false} {
			c := w.secured(withCertificate(clientTLS()))
			if r := c.auth(m.client(c, secret.Redacted(m.wrong)), initial); r.String() != refusedLogin.String() {
				t.Errorf("%s, wrong: %v", name, r)
			}
			c.cmd("MAIL FROM:<a@acme.test>", "530 5.7.0")
			ok := m.client(c, testSecret)
			if r := c.auth(ok, initial); r.Code != 235 {
				t.Errorf("%s: %v", name, r)
			}
			if d, is := ok.(interface{ Done() error }); is && d.Done() != nil {
				t.Errorf("%s: %v", name, d.Done())
			}
			c.envelope()
		}
	}
	if n := w.backend.count("login failed"); n > 0 {
		t.Errorf("%d failures without anything to judge: %q", n, w.backend.log())
	}
}

// TestEmptyResponses: RFC 4954 §4: an empty response is "=" on the AUTH line and
// an empty line later. curl has "=" in both places; nothing else means it.
func TestEmptyResponses(t *testing.T) {
	t.Parallel()
	w := startEvery(t, nil)
	in := func() *client { return w.secured(withCertificate(clientTLS())) }
	in().cmd("AUTH EXTERNAL =", "235")
	for _, line := range []string{"", "="} {
		c := in()
		c.cmd("AUTH EXTERNAL", "334")
		c.cmd(line, "235")
	}
	for _, line := range []string{"==", "= ", "=\x00", "A", "MAIL FROM:<a@acme.test>"} {
		c := in()
		c.cmd("AUTH EXTERNAL", "334")
		c.cmd(line, "501 5.5.2")
		c.cmd("MAIL FROM:<a@acme.test>", "530")
	}
	for _, mechanism := range []string{"PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2", "OAUTHBEARER", "SCRAM-SHA-256"} {
		c := in()
		c.cmd("AUTH "+mechanism, "334")
		c.cmd("=", "501 5.5.2")
	}
}

// TestOffered: AU-09: what a session lacks the mechanism's need of is neither
// announced nor taken.
func TestOffered(t *testing.T) {
	t.Parallel()
	w := startEvery(t, nil)
	check := func(c *client, want string) {
		t.Helper()
		r := c.cmd("EHLO x.test", "250")
		if !strings.Contains(r.Text, "\nAUTH "+want+"\nAUTH="+want) {
			t.Errorf("offered: %q", r.Text)
		}
		for line := range strings.SplitSeq(r.Text, "\n") {
			if len(line) > 506 {
				t.Errorf("a line of %d octets", len(line))
			}
		}
		if strings.Contains(want, "EXTERNAL") {
			return
		}
		c.cmd("AUTH EXTERNAL =", "504 5.5.4")
		c.cmd("AUTH EXTERNAL", "504 5.5.4")
	}
	all := "SCRAM-SHA-256-PLUS SCRAM-SHA-256 EXTERNAL OAUTHBEARER XOAUTH2 PLAIN LOGIN CRAM-MD5"
	check(w.secured(withCertificate(clientTLS())), all)
	check(w.secured(clientTLS()), strings.Replace(all, " EXTERNAL", "", 1))
	old := clientTLS()
	old.MaxVersion = tls.VersionTLS12
	check(w.secured(old), strings.Replace(all, " EXTERNAL", "", 1))
	w.greeted().cmd("EHLO x.test", "250") // and none without TLS: TL-* and AU-35 look at that
	// A listener that does not ask for certificates gets none.
	w = startEvery(t, func(c *smtpserver.Config) { c.ClientCertificates = false })
	check(w.secured(withCertificate(clientTLS())), strings.Replace(all, " EXTERNAL", "", 1))
	for _, p := range w.backend.seen() {
		if p.Certificates != nil {
			t.Error("certificates without being asked for")
		}
	}
	// Policy: what is not offered now is not taken.
	w.backend.onOffers = func(m string) bool { return m != "SCRAM-SHA-256-PLUS" }
	c := w.secured(clientTLS())
	c.cmd("AUTH SCRAM-SHA-256-PLUS "+b64("p=tls-exporter,,n=apikey,r=abc"), "504 5.5.4")
	// AU-20: and then it is no lie that it is missing.
	if r := c.auth(sasl.NewSCRAMClient(testUser, testSecret, sasl.SCRAMBinding{Unoffered: true}), true); r.Code != 235 {
		t.Errorf("flag y: %v", r)
	}
}

// TestChannelBinding: AU-20, AU-21.
func TestChannelBinding(t *testing.T) {
	t.Parallel()
	w := startEvery(t, nil)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		conf := clientTLS()
		conf.MaxVersion, conf.ClientSessionCache = version, tls.NewLRUClientSessionCache(1)
		for _, resumed := range []bool{false, true} {
			for _, name := range []string{"tls-exporter", "tls-server-end-point", "tls-unique"} {
				c := w.secured(conf)
				if got := c.conn.(*tls.Conn).ConnectionState().DidResume; got != resumed {
					t.Fatalf("TLS %x: resumed %v", version, got)
				}
				b := bindingOf(t, c, name)
				if name == "tls-unique" && version == tls.VersionTLS13 {
					b.Data = []byte("any") // TLS 1.3 has none
				}
				r := c.auth(sasl.NewSCRAMClient(testUser, testSecret, b), true)
				if want := map[bool]int{true: 535, false: 235}[name == "tls-unique" && version == tls.VersionTLS13]; r.Code != want {
					t.Errorf("TLS %x, resumed %v, %s: %v", version, resumed, name, r)
				}
				c.cmd("QUIT", "221")
				if resumed || name == "tls-unique" {
					continue
				}
				conf.ClientSessionCache = tls.NewLRUClientSessionCache(1) // the next one is not resumed either
			}
		}
	}
	c := w.secured(clientTLS())
	for name, b := range map[string]sasl.SCRAMBinding{
		"wrong data":         {Name: "tls-exporter", Data: []byte("something else, 32 octets long...")},
		"data of another":    {Name: "tls-server-end-point", Data: bindingOf(t, c, "tls-exporter").Data},
		"unknown type":       {Name: "tls-unknown", Data: []byte("x")},
		"y although offered": {Unoffered: true},
	} {
		n := w.backend.count("login failed")
		if r := c.auth(sasl.NewSCRAMClient(testUser, testSecret, b), true); r.Code != 535 {
			t.Errorf("%s: %v", name, r)
		}
		if log := w.backend.log(); w.backend.count("login failed") != n+1 || !strings.HasSuffix(log[len(log)-1], " binding") {
			t.Errorf("%s: %q", name, log[len(log)-1])
		}
	}
	c.cmd("AUTH SCRAM-SHA-256-PLUS "+b64("n,,n=apikey,r=abc"), "535 5.7.8")
	c.cmd("AUTH SCRAM-SHA-256 "+b64("p=tls-exporter,,n=apikey,r=abc"), "535 5.7.8")
	c.alive()
}

// TestChannelBindingMiddle: AU-20: somebody between client and server passes
// every octet of the exchange on, each side under a TLS of its own.
func TestChannelBindingMiddle(t *testing.T) {
	t.Parallel()
	w := startEvery(t, nil)
	for _, name := range []string{"tls-exporter", "tls-server-end-point", "tls-unique"} {
		version := uint16(tls.VersionTLS12)
		middle := start(t, func(c *smtpserver.Config) { c.TLS.Certificates = []tls.Certificate{rsaCert()} })
		conf := clientTLS()
		conf.MaxVersion = version
		victim, relayed := middle.secured(conf), w.secured(clientTLS())
		if r := relayed.auth(sasl.NewSCRAMClient(testUser, testSecret, bindingOf(t, victim, name)), true); r.Code != 535 {
			t.Errorf("%s: %v", name, r)
		}
	}
}

// TestTicketNamesCertificate: a session is resumed only while the certificate of
// its first handshake is served, so that both ends mean the same one.
func TestTicketNamesCertificate(t *testing.T) {
	t.Parallel()
	first, second := ecCert(), rsaCert()
	var mu sync.Mutex
	serve := &first
	w := startEvery(t, func(c *smtpserver.Config) {
		c.TLS.Certificates = nil
		c.TLS.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			mu.Lock()
			defer mu.Unlock()
			return serve, nil
		}
	})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		mu.Lock()
		serve = &first
		mu.Unlock()
		conf := clientTLS()
		conf.MaxVersion, conf.ClientSessionCache = version, tls.NewLRUClientSessionCache(1)
		for i, want := range []bool{false, true, false, true} {
			if i == 2 { // a new certificate
				mu.Lock()
				serve = &second
				mu.Unlock()
				w.secured(clientTLS()).cmd("QUIT", "221") // somebody sees it
			}
			c := w.secured(conf)
			if got := c.conn.(*tls.Conn).ConnectionState().DidResume; got != want {
				t.Errorf("TLS %x, connection %d: resumed %v", version, i, got)
			}
			if r := c.auth(sasl.NewSCRAMClient(testUser, testSecret, bindingOf(t, c, "tls-server-end-point")), true); r.Code != 235 {
				t.Errorf("TLS %x, connection %d: %v", version, i, r)
			}
			c.cmd("QUIT", "221")
		}
	}
}

// TestClientChain bounds what clients may send as certificates.
func TestClientChain(t *testing.T) {
	t.Parallel()
	w := startEvery(t, implicit)
	leaf := ecCert().Certificate[0]
	for name, tt := range map[string]struct {
		chain [][]byte
		ok    bool
	}{
		"ten":       {slices.Repeat([][]byte{leaf}, 9), true},
		"eleven":    {slices.Repeat([][]byte{leaf}, 10), false},
		"64 KiB":    {[][]byte{bigCertificate(t)}, false},
		"leaf only": {nil, true},
	} {
		c, err := w.tlsDial(withCertificate(clientTLS(), tt.chain...))
		if err != nil {
			t.Fatal(err) // in TLS 1.3 the client is done before it is judged
		}
		_, err = c.br.Peek(1)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	eventually(t, "two sessions", func() bool { return len(w.backend.seen()) == 2 })
	for _, p := range w.backend.seen() {
		if n := len(p.Certificates); n != 1 && n != 10 || p.Certificates[0].Subject.CommonName != testHost {
			t.Errorf("%d certificates", n)
		}
	}
}

func bigCertificate(t *testing.T) []byte {
	t.Helper()
	own := ecCert()
	parent, err := x509.ParseCertificate(own.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	tmpl := *parent
	tmpl.Raw, tmpl.RawSubject, tmpl.RawIssuer, tmpl.DNSNames = nil, nil, nil, nil
	for range 1100 {
		tmpl.DNSNames = append(tmpl.DNSNames, strings.Repeat("a", 58)+".test")
	}
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, parent, parent.PublicKey, own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	if len(der) < 64<<10 {
		t.Fatalf("%d octets only", len(der))
	}
	return der
}

// TestOAuthRefusal: AU-22, AU-29: the client learns why in the mechanism's words,
// and is refused after its answer, whatever that is.
func TestOAuthRefusal(t *testing.T) {
	t.Parallel()
	w := startEvery(t, nil)
	oauth := func(pairs string) string { return "AUTH OAUTHBEARER " + b64("n,,\x01"+pairs+"\x01\x01") }
	for name, tt := range map[string]struct{ line, words string }{
		"OAUTHBEARER":   {oauth("auth=Bearer x"), oauthWords},
		"another host":  {oauth("host=mail.other.test\x01auth=Bearer " + testToken), oauthWords},
		"another port":  {oauth("port=25\x01auth=Bearer " + testToken), oauthWords},
		"no token":      {oauth("auth="), oauthWords}, // RFC 7628 §4.3
		"9 KB of token": {oauth("auth=Bearer " + strings.Repeat("x", 9000)), oauthWords},
		"XOAUTH2":       {"AUTH XOAUTH2 " + b64("user=tim\x01auth=Bearer x\x01\x01"), xoauthWords},
	} {
		for dummy, want := range map[string]string{b64("\x01"): "535 5.7.8", "": "535 5.7.8", "?": "535 5.7.8", strings.Repeat("A", 20000): "535 5.7.8", "*": "501 5.7.0"} {
			c := w.secured(clientTLS())
			if r := c.cmd(tt.line, "334"); r.Text != b64(tt.words) {
				t.Errorf("%s: %q", name, r.Text)
			}
			c.cmd(dummy, want)
			c.cmd("MAIL FROM:<a@acme.test>", "530 5.7.0")
			c.cmd("AUTH PLAIN "+plainLogin, "235")
		}
	}
	c := w.secured(clientTLS())
	c.cmd("AUTH OAUTHBEARER "+b64("n,,\x01auth=Basic x\x01\x01"), "501 5.5.2")
	c.cmd("AUTH OAUTHBEARER "+strings.Repeat("A", 12288), "500 5.5.6")
	c.alive()
	w.backend.onLogin = everyExchange(func() error { return smtp.R(454, 4, 7, 0, "Temporary authentication failure") })
	c = w.secured(clientTLS())
	c.cmd(oauth("auth=Bearer "+testToken), "454 4.7.0")
	c.alive()
	w.backend.onLogin = everyExchange(func() error { return errForRecords })
	c = w.secured(clientTLS())
	c.cmd(oauth("auth=Bearer "+testToken), "454 4.7.0")
	c.alive()
	// AU-14: the last one that is allowed ends the session instead.
	w.backend.onLogin = everyExchange(nil)
	c = w.secured(clientTLS())
	for range 9 {
		c.cmd(oauth("auth=Bearer x"), "334")
		c.cmd("", "535")
	}
	c.cmd(oauth("auth=Bearer x"), "421 4.7.0")
	c.gone()
	// A client that goes away leaves nothing behind: the harness looks.
	c = w.secured(clientTLS())
	c.cmd(oauth("auth=Bearer x"), "334")
	c.conn.Close()
}

// TestSCRAMOverSMTP: AU-17, AU-18 and the end of the exchange: the server's proof
// goes out as a challenge, and an empty line ends it (RFC 4954 §4).
func TestSCRAMOverSMTP(t *testing.T) {
	t.Parallel()
	w := startEvery(t, nil)
	proof := func(c *client) (m sasl.Client, final string) {
		m = sasl.NewSCRAMClient(testUser, testSecret, sasl.SCRAMBinding{})
		_, first, _ := m.Start()
		challenge, err := base64.StdEncoding.DecodeString(c.cmd("AUTH SCRAM-SHA-256 "+b64(string(first)), "334").Text)
		if err != nil {
			t.Fatal(err)
		}
		msg, err := m.Next(challenge)
		if err != nil {
			t.Fatal(err)
		}
		return m, b64(string(msg))
	}
	c := w.secured(clientTLS())
	_, final := proof(c)
	if r := c.cmd(final, "334"); !strings.HasPrefix(r.Text, b64("v=")[:2]) {
		t.Errorf("server's proof %q", r.Text)
	}
	c.cmd("", "235 2.7.0")
	c = w.secured(clientTLS())
	_, final = proof(c)
	c.cmd(final, "334")
	c.cmd("=", "235 2.7.0") // an empty response, as curl spells it

	// AU-18: the recorded message in another exchange.
	c = w.secured(clientTLS())
	proof(c)
	c.cmd(final, "535 5.7.8")
	c.cmd("MAIL FROM:<a@acme.test>", "530")

	// A client that does not take the server's proof is not in.
	for end, want := range map[string]string{"*": "501 5.7.0", b64("more"): "501 5.5.2", "==": "501 5.5.2", "?": "501 5.5.2"} {
		c = w.secured(clientTLS())
		_, final = proof(c)
		c.cmd(final, "334")
		c.cmd(end, want)
		c.cmd("MAIL FROM:<a@acme.test>", "530")
		if log := w.backend.log(); !strings.HasPrefix(log[len(log)-1], "login failed SCRAM-SHA-256 ") {
			t.Errorf("%q: log ends with %q", end, log[len(log)-1])
		}
	}
	for _, msg := range []string{"", "n,,", "n,,m=x,n=apikey,r=abc", "n,,n=a=2cb,r=abc", "n,,n=,r=abc", "n,,n=apikey,r="} {
		c := w.secured(clientTLS())
		c.cmd("AUTH SCRAM-SHA-256", "334")
		c.cmd(b64(msg), "501 5.5.2")
		c.alive()
	}
	for _, msg := range []string{"", "c=biws", "c=biws,r=x,p=", "c=biws,r=x,p=AAAA", "p=,r=,c="} {
		c := w.secured(clientTLS())
		proof(c)
		c.cmd(b64(msg), "501 5.5.2")
		c.alive()
	}
	c = w.secured(clientTLS())
	c.cmd("AUTH SCRAM-SHA-256 "+b64("n,a=root,n=apikey,r=abc"), "535 5.7.8")          // AU-04
	c.cmd("AUTH SCRAM-SHA-256 "+b64("n,,n=api\u202ekey,r=abc"), "535 5.7.8")          // AU-30
	c.cmd("AUTH PLAIN "+b64("\x00apikey\x00\u202e"), "535 5.7.8")                     // AU-30
	c.cmd("AUTH PLAIN "+b64("\x00\uff41pikey\x00correct\u00ad-horse-battery"), "235") // AU-30
}

// TestCRAMOverSMTP: AU-15.
func TestCRAMOverSMTP(t *testing.T) {
	t.Parallel()
	w := startEvery(t, nil)
	seen := map[string]bool{}
	var recorded string
	for range 5 {
		c := w.secured(clientTLS())
		challenge, err := base64.StdEncoding.DecodeString(c.cmd("AUTH CRAM-MD5", "334").Text)
		if err != nil || seen[string(challenge)] || !strings.HasSuffix(string(challenge), "@"+testHost+">") {
			t.Fatalf("challenge %q", challenge)
		}
		seen[string(challenge)] = true
		if recorded == "" {
			msg, err := sasl.NewCRAMMD5Client(testUser, testSecret).Next(challenge)
			if err != nil {
				t.Fatal(err)
			}
			recorded = b64(string(msg))
			c.cmd(recorded, "235")
			continue
		}
		c.cmd(recorded, "535 5.7.8")
		c.cmd("AUTH CRAM-MD5 "+recorded, "501 5.5.2")
		c.cmd("AUTH CRAM-MD5", "334")
		c.cmd(b64("apikey junk"), "501 5.5.2")
	}
}

// TestForeignMechanisms lets clients of other implementations in.
func TestForeignMechanisms(t *testing.T) {
	t.Parallel()
	w := startEvery(t, nil)
	c, err := netsmtp.Dial(w.addr)
	if err != nil {
		t.Fatal(err)
	}
	for i, err := range []error{
		c.Hello("client.test"), c.StartTLS(clientTLS()), c.Auth(netsmtp.CRAMMD5Auth(testUser, testSecret)), c.Mail("a@acme.test"), c.Quit(),
	} {
		if err != nil {
			t.Errorf("CRAM-MD5, step %d: %v", i, err)
		}
	}
	for name, m := range map[string]gosasl.Client{
		"OAUTHBEARER": gosasl.NewOAuthBearerClient(&gosasl.OAuthBearerOptions{Username: "tim", Token: testToken, Host: testHost, Port: 587}),
		"EXTERNAL":    gosasl.NewExternalClient(""),
	} {
		c, err := gosmtp.DialStartTLS(w.addr, withCertificate(clientTLS()))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(c.Auth(m), c.Mail("a@acme.test", nil), c.Quit()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad, err := gosmtp.DialStartTLS(w.addr, clientTLS())
	if err != nil {
		t.Fatal(err)
	}
	defer bad.Close()
	err = bad.Auth(gosasl.NewOAuthBearerClient(&gosasl.OAuthBearerOptions{Token: "x"}))
	if err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a wrong token: %v", err)
	}
}
