package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/testkit/oidc"
)

// madeKey is what `postern key add --json` prints, as far as clients need it.
type madeKey struct {
	ID       string `json:"api_key_id"`
	APIKey   string `json:"api_key"`
	Login    string `json:"login"`
	Password string `json:"password"`
}

func (r *ownRelay) addKey(t testing.TB, args ...string) madeKey {
	t.Helper()
	var k madeKey
	if err := json.Unmarshal([]byte(r.postern(t, append([]string{"key", "add", "--json"}, args...)...)), &k); err != nil {
		t.Fatal(err)
	}
	return k
}

// cameBy waits for the message with a subject and returns the mechanism by which
// its sender had logged in, and the key.
func (r *ownRelay) cameBy(t testing.TB, subject string) (mechanism, key string) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		for line := range strings.Lines(r.postern(t, "events", "--event", "received", "--limit", "1000", "--json")) {
			var e struct {
				Key  string `json:"api_key_id"`
				Data struct {
					Subject string `json:"subject"`
					Source  struct {
						Mechanism string `json:"mechanism"`
					} `json:"source"`
				} `json:"data"`
			}
			if json.Unmarshal([]byte(line), &e) == nil && strings.Contains(e.Data.Subject, subject) {
				return e.Data.Source.Mechanism, e.Key
			}
		}
	}
	t.Fatalf("no message %q was received", subject)
	return "", ""
}

const everyMechanism = `mechanisms = ["PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "XOAUTH2", "OAUTHBEARER", "EXTERNAL", "CRAM-MD5"]`

// authRelay is a relay that offers everything.
func authRelay(t testing.TB, conf string) *ownRelay {
	t.Helper()
	r := newRelay(t, relayOptions{domains: []string{"sender.test"}, listen: everyMechanism, conf: conf + "\n[auth]\napp_passwords = true\n"})
	r.From, r.To = "news@sender.test", "someone@rcpt.example.test"
	return r
}

// msmtp sends one message; lines are the login's lines of its configuration.
func (r *ownRelay) msmtp(t testing.TB, subject string, lines ...string) result {
	t.Helper()
	host, port := split(t, r.SMTPStartTLS)
	conf := filepath.Join(t.TempDir(), "msmtprc")
	text := fmt.Sprintf("account default\nhost %s\nport %s\ntls on\ntls_starttls on\ntls_trust_file %s\ntls_host_override %s\nfrom %s\n%s\n",
		host, port, r.CAFile, r.Hostname, r.From, strings.Join(lines, "\n"))
	write(t, conf, text)
	if err := os.Chmod(conf, 0o600); err != nil {
		t.Fatal(err)
	}
	return command{
		args:  []string{external(t, "msmtp"), "--file=" + conf, r.To},
		stdin: "From: " + r.From + "\nTo: " + r.To + "\nSubject: " + subject + "\n\nx\n",
	}.run(t)
}

// clientCertificate makes a certificate authority and a certificate for a DNS
// name under it, and writes all as PEM files.
func clientCertificate(t testing.TB, name string) (caFile, certFile, keyFile string) {
	t.Helper()
	dir := t.TempDir()
	caKey, caDER := certify(t, nil, nil, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	})
	ca, err := x509.ParseCertificate(caDER)
	if err != nil {
		t.Fatal(err)
	}
	key, der := certify(t, ca, caKey, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		KeyUsage: x509.KeyUsageDigitalSignature, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	})
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	caFile, certFile, keyFile = filepath.Join(dir, "ca.pem"), filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key")
	write(t, caFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})))
	write(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))
	if err := os.Chmod(keyFile, 0o600); err != nil {
		t.Fatal(err)
	}
	return caFile, certFile, keyFile
}

func certify(t testing.TB, parent *x509.Certificate, parentKey *ecdsa.PrivateKey, c *x509.Certificate) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if parent == nil {
		parent, parentKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}

