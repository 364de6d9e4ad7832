package v3

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
)

// teammateView is SendGrid's, whose contact members are always empty here, and
// postern's own. It is a type of its own: what is added to relay.User does not
// come out by itself.
type teammateView struct {
	Username  string   `json:"username"`
	FirstName string   `json:"first_name"`
	LastName  string   `json:"last_name"`
	Email     string   `json:"email"`
	Scopes    []string `json:"scopes"`
	UserType  string   `json:"user_type" doc:"owner, admin or teammate"`
	IsAdmin   bool     `json:"is_admin"`
	Phone     string   `json:"phone"`
	Website   string   `json:"website"`
	Address   string   `json:"address"`
	Address2  string   `json:"address2"`
	City      string   `json:"city"`
	State     string   `json:"state"`
	Zip       string   `json:"zip"`
	Country   string   `json:"country"`

	Role          relay.Role `json:"role" doc:"owner, admin, developer, auditor or custom"`
	Subuser       string     `json:"subuser,omitempty" doc:"the subuser that the person belongs to"`
	Restricted    bool       `json:"restricted" doc:"of the account, but sees only these subusers"`
	Subusers      []string   `json:"subusers"`
	SecondFactor  bool       `json:"second_factor"`
	TOTP          bool       `json:"totp"`
	Passkeys      int        `json:"passkeys"`
	RecoveryCodes int        `json:"recovery_codes" doc:"that are left"`
	Password      bool       `json:"password" doc:"has one"`
	PasswordAt    time.Time  `json:"password_at,omitzero"`
	Disabled      bool       `json:"disabled"`
	DisabledAt    time.Time  `json:"disabled_at,omitzero"`
	DisabledBy    relay.Rank `json:"disabled_by,omitzero" doc:"account or operator: somebody above switched it off, and nobody else switches it on again; empty: its own people"`
	CreatedAt     time.Time  `json:"created_at"`
	InvitedBy     string     `json:"invited_by,omitempty"`
	SeenAt        time.Time  `json:"last_seen_at,omitzero"`
	SeenFrom      netip.Addr `json:"last_seen_from,omitzero"`
}

type teammateList struct {
	Result []teammateView `json:"result"`
}

func (a *API) viewTeammate(u *relay.User) teammateView {
	v := teammateView{
		Username: u.Username, FirstName: u.FirstName, LastName: u.LastName, Email: u.Email, Scopes: orEmpty(u.Granted()),
		UserType: userType(u.Role), IsAdmin: isAdmin(u.Role), Role: u.Role, Restricted: u.Restricted, Subusers: a.subuserNames(u.Subusers),
		SecondFactor: u.SecondFactor(), TOTP: len(u.TOTP) > 0, Passkeys: u.Passkeys, RecoveryCodes: u.RecoveryCodes,
		Password: u.Password != "", PasswordAt: u.PasswordAt, Disabled: !u.DisabledAt.IsZero(), DisabledAt: u.DisabledAt, DisabledBy: u.DisabledRank,
		CreatedAt: u.CreatedAt, InvitedBy: a.People.Invited(u), SeenAt: u.SeenAt, SeenFrom: u.SeenFrom,
	}
	if s, ok := a.Directory.Subuser(u.Subuser); ok && !u.Subuser.IsZero() {
		v.Subuser = s.Name
	}
	return v
}

func userType(r relay.Role) string {
	switch r {
	case relay.RoleOwner, relay.RoleAdmin:
		return string(r)
	}
	return "teammate"
}

func isAdmin(r relay.Role) bool { return r == relay.RoleOwner || r == relay.RoleAdmin }

// subuserNames are those of subusers that still exist, sorted.
func (a *API) subuserNames(ids []relay.SubuserID) []string {
	out := []string{}
	for _, id := range ids {
		if s, ok := a.Directory.Subuser(id); ok && s.DeletedAt.IsZero() {
			out = append(out, s.Name)
		}
	}
	slices.Sort(out)
	return out
}

func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func (a *API) listTeammates(c *Call) error {
	limit, offset, err := c.Page(500, 500)
	if err != nil {
		return err
	}
	users, err := a.usersOf(c, c.Flag("subusers"))
	if err != nil {
		return err
	}
	out := teammateList{Result: []teammateView{}}
	for _, u := range page(users, limit, offset) {
		out.Result = append(out.Result, a.viewTeammate(&u))
	}
	return c.JSON(200, out)
}

// usersOf are the tenant's people by username; wide: its subusers' too.
func (a *API) usersOf(c *Call, wide bool) ([]relay.User, error) {
	if wide && (!c.Tenant.Subuser.IsZero() || !c.Allows(scopeBehalf)) {
		return nil, forbidden()
	}
	users, err := a.Users.Users(c.R.Context(), c.Tenant.Account)
	if err != nil {
		return nil, err
	}
	users = slices.DeleteFunc(slices.Clone(users), func(u relay.User) bool {
		return u.Account != c.Tenant.Account || !wide && u.Subuser != c.Tenant.Subuser || !u.DeletedAt.IsZero()
	})
	slices.SortFunc(users, func(x, y relay.User) int { return strings.Compare(x.Username, y.Username) })
	return users, nil
}

// teammate finds a person of the tenant. One of another tenant does not exist.
func (a *API) teammate(c *Call, name string) (relay.User, error) {
	if name == "" || len(name) > 320 {
		return relay.User{}, notFound()
	}
	u, err := a.Users.UserNamed(c.R.Context(), name)
	if err != nil {
		return u, hidden(err)
	}
	if (relay.Tenant{Account: u.Account, Subuser: u.Subuser}) != c.Tenant || !u.DeletedAt.IsZero() {
		return relay.User{}, notFound()
	}
	return u, nil
}
