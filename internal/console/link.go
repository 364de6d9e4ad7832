package console

import (
	"net/http"

	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/secret"
)

// linkPages are behind the one-time links of mails. Each GET shows a button or a
// form and changes nothing: programs that open every link of a mail use nothing up.
var linkPages = []page{
	{Method: "GET", Pattern: "/forgot", Title: "Forgot your password?", Level: anyone, Handler: (*Console).showForgot},
	{Method: "POST", Pattern: "/forgot", Title: "Forgot your password?", Level: anyone, Handler: (*Console).forgot},
	{Method: "GET", Pattern: "/reset/{token}", Title: "Choose a new password", Level: anyone, Handler: (*Console).showReset},
	{Method: "POST", Pattern: "/reset/{token}", Title: "Choose a new password", Level: anyone, Handler: (*Console).reset},
	{Method: "GET", Pattern: "/invite/{token}", Title: "Welcome to postern", Level: anyone, Handler: (*Console).showInvite},
	{Method: "POST", Pattern: "/invite/{token}", Title: "Welcome to postern", Level: anyone, Handler: (*Console).accept},
	{Method: "GET", Pattern: "/setup/{token}", Title: "Welcome to postern", Level: anyone, Handler: (*Console).showInvite},
	{Method: "POST", Pattern: "/setup/{token}", Title: "Welcome to postern", Level: anyone, Handler: (*Console).accept},
	{Method: "GET", Pattern: "/email/{token}", Title: "Confirm your address", Level: anyone, Handler: (*Console).showEmailLink},
	{Method: "POST", Pattern: "/email/{token}", Title: "Confirm your address", Level: anyone, Handler: (*Console).confirmEmail},
	{Method: "POST", Pattern: "/password/hints", Level: anyone, MaxBody: 4 << 10, Handler: (*Console).passwordHints},
}

type forgotPage struct {
	frame
	Form
	Email string
	Sent  bool
}

func (c *Console) showForgot(v *visit) error { return v.render("forgot", &forgotPage{}) }

// forgot says the same whoever asks (AC-08); People takes the same time, too.
func (c *Console) forgot(v *visit) error {
	var f struct {
		Email string `form:"email" max:"320"`
	}
	if err := v.form(&f); err != nil {
		return v.fail(err, "forgot", &forgotPage{Email: f.Email})
	}
	if err := c.People.AskReset(v.R.Context(), v.visitor(), f.Email); err != nil {
		return v.fail(err, "forgot", &forgotPage{Email: f.Email})
	}
	return v.renderStatus(http.StatusAccepted, "forgot", &forgotPage{Email: f.Email, Sent: true})
}

// linkToken is the secret of the path.
func (v *visit) linkToken() secret.Redacted { return secret.Redacted(v.R.PathValue("token")) }

// linkOver is the answer to a link that does not work (AC-13).
type linkOver struct {
	frame
	Text  string
	Reset bool // a new one can be asked for
}

// look finds a link of some kinds. over: the answer is written.
func (v *visit) look(kinds ...relay.LinkKind) (l relay.Link, over bool, err error) {
	l, err = v.People.LookLink(v.R.Context(), v.linkToken())
	if err == nil {
		for _, k := range kinds {
			if l.Kind == k {
				return l, false, nil
			}
		}
		err = relay.E(relay.NotFound, "This link does not work.")
	}
	if relay.KindOf(err) != relay.NotFound {
		return l, false, err
	}
	return l, true, v.over(err, kinds[0] == relay.LinkReset)
}

func (v *visit) over(err error, reset bool) error {
	_, body := httpx.Answer(err, "")
	p := &linkOver{Text: body.Errors[0].Message, Reset: reset}
	p.Title = "This link does not work"
	return v.renderStatus(http.StatusGone, "link_over", p)
}

type resetPage struct {
	frame
	Form
}

func (c *Console) showReset(v *visit) error {
	if _, over, err := v.look(relay.LinkReset); over || err != nil {
		return err
	}
	return v.render("reset", &resetPage{})
}

// reset sets the password and makes no session: both factors are asked for as
// ever (AC-05).
func (c *Console) reset(v *visit) error {
	var f struct {
		Password secret.Redacted `form:"password"`
	}
	if err := v.form(&f); err != nil {
		return v.fail(err, "reset", &resetPage{})
	}
	err := c.People.Reset(v.R.Context(), v.visitor(), v.linkToken(), f.Password)
	switch {
	case relay.KindOf(err) == relay.NotFound:
		return v.over(err, true)
	case err != nil:
		return v.fail(err, "reset", &resetPage{})
	}
	v.setFlash(v.W, v.R, "Your password is changed, and all your sessions have ended. Log in with the new one.")
	return v.to("/login")
}