// Foreign clients log in by every mechanism that they have, and the record says
// by which.
func TestEveryMechanism(t *testing.T) {
	t.Parallel()
	r := authRelay(t, "")
	key := r.addKey(t, "every", "--cram-md5")
	device := r.addKey(t, "device", "--kind", "app_password")
	_, cert, certKey := clientCertificate(t, "mailer.acme.test")
	byPrint := r.addKey(t, "by fingerprint", "--kind", "certificate", "--certificate", cert)
	_, otherCert, otherKey := clientCertificate(t, "mailer.acme.test")
	ca2, cert2, certKey2 := clientCertificate(t, "batch.acme.test")
	byName := r.addKey(t, "by name", "--kind", "certificate", "--ca", ca2, "--certificate-name", "batch.acme.test")
	access := command{args: []string{r.bin, "token", "new", "--url", "http://" + r.HTTP}, env: []string{"POSTERN_API_KEY=" + key.APIKey}}.run(t)
	if access.code != 0 {
		t.Fatal(access.out)
	}
	bearer := strings.TrimSpace(access.out)

	swaks := func(mechanism, user, password string) func(t *testing.T, subject string) result {
		return func(t *testing.T, subject string) result {
			return r.swaks(t, r.SMTPStartTLS, "--tls", "--auth", mechanism, "--auth-user", user, "--auth-password", password, "--h-Subject", subject)
		}
	}
	msmtp := func(lines ...string) func(t *testing.T, subject string) result {
		return func(t *testing.T, subject string) result { return r.msmtp(t, subject, lines...) }
	}
	for _, c := range []struct {
		name, mechanism, key string
		send                 func(t *testing.T, subject string) result
	}{
		{"swaks PLAIN", "PLAIN", key.ID, swaks("PLAIN", "apikey", key.APIKey)},
		{"swaks LOGIN", "LOGIN", key.ID, swaks("LOGIN", key.ID, key.APIKey)},
		{"swaks CRAM-MD5", "CRAM-MD5", key.ID, swaks("CRAM-MD5", key.ID, key.APIKey)},
		{"swaks app password", "PLAIN", device.ID, swaks("PLAIN", device.Login, device.Password)},
		{"msmtp SCRAM-SHA-256", "SCRAM-SHA-256", key.ID, msmtp("auth scram-sha-256", "user "+key.ID, "password "+key.APIKey)},
		{"msmtp OAUTHBEARER", "OAUTHBEARER", key.ID, msmtp("auth oauthbearer", "user "+key.ID, "password "+bearer)},
		{"msmtp XOAUTH2", "XOAUTH2", key.ID, msmtp("auth xoauth2", "user "+key.ID, "password "+bearer)},
		// Without a user msmtp sends no initial response, and takes the challenge that
		// asks for one (RFC 4954 §4) for a success.
		{"msmtp EXTERNAL, fingerprint", "EXTERNAL", byPrint.ID, msmtp("auth external", "user "+byPrint.ID, "tls_cert_file "+cert, "tls_key_file "+certKey)},
		{"msmtp EXTERNAL, CA and name", "EXTERNAL", byName.ID, msmtp("auth external", "user "+byName.ID, "tls_cert_file "+cert2, "tls_key_file "+certKey2)},
		{"curl EXTERNAL, no user", "EXTERNAL", byName.ID, func(t *testing.T, subject string) result {
			url, at := r.curlURL(t, "smtp", r.SMTPStartTLS)
			return r.curl(t, url, r.From, "From: "+r.From+"\r\nTo: "+r.To+"\r\nSubject: "+subject+"\r\n\r\nx\r\n", append(at, "--ssl-reqd",
				"--cert", cert2, "--key", certKey2, "--login-options", "AUTH=EXTERNAL", "--user", ":")...)
		}},
		{"nodemailer OAuth2", "XOAUTH2", key.ID, func(t *testing.T, subject string) result {
			got := r.nodemailer(t, "oauth2", subject, map[string]any{"user": key.ID, "access_token": bearer})
			return result{out: got.Response}
		}},
		{"nodemailer CRAM-MD5", "CRAM-MD5", key.ID, func(t *testing.T, subject string) result {
			got := r.nodemailer(t, "plain", subject, map[string]any{"auth_method": "CRAM-MD5", "username": key.ID, "api_key": key.APIKey})
			return result{out: got.Response}
		}},
		{"smtplib, its own choice", "CRAM-MD5", key.ID, func(t *testing.T, subject string) result {
			got := r.smtplib(t, "plain", subject, false, func(conf map[string]any) {
				conf["username"], conf["api_key"], conf["server_name"] = key.ID, key.APIKey, r.Hostname
			})
			return result{out: fmt.Sprint(got)}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tok := token("auth")
			wantAccepted(t, c.send(t, tok))
			mechanism, id := r.cameBy(t, tok)
			if mechanism != c.mechanism || id != c.key {
				t.Errorf("came by %s with key %s, want %s with %s", mechanism, id, c.mechanism, c.key)
			}
		})
	}
	for _, c := range []struct {
		name string
		send func(t *testing.T, subject string) result
	}{
		{"CRAM-MD5 with a key that was not made for it", func(t *testing.T, subject string) result {
			plain := r.addKey(t, "no cram "+subject)
			return swaks("CRAM-MD5", plain.ID, plain.APIKey)(t, subject)
		}},
		{"CRAM-MD5, wrong key", swaks("CRAM-MD5", key.ID, device.Password)},
		{"SCRAM, wrong key", msmtp("auth scram-sha-256", "user "+key.ID, "password "+r.APIKey)},
		{"a token cut short", msmtp("auth oauthbearer", "user "+key.ID, "password "+bearer[:len(bearer)-2])},
		{"a certificate of nobody, same name", msmtp("auth external", "user "+byPrint.ID, "tls_cert_file "+otherCert, "tls_key_file "+otherKey)},
		{"a certificate with the key of another", msmtp("auth external", "user "+byPrint.ID, "tls_cert_file "+cert2, "tls_key_file "+certKey2)},
		{"an app password with another user", swaks("PLAIN", "apikey", device.Password)},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := c.send(t, token("auth-refused"))
			if res.code == 0 || !strings.Contains(res.out, "535") {
				t.Errorf("not refused with 535:\n%s", res.out)
			}
		})
	}
}

