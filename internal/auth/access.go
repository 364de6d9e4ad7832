package auth

import (
	"context"
	"net/netip"
	"time"

	"postern/internal/relay"
)

// HostSet says which addresses host names have now; *Hosts is one.
type HostSet interface {
	// Contains reports whether addr is one of the addresses of host. A name that
	// cannot be resolved has none.
	Contains(ctx context.Context, host string, addr netip.Addr) bool
}

// Activity takes the addresses that tried; *store.Store is one. It never blocks.
type Activity interface {
	RecordAccess(relay.AccessSeen)
}

// inNetworks reports whether an address is in one of the networks; none at all
// is everywhere. IPv4-mapped addresses and zones count as what they stand for.
func inNetworks(nets []netip.Prefix, addr netip.Addr) bool {
	return len(nets) == 0 || within(nets, normal(addr))
}

func within(nets []netip.Prefix, addr netip.Addr) bool {
	for _, n := range nets {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// atHome reports whether a key may be used from an address: inside its networks
// or among the addresses of its hosts, or anywhere if it has neither.
func (a *Authenticator) atHome(ctx context.Context, k *relay.Key, addr netip.Addr) bool {
	if len(k.Networks) == 0 && len(k.Hosts) == 0 {
		return true
	}
	addr = normal(addr)
	return within(k.Networks, addr) || amongHosts(ctx, k.Hosts, addr, a.cfg.Hosts)
}

// amongHosts reports whether an address is one of the hosts'. However many of
// them are new, it waits for their addresses no longer than for one.
func amongHosts(ctx context.Context, names []string, addr netip.Addr, hosts HostSet) bool {
	if len(names) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, hostFirstWait)
	defer cancel()
	for _, h := range names {
		if hosts.Contains(ctx, h, addr) {
			return true
		}
	}
	return false
}

// listed reports whether a list lets an address in. A list without rules lets
// everybody in.
func listed(ctx context.Context, l *relay.AccessList, addr netip.Addr, hosts HostSet) bool {
	if len(l.Rules) == 0 {
		return true
	}
	addr = normal(addr)
	var names []string
	for i := range l.Rules { // networks first: they cost nothing
		if n := l.Rules[i].Network; n.IsValid() && n.Contains(addr) {
			return true
		}
		if h := l.Rules[i].Host; h != "" {
			names = append(names, h)
		}
	}
	return amongHosts(ctx, names, addr, hosts)
}

// accessFrom judges an address by the lists of a key's account and subuser: both
// must let it in. would names a list that only watches and would have refused.
func (a *Authenticator) accessFrom(ctx context.Context, k *relay.Key, addr netip.Addr, now time.Time) (ok bool, would string) {
	account, subuser := a.cfg.Directory.AccessLists(relay.Tenant{Account: k.Account, Subuser: k.Subuser})
	ok = true
	for i, l := range [...]*relay.AccessList{account, subuser} {
		if l == nil {
			continue
		}
		l = l.At(now)
		if l == nil || listed(ctx, l, addr, a.cfg.Hosts) {
			continue
		}
		if !l.Monitor {
			return false, ""
		}
		would = [...]string{"access list of the account", "access list of the subuser"}[i]
	}
	return ok, would
}

// ShutsOut reports whether a list, if it counted from now on, would refuse an
// address: what a change is asked before it shuts its own author out. Lists
// without rules and lists that only watch refuse nobody, and who comes without
// an address (by admin.sock) is always let in. hosts may be nil: host names then
// let nobody in.
func ShutsOut(ctx context.Context, l *relay.AccessList, addr netip.Addr, hosts HostSet) bool {
	if l == nil || l.Monitor || !addr.IsValid() {
		return false
	}
	if hosts == nil {
		hosts = noHosts{}
	}
	return !listed(ctx, l, addr, hosts)
}

// noHosts knows no names.
type noHosts struct{}

func (noHosts) Contains(context.Context, string, netip.Addr) bool { return false }
