package v3

import (
	"net/http"
	"slices"

	"postern/internal/relay"
	"postern/internal/store"
)

// deletion is what a dry run answers with: all that a subuser's end takes along.
type deletion struct {
	Username string `json:"username"`
	Keys     int    `json:"keys" doc:"that would be revoked"`
	Queued   int64  `json:"queued_messages" doc:"that would be dropped"`

	Domains     deletedPart `json:"domains" doc:"that would be deleted with their DKIM keys"`
	Senders     deletedPart `json:"senders" doc:"single senders that would be deleted, by address"`
	People      deletedPart `json:"people" doc:"who would be deleted, by username"`
	Invitations deletedPart `json:"invitations" doc:"that would end, by address"`
}

// mostDeletedNames is how many things of a kind a dry run names.
const mostDeletedNames = 20

// deletedPart are the things of one kind.
type deletedPart struct {
	Count int      `json:"count"`
	Names []string `json:"names,omitempty" doc:"the first 20; none to a caller who may not list them"`
}

// part counts things, and names them to a caller with the scope that lists them. What is
// a subuser's is listed to those who act for subusers.
func (c *Call) part(names []string, scope string) deletedPart {
	p := deletedPart{Count: len(names)}
	if c.Allows(scope) && c.Allows(scopeBehalf) {
		slices.Sort(names)
		p.Names = page(names, mostDeletedNames, 0)
	}
	return p
}

func (a *API) deleteSubuser(c *Call) error {
	s, err := a.pathSubuser(c)
	if err != nil {
		return err
	}
	if c.Flag("dry_run") {
		d, err := a.deletionOf(c, &s)
		if err != nil {
			return err
		}
		return c.JSON(http.StatusOK, d)
	}
	if err := a.Subusers.DeleteSubuser(c.R.Context(), c.By, s.ID, c.Now); err != nil {
		return hidden(err)
	}
	return c.Empty(http.StatusNoContent)
}

// deletionOf reads what would end with a subuser.
func (a *API) deletionOf(c *Call, s *relay.Subuser) (deletion, error) {
	tenant := relay.Tenant{Account: s.Account, Subuser: s.ID}
	d := deletion{Username: s.Name, Keys: len(a.Directory.KeysOf(tenant))}
	var err error
	if d.Queued, err = a.Subusers.References(c.R.Context(), store.MessageFilter{Account: tenant.Account, Subuser: tenant.Subuser}); err != nil {
		return d, err
	}
	for _, kind := range []struct {
		part  *deletedPart
		scope string
		read  func(*Call, relay.Tenant) ([]string, error)
	}{
		{&d.Domains, scopeDomainRead, a.ownDomains}, {&d.Senders, scopeDomainRead, a.ownSenders},
		{&d.People, scopePeopleRead, a.ownPeople}, {&d.Invitations, scopePeopleRead, a.ownInvitations},
	} {
		names, err := kind.read(c, tenant)
		if err != nil {
			return d, err
		}
		*kind.part = c.part(names, kind.scope)
	}
	return d, nil
}

func (a *API) ownDomains(c *Call, of relay.Tenant) (names []string, err error) {
	all, err := a.DomainStore.Domains(c.R.Context(), of.Account)
	for _, d := range all {
		if d.Subuser == of.Subuser {
			names = append(names, d.Name)
		}
	}
	return names, err
}

func (a *API) ownSenders(c *Call, of relay.Tenant) (names []string, err error) {
	all, err := a.SenderRows.Senders(c.R.Context(), of)
	for _, s := range all {
		names = append(names, s.FromEmail)
	}
	return names, err
}

func (a *API) ownPeople(c *Call, of relay.Tenant) (names []string, err error) {
	all, err := a.Users.Users(c.R.Context(), of.Account)
	for _, u := range all {
		if u.Subuser == of.Subuser && u.DeletedAt.IsZero() {
			names = append(names, u.Username)
		}
	}
	return names, err
}

func (a *API) ownInvitations(c *Call, of relay.Tenant) (names []string, err error) {
	all, err := a.Users.Links(c.R.Context(), of.Account, relay.LinkInvite)
	for _, l := range all {
		if l.Subuser == of.Subuser && l.UsedAt.IsZero() {
			names = append(names, l.Email)
		}
	}
	return names, err
}
