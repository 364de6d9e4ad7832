package v3

import (
	"strconv"

	"postern/internal/relay"
)

// maySee reports whether the caller sees a domain. As everywhere, a parent's key
// needs subusers.read to reach what is its subusers'.
func (c *Call) maySee(d *relay.Domain) bool {
	switch {
	case d.Account != c.Tenant.Account || !d.DeletedAt.IsZero():
		return false
	case c.Tenant.Subuser.IsZero():
		return d.Subuser.IsZero() || c.Allows(scopeBehalf)
	}
	return d.OpenTo(c.Tenant)
}

// mayChange reports whether a domain that the caller sees is its own, or its
// subuser's.
func (c *Call) mayChange(d *relay.Domain) bool {
	return c.Tenant.Subuser.IsZero() || d.Subuser == c.Tenant.Subuser
}

// pathDomain is the domain that the path names, if the caller sees it.
func (a *API) pathDomain(c *Call) (relay.Domain, error) {
	number, err := strconv.ParseInt(c.R.PathValue("domain_id"), 10, 64)
	if err != nil || number <= 0 {
		return relay.Domain{}, notFound()
	}
	return a.numberedDomain(c, number)
}

func (a *API) numberedDomain(c *Call, number int64) (relay.Domain, error) {
	d, err := a.DomainStore.DomainNumbered(c.R.Context(), number)
	switch {
	case err != nil:
		return d, hidden(err)
	case !c.maySee(&d):
		return relay.Domain{}, notFound()
	}
	return d, nil
}

// ownDomain is the domain that the path names, if the caller may change it. Whoever
// changes a subuser's from its account is above the subuser, by whatever way they came.
func (a *API) ownDomain(c *Call) (relay.Domain, error) {
	d, err := a.pathDomain(c)
	switch {
	case err != nil:
		return d, err
	case !c.mayChange(&d):
		return relay.Domain{}, refused("", "This domain is shared with you; its owner changes it.")
	case d.Subuser != c.Tenant.Subuser:
		c.By.Rank = max(c.By.Rank, relay.RankAccount)
	}
	return d, nil
}

// seenDomains are those that the caller sees, in the order of their ids.
func (a *API) seenDomains(c *Call) ([]relay.Domain, error) {
	all, err := a.DomainStore.Domains(c.R.Context(), c.Tenant.Account)
	if err != nil {
		return nil, err
	}
	out := make([]relay.Domain, 0, len(all))
	for i := range all {
		if c.maySee(&all[i]) {
			out = append(out, all[i])
		}
	}
	sortByNumber(out)
	return out, nil
}

// ownerOf names who owns a domain, as the API does.
func (a *API) ownerOf(d *relay.Domain) (number int64, name string) {
	if !d.Subuser.IsZero() {
		s, _ := a.Directory.Subuser(d.Subuser)
		return s.Number, s.Name
	}
	x, _ := a.Directory.Account(d.Account)
	return x.Number, x.Name
}
