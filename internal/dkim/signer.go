package dkim

import (
	"crypto"
	"crypto/rsa"
)

// Backend says what makes a signer's signatures.
type Backend string

// The backends.
const (
	BackendGo        Backend = "crypto"    // the standard library
	BackendLibcrypto Backend = "libcrypto" // OpenSSL 3 of the system
)

// LoadSigner reads a PKCS #8 key and returns the fastest signer for it on this
// machine: for RSA the system's libcrypto, if this build can load it, it is
// there, and a first signature by it passes the standard library's check;
// otherwise, and for Ed25519, the standard library's. why says what stood in
// the way of libcrypto, nil if nothing did.
//
// A signer may be used by any number of goroutines. It holds memory outside
// Go's until it is collected.
func LoadSigner(der []byte) (s crypto.Signer, backend Backend, why error, err error) {
	key, _, err := ParseKey(der)
	if err != nil {
		return nil, "", nil, err
	}
	k, ok := key.(*rsa.PrivateKey)
	if !ok {
		return key, BackendGo, nil, nil
	}
	fast, why := accelerate(k)
	if why != nil {
		return key, BackendGo, why, nil
	}
	return fast, BackendLibcrypto, nil, nil
}
