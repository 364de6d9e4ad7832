package v3

import (
	"slices"
	"time"

	"postern/internal/relay"
)

// maxList bounds a list of keys in one answer; more are had with offset.
const maxList = 1000

func (a *API) listKeys(c *Call) error {
	limit, offset, err := c.Page(maxList, maxList)
	if err != nil {
		return err
	}
	var keys []relay.Key
	if c.Flag("revoked") || c.Flag("subusers") {
		keys, err = a.allKeys(c)
	} else {
		keys, err = a.liveKeys(c, limit, offset)
		offset = 0
	}
	if err != nil {
		return err
	}
	out := keyList{Result: []keyView{}}
	for _, k := range page(keys, limit, offset) {
		v := a.viewKey(&k, c.Now)
		if !c.Flag("subusers") {
			v.Username = ""
		}
		out.Result = append(out.Result, v)
	}
	return c.JSON(200, out)
}

// liveKeys finds the tenant's keys in memory, and reads those that are asked for:
// the memory does not follow their last use.
func (a *API) liveKeys(c *Call, limit, offset int) ([]relay.Key, error) {
	var out []relay.Key
	known := slices.DeleteFunc(slices.Clone(a.Directory.KeysOf(c.Tenant)), func(k *relay.Key) bool { return !c.isIn(k.Name) || !c.madeBy(k) })
	for _, k := range page(known, limit, offset) {
		read, err := a.Keys.Key(c.R.Context(), k.ID)
		if err != nil {
			return nil, err
		}
		out = append(out, read)
	}
	return out, nil
}

// allKeys reads the account's keys and picks the tenant's, or its subusers' too.
func (a *API) allKeys(c *Call) ([]relay.Key, error) {
	wide := c.Flag("subusers")
	if wide && (!c.Tenant.Subuser.IsZero() || !c.Allows(scopeBehalf)) {
		return nil, forbidden()
	}
	keys, err := a.Keys.Keys(c.R.Context(), c.Tenant.Account)
	return slices.DeleteFunc(keys, func(k relay.Key) bool {
		return !wide && k.Subuser != c.Tenant.Subuser || !c.Flag("revoked") && !k.RevokedAt.IsZero() || !c.isIn(k.Name) || !c.madeBy(&k)
	}), err
}

// madeBy reports whether a key is of the maker that was asked for, if one was.
func (c *Call) madeBy(k *relay.Key) bool {
	by := c.Text("created_by")
	return by == "" || k.CreatedBy == by
}

func (a *API) showKey(c *Call) error {
	k, err := a.readKey(c)
	if err != nil {
		return err
	}
	// Over the network a revoked key is gone, as clients expect that take care of
	// keys. The operator on the host sees what is left of it.
	if !k.RevokedAt.IsZero() && !c.Operator && !c.Flag("revoked") {
		return notFound()
	}
	return c.JSON(200, a.viewKey(&k, c.Now))
}

// readKey reads the key of the path, a revoked one too. What is not the tenant's
// does not exist.
func (a *API) readKey(c *Call) (relay.Key, error) {
	id, err := relay.ParseID(c.R.PathValue("api_key_id"))
	if err != nil {
		return relay.Key{}, notFound()
	}
	k, err := a.Keys.Key(c.R.Context(), relay.KeyID{ID: id})
	if err != nil {
		return k, hidden(err)
	}
	if (relay.Tenant{Account: k.Account, Subuser: k.Subuser}) != c.Tenant {
		return relay.Key{}, notFound()
	}
	return k, nil
}

// ownedKey reads the key of the path to be changed: not a revoked one, and never
// the caller's own (AP-03).
func (a *API) ownedKey(c *Call) (relay.Key, error) {
	k, err := a.readKey(c)
	switch {
	case err != nil:
		return k, err
	case !k.RevokedAt.IsZero():
		return k, notFound()
	case c.Principal != nil && c.Principal.Key != nil && c.Principal.Key.ID == k.ID:
		return k, refused("", "A key cannot manage itself; use another.")
	}
	return k, nil
}

func (a *API) putKey(c *Call) error {
	var in keyPut
	if err := c.Decode(&in); err != nil {
		return err
	}
	in.keyPatch.Name = &in.Name
	return a.editKey(c, &in.keyPatch)
}

func (a *API) patchKey(c *Call) error {
	var in keyPatch
	if err := c.Decode(&in); err != nil {
		return err
	}
	if in == (keyPatch{}) {
		return invalid("", "Give at least one member to change.")
	}
	return a.editKey(c, &in)
}

func (a *API) editKey(c *Call, in *keyPatch) error {
	defer a.edits.lock(c.Tenant.Account)()
	old, err := a.ownedKey(c)
	if err != nil {
		return err
	}
	account, err := a.Settings.Account(c.R.Context(), c.Tenant.Account)
	if err != nil {
		return err
	}
	k := old
	if err := in.apply(c, &k); err != nil {
		return err
	}
	if in.Match != nil {
		k.Match = in.Match
		if err := a.checkMatch(&k); err != nil {
			return err
		}
	}
	if err := heed(account.Policy, in, &k, c.Now); err != nil {
		return err
	}
	if err := notWidened(c, &old, &k); err != nil {
		return err
	}
	if err := a.Keys.SwapKey(c.R.Context(), c.By, old, k); err != nil {
		return err
	}
	return c.JSON(200, a.viewKey(&k, c.Now))
}

func (a *API) deleteKey(c *Call) error {
	if c.Flag("dry_run") {
		return a.showKeyUsers(c)
	}
	k, err := a.ownedKey(c)
	if err != nil {
		return err
	}
	if err := a.Keys.RevokeKey(c.R.Context(), c.By, k.ID, c.Now); err != nil {
		return hidden(err)
	}
	return c.Empty(204)
}

func (a *API) disableKey(c *Call) error { return a.switchKey(c, true) }

func (a *API) enableKey(c *Call) error { return a.switchKey(c, false) }

func (a *API) switchKey(c *Call, off bool) error {
	k, err := a.ownedKey(c)
	if err != nil {
		return err
	}
	switch {
	case off && (k.DisabledAt.IsZero() || k.DisabledRank < c.By.Rank):
		k.DisabledAt = c.Now
	case !off && !k.DisabledAt.IsZero():
		if err := c.covers(&k); err != nil { // it was switched off for a reason, perhaps in a thief's hands
			return err
		}
		k.DisabledAt = time.Time{}
	default:
		return c.JSON(200, a.viewKey(&k, c.Now)) // it is so already
	}
	if err := a.Keys.SetKeyDisabled(c.R.Context(), c.By, k.ID, k.DisabledAt); err != nil {
		return err
	}
	return c.JSON(200, a.viewKey(&k, c.Now))
}
