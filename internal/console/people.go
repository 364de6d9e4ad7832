package console

import (
	"context"
	"net/netip"
	"net/url"

	"postern/internal/relay"
	"postern/internal/secret"
)

// Visitor is who sent a request, before it is known which person that is.
type Visitor struct {
	Addr                 netip.Addr
	Agent, TLS, Listener string
	Host                 string
}

// Visit is a session that lives and its person.
type Visit struct {
	Session relay.Session
	User    relay.User
}

// Enrolment is what an authenticator app has to be given.
type Enrolment struct{ Secret, URI string }

// Newcomer is what a person chooses who comes by an invitation.
type Newcomer struct {
	Username, FirstName, LastName string
	Password                      secret.Redacted
}

// People logs persons in and keeps their factors and sessions.
type People interface {
	LoginPassword(ctx context.Context, v Visitor, name string, pw secret.Redacted) (secret.Redacted, relay.Session, error)
	LoginTOTP(ctx context.Context, v Visitor, token secret.Redacted, code string) (secret.Redacted, relay.Session, error)
	LoginRecovery(ctx context.Context, v Visitor, token secret.Redacted, code string) (secret.Redacted, relay.Session, error)
	BeginPasskeyLogin(ctx context.Context, v Visitor, token secret.Redacted) (options []byte, handle string, err error)
	LoginPasskey(ctx context.Context, v Visitor, token secret.Redacted, handle string, response []byte) (secret.Redacted, relay.Session, error)
	Open(ctx context.Context, v Visitor, token secret.Redacted) (*Visit, error)
	Principal(ctx context.Context, visit *Visit) (*relay.Principal, error)
	Logout(ctx context.Context, token secret.Redacted) error

	Sessions(ctx context.Context, user relay.UserID) ([]relay.Session, error)
	EndSession(ctx context.Context, visit *Visit, id relay.SessionID) error
	EndOthers(ctx context.Context, visit *Visit) (int, error)

	Reauth(ctx context.Context, v Visitor, token secret.Redacted, pw secret.Redacted, code string) (secret.Redacted, relay.Session, error)
	BeginReauthPasskey(ctx context.Context, v Visitor, token secret.Redacted) (options []byte, handle string, err error)
	ReauthPasskey(ctx context.Context, v Visitor, token secret.Redacted, handle string, response []byte) (secret.Redacted, relay.Session, error)

	BeginTOTP(ctx context.Context, visit *Visit) (Enrolment, error)
	EnableTOTP(ctx context.Context, v Visitor, token secret.Redacted, code string) (secret.Redacted, []string, error)
	DisableTOTP(ctx context.Context, visit *Visit) error
	NewRecoveryCodes(ctx context.Context, visit *Visit) ([]string, error)
	BeginPasskey(ctx context.Context, visit *Visit) (options []byte, handle string, err error)
	AddPasskey(ctx context.Context, v Visitor, token secret.Redacted, handle, name string, response []byte) (secret.Redacted, []string, error)
	Passkeys(ctx context.Context, visit *Visit) ([]relay.Passkey, error)
	RenamePasskey(ctx context.Context, visit *Visit, id []byte, name string) error
	RemovePasskey(ctx context.Context, visit *Visit, id []byte) error

	ChangePassword(ctx context.Context, visit *Visit, old, pw secret.Redacted) error
	SetName(ctx context.Context, visit *Visit, first, last string) error
	AskEmail(ctx context.Context, visit *Visit, email string) error
	ConfirmEmail(ctx context.Context, v Visitor, token string) error

	LookLink(ctx context.Context, token string) (relay.Link, error)
	Accept(ctx context.Context, v Visitor, token string, n Newcomer) (secret.Redacted, relay.Session, error)
	AskReset(ctx context.Context, v Visitor, email string) error
	Reset(ctx context.Context, v Visitor, token string, pw secret.Redacted) error

	BeginOIDC(ctx context.Context, v Visitor, issuer, next string) (to, cookie string, err error)
	FinishOIDC(ctx context.Context, v Visitor, cookie string, query url.Values) (token secret.Redacted, s relay.Session, next string, err error)
	Issuers() []string
	// CheckPassword says in words what is wrong with a password; own are names that
	// it must not be made of.
	CheckPassword(pw secret.Redacted, own []string) []string
}
