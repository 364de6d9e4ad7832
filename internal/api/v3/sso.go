package v3

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"postern/internal/relay"
)

// ssoRoutes are SendGrid's for people who log in by single sign-on. Issuers,
// certificates and who becomes what by group are the operator's configuration
// here, so that no account can point its logins elsewhere.
var ssoRoutes = []Route{
	{
		Method: http.MethodPost, Pattern: "/v3/sso/teammates", Scope: "sso.teammates.create", ParentOnly: true, StepUp: true,
		Summary: "Invite a person who is to log in by single sign-on; they come in when they accept",
		Body:    ssoInvitation{}, Answers: map[int]any{201: ssoTeammate{}}, Handler: (*API).inviteSSO,
	},
	{
		Method: http.MethodPatch, Pattern: "/v3/sso/teammates/{username}", Scope: "sso.teammates.update", ParentOnly: true, StepUp: true,
		Summary: "Change a person's names and what they may do; nobody changes that of their own",
		Body:    ssoPatch{}, Answers: map[int]any{200: teammateView{}}, Handler: (*API).patchSSO,
	},
}

// ssoGrant is how SendGrid says there what a person may do. Of a person who is
// restricted all subusers have the same scopes here.
type ssoGrant struct {
	FirstName  string       `json:"first_name" v3:"required"`
	LastName   string       `json:"last_name" v3:"required"`
	IsAdmin    *bool        `json:"is_admin"`
	Persona    *string      `json:"persona" doc:"accountant, developer, marketer or observer"`
	Scopes     *[]string    `json:"scopes"`
	Restricted *bool        `json:"has_restricted_subuser_access"`
	Access     *[]ssoAccess `json:"subuser_access"`
}

type ssoAccess struct {
	ID         int64    `json:"id" v3:"required"`
	Permission string   `json:"permission_type" v3:"required" doc:"admin or restricted"`
	Scopes     []string `json:"scopes,omitempty" doc:"with restricted"`
}

type ssoInvitation struct {
	Email string `json:"email" v3:"required"`
	ssoGrant
}

type ssoPatch struct{ ssoGrant }

// ssoTeammate is SendGrid's answer.
type ssoTeammate struct {
	FirstName  string         `json:"first_name"`
	LastName   string         `json:"last_name"`
	Email      string         `json:"email"`
	IsAdmin    bool           `json:"is_admin"`
	IsSSO      bool           `json:"is_sso"`
	Scopes     []string       `json:"scopes"`
	Restricted bool           `json:"has_restricted_subuser_access"`
	Access     []subuserSight `json:"subuser_access"`
	Token      string         `json:"token" doc:"of the invitation, as in /v3/teammates/pending"`
}

// personas are SendGrid's sets of scopes. A developer and an observer are roles
// here.
var personas = map[string]func(scope string) bool{
	"accountant": relay.BillingScope,
	"marketer": func(s string) bool {
		return slices.ContainsFunc([]string{"marketing", "templates.", "design_library.", "stats.", "categories.", "asm.", "suppression.", "mail.", "messages.read", "newsletter."},
			func(area string) bool { return strings.HasPrefix(s, area) })
	},
}

// body turns SendGrid's form into ours.
func (in *ssoGrant) body(a *API, c *Call) (grantBody, error) {
	out := grantBody{IsAdmin: in.IsAdmin, Scopes: in.Scopes, Restricted: in.Restricted}
	if err := checkName("first_name", in.FirstName); err != nil {
		return out, err
	}
	if err := checkName("last_name", in.LastName); err != nil {
		return out, err
	}
	if in.Persona != nil {
		if in.IsAdmin != nil && *in.IsAdmin || in.Scopes != nil && len(*in.Scopes) > 0 {
			return out, invalid("persona", "Give one of is_admin, persona and scopes.")
		}
		if err := out.persona(*in.Persona); err != nil {
			return out, err
		}
	}
	if in.Access == nil {
		return out, nil
	}
	return out, in.access(a, c, &out)
}

