package secret

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
)

// Errors of opening an envelope.
var (
	// ErrSealed: the envelope is damaged, or was sealed for something else.
	ErrSealed = errors.New("sealed value does not open")
	// ErrNoSealingKey: it was sealed with a key that is not in the key file.
	ErrNoSealingKey = errors.New("sealed with a key that is not in the key file")
)

// An envelope is: version, key id, nonce, ciphertext with its tag.
const (
	envelopeVersion = 1
	envelopeHead    = 1 + keyIDBytes + xaesNonce
	tagBytes        = 16
)

// Purposes of the sub-keys used here. A purpose never changes its text: what
// was sealed under it would no longer open.
const (
	purposeSeal    = "postern seal v1"
	purposeBodyKey = "postern body key v1"
)

// Sealer seals and opens what must be recoverable: DKIM private keys, CRAM
// secrets, body keys. It holds a current key, which seals, and older ones,
// which only open. It is safe for concurrent use.
type Sealer struct {
	keys []sealerKey // current first
}

type sealerKey struct {
	id   KeyFileID
	root [rootBytes]byte
	seal *xaes
	body *xaes
}

// NewSealer makes a sealer; the first key is the current one. Ids must differ.
func NewSealer(keys ...SealingKey) (*Sealer, error) {
	if len(keys) == 0 {
		return nil, errors.New("new sealer: no key")
	}
	s := &Sealer{}
	for _, k := range keys {
		if s.find(k.ID) != nil {
			return nil, fmt.Errorf("new sealer: key id %s twice", k.ID)
		}
		sk := sealerKey{id: k.ID, root: k.root}
		for _, sub := range []struct {
			purpose string
			to      **xaes
		}{{purposeSeal, &sk.seal}, {purposeBodyKey, &sk.body}} {
			x, err := newXAES(derive(k.root, sub.purpose))
			if err != nil {
				return nil, fmt.Errorf("new sealer: %w", err)
			}
			*sub.to = x
		}
		s.keys = append(s.keys, sk)
	}
	return s, nil
}

func (s *Sealer) find(id KeyFileID) *sealerKey {
	for i := range s.keys {
		if s.keys[i].id == id {
			return &s.keys[i]
		}
	}
	return nil
}

// derive makes the 32-byte sub-key of root for a purpose (RFC 5869, SHA-256).
func derive(root [rootBytes]byte, purpose string) []byte {
	key, err := hkdf.Key(sha256.New, root[:], nil, purpose, 32)
	if err != nil {
		// Only an output longer than 255 hashes fails (RFC 5869 §2.3); 32 bytes is one.
		return nil
	}
	return key
}

// CurrentID is the id of the key that seals.
func (s *Sealer) CurrentID() KeyFileID { return s.keys[0].id }

// Derive returns the current key's 32-byte sub-key for a purpose, such as the
// MAC of return paths. Equal purposes give equal keys until the sealing key is
// rotated; see DeriveAll.
func (s *Sealer) Derive(purpose string) []byte {
	return derive(s.keys[0].root, "postern use: "+purpose)
}

// DeriveAll returns the sub-key for a purpose of each key, current first: make
// with the first, check with any, so that a rotation invalidates nothing.
func (s *Sealer) DeriveAll(purpose string) [][]byte {
	all := make([][]byte, len(s.keys))
	for i := range s.keys {
		all[i] = derive(s.keys[i].root, "postern use: "+purpose)
	}
	return all
}

// Seal encrypts plain under the current key. aad names what it is for, e.g.
// "dkim_keys/<domain>/<selector>/private": the same must be given to Open, so
// that an envelope cannot be moved to another row.
func (s *Sealer) Seal(plain, aad []byte) ([]byte, error) {
	return s.keys[0].envelope(s.keys[0].seal, plain, aad)
}

// Open decrypts an envelope made by Seal under any of the keys. It returns
// ErrSealed or ErrNoSealingKey.
func (s *Sealer) Open(sealed, aad []byte) ([]byte, error) {
	k, err := s.keyOf(sealed)
	if err != nil {
		return nil, err
	}
	return openEnvelope(k.seal, sealed, aad)
}

// Stale reports whether an envelope was sealed with a key that is no longer
// the current one: re-wrap it.
func (s *Sealer) Stale(sealed []byte) bool {
	k, err := s.keyOf(sealed)
	return err == nil && k.id != s.keys[0].id
}

func (k *sealerKey) envelope(x *xaes, plain, aad []byte) ([]byte, error) {
	out := make([]byte, envelopeHead, envelopeHead+len(plain)+tagBytes)
	out[0] = envelopeVersion
	copy(out[1:], k.id[:])
	nonce := out[1+keyIDBytes : envelopeHead]
	_, _ = rand.Read(nonce) // never fails
	return x.seal(out, nonce, plain, aad)
}

func (s *Sealer) keyOf(sealed []byte) (*sealerKey, error) {
	if len(sealed) < envelopeHead+tagBytes || sealed[0] != envelopeVersion {
		return nil, ErrSealed
	}
	k := s.find(KeyFileID(sealed[1 : 1+keyIDBytes]))
	if k == nil {
		return nil, ErrNoSealingKey
	}
	return k, nil
}

func openEnvelope(x *xaes, sealed, aad []byte) ([]byte, error) {
	plain, err := x.open(sealed[1+keyIDBytes:envelopeHead], sealed[envelopeHead:], aad)
	if err != nil {
		return nil, ErrSealed
	}
	return plain, nil
}
