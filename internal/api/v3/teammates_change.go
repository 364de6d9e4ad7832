package v3

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
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
	u, err := a.regrant(c, &in.grantBody)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, a.viewTeammate(&u))
}

// regrant gives the person of the path another grant. It is judged by the one that
// was read, so it is given only to somebody who still has that: whoever was made
// more meanwhile, on whatever node, is not made less by whom could not.
func (a *API) regrant(c *Call, in *grantBody) (relay.User, error) {
	defer a.edits.lock(c.Tenant.Account)()
	u, err := a.otherTeammate(c)
	if err != nil {
		return u, err
	}
	was, seen := grantOf(&u), store.GrantOf(&u)
	g, err := in.read(a, c, was)
	if err != nil {
		return u, err
	}
	if err := c.mayGive(&was, g); err != nil {
		return u, err
	}
	u.Role, u.Scopes, u.Restricted, u.Subusers = g.role, g.scopes, g.restricted, g.subusers
	return u, hidden(a.Users.SetGrant(c.R.Context(), c.By, u.ID, seen, store.GrantOf(&u)))
}

// otherTeammate is the person of the path, to be changed: never the caller, nor who
// made the key that calls, and only somebody whom the caller may touch. A key goes on
// when its maker is disabled: it must not let them in again.
func (a *API) otherTeammate(c *Call) (relay.User, error) {
	u, err := a.teammate(c, c.R.PathValue("username"))
	if err != nil {
		return u, err
	}
	maker, err := a.isMaker(c, &u)
	switch {
	case err != nil:
		return u, err
	case c.isSelf(&u):
		return u, refused("", "Nobody changes this of their own; ask another who may.")
	case maker:
		return u, refused("", "Nobody changes this of their own with a key that they made; ask another who may.")
	}
	return u, c.mayTouch(&u)
}

func (c *Call) isSelf(u *relay.User) bool {
	return c.Principal != nil && c.Principal.User != nil && c.Principal.User.ID == u.ID
}

// maxMakers is how many keys one after the other are asked which key made them.
const maxMakers = 100

// isMaker reports whether a key calls that a person has made: themselves, or with a key
// of theirs, however many are between. Of a longer row everybody is.
func (a *API) isMaker(c *Call, u *relay.User) (bool, error) {
	if c.Principal == nil || c.Principal.Key == nil {
		return false, nil
	}
	by := c.Principal.Key.CreatedBy
	for range maxMakers {
		text, ok := strings.CutPrefix(by, "key ")
		if !ok {
			return by == "user "+u.Username, nil
		}
		id, err := relay.ParseID(text)
		if err != nil {
			return false, nil //nolint:nilerr // a mark that is none leads to nobody
		}
		k, err := a.Keys.Key(c.R.Context(), relay.KeyID{ID: id})
		switch {
		case relay.KindOf(err) == relay.NotFound:
			return false, nil
		case err != nil:
			return false, err
		}
		by = k.CreatedBy
	}
	return true, nil
}

// mayTouch: what is done to an owner, an owner does; and what is done to an admin,
// whoever may do as much. Otherwise somebody with a few scopes could be rid of those
// who would stop them.
func (c *Call) mayTouch(u *relay.User) error {
	switch {
	case c.Operator || c.isSelf(u):
		return nil
	case u.Role == relay.RoleOwner && !c.isOwner():
		return refused("", "Only an owner changes an owner.")
	case u.Role == relay.RoleAdmin && slices.ContainsFunc(u.Role.Scopes(), func(s string) bool { return !c.Allows(s) }):
		return refused("", "Only an owner, or another admin, changes an admin.")
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
	if err := a.Users.DeleteUser(c.R.Context(), c.By, u.ID, c.Now, store.GrantOf(&u)); err != nil {
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
	if off == !u.DisabledAt.IsZero() && (!off || u.DisabledRank >= c.By.Rank) {
		return c.JSON(http.StatusOK, a.viewTeammate(&u)) // it is so already
	}
	u.DisabledAt = time.Time{}
	if off {
		u.DisabledAt = c.Now
	} else if err := c.mayRestore(&u); err != nil {
		return err
	}
	if err := a.Users.SetUserDisabled(c.R.Context(), c.By, u.ID, u.DisabledAt, store.GrantOf(&u)); err != nil {
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
	if err := a.Users.ResetFactors(c.R.Context(), c.By, u.ID, store.GrantOf(&u)); err != nil {
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
	if err := a.People.SendReset(c.R.Context(), c.By, u.Email); err != nil {
		return hidden(err)
	}
	return c.Empty(http.StatusAccepted)
}
