package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"postern/internal/bench"
	"postern/internal/testkit/postfix"
)

// tuned is what somebody who knows Postfix sets for a busy relay: no artificial
// delays and limits, enough processes, one next hop with many connections that
// are reused, no look-ups that the work does not need. Syncing stays on.
func tuned(nextHop string) map[string]string {
	return map[string]string{
		"relayhost":                               nextHop,
		"default_process_limit":                   "400",
		"in_flow_delay":                           "0",
		"qmgr_message_active_limit":               "50000",
		"qmgr_message_recipient_limit":            "50000",
		"initial_destination_concurrency":         "20",
		"default_destination_concurrency_limit":   "50",
		"smtp_destination_concurrency_limit":      "50",
		"smtp_connection_cache_destinations":      "$relayhost",
		"smtp_connection_reuse_count_limit":       "1000",
		"smtp_tls_security_level":                 "none",
		"smtpd_peername_lookup":                   "no",
		"smtpd_client_connection_count_limit":     "0",
		"smtpd_client_connection_rate_limit":      "0",
		"smtpd_client_event_limit_exceptions":     "static:all",
		"smtpd_tls_security_level":                "may",
		"smtpd_tls_auth_only":                     "yes",
		"smtpd_tls_eccert_file":                   "$config_directory/cert.pem",
		"smtpd_tls_eckey_file":                    "$config_directory/key.pem",
		"smtpd_sasl_auth_enable":                  "yes",
		"smtpd_sasl_type":                         "cyrus",
		"smtpd_sasl_path":                         "smtpd",
		"smtpd_sasl_local_domain":                 "relay.test",
		"smtpd_sasl_security_options":             "noanonymous",
		"smtpd_relay_restrictions":                "permit_sasl_authenticated, reject",
		"smtpd_recipient_restrictions":            "",
		"mynetworks":                              "127.0.0.2/32",
		"local_header_rewrite_clients":            "",
		"append_dot_mydomain":                     "no",
		"smtpd_banner":                            "relay.test ESMTP",
		"strict_rfc821_envelopes":                 "no",
		"address_verify_map":                      "",
		"smtpd_discard_ehlo_keywords":             "",
		"lmtp_assume_final":                       "no",
		"smtpd_data_restrictions":                 "",
		"smtpd_forbid_bare_newline":               "normalize",
		"smtpd_client_new_tls_session_rate_limit": "0",
	}
}

const (
	saslUser = "load"
	saslKey  = "a-long-random-secret-for-the-load"
)

// postfixRelay is a Postfix, and an OpenDKIM where it signs.
type postfixRelay struct {
	*postfix.Instance
	addr   string
	trust  *tls.Config
	signer *exec.Cmd
	dir    string // of the signer
}

func postfixPlain(ctx context.Context, _ options, s *sink) (relay, error) {
	return startPostfix(ctx, s, false)
}

func postfixSigned(ctx context.Context, _ options, s *sink) (relay, error) {
	return startPostfix(ctx, s, true)
}

func startPostfix(ctx context.Context, s *sink, sign bool) (_ relay, err error) {
	r := &postfixRelay{}
	cert, key, trust, err := certificate()
	if err != nil {
		return nil, err
	}
	r.trust = trust
	if r.addr, err = freeAddr(); err != nil {
		return nil, err
	}
	db, err := saslDB(ctx)
	if err != nil {
		return nil, err
	}
	main := tuned("[127.0.0.1]:" + s.port())
	if sign {
		socket, err := r.startSigner()
		if err != nil {
			return nil, err
		}
		main["smtpd_milters"] = socket
		main["milter_default_action"] = "tempfail"
		main["milter_protocol"] = "6"
	}
	r.Instance, err = postfix.Start(postfix.Config{
		Listen: []postfix.Service{{Addr: r.addr}},
		Main:   main,
		Files: map[string]string{
			"cert.pem": cert, "key.pem": key, "sasldb2": db,
			// Where Debian's Postfix looks for it.
			"sasl/smtpd.conf": "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\nsasldb_path: @DIR@/etc/sasldb2\n",
		},
		MaxProc: map[string]int{"smtpd": 400, "smtp": 50},
	})
	if err != nil {
		return nil, errors.Join(err, r.stopSigner())
	}
	return r, nil
}

