package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// server is a receiving server for the tests: go-smtp with a backend that
// counts, and refuses what it is told to refuse.
type server struct {
	starttls, implicit string
	client             *tls.Config

	mu       sync.Mutex
	messages []string
	sessions int                             // that tried to log in
	refuse   func(stage string, n int) error // n: messages taken so far
}

func (s *server) verdict(stage string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse == nil {
		return nil
	}
	return s.refuse(stage, len(s.messages))
}

// peer is one session of it.
type peer struct {
	*server
	authenticated bool
}

func (*peer) AuthMechanisms() []string { return []string{"PLAIN"} }
func (p *peer) Auth(string) (sasl.Server, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sessions++ // here, since go-smtp makes a new Session at STARTTLS
	return sasl.NewPlainServer(func(_, user, key string) error {
		if user != "apikey" || key != "secret" {
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "no"}
		}
		p.authenticated = true
		return p.verdict("AUTH")
	}), nil
}
func (*peer) Reset()        {}
func (*peer) Logout() error { return nil }
func (p *peer) Mail(string, *smtp.MailOptions) error {
	if !p.authenticated {
		return &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "log in"}
	}
	return p.verdict("MAIL")
}
func (p *peer) Rcpt(string, *smtp.RcptOptions) error { return p.verdict("RCPT") }
func (p *peer) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := p.verdict("DATA"); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.messages = append(p.messages, string(b))
	return nil
}

// startServer serves on loopback until the test ends.
func startServer(t *testing.T, refuse func(stage string, n int) error) *server {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"relay.test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	s := &server{refuse: refuse, client: &tls.Config{RootCAs: pool, ServerName: "relay.test"}}
	conf := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.starttls = s.serve(t, conf, false)
	s.implicit = s.serve(t, conf, true)
	return s
}

func (s *server) serve(t *testing.T, conf *tls.Config, implicit bool) string {
	t.Helper()
	srv := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		return &peer{server: s}, nil
	}))
	srv.Domain, srv.TLSConfig, srv.ErrorLog = "relay.test", conf, log.New(io.Discard, "", 0)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if implicit {
		l = tls.NewListener(l, conf)
	}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return addr
}

func (s *server) config(mode TLSMode) Config {
	addr := s.starttls
	if mode == Implicit {
		addr = s.implicit
	}
	return Config{
		Addr: addr, TLS: mode, TLSConfig: s.client, User: "apikey", Key: "secret",
		From: "a@sender.test", To: "b@receiver.test", Connections: 4, Messages: 5, Size: 2000, Timeout: 10 * time.Second,
	}
}

func TestRunCountsWhatWasAccepted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		mode     TLSMode
		change   func(*Config)
		sessions int // that tried to log in
	}{
		{"STARTTLS", StartTLS, func(*Config) {}, 4},
		{"implicit", Implicit, func(*Config) {}, 4},
		{"lockstep", Implicit, func(c *Config) { c.Lockstep = true }, 4},
		{"one message a connection", StartTLS, func(c *Config) { c.OnePerConnection = true }, 20},
		{"held open", Implicit, func(c *Config) { c.Hold = 20 * time.Millisecond; c.PID = os.Getpid() }, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, nil)
			conf := s.config(c.mode)
			c.change(&conf)
			r, err := Run(t.Context(), conf)
			if err != nil {
				t.Fatal(err)
			}
			if r.Accepted != 20 || r.Failed != 0 || len(r.Errors) > 0 || len(s.messages) != 20 {
				t.Errorf("accepted %d, failed %d, %v; the server took %d", r.Accepted, r.Failed, r.Errors, len(s.messages))
			}
			if s.sessions != c.sessions || r.Setup.Count != int64(c.sessions) || r.Accept.Count != 20 {
				t.Errorf("%d sessions, %d set-ups and %d answers measured; want %d, %d, 20", s.sessions, r.Setup.Count, r.Accept.Count, c.sessions, c.sessions)
			}
			if conf.Hold > 0 && (r.Server == nil || r.Server.RSSIdle == 0) {
				t.Errorf("no memory while idle: %+v", r.Server)
			}
			for _, m := range s.messages {
				if len(m) != conf.Size {
					t.Fatalf("a message of %d octets, want %d", len(m), conf.Size)
				}
			}
		})
	}
}

// Sizes are exact whatever the lines make of them, and no line is a lone dot.
func TestComposeIsExact(t *testing.T) {
	t.Parallel()
	conf := Config{From: "a@sender.test", To: "b@receiver.test"}
	for size := 512; size < 700; size++ {
		conf.Size = size
		s := &session{conf: &conf}
		s.compose(1, 2)
		message, found := strings.CutSuffix(string(s.out), "\r\n.\r\n")
		if message += "\r\n"; !found || len(message) != size || strings.Contains(message, "\n.") {
			t.Fatalf("size %d: %d octets, ended rightly: %v", size, len(message), found)
		}
	}
}

