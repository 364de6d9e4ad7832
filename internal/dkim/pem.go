package dkim

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
)

// MaxPEM is the most octets of text that ParsePEM reads.
const MaxPEM = 16 << 10

// publicExponent is that of every RSA key in use; Revealed leaves it out.
const publicExponent = 65537

// ParsePEM reads one private key as other software writes it: PKCS #8 ("PRIVATE
// KEY") or PKCS #1 ("RSA PRIVATE KEY"), RSA of 2,048 to 4,096 bits with two primes
// and the exponent 65537, or Ed25519. It returns PKCS #8 DER, which the caller
// clears when it is done. RFC 8301 §3.2: shorter keys should not be signed with,
// though verifiers still take 1,024 bits.
//
// Errors are ErrKey and say in words what is wrong, without any of the text.
func ParsePEM(text []byte) (der []byte, a Algorithm, err error) {
	if len(text) > MaxPEM {
		return nil, "", fmt.Errorf("%w: more than %d octets of text", ErrKey, MaxPEM)
	}
	block, rest := pem.Decode(text)
	if block == nil {
		return nil, "", fmt.Errorf("%w: no PEM block; it starts with -----BEGIN PRIVATE KEY-----", ErrKey)
	}
	defer clear(block.Bytes)
	if next, _ := pem.Decode(rest); next != nil {
		clear(next.Bytes)
		return nil, "", fmt.Errorf("%w: more than one PEM block", ErrKey)
	}
	key, err := parseBlock(block)
	if err != nil {
		return nil, "", err
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if err := importable(k); err != nil {
			return nil, "", err
		}
		a = RSA
	case ed25519.PrivateKey:
		a = Ed25519
	default:
		return nil, "", fmt.Errorf("%w: neither RSA nor Ed25519", ErrKey)
	}
	if der, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		return nil, "", fmt.Errorf("%w: it cannot be written as PKCS #8", ErrKey)
	}
	return der, a, nil
}

// parseBlock reads the key in a PEM block. The library's errors are left out:
// they tell nothing to who pasted it.
func parseBlock(b *pem.Block) (any, error) {
	switch {
	case b.Type == "ENCRYPTED PRIVATE KEY" || b.Headers["DEK-Info"] != "":
		return nil, fmt.Errorf("%w: it has a pass phrase; remove that first", ErrKey)
	case b.Type == "RSA PRIVATE KEY":
		if k, err := x509.ParsePKCS1PrivateKey(b.Bytes); err == nil {
			return k, nil
		}
	case b.Type == "PRIVATE KEY":
		if k, err := x509.ParsePKCS8PrivateKey(b.Bytes); err == nil {
			return k, nil
		}
	case b.Type == "PUBLIC KEY" || b.Type == "RSA PUBLIC KEY":
		return nil, fmt.Errorf("%w: this is the public key; the private one is needed", ErrKey)
	default:
		return nil, fmt.Errorf("%w: a PEM block of another kind than PRIVATE KEY", ErrKey)
	}
	return nil, fmt.Errorf("%w: the PEM block holds no sound private key", ErrKey)
}

// importable refuses RSA keys that verifiers or Revealed would stumble over.
func importable(k *rsa.PrivateKey) error {
	switch n := k.N.BitLen(); {
	case n < RSABits || n > maxRSABits:
		return fmt.Errorf("%w: an RSA key of %d bits; %d to %d are taken", ErrKey, n, RSABits, maxRSABits)
	case k.E != publicExponent:
		return fmt.Errorf("%w: an RSA key with an exponent other than %d", ErrKey, publicExponent)
	case len(k.Primes) != 2:
		return fmt.Errorf("%w: an RSA key of more than two primes", ErrKey)
	}
	return nil
}

// FormatPEM writes a private key, given as PKCS #8 DER, as PEM.
func FormatPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: bytes.Clone(der)})
}
