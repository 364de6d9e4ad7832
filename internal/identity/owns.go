package identity

import "postern/internal/relay"

// HasDomain reports whether a tenant has a domain that it may send as.
func (d *Directory) HasDomain(t relay.Tenant) bool {
	for dm := range d.AllDomains() {
		if dm.Account == t.Account && !dm.System && dm.Usable() && dm.OpenTo(t) {
			return true
		}
	}
	return false
}
