package identity

import (
	"net/netip"
	"slices"

	"postern/internal/relay"
)

// PoolAddresses lists the source addresses that an account's mail may leave
// from: those of its own pools and of the shared ones, sorted. None: the system
// chooses. It looks at every pool.
func (d *Directory) PoolAddresses(account relay.AccountID) []netip.Addr {
	var out []netip.Addr
	for _, p := range d.state.Load().pools.all() {
		if !p.DisabledAt.IsZero() || !p.Account.IsZero() && p.Account != account {
			continue
		}
		for _, a := range p.Addresses {
			if a.DisabledAt.IsZero() {
				out = append(out, a.Address)
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}