func TestRunReportsRefusals(t *testing.T) {
	t.Parallel()
	no := func(stages ...string) func(string, int) error {
		return func(stage string, n int) error {
			if n >= 2 && strings.Contains(strings.Join(stages, " "), stage) {
				return &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1}, Message: "full at " + stage}
			}
			return nil
		}
	}
	for _, c := range []struct {
		stage    string
		lockstep bool
	}{{"MAIL", false}, {"MAIL", true}, {"RCPT", false}, {"RCPT", true}, {"DATA", false}} {
		s := startServer(t, no(c.stage))
		conf := s.config(StartTLS)
		conf.Connections, conf.Lockstep = 1, c.lockstep
		r, err := Run(t.Context(), conf)
		if err != nil {
			t.Fatal(err)
		}
		if r.Accepted != 2 || r.Failed != 3 || s.sessions != 1 {
			t.Errorf("%s: accepted %d, failed %d in %d sessions; want 2, 3, 1: %v", c.stage, r.Accepted, r.Failed, s.sessions, r.Errors)
		}
		if len(r.Errors) != 1 || r.Errors[0].Count != 3 || !strings.Contains(r.Errors[0].Text, "full at "+c.stage) {
			t.Errorf("%s: errors %v", c.stage, r.Errors)
		}
	}
}

func TestRunGivesUp(t *testing.T) {
	t.Parallel()
	t.Run("wrong key", func(t *testing.T) {
		s := startServer(t, nil)
		conf := s.config(StartTLS)
		conf.Key = "wrong"
		r, err := Run(t.Context(), conf)
		if err != nil || r.Accepted != 0 || r.Failed != 20 {
			t.Fatalf("%v, %+v", err, r)
		}
		if s.sessions != 4*giveUpAfter {
			t.Errorf("%d sessions were tried", s.sessions)
		}
		if len(r.Errors) != 1 || !strings.HasPrefix(r.Errors[0].Text, "AUTH: 535") {
			t.Errorf("errors %v", r.Errors)
		}
	})
	t.Run("a certificate that is not trusted", func(t *testing.T) {
		s := startServer(t, nil)
		conf := s.config(Implicit)
		conf.TLSConfig = &tls.Config{ServerName: "relay.test", RootCAs: x509.NewCertPool()}
		r, err := Run(t.Context(), conf)
		if err != nil || r.Accepted != 0 || len(r.Errors) == 0 || !strings.HasPrefix(r.Errors[0].Text, "handshake: ") {
			t.Fatalf("%v, %+v", err, r)
		}
	})
	t.Run("nobody listens", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		r, err := Run(t.Context(), Config{Addr: l.Addr().String(), TLS: None, From: "a@x.test", To: "b@x.test"})
		if err != nil || r.Accepted != 0 || r.Failed != 400 {
			t.Fatalf("%v, %+v", err, r)
		}
	})
	t.Run("the server hangs", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r, err := Run(ctx, Config{Addr: l.Addr().String(), TLS: None, From: "a@x.test", To: "b@x.test", Connections: 2, Timeout: 50 * time.Millisecond})
		if err != nil || r.Failed != 40 || ctx.Err() != nil {
			t.Fatalf("%v, %+v", err, r)
		}
	})
}

func TestRunRefusesNonsense(t *testing.T) {
	t.Parallel()
	good := Config{Addr: "127.0.0.1:1", TLS: None, From: "a@x.test", To: "b@x.test"}
	for name, change := range map[string]func(*Config){
		"no address":              func(c *Config) { c.Addr = "" },
		"negative":                func(c *Config) { c.Connections = -1 },
		"too small":               func(c *Config) { c.Size = 100 },
		"AUTH in the clear":       func(c *Config) { c.User = "apikey" },
		"TLS without a trust":     func(c *Config) { c.TLS = StartTLS },
		"hold and one each":       func(c *Config) { c.Hold = 1; c.OnePerConnection = true },
		"a process that is gone":  func(c *Config) { c.PID = 1 << 30 },
		"negative message number": func(c *Config) { c.Messages = -2 },
	} {
		conf := good
		change(&conf)
		if r, err := Run(t.Context(), conf); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if _, err := ParseTLSMode("ssl"); err == nil {
		t.Error("a mode that does not exist")
	}
}

func TestReportForPeopleAndMachines(t *testing.T) {
	t.Parallel()
	s := startServer(t, nil)
	conf := s.config(Implicit)
	conf.PID = os.Getpid()
	r, err := Run(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"accepted   20 in ", "set-up ", "250 after", "generator ", "server ", "end of data to 250:", "█"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	if strings.Contains(text.String(), "secret") {
		t.Error("the key is in the report")
	}
	b, err := json.Marshal(r)
	if err != nil || strings.Contains(string(b), "secret") || !strings.Contains(string(b), `"p99_us":`) {
		t.Errorf("%v: %s", err, b)
	}
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	fields := func(name string) string {
		return "42 (" + name + ") S 1 2 3 4 5 6 7 8 9 10 100 20 3 4 15 16 17 18 19 20 5 22 23"
	}
	for _, name := range []string{"postern", "a b", "evil) R 9 9", ""} {
		u, err := parseStat([]byte(fields(name)))
		if err != nil || u.CPU != 127*clockTick || u.RSS != 5*int64(os.Getpagesize()) {
			t.Errorf("%q: %+v, %v", name, u, err)
		}
	}
	for _, bad := range []string{"", "42 (x) S 1", strings.Replace(fields("x"), " 100 ", " x ", 1)} {
		if u, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, u)
		}
	}
}
