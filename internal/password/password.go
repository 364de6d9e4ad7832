// Package password hashes people's passwords with Argon2id and judges new ones by
// the rules of NIST SP 800-63B-4 §3.1.1. It is for what people choose; keys are
// random, and need no slow hash.
//
// Its invariant: however many ask, no more memory is used than for twice as many
// hashes as may run at once; and checking the password of somebody who does not exist is
// the same work as of somebody who does.
package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"postern/internal/secret"
)

// MaxLength is the longest password that is looked at, in octets.
const MaxLength = 1000

// Errors.
var (
	// ErrBusy: too many hashes are being made; try again.
	ErrBusy = errors.New("too many passwords are being checked")
	// ErrHash: a stored hash is not one that Verify understands.
	ErrHash = errors.New("not an Argon2id hash in PHC form")
)

// Params are what a hash costs (RFC 9106 §3.1).
type Params struct {
	Memory  uint32 // KiB
	Time    uint32 // passes
	Threads uint8
}

// DefaultParams are well above the least that OWASP recommends (46 MiB in one
// pass, or 19 MiB in two).
var DefaultParams = Params{Memory: 64 << 10, Time: 2, Threads: 1}

// What a stored hash may ask for: a damaged row must not take all memory.
const (
	mostMemory  = 1 << 20 // KiB
	mostTime    = 16
	mostThreads = 16
	saltBytes   = 16
	hashBytes   = 32
)

// Config sets a Hasher up. Zero members take the default in brackets.
type Config struct {
	Params  Params        // [DefaultParams]
	AtOnce  int           // hashes at once [as many as processors, at most 4]
	Waiting int           // callers that wait for their turn [64]; more get ErrBusy
	Wait    time.Duration // how long one waits [5 s]
}

// Hasher makes and checks hashes. It may be used from any goroutine.
type Hasher struct {
	cfg     Config
	turns   chan struct{}
	waiting atomic.Int64
	dummy   phc
	litter  litter
}

// New makes a Hasher.
func New(cfg Config) *Hasher {
	if cfg.Params == (Params{}) {
		cfg.Params = DefaultParams
	}
	if cfg.AtOnce == 0 {
		cfg.AtOnce = min(4, runtime.GOMAXPROCS(0))
	}
	if cfg.Waiting == 0 {
		cfg.Waiting = 64
	}
	if cfg.Wait == 0 {
		cfg.Wait = 5 * time.Second
	}
	h := &Hasher{cfg: cfg, turns: make(chan struct{}, cfg.AtOnce)}
	// Nothing hashes to this but by chance of 2^-256, and who cannot be logged in as
	// does not mind.
	h.dummy = phc{Params: cfg.Params, salt: make([]byte, saltBytes), hash: make([]byte, hashBytes)}
	_, _ = rand.Read(h.dummy.salt) // never fails
	_, _ = rand.Read(h.dummy.hash)
	return h
}

// Hash makes the PHC string of a password:
// "$argon2id$v=19$m=65536,t=2,p=1$<salt>$<hash>". It returns ErrBusy, or why ctx
// has ended.
func (h *Hasher) Hash(ctx context.Context, password secret.Redacted) (string, error) {
	p := phc{Params: h.cfg.Params, salt: make([]byte, saltBytes)}
	_, _ = rand.Read(p.salt) // never fails
	hash, err := h.compute(ctx, p, password, hashBytes)
	if err != nil {
		return "", err
	}
	p.hash = hash
	return p.String(), nil
}

// Verify compares a password with a stored hash. Where there is none ("": nobody
// by that name, or somebody without a password), or the password is too long, the
// work is done all the same and the answer is no. stale: the hash was made with
// other parameters than are used now. It returns ErrBusy, ErrHash, or why ctx has
// ended.
func (h *Hasher) Verify(ctx context.Context, stored string, password secret.Redacted) (ok, stale bool, err error) {
	against, real := h.dummy, false
	if stored != "" {
		p, err := parsePHC(stored)
		if err != nil {
			return false, false, err
		}
		against, real = p, true
	}
	if len(password) > MaxLength {
		password, real = password[:MaxLength], false
	}
	got, err := h.compute(ctx, against, password, uint32(len(against.hash)))
	if err != nil {
		return false, false, err
	}
	same := subtle.ConstantTimeCompare(got, against.hash) == 1
	return same && real, against.Params != h.cfg.Params, nil
}

// compute waits for its turn and hashes.
func (h *Hasher) compute(ctx context.Context, p phc, password secret.Redacted, size uint32) ([]byte, error) {
	if err := h.enter(ctx); err != nil {
		return nil, err
	}
	defer func() { <-h.turns }()
	defer func() { h.litter.left(int64(p.Memory)<<10, int64(h.cfg.AtOnce)*int64(h.cfg.Params.Memory)<<10) }()
	return argon2.IDKey([]byte(Normal(password.Reveal())), p.salt, p.Time, p.Memory, p.Threads, size), nil
}

func (h *Hasher) enter(ctx context.Context) error {
	select {
	case h.turns <- struct{}{}:
		return nil
	default:
	}
	if h.waiting.Add(1) > int64(h.cfg.Waiting) {
		h.waiting.Add(-1)
		return ErrBusy
	}
	defer h.waiting.Add(-1)
	timer := time.NewTimer(h.cfg.Wait)
	defer timer.Stop()
	select {
	case h.turns <- struct{}{}:
		return nil
	case <-timer.C:
		return ErrBusy
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Normal is a password as it is hashed: NFKC, so that keyboards which compose
// characters differently write the same one (SP 800-63B-4 §3.1.1.2).
func Normal(password string) string {
	if !utf8.ValidString(password) {
		return password
	}
	return norm.NFKC.String(password)
}

// phc is a hash taken apart.
type phc struct {
	Params
	salt, hash []byte
}

var b64 = base64.RawStdEncoding.Strict()

func (p phc) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.Memory, p.Time, p.Threads, b64.EncodeToString(p.salt), b64.EncodeToString(p.hash))
}

// parsePHC reads what String writes. Parameters that no hash of ours has are
// refused before anything is computed.
func parsePHC(s string) (phc, error) {
	parts := strings.Split(s, "$")
	if len(s) > 512 || len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return phc{}, ErrHash
	}
	var p phc
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.Memory, &p.Time, &p.Threads); err != nil || n != 3 {
		return phc{}, ErrHash
	}
	var err error
	if p.salt, err = b64.DecodeString(parts[4]); err != nil {
		return phc{}, ErrHash
	}
	if p.hash, err = b64.DecodeString(parts[5]); err != nil {
		return phc{}, ErrHash
	}
	switch {
	case p.Memory < 8 || p.Memory > mostMemory, p.Time < 1 || p.Time > mostTime, p.Threads < 1 || p.Threads > mostThreads,
		len(p.salt) < 8 || len(p.salt) > 64, len(p.hash) < 16 || len(p.hash) > 64, p.String() != s:
		return phc{}, ErrHash
	}
	return p, nil
}
