package sasl

import (
	"context"
	"fmt"
)

// External is EXTERNAL (RFC 4422 appendix A): the client is who its certificate
// says.
var External = Mechanism{Name: externalName, Needs: Needs{Certificate: true}, New: func(x Exchange) Server { return &externalServer{x: x} }}

const externalName = "EXTERNAL"

type externalServer struct {
	x           Exchange
	asked, over bool
}

// Next implements Server. The message is the authorization identity; an empty one
// asks for that of the certificate.
func (s *externalServer) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	switch {
	case s.over:
		return nil, false, ErrOver
	case s.x.External == nil:
		s.over = true
		return nil, false, errUnserved
	case response == nil && !s.asked:
		s.asked = true
		return []byte{}, false, nil
	}
	s.over = true
	authzid := string(response)
	if authzid != "" {
		var err error
		if authzid, err = prepareUser(authzid); err != nil {
			return nil, false, fmt.Errorf("%s: %w", externalName, err)
		}
	}
	if err := s.x.External(ctx, authzid); err != nil {
		return nil, false, err
	}
	return nil, true, nil
}

// NewExternalClient logs in with EXTERNAL, as authzid, or with "" as who the
// client's certificate says.
func NewExternalClient(authzid string) Client { return &externalClient{authzid} }

type externalClient struct{ authzid string }

// Start implements Client.
func (c *externalClient) Start() (string, []byte, error) {
	if c.authzid != "" && !validIdentity(c.authzid) {
		return "", nil, fmt.Errorf("EXTERNAL client: %w", ErrMalformed)
	}
	return externalName, []byte(c.authzid), nil
}

// Next implements Client.
func (c *externalClient) Next([]byte) ([]byte, error) {
	return nil, fmt.Errorf("EXTERNAL client: unexpected challenge: %w", ErrMalformed)
}
