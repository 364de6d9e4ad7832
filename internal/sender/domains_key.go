package sender

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"

	"postern/internal/dkim"
	"postern/internal/relay"
)

// newKey makes one selector's first key, sealed to its place. bits is the size of
// an RSA key and means nothing for Ed25519.
func (s *Domains) newKey(id relay.DomainID, selector string, alg relay.DKIMAlgorithm, bits int) (relay.DKIMKey, error) {
	der, err := generateKey(alg, bits)
	if err != nil {
		return relay.DKIMKey{}, err
	}
	defer clear(der)
	k, err := s.sealed(id, selector, alg, der)
	k.Generation = 1
	return k, err
}

// generateKey makes a private key as PKCS #8 DER.
func generateKey(alg relay.DKIMAlgorithm, bits int) ([]byte, error) {
	if alg != relay.DKIMRSA || bits == dkim.RSABits {
		return dkim.GenerateKey(dkim.Algorithm(alg))
	}
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, err
	}
	return x509.MarshalPKCS8PrivateKey(key)
}

// keyPlace binds a sealed private key to where it belongs, so that nobody can
// make one domain sign with another's key by moving a row.
func keyPlace(id relay.DomainID, selector string) []byte {
	return []byte("dkim_keys/" + id.String() + "/" + selector + "/private")
}
