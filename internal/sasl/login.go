package sasl

import (
	"context"
	"fmt"

	"postern/internal/secret"
)

// Login is the mechanism LOGIN (draft-murchison-sasl-login), which many
// clients still prefer: two prompts, or one where the user name came along as
// initial response.
var Login = Mechanism{Name: "LOGIN", New: func(x Exchange) Server { return &loginServer{x: x} }}

// The prompts that clients compare with.
const (
	loginUser     = "Username:"
	loginPassword = "Password:"
)

type loginServer struct {
	x    Exchange
	step int // 0 nothing yet, 1 asked for the name, 2 asked for the password, 3 over
	user string
}

func (s *loginServer) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	switch {
	case s.x.Authenticate == nil && s.step < 3:
		s.step = 3
		return nil, false, errUnserved
	case s.step == 0 && response == nil:
		s.step = 1
		return []byte(loginUser), false, nil
	case s.step <= 1:
		s.step = 3
		user, err := prepareUser(string(response))
		if err != nil {
			return nil, false, fmt.Errorf("LOGIN: %w", err)
		}
		s.user, s.step = user, 2
		return []byte(loginPassword), false, nil
	case s.step == 2:
		s.step = 3
		if !validSecret(response) {
			return nil, false, fmt.Errorf("LOGIN: %w", ErrMalformed)
		}
		password, err := Prepare(string(response))
		if err != nil {
			return nil, false, fmt.Errorf("LOGIN: %w", err)
		}
		c := Credentials{Mechanism: "LOGIN", User: s.user, Secret: secret.Redacted(password)}
		if err := s.x.Authenticate(ctx, c); err != nil {
			return nil, false, err
		}
		return nil, true, nil
	}
	return nil, false, ErrOver
}

// NewLoginClient logs in with LOGIN. It answers the two prompts in their order,
// whatever their words.
func NewLoginClient(user string, password secret.Redacted) Client {
	return &loginClient{answers: []string{user, password.Reveal()}}
}

type loginClient struct{ answers []string }

func (c *loginClient) Start() (string, []byte, error) { return "LOGIN", nil, nil }

func (c *loginClient) Next([]byte) ([]byte, error) {
	if len(c.answers) == 0 {
		return nil, fmt.Errorf("LOGIN client: unexpected challenge: %w", ErrMalformed)
	}
	answer := c.answers[0]
	c.answers = c.answers[1:]
	return []byte(answer), nil
}
