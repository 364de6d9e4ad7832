// Package sasl holds the mechanisms of SMTP AUTH (RFC 4422, RFC 4954): for a
// server that lets clients in, and for a client that logs in elsewhere. It
// knows messages, not lines: base64 and the AUTH command belong to the caller.
//
// Mechanisms are data. A server is given a list of them; a new mechanism is a
// new Mechanism value and, where it needs to know more than a password check
// can tell, a new member of Exchange. Nothing here reads a store, logs, or
// keeps a secret beyond the exchange.
package sasl

import (
	"context"
	"errors"

	"postern/internal/secret"
)

// MaxIdentity is the length in octets of the longest authorization or
// authentication identity that is looked at.
const MaxIdentity = 320

// The ways in which an exchange fails before any secret is judged.
var (
	// ErrMalformed: the client's message is not one of the mechanism's.
	ErrMalformed = errors.New("malformed response")
	// ErrAuthzid: the client asked to act as someone other than the identity it
	// proves (RFC 4422 §3.4.1). Nothing was looked up.
	ErrAuthzid = errors.New("authorization identity differs from authentication identity")
	// ErrOver: the exchange had already ended.
	ErrOver = errors.New("exchange is over")
)

// Credentials are what a client offers as its proof.
type Credentials struct {
	Mechanism string
	Authzid   string // empty, or equal to User
	User      string
	Secret    secret.Redacted
}

// Exchange is what a mechanism may ask of its server while a client logs in.
type Exchange struct {
	// Authenticate judges credentials: nil lets the client in. Any error ends the
	// exchange and is returned by Next as it is.
	Authenticate func(context.Context, Credentials) error
}

// Server is the server's side of one exchange.
type Server interface {
	// Next takes the client's next message, decoded. The first call has nil where
	// the client sent no initial response, and an empty slice where it sent an
	// empty one. Next returns the challenge to send, or done (and no challenge)
	// when the client is in. An error ends the exchange.
	Next(ctx context.Context, response []byte) (challenge []byte, done bool, err error)
}

// Mechanism is one way to log in.
type Mechanism struct {
	Name string // as announced, upper case
	// New starts an exchange.
	New func(Exchange) Server
}

// Client is the client's side of one exchange.
type Client interface {
	// Start returns the mechanism's name and the initial response; nil for none.
	Start() (mechanism string, initial []byte, err error)
	// Next answers a challenge of the server, decoded.
	Next(challenge []byte) (response []byte, err error)
}
