package identity

import (
	"time"

	"postern/internal/relay"
)

// Account returns an account.
func (d *Directory) Account(id relay.AccountID) (relay.Account, bool) {
	return valueOf(d.state.Load().accounts.at(id))
}

// AccountNamed returns the account with a name, compared exactly.
func (d *Directory) AccountNamed(name string) (relay.Account, bool) {
	st := d.state.Load()
	id, ok := st.accountNames.get(name)
	if !ok {
		return relay.Account{}, false
	}
	return valueOf(st.accounts.at(id))
}

// Subuser returns a subuser, a deleted one too.
func (d *Directory) Subuser(id relay.SubuserID) (relay.Subuser, bool) {
	return valueOf(d.state.Load().subusers.at(id))
}

// SubuserNamed returns the subuser with a name, compared exactly; deleted ones
// have none.
func (d *Directory) SubuserNamed(name string) (relay.Subuser, bool) {
	st := d.state.Load()
	id, ok := st.subuserNames.get(name)
	if !ok {
		return relay.Subuser{}, false
	}
	return valueOf(st.subusers.at(id))
}

// SubusersOf lists an account's subusers by name, without deleted ones.
func (d *Directory) SubusersOf(a relay.AccountID) []relay.Subuser {
	l := d.state.Load().subusersOf.at(a)
	var out []relay.Subuser
	for _, piece := range l.pieces {
		for _, s := range piece {
			out = append(out, *s)
		}
	}
	return out
}

// ByNumber returns whose user_id in the v3 API a number is; deleted subusers
// have none.
func (d *Directory) ByNumber(n int64) (relay.Tenant, bool) { return d.state.Load().numbers.get(n) }

// valueOf copies what a row is now, so that nobody can change the view.
func valueOf[T any](p *T) (v T, ok bool) {
	if p == nil {
		return v, false
	}
	return *p, true
}

// Sending reports whether a tenant's mail may be taken and may leave; if not, why.
func (d *Directory) Sending(t relay.Tenant) (ok bool, why string) { return d.state.Load().sending(t) }

func (st *state) sending(t relay.Tenant) (ok bool, why string) {
	a := st.accounts.at(t.Account)
	switch {
	case a == nil:
		return false, "the account no longer exists"
	case !a.DisabledAt.IsZero():
		return false, "the account is disabled"
	case t.Subuser.IsZero():
		return true, ""
	}
	s := st.subusers.at(t.Subuser)
	switch {
	case s == nil || s.Account != t.Account:
		return false, "the subuser no longer exists"
	case !s.DeletedAt.IsZero():
		return false, "the subuser was deleted"
	case !s.DisabledAt.IsZero():
		return false, "the subuser is disabled"
	}
	return true, ""
}

// Deleted reports whether a tenant is a subuser that was deleted, so that its
// queued mail is to be dropped. A tenant that is not known at all is not: mail is
// never dropped for want of knowledge.
func (d *Directory) Deleted(t relay.Tenant) bool {
	s := d.state.Load().subusers.at(t.Subuser)
	return s != nil && s.Account == t.Account && !s.DeletedAt.IsZero()
}

// AccessLists returns the lists of a tenant's account and, if it is a subuser,
// of the subuser; nil where there is none. Which rules count at a moment is
// AccessList.At.
func (d *Directory) AccessLists(t relay.Tenant) (account, subuser *relay.AccessList) {
	st := d.state.Load()
	account = st.access.at(relay.Tenant{Account: t.Account})
	if !t.Subuser.IsZero() {
		subuser = st.access.at(t)
	}
	return account, subuser
}

// TokenRevoked reports whether an access token was taken back. Of tokens whose
// life is over nothing is remembered.
func (d *Directory) TokenRevoked(id relay.TokenID) bool {
	_, ok := d.state.Load().revoked.get(id)
	return ok
}

// Pool returns a pool.
func (d *Directory) Pool(id relay.PoolID) (relay.Pool, bool) {
	return valueOf(d.state.Load().pools.at(id))
}

// DefaultPool is the pool of a tenant's mail that names none: the subuser's,
// the account's, else the installation's.
func (d *Directory) DefaultPool(t relay.Tenant) (relay.Pool, bool) {
	st := d.state.Load()
	var ids [3]relay.PoolID
	if s := st.subusers.at(t.Subuser); s != nil {
		ids[0] = s.DefaultPool
	}
	if a := st.accounts.at(t.Account); a != nil {
		ids[1] = a.DefaultPool
	}
	ids[2] = st.shared
	for _, id := range ids {
		if p := st.pools.at(id); p != nil && p.DisabledAt.IsZero() {
			return *p, true
		}
	}
	return relay.Pool{}, false
}

// PoolNamed finds a pool that an account may name: its own, else a shared one.
func (d *Directory) PoolNamed(account relay.AccountID, name string) (relay.Pool, bool) {
	var found *relay.Pool
	for _, piece := range d.state.Load().poolNames.at(name).pieces {
		for _, p := range piece {
			switch {
			case !p.DisabledAt.IsZero():
			case p.Account == account:
				return *p, true
			case p.Account.IsZero() && found == nil:
				found = p
			}
		}
	}
	return valueOf(found)
}

// Domain returns a domain by its id.
func (d *Directory) Domain(id relay.DomainID) (relay.Domain, bool) {
	return valueOf(d.state.Load().domains.at(id))
}

// System returns the account and domain of postern's own mail.
func (d *Directory) System() (relay.Account, relay.Domain, bool) {
	st := d.state.Load()
	if st.sysAccount == nil || st.sysDomain == nil {
		return relay.Account{}, relay.Domain{}, false
	}
	return *st.sysAccount, *st.sysDomain, true
}

// IsReturnPath reports whether a host is the return path of any domain, or the
// system domain itself.
func (d *Directory) IsReturnPath(host string) bool {
	st := d.state.Load()
	return st.returnPaths.at(host) > 0 || st.sysDomain != nil && st.sysDomain.Name == host
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
