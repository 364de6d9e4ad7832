package v3

import (
	"net/netip"
	"slices"

	"postern/internal/relay"
)

// TenantServices is what subusers, IP access, tokens and records need.
type TenantServices struct {
	Subusers    SubuserStore
	AccessLists AccessStore
	// ShutsOut reports whether a list refuses an address: the judgement that a login
	// from there would meet.
	ShutsOut func(list *relay.AccessList, addr netip.Addr) bool
}

var tenantRoutes = slices.Concat(subuserRoutes, creditRoutes, subuserPlanRoutes, accessRoutes)
