package main

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern/internal/cert"
	"postern/internal/sasl"
	"postern/internal/secret"
	"postern/internal/smtp"
	"postern/internal/smtpserver"
)

// relayFake takes mail from whoever holds one key, by every mechanism.
type relayFake struct {
	key      secret.Key
	verifier secret.Verifier
	peer     smtpserver.Peer
}

const fakeToken = "token-of-an-issuer"

func (r relayFake) Connect(_ context.Context, p smtpserver.Peer) (smtpserver.Session, error) {
	r.peer = p
	return &r, nil
}

func (r *relayFake) Login(context.Context, string) sasl.Exchange {
	end := func(ok bool) error {
		if !ok {
			return smtp.R(535, 5, 7, 8, "Authentication failed")
		}
		return nil
	}
	return sasl.Exchange{
		Authenticate: func(_ context.Context, c sasl.Credentials) error {
			return end(c.User == "apikey" && c.Secret == r.key.Text())
		},
		SCRAM: func(_ context.Context, user string) sasl.SCRAMUser {
			u := sasl.SCRAMUser{Salt: r.verifier.SCRAMSalt, Iterations: r.verifier.SCRAMIterations}
			if user == r.key.IDText() {
				u.Keys = []sasl.SCRAMKeys{{StoredKey: r.verifier.SCRAMStoredKey, ServerKey: r.verifier.SCRAMServerKey}}
			}
			return u
		},
		Proved: func(_ context.Context, p sasl.Proof) error { return end(p.Key == 0) },
		CRAM: func(_ context.Context, user string, fits func(secret.Redacted) bool) error {
			return end(user == r.key.IDText() && fits(r.key.Text()))
		},
		Bearer: func(_ context.Context, b sasl.Bearer) error { return end(b.Token == fakeToken) },
		External: func(context.Context, string) error {
			return end(len(r.peer.Certificates) > 0 && r.peer.Certificates[0].Subject.CommonName != "")
		},
		Host: "127.0.0.1", Port: int(r.peer.Local.Port()),
	}
}

func (r *relayFake) Offers(context.Context, string) bool { return true }
func (r *relayFake) Helo(_ context.Context, p smtpserver.Peer) error {
	r.peer = p
	return nil
}
func (*relayFake) LoginFailed(context.Context, string, smtpserver.LoginFault) {}
func (*relayFake) Mail(context.Context, smtp.Address, smtp.MailParams) error  { return nil }
func (*relayFake) Rcpt(context.Context, smtp.Address, smtp.RcptParams) error  { return nil }
func (r *relayFake) Data(context.Context) (smtpserver.Body, error)            { return r, nil }
func (*relayFake) Reset(context.Context)                                      {}
func (*relayFake) Close()                                                     {}
func (*relayFake) Write(p []byte) (int, error)                                { return len(p), nil }
func (*relayFake) Commit(context.Context) (smtp.Reply, error)                 { return smtp.R(250, 2, 0, 0, "Ok"), nil }
func (*relayFake) Abort()                                                     {}

// startRelay runs a submission server and returns its address.
func startRelay(t *testing.T, f cert.Files, r relayFake) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(f.Certificate, f.Key)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := smtpserver.New(smtpserver.Config{
		Role: smtpserver.RoleSubmission, Hostname: "relay.test", TLS: &tls.Config{Certificates: []tls.Certificate{pair}},
		ImplicitTLS: true, Mechanisms: sasl.All, ClientCertificates: true, Limits: smtpserver.Limits{AuthDelay: 1},
	}, r)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(context.Background(), ln) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// TestSendMechanisms logs in by each, and shows nothing of the key.
func TestSendMechanisms(t *testing.T) {
	t.Parallel()
	key, err := secret.GenerateKey("SG")
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := secret.NewVerifier(key)
	if err != nil {
		t.Fatal(err)
	}
	f := certificate(t)
	addr := startRelay(t, f, relayFake{key: key, verifier: verifier})
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	whole, token, other := file(key.Text().Reveal()), file(fakeToken), file("other")
	send := func(args ...string) (int, string) {
		args = append([]string{"send", "--tls", "implicit", "--ca", f.Authority, "--from", "a@b.test", "--to", "c@d.test", addr}, args...)
		code, out, errs := command(t, "", args...)
		if shown := out + errs; strings.Contains(shown, key.Text().Reveal()) || strings.Contains(shown, fakeToken) {
			t.Errorf("%q shows the key:\n%s", args, shown)
		}
		return code, out + errs
	}
	for mechanism, args := range map[string][]string{
		"PLAIN": {"--key-file", whole}, "LOGIN": {"--key-file", whole}, "CRAM-MD5": {"--key-file", whole}, "scram-sha-256": {"--key-file", whole},
		"SCRAM-SHA-256-PLUS": {"--key-file", whole}, "XOAUTH2": {"--key-file", token}, "OAUTHBEARER": {"--key-file", token, "--user", "tim"},
		"EXTERNAL": {"--client-cert", f.Certificate, "--client-key", f.Key},
	} {
		if code, shown := send(append(args, "--auth", mechanism)...); code != exitOK || !strings.Contains(shown, "C: AUTH "+strings.ToUpper(mechanism)+" (") || !strings.Contains(shown, "S: 235 ") {
			t.Errorf("%s: %d\n%s", mechanism, code, shown)
		}
	}
	for _, tt := range []struct {
		want string
		code int
		args []string
	}{
		{"--user is needed", exitUsage, []string{"--auth", "SCRAM-SHA-256", "--key-file", other}},
		{"535 5.7.8", exitFailed, []string{"--auth", "SCRAM-SHA-256", "--key-file", other, "--user", key.IDText()}},
		{"535 5.7.8", exitFailed, []string{"--auth", "CRAM-MD5", "--key-file", other, "--user", key.IDText()}},
		{"invalid_token", exitFailed, []string{"--auth", "OAUTHBEARER", "--key-file", other}},
		{"want one of PLAIN", exitUsage, []string{"--auth", "GSSAPI", "--key-file", whole}},
		{"EXTERNAL needs both", exitUsage, []string{"--auth", "EXTERNAL"}},
		{"together", exitUsage, []string{"--client-cert", f.Certificate}},
		{"client's certificate", exitFailed, []string{"--client-cert", f.Key, "--client-key", f.Key}},
	} {
		if code, shown := send(tt.args...); code != tt.code || !strings.Contains(shown, tt.want) {
			t.Errorf("%q: %d\n%s", tt.args, code, shown)
		}
	}
}
