package v3

import (
	"net/http"
	"postern/internal/sender"
	"slices"

	"postern/internal/relay"
)

// A parent shares its domains with subusers by name. SendGrid has two ways: one
// for "the" domain of a subuser, and ":add" for up to five. Here both add, and the
// first one knows no bound.

// maxSharedByAdd is how many domains ":add" shares with one subuser.
const maxSharedByAdd = 5

type domainShare struct {
	Username string `json:"username" v3:"required"`
}

var shareUser = []Param{{Name: "username", Type: "string", Required: true, Doc: "a subuser"}}

var domainShareRoutes = []Route{
	{
		Method: "GET", Pattern: pathDomains + "/subuser", Scope: scopeDomainRead, ParentOnly: true,
		Summary: "Show the first domain that is shared with a subuser by name",
		Query:   shareUser, Answers: map[int]any{200: domainView{}}, Handler: (*API).showSharedDomain,
	},
	{
		Method: "GET", Pattern: pathDomains + "/subuser/all", Scope: scopeDomainRead, ParentOnly: true,
		Summary: "List the domains that are shared with a subuser by name",
		Query:   shareUser, Answers: map[int]any{200: []domainView{}}, Handler: (*API).listSharedDomains,
	},
	{
		Method: "DELETE", Pattern: pathDomains + "/subuser", Scope: scopeDomainChange, StepUp: true, ParentOnly: true,
		Summary: "Share no domain with a subuser by name any more",
		Query:   shareUser, Answers: map[int]any{204: nil}, Handler: (*API).unshareAll,
	},
	{
		Method: "POST", Pattern: pathDomain + "/subuser", Scope: scopeDomainChange, ParentOnly: true, StepUp: true,
		Summary: "Share a domain with a subuser: it may send as the domain, and see it",
		Body:    domainShare{}, Answers: map[int]any{201: domainView{}}, Handler: (*API).shareDomain,
	},
	{
		Method: "POST", Pattern: pathDomain + "/subuser:add", Scope: scopeDomainChange, ParentOnly: true, StepUp: true,
		Summary: "Share a domain with a subuser that has fewer than five shared domains",
		Body:    domainShare{}, Answers: map[int]any{201: domainView{}}, Handler: (*API).shareDomainOfFive,
	},
	{
		Method: "DELETE", Pattern: pathDomain + "/subuser", Scope: scopeDomainChange, StepUp: true, ParentOnly: true,
		Summary: "Do not share a domain with a subuser any more",
		Query:   shareUser, Answers: map[int]any{204: nil}, Handler: (*API).unshareDomain,
	},
}

// sharedWith are a subuser's by name, in the order of their ids.
func (a *API) sharedWith(c *Call, username string) (relay.Subuser, []relay.Domain, error) {
	s, err := a.findSubuser(c.R.Context(), c.Tenant.Account, username)
	if err != nil {
		return s, nil, err
	}
	all, err := a.seenDomains(c)
	return s, slices.DeleteFunc(all, func(d relay.Domain) bool { return !slices.Contains(d.Subusers, s.ID) }), err
}

func (a *API) showSharedDomain(c *Call) error {
	_, shared, err := a.sharedWith(c, c.Text("username"))
	if err != nil {
		return err
	}
	if len(shared) == 0 {
		return notFound()
	}
	return a.replyDomain(c, http.StatusOK, shared[0].Number)
}

func (a *API) listSharedDomains(c *Call) error {
	_, shared, err := a.sharedWith(c, c.Text("username"))
	if err != nil {
		return err
	}
	return a.replyDomains(c, shared)
}

func (a *API) unshareAll(c *Call) error {
	defer a.edits.lock(c.Tenant.Account)()
	s, shared, err := a.sharedWith(c, c.Text("username"))
	if err != nil {
		return err
	}
	for _, d := range shared {
		if err := a.Domains.EditSharing(c.R.Context(), c.By, d.ID, unshared(s.ID)); err != nil {
			return hidden(err)
		}
	}
	return c.Empty(http.StatusNoContent)
}

func (a *API) shareDomain(c *Call) error       { return a.share(c, 0) }
func (a *API) shareDomainOfFive(c *Call) error { return a.share(c, maxSharedByAdd) }

// share shares the domain that the path names, if the subuser has fewer than
// most; 0: any number.
func (a *API) share(c *Call, most int) error {
	var in domainShare
	if err := c.Decode(&in); err != nil {
		return err
	}
	defer a.edits.lock(c.Tenant.Account)()
	d, err := a.ownDomain(c)
	if err != nil {
		return err
	}
	if d.System {
		return conflict("", "This is the domain of postern's own mail; it is not shared.")
	}
	s, shared, err := a.sharedWith(c, in.Username)
	if err != nil {
		return err
	}
	if !slices.Contains(d.Subusers, s.ID) {
		if most > 0 && len(shared) >= most {
			return invalid("username", "The subuser has %d domains already, which is the most that can be added.", len(shared))
		}
		if err := a.Domains.EditSharing(c.R.Context(), c.By, d.ID, func(to *sender.Sharing) { to.Subusers = append(to.Subusers, s.ID) }); err != nil {
			return hidden(err)
		}
	}
	return a.replyDomain(c, http.StatusCreated, d.Number)
}

func (a *API) unshareDomain(c *Call) error {
	defer a.edits.lock(c.Tenant.Account)()
	d, err := a.ownDomain(c)
	if err != nil {
		return err
	}
	s, err := a.findSubuser(c.R.Context(), c.Tenant.Account, c.Text("username"))
	if err != nil {
		return err
	}
	if slices.Contains(d.Subusers, s.ID) {
		if err := a.Domains.EditSharing(c.R.Context(), c.By, d.ID, unshared(s.ID)); err != nil {
			return hidden(err)
		}
	}
	return c.Empty(http.StatusNoContent)
}

// unshared takes a subuser out of those that a domain is shared with.
func unshared(id relay.SubuserID) func(*sender.Sharing) {
	return func(to *sender.Sharing) {
		to.Subusers = slices.DeleteFunc(to.Subusers, func(x relay.SubuserID) bool { return x == id })
	}
}
