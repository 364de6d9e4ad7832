package console

import (
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
)

// profilePages are a person's own: name, address, password, sessions.
var profilePages = []page{
	{Method: "GET", Pattern: "/profile", Title: "Your profile", Own: true, Group: "Account", Nav: "Your profile", Handler: (*Console).profile},
	{Method: "POST", Pattern: "/profile/name", Title: "Your profile", Own: true, Handler: (*Console).setName},
	{Method: "GET", Pattern: "/profile/password", Title: "Change your password", Own: true, StepUp: true, Handler: (*Console).showPassword},
	{Method: "POST", Pattern: "/profile/password", Title: "Change your password", Own: true, StepUp: true, Handler: (*Console).changePassword},
	{Method: "GET", Pattern: "/profile/email", Title: "Change your address", Own: true, StepUp: true, Handler: (*Console).showEmail},
	{Method: "POST", Pattern: "/profile/email", Title: "Change your address", Own: true, StepUp: true, Handler: (*Console).askEmail},
	{Method: "GET", Pattern: "/profile/sso/{id}/remove", Title: "Unlink single sign-on?", Own: true, StepUp: true, Handler: (*Console).askRemoveSignOn},
	{Method: "POST", Pattern: "/profile/sso/{id}/remove", Title: "Unlink single sign-on?", Own: true, StepUp: true, Handler: (*Console).removeSignOn},
	{Method: "GET", Pattern: "/profile/sessions", Title: "Your sessions", Own: true, Group: "Account", Nav: "Your sessions", Handler: (*Console).sessions},
	{Method: "POST", Pattern: "/profile/sessions/{id}/end", Title: "Your sessions", Own: true, Handler: (*Console).endSession},
	{Method: "POST", Pattern: "/profile/sessions/others", Title: "Your sessions", Own: true, Handler: (*Console).endOthers},
}

type profilePage struct {
	frame
	Form
	Username, Email    string
	FirstName, Family  string
	Role               string
	HasPassword        bool
	PasswordAt, TOTPAt time.Time
	HasTOTP            bool
	Codes              int
	FewCodes           bool
	Passkeys           []passkeyRow
	SignOns            []SignOn
	Brought            string // the issuer that the person logs in at, and nowhere else
}

type passkeyRow struct {
	ID, Name          string
	CreatedAt, UsedAt time.Time
}

// fewCodes is when new recovery codes are advised.
const fewCodes = 3

func (v *visit) profilePage() (*profilePage, error) {
	u := &v.Open.User
	p := &profilePage{
		Username: u.Username, Email: u.Email, FirstName: u.FirstName, Family: u.LastName, Role: string(u.Role), HasPassword: u.Password != "",
		PasswordAt: u.PasswordAt, TOTPAt: u.TOTPAt, HasTOTP: len(u.TOTP) > 0, Codes: u.RecoveryCodes, FewCodes: u.RecoveryCodes <= fewCodes,
	}
	var err error
	if p.SignOns, err = v.People.SignOns(v.R.Context(), u); err != nil {
		return nil, err
	}
	p.Brought = broughtBy(p.SignOns)
	keys, err := v.People.Passkeys(v.R.Context(), u.ID)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		p.Passkeys = append(p.Passkeys, passkeyRow{ID: passkeyID(k.ID), Name: k.Name, CreatedAt: k.CreatedAt, UsedAt: k.UsedAt})
	}
	return p, nil
}

func (c *Console) profile(v *visit) error {
	p, err := v.profilePage()
	if err != nil {
		return err
	}
	return v.render("profile", p)
}

func (c *Console) setName(v *visit) error {
	var f struct {
		First string `form:"first_name" max:"100"`
		Last  string `form:"last_name" max:"100"`
	}
	err := v.form(&f)
	if err == nil {
		err = c.People.SetName(v.R.Context(), v.Open, f.First, f.Last)
	}
	if err != nil {
		p, perr := v.profilePage()
		if perr != nil {
			return perr
		}
		p.FirstName, p.Family = f.First, f.Last
		return v.fail(err, "profile", p)
	}
	return v.leadTo("/profile", "Your name is saved.")
}

// leadTo is redirect to a page that is nobody's but the person's.
func (v *visit) leadTo(path, notice string) error {
	v.setFlash(v.W, v.R, notice)
	return v.to(path)
}

// ownSignOn is the identity that a URL names.
func (v *visit) ownSignOn() (SignOn, error) {
	all, err := v.People.SignOns(v.R.Context(), &v.Open.User)
	if err != nil {
		return SignOn{}, err
	}
	id := v.R.PathValue("id")
	for _, s := range all {
		if s.ID != "" && s.ID == id {
			return s, nil
		}
	}
	return SignOn{}, relay.E(relay.NotFound, "This single sign-on is not linked to your account.")
}

func removeSignOnAsk(s *SignOn) *Ask {
	a := &Ask{
		Text:   []string{"You cannot log in by " + s.Issuer + " any more, until you link it again. All your other sessions end."},
		Button: "Unlink " + s.Issuer, Danger: true, Back: "/profile",
	}
	if s.Provisions {
		a.Text = append(a.Text, "Whoever logs in by it without being linked gets an account of their own here, if their groups there have a role: link it again first.")
	}
	return a
}

