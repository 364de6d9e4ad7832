package smtpserver

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"testing"
	"time"
)

// TestEndPoint: the hash is that of the certificate's own signature (RFC 5929
// §4.1).
func TestEndPoint(t *testing.T) {
	t.Parallel()
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, _ := ed25519.GenerateKey(rand.Reader)
	sum := func(f func([]byte) []byte) func([]byte) string { return func(p []byte) string { return string(f(p)) } }
	of256 := sum(func(p []byte) []byte { h := sha256.Sum256(p); return h[:] })
	of384 := sum(func(p []byte) []byte { h := sha512.Sum384(p); return h[:] })
	of512 := sum(func(p []byte) []byte { h := sha512.Sum512(p); return h[:] })
	for name, tt := range map[string]struct {
		key       crypto.Signer
		algorithm x509.SignatureAlgorithm
		want      func([]byte) string // nil: none
	}{
		"ECDSA SHA-256":   {p256, x509.ECDSAWithSHA256, of256},
		"ECDSA SHA-384":   {p384, x509.ECDSAWithSHA384, of384},
		"ECDSA SHA-512":   {p384, x509.ECDSAWithSHA512, of512},
		"RSA SHA-256":     {rsaKey, x509.SHA256WithRSA, of256},
		"RSA-PSS SHA-384": {rsaKey, x509.SHA384WithRSAPSS, of384},
		"RSA SHA-512":     {rsaKey, x509.SHA512WithRSA, of512},
		"Ed25519":         {edKey, x509.PureEd25519, nil},
	} {
		tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), SignatureAlgorithm: tt.algorithm, NotAfter: time.Unix(1<<32, 0)}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, tt.key.Public(), tt.key)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := endPoint(&tls.Certificate{Certificate: [][]byte{der}})
		if ok != (tt.want != nil) || ok && string(got) != tt.want(der) {
			t.Errorf("%s: %x, %v", name, got, ok)
		}
	}
	for _, c := range []*tls.Certificate{nil, {}, {Certificate: [][]byte{[]byte("no certificate")}}} {
		if _, ok := endPoint(c); ok {
			t.Errorf("%v has an end point", c)
		}
	}
}