func (in *grantBody) persona(name string) error {
	in.IsAdmin, in.Scopes = nil, nil
	role := relay.RoleCustom
	switch name {
	case "developer":
		role = relay.RoleDeveloper
	case "observer":
		role = relay.RoleAuditor
	default:
		has := personas[name]
		if has == nil {
			return invalid("persona", "The persona must be accountant, developer, marketer or observer.")
		}
		scopes := slices.DeleteFunc(slices.Clone(relay.Scopes), func(s string) bool { return !has(s) })
		in.Scopes = &scopes
	}
	text := string(role)
	in.Role = &text
	return nil
}

// access reads which subusers a person sees, and takes the scopes that are said
// there for the person's.
func (in *ssoGrant) access(a *API, c *Call, out *grantBody) error {
	if len(*in.Access) > maxEntries {
		return invalid("subuser_access", "More than %d entries.", maxEntries)
	}
	byNumber := map[int64]string{}
	for _, s := range a.Directory.SubusersOf(c.Tenant.Account) {
		byNumber[s.Number] = s.Name
	}
	names := []string{}
	for i, x := range *in.Access {
		field := "subuser_access." + strconv.Itoa(i)
		name, ok := byNumber[x.ID]
		first := (*in.Access)[0]
		switch {
		case !ok:
			return invalid(field+".id", "There is no such subuser.")
		case x.Permission != "admin" && x.Permission != "restricted":
			return invalid(field+".permission_type", "Write admin or restricted.")
		case x.Permission != first.Permission || !slices.Equal(x.Scopes, first.Scopes):
			return invalid(field, "A person has the same scopes for all of their subusers here.")
		case len(x.Scopes) > 0 && x.Permission == "admin":
			return invalid(field+".scopes", "An admin has all scopes.")
		}
		names = append(names, name)
	}
	out.Subusers = &names
	if len(*in.Access) > 0 && out.Role == nil && (in.Scopes == nil || len(*in.Scopes) == 0) && (in.IsAdmin == nil || !*in.IsAdmin) {
		admin := (*in.Access)[0].Permission == "admin"
		out.IsAdmin, out.Scopes = &admin, nil
		if !admin {
			out.Scopes = &(*in.Access)[0].Scopes
		}
	}
	return nil
}

func (a *API) inviteSSO(c *Call) error {
	var in ssoInvitation
	if err := c.Decode(&in); err != nil {
		return err
	}
	body, err := in.body(a, c)
	if err != nil {
		return err
	}
	g, err := body.read(a, c, grant{role: relay.RoleCustom})
	if err != nil {
		return err
	}
	l, err := a.invite(c, in.Email, g)
	if err != nil {
		return err
	}
	will := relay.User{Account: l.Account, Role: l.Role, Scopes: l.Scopes, Restricted: l.Restricted, Subusers: l.Subusers}
	return c.JSON(http.StatusCreated, ssoTeammate{
		FirstName: in.FirstName, LastName: in.LastName, Email: l.Email, IsAdmin: isAdmin(l.Role), IsSSO: true, Scopes: orEmpty(g.all()),
		Restricted: l.Restricted, Access: a.sightsOf(&will), Token: inviteID(&l),
	})
}

func (a *API) patchSSO(c *Call) error {
	var in ssoPatch
	if err := c.Decode(&in); err != nil {
		return err
	}
	body, err := in.body(a, c)
	if err != nil {
		return err
	}
	u, err := a.regrant(c, &body)
	if err != nil {
		return err
	}
	if err := a.Users.SetUserName(c.R.Context(), c.By, u.ID, in.FirstName, in.LastName); err != nil {
		return hidden(err)
	}
	u.FirstName, u.LastName = in.FirstName, in.LastName
	return c.JSON(http.StatusOK, a.viewTeammate(&u))
}
