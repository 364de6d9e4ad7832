package secret

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
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
	stored, server, err := scramKeys(k.Text().Reveal(), salt, SCRAMIterations)
	if err != nil {
		return Verifier{}, err
	}
	return Verifier{
		SHA256: k.SHA256(), SCRAMSalt: salt, SCRAMIterations: SCRAMIterations,
		SCRAMStoredKey: stored, SCRAMServerKey: server,
	}, nil
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
