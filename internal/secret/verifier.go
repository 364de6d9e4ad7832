package secret

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
)

const (
	// SCRAMIterations is the work factor of a SCRAM verifier. A key has 224 random
	// bits, so it need not slow down guessing; RFC 7677 §4 asks for 4,096 at least.
	SCRAMIterations = 10_000
	// scramSaltBytes is the length of a verifier's own salt.
	scramSaltBytes = 16
)

// Verifier is what is stored of a key: enough to check it, not to use it. Its
// members are those of relay.Verifier, so one converts to the other.
type Verifier struct {
	SHA256          [32]byte
	SCRAMSalt       []byte
	SCRAMIterations int
	SCRAMStoredKey  []byte
	SCRAMServerKey  []byte
	SealedCRAM      []byte
}

// NewVerifier makes the verifier of k with a fresh salt. SealedCRAM stays nil:
// the caller seals k.Text() where CRAM-MD5 is switched on. It takes about 2 ms.
func NewVerifier(k Key) (Verifier, error) {
	salt := make([]byte, scramSaltBytes)
	_, _ = rand.Read(salt) // never fails
	return newVerifier(k, salt, SCRAMIterations)
}

// ErrNoSCRAM: a verifier has no salt and iterations to take over.
var ErrNoSCRAM = errors.New("the old verifier has no SCRAM salt")

// NewVerifierLike makes the verifier of a key's new secret with the salt and
// iterations of the old one. A SCRAM server tells these before it knows which
// of the two secrets a client has, so secrets that are valid at the same time
// must share them. It returns ErrNoSCRAM for a verifier without.
func NewVerifierLike(k Key, old Verifier) (Verifier, error) {
	if len(old.SCRAMSalt) == 0 || old.SCRAMIterations <= 0 {
		return Verifier{}, ErrNoSCRAM
	}
	return newVerifier(k, append([]byte(nil), old.SCRAMSalt...), old.SCRAMIterations)
}

func newVerifier(k Key, salt []byte, iterations int) (Verifier, error) {
	stored, server, err := scramKeys(k.Text().Reveal(), salt, iterations)
	if err != nil {
		return Verifier{}, err
	}
	return Verifier{
		SHA256: k.SHA256(), SCRAMSalt: salt, SCRAMIterations: iterations,
		SCRAMStoredKey: stored, SCRAMServerKey: server,
	}, nil
}

// NewSecret draws another secret for a key that exists: same prefix, same id.
// It returns ErrPrefix.
func NewSecret(prefix string, id [idBytes]byte) (Key, error) {
	if !ValidPrefix(prefix) {
		return Key{}, ErrPrefix
	}
	k := Key{Prefix: prefix, ID: id}
	_, _ = rand.Read(k.secret[:randomBytes]) // never fails
	binary.BigEndian.PutUint32(k.secret[randomBytes:], k.checksum())
	return k, nil
}

// SealCRAM seals the whole text of k, which CRAM-MD5 needs as it is: for
// Verifier.SealedCRAM of keys that have the mechanism switched on. The envelope
// opens for this id and this secret's hash only.
func SealCRAM(s *Sealer, k Key) ([]byte, error) {
	return s.Seal([]byte(k.Text().Reveal()), cramPlace(k.ID, k.SHA256()))
}

// OpenCRAM opens what SealCRAM made, for a key's id and its verifier. It returns
// ErrSealed or ErrNoSealingKey.
func OpenCRAM(s *Sealer, id [idBytes]byte, v Verifier) (Redacted, error) {
	plain, err := s.Open(v.SealedCRAM, cramPlace(id, v.SHA256))
	return Redacted(plain), err
}

func cramPlace(id [idBytes]byte, sum [sha256.Size]byte) []byte {
	return []byte("keys/" + keyEncoding.EncodeToString(id[:]) + "/cram/" + hex.EncodeToString(sum[:]))
}

// scramKeys derives StoredKey and ServerKey (RFC 5802 §3, with SHA-256 as RFC
// 7677). A key is ASCII, so SASLprep leaves it as it is.
func scramKeys(password string, salt []byte, iterations int) (stored, server []byte, err error) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return nil, nil, fmt.Errorf("derive SCRAM keys: %w", err)
	}
	client := mac(salted, "Client Key")
	sum := sha256.Sum256(client)
	return sum[:], mac(salted, "Server Key"), nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
