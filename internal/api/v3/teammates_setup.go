package v3

import (
	"net/http"
	"slices"
	"time"

	"postern/internal/relay"
)

// setupRoutes make an account's first owner, or one more where all have lost their
// way in. Whoever has the link becomes an owner, so only the operator makes it,
// and hands it over.
var setupRoutes = []Route{{
	Method: http.MethodPost, Pattern: pathTeammates + "/setup", OperatorOnly: true, ParentOnly: true,
	Summary: "Make a one-time link by which a new owner of the account sets up their login; an older one to the same address ends",
	Body:    setupRequest{}, Answers: map[int]any{201: setupLink{}}, Handler: (*API).setupOwner,
}}

type setupRequest struct {
	Email string `json:"email" v3:"required"`
}

type setupLink struct {
	URL       string    `json:"url" doc:"has the secret, which is shown this once"`
	ExpiresAt time.Time `json:"expires_at"`
	Warnings  []string  `json:"warnings,omitempty" doc:"whom the link does not help"`
}

func (a *API) setupOwner(c *Call) error {
	var in setupRequest
	if err := c.Decode(&in); err != nil {
		return err
	}
	if err := checkEmail("email", in.Email); err != nil {
		return err
	}
	if len(in.Email) > maxEmail {
		return invalid("email", "The address is longer than %d octets.", maxEmail)
	}
	url, err := a.People.Setup(c.R.Context(), c.By, c.Tenant.Account, in.Email)
	if err != nil {
		return err
	}
	links, err := a.Users.Links(c.R.Context(), c.Tenant.Account, relay.LinkSetup)
	if err != nil {
		return err
	}
	out := setupLink{URL: url, Warnings: a.linkWarnings()}
	if len(links) > 0 { // it is the newest; its address may be spelled in another way
		out.ExpiresAt = slices.MaxFunc(links, func(x, y relay.Link) int { return x.CreatedAt.Compare(y.CreatedAt) }).ExpiresAt
	}
	return c.JSON(http.StatusCreated, out)
}
