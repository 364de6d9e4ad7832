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
	"fmt"
	"slices"

	"postern/internal/secret"
)

// MaxIdentity is the length in octets of the longest authorization or
// authentication identity that is looked at.
const MaxIdentity = 320

// The ways in which an exchange fails before any secret is judged.
var (
	// ErrMalformed: the client's message is not one of the mechanism's.
	ErrMalformed = errors.New("malformed response")
	// ErrRefused is the kind of the errors below it: the message is well-formed, and
	// nobody can come in by it.
	ErrRefused = errors.New("refused")
	// ErrAuthzid: the client asked to act as someone other than the identity it
	// proves (RFC 4422 §3.4.1).
	ErrAuthzid = fmt.Errorf("%w: authorization identity differs from authentication identity", ErrRefused)
	// ErrProhibited: a user name or secret that SASLprep forbids (RFC 4013 §2.3).
	ErrProhibited = fmt.Errorf("%w: prohibited characters", ErrRefused)
	// ErrBinding: the two sides do not see the same TLS, or were not offered the same
	// mechanisms (RFC 5802 §6): somebody may sit between them.
	ErrBinding = fmt.Errorf("%w: channel binding does not match", ErrRefused)
	// ErrElsewhere: OAUTHBEARER's host or port are another server's (RFC 7628 §3.1).
	ErrElsewhere = fmt.Errorf("%w: meant for another server", ErrRefused)
	// ErrNoToken: a client of OAUTHBEARER that only asks what it would need (RFC
	// 7628 §4.3).
	ErrNoToken = fmt.Errorf("%w: no token", ErrRefused)
	// ErrOver: the exchange had already ended.
	ErrOver = errors.New("exchange is over")
)

// errUnserved: a mechanism was started in an Exchange that lacks what it asks.
var errUnserved = errors.New("the server does not serve this mechanism")

// Credentials are what a client offers as its proof.
type Credentials struct {
	Mechanism string
	Authzid   string // empty, or equal to User
	User      string
	Secret    secret.Redacted
}

// Exchange is what a mechanism may ask of its server while a client logs in. A
// member that is nil is something that the server does not do: mechanisms that
// need it are not offered. Errors that these functions return end the exchange,
// and Next returns them as they are.
type Exchange struct {
	// Authenticate judges credentials (PLAIN, LOGIN): nil lets the client in.
	Authenticate func(context.Context, Credentials) error

	// SCRAM returns what is stored of a user. It always answers: of a user who is
	// unknown, or may not use SCRAM, the same made-up values every time (RFC 5802
	// §9), with no Keys that anything fits.
	SCRAM func(ctx context.Context, user string) SCRAMUser
	// Proved ends an exchange in which the mechanism itself checked the proof
	// (SCRAM). It is called for failures too, and then does not return nil.
	Proved func(context.Context, Proof) error

	// CRAM judges a CRAM-MD5 response: fits reports whether a secret makes it.
	CRAM func(ctx context.Context, user string, fits func(secret.Redacted) bool) error

	// Bearer judges a token (XOAUTH2, OAUTHBEARER).
	Bearer func(context.Context, Bearer) error

	// External judges what the session proved by other means: its client
	// certificate. authzid is who the client wants to be; "" is who it is.
	External func(ctx context.Context, authzid string) error

	// Binding returns channel binding data of the session's TLS by the name of its
	// type: tls-exporter (RFC 9266), tls-server-end-point (RFC 5929), tls-unique.
	Binding func(name string) ([]byte, bool)
	// Plus: SCRAM-SHA-256-PLUS was announced, so that a client that says the server
	// has no channel binding has been lied to (RFC 5802 §6).
	Plus bool
	// Host and Port are how clients reach the server, for what OAUTHBEARER says of
	// them; "" and 0 are not compared.
	Host string
	Port int
	// KnownAs reports other names and addresses by which clients reach the server;
	// nil: there are none.
	KnownAs func(host string) bool
}

// SCRAMUser is what a server keeps of a user of SCRAM. Secrets that are valid at
// the same time (a key and its predecessor) share salt and iterations.
type SCRAMUser struct {
	Salt       []byte
	Iterations int
	Keys       []SCRAMKeys
}

// SCRAMKeys are StoredKey and ServerKey of one secret (RFC 5802 §3).
type SCRAMKeys struct{ StoredKey, ServerKey []byte }

// Proof is how a SCRAM exchange ended.
type Proof struct {
	Mechanism string
	User      string
	Authzid   string // empty, or equal to User
	Key       int    // index into SCRAMUser.Keys of the secret that was proven; -1: none
}

// Bearer is a token that a client offers.
type Bearer struct {
	Mechanism string
	User      string // user= of XOAUTH2, a= of OAUTHBEARER (decoded); may be empty
	Token     secret.Redacted
}

// Server is the server's side of one exchange.
type Server interface {
	// Next takes the client's next message, decoded. The first call has nil where
	// the client sent no initial response, and an empty slice where it sent an
	// empty one. Next returns the challenge to send, or done (and no challenge)
	// when the client is in. An error ends the exchange. Where a challenge comes with
	// an error that is final, the mechanism wants it to be sent, and the client's
	// next message to be read and ignored, before the client learns of its failure
	// (RFC 7628 §3.2.3); a failure that is temporary is told at once.
	Next(ctx context.Context, response []byte) (challenge []byte, done bool, err error)
}

// Mechanism is one way to log in.
type Mechanism struct {
	Name  string // as announced, upper case
	Needs Needs
	// New starts an exchange.
	New func(Exchange) Server
}

// All are the mechanisms that a server can offer, in the order to announce them
// in: strongest first, since many clients take the first that they know.
var All = []Mechanism{SCRAMSHA256Plus, SCRAMSHA256, External, OAuthBearer, XOAuth2, Plain, Login, CRAMMD5}

// Named returns the mechanisms with these names, in the order of All. An unknown
// name is an error.
func Named(names []string) ([]Mechanism, error) {
	list := []Mechanism{} // empty, not nil: none
	for _, m := range All {
		if slices.Contains(names, m.Name) {
			list = append(list, m)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(All, func(m Mechanism) bool { return m.Name == name }) {
			return nil, fmt.Errorf("there is no mechanism %q", name)
		}
	}
	return list, nil
}

// Needs are what a session must have for a mechanism to be of use in it.
type Needs struct {
	Binding     bool // Exchange.Binding, with at least one type
	Certificate bool // a certificate of the client's
}

// Client is the client's side of one exchange. One with a method Done() error
// takes a success of the server's for one only if Done returns nil (SCRAM: the
// server has to prove itself as well).
type Client interface {
	// Start returns the mechanism's name and the initial response; nil for none.
	Start() (mechanism string, initial []byte, err error)
	// Next answers a challenge of the server, decoded.
	Next(challenge []byte) (response []byte, err error)
}
