package people

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
)

// tokenBytes of a session's cookie and of a link: nothing that can be guessed
// (AC-09 asks for 16).
const tokenBytes = 32

// newToken draws a token. The store knows its SHA-256 only.
func newToken() (token secret.Redacted, hash [32]byte) {
	var raw [tokenBytes]byte
	_, _ = rand.Read(raw[:]) // never fails
	text := base64.RawURLEncoding.EncodeToString(raw[:])
	return secret.Redacted(text), sha256.Sum256([]byte(text))
}

// tokenHash is what the store knows of a token; false: it is not one.
func tokenHash(token string) (hash [32]byte, ok bool) {
	if len(token) > 64 {
		return hash, false
	}
	if raw, err := base64.RawURLEncoding.Strict().DecodeString(token); err != nil || len(raw) != tokenBytes {
		return hash, false
	}
	return sha256.Sum256([]byte(token)), true
}

const (
	recoveryCodes = 10
	recoveryBytes = 10 // 80 bits: a fast hash does
)

var recoveryEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// newRecoveryCodes draws ten codes of 80 bits, "abcd-efgh-ijkl-mnop", and their
// hashes.
func newRecoveryCodes(user relay.UserID) (codes []string, hashes [][32]byte) {
	for range recoveryCodes {
		var raw [recoveryBytes]byte
		_, _ = rand.Read(raw[:]) // never fails
		text := recoveryEncoding.EncodeToString(raw[:])
		hashes = append(hashes, recoveryHash(user, text))
		codes = append(codes, text[:4]+"-"+text[4:8]+"-"+text[8:12]+"-"+text[12:])
	}
	return codes, hashes
}

// recoveryHash is what the store knows of a code, however it was typed: equal
// codes of two people hash differently.
func recoveryHash(user relay.UserID, code string) [32]byte {
	if len(code) > 100 {
		code = code[:100]
	}
	code = strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToLower(code))
	return sha256.Sum256([]byte("postern recovery code\x00" + user.String() + "\x00" + code))
}

// A handle holds what a challenge has to remember, sealed, while it is at the
// browser: nothing is kept here for strangers. kind and the value's own members
// say what it is good for.

// sealHandle seals v for a kind of challenge.
func (s *Service) sealHandle(kind string, v any) (string, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	sealed, err := s.cfg.Sealer.Seal(plain, []byte("people/"+kind))
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

const maxHandle = 16 << 10

// openHandle opens what sealHandle made for the same kind.
func (s *Service) openHandle(kind, handle string, v any) bool {
	if len(handle) > maxHandle {
		return false
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(handle)
	if err != nil {
		return false
	}
	plain, err := s.cfg.Sealer.Open(sealed, []byte("people/"+kind))
	return err == nil && json.Unmarshal(plain, v) == nil
}

// onceSet remembers what was used on this node until it has ended anyway.
type onceSet struct {
	mu   sync.Mutex
	seen map[[32]byte]time.Time
}

// maxOnce bounds the set. Full, it takes nothing in, and no challenge counts.
const maxOnce = 100_000

// take reports whether a challenge was not answered before.
func (o *onceSet) take(challenge string, now, until time.Time) bool {
	key := sha256.Sum256([]byte(challenge))
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.seen == nil {
		o.seen = map[[32]byte]time.Time{}
	}
	if _, again := o.seen[key]; again {
		return false
	}
	if len(o.seen) >= maxOnce/2 {
		for k, end := range o.seen {
			if !now.Before(end) {
				delete(o.seen, k)
			}
		}
	}
	if len(o.seen) >= maxOnce {
		return false
	}
	o.seen[key] = until
	return true
}
