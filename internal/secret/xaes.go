package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
)

// xaesNonce is the nonce length of XAES-256-GCM.
const xaesNonce = 24

// xaes is XAES-256-GCM (C2SP): AES-256-GCM under a key derived from the first
// half of a 24-byte nonce. Plain AES-GCM allows 2^32 random nonces a key (NIST
// SP 800-38D §8.3), which is days of mail for the key that wraps body keys;
// this one has no limit that matters, for two more AES blocks.
type xaes struct {
	block cipher.Block
	k1    [aes.BlockSize]byte
}

func newXAES(key []byte) (*xaes, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	x := &xaes{block: block}
	block.Encrypt(x.k1[:], x.k1[:])
	var msb byte // doubling in GF(2^128), as CMAC's first subkey (SP 800-38B §6.1)
	for i := len(x.k1) - 1; i >= 0; i-- {
		msb, x.k1[i] = x.k1[i]>>7, x.k1[i]<<1|msb
	}
	x.k1[len(x.k1)-1] ^= msb * 0b1000_0111
	return x, nil
}

// aead derives the one-nonce AES-256-GCM.
func (x *xaes) aead(nonce []byte) (cipher.AEAD, error) {
	var key [2 * aes.BlockSize]byte
	copy(key[:], []byte{0, 1, 'X', 0})
	copy(key[4:], nonce[:12])
	copy(key[16:], []byte{0, 2, 'X', 0})
	copy(key[20:], nonce[:12])
	for half := key[:]; len(half) > 0; half = half[aes.BlockSize:] {
		subtle.XORBytes(half, half[:aes.BlockSize], x.k1[:])
		x.block.Encrypt(half, half[:aes.BlockSize])
	}
	return newGCM(key[:])
}

func (x *xaes) seal(dst, nonce, plain, aad []byte) ([]byte, error) {
	gcm, err := x.aead(nonce)
	if err != nil {
		return nil, err
	}
	return gcm.Seal(dst, nonce[12:], plain, aad), nil
}

func (x *xaes) open(nonce, sealed, aad []byte) ([]byte, error) {
	gcm, err := x.aead(nonce)
	if err != nil {
		return nil, err
	}
	return gcm.Open(nil, nonce[12:], sealed, aad)
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
