package console

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/secret"
)

// loginPages are logging in and out. They are for anyone: what they change is
// whose browser this is.
var loginPages = []page{
	{Method: "GET", Pattern: "/login", Title: "Log in", Level: anyone, Handler: (*Console).showLogin},
	{Method: "POST", Pattern: "/login", Title: "Log in", Level: anyone, Handler: (*Console).login},
	{Method: "POST", Pattern: "/login/passkey/options", Level: anyone, Handler: (*Console).beginPasskeyLogin},
	{Method: "POST", Pattern: "/login/passkey", Title: "Log in", Level: anyone, Handler: (*Console).loginPasskey},
	{Method: "GET", Pattern: "/login/factor", Title: "Second factor", Level: halfway, Handler: (*Console).showFactor},
	{Method: "POST", Pattern: "/login/factor", Title: "Second factor", Level: halfway, Handler: (*Console).loginFactor},
	{Method: "POST", Pattern: "/login/sso/{issuer}", Title: "Log in", Level: anyone, Handler: (*Console).beginSSO},
	{Method: "GET", Pattern: "/login/sso/callback", Title: "Log in", Level: anyone, Handler: (*Console).finishSSO},
	{Method: "POST", Pattern: "/logout", Level: anyone, Handler: (*Console).logout},
}

type loginPage struct {
	frame
	Form
	Name    string
	Next    string
	Issuers []string
	Passkey PasskeyForm
}

// PasskeyForm is a button that uses a passkey; it needs scripts.
type PasskeyForm struct {
	Action, Options, Button string
	Next, Stash             string
	Wide                    bool
}

func (v *visit) loginPage(name, next string) *loginPage {
	return &loginPage{
		Name: name, Next: next, Issuers: v.People.Issuers(relay.AccountID{}),
		Passkey: PasskeyForm{Action: "/login/passkey", Options: "/login/passkey/options", Button: "Log in with a passkey", Next: next, Wide: true},
	}
}

func (c *Console) showLogin(v *visit) error {
	var q struct {
		Next string `form:"next"`
	}
	if err := v.query(&q); err != nil {
		return err
	}
	next := safeNext(q.Next)
	if v.Open != nil && v.Open.Session.Level == relay.SessionFull {
		return v.to(next)
	}
	return v.render("login", v.loginPage("", next))
}

func (c *Console) login(v *visit) error {
	var f struct {
		Name     string          `form:"username" max:"320"`
		Password secret.Redacted `form:"password"`
		Next     string          `form:"next"`
	}
	err := v.form(&f)
	next := safeNext(f.Next)
	if err != nil {
		return v.fail(err, "login", v.loginPage(f.Name, next))
	}
	token, s, err := c.People.LoginPassword(v.R.Context(), v.visitor(), f.Name, f.Password)
	if err != nil {
		return v.fail(err, "login", v.loginPage(f.Name, next))
	}
	return v.onward(token, s, next)
}

// onward keeps a new token and leads to what its session still needs.
func (v *visit) onward(token secret.Redacted, s relay.Session, next string) error {
	v.keep(token)
	switch s.Level {
	case relay.SessionPassword:
		if next == "/" {
			return v.to("/login/factor")
		}
		return v.to("/login/factor?next=" + queryEscape(next))
	case relay.SessionEnrol:
		return v.to("/welcome")
	}
	return v.to(next)
}

// keep keeps a token that People made in the browser.
func (v *visit) keep(token secret.Redacted) {
	v.token = token
	v.setToken(v.W, v.R, token)
}

// to leads to a path that is ours or went through safeNext.
func (v *visit) to(path string) error {
	http.Redirect(v.W, v.R, path, http.StatusSeeOther)
	return nil
}

// credential is what a passkey's form sends: what passkey.js put there.
type credential struct {
	Handle     string `form:"handle" max:"8192"`
	Credential string `form:"credential" max:"32768"`
}

// sendOptions answers with what the browser's API for passkeys is given.
func (v *visit) sendOptions(options []byte, handle string) error {
	return httpx.WriteJSON(v.W, http.StatusOK, struct {
		Handle  string          `json:"handle"`
		Options json.RawMessage `json:"options"`
	}{handle, options})
}

// halfToken is the token of a login whose second factor is missing, if there is
// one; a passkey then is the second factor, else it is the whole login.
func (v *visit) halfToken() secret.Redacted {
	if v.Open != nil && v.Open.Session.Level == relay.SessionPassword {
		return v.token
	}
	return ""
}

func (c *Console) beginPasskeyLogin(v *visit) error {
	options, handle, err := c.People.BeginPasskeyLogin(v.R.Context(), v.visitor(), v.halfToken())
	if err != nil {
		return err
	}
	return v.sendOptions(options, handle)
}

func (c *Console) loginPasskey(v *visit) error {
	var f struct {
		credential
		Next string `form:"next"`
	}
	if err := v.form(&f); err != nil {
		return err
	}
	next := safeNext(f.Next)
	half := v.halfToken()
	token, s, err := c.People.LoginPasskey(v.R.Context(), v.visitor(), half, f.Handle, []byte(f.Credential))
	switch {
	case err == nil:
		return v.onward(token, s, next)
	case half != "":
		return v.failFactor(err, v.factorPage(next, false))
	}
	return v.fail(err, "login", v.loginPage("", next))
}