type invitePage struct {
	frame
	Form
	Email, Account    string
	Role              string
	Username          string
	FirstName, Family string
	Setup             bool
	Steps             []Step
	Issuers           []string
	Token             string // goes with the form of single sign-on; it stands in the path as well
}

func (v *visit) invitePage(l *relay.Link) *invitePage {
	// Who they will be.
	u := &relay.User{Account: l.Account, Subuser: l.Subuser, Role: l.Role, Scopes: l.Scopes, Restricted: l.Restricted, Subusers: l.Subusers}
	return &invitePage{
		Email: l.Email, Account: v.Tenants.AccountName(l.Account), Role: string(l.Role), Setup: l.Kind == relay.LinkSetup, Steps: v.stepsOf(u, stepPassword),
		Issuers: v.People.Issuers(l.Account), Token: v.linkToken().Reveal(),
	}
}

func (c *Console) showInvite(v *visit) error {
	l, over, err := v.look(relay.LinkSetup, relay.LinkInvite)
	if over || err != nil {
		return err
	}
	return v.render("invite", v.invitePage(&l))
}

// accept makes the person that the link is for. What they will be stands in the
// link; the form says only their names and password (AC-13).
func (c *Console) accept(v *visit) error {
	l, over, err := v.look(relay.LinkSetup, relay.LinkInvite)
	if over || err != nil {
		return err
	}
	var f struct {
		Username string          `form:"username" max:"64"`
		First    string          `form:"first_name" max:"100"`
		Last     string          `form:"last_name" max:"100"`
		Password secret.Redacted `form:"password"`
	}
	err = v.form(&f)
	p := v.invitePage(&l)
	p.Username, p.FirstName, p.Family = f.Username, f.First, f.Last
	if err != nil {
		return v.fail(err, "invite", p)
	}
	token, s, err := c.People.Accept(v.R.Context(), v.visitor(), v.linkToken(), Newcomer{
		Username: f.Username, FirstName: f.First, LastName: f.Last, Password: f.Password,
	})
	switch {
	case relay.KindOf(err) == relay.NotFound:
		return v.over(err, false)
	case err != nil:
		return v.fail(err, "invite", p)
	}
	return v.onward(token, s, "/welcome")
}

type emailLinkPage struct {
	frame
	Form
	Email string
}

func (c *Console) showEmailLink(v *visit) error {
	l, over, err := v.look(relay.LinkEmail)
	if over || err != nil {
		return err
	}
	return v.render("email_link", &emailLinkPage{Email: l.Email})
}

func (c *Console) confirmEmail(v *visit) error {
	if err := v.form(&struct{}{}); err != nil {
		return err
	}
	err := c.People.ConfirmEmail(v.R.Context(), v.visitor(), v.linkToken())
	switch {
	case relay.KindOf(err) == relay.NotFound:
		return v.over(err, false)
	case err != nil:
		return v.fail(err, "email_link", &emailLinkPage{})
	}
	v.setFlash(v.W, v.R, "Your new address is confirmed.")
	return v.to("/profile")
}

const (
	// hintLimit bounds the work of judging a password that nobody has sent yet.
	hintLimit = 128
	// hintsAtOnce are judged at once: anybody may ask, and who is not served asks again
	// with the next letter.
	hintsAtOnce = 2
)

// passwordHints says what is wrong with a password while it is typed. Nothing of
// it is kept or logged.
func (c *Console) passwordHints(v *visit) error {
	var in struct {
		Password secret.Redacted `json:"password"`
		Own      []string        `json:"own"`
	}
	if err := httpx.DecodeJSON(v.R, &in); err != nil {
		return err
	}
	if len(in.Own) > 8 {
		in.Own = in.Own[:8]
	}
	own := in.Own
	if v.Open != nil {
		own = append(own, c.People.OwnNames(&v.Open.User)...)
	}
	out := struct {
		Wrong []string `json:"wrong"`
	}{Wrong: []string{}}
	select {
	case c.hints <- struct{}{}:
		defer func() { <-c.hints }()
	default:
		return relay.E(relay.RateLimited, "Too many passwords are being judged.")
	}
	if pw := in.Password.Reveal(); len(pw) <= hintLimit {
		wrong, err := c.People.CheckPassword(in.Password, own)
		if err != nil {
			return err
		}
		out.Wrong = append(out.Wrong, wrong...)
	}
	return httpx.WriteJSON(v.W, http.StatusOK, out)
}
