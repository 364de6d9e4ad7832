package v3

import (
	"net/http"
	"time"

	"postern/internal/relay"
)

// teammatePatch changes what a person may do.
type teammatePatch struct {
	grantBody
}

func (a *API) patchTeammate(c *Call) error {
	var in teammatePatch
	if err := c.Decode(&in); err != nil {
		return err
	}
	if in == (teammatePatch{}) {
		return invalid("", "Give at least one member to change.")
	}
	return a.regrant(c, &in.grantBody, nil)
}

// regrant gives the person of the path another grant; edit changes more of them.
func (a *API) regrant(c *Call, in *grantBody, edit func(*relay.User)) error {
	defer a.edits.lock(c.Tenant.Account)()
	u, err := a.otherTeammate(c)
	if err != nil {
		return err
	}
	was := grantOf(&u)
	g, err := in.read(a, c, was)
	if err != nil {
		return err
	}
	if err := c.mayGive(&was, g); err != nil {
		return err
	}
	u.Role, u.Scopes, u.Restricted, u.Subusers = g.role, g.scopes, g.restricted, g.subusers
	if edit != nil {
		edit(&u)
	}
	if err := a.Users.UpdateUser(c.R.Context(), c.By, u); err != nil {
		return hidden(err)
	}
	return c.JSON(http.StatusOK, a.viewTeammate(&u))
}

// otherTeammate is the person of the path, to be changed: never the caller, and an
// owner only by an owner.
func (a *API) otherTeammate(c *Call) (relay.User, error) {
	u, err := a.teammate(c, c.R.PathValue("username"))
	switch {
	case err != nil:
		return u, err
	case c.isSelf(&u):
		return u, refused("", "Nobody changes this of their own; ask another who may.")
	}
	return u, c.mayTouch(&u)
}

func (c *Call) isSelf(u *relay.User) bool {
	return c.Principal != nil && c.Principal.User != nil && c.Principal.User.ID == u.ID
}

// mayTouch: what is done to an owner, an owner does.
func (c *Call) mayTouch(u *relay.User) error {
	if u.Role == relay.RoleOwner && !c.Operator && !c.isOwner() {
		return refused("", "Only an owner changes an owner.")
	}
	return nil
}

// mayRestore: what lets a person in again, or in with less, takes all that the
// person may do; whoever comes in may not be the person.
func (c *Call) mayRestore(u *relay.User) error { return c.mayGive(nil, grantOf(u)) }

func (a *API) deleteTeammate(c *Call) error {
	u, err := a.otherTeammate(c)
	if err != nil {
		return err
	}
	if err := a.Users.DeleteUser(c.R.Context(), c.By, u.ID, c.Now); err != nil {
		return hidden(err)
	}
	return c.Empty(http.StatusNoContent)
}

func (a *API) disableTeammate(c *Call) error { return a.switchTeammate(c, true) }

func (a *API) enableTeammate(c *Call) error { return a.switchTeammate(c, false) }

func (a *API) switchTeammate(c *Call, off bool) error {
	u, err := a.otherTeammate(c)
	if err != nil {
		return err
	}
	if off == !u.DisabledAt.IsZero() {
		return c.JSON(http.StatusOK, a.viewTeammate(&u)) // it is so already
	}
	u.DisabledAt = time.Time{}
	if off {
		u.DisabledAt = c.Now
	} else if err := c.mayRestore(&u); err != nil {
		return err
	}
	if err := a.Users.SetUserDisabled(c.R.Context(), c.By, u.ID, u.DisabledAt); err != nil {
		return hidden(err)
	}
	return c.JSON(http.StatusOK, a.viewTeammate(&u))
}

func (a *API) resetTeammateFactors(c *Call) error {
	u, err := a.otherTeammate(c)
	if err != nil {
		return err
	}
	if err := c.mayRestore(&u); err != nil {
		return err
	}
	if err := a.Users.ResetFactors(c.R.Context(), c.By, u.ID); err != nil {
		return hidden(err)
	}
	u.TOTP, u.Passkeys, u.RecoveryCodes = nil, 0, 0
	return c.JSON(http.StatusOK, a.viewTeammate(&u))
}

// resetTeammatePassword only mails: the link goes to the person, and the second
// factor is asked for behind it.
func (a *API) resetTeammatePassword(c *Call) error {
	u, err := a.teammate(c, c.R.PathValue("username"))
	if err != nil {
		return err
	}
	if err := c.mayTouch(&u); err != nil {
		return err
	}
	if a.AskReset == nil {
		return relay.E(relay.Unavailable, "Mail cannot be sent to people here.")
	}
	if err := a.AskReset(c.R.Context(), c.Addr, u.Email); err != nil {
		return err
	}
	return c.Empty(http.StatusAccepted)
}
