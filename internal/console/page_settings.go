package console

import (
	"net/http"
	"slices"
	"strconv"

	"postern/internal/relay"
)

const (
	apiPolicy = "/v3/user/policy"
	apiTLS    = "/v3/user/settings/enforced_tls"
	apiZone   = "/v3/user/timezone"
	apiEmail  = "/v3/user/email"
	apiUsage  = "/v3/user/usage"
	apiPlan   = "/v3/user/plan"
)

// settingsPages are the pages of the account's settings.
var settingsPages = []page{
	{Method: "GET", Pattern: "/settings", Title: "Settings", Group: "Account", Nav: "Settings", Needs: []string{"GET " + apiZone}, Handler: onDesk(showSettings)},
	{Method: "POST", Pattern: "/settings/tls", Title: "Settings", Needs: []string{"PATCH " + apiTLS}, Handler: onDesk(setTLS)},
	{Method: "POST", Pattern: "/settings/timezone", Title: "Settings", Needs: []string{"PATCH " + apiZone}, Handler: onDesk(setZone)},
	{Method: "POST", Pattern: "/settings/email", Title: "Settings", Needs: []string{"PUT " + apiEmail}, Handler: onDesk(setNoticeEmail)},
	{Method: "GET", Pattern: "/settings/profile", Title: "Who is behind it", Needs: []string{"PATCH " + apiProfile}, Handler: onDesk(showProfileEdit)},
	{Method: "POST", Pattern: "/settings/profile", Title: "Who is behind it", Needs: []string{"PATCH " + apiProfile}, Handler: onDesk(setProfile)},
	{Method: "GET", Pattern: "/policy", Title: "Policy", Group: "Security", Nav: "Policy", Own: true, Needs: []string{"GET " + apiPolicy}, Handler: onDesk(showPolicy)},
	{Method: "GET", Pattern: "/policy/edit", Title: "Policy", Own: true, StepUp: true, Needs: []string{"PATCH " + apiPolicy}, Handler: onDesk(showPolicyEdit)},
	{Method: "POST", Pattern: "/policy/edit", Title: "Policy", Own: true, Needs: []string{"PATCH " + apiPolicy}, Handler: onDesk(setPolicy)},
}

// settingsPage is the account's settings, and what it used.
type settingsPage struct {
	Is     facts
	Behind facts
	Edit   []link
	Usage  table
	Forms  []form
}

func showSettings(v *desk) error { return v.showSettings(http.StatusOK, nil) }

func (v *desk) showSettings(status int, refused *form) error {
	var p settingsPage
	name := askIf[struct {
		Username string `json:"username"`
	}](v, "/v3/user/username", "/v3/user/username")
	p.Is.add("Name", words(name.Username))
	plan := askIf[planView](v, apiPlan, apiPlan)
	p.Is.add("Limits", cell{Lines: plan.words()})
	p.Behind = v.behind()
	p.Edit = v.linkIf("Change who is behind it", "/settings/profile", "PATCH", apiProfile)
	p.Usage = usageTable(v, askIf[usageListView](v, apiUsage, apiUsage).Result)
	p.Forms = v.settingsForms()
	if refused != nil {
		for i := range p.Forms {
			if p.Forms[i].Name == refused.Name {
				p.Forms[i] = *refused
			}
		}
	}
	return v.Render(status, "page_settings", "Settings", p)
}

// words are the limits of a plan.
func (p *planView) words() (out []string) {
	for _, l := range []struct {
		n     int64
		words string
	}{{p.Hour, "recipients in any 60 minutes"}, {p.Day, "recipients a day"}, {p.Month, "recipients a month"}, {p.Recipients, "recipients of one message"},
		{p.Connections, "connections at once"}} {
		if l.n > 0 {
			out = append(out, count(l.n)+" "+l.words)
		}
	}
	if p.Size > 0 {
		out = append(out, size(p.Size)+" of one message")
	}
	if len(out) == 0 {
		return []string{"none of its own"}
	}
	return out
}

