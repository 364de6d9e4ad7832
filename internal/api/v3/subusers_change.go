package v3

import (
	"net/http"
	"time"

	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/store"
)

type switchRequest struct {
	Disabled *bool `json:"disabled"`
}

// wanted reads the switch. SendGrid's words for a body without it.
func (c *Call) wanted() (disabled bool, err error) {
	var in switchRequest
	if err := c.Decode(&in); err != nil {
		return false, err
	}
	if in.Disabled == nil {
		return false, Fail(http.StatusBadRequest, httpx.ErrorItem{Message: "no fields provided"})
	}
	return *in.Disabled, nil
}

func (a *API) switchSubuser(c *Call) error {
	disabled, err := c.wanted()
	if err != nil {
		return err
	}
	defer a.edits.lock(c.Tenant.Account)()
	s, err := a.pathSubuser(c)
	if err != nil {
		return err
	}
	if disabled != !s.DisabledAt.IsZero() || disabled && s.DisabledRank < c.By.Rank {
		at := time.Time{}
		if disabled {
			at = c.Now
		}
		if err := a.Subusers.SetSubuserDisabled(c.R.Context(), c.By, s.ID, at); err != nil {
			return hidden(err)
		}
	}
	return c.Empty(http.StatusNoContent)
}

func (a *API) switchWebsite(c *Call) error {
	disabled, err := c.wanted()
	if err != nil {
		return err
	}
	err = a.editSubuser(c, func(s *relay.Subuser) error {
		switch {
		case !disabled:
			s.ConsoleDisabledAt = time.Time{}
		case s.ConsoleDisabledAt.IsZero():
			s.ConsoleDisabledAt = c.Now
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.Empty(http.StatusNoContent)
}

// editSubuser changes the subuser that the path names. An edit that changes
// nothing is not stored; one runs again where somebody else was faster.
func (a *API) editSubuser(c *Call, edit func(*relay.Subuser) error) error {
	return a.swapSubuser(c, a.pathSubuser, edit)
}

// swapSubuser reads a subuser, has it edited and stores it.
func (a *API) swapSubuser(c *Call, find func(*Call) (relay.Subuser, error), edit func(*relay.Subuser) error) error {
	defer a.edits.lock(c.Tenant.Account)()
	return store.Again(func() error {
		was, err := find(c)
		if err != nil {
			return err
		}
		s := was
		if err := edit(&s); err != nil || s == was {
			return err
		}
		return hidden(a.Subusers.SwapSubuser(c.R.Context(), c.By, was, s))
	})
}