// The GNU SASL client binds its login to the TLS channel. The certificate is not
// checked: gsasl compares it with the address that it connects to, and with
// -PLUS a man in the middle would not get through all the same.
func TestGsaslBindsToTheChannel(t *testing.T) {
	t.Parallel()
	r := authRelay(t, "")
	key := r.addKey(t, "bound")
	for _, c := range []struct {
		name, mechanism, password string
		more                      []string
		ok                        bool
	}{
		{"bound", "SCRAM-SHA-256-PLUS", key.APIKey, nil, true},
		{"bound, TLS 1.2", "SCRAM-SHA-256-PLUS", key.APIKey, []string{"--priority=NORMAL:-VERS-TLS1.3"}, true},
		{"not bound", "SCRAM-SHA-256", key.APIKey, []string{"--no-cb"}, true},
		{"another key", "SCRAM-SHA-256-PLUS", r.APIKey, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := command{args: append([]string{external(t, "gsasl"), "--client", "--smtp", "--connect", r.SMTPStartTLS, "--starttls", "--x509-ca-file=",
				"--hostname", r.Hostname, "--mechanism", c.mechanism, "--authentication-id", key.ID, "--password", c.password, "--verbose"}, c.more...)}.run(t)
			if got := strings.Contains(res.out, "235 2.7.0"); got != c.ok {
				t.Errorf("logged in %v, want %v\n%s", got, c.ok, res.out)
			}
		})
	}
	logins := r.postern(t, "log", "--json")
	if !strings.Contains(logins, `"SCRAM-SHA-256-PLUS"`) {
		t.Errorf("no login by SCRAM-SHA-256-PLUS in the record:\n%s", logins)
	}
}

