package identity

import (
	"iter"
	"slices"
	"strings"

	"postern/internal/relay"
)

// mailbox is an address of a tenant.
type mailbox struct {
	relay.Tenant
	address string
}

func mailboxPart(m mailbox) uint8 { return stringPart(m.address) ^ tenantPart(m.Tenant) }

// Covering says how a name (A-label, lower case) stands with a tenant, and by
// which domain. It is the one rule of who may send as what:
//
// From the name itself upwards, the first level that somebody holds decides. At
// the name any domain that holds counts, above it those that were given with their
// subdomains. If it is another account's, the answer is relay.CoverOther, whatever
// the tenant's own account has above it. If it is the own account's, the tenant
// must be one that it is open to, and then its state decides. So no name is ever
// relay.CoverUsable for two accounts.
//
// A domain that the account has switched off of a subuser, or the operator of
// anybody, is off for whom it was open to, whatever they have above it: it is
// relay.CoverDisabled.
//
// Where no level is held, the nearest domain of the own account gives the reason:
// it is pending, failed or disabled. The domain is the zero one with
// relay.CoverNone and relay.CoverOther.
func (d *Directory) Covering(t relay.Tenant, name string) (relay.Domain, relay.Coverage) {
	found, c := d.state.Load().covering(t, name)
	if found == nil {
		return relay.Domain{}, c
	}
	return *found, c
}

func (st *state) covering(t relay.Tenant, name string) (*relay.Domain, relay.Coverage) {
	for at, more := name, true; more; _, at, more = strings.Cut(at, ".") {
		h := st.holders.at(at)
		switch {
		case h == nil || len(at) < len(name) && !h.Subdomains:
			if off := st.offFromAbove(t, at, len(at) == len(name)); off != nil {
				return off, relay.CoverDisabled
			}
			continue
		case h.Account != t.Account:
			return nil, relay.CoverOther
		case !h.OpenTo(t):
			return h, relay.CoverNotShared
		case h.Usable():
			return h, relay.CoverUsable
		}
		return h, relay.CoverPaused
	}
	for at, more := name, true; more; _, at, more = strings.Cut(at, ".") {
		if own := st.unheld(t.Account, at, len(at) == len(name)); own != nil {
			return own, reason(own)
		}
	}
	return nil, relay.CoverNone
}

// unheld finds the domain of an account that does not hold its name: the one that
// is not disabled, else the newest of those that are.
func (st *state) unheld(a relay.AccountID, name string, exact bool) *relay.Domain {
	var disabled *relay.Domain
	for own := range st.domainNames.at(name).from(&relay.Domain{Account: a}, byOwner) {
		switch {
		case own.Account != a:
			return disabled
		case !exact && !own.Subdomains:
		case own.DisabledAt.IsZero():
			return own
		default:
			disabled = own
		}
	}
	return disabled
}

// offFromAbove finds the domain of a tenant that somebody above it has switched off.
func (st *state) offFromAbove(t relay.Tenant, name string, exact bool) *relay.Domain {
	for own := range st.domainNames.at(name).from(&relay.Domain{Account: t.Account}, byOwner) {
		if own.Account != t.Account {
			return nil
		}
		if !own.DisabledAt.IsZero() && own.DisabledRank > relay.RankOwn && own.OpenTo(t) && (exact || own.Subdomains) {
			return own
		}
	}
	return nil
}

func reason(d *relay.Domain) relay.Coverage {
	switch {
	case !d.DisabledAt.IsZero():
		return relay.CoverDisabled
	case d.State == relay.DomainFailed:
		return relay.CoverFailed
	}
	return relay.CoverPending
}

// DomainFor finds the usable domain of a tenant that covers name, by the rule of
// Covering.
func (d *Directory) DomainFor(t relay.Tenant, name string) (relay.Domain, bool) {
	if found, c := d.state.Load().covering(t, name); c == relay.CoverUsable {
		return *found, true
	}
	return relay.Domain{}, false
}

// SenderFor returns the proven single sender of exactly this tenant with an
// address, compared exactly in its canonical form: the local part unquoted, the
// domain as A-labels in lower case.
func (d *Directory) SenderFor(t relay.Tenant, address string) (relay.SingleSender, bool) {
	return valueOf(d.state.Load().addresses.at(mailbox{t, address}))
}

// DomainByToken returns the domain with a token, a deleted one too. The empty
// token is nobody's.
func (d *Directory) DomainByToken(token string) (relay.Domain, bool) {
	return valueOf(d.state.Load().domainTokens.at(token))
}

// DomainsNamed lists the domains of all accounts with a name, whatever their
// state, without deleted ones.
func (d *Directory) DomainsNamed(name string) []relay.Domain {
	var out []relay.Domain
	for _, piece := range d.state.Load().domainNames.at(name).pieces {
		for _, v := range piece {
			out = append(out, *v)
		}
	}
	return out
}

// AllDomains goes over all domains as of one moment, in no order, deleted ones
// too.
func (d *Directory) AllDomains() iter.Seq[relay.Domain] {
	st := d.state.Load()
	return func(yield func(relay.Domain) bool) {
		for _, v := range st.domains.all() {
			if !yield(*v) {
				return
			}
		}
	}
}

// DKIMKeys returns a domain's keys that sign now, by selector, with their sealed
// private keys.
func (d *Directory) DKIMKeys(id relay.DomainID) []relay.DKIMKey {
	var out []relay.DKIMKey
	for _, k := range d.state.Load().dkim.at(id) {
		if k.Active && k.RetiredAt.IsZero() && k.WithdrawnAt.IsZero() {
			out = append(out, k)
		}
	}
	return out
}

// AllDKIMKeys returns all keys of a domain, by selector. Those that do not sign
// now come without their private keys: those are in the store.
func (d *Directory) AllDKIMKeys(id relay.DomainID) []relay.DKIMKey {
	return slices.Clone(d.state.Load().dkim.at(id))
}

// DomainsRevision is the store's revision at which domains, their DKIM keys or
// pools, whose addresses are in SPF records, were last seen to change.
func (d *Directory) DomainsRevision() int64 { return d.state.Load().domainsRevision }
