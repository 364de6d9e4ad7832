package sasl

import (
	"bytes"
	"context"
	"fmt"
	"unicode/utf8"

	"postern/internal/secret"
)

// Plain is the mechanism PLAIN (RFC 4616).
var Plain = Mechanism{Name: "PLAIN", New: func(x Exchange) Server { return &plainServer{x: x} }}

type plainServer struct {
	x     Exchange
	asked bool
	over  bool
}

func (s *plainServer) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	switch {
	case s.over:
		return nil, false, ErrOver
	case s.x.Authenticate == nil:
		s.over = true
		return nil, false, errUnserved
	}
	if response == nil && !s.asked {
		s.asked = true
		return []byte{}, false, nil
	}
	s.over = true
	c, err := parsePlain(response)
	if err != nil {
		return nil, false, err
	}
	if err := s.x.Authenticate(ctx, c); err != nil {
		return nil, false, err
	}
	return nil, true, nil
}

// parsePlain reads [authzid] NUL authcid NUL passwd (RFC 4616 §2): exactly two
// NULs, the last two parts not empty. An authzid that is not the authcid is
// refused here, so that no backend can take it for one (RFC 4616 §2 leaves the
// decision to the server). Both strings are prepared, as §2 asks.
func parsePlain(p []byte) (Credentials, error) {
	parts := bytes.Split(p, []byte{0})
	if len(parts) != 3 {
		return Credentials{}, fmt.Errorf("PLAIN: %w", ErrMalformed)
	}
	if !validSecret(parts[2]) {
		return Credentials{}, fmt.Errorf("PLAIN: %w", ErrMalformed)
	}
	authzid, user, err := preparePair(string(parts[0]), string(parts[1]))
	if err != nil {
		return Credentials{}, fmt.Errorf("PLAIN: %w", err)
	}
	password, err := Prepare(string(parts[2]))
	if err != nil {
		return Credentials{}, fmt.Errorf("PLAIN: %w", err)
	}
	return Credentials{Mechanism: "PLAIN", Authzid: authzid, User: user, Secret: secret.Redacted(password)}, nil
}

// validIdentity bounds what is looked up and recorded: UTF-8 without control
// octets, 1 to MaxIdentity octets.
func validIdentity(s string) bool {
	if s == "" || len(s) > MaxIdentity || !utf8.ValidString(s) {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// validSecret: RFC 4616 §2 has UTF-8 without NUL, and not empty.
func validSecret(p []byte) bool {
	return len(p) > 0 && utf8.Valid(p) && bytes.IndexByte(p, 0) < 0
}

// NewPlainClient logs in with PLAIN.
func NewPlainClient(user string, password secret.Redacted) Client {
	return &plainClient{user: user, password: password}
}

type plainClient struct {
	user     string
	password secret.Redacted
}

func (c *plainClient) Start() (string, []byte, error) {
	if !validIdentity(c.user) || !validSecret([]byte(c.password.Reveal())) {
		return "", nil, fmt.Errorf("PLAIN client: %w", ErrMalformed)
	}
	return "PLAIN", []byte("\x00" + c.user + "\x00" + c.password.Reveal()), nil
}

func (c *plainClient) Next([]byte) ([]byte, error) {
	return nil, fmt.Errorf("PLAIN client: unexpected challenge: %w", ErrMalformed)
}