// A program sends with a token of an outside issuer, and no secret is stored
// anywhere. AU-27, AU-28.
func TestOutsideIssuer(t *testing.T) {
	t.Parallel()
	is := oidc.New(t)
	ca := filepath.Join(t.TempDir(), "issuer-ca.pem")
	write(t, ca, string(is.CAPEM()))
	r := authRelay(t, fmt.Sprintf("[[issuer]]\nurl = %q\nca_file = %q\nprivate = true\n", is.URL, ca))
	federated := func(name string, args ...string) madeKey {
		return r.addKey(t, append([]string{name, "--kind", "federated", "--issuer", is.URL, "--sender", "sender.test"}, args...)...)
	}
	job := federated("job", "--audience", "postern", "--claim", "sub=repo:acme/shop", "--claim", "ref=refs/heads/*")
	main := oidc.Claims{"sub": "repo:acme/shop", "ref": "refs/heads/main"}
	with := func(name string, value any) oidc.Claims {
		c := maps.Clone(main)
		c[name] = value
		return c
	}
	// msmtp takes no line of 500 characters.
	login := func(t *testing.T, mechanism, user, bearer string, more ...string) []string {
		file := filepath.Join(t.TempDir(), "token")
		write(t, file, bearer)
		return append([]string{"auth " + mechanism, "user " + user, "passwordeval cat " + file}, more...)
	}
	accepted := func(t *testing.T, mechanism, user, bearer string) {
		t.Helper()
		tok := token("oidc")
		wantAccepted(t, r.msmtp(t, tok, login(t, mechanism, user, bearer)...))
		if by, id := r.cameBy(t, tok); by != strings.ToUpper(mechanism) || id != job.ID {
			t.Errorf("came by %s with key %s, want %s with %s", by, id, strings.ToUpper(mechanism), job.ID)
		}
	}
	from := 1
	refused := func(t *testing.T, user, bearer, code string) {
		t.Helper()
		from++ // an address that fails is answered later and later
		res := r.msmtp(t, token("oidc-refused"), login(t, "oauthbearer", user, bearer, fmt.Sprintf("source_ip 127.0.0.%d", from))...)
		if res.code == 0 || !strings.Contains(res.out, code) {
			t.Errorf("not refused with %s:\n%s", code, res.out)
		}
	}
	old := is.Token(main)
	accepted(t, "oauthbearer", job.ID, old)
	accepted(t, "xoauth2", job.ID, is.Token(main))
	accepted(t, "oauthbearer", "repo:acme/shop", is.Token(main)) // AU-29: its own subject
	for name, bearer := range map[string]string{
		"audience":  is.Token(with("aud", "somebody else")),
		"claim":     is.Token(with("ref", "refs/pull/1/merge")),
		"subject":   is.Token(with("sub", "repo:acme/shop2")),
		"no claim":  is.Token(with("ref", nil)),
		"issuer":    is.Token(with("iss", "https://issuer.test")),
		"expired":   is.Token(with("exp", time.Now().Add(-2*time.Minute).Unix())),
		"unsigned":  is.Forge(oidc.Claims{"alg": "none"}, main),
		"symmetric": is.Forge(oidc.Claims{"alg": "HS256"}, main),
	} {
		t.Run("another "+name, func(t *testing.T) {
			refused(t, job.ID, bearer, "535")
		})
	}
	other := federated("other", "--audience", "postern", "--claim", "sub=repo:acme/other")
	refused(t, other.ID, is.Token(main), "535") // AU-29
	refused(t, r.addKey(t, "with a secret").ID, is.Token(main), "535")

	// AU-28: the issuer goes away. Keys that are known go on working; what needs the
	// issuer is put off or refused, and the issuer is not hammered.
	is.Fail(oidc.JWKS, oidc.Down)
	is.Fail(oidc.Discovery, oidc.Down)
	asked := is.Requests("")
	accepted(t, "oauthbearer", job.ID, is.Token(main))
	is.Rotate("ES256")
	refused(t, job.ID, is.Token(main), "535")
	accepted(t, "oauthbearer", job.ID, old)
	if n := is.Requests("") - asked; n > 3 {
		t.Errorf("the issuer was asked %d times while it was down", n)
	}

	// A revoked key ends what its tokens could do.
	r.postern(t, "key", "revoke", job.ID)
	refused(t, job.ID, old, "535")
}
