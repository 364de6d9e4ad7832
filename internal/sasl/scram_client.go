package sasl

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"postern/internal/secret"
)

// The iterations that a client of SCRAM takes from a server: fewer would give
// the secret away to a false one (RFC 7677 §4), more would keep the client busy.
const (
	minIterations = 4096
	maxIterations = 1_000_000
)

// SCRAMBinding says what a client of SCRAM does about channel binding.
type SCRAMBinding struct {
	// Name and Data are of one type of channel binding: SCRAM-SHA-256-PLUS. Empty:
	// SCRAM-SHA-256.
	Name string
	Data []byte
	// Unoffered: the client would have used SCRAM-SHA-256-PLUS, but the server did
	// not announce it. A server that did will find the lie.
	Unoffered bool
}

// NewSCRAMClient logs in with SCRAM-SHA-256 or SCRAM-SHA-256-PLUS.
func NewSCRAMClient(user string, password secret.Redacted, b SCRAMBinding) Client {
	var nonce [scramNonce]byte
	rand.Read(nonce[:]) // never fails
	return newSCRAMClient(user, password, b, base64.StdEncoding.EncodeToString(nonce[:]))
}

func newSCRAMClient(user string, password secret.Redacted, b SCRAMBinding, nonce string) *scramClient {
	return &scramClient{user: user, password: password, binding: b, nonce: nonce}
}

type scramClient struct {
	user     string
	password secret.Redacted
	binding  SCRAMBinding
	nonce    string
	step     int // 0 nothing yet, 1 client-first sent, 2 client-final sent, 3 the server proved itself

	header, bare string
	signature    []byte // the server's, as it must be
}

// Start implements Client.
func (c *scramClient) Start() (string, []byte, error) {
	user, err := prepareUser(c.user)
	if err != nil || c.password == "" {
		return "", nil, fmt.Errorf("SCRAM client: %w", errors.Join(ErrMalformed, err))
	}
	name := scramName
	switch {
	case c.binding.Name != "" && len(c.binding.Data) > 0:
		name, c.header = scramPlusName, "p="+c.binding.Name+",,"
	case c.binding.Unoffered:
		c.header = "y,,"
	default:
		c.header = "n,,"
	}
	c.bare, c.step = "n="+encodeName(user)+",r="+c.nonce, 1
	return name, []byte(c.header + c.bare), nil
}

// Next implements Client.
func (c *scramClient) Next(challenge []byte) ([]byte, error) {
	step := c.step
	c.step = 0
	switch {
	case step == 1 && len(challenge) > 0:
		return c.prove(string(challenge))
	case step == 2:
		return c.check(string(challenge))
	}
	return nil, fmt.Errorf("SCRAM client: unexpected challenge: %w", ErrMalformed)
}

// Done reports whether the server has proven that it knows the secret.
func (c *scramClient) Done() error {
	if c.step != 3 {
		return errors.New("SCRAM client: the server did not prove that it knows the secret")
	}
	return nil
}

// prove answers server-first-message.
func (c *scramClient) prove(msg string) ([]byte, error) {
	parts := strings.Split(msg, ",")
	if len(parts) < 3 || !optional(parts[3:]) {
		return nil, fmt.Errorf("SCRAM client: server's first message: %w", ErrMalformed)
	}
	nonce, ok1 := strings.CutPrefix(parts[0], "r=")
	salt64, ok2 := strings.CutPrefix(parts[1], "s=")
	count, ok3 := strings.CutPrefix(parts[2], "i=")
	if !ok1 || !ok2 || !ok3 || !validNonce(nonce) || !strings.HasPrefix(nonce, c.nonce) || len(nonce) == len(c.nonce) {
		return nil, fmt.Errorf("SCRAM client: server's first message: %w", ErrMalformed)
	}
	salt, err := decodeBase64(salt64)
	if err != nil {
		return nil, fmt.Errorf("SCRAM client: salt: %w", ErrMalformed)
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < minIterations || n > maxIterations {
		return nil, fmt.Errorf("SCRAM client: %.20q iterations: want %d to %d", count, minIterations, maxIterations)
	}
	password, err := Prepare(c.password.Reveal())
	if err != nil {
		return nil, fmt.Errorf("SCRAM client: password: %w", err)
	}
	salted, err := pbkdf2.Key(sha256.New, password, salt, n, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("SCRAM client: %w", err)
	}
	bound := []byte(c.header)
	if c.header[0] == 'p' {
		bound = append(bound, c.binding.Data...)
	}
	without := "c=" + base64.StdEncoding.EncodeToString(bound) + ",r=" + nonce
	spoken := []byte(c.bare + "," + msg + "," + without)
	key := sum256(salted, []byte("Client Key"))
	stored := sha256.Sum256(key)
	subtle.XORBytes(key, key, sum256(stored[:], spoken))
	c.signature = sum256(sum256(salted, []byte("Server Key")), spoken)
	c.step = 2
	return []byte(without + ",p=" + base64.StdEncoding.EncodeToString(key)), nil
}

// check takes server-final-message.
func (c *scramClient) check(msg string) ([]byte, error) {
	parts := strings.Split(msg, ",")
	v, ok := strings.CutPrefix(parts[0], "v=")
	if !ok || !optional(parts[1:]) {
		return nil, fmt.Errorf("SCRAM client: server's last message %.60q: %w", msg, ErrMalformed)
	}
	got, err := decodeBase64(v)
	if err != nil || subtle.ConstantTimeCompare(got, c.signature) == 0 {
		return nil, errors.New("SCRAM client: the server's proof is wrong: it does not know the secret")
	}
	c.step = 3
	return []byte{}, nil
}