func (v *desk) settingsForms() []form {
	tls := askIf[struct {
		Require bool `json:"require_tls"`
		Valid   bool `json:"require_valid_cert"`
	}](v, apiTLS, apiTLS)
	level := "no"
	switch {
	case tls.Valid:
		level = "verified"
	case tls.Require:
		level = "required"
	}
	zone := askIf[struct {
		Zone string `json:"timezone"`
	}](v, apiZone, apiZone)
	email := askIf[struct {
		Email string `json:"email"`
	}](v, apiEmail, apiEmail)
	return []form{
		v.offer(form{Name: "tls", Title: "TLS of deliveries", Action: v.path("/settings/tls"), Fields: []field{
			{Name: "level", Label: "Mail leaves", Kind: "radio", Options: pick(level, option{Value: "no", Text: "encrypted where the other side can"},
				option{Value: "required", Text: "encrypted, or not at all"}, option{Value: "verified", Text: "encrypted to a host whose certificate is valid, or not at all"})},
		}}, "PATCH", apiTLS),
		v.offer(form{Name: "timezone", Title: "Time zone", Action: v.path("/settings/timezone"), Lead: "Days and months of limits begin there. This console shows times in UTC.", Fields: []field{
			{Name: "timezone", Label: "Time zone", Required: true, Value: zone.Zone, Help: "Such as Europe/Berlin."},
		}}, "PATCH", apiZone),
		v.offer(form{Name: "email", Title: "Address for notices", Action: v.path("/settings/email"), Fields: []field{
			{Name: "email", Label: "Address", Kind: "email", Required: true, Value: email.Email},
		}}, "PUT", apiEmail),
	}
}

// setting handles a form of the settings.
func (v *desk) setting(name, method, path string, body any) error {
	err := v.Call(method, path, body, nil)
	if err == nil {
		return v.Redirect(v.path("/settings"), "It was saved.")
	}
	forms := v.settingsForms()
	i := slices.IndexFunc(forms, func(f form) bool { return f.Name == name })
	if i < 0 {
		return err
	}
	f, ok := v.refused(forms[i], err)
	if !ok {
		return err
	}
	return v.showSettings(formStatus(true), &f)
}

func setTLS(v *desk) error {
	level := v.sent("level")
	return v.setting("tls", "PATCH", apiTLS, map[string]bool{"require_tls": level == "required" || level == "verified", "require_valid_cert": level == "verified"})
}

func setZone(v *desk) error {
	return v.setting("timezone", "PATCH", apiZone, map[string]string{"timezone": v.sent("timezone")})
}

func setNoticeEmail(v *desk) error {
	return v.setting("email", "PUT", apiEmail, map[string]string{"email": v.sent("email")})
}

type policyView struct {
	MaxKeyLife       int64    `json:"max_key_life_seconds"`
	ForbidFullAccess bool     `json:"forbid_full_access"`
	RequireNetworks  bool     `json:"require_networks"`
	Mechanisms       []string `json:"mechanisms"`
	BindReplyTo      bool     `json:"bind_reply_to"`
	ForeignNames     bool     `json:"foreign_names"`
	FactorOptional   bool     `json:"second_factor_optional"`
	PreviewBodies    bool     `json:"preview_bodies"`
}

// policyPage is what the account demands.
type policyPage struct {
	Next []link
	Is   facts
}

const (
	dayOfSeconds = 24 * 3600
	mostLifeDays = 3650
)

func showPolicy(v *desk) error {
	x, err := ask[policyView](v, apiPolicy)
	if err != nil {
		return err
	}
	p := policyPage{Next: v.linkIf("Change it", "/policy/edit", "PATCH", apiPolicy)}
	life := tagged("without end", toneWarn)
	switch {
	case x.MaxKeyLife > 0 && x.MaxKeyLife%dayOfSeconds == 0:
		life = words(things(x.MaxKeyLife/dayOfSeconds, "day"))
	case x.MaxKeyLife > 0:
		life = words(things(x.MaxKeyLife/3600, "hour"))
	}
	p.Is.add("A key's secret lives at most", life)
	p.Is.add("Keys with full access", wanted(x.ForbidFullAccess, "forbidden", "allowed"))
	p.Is.add("Keys without a network", wanted(x.RequireNetworks, "forbidden", "allowed"))
	mechanisms := cell{Lines: x.Mechanisms}
	if len(x.Mechanisms) == 0 {
		mechanisms = words("all that the relay offers")
	}
	p.Is.add("Mechanisms of SMTP logins", mechanisms)
	p.Is.add("Answers go to own addresses only", wanted(x.BindReplyTo, "yes", "no"))
	p.Is.add("Foreign addresses in display names", wanted(!x.ForeignNames, "forbidden", "allowed"))
	p.Is.add("Second factor of people", wanted(!x.FactorOptional, "demanded", "optional"))
	p.Is.add("Messages can be read here", words(yesNo(x.PreviewBodies)))
	return v.Render(http.StatusOK, "page_policy", "Policy", p)
}

