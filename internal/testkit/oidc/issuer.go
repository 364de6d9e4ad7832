// Package oidc is an OpenID Connect issuer for tests: a real server over TLS,
// with a certification authority of its own, a discovery document, a key set,
// an introspection endpoint (RFC 7662), a token endpoint for client credentials
// (RFC 6749 §4.4), and logins of people with a browser (§4.1, with PKCE). It counts what is asked of it, and can be made to
// fail in the ways that issuers do.
//
//	is := oidc.New(t)
//	token := is.Token(oidc.Claims{"sub": "repo:acme/web", "aud": "postern"})
package oidc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// Paths of the endpoints, below Issuer.URL.
const (
	Discovery  = "/.well-known/openid-configuration"
	JWKS       = "/keys"
	Introspect = "/introspect"
	TokenPath  = "/token"
)

// ClientID and ClientSecret are the credentials of the one client there is.
const (
	ClientID     = "postern client"
	ClientSecret = "s3cret:/+&%"
)

// Claims are the claims of a token.
type Claims map[string]any

// Issuer is a running issuer. All methods may be called from any goroutine.
type Issuer struct {
	URL string // as in the iss claim
	// Now is the clock of the tokens it makes; set it before the first.
	Now func() time.Time

	tb     testing.TB
	ca     *x509.Certificate
	server *httptest.Server

	mu     sync.Mutex
	keys   []key // the last one signs
	made   int
	counts map[string]int
	faults map[string]http.HandlerFunc
	opaque map[string]Claims // nil claims: known and not active
	people map[string]Claims // by name
	codes  map[string]grant
	infos  map[string]Claims // by access token
}

// key is one signing key.
type key struct {
	id, alg string
	private crypto.Signer
}

// New starts an issuer at a loopback address with one RS256 key. It ends with
// the test.
func New(tb testing.TB) *Issuer {
	tb.Helper()
	is := &Issuer{tb: tb, Now: time.Now, counts: map[string]int{}, faults: map[string]http.HandlerFunc{}, opaque: map[string]Claims{}, people: map[string]Claims{}, codes: map[string]grant{}, infos: map[string]Claims{}}
	is.Rotate("RS256")
	is.server = httptest.NewUnstartedServer(http.HandlerFunc(is.serve))
	is.server.Config.ErrorLog = nil
	is.server.TLS = is.certificate()
	is.server.StartTLS()
	tb.Cleanup(is.server.Close)
	is.URL = is.server.URL
	return is
}

// certificate makes the authority and what it signs for 127.0.0.1 and a few names.
func (is *Issuer) certificate() *tls.Config {
	caKey, leafKey := newSigner(is.tb, "ES256"), newSigner(is.tb, "ES256")
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test issuer CA"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, caKey.Public(), caKey)
	if err != nil {
		is.tb.Fatal(err)
	}
	if is.ca, err = x509.ParseCertificate(der); err != nil {
		is.tb.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "issuer.test"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		DNSNames: []string{"issuer.test", "keys.test", "localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err = x509.CreateCertificate(rand.Reader, leaf, is.ca, leafKey.Public(), caKey)
	if err != nil {
		is.tb.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: leafKey}}}
}

// Roots trusts the issuer's authority only.
func (is *Issuer) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(is.ca)
	return pool
}

// CAPEM is the authority's certificate, for programs that read it from a file.
func (is *Issuer) CAPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: is.ca.Raw})
}

// Addr is where it listens: host and port.
func (is *Issuer) Addr() string { return is.server.Listener.Addr().String() }

// Rotate makes a key for an algorithm (RS256, PS256, ES256, EdDSA) that signs from
// now on, beside those that there are, and returns its id.
func (is *Issuer) Rotate(alg string) string {
	private := newSigner(is.tb, alg)
	is.mu.Lock()
	defer is.mu.Unlock()
	is.made++
	id := fmt.Sprintf("key-%d", is.made)
	is.keys = append(is.keys, key{id: id, alg: alg, private: private})
	return id
}

// Withdraw takes a key out of the set.
func (is *Issuer) Withdraw(id string) {
	is.mu.Lock()
	defer is.mu.Unlock()
	for i, k := range is.keys {
		if k.id == id && len(is.keys) > 1 {
			is.keys = append(is.keys[:i:i], is.keys[i+1:]...)
			return
		}
	}
	is.tb.Errorf("key %s cannot be withdrawn", id)
}

func newSigner(tb testing.TB, alg string) crypto.Signer {
	tb.Helper()
	var s crypto.Signer
	var err error
	switch alg {
	case "RS256", "PS256":
		s, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ES256":
		s, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, s, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("no key for %q", alg)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// Requests is how often a path was asked for; "" counts all.
func (is *Issuer) Requests(path string) int {
	is.mu.Lock()
	defer is.mu.Unlock()
	if path != "" {
		return is.counts[path]
	}
	n := 0
	for c := range maps.Values(is.counts) {
		n += c
	}
	return n
}

// Fail makes a path answer with h; nil: as it should.
func (is *Issuer) Fail(path string, h http.HandlerFunc) {
	is.mu.Lock()
	defer is.mu.Unlock()
	is.faults[path] = h
}

// The ways to fail.

// Down answers 503.
func Down(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }

// Huge answers with more than anyone should take: 64 MiB of JSON, without an end.
func Huge(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"keys":["`)) // a client that goes away is what is hoped for
	block := make([]byte, 64<<10)
	for i := range block {
		block[i] = 'x'
	}
	for range 1 << 10 {
		if _, err := w.Write(block); err != nil || r.Context().Err() != nil {
			return
		}
	}
}

// Redirect sends to another place.
func Redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
}

// Slow answers nothing until the returned function is called or the client goes away.
func Slow() (h http.HandlerFunc, release func()) {
	done := make(chan struct{})
	return func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-done:
		case <-r.Context().Done():
		}
	}, sync.OnceFunc(func() { close(done) })
}

// Answer answers with a body.
func Answer(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(body)) // the test's client is gone: nobody to tell
	}
}
