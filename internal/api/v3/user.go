package v3

import (
	"errors"
	"slices"
	"strings"

	"postern/internal/relay"
	"postern/internal/store"
)

var userRoutes = slices.Concat([]Route{
	{
		Method: "GET", Pattern: "/v3/user/account", Scope: "user.account.read", Summary: "What kind of account it is",
		Answers: map[int]any{200: accountView{}}, Handler: (*API).showAccount,
	},
	{
		Method: "GET", Pattern: "/v3/user/email", Scope: "user.email.read", Summary: "The address that notices go to",
		Answers: map[int]any{200: emailView{}}, Handler: (*API).showEmail,
	},
	{
		Method: "PUT", Pattern: "/v3/user/email", Scope: "user.email.update", StepUp: true, Summary: "Set the address that notices go to",
		Body: emailView{}, Answers: map[int]any{200: emailView{}}, Handler: (*API).setEmail,
	},
	{
		Method: "GET", Pattern: "/v3/user/username", Scope: "user.username.read", Summary: "The name of the account or subuser",
		Answers: map[int]any{200: usernameView{}}, Handler: (*API).showUsername,
	},
	{
		Method: "PUT", Pattern: "/v3/user/username", Scope: "user.username.update", Summary: "Rename the account or subuser",
		Body: usernameBody{}, Answers: map[int]any{200: usernameView{}}, Handler: (*API).setUsername,
	},
	{
		Method: "GET", Pattern: "/v3/user/profile", Scope: "user.profile.read", Summary: "Who is behind the account or subuser",
		Answers: map[int]any{200: profileView{}}, Handler: (*API).showProfile,
	},
	{
		Method: "PATCH", Pattern: "/v3/user/profile", Scope: "user.profile.update", Summary: "Change what is given of the profile",
		Body: profilePatch{}, Answers: map[int]any{200: profileView{}}, Handler: (*API).patchProfile,
	},
}, settingRoutes, userPlanRoutes)

// owner is whom a request is about, as stored: the account, and the subuser if it
// is about one.
type owner struct {
	account relay.Account
	subuser *relay.Subuser
}

func (o *owner) name() *string {
	if o.subuser != nil {
		return &o.subuser.Name
	}
	return &o.account.Name
}

func (o *owner) email() *string {
	if o.subuser != nil {
		return &o.subuser.Email
	}
	return &o.account.OwnerEmail
}

func (o *owner) profile() *relay.Profile {
	if o.subuser != nil {
		return &o.subuser.Profile
	}
	return &o.account.Profile
}

// readOwner reads the tenant.
func (a *API) readOwner(c *Call) (owner, error) {
	account, err := a.Settings.Account(c.R.Context(), c.Tenant.Account)
	o := owner{account: account}
	if err != nil || c.Tenant.Subuser.IsZero() {
		return o, hidden(err)
	}
	s, err := a.Settings.Subuser(c.R.Context(), c.Tenant.Subuser)
	if err == nil && (s.Account != c.Tenant.Account || !s.DeletedAt.IsZero()) {
		return o, notFound()
	}
	o.subuser = &s
	return o, hidden(err)
}

// editOwner reads the tenant, has it edited and stores it. edit runs again, on what
// is stored then, where somebody on another node has changed anything meanwhile.
func (a *API) editOwner(c *Call, edit func(*owner) error) (o owner, err error) {
	defer a.edits.lock(c.Tenant.Account)()
	err = store.Again(func() error {
		was, err := a.readOwner(c)
		if err != nil {
			return err
		}
		o = was
		if was.subuser == nil {
			if err := edit(&o); err != nil {
				return err
			}
			return a.Settings.SwapAccount(c.R.Context(), c.By, was.account, o.account)
		}
		sub := *was.subuser
		o.subuser = &sub
		if err := edit(&o); err != nil {
			return err
		}
		return a.Settings.SwapSubuser(c.R.Context(), c.By, *was.subuser, sub)
	})
	return o, err
}

type accountView struct {
	Type       string  `json:"type"`
	Reputation float64 `json:"reputation"`
}

// showAccount: nobody is on trial here, and reputation is not computed yet for
// anyone to lose it.
func (a *API) showAccount(c *Call) error {
	return c.JSON(200, accountView{Type: "paid", Reputation: 100})
}

type emailView struct {
	Email string `json:"email" v3:"required"`
}

func (a *API) showEmail(c *Call) error {
	o, err := a.readOwner(c)
	if err != nil {
		return err
	}
	return c.JSON(200, emailView{*o.email()})
}

func (a *API) setEmail(c *Call) error {
	var in emailView
	if err := c.Decode(&in); err != nil {
		return err
	}
	if err := checkEmail("email", in.Email); err != nil {
		return err
	}
	if _, err := a.editOwner(c, func(o *owner) error { *o.email() = in.Email; return nil }); err != nil {
		return err
	}
	return c.JSON(200, in)
}

