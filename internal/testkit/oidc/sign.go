package oidc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
)

// Token makes a token that is signed with the newest key. Claims that are not
// given are iss, sub "subject", aud "postern", iat now and exp in ten minutes; a
// nil value takes one away.
func (is *Issuer) Token(c Claims) string { return is.Forge(nil, c) }

// Forge is Token with other members in the header; a nil value takes one away.
// The signature is right for the header's algorithm as far as the issuer's newest
// key can make one: "none" has an empty signature, HS256 uses the public key in
// PEM as its secret, as the well-known attack does.
func (is *Issuer) Forge(header, c Claims) string {
	is.mu.Lock()
	k := is.keys[len(is.keys)-1]
	is.mu.Unlock()
	h := Claims{"alg": k.alg, "kid": k.id, "typ": "JWT"}
	maps.Copy(h, header)
	maps.DeleteFunc(h, func(_ string, v any) bool { return v == nil })
	return is.Sign(h, mustJSON(is, is.complete(c)), k.private)
}

// Raw makes a token from the very octets of its payload with the newest key, for
// claims that no JSON encoder would write.
func (is *Issuer) Raw(payload []byte) string {
	is.mu.Lock()
	k := is.keys[len(is.keys)-1]
	is.mu.Unlock()
	return is.Sign(Claims{"alg": k.alg, "kid": k.id, "typ": "JWT"}, payload, k.private)
}

// Sign makes a token from the very octets of its payload with any key.
func (is *Issuer) Sign(header Claims, payload []byte, private crypto.Signer) string {
	text := b64(mustJSON(is, header)) + "." + b64(payload)
	sig, err := sign(fmt.Sprint(header["alg"]), []byte(text), private)
	if err != nil {
		is.tb.Error(err)
	}
	return text + "." + b64(sig)
}

// NewKey makes a key for an algorithm that is not the issuer's.
func (is *Issuer) NewKey(alg string) crypto.Signer { return newSigner(is.tb, alg) }

func mustJSON(is *Issuer, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		is.tb.Error(err)
	}
	return b
}

// sign makes a signature (RFC 7518 §3). Algorithms that it does not know get none.
func sign(alg string, text []byte, private crypto.Signer) ([]byte, error) {
	hash := sha256.Sum256(text)
	switch alg {
	case "RS256":
		return private.Sign(rand.Reader, hash[:], crypto.SHA256)
	case "PS256":
		return private.Sign(rand.Reader, hash[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	case "EdDSA":
		if k, ok := private.(ed25519.PrivateKey); ok {
			return ed25519.Sign(k, text), nil
		}
		return nil, fmt.Errorf("EdDSA with %T", private)
	case "ES256":
		k, ok := private.(*ecdsa.PrivateKey)
		if !ok {
			return nil, fmt.Errorf("ES256 with %T", private)
		}
		r, s, err := ecdsa.Sign(rand.Reader, k, hash[:])
		if err != nil {
			return nil, err
		}
		sig := make([]byte, 64)
		r.FillBytes(sig[:32])
		s.FillBytes(sig[32:])
		return sig, nil
	case "HS256":
		der, err := x509.MarshalPKIXPublicKey(private.Public())
		if err != nil {
			return nil, err
		}
		mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		mac.Write(text)
		return mac.Sum(nil), nil
	}
	return nil, nil
}
