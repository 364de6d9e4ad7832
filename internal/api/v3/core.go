package v3

import (
	"context"
	"slices"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

// CoreServices is what keys, scopes and the user's own settings need.
type CoreServices struct {
	Keys     Keys
	Settings Settings
	Ledger   Ledger
	Uses     Uses
	// SealCRAM seals a whole key for CRAM-MD5; nil: the mechanism is off everywhere.
	SealCRAM func(secret.Key) ([]byte, error)
	// KeyPrefix starts new keys.
	KeyPrefix string
	// MaxKeys is how many keys a tenant may have before no more can be made over the
	// network; 0: 100, as SendGrid. The operator may make more.
	MaxKeys int
	// AppPasswords: keys of that kind may be made.
	AppPasswords bool
	// Issuers are the URLs of the outside issuers whose tokens are taken.
	Issuers []string
}

// Keys keeps keys; *store.Store is one. Each change is one transaction with its
// change record; absent keys are relay.NotFound.
type Keys interface {
	Key(ctx context.Context, id relay.KeyID) (relay.Key, error)
	// Keys are all of an account, its subusers' and revoked ones too, oldest first.
	Keys(ctx context.Context, account relay.AccountID) ([]relay.Key, error)
	// CreateKeyWithin: relay.Forbidden if the tenant has most keys that are not revoked;
	// 0: as many as it likes.
	CreateKeyWithin(ctx context.Context, by store.By, k relay.Key, most int) error
	// SwapKey: relay.Conflict if the key is not was any more.
	SwapKey(ctx context.Context, by store.By, was, k relay.Key) error
	RotateKey(ctx context.Context, by store.By, id relay.KeyID, v relay.Verifier, at, previousUntil time.Time) error
	SetKeyDisabled(ctx context.Context, by store.By, id relay.KeyID, at time.Time) error
	RevokeKey(ctx context.Context, by store.By, id relay.KeyID, at time.Time) error
}

// Settings keeps what accounts and subusers say of themselves; *store.Store is
// one. A taken name is relay.Conflict, and so is a swap that came too late
// (store.ErrMeanwhile).
type Settings interface {
	Account(ctx context.Context, id relay.AccountID) (relay.Account, error)
	SwapAccount(ctx context.Context, by store.By, was, a relay.Account) error
	Subuser(ctx context.Context, id relay.SubuserID) (relay.Subuser, error)
	SwapSubuser(ctx context.Context, by store.By, was, s relay.Subuser) error
}

// Ledger knows what was used; *credit.Ledger is one. Subuser and key may be nil.
type Ledger interface {
	Usage(ctx context.Context, account relay.Account, subuser *relay.Subuser, key *relay.Key) ([]relay.Usage, error)
}

// Uses tells who used a key and how much; *store.Store is one.
type Uses interface {
	KeyUsers(ctx context.Context, id relay.KeyID, since time.Time) ([]store.KeyUser, error)
	Used(ctx context.Context, subject relay.ID, sinceMinute, sinceDay int64) (store.Used, error)
}

// defaultMaxKeys is SendGrid's.
const defaultMaxKeys = 100

var coreRoutes = slices.Concat(keyRoutes, userRoutes, documentRoutes, []Route{
	{
		Method: "GET", Pattern: "/v3/scopes", Summary: "What the calling key may do",
		Answers: map[int]any{200: scopesView{}}, Handler: (*API).listScopes,
	},
})

type scopesView struct {
	Scopes []string `json:"scopes"`
}

func (a *API) listScopes(c *Call) error {
	scopes := c.Scopes()
	if scopes == nil {
		scopes = []string{}
	}
	return c.JSON(200, scopesView{scopes})
}
