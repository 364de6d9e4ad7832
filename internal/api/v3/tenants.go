package v3

import (
	"context"
	"net/netip"
	"slices"

	"postern/internal/relay"
	"postern/internal/store"
)

// TenantServices is what subusers, IP access, tokens and records need.
type TenantServices struct {
	Subusers    SubuserStore
	Warmups     WarmupStore
	AccessLists AccessStore
	// ShutsOut reports whether a list, if it counted from now on, would refuse an
	// address. Host names are resolved, so it may take time.
	ShutsOut func(ctx context.Context, list *relay.AccessList, addr netip.Addr) bool
	Bans     BanList
	// RecordChange puts a change that is not the store's own into its account's
	// record; nil: such changes stand in the log of requests only.
	RecordChange func(ctx context.Context, by store.By, c relay.Change) error
	Records      RecordStore
	// CursorKey signs the cursors of records: the same on all nodes, and after a
	// restart.
	CursorKey []byte
	Tokens    Tokens
	Revoked   RevokedTokens
}

var tenantRoutes = slices.Concat(subuserRoutes, creditRoutes, subuserPlanRoutes, accessRoutes, banRoutes, loginRoutes, changeRoutes, proofRoutes, tokenRoutes, warmupRoutes)