// saslDB makes Cyrus's password data base.
func saslDB(ctx context.Context) (string, error) {
	dir, err := os.MkdirTemp("", "sasl-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "sasldb2")
	cmd := exec.CommandContext(ctx, "/usr/sbin/saslpasswd2", "-p", "-c", "-f", file, "-u", "relay.test", saslUser)
	cmd.Stdin = strings.NewReader(saslKey)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("saslpasswd2: %w: %s", err, out)
	}
	b, err := os.ReadFile(file)
	return string(b), err
}

// startSigner runs OpenDKIM and returns its socket for main.cf.
func (r *postfixRelay) startSigner() (string, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return "", err
	}
	if r.dir, err = os.MkdirTemp("", "opendkim-"); err != nil {
		return "", err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := os.WriteFile(filepath.Join(r.dir, "key"), text, 0o600); err != nil {
		return "", err
	}
	addr, err := freeAddr()
	if err != nil {
		return "", err
	}
	host, port, _ := net.SplitHostPort(addr)
	conf := fmt.Sprintf("Mode s\nDomain sender.test\nSelector s1\nKeyFile %s/key\nSocket inet:%s@%s\nCanonicalization relaxed/relaxed\nSignatureAlgorithm rsa-sha256\nOversignHeaders From\nInternalHosts 0.0.0.0/0\nRequireSafeKeys no\nSyslog no\nBackground no\n", r.dir, port, host)
	if err := os.WriteFile(filepath.Join(r.dir, "conf"), []byte(conf), 0o600); err != nil {
		return "", err
	}
	r.signer = exec.Command("opendkim", "-f", "-x", filepath.Join(r.dir, "conf"))
	r.signer.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := r.signer.Start(); err != nil {
		return "", err
	}
	if err := answers(addr, connected, 10*time.Second); err != nil {
		return "", errors.Join(err, r.stopSigner())
	}
	return "inet:" + addr, nil
}

func (r *postfixRelay) stopSigner() error {
	if r.signer == nil {
		return nil
	}
	_ = r.signer.Process.Signal(syscall.SIGTERM)
	_ = r.signer.Wait() // it ends by the signal
	return os.RemoveAll(r.dir)
}

func (r *postfixRelay) config() bench.Config {
	return bench.Config{
		Addr: r.addr, TLS: bench.StartTLS, TLSConfig: r.trust, User: saslUser + "@relay.test", Key: saslKey, From: loadFrom, To: loadTo,
	}
}

func (r *postfixRelay) pids() ([]int, error) {
	master, err := r.PID()
	if err != nil {
		return nil, err
	}
	if r.signer == nil {
		return []int{master}, nil
	}
	return []int{master, r.signer.Process.Pid}, nil
}

func (r *postfixRelay) log() string { return r.Log() }

func (r *postfixRelay) storage() string { return r.Path("queue") }

func (r *postfixRelay) stop() error { return errors.Join(r.Instance.Stop(), r.stopSigner()) }

// certificate makes a self-signed P-256 certificate, and a configuration that trusts it.
func certificate() (cert, key string, trust *tls.Config, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"relay.test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		return "", "", nil, err
	}
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return "", "", nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return "", "", nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kder})),
		&tls.Config{RootCAs: pool, ServerName: "relay.test"}, nil
}

// freeAddr finds a port on loopback that nobody listens on.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// answers waits until a server is there, as ready sees it.
func answers(addr string, ready func(addr string, limit time.Duration) error, limit time.Duration) error {
	for deadline := time.Now().Add(limit); ; {
		err := ready(addr, time.Until(deadline))
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// connected is all that can be known of a milter: it waits for the other side to speak.
func connected(addr string, limit time.Duration) error {
	conn, err := net.DialTimeout("tcp", addr, limit)
	if err != nil {
		return err
	}
	return conn.Close()
}

// greeted reads the first octet of a greeting: a socket takes connections before
// its server does.
func greeted(addr string, limit time.Duration) error {
	conn, err := net.DialTimeout("tcp", addr, limit)
	if err != nil {
		return err
	}
	_ = conn.SetDeadline(time.Now().Add(limit)) // a socket has deadlines
	_, err = conn.Read(make([]byte, 1))
	return errors.Join(err, conn.Close())
}
