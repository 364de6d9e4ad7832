package v3

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// The most people of a tenant, invited ones among them, and the most who are
// invited at once. The store counts again where it invites; what is refused here uses
// up no letter.
const (
	maxPeople  = store.MaxPeople
	maxPending = store.MaxInvited
	maxEmail   = 255
)

// invitation asks for a person.
type invitation struct {
	Email string `json:"email" v3:"required"`
	grantBody
}

// invited is SendGrid's answer. Token is an id of the invitation, not the secret
// of the link.
type invited struct {
	Token   string     `json:"token"`
	Email   string     `json:"email"`
	Scopes  []string   `json:"scopes"`
	IsAdmin bool       `json:"is_admin"`
	Role    relay.Role `json:"role"`
	// Warnings are postern's own: whom the link that was mailed does not help.
	Warnings []string `json:"warnings,omitempty"`
}

type pendingList struct {
	Result []pendingView `json:"result"`
}

type pendingView struct {
	invited
	ExpirationDate int64     `json:"expiration_date" doc:"Unix seconds"`
	ExpiresAt      time.Time `json:"expires_at"`
	Expired        bool      `json:"expired"`
	Restricted     bool      `json:"restricted"`
	Subusers       []string  `json:"subusers"`
	CreatedAt      time.Time `json:"created_at"`
	InvitedBy      string    `json:"invited_by,omitempty"`
}

// inviteID names an invitation without giving it away.
func inviteID(l *relay.Link) string {
	sum := sha256.Sum256(l.Hash[:])
	return base64.RawURLEncoding.EncodeToString(sum[:])[:22]
}

func viewInvited(l *relay.Link) invited {
	g := grant{role: l.Role, scopes: l.Scopes}
	return invited{Token: inviteID(l), Email: l.Email, Scopes: orEmpty(g.all()), IsAdmin: isAdmin(l.Role), Role: l.Role}
}

// mailed is an invitation of which a link was just mailed.
func (a *API) mailed(l *relay.Link) invited {
	v := viewInvited(l)
	v.Warnings = a.linkWarnings()
	return v
}

func (a *API) linkWarnings() []string {
	if a.LinkWarning != nil {
		if text := a.LinkWarning(); text != "" {
			return []string{text}
		}
	}
	return nil
}

func (a *API) inviteTeammate(c *Call) error {
	var in invitation
	if err := c.Decode(&in); err != nil {
		return err
	}
	if in.Role == nil && in.Scopes == nil && (in.IsAdmin == nil || !*in.IsAdmin) {
		return invalid("scopes", "Give scopes, is_admin or a role.")
	}
	g, err := in.read(a, c, grant{role: relay.RoleCustom})
	if err != nil {
		return err
	}
	l, err := a.invite(c, in.Email, g)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, a.mailed(&l))
}

// invite invites somebody who is not there yet.
func (a *API) invite(c *Call, email string, g grant) (relay.Link, error) {
	if err := checkEmail("email", email); err != nil {
		return relay.Link{}, err
	}
	if len(email) > maxEmail {
		return relay.Link{}, invalid("email", "The address is longer than %d octets.", maxEmail)
	}
	if err := c.mayGive(nil, g); err != nil {
		return relay.Link{}, err
	}
	defer a.edits.lock(c.Tenant.Account)()
	if err := a.mayInvite(c, email); err != nil {
		return relay.Link{}, err
	}
	l := relay.Link{
		Kind: relay.LinkInvite, Account: c.Tenant.Account, Subuser: c.Tenant.Subuser, Email: email,
		Role: g.role, Scopes: g.scopes, Restricted: g.restricted, Subusers: g.subusers, CreatedAt: c.Now, CreatedBy: c.author(),
	}
	l, _, err := a.People.Invite(c.R.Context(), c.By, l)
	return l, err
}

// mayInvite: somebody who is there already, or invited, is not invited again. Of
// people of other accounts nothing is told.
func (a *API) mayInvite(c *Call, email string) error {
	users, err := a.usersOf(c, false)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(users, func(u relay.User) bool { return strings.EqualFold(u.Email, email) }) {
		return invalid("email", "A teammate with this address exists.")
	}
	pending, err := a.pending(c)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(pending, func(l relay.Link) bool { return strings.EqualFold(l.Email, email) }) {
		return invalid("email", "This address was invited already; resend the invitation, or withdraw it.")
	}
	if !c.Operator && (len(pending) >= maxPending || len(pending)+len(users) >= maxPeople) {
		return refused("", "There are %d people and %d invitations already, and no more can be made.", len(users), len(pending))
	}
	return nil
}

// author is who made something, as the tenant may know it: a subuser need not
// learn the names of its account's people. The record of changes has them.
func (c *Call) author() string {
	if c.Principal != nil && c.Principal.Tenant != c.Tenant {
		return "account"
	}
	return c.By.Who
}

// pending are the tenant's invitations, oldest first.
func (a *API) pending(c *Call) ([]relay.Link, error) {
	all, err := a.Users.Links(c.R.Context(), c.Tenant.Account, relay.LinkInvite)
	if err != nil {
		return nil, err
	}
	own := slices.DeleteFunc(slices.Clone(all), func(l relay.Link) bool {
		return l.Kind != relay.LinkInvite || l.Account != c.Tenant.Account || l.Subuser != c.Tenant.Subuser || !l.UsedAt.IsZero()
	})
	slices.SortStableFunc(own, func(x, y relay.Link) int { return x.CreatedAt.Compare(y.CreatedAt) })
	return own, nil
}

func (a *API) listPending(c *Call) error {
	links, err := a.pending(c)
	if err != nil {
		return err
	}
	out := pendingList{Result: []pendingView{}}
	for i := range links {
		l := &links[i]
		out.Result = append(out.Result, pendingView{
			invited: viewInvited(l), ExpirationDate: l.ExpiresAt.Unix(), ExpiresAt: l.ExpiresAt, Expired: !c.Now.Before(l.ExpiresAt),
			Restricted: l.Restricted, Subusers: a.subuserNames(l.Subusers), CreatedAt: l.CreatedAt, InvitedBy: l.CreatedBy,
		})
	}
	return c.JSON(http.StatusOK, out)
}

// pathInvitation finds the invitation of the path.
func (a *API) pathInvitation(c *Call) (relay.Link, error) {
	token := c.R.PathValue("token")
	links, err := a.pending(c)
	if err != nil {
		return relay.Link{}, err
	}
	for i := range links {
		if subtle.ConstantTimeCompare([]byte(inviteID(&links[i])), []byte(token)) == 1 {
			return links[i], nil
		}
	}
	return relay.Link{}, notFound()
}

func (a *API) withdrawInvite(c *Call) error {
	l, err := a.pathInvitation(c)
	if err != nil {
		return err
	}
	if l.Role == relay.RoleOwner && !c.Operator && !c.isOwner() {
		return refused("", "Only an owner withdraws the invitation of an owner.")
	}
	if err := a.People.Withdraw(c.R.Context(), c.By, l); err != nil {
		return hidden(err)
	}
	return c.Empty(http.StatusNoContent)
}

func (a *API) resendInvite(c *Call) error {
	l, err := a.pathInvitation(c)
	if err != nil {
		return err
	}
	// The life of what it gives is prolonged: that takes what giving it takes.
	if err := c.mayGive(nil, grant{l.Role, l.Scopes, l.Restricted, l.Subusers}); err != nil {
		return err
	}
	l, _, err = a.People.Resend(c.R.Context(), c.By, l)
	if err != nil {
		return hidden(err)
	}
	return c.JSON(http.StatusOK, a.mailed(&l))
}
