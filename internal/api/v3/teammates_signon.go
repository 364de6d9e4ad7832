package v3

import (
	"net/http"
	"time"
)

// teammateWhole is the view of one person.
type teammateWhole struct {
	teammateView
	SingleSignOn []signOnView `json:"single_sign_on" doc:"what is linked to them: each lets whoever has it log in as them"`
}

// signOnView is an identity of a person at an issuer of single sign-on.
type signOnView struct {
	ID       string    `json:"id"`
	Issuer   string    `json:"issuer" doc:"its name, or its URL where it is not configured any more"`
	Live     bool      `json:"live" doc:"it lets them in"`
	Governs  bool      `json:"governs" doc:"it brought them and says what they may do"`
	Stays    string    `json:"stays,omitempty" doc:"why it cannot be unlinked; missing: it can"`
	LinkedAt time.Time `json:"linked_at"`
	UsedAt   time.Time `json:"last_used_at,omitzero"`
}

func (a *API) showTeammate(c *Call) error {
	u, err := a.teammate(c, c.R.PathValue("username"))
	if err != nil {
		return err
	}
	all, err := a.People.SignOns(c.R.Context(), &u)
	if err != nil {
		return err
	}
	out := teammateWhole{teammateView: a.viewTeammate(&u), SingleSignOn: []signOnView{}}
	for _, s := range all {
		if s.ID != "" { // others could be linked, and are not
			out.SingleSignOn = append(out.SingleSignOn, signOnView{s.ID, s.Issuer, s.Live, s.Governs, s.Stays, s.CreatedAt, s.UsedAt})
		}
	}
	return c.JSON(http.StatusOK, out)
}

// removeTeammateSignOn takes a way in away that only its person could otherwise: a
// thief of a session may have linked an identity of their own.
func (a *API) removeTeammateSignOn(c *Call) error {
	u, err := a.otherTeammate(c)
	if err != nil {
		return err
	}
	if err := a.People.RemoveSignOnOf(c.R.Context(), c.By, &u, c.R.PathValue("id")); err != nil {
		return hidden(err)
	}
	return c.Empty(http.StatusNoContent)
}
