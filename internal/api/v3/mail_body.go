package v3

import (
	"errors"
	"net/http"

	"postern/internal/relay"
	"postern/internal/store"
)

// showBody shows a person, or the operator, what a message says. That they looked
// is recorded before.
func (a *API) showBody(c *Call) error {
	f, err := a.pathMail(c)
	if err != nil {
		return err
	}
	// A key that leaks with messages.read must not hand out what people wrote to each
	// other. Somebody who looks at mail is a person, with a name in the record.
	if !c.Operator && (c.Principal == nil || c.Principal.User == nil) {
		return refused("", "Only people read mail, in the console; a key does not.")
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
