package v3

import (
	"net/http"
	"slices"
	"strings"

	"postern/internal/relay"
)

// accessOfTeammate is SendGrid's answer.
type accessOfTeammate struct {
	Restricted bool           `json:"has_restricted_subuser_access"`
	Access     []subuserSight `json:"subuser_access"`
	Metadata   struct {
		Next *nextSight `json:"next_params,omitempty"`
	} `json:"_metadata"`
}

// subuserSight is what a person may do for one subuser.
type subuserSight struct {
	ID         int64    `json:"id"`
	Username   string   `json:"username"`
	Email      string   `json:"email"`
	Disabled   bool     `json:"disabled"`
	Permission string   `json:"permission_type" doc:"admin or restricted"`
	Scopes     []string `json:"scopes"`
}

type nextSight struct {
	Limit    int    `json:"limit"`
	After    int64  `json:"after_subuser_id"`
	Username string `json:"username,omitempty"`
}

const maxSights = 100

func (a *API) listTeammateAccess(c *Call) error {
	limit, err := c.Int("limit", maxSights, 1, maxSights)
	if err != nil {
		return err
	}
	after, err := c.Int("after_subuser_id", 0, 0, 1<<62)
	if err != nil {
		return err
	}
	u, err := a.teammate(c, c.R.PathValue("teammate_name"))
	if err != nil {
		return err
	}
	prefix := c.Text("username")
	sights := a.sightsOf(&u)
	sights = slices.DeleteFunc(sights, func(s subuserSight) bool { return s.ID <= after || !strings.HasPrefix(s.Username, prefix) })
	out := accessOfTeammate{Restricted: u.Restricted, Access: page(sights, int(limit), 0)}
	if len(sights) > len(out.Access) {
		out.Metadata.Next = &nextSight{Limit: int(limit), After: out.Access[len(out.Access)-1].ID, Username: prefix}
	}
	return c.JSON(http.StatusOK, out)
}

// sightsOf are the subusers that a person may act for, by their number.
func (a *API) sightsOf(u *relay.User) []subuserSight {
	out := []subuserSight{}
	p := relay.Principal{Tenant: relay.Tenant{Account: u.Account, Subuser: u.Subuser}, User: u}
	if !mayActFor(&p) {
		return out
	}
	permission := "restricted"
	if isAdmin(u.Role) {
		permission = "admin"
	}
	for _, s := range a.Directory.SubusersOf(u.Account) {
		if u.Sees(relay.Tenant{Account: s.Account, Subuser: s.ID}) {
			out = append(out, subuserSight{
				ID: s.Number, Username: s.Name, Email: s.Email, Disabled: !s.DisabledAt.IsZero(), Permission: permission, Scopes: orEmpty(u.Granted()),
			})
		}
	}
	slices.SortFunc(out, func(x, y subuserSight) int { return int(x.ID - y.ID) })
	return out
}
