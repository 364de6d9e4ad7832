package console

import (
	"encoding/base64"

	"postern/internal/relay"
	"postern/internal/secret"
)

// factorPages set up and take away second factors. A person who has none yet comes
// here from the first login; others from their profile, with both factors just shown.
var factorPages = []page{
	{Method: "POST", Pattern: "/factors/app/begin", Title: "Set up your authenticator app", Level: enrolling, Handler: (*Console).beginApp},
	{Method: "POST", Pattern: "/factors/app", Title: "Set up your authenticator app", Level: enrolling, Handler: (*Console).enableApp},
	{Method: "GET", Pattern: "/factors/app/remove", Title: "Remove the authenticator app?", Own: true, StepUp: true, Handler: (*Console).askRemoveApp},
	{Method: "POST", Pattern: "/factors/app/remove", Title: "Remove the authenticator app?", Own: true, StepUp: true, Handler: (*Console).removeApp},
	{Method: "GET", Pattern: "/factors/passkey", Title: "Add a passkey", Level: enrolling, StepUp: true, Handler: (*Console).showPasskey},
	{Method: "POST", Pattern: "/factors/passkey/options", Level: enrolling, Handler: (*Console).beginPasskey},
	{Method: "POST", Pattern: "/factors/passkey", Title: "Add a passkey", Level: enrolling, Handler: (*Console).addPasskey},
	{Method: "POST", Pattern: "/factors/passkey/{id}/rename", Title: "Your profile", Own: true, Handler: (*Console).renamePasskey},
	{Method: "GET", Pattern: "/factors/passkey/{id}/remove", Title: "Remove this passkey?", Own: true, StepUp: true, Handler: (*Console).askRemovePasskey},
	{Method: "POST", Pattern: "/factors/passkey/{id}/remove", Title: "Remove this passkey?", Own: true, StepUp: true, Handler: (*Console).removePasskey},
	{Method: "GET", Pattern: "/factors/codes", Title: "Make new recovery codes?", Own: true, StepUp: true, Handler: (*Console).askCodes},
	{Method: "POST", Pattern: "/factors/codes", Title: "Make new recovery codes?", Own: true, StepUp: true, Handler: (*Console).newCodes},
}

type appPage struct {
	frame
	Form
	QR     *QR // nil: the code was shown before, and the app has it
	Secret string
	URI    string
	Steps  []Step
}

// firstTime reports whether the visitor sets up their first factor.
func (v *visit) firstTime() bool { return v.Open.Session.Level == relay.SessionEnrol }

func (v *visit) factorSteps() []Step {
	if v.firstTime() {
		return v.ownSteps(stepFactor)
	}
	v.crumb("Your profile", "/profile")
	return nil
}

// beginApp makes a secret and shows it in its own answer, once (WB-07).
func (c *Console) beginApp(v *visit) error {
	if err := v.form(&struct{}{}); err != nil {
		return err
	}
	e, err := c.People.BeginTOTP(v.R.Context(), v.Open)
	if err != nil {
		return err
	}
	code, err := encodeQR(e.URI)
	if err != nil {
		return err
	}
	return v.render("app", &appPage{QR: code, Secret: e.Secret, URI: e.URI, Steps: v.factorSteps()})
}

func (c *Console) enableApp(v *visit) error {
	var f struct {
		Code secret.Redacted `form:"code"`
	}
	if err := v.form(&f); err != nil {
		return err
	}
	first := v.firstTime()
	token, codes, err := c.People.EnableTOTP(v.R.Context(), v.visitor(), v.token, f.Code.Reveal())
	if err != nil {
		return v.failOwn(err, "app", &appPage{Steps: v.factorSteps()})
	}
	v.keep(token)
	return v.enrolled(codes, first, "Your authenticator app is set up.")
}

// enrolled shows the recovery codes that came with the first factor, or leads back.
func (v *visit) enrolled(codes []string, first bool, notice string) error {
	if len(codes) == 0 {
		if first {
			return v.leadTo("/welcome", notice)
		}
		return v.leadTo("/profile", notice)
	}
	return v.showCodes(codes, first, notice)
}

type codesPage struct {
	frame
	Codes []string
	Done  string
	Next  string
	Steps []Step
}

// showCodes answers with codes that are shown once (WB-07): in the answer of the
// POST that made them, which no cache keeps and no link leads to.
func (v *visit) showCodes(codes []string, first bool, notice string) error {
	p := &codesPage{Codes: codes, Done: notice, Next: "/profile"}
	p.Title = "Your recovery codes"
	if first {
		p.Next, p.Steps = "/welcome", v.ownSteps(stepCodes)
	}
	return v.render("codes", p)
}

func (c *Console) askRemoveApp(v *visit) error {
	v.crumb("Your profile", "/profile")
	return v.render("ask", removeAppAsk())
}

