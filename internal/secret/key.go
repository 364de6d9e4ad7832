package secret

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
)

const (
	// DefaultPrefix starts a key unless the installation chose another.
	DefaultPrefix = "SG"

	idBytes      = 16
	idChars      = 22 // base64url of 16 bytes
	randomBytes  = 28 // of the secret part; a CRC-32 follows
	secretBytes  = 32
	secretChars  = 43 // base64url of 32 bytes
	maxPrefixLen = 16
)

// The ways in which a string is not a key. All match ErrMalformed.
var (
	// ErrMalformed: the text is not a well-formed key. It was decided without
	// looking anything up, so it says nothing about which keys exist.
	ErrMalformed = errors.New("not a well-formed key")
	// ErrKeyPrefix: the text starts with another prefix.
	ErrKeyPrefix = fmt.Errorf("%w: other prefix", ErrMalformed)
	// ErrKeyShape: lengths, dots or alphabet are wrong.
	ErrKeyShape = fmt.Errorf("%w: wrong shape", ErrMalformed)
	// ErrKeyChecksum: the shape is right and the checksum is not: a typing error
	// or an invented key.
	ErrKeyChecksum = fmt.Errorf("%w: wrong checksum", ErrMalformed)
	// ErrPrefix: a prefix that no key can have.
	ErrPrefix = errors.New("a key prefix is 1 to 16 letters and digits, letter first")
)

// keyEncoding accepts one spelling only: no padding, no stray trailing bits.
var keyEncoding = base64.RawURLEncoding.Strict()

// Key is an API key in its parts. It prints as its prefix and id only.
type Key struct {
	Prefix string
	ID     [idBytes]byte // public
	secret [secretBytes]byte
}

// ValidPrefix reports whether a key may start with p: 1 to 16 ASCII letters
// and digits, the first a letter.
func ValidPrefix(p string) bool {
	if len(p) == 0 || len(p) > maxPrefixLen || !isLetter(p[0]) {
		return false
	}
	for i := range len(p) {
		if !isLetter(p[i]) && (p[i] < '0' || p[i] > '9') {
			return false
		}
	}
	return true
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// GenerateKey draws a new key. Its id starts with a letter, so that the id can
// stand where a user name must not start with a digit, '-' or '_'.
func GenerateKey(prefix string) (Key, error) {
	if !ValidPrefix(prefix) {
		return Key{}, ErrPrefix
	}
	k := Key{Prefix: prefix}
	for {
		_, _ = rand.Read(k.ID[:]) // never fails: crypto/rand ends the process instead
		if isLetter(keyEncoding.EncodeToString(k.ID[:1])[0]) {
			break
		}
	}
	_, _ = rand.Read(k.secret[:randomBytes])
	binary.BigEndian.PutUint32(k.secret[randomBytes:], k.checksum())
	return k, nil
}

// checksum is the CRC-32 (IEEE) over prefix, id and the random bytes.
func (k *Key) checksum() uint32 {
	sum := crc32.ChecksumIEEE([]byte(k.Prefix))
	sum = crc32.Update(sum, crc32.IEEETable, k.ID[:])
	return crc32.Update(sum, crc32.IEEETable, k.secret[:randomBytes])
}

// ParseKey reads "<prefix>.<22>.<43>". Only the spelling that Text writes is
// accepted; the checksum must fit. The error matches ErrMalformed and never
// contains s.
func ParseKey(s, prefix string) (Key, error) {
	if len(s) < len(prefix)+1 || s[:len(prefix)] != prefix || s[len(prefix)] != '.' {
		return Key{}, ErrKeyPrefix
	}
	rest := s[len(prefix)+1:]
	if len(rest) != idChars+1+secretChars || rest[idChars] != '.' {
		return Key{}, ErrKeyShape
	}
	// The decoder skips CR and LF wherever they stand, which would be a second
	// spelling; the exact decoded length below refuses it.
	k := Key{Prefix: prefix}
	if n, err := keyEncoding.Decode(k.ID[:], []byte(rest[:idChars])); err != nil || n != idBytes {
		return Key{}, ErrKeyShape
	}
	if !isLetter(rest[0]) {
		return Key{}, ErrKeyShape
	}
	if n, err := keyEncoding.Decode(k.secret[:], []byte(rest[idChars+1:])); err != nil || n != secretBytes {
		return Key{}, ErrKeyShape
	}
	if binary.BigEndian.Uint32(k.secret[randomBytes:]) != k.checksum() {
		return Key{}, ErrKeyChecksum
	}
	return k, nil
}

// Text is the whole key as the client writes it.
func (k Key) Text() Redacted {
	return Redacted(k.Prefix + "." + k.IDText() + "." + keyEncoding.EncodeToString(k.secret[:]))
}

// IDText is the public part: 22 characters of base64url.
func (k Key) IDText() string { return keyEncoding.EncodeToString(k.ID[:]) }

// SHA256 is the hash of the secret part (28 random bytes and their CRC): what
// is stored, and what a login is compared with. A fast hash is enough: the
// secret has 224 random bits.
func (k Key) SHA256() [32]byte { return sha256.Sum256(k.secret[:]) }

// VerifySHA256 reports in constant time whether k's secret has the stored hash.
func VerifySHA256(k Key, want [32]byte) bool {
	have := k.SHA256()
	return subtle.ConstantTimeCompare(have[:], want[:]) == 1
}

// String names the key without its secret.
func (k Key) String() string { return k.Prefix + "." + k.IDText() + "." + redactedText }

// Format implements fmt.Formatter: no verb shows the secret.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// LogValue implements slog.LogValuer.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText implements encoding.TextMarshaler, without the secret.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }
