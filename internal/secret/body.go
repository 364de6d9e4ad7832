package secret

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
)

// ChunkOverhead is how much longer a sealed chunk is than its text.
const ChunkOverhead = tagBytes

// BodyKey encrypts the chunks of one message and no other. Because the key is
// fresh for each message, a chunk's number can be its nonce.
type BodyKey struct {
	raw  [32]byte
	aead cipher.AEAD
}

// NewBodyKey draws the key of a new message.
func NewBodyKey() (*BodyKey, error) {
	k := &BodyKey{}
	_, _ = rand.Read(k.raw[:]) // never fails
	var err error
	k.aead, err = newGCM(k.raw[:])
	return k, err
}

// WrapBodyKey seals a body key under the current sealing key. aad binds it to
// its message.
func (s *Sealer) WrapBodyKey(k *BodyKey, aad []byte) ([]byte, error) {
	return s.keys[0].envelope(s.keys[0].body, k.raw[:], aad)
}

// UnwrapBodyKey opens what WrapBodyKey made. It returns ErrSealed or
// ErrNoSealingKey.
func (s *Sealer) UnwrapBodyKey(sealed, aad []byte) (*BodyKey, error) {
	sk, err := s.keyOf(sealed)
	if err != nil {
		return nil, err
	}
	raw, err := openEnvelope(sk.body, sealed, aad)
	if err != nil {
		return nil, err
	}
	k := &BodyKey{}
	if len(raw) != len(k.raw) {
		return nil, ErrSealed
	}
	copy(k.raw[:], raw)
	k.aead, err = newGCM(k.raw[:])
	return k, err
}

// SealChunk appends to dst the sealed chunk number seq of message id. A number
// must be used once per key.
func (k *BodyKey) SealChunk(dst []byte, id [16]byte, seq uint32, plain []byte) []byte {
	nonce, aad := chunkNames(id, seq)
	return k.aead.Seal(dst, nonce[:], plain, aad[:])
}

// OpenChunk appends the text of a sealed chunk to dst. It returns ErrSealed
// when any octet was changed, or the chunk is another's.
func (k *BodyKey) OpenChunk(dst []byte, id [16]byte, seq uint32, sealed []byte) ([]byte, error) {
	nonce, aad := chunkNames(id, seq)
	plain, err := k.aead.Open(dst, nonce[:], sealed, aad[:])
	if err != nil {
		return nil, ErrSealed
	}
	return plain, nil
}

func chunkNames(id [16]byte, seq uint32) (nonce [12]byte, aad [20]byte) {
	binary.BigEndian.PutUint32(nonce[8:], seq)
	copy(aad[:], id[:])
	binary.BigEndian.PutUint32(aad[16:], seq)
	return nonce, aad
}
