package v3

import "slices"

// API answers the routes.
type API struct{ Services }

// Services is what the API acts on: each group of routes names what it needs in
// its own file.
type Services struct {
	CoreServices
	TenantServices
	MailServices
}

// Routes is the whole API.
func Routes() []Route { return slices.Concat(coreRoutes, tenantRoutes, mailRoutes) }
