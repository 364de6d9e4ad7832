package identity

import (
	"maps"
	"slices"
	"time"

	"postern/internal/relay"
)

// EndedTrials are the access lists whose trial nobody confirmed in time: what was
// before them counts already, and should be made the list again.
func (d *Directory) EndedTrials(now time.Time) []relay.AccessList {
	var out []relay.AccessList
	for _, l := range d.state.Load().access.all() {
		if l.At(now) != l {
			out = append(out, *l)
		}
	}
	return out
}

// HostNames are the names that keys and access lists let in, each once. It looks
// at every key: for the start, not for every login.
func (d *Directory) HostNames() []string {
	st := d.state.Load()
	seen := map[string]bool{}
	for _, k := range st.keys.all() {
		if k.RevokedAt.IsZero() {
			for _, h := range k.Hosts {
				seen[h] = true
			}
		}
	}
	for _, l := range st.access.all() {
		for _, r := range l.Rules {
			if r.Host != "" {
				seen[r.Host] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// DeletedTenants are the subusers that were deleted, whose mail is to go.
func (d *Directory) DeletedTenants() []relay.Tenant {
	var out []relay.Tenant
	for _, s := range d.state.Load().subusers.all() {
		if !s.DeletedAt.IsZero() {
			out = append(out, relay.Tenant{Account: s.Account, Subuser: s.ID})
		}
	}
	return out
}
