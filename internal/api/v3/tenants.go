package v3

// TenantServices is what subusers, IP access, tokens and records need.
type TenantServices struct{}

var tenantRoutes []Route
