package console

import (
	"context"
	"net/url"

	"postern/internal/api/v3"
	"postern/internal/people"
	"postern/internal/relay"
	"postern/internal/secret"
)

// What People and API speak.
type (
	Visitor   = people.Visitor
	Visit     = people.Visit
	Enrolment = people.Enrolment
	Newcomer  = people.Newcomer
	OIDCStart = people.OIDCStart
	SignOn    = people.SignOn
	Request   = v3.Request
)

// People logs persons in and keeps their factors and sessions; *people.Service is
// one.
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
	BeginReauthPasskey(ctx context.Context, visit *Visit) (options []byte, handle string, err error)
	ReauthPasskey(ctx context.Context, v Visitor, token secret.Redacted, handle string, response []byte) (secret.Redacted, relay.Session, error)

	BeginTOTP(ctx context.Context, visit *Visit) (Enrolment, error)
	EnableTOTP(ctx context.Context, v Visitor, token secret.Redacted, code string) (secret.Redacted, []string, error)
	DisableTOTP(ctx context.Context, visit *Visit) error
	NewRecoveryCodes(ctx context.Context, visit *Visit) ([]string, error)
	BeginPasskey(ctx context.Context, visit *Visit) (options []byte, handle string, err error)
	AddPasskey(ctx context.Context, v Visitor, token secret.Redacted, handle, name string, response []byte) (secret.Redacted, []string, error)
	Passkeys(ctx context.Context, user relay.UserID) ([]relay.Passkey, error)
	RenamePasskey(ctx context.Context, visit *Visit, id []byte, name string) error
	RemovePasskey(ctx context.Context, visit *Visit, id []byte) error

	SignOns(ctx context.Context, u *relay.User) ([]SignOn, error)
	RemoveSignOn(ctx context.Context, visit *Visit, id string) error

	ChangePassword(ctx context.Context, visit *Visit, old, pw secret.Redacted) error
	SetName(ctx context.Context, visit *Visit, first, last string) error
	AskEmail(ctx context.Context, visit *Visit, email string) error
	ConfirmEmail(ctx context.Context, v Visitor, token secret.Redacted) error

	LookLink(ctx context.Context, token secret.Redacted) (relay.Link, error)
	Accept(ctx context.Context, v Visitor, token secret.Redacted, n Newcomer) (secret.Redacted, relay.Session, error)
	AskReset(ctx context.Context, v Visitor, email string) error
	Reset(ctx context.Context, v Visitor, token, pw secret.Redacted) error

	BeginOIDC(ctx context.Context, v Visitor, start OIDCStart) (to, cookie string, err error)
	FinishOIDC(ctx context.Context, v Visitor, cookie string, query url.Values) (token secret.Redacted, s relay.Session, next string, err error)
	// Issuers are the names of those of an account; of the zero account: all.
	Issuers(account relay.AccountID) []string
	// CheckPassword says in words what is wrong with a password; own are names that
	// it must not be made of.
	CheckPassword(pw secret.Redacted, own []string) ([]string, error)
	// OwnNames are a person's.
	OwnNames(u *relay.User) []string
}