type usernameView struct {
	Username string `json:"username"`
	UserID   int64  `json:"user_id"`
}

type usernameBody struct {
	Username string `json:"username" v3:"required"`
}

func (o *owner) username() usernameView {
	if o.subuser != nil {
		return usernameView{o.subuser.Name, o.subuser.Number}
	}
	return usernameView{o.account.Name, o.account.Number}
}

func (a *API) showUsername(c *Call) error {
	o, err := a.readOwner(c)
	if err != nil {
		return err
	}
	return c.JSON(200, o.username())
}

func (a *API) setUsername(c *Call) error {
	var in usernameBody
	if err := c.Decode(&in); err != nil {
		return err
	}
	if err := checkUsername("username", in.Username); err != nil {
		return err
	}
	o, err := a.editOwner(c, func(o *owner) error {
		if err := a.mayRename(c, o, in.Username); err != nil {
			return err
		}
		*o.name() = in.Username
		return nil
	})
	if relay.KindOf(err) == relay.Conflict && !errors.Is(err, store.ErrMeanwhile) {
		return &relay.Error{Kind: relay.Invalid, Field: "username", Public: "username exists", Err: err}
	}
	if err != nil {
		return err
	}
	return c.JSON(200, o.username())
}

// mayRename keeps an account by the name that the configuration calls it: its people
// could not log in by their issuer any more, and those of the issuer would come to
// whichever account took the name next.
func (a *API) mayRename(c *Call, o *owner, to string) error {
	switch {
	case c.Operator || o.subuser != nil || o.account.Name == to:
		return nil
	case a.People.SignsOn(o.account.Name):
		return refused("username", "Single sign-on of this account is set up by its name: only whoever runs this relay can change it.")
	case a.People.SignsOn(to):
		return invalid("username", "username exists")
	}
	return nil
}

// profileView is relay.Profile with every member there, as SendGrid answers.
type profileView struct {
	Address   string `json:"address"`
	Address2  string `json:"address2"`
	City      string `json:"city"`
	Company   string `json:"company"`
	Country   string `json:"country"`
	FirstName string `json:"first_name"`
	LastName  string `json:"last_name"`
	Phone     string `json:"phone"`
	State     string `json:"state"`
	Website   string `json:"website"`
	Zip       string `json:"zip"`
}

type profilePatch struct {
	Address   *string `json:"address"`
	Address2  *string `json:"address2"`
	City      *string `json:"city"`
	Company   *string `json:"company"`
	Country   *string `json:"country"`
	FirstName *string `json:"first_name"`
	LastName  *string `json:"last_name"`
	Phone     *string `json:"phone"`
	State     *string `json:"state"`
	Website   *string `json:"website"`
	Zip       *string `json:"zip"`
}

func viewProfile(p *relay.Profile) profileView {
	return profileView{
		Address: p.Address, Address2: p.Address2, City: p.City, Company: p.Company, Country: p.Country, FirstName: p.FirstName,
		LastName: p.LastName, Phone: p.Phone, State: p.State, Website: p.Website, Zip: p.Zip,
	}
}

func (a *API) showProfile(c *Call) error {
	o, err := a.readOwner(c)
	if err != nil {
		return err
	}
	return c.JSON(200, viewProfile(o.profile()))
}

func (a *API) patchProfile(c *Call) error {
	var in profilePatch
	if err := c.Decode(&in); err != nil {
		return err
	}
	o, err := a.editOwner(c, func(o *owner) error { return in.apply(o.profile()) })
	if err != nil {
		return err
	}
	return c.JSON(200, viewProfile(o.profile()))
}

// maxProfile is the longest member of a profile, in octets.
const maxProfile = 255

func (in *profilePatch) apply(p *relay.Profile) error {
	for _, m := range []struct {
		name  string
		given *string
		to    *string
	}{
		{"address", in.Address, &p.Address}, {"address2", in.Address2, &p.Address2}, {"city", in.City, &p.City},
		{"company", in.Company, &p.Company}, {"country", in.Country, &p.Country}, {"first_name", in.FirstName, &p.FirstName},
		{"last_name", in.LastName, &p.LastName}, {"phone", in.Phone, &p.Phone}, {"state", in.State, &p.State},
		{"website", in.Website, &p.Website}, {"zip", in.Zip, &p.Zip},
	} {
		if m.given == nil {
			continue
		}
		if len(*m.given) > maxProfile || strings.ContainsFunc(*m.given, unprintable) {
			return invalid(m.name, "Longer than %d octets, or not printable.", maxProfile)
		}
		*m.to = *m.given
	}
	return nil
}
