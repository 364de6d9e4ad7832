package console

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
)

// stepUpPages ask for both factors again before something that changes security
// (AC-07).
var stepUpPages = []page{
	{Method: "GET", Pattern: "/confirm", Title: "Confirm that it is you", Own: true, Handler: (*Console).showConfirm},
	{Method: "POST", Pattern: "/confirm", Title: "Confirm that it is you", Own: true, MaxBody: 2 * formLimit, Handler: (*Console).confirm},
	{Method: "POST", Pattern: "/confirm/passkey/options", Own: true, Handler: (*Console).beginConfirmPasskey},
	{Method: "POST", Pattern: "/confirm/passkey", Title: "Confirm that it is you", Own: true, MaxBody: 2 * formLimit, Handler: (*Console).confirmPasskey},
}

type confirmPage struct {
	frame
	Form
	Next string
	// Stash is the form that was sent too late, without its secrets, as it was
	// encoded; it comes back as a form of hidden fields after the confirmation.
	Stash    string
	Password bool // it counts: alone, or with a code
	TOTP     bool
	HasKey   bool
	Passkey  PasskeyForm
	Issuers  []string // of single sign-on that lets the person in
	Back     string   // where an issuer leads back to: Next, or the page above it
	Fresh    time.Duration
}

func (v *visit) confirmPage(next, stash string) *confirmPage {
	u := &v.Open.User
	// Who has unlinked it meanwhile, or whose issuer is gone, confirms with what is left.
	ways, _ := v.People.SignOns(v.R.Context(), u)
	var issuers []string
	for _, w := range ways {
		if w.ID != "" && w.Live && !slices.Contains(issuers, w.Issuer) {
			issuers = append(issuers, w.Issuer)
		}
	}
	app := len(u.TOTP) > 0
	return &confirmPage{
		Issuers: issuers, Back: v.opens(next), Fresh: v.Fresh,
		Next: next, Stash: stash, Password: u.Password != "" && (app || !u.SecondFactor()), TOTP: app, HasKey: u.Passkeys > 0,
		Passkey: PasskeyForm{Action: "/confirm/passkey", Options: "/confirm/passkey/options", Button: "Use a passkey", Next: next, Stash: stash, Wide: true},
	}
}

// stashMark begins a form that is kept: also one of a button alone is sent again.
const stashMark = "?"

// stepUp asks for both factors because a change needs them. A form is kept in the
// page: what was typed is not lost, and its secrets are typed again.
func (v *visit) stepUp() error {
	if v.R.Method == http.MethodGet || v.R.Method == http.MethodHead {
		return v.to("/confirm?next=" + queryEscape(v.here()))
	}
	p := v.confirmPage(v.here(), stashMark+v.posted.Encode())
	p.Title = "Confirm that it is you"
	return v.renderStatus(http.StatusForbidden, "confirm", p)
}

func (c *Console) showConfirm(v *visit) error {
	var q struct {
		Next string `form:"next"`
	}
	if err := v.query(&q); err != nil {
		return err
	}
	return v.render("confirm", v.confirmPage(safeNext(q.Next), ""))
}

func (c *Console) confirm(v *visit) error {
	var f struct {
		Password secret.Redacted `form:"password"`
		Code     secret.Redacted `form:"code"`
		Next     string          `form:"next"`
		Stash    string          `form:"stash" max:"65536"`
	}
	if err := v.form(&f); err != nil {
		return err
	}
	token, _, err := c.People.Reauth(v.R.Context(), v.visitor(), v.token, f.Password, f.Code.Reveal())
	if err != nil {
		return v.failConfirm(err, f.Next, f.Stash)
	}
	return v.confirmed(token, f.Next, f.Stash)
}

func (c *Console) beginConfirmPasskey(v *visit) error {
	options, handle, err := c.People.BeginReauthPasskey(v.R.Context(), v.Open)
	if err != nil {
		return err
	}
	return v.sendOptions(options, handle)
}

func (c *Console) confirmPasskey(v *visit) error {
	var f struct {
		credential
		Next  string `form:"next"`
		Stash string `form:"stash" max:"65536"`
	}
	if err := v.form(&f); err != nil {
		return err
	}
	token, _, err := c.People.ReauthPasskey(v.R.Context(), v.visitor(), v.token, f.Handle, []byte(f.Credential))
	if err != nil {
		return v.failConfirm(err, f.Next, f.Stash)
	}
	return v.confirmed(token, f.Next, f.Stash)
}

// failConfirm shows the page again, or leads to the login where too many wrong
// codes ended the session.
func (v *visit) failConfirm(err error, next, stash string) error {
	p := v.confirmPage(safeNext(next), stash)
	if relay.KindOf(err) == relay.Unauthenticated {
		v.Open = nil
		if err := v.open(); err != nil {
			return err
		}
		if v.Open == nil {
			v.setFlash(v.W, v.R, "You are logged out. Log in again.")
			return v.to("/login")
		}
	}
	if !p.refuse(err) {
		return err
	}
	return v.renderStatus(http.StatusForbidden, "confirm", p)
}

// resumePage sends a kept form once more, at the press of a button.
type resumePage struct {
	frame
	To     string
	Fields []Pair
}

func (v *visit) confirmed(token secret.Redacted, next, stash string) error {
	v.keep(token)
	next = safeNext(next)
	if stash == "" {
		return v.to(next)
	}
	values, err := url.ParseQuery(strings.TrimPrefix(stash, stashMark))
	if err != nil {
		return relay.E(relay.Invalid, "The form cannot be read.")
	}
	p := &resumePage{To: next}
	p.Title = "Confirmed"
	for name, all := range values {
		for _, value := range all {
			p.Fields = append(p.Fields, Pair{Key: name, Value: value})
		}
	}
	slices.SortStableFunc(p.Fields, func(a, b Pair) int { return strings.Compare(a.Key, b.Key) })
	return v.render("resume", p)
}
