package identity

import (
	"strings"
	"time"

	"postern/internal/relay"
)

// Key returns a key by its public id. The value is immutable.
func (d *Directory) Key(id relay.KeyID) (*relay.Key, bool) {
	k, ok := d.state.Load().keys[id]
	return k, ok
}

// Account returns an account.
func (d *Directory) Account(id relay.AccountID) (relay.Account, bool) {
	if a, ok := d.state.Load().accounts[id]; ok {
		return *a, true
	}
	return relay.Account{}, false
}

// Subuser returns a subuser.
func (d *Directory) Subuser(id relay.SubuserID) (relay.Subuser, bool) {
	if s, ok := d.state.Load().subusers[id]; ok {
		return *s, true
	}
	return relay.Subuser{}, false
}

// Sending reports whether a tenant's mail may be taken and may leave; if not, why.
func (d *Directory) Sending(t relay.Tenant) (ok bool, why string) {
	st := d.state.Load()
	a := st.accounts[t.Account]
	switch {
	case a == nil:
		return false, "the account no longer exists"
	case !a.DisabledAt.IsZero():
		return false, "the account is disabled"
	case t.Subuser.IsZero():
		return true, ""
	}
	s := st.subusers[t.Subuser]
	switch {
	case s == nil || s.Account != t.Account:
		return false, "the subuser no longer exists"
	case !s.DisabledAt.IsZero():
		return false, "the subuser is disabled"
	}
	return true, ""
}

// Pool returns a pool.
func (d *Directory) Pool(id relay.PoolID) (relay.Pool, bool) {
	if p, ok := d.state.Load().pools[id]; ok {
		return *p, true
	}
	return relay.Pool{}, false
}

// DefaultPool is the pool of a tenant's mail that names none: the subuser's,
// the account's, else the installation's.
func (d *Directory) DefaultPool(t relay.Tenant) (relay.Pool, bool) {
	st := d.state.Load()
	ids := []relay.PoolID{st.shared}
	if a := st.accounts[t.Account]; a != nil {
		ids = append([]relay.PoolID{a.DefaultPool}, ids...)
	}
	if s := st.subusers[t.Subuser]; s != nil {
		ids = append([]relay.PoolID{s.DefaultPool}, ids...)
	}
	for _, id := range ids {
		if p := st.pools[id]; p != nil && p.DisabledAt.IsZero() {
			return *p, true
		}
	}
	return relay.Pool{}, false
}

// PoolNamed finds a pool that an account may name: its own, else a shared one.
func (d *Directory) PoolNamed(account relay.AccountID, name string) (relay.Pool, bool) {
	var found *relay.Pool
	for _, p := range d.state.Load().pools {
		if p.Name != name || !p.DisabledAt.IsZero() {
			continue
		}
		if p.Account == account {
			return *p, true
		}
		if p.Account.IsZero() {
			found = p
		}
	}
	if found == nil {
		return relay.Pool{}, false
	}
	return *found, true
}

// DomainFor finds the usable domain of a tenant that covers name (A-label,
// lower case): the name itself, or the nearest parent that was given with its
// subdomains.
func (d *Directory) DomainFor(t relay.Tenant, name string) (relay.Domain, bool) {
	st := d.state.Load()
	for at, exact := name, true; at != ""; exact = false {
		for _, dm := range st.domains[at] {
			if dm.Account == t.Account && dm.Usable() && (exact || dm.Subdomains) && shares(dm, t.Subuser) {
				return *dm, true
			}
		}
		_, parent, ok := strings.Cut(at, ".")
		if !ok {
			break
		}
		at = parent
	}
	return relay.Domain{}, false
}

// shares reports whether a domain is open to a subuser: the account itself
// always has it; named subusers only, where some are named.
func shares(d *relay.Domain, s relay.SubuserID) bool {
	if s.IsZero() || len(d.Subusers) == 0 {
		return true
	}
	for _, id := range d.Subusers {
		if id == s {
			return true
		}
	}
	return false
}

// Domain returns a domain by its id.
func (d *Directory) Domain(id relay.DomainID) (relay.Domain, bool) {
	if dm, ok := d.state.Load().byID[id]; ok {
		return *dm, true
	}
	return relay.Domain{}, false
}

// System returns the account and domain of postern's own mail.
func (d *Directory) System() (relay.Account, relay.Domain, bool) {
	st := d.state.Load()
	if st.sysAcct == nil || st.system == nil {
		return relay.Account{}, relay.Domain{}, false
	}
	return *st.sysAcct, *st.system, true
}

// IsReturnPath reports whether a host is the return path of any domain, or the
// system domain itself.
func (d *Directory) IsReturnPath(host string) bool {
	st := d.state.Load()
	if st.system != nil && (st.system.Name == host || st.system.ReturnPath == host) {
		return true
	}
	return st.returnPaths()[host]
}

func (s *state) returnPaths() map[string]bool {
	s.rpOnce.Do(func() {
		s.rp = map[string]bool{}
		for _, d := range s.byID {
			if d.ReturnPath != "" {
				s.rp[d.ReturnPath] = true
			}
		}
	})
	return s.rp
}

// DKIMKeys returns a domain's keys that sign now.
func (d *Directory) DKIMKeys(id relay.DomainID) []relay.DKIMKey {
	var out []relay.DKIMKey
	for _, k := range d.state.Load().dkim[id] {
		if k.Active && k.RetiredAt.IsZero() {
			out = append(out, k)
		}
	}
	return out
}

// Alive reports whether a key may be used at now, and if not, in which way not.
func (d *Directory) Alive(k *relay.Key, now time.Time) relay.LoginResult {
	switch {
	case k.Canary:
		return relay.LoginCanary
	case !k.RevokedAt.IsZero():
		return relay.LoginRevoked
	case !k.DisabledAt.IsZero():
		return relay.LoginDisabled
	case !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt):
		return relay.LoginExpired
	}
	if ok, _ := d.Sending(relay.Tenant{Account: k.Account, Subuser: k.Subuser}); !ok {
		return relay.LoginDisabled
	}
	return relay.LoginOK
}
