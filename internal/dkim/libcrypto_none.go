//go:build static || !linux || !(amd64 || arm64)

package dkim

import (
	"crypto"
	"crypto/rsa"
	"errors"
)

// accelerate does nothing in a build without libcrypto.
func accelerate(*rsa.PrivateKey) (crypto.Signer, error) {
	return nil, errors.New("libcrypto is left out of this build")
}
