package v3

import (
	"net/http"

	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/secret"
)

type newSubuser struct {
	Username      string          `json:"username" v3:"required"`
	Email         string          `json:"email" doc:"empty: the account owner's"`
	Password      secret.Redacted `json:"password,omitempty" doc:"taken and thrown away"`
	IPs           []string        `json:"ips" doc:"all addresses of one pool; none: the account's own pool"`
	Region        string          `json:"region,omitempty"`
	IncludeRegion bool            `json:"include_region,omitempty"`
}

type createdSubuser struct {
	Username   string           `json:"username"`
	Number     int64            `json:"user_id"`
	Email      string           `json:"email"`
	Allocation creditAllocation `json:"credit_allocation"`
	Region     string           `json:"region,omitempty"`
}

type creditAllocation struct {
	Type relay.CreditType `json:"type"`
}

func (a *API) createSubuser(c *Call) error {
	var in newSubuser
	if err := c.Decode(&in); err != nil {
		return err
	}
	in.Password = ""
	if err := in.check(); err != nil {
		return err
	}
	s := relay.Subuser{ID: relay.SubuserID{ID: relay.NewID(c.Now)}, Account: c.Tenant.Account, Name: in.Username, Email: in.Email, CreatedAt: c.Now}
	if s.Email == "" { // somebody must answer for it
		account, _ := a.Directory.Account(c.Tenant.Account)
		s.Email = account.OwnerEmail
	}
	if len(in.IPs) > 0 {
		pool, err := a.poolWith(c, in.IPs)
		if err != nil {
			return err
		}
		s.DefaultPool = pool.ID
	}
	if err := a.Subusers.CreateSubuser(c.R.Context(), c.By, s); err != nil {
		if relay.KindOf(err) == relay.Conflict {
			field := "username"
			return Fail(http.StatusBadRequest, httpx.ErrorItem{Message: "username exists", Field: &field})
		}
		return err
	}
	made, err := a.Subusers.Subuser(c.R.Context(), s.ID) // with its number
	if err != nil {
		return err
	}
	out := createdSubuser{Username: made.Name, Number: made.Number, Email: made.Email, Allocation: creditAllocation{relay.CreditsUnlimited}}
	if in.IncludeRegion {
		out.Region = theRegion
	}
	return c.JSON(http.StatusOK, out)
}

func (in *newSubuser) check() error {
	if err := checkUsername("username", in.Username); err != nil {
		return err
	}
	if in.Email != "" {
		if err := checkEmail("email", in.Email); err != nil {
			return err
		}
	}
	if in.Region != "" && in.Region != theRegion {
		return invalid("region", "This installation has one region, global.")
	}
	return nil
}
