package sasl

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"postern/internal/secret"
)

// CRAMMD5 is CRAM-MD5 (RFC 2195). The server must keep the secret itself for it,
// and a recorded login can be guessed at: for what can do nothing better.
var CRAMMD5 = Mechanism{Name: cramName, New: func(x Exchange) Server { return &cramServer{x: x} }}

const cramName = "CRAM-MD5"

// cramRandom is the number of random octets in a challenge.
const cramRandom = 16

type cramServer struct {
	x         Exchange
	challenge []byte // nil: none sent
	over      bool
}

// Next implements Server. The server speaks first: an initial response is a
// fault (RFC 4954 §4).
func (s *cramServer) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	switch {
	case s.over:
		return nil, false, ErrOver
	case s.x.CRAM == nil:
		s.over = true
		return nil, false, errUnserved
	case s.challenge == nil && response == nil:
		s.challenge = cramChallenge(s.x.Host)
		return s.challenge, false, nil
	}
	s.over = true
	if s.challenge == nil {
		return nil, false, fmt.Errorf("%s: %w", cramName, ErrMalformed)
	}
	user, digest, ok := parseCRAM(string(response))
	if !ok {
		return nil, false, fmt.Errorf("%s: %w", cramName, ErrMalformed)
	}
	user, err := prepareUser(user)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", cramName, err)
	}
	fits := func(p secret.Redacted) bool {
		return subtle.ConstantTimeCompare([]byte(cramDigest(p.Reveal(), s.challenge)), []byte(digest)) == 1
	}
	if err := s.x.CRAM(ctx, user, fits); err != nil {
		return nil, false, err
	}
	return nil, true, nil
}

// cramChallenge makes a challenge in the form of a message id (RFC 2195 §2).
func cramChallenge(host string) []byte {
	if host == "" {
		host = "localhost"
	}
	var r [cramRandom]byte
	rand.Read(r[:]) // never fails
	return fmt.Appendf(nil, "<%s.%d@%s>", hex.EncodeToString(r[:]), time.Now().Unix(), host)
}

// parseCRAM reads user SP digest; the digest is in lower case (RFC 2195 §2). The
// user may have spaces of its own.
func parseCRAM(s string) (user, digest string, ok bool) {
	i := strings.LastIndexByte(s, ' ')
	if i < 1 {
		return "", "", false
	}
	user, digest = s[:i], s[i+1:]
	return user, digest, len(digest) == 2*md5.Size && strings.Trim(digest, "0123456789abcdef") == ""
}

func cramDigest(password string, challenge []byte) string {
	h := hmac.New(md5.New, []byte(password))
	h.Write(challenge)
	return hex.EncodeToString(h.Sum(nil))
}

// NewCRAMMD5Client logs in with CRAM-MD5.
func NewCRAMMD5Client(user string, password secret.Redacted) Client {
	return &cramClient{user: user, password: password}
}

type cramClient struct {
	user     string
	password secret.Redacted
	over     bool
}

// Start implements Client.
func (c *cramClient) Start() (string, []byte, error) {
	if !validIdentity(c.user) || c.password == "" {
		return "", nil, fmt.Errorf("CRAM-MD5 client: %w", ErrMalformed)
	}
	return cramName, nil, nil
}

// Next implements Client.
func (c *cramClient) Next(challenge []byte) ([]byte, error) {
	if c.over || len(challenge) == 0 {
		return nil, fmt.Errorf("CRAM-MD5 client: unexpected challenge: %w", ErrMalformed)
	}
	c.over = true
	return []byte(c.user + " " + cramDigest(c.password.Reveal(), challenge)), nil
}