type factorPage struct {
	frame
	Form
	Next      string
	TOTP      bool
	Recovery  bool // asks for a recovery code
	Codes     int
	HasKey    bool
	Passkey   PasskeyForm
	OtherWays bool
}

func (v *visit) factorPage(next string, recovery bool) *factorPage {
	u := &v.Open.User
	p := &factorPage{
		Next: next, TOTP: len(u.TOTP) > 0, Recovery: recovery, Codes: u.RecoveryCodes, HasKey: u.Passkeys > 0,
		Passkey: PasskeyForm{Action: "/login/passkey", Options: "/login/passkey/options", Button: "Use a passkey", Next: next, Wide: true},
	}
	p.OtherWays = !recovery && p.Codes > 0
	return p
}

func (c *Console) showFactor(v *visit) error {
	var q struct {
		Next string `form:"next"`
		Way  string `form:"way"`
	}
	if err := v.query(&q); err != nil {
		return err
	}
	next := safeNext(q.Next)
	if v.Open.Session.Level != relay.SessionPassword {
		return v.to(next)
	}
	return v.render("factor", v.factorPage(next, q.Way == "recovery"))
}

func (c *Console) loginFactor(v *visit) error {
	var f struct {
		Code     secret.Redacted `form:"code"`
		Recovery secret.Redacted `form:"recovery"`
		Next     string          `form:"next"`
	}
	if err := v.form(&f); err != nil {
		return err
	}
	next := safeNext(f.Next)
	if v.Open.Session.Level != relay.SessionPassword {
		return v.to(next)
	}
	if f.Recovery != "" {
		token, s, err := c.People.LoginRecovery(v.R.Context(), v.visitor(), v.token, f.Recovery.Reveal())
		if err != nil {
			return v.failFactor(err, v.factorPage(next, true))
		}
		left := max(v.Open.User.RecoveryCodes-1, 0)
		v.setFlash(v.W, v.R, "You logged in with a recovery code; it is used up. You have "+plural(left, "code", "codes")+" left. New ones are made in your profile.")
		return v.onward(token, s, next)
	}
	token, s, err := c.People.LoginTOTP(v.R.Context(), v.visitor(), v.token, f.Code.Reveal())
	if err != nil {
		return v.failFactor(err, v.factorPage(next, false))
	}
	return v.onward(token, s, next)
}

// failFactor is fail for the second step; where the first has ended meanwhile, the
// login starts anew.
func (v *visit) failFactor(err error, p *factorPage) error {
	if relay.KindOf(err) == relay.Unauthenticated {
		v.Open = nil
		if err := v.open(); err != nil {
			return err
		}
		if v.Open == nil {
			v.setFlash(v.W, v.R, "Your login took too long, or had too many wrong codes. Start again.")
			return v.to("/login")
		}
	}
	return v.fail(err, "factor", p)
}

type leavePage struct {
	frame
	To     string
	Issuer string
}

// ssoLife is how long a login at the issuer may take.
const ssoLife = 10 * time.Minute

// beginSSO leads to the issuer by a page: a form may not lead elsewhere
// (form-action). It is for logging in, for accepting an invitation, for linking the
// issuer to the person who is logged in, and for showing again who they are.
func (c *Console) beginSSO(v *visit) error {
	var f struct {
		Next   string          `form:"next"`
		Invite secret.Redacted `form:"invite"`
		For    string          `form:"for"`
	}
	if err := v.form(&f); err != nil {
		return err
	}
	start := OIDCStart{Issuer: v.R.PathValue("issuer"), Next: safeNext(f.Next), Invite: f.Invite}
	if !slices.Contains(c.People.Issuers(relay.AccountID{}), start.Issuer) {
		return relay.E(relay.NotFound, "There is no single sign-on of that name.")
	}
	if f.For == "link" || f.For == "fresh" {
		if v.Open == nil {
			return v.to("/login")
		}
		start.Visit, start.Fresh = v.Open, f.For == "fresh"
	}
	to, state, err := c.People.BeginOIDC(v.R.Context(), v.visitor(), start)
	switch {
	case isReauth(err):
		return v.to("/confirm?next=%2Fprofile")
	case err != nil:
		return v.fail(err, "login", v.loginPage("", start.Next))
	}
	c.setCookie(v.W, v.R, ssoCookie, state, ssoLife)
	return v.render("leave", &leavePage{To: to, Issuer: start.Issuer})
}

func (c *Console) finishSSO(v *visit) error {
	state := c.cookie(v.R, ssoCookie)
	c.setCookie(v.W, v.R, ssoCookie, "", -1)
	token, s, next, err := c.People.FinishOIDC(v.R.Context(), v.visitor(), state, v.R.URL.Query())
	if err != nil {
		return v.fail(err, "login", v.loginPage("", "/"))
	}
	return v.onward(token, s, safeNext(next))
}

func (c *Console) logout(v *visit) error {
	if v.token != "" {
		if err := c.People.Logout(v.R.Context(), v.token); err != nil {
			return err
		}
	}
	v.keep("")
	v.setFlash(v.W, v.R, "You are logged out.")
	return v.to("/login")
}
