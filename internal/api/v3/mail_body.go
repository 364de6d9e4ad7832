package v3

import (
	"errors"
	"net/http"

	"postern/internal/relay"
	"postern/internal/store"
)

// showBody shows what a message says. That somebody looked is recorded before.
func (a *API) showBody(c *Call) error {
	f, err := a.pathMail(c)
	if err != nil {
		return err
	}
	account, _ := a.Directory.Account(f.tenant.Account)
	if !account.Policy.PreviewBodies {
		return refused("", "The account's policy lets nobody read mail (preview_bodies).")
	}
	ctx := c.R.Context()
	content, err := a.Messages.Content(ctx, f.id)
	switch {
	case relay.KindOf(err) == relay.NotFound:
		return conflict("", "The body is not stored any more.")
	case errors.Is(err, store.ErrDamaged):
		return conflict("", "The stored body is damaged.")
	case err != nil:
		return err
	}
	if err := a.recordMail(c, "message.read", f, ""); err != nil {
		return err
	}
	r, err := content.Open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	body, err := readBody(r)
	if errors.Is(err, store.ErrDamaged) {
		return conflict("", "The stored body is damaged.")
	}
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, body)
}
