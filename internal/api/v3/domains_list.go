package v3

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"postern/internal/relay"
)

// The bounds of a page of domains: each costs a few reads.
const (
	usualDomains = 500
	mostDomains  = 1000
)

func sortByNumber(ds []relay.Domain) {
	slices.SortFunc(ds, func(a, b relay.Domain) int { return cmp.Compare(a.Number, b.Number) })
}

func (a *API) listDomains(c *Call) error {
	limit, offset, err := c.Page(usualDomains, mostDomains)
	if err != nil {
		return err
	}
	all, err := a.seenDomains(c)
	if err != nil {
		return err
	}
	part := strings.ToLower(c.Text("domain"))
	ascii := part
	if whole, err := checkDomain("domain", part); err == nil {
		ascii = whole
	}
	all = slices.DeleteFunc(all, func(d relay.Domain) bool {
		return !strings.Contains(d.Name, ascii) && !strings.Contains(unicodeOf(d.Name), part) || c.Flag("exclude_subusers") && !d.Subuser.IsZero() && d.Subuser != c.Tenant.Subuser ||
			c.Text("username") != "" && !a.isOf(c, &d, c.Text("username"))
	})
	return a.replyDomains(c, page(all, limit, offset))
}

// isOf reports whether somebody owns a domain, or has it shared by name. Whom else
// a domain is shared with is nothing for a subuser to ask.
func (a *API) isOf(c *Call, d *relay.Domain, name string) bool {
	if _, owner := a.ownerOf(d); owner == name {
		return true
	}
	s, ok := a.Directory.SubuserNamed(name)
	return ok && (c.Tenant.Subuser.IsZero() || c.Tenant.Subuser == s.ID) && slices.Contains(d.Subusers, s.ID)
}

func (a *API) replyDomains(c *Call, ds []relay.Domain) error {
	out := make([]domainView, 0, len(ds))
	for i := range ds {
		v, err := a.viewDomain(c, &ds[i])
		if relay.KindOf(err) == relay.NotFound {
			continue // deleted in this moment
		}
		if err != nil {
			return err
		}
		out = append(out, v)
	}
	return c.JSON(http.StatusOK, out)
}

// replyDomain answers with a domain as it is now.
func (a *API) replyDomain(c *Call, status int, number int64) error {
	d, err := a.DomainStore.DomainNumbered(c.R.Context(), number)
	if err != nil {
		return hidden(err)
	}
	v, err := a.viewDomain(c, &d)
	if err != nil {
		return hidden(err)
	}
	return c.JSON(status, v)
}

func (a *API) showDomain(c *Call) error {
	d, err := a.pathDomain(c)
	if err != nil {
		return err
	}
	return a.replyDomain(c, http.StatusOK, d.Number)
}

func (a *API) showDefaultDomain(c *Call) error {
	all, err := a.seenDomains(c)
	if err != nil {
		return err
	}
	name := ""
	if c.Text("domain") != "" {
		if name, err = checkDomain("domain", c.Text("domain")); err != nil {
			return err
		}
	}
	own := func(d relay.Domain) bool { return d.Subuser == c.Tenant.Subuser }
	for _, is := range []func(relay.Domain) bool{
		func(d relay.Domain) bool { return own(d) && d.Default && (name == "" || d.Name == name) },
		func(d relay.Domain) bool { return own(d) && d.Name == name && d.Usable() },
		func(d relay.Domain) bool { return own(d) && d.Name == name },
		func(d relay.Domain) bool { return d.OpenTo(c.Tenant) && (name == "" && d.Default || d.Name == name) }, // shared with it
	} {
		if i := slices.IndexFunc(all, is); i >= 0 {
			return a.replyDomain(c, http.StatusOK, all[i].Number)
		}
	}
	return notFound()
}