func (c *Console) askRemoveSignOn(v *visit) error {
	s, err := v.ownSignOn()
	if err != nil {
		return err
	}
	v.crumb("Your profile", "/profile")
	if s.Stays != "" {
		return relay.E(relay.Conflict, s.Stays)
	}
	return v.render("ask", removeSignOnAsk(&s))
}

func (c *Console) removeSignOn(v *visit) error {
	if err := v.form(&struct{}{}); err != nil {
		return err
	}
	s, err := v.ownSignOn()
	if err != nil {
		return err
	}
	if err := c.People.RemoveSignOn(v.R.Context(), v.Open, s.ID); err != nil {
		v.crumb("Your profile", "/profile")
		return v.fail(err, "ask", removeSignOnAsk(&s))
	}
	return v.leadTo("/profile", "Single sign-on by "+s.Issuer+" is unlinked.")
}

type passwordPage struct {
	frame
	Form
	HasPassword bool
}

// broughtBy is the issuer that says what somebody may do; "": none does.
func broughtBy(all []SignOn) string {
	for _, s := range all {
		if s.Governs {
			return s.Issuer
		}
	}
	return ""
}

func (c *Console) showPassword(v *visit) error {
	ways, err := v.People.SignOns(v.R.Context(), &v.Open.User)
	if err != nil {
		return err
	}
	if by := broughtBy(ways); by != "" {
		return relay.E(relay.Conflict, "You log in by "+by+", and a password would not let you in.")
	}
	v.crumb("Your profile", "/profile")
	return v.render("password", &passwordPage{HasPassword: v.Open.User.Password != ""})
}

func (c *Console) changePassword(v *visit) error {
	var f struct {
		Old secret.Redacted `form:"old"`
		New secret.Redacted `form:"password"`
	}
	v.crumb("Your profile", "/profile")
	err := v.form(&f)
	if err == nil {
		err = c.People.ChangePassword(v.R.Context(), v.Open, f.Old, f.New)
	}
	if err != nil {
		return v.failOwn(err, "password", &passwordPage{HasPassword: v.Open.User.Password != ""})
	}
	return v.leadTo("/profile", "Your password is changed. All your other sessions have ended.")
}

// failOwn is fail for forms that ask a person for a secret of theirs: that it is
// wrong is told there. The session is known to live: serve looked a moment ago.
func (v *visit) failOwn(err error, name string, p former) error {
	if relay.KindOf(err) != relay.Unauthenticated {
		return v.fail(err, name, p)
	}
	if !p.form().refuse(err) {
		return err
	}
	return v.renderStatus(403, name, p)
}

type emailPage struct {
	frame
	Form
	Old, Email string
}

func (c *Console) showEmail(v *visit) error {
	v.crumb("Your profile", "/profile")
	return v.render("email", &emailPage{Old: v.Open.User.Email})
}

func (c *Console) askEmail(v *visit) error {
	var f struct {
		Email string `form:"email" max:"320"`
	}
	v.crumb("Your profile", "/profile")
	err := v.form(&f)
	if err == nil {
		err = c.People.AskEmail(v.R.Context(), v.Open, f.Email)
	}
	if err != nil {
		return v.fail(err, "email", &emailPage{Old: v.Open.User.Email, Email: f.Email})
	}
	return v.leadTo("/profile", "A link is on its way to "+f.Email+". Your address changes when you open it.")
}

type sessionsPage struct {
	frame
	Sessions []sessionRow
	Others   int
}

type sessionRow struct {
	ID, Method, Addr, Agent string
	Whole                   string // the browser's own words
	CreatedAt, SeenAt       time.Time
	Current, Half           bool
}

func (c *Console) sessions(v *visit) error {
	all, err := c.People.Sessions(v.R.Context(), v.Open.User.ID)
	if err != nil {
		return err
	}
	p := &sessionsPage{}
	for _, s := range all {
		row := sessionRow{
			ID: s.ID.String(), Method: methodText(s.Method), Agent: browser(s.Agent), Whole: s.Agent, CreatedAt: s.CreatedAt, SeenAt: s.SeenAt,
			Current: s.ID == v.Open.Session.ID, Half: s.Level != relay.SessionFull,
		}
		if s.Addr.IsValid() {
			row.Addr = s.Addr.String()
		}
		if !row.Current {
			p.Others++
		}
		p.Sessions = append(p.Sessions, row)
	}
	return v.render("sessions", p)
}

func (c *Console) endSession(v *visit) error {
	if err := v.form(&struct{}{}); err != nil {
		return err
	}
	id, err := relay.ParseID(v.R.PathValue("id"))
	if err != nil {
		return relay.E(relay.NotFound, "There is no such session.")
	}
	if err := c.People.EndSession(v.R.Context(), v.Open, relay.SessionID{ID: id}); err != nil && relay.KindOf(err) != relay.NotFound {
		return err
	}
	if id == v.Open.Session.ID.ID {
		v.keep("")
		return v.leadTo("/login", "You are logged out.")
	}
	return v.leadTo("/profile/sessions", "The session has ended.")
}

func (c *Console) endOthers(v *visit) error {
	if err := v.form(&struct{}{}); err != nil {
		return err
	}
	n, err := c.People.EndOthers(v.R.Context(), v.Open)
	if err != nil {
		return err
	}
	return v.leadTo("/profile/sessions", plural(n, "session has", "sessions have")+" ended. This one goes on.")
}
