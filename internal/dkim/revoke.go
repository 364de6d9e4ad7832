package dkim

import (
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"math/big"
)

// Revoked is the TXT value that says of a selector that its key was revoked: the
// record is there, and p= is empty (RFC 6376 §3.6.1). note is for people and
// stands in n=; it must be of the characters that Revealed uses. Empty: none.
func Revoked(a Algorithm, note string) string {
	k := "rsa"
	if a == Ed25519 {
		k = "ed25519"
	}
	record := "v=DKIM1; k=" + k
	if note != "" {
		record += "; n=" + note
	}
	return record + "; p="
}

// Revealed is a private key as a note for Revoked: once everybody can sign with
// it, old signatures prove nothing. It is as short as the key can be put, so that
// the record of an RSA key of 2,048 bits still fits a DNS answer of 512 octets,
// and one of 4,096 bits any answer over UDP: of an RSA key its two primes (n = p·q,
// e = 65537), of an Ed25519 key its seed (as in RFC 8463 appendix A.1), in base64 without
// padding, because "=" would have to be quoted (RFC 6376 §2.11).
//
// It returns ErrKey for DER that is no key, and for an RSA key that two primes and
// that exponent do not describe.
func Revealed(der []byte) (string, error) {
	key, _, err := ParseKey(der)
	if err != nil {
		return "", err
	}
	encode := base64.RawStdEncoding.EncodeToString
	switch k := key.(type) {
	case ed25519.PrivateKey:
		return "private key, now public: Ed25519 seed " + encode(k.Seed()), nil
	case *rsa.PrivateKey:
		if len(k.Primes) != 2 || k.E != publicExponent {
			return "", fmt.Errorf("%w: not two primes and the exponent %d", ErrKey, publicExponent)
		}
		p, q := k.Primes[0], k.Primes[1]
		if new(big.Int).Mul(p, q).Cmp(k.N) != 0 {
			return "", fmt.Errorf("%w: its primes are of another key", ErrKey)
		}
		return "private key, now public: RSA primes " + encode(p.Bytes()) + " " + encode(q.Bytes()), nil
	}
	return "", fmt.Errorf("%w: key type %T", ErrKey, key)
}
