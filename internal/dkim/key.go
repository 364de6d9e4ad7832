package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"
)

// RSABits is the size of the RSA keys that GenerateKey makes: what RFC 8301
// §3.2 asks of verifiers, and the largest whose record is safe in one UDP
// answer.
const RSABits = 2048

// The sizes of RSA keys that ParseKey takes.
const (
	minRSABits = 1024 // RFC 8301 §3.2
	maxRSABits = 4096 // larger ones are not signed with, and verifiers need not take them
)

// GenerateKey makes a private key and returns it as PKCS #8 DER.
func GenerateKey(a Algorithm) ([]byte, error) {
	var key any
	var err error
	switch a {
	case RSA:
		key, err = rsa.GenerateKey(rand.Reader, RSABits)
	case Ed25519:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, fmt.Errorf("%w: unknown algorithm %q", ErrKey, a)
	}
	if err != nil {
		return nil, fmt.Errorf("dkim: generate %s key: %w", a, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("dkim: marshal %s key: %w", a, err)
	}
	return der, nil
}

// ParseKey reads PKCS #8 DER into a signer of the standard library and says
// which algorithm it is for. Other key types, and RSA keys of under 1,024 or
// over 4,096 bits, are ErrKey.
func ParseKey(der []byte) (crypto.Signer, Algorithm, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrKey, err)
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if n := k.N.BitLen(); n < minRSABits || n > maxRSABits {
			return nil, "", fmt.Errorf("%w: RSA key of %d bits", ErrKey, n)
		}
		return k, RSA, nil
	case ed25519.PrivateKey:
		return k, Ed25519, nil
	}
	return nil, "", fmt.Errorf("%w: key type %T", ErrKey, key)
}

// Record is the TXT value that publishes a public key (RFC 6376 §3.6.1; RFC
// 8463 §4 for Ed25519: the bare 32 octets).
func Record(pub crypto.PublicKey) (string, error) {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		der, err := x509.MarshalPKIXPublicKey(k)
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrKey, err)
		}
		return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der), nil
	case ed25519.PublicKey:
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(k), nil
	}
	return "", fmt.Errorf("%w: key type %T", ErrKey, pub)
}

// SplitTXT cuts a TXT value into character-strings of at most 255 octets, as
// they stand in the DNS (RFC 1035 §3.3; RFC 6376 §3.6.2.2: a reader joins them
// with nothing between).
func SplitTXT(s string) []string {
	var out []string
	for len(s) > maxCharacterString {
		out = append(out, s[:maxCharacterString])
		s = s[maxCharacterString:]
	}
	return append(out, s)
}

const maxCharacterString = 255

// ZoneTXT is a TXT value as it is written in a zone file: each
// character-string in quotes.
func ZoneTXT(s string) string {
	parts := SplitTXT(s)
	for i, p := range parts {
		parts[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(p) + `"`
	}
	return strings.Join(parts, " ")
}

// Bits is the size of an RSA public key, 0 of others.
func Bits(pub crypto.PublicKey) int {
	if k, ok := pub.(*rsa.PublicKey); ok {
		return k.N.BitLen()
	}
	return 0
}
