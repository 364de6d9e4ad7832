package v3

import (
	"net/http"

	"postern/internal/sender"
)

var domainRotateRoutes = []Route{
	{
		Method: "POST", Pattern: pathDomain + "/rotate", Scope: scopeDomainChange, StepUp: true,
		Summary: "Begin to change a domain's DKIM keys: the next ones are made and published, and sign once all name servers answer with them",
		Body:    rotateRequest{}, Answers: map[int]any{200: rotationView{}}, Handler: (*API).rotateDomain,
	},
	{
		Method: "DELETE", Pattern: pathDomain + "/rotate", Scope: scopeDomainChange, StepUp: true,
		Summary: "Give a change of keys up: the next ones, which have signed nothing, are withdrawn; 409 where none is under way",
		Answers: map[int]any{204: nil}, Handler: (*API).cancelRotation,
	},
}

type rotateRequest struct {
	Now bool `json:"now,omitempty" doc:"the keys are compromised: nothing is waited for, and the old ones are withdrawn at once"`
}

type rotationView struct {
	Number   int64       `json:"id"`
	Text     string      `json:"text" doc:"what happens next, in words"`
	Publish  bool        `json:"publish" doc:"the records of keys are to be published; otherwise there is nothing to do"`
	Switched bool        `json:"switched" doc:"the new keys sign already"`
	New      []domainKey `json:"keys" doc:"the new ones"`
	Keys     []domainKey `json:"dkim" doc:"all"`
}

func (a *API) rotateDomain(c *Call) error {
	var in rotateRequest
	if text, err := c.Body(); err != nil {
		return err
	} else if len(text) > 0 {
		if err := c.Decode(&in); err != nil {
			return err
		}
	}
	d, err := a.ownDomain(c)
	if err != nil {
		return err
	}
	r, err := a.Domains.Rotate(c.R.Context(), c.By, d.ID, sender.RotateOptions{Now: in.Now})
	if err != nil {
		return hidden(err)
	}
	keys, err := a.DomainStore.DKIMKeys(c.R.Context(), d.ID)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, rotationView{
		Number: d.Number, Text: r.Text, Publish: r.Publish, Switched: r.Switched, New: viewDomainKeys(&d, r.Keys), Keys: viewDomainKeys(&d, keys),
	})
}

func (a *API) cancelRotation(c *Call) error {
	d, err := a.ownDomain(c)
	if err != nil {
		return err
	}
	if err := a.Domains.Cancel(c.R.Context(), c.By, d.ID); err != nil {
		return hidden(err)
	}
	return c.Empty(http.StatusNoContent)
}
