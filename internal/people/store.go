package people

import (
	"context"
	"net/netip"
	"time"

	"postern/internal/auth"
	"postern/internal/relay"
	"postern/internal/store"
)

// Store keeps people and what is theirs; *store.Store does. Its errors are
// relay.NotFound and relay.Conflict; each call is one transaction.
type Store interface {
	UserStore
	SessionStore
	LinkStore
	FactorStore
	IssuanceStore
}

// UserStore keeps persons.
type UserStore interface {
	CreateUser(ctx context.Context, by store.By, u relay.User) error
	// User finds deleted and disabled people too.
	User(ctx context.Context, id relay.UserID) (relay.User, error)
	// UserNamed finds by username or e-mail address, in any case.
	UserNamed(ctx context.Context, name string) (relay.User, error)
	// SetGrant: relay.Conflict unless the person has the grant was. It writes nothing
	// else of them.
	SetGrant(ctx context.Context, by store.By, id relay.UserID, was, to store.Grant) error
	// SetUserName sets first and last name, and nothing else.
	SetUserName(ctx context.Context, by store.By, id relay.UserID, first, last string) error
	DeleteUser(ctx context.Context, by store.By, id relay.UserID, at time.Time, seen ...store.Grant) error
	// SetPassword ends all sessions but keep, and unused reset links.
	SetPassword(ctx context.Context, by store.By, id relay.UserID, hash string, at time.Time, keep relay.SessionID) error
	// RehashPassword replaces the hash if it still is old; it ends nothing.
	RehashPassword(ctx context.Context, id relay.UserID, old, hash string) error
}

// SessionStore keeps sessions, found by the SHA-256 of their token.
type SessionStore interface {
	CreateSession(ctx context.Context, s relay.Session, hash [32]byte) error
	SessionByHash(ctx context.Context, hash [32]byte) (relay.Session, relay.User, error)
	Sessions(ctx context.Context, user relay.UserID) ([]relay.Session, error)
	ReplaceSession(ctx context.Context, old relay.SessionID, s relay.Session, hash [32]byte) error
	UpdateSession(ctx context.Context, s relay.Session) error
	// TrySession counts a try of the second factor before it is looked at.
	TrySession(ctx context.Context, id relay.SessionID) (tries int, err error)
	TouchSession(ctx context.Context, id relay.SessionID, at time.Time) error
	// EndSession and EndSessions with the zero By stand in no change record.
	EndSession(ctx context.Context, by store.By, user relay.UserID, id relay.SessionID) error
	EndSessions(ctx context.Context, by store.By, user relay.UserID, keep relay.SessionID) (int, error)
}

// LinkStore keeps one-time links. A new link ends the unused ones that are alike.
type LinkStore interface {
	CreateLink(ctx context.Context, by store.By, l relay.Link) error
	LinkByHash(ctx context.Context, hash [32]byte) (relay.Link, error)
	Links(ctx context.Context, account relay.AccountID, kinds ...relay.LinkKind) ([]relay.Link, error)
	DeleteLinks(ctx context.Context, by store.By, of relay.Tenant, email string, kind relay.LinkKind) error
	// AcceptLink uses a setup or invite link and makes its person. What the person
	// may do is taken from the link, whatever u says.
	AcceptLink(ctx context.Context, by store.By, hash [32]byte, u relay.User, at time.Time) error
	// ResetByLink uses a reset link and sets the password, which ends all sessions.
	ResetByLink(ctx context.Context, by store.By, hash [32]byte, passwordHash string, at time.Time) (relay.User, error)
	// ConfirmEmail uses an email link and sets the address. It returns the person as
	// they were before.
	ConfirmEmail(ctx context.Context, by store.By, hash [32]byte, at time.Time) (before relay.User, err error)
}

// FactorStore keeps second factors.
type FactorStore interface {
	// SetTOTP ends all sessions but keep where the new app takes another one's place.
	SetTOTP(ctx context.Context, by store.By, id relay.UserID, sealed []byte, step int64, at time.Time, keep relay.SessionID, rules ...store.FactorRule) error
	// RemoveTOTP and DeletePasskey end all sessions but keep and, where no factor is
	// left, the recovery codes, in the same transaction.
	RemoveTOTP(ctx context.Context, by store.By, id relay.UserID, keep relay.SessionID, rules ...store.FactorRule) error
	// UseTOTPStep: relay.Conflict unless the step is later than the last one used.
	UseTOTPStep(ctx context.Context, id relay.UserID, step int64) error
	SetRecoveryCodes(ctx context.Context, by store.By, id relay.UserID, hashes [][32]byte) error
	// UseRecoveryCode works once for each: then relay.NotFound.
	UseRecoveryCode(ctx context.Context, by store.By, id relay.UserID, hash [32]byte, at time.Time) (left int, err error)
	AddPasskey(ctx context.Context, by store.By, p relay.Passkey, rules ...store.FactorRule) error
	Passkeys(ctx context.Context, user relay.UserID) ([]relay.Passkey, error)
	PasskeyByID(ctx context.Context, id []byte) (relay.Passkey, error)
	// UsePasskey: relay.Conflict for a challenge that was answered before, on whatever
	// node, and for a record that has changed since it was judged by.
	UsePasskey(ctx context.Context, use store.PasskeyUse) error
	RenamePasskey(ctx context.Context, by store.By, user relay.UserID, id []byte, name string) error
	DeletePasskey(ctx context.Context, by store.By, user relay.UserID, id []byte, keep relay.SessionID, may store.WayIn, rules ...store.FactorRule) error
}

// IssuanceStore keeps who people are at issuers of single sign-on.
type IssuanceStore interface {
	// AddIssuance: relay.Conflict if the pair is somebody's.
	AddIssuance(ctx context.Context, by store.By, i relay.Issuance) error
	IssuanceUser(ctx context.Context, issuer, subject string) (relay.User, error)
	Issuances(ctx context.Context, user relay.UserID) ([]relay.Issuance, error)
	// DeleteIssuance ends all sessions but keep.
	DeleteIssuance(ctx context.Context, by store.By, user relay.UserID, issuer, subject string, keep relay.SessionID, may store.WayIn) error
	TouchIssuance(ctx context.Context, issuer, subject string, at time.Time) error
	// MarkBrought changes who invited those of an account whose mark is was.
	MarkBrought(ctx context.Context, account relay.AccountID, was, mark string) error
}

// Door guards against guessing, and writes the login record;
// *auth.Authenticator does.
type Door interface {
	PersonAllowed(ctx context.Context, t auth.PersonTry) error
	PersonAdmitted(ctx context.Context, t auth.PersonTry) (ok bool, note string)
	// PersonDone returns what to answer instead of a refusal, if anything.
	PersonDone(ctx context.Context, t auth.PersonTry, result relay.LoginResult, detail string) (instead error)
	PersonForgiven(id relay.UserID)
	// PersonStanding says how a try stands in the line before a password is compared.
	PersonStanding(t auth.PersonTry) auth.PersonStanding
	// PersonKnown says whether the person has logged in from there before.
	PersonKnown(t auth.PersonTry) bool
}

// byUser is how a person stands in the change record.
func byUser(u *relay.User, addr netip.Addr) store.By {
	return store.By{Who: "user " + u.Username, From: addr.String()}
}

// byVisit is byUser for a change that is made only while the visit's session goes on:
// otherwise ErrSession.
func byVisit(visit *Visit) store.By {
	by := byUser(&visit.User, visit.visitor.Addr)
	by.Session = visit.Session.ID
	return by
}
