package identity

import (
	"context"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// Source is where the Directory reads from; *store.Store is one.
type Source interface {
	Snapshot(ctx context.Context) (*store.Snapshot, error)
	Revision() int64
	Changed() <-chan struct{}
	LastChecked() time.Time
}

// Snapshot is what changed after a revision, or everything.
type Snapshot struct {
	Revision, Since int64
	Full            bool
	Accounts        []relay.Account
	Subusers        []relay.Subuser
	Keys            []relay.Key
	Pools           []relay.Pool
	Domains         []relay.Domain
	DKIMKeys        []relay.DKIMKey
	Access          []relay.AccessList
	RevokedTokens   map[relay.TokenID]time.Time
}

type feed interface {
	Snapshot(ctx context.Context, since int64) (*Snapshot, error)
	Revision() int64
	Changed() <-chan struct{}
	LastChecked() time.Time
}

type whole struct{ Source }

func (w whole) Snapshot(ctx context.Context, _ int64) (*Snapshot, error) {
	s, err := w.Source.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return &Snapshot{Revision: s.Revision, Full: true, Accounts: s.Accounts, Subusers: s.Subusers, Keys: s.Keys,
		Pools: s.Pools, Domains: s.Domains, DKIMKeys: s.DKIMKeys}, nil
}