// wanted is a switch that is better on.
func wanted(on bool, yes, no string) cell {
	if on {
		return tagged(yes, toneOK)
	}
	return tagged(no, toneWarn)
}

// loginMechanisms are those that a policy can name, the strongest first.
var loginMechanisms = []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "EXTERNAL", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN", "CRAM-MD5"}

func policyForm(v *desk, x *policyView) form {
	mechanisms := field{Name: "mechanisms", Label: "Mechanisms that keys may log in with on SMTP", Kind: "checks", Help: "None: all that the relay offers."}
	for _, m := range loginMechanisms {
		mechanisms.Options = append(mechanisms.Options, option{Value: m, Text: m, On: slices.Contains(x.Mechanisms, m)})
	}
	life := ""
	if x.MaxKeyLife > 0 {
		life = strconv.FormatInt(max(x.MaxKeyLife/dayOfSeconds, 1), 10)
	}
	return v.offer(form{Name: "policy", Action: v.path("/policy/edit"), Cancel: v.path("/policy"), Lead: "It holds for keys that are made or changed from now on, and for every login.", Fields: []field{
		{Name: "max_key_life_seconds", Label: "Days that a key's secret lives", Kind: "number", Value: life, Help: "Empty: without end. 30 to 90 are recommended."},
		{Name: "forbid_full_access", Label: "No key has full access", Kind: "check", On: x.ForbidFullAccess},
		{Name: "require_networks", Label: "Every key says from where it works", Kind: "check", On: x.RequireNetworks},
		mechanisms,
		{Name: "bind_reply_to", Label: "Answers may go only to addresses that the sender may use", Kind: "check", On: x.BindReplyTo},
		{Name: "foreign_names", Label: "Display names may show addresses that the sender may not use", Kind: "check", On: x.ForeignNames},
		{Name: "second_factor_optional", Label: "People may log in without a second factor", Kind: "check", On: x.FactorOptional, Help: "Not recommended. Only owners can allow it."},
		{Name: "preview_bodies", Label: "People who see mail may read what it says", Kind: "check", On: x.PreviewBodies, Help: "Each look is recorded."},
	}}, "PATCH", apiPolicy)
}

func showPolicyEdit(v *desk) error {
	x, err := ask[policyView](v, apiPolicy)
	if err != nil {
		return err
	}
	return v.Render(http.StatusOK, "page_form", "Change the policy", formPage{policyForm(v, &x)})
}

func setPolicy(v *desk) error {
	old, err := ask[policyView](v, apiPolicy)
	if err != nil {
		return err
	}
	body := map[string]any{"forbid_full_access": v.on("forbid_full_access"), "require_networks": v.on("require_networks"),
		"mechanisms": append([]string{}, v.sentTexts("mechanisms")...), "bind_reply_to": v.on("bind_reply_to"), "foreign_names": v.on("foreign_names")}
	// What only owners may change is asked for only where it changes.
	if optional := v.on("second_factor_optional"); optional != old.FactorOptional {
		body["second_factor_optional"] = optional
	}
	if preview := v.on("preview_bodies"); preview != old.PreviewBodies {
		body["preview_bodies"] = preview
	}
	days, err := v.sentNumber("max_key_life_seconds")
	if err == nil && (days < 0 || days > mostLifeDays) { // the API speaks of seconds
		err = &relay.Error{Kind: relay.Invalid, Field: "max_key_life_seconds", Public: "Not a number of days from 1 to " + strconv.Itoa(mostLifeDays) + "."}
	}
	if err == nil {
		// A life of hours, that only the API can set, is not rounded by saving.
		if old.MaxKeyLife == 0 || days != max(old.MaxKeyLife/dayOfSeconds, 1) {
			body["max_key_life_seconds"] = days * dayOfSeconds
		}
		err = v.Call("PATCH", apiPolicy, body, nil)
	}
	if err == nil {
		return v.Redirect(v.path("/policy"), "The policy was changed.")
	}
	return v.again(err, policyForm(v, &old), "Change the policy")
}