func removeAppAsk() *Ask {
	return &Ask{Text: []string{"Codes from the app will not be asked for any more, and do not work any more."}, Button: "Remove the app", Danger: true, Back: "/profile"}
}

func (c *Console) removeApp(v *visit) error {
	if err := v.form(&struct{}{}); err != nil {
		return err
	}
	if err := c.People.DisableTOTP(v.R.Context(), v.Open); err != nil {
		v.crumb("Your profile", "/profile")
		return v.fail(err, "ask", removeAppAsk())
	}
	return v.leadTo("/profile", "The authenticator app is removed.")
}

type passkeyPage struct {
	frame
	Form
	Name  string
	Steps []Step
}

func (c *Console) showPasskey(v *visit) error {
	return v.render("passkey", &passkeyPage{Name: browser(v.R.UserAgent()), Steps: v.factorSteps()})
}

func (c *Console) beginPasskey(v *visit) error {
	options, handle, err := c.People.BeginPasskey(v.R.Context(), v.Open)
	if err != nil {
		return err
	}
	return v.sendOptions(options, handle)
}

func (c *Console) addPasskey(v *visit) error {
	var f struct {
		credential
		Name string `form:"name" max:"64"`
	}
	if err := v.form(&f); err != nil {
		return err
	}
	first := v.firstTime()
	token, codes, err := c.People.AddPasskey(v.R.Context(), v.visitor(), v.token, f.Handle, f.Name, []byte(f.Credential))
	if err != nil {
		return v.failOwn(err, "passkey", &passkeyPage{Name: f.Name, Steps: v.factorSteps()})
	}
	v.keep(token)
	return v.enrolled(codes, first, "Your passkey is added.")
}

func passkeyID(id []byte) string { return base64.RawURLEncoding.EncodeToString(id) }

// ownPasskey finds the passkey of the path among the person's.
func (v *visit) ownPasskey() (relay.Passkey, error) {
	keys, err := v.People.Passkeys(v.R.Context(), v.Open.User.ID)
	if err != nil {
		return relay.Passkey{}, err
	}
	for _, k := range keys {
		if passkeyID(k.ID) == v.R.PathValue("id") {
			return k, nil
		}
	}
	return relay.Passkey{}, relay.E(relay.NotFound, "There is no such passkey.")
}

func (c *Console) renamePasskey(v *visit) error {
	var f struct {
		Name string `form:"name" max:"64"`
	}
	k, err := v.ownPasskey()
	if err != nil {
		return err
	}
	if err = v.form(&f); err == nil {
		err = c.People.RenamePasskey(v.R.Context(), v.Open, k.ID, f.Name)
	}
	if err != nil {
		p, perr := v.profilePage()
		if perr != nil {
			return perr
		}
		return v.fail(err, "profile", p)
	}
	return v.leadTo("/profile", "The passkey has its new name.")
}

func removePasskeyAsk(k *relay.Passkey) *Ask {
	return &Ask{
		Text:   []string{"It does not log you in any more. Delete it on the device or in the password manager, too: it stays there otherwise."},
		Facts:  []Pair{{Key: "Name", Value: k.Name}, {Key: "Added", Value: stamp(k.CreatedAt)}, {Key: "Last used", Value: stamp(k.UsedAt)}},
		Button: "Remove the passkey", Danger: true, Back: "/profile",
	}
}

func (c *Console) askRemovePasskey(v *visit) error {
	k, err := v.ownPasskey()
	if err != nil {
		return err
	}
	v.crumb("Your profile", "/profile")
	return v.render("ask", removePasskeyAsk(&k))
}

func (c *Console) removePasskey(v *visit) error {
	if err := v.form(&struct{}{}); err != nil {
		return err
	}
	k, err := v.ownPasskey()
	if err != nil {
		return err
	}
	if err := c.People.RemovePasskey(v.R.Context(), v.Open, k.ID); err != nil {
		v.crumb("Your profile", "/profile")
		return v.fail(err, "ask", removePasskeyAsk(&k))
	}
	return v.leadTo("/profile", "The passkey is removed.")
}

func (c *Console) askCodes(v *visit) error {
	v.crumb("Your profile", "/profile")
	return v.render("ask", &Ask{
		Text:   []string{"You get ten new codes. The old ones stop working at once."},
		Button: "Make new codes", Back: "/profile",
	})
}

func (c *Console) newCodes(v *visit) error {
	if err := v.form(&struct{}{}); err != nil {
		return err
	}
	codes, err := c.People.NewRecoveryCodes(v.R.Context(), v.Open)
	if err != nil {
		return err
	}
	v.crumb("Your profile", "/profile")
	return v.showCodes(codes, false, "The old codes do not work any more.")
}
