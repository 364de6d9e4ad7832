package v3

import (
	"slices"
	"strconv"
	"time"

	"postern/internal/relay"
)

var settingRoutes = []Route{
	{
		Method: "GET", Pattern: "/v3/user/settings/enforced_tls", Scope: "user.settings.enforced_tls.read", Summary: "How much TLS deliveries must have",
		Answers: map[int]any{200: tlsView{}}, Handler: (*API).showTLS,
	},
	{
		Method: "PATCH", Pattern: "/v3/user/settings/enforced_tls", Scope: "user.settings.enforced_tls.update", StepUp: true, Summary: "Set how much TLS deliveries must have",
		Body: tlsPatch{}, Answers: map[int]any{200: tlsView{}}, Handler: (*API).patchTLS,
	},
	{
		Method: "GET", Pattern: "/v3/user/timezone", Scope: "user.timezone.read", Summary: "The time zone that days and months are counted in",
		Answers: map[int]any{200: timezoneView{}}, Handler: (*API).showTimezone,
	},
	{
		Method: "PATCH", Pattern: "/v3/user/timezone", Scope: "user.timezone.update", StepUp: true, ParentOnly: true, Summary: "Set the time zone of the account and its subusers",
		Body: timezoneView{}, Answers: map[int]any{200: timezoneView{}}, Handler: (*API).setTimezone,
	},
	{
		Method: "GET", Pattern: "/v3/user/policy", Scope: "credentials.read", Summary: "What the account demands of its keys",
		Answers: map[int]any{200: policyView{}}, Handler: (*API).showPolicy,
	},
	{
		Method: "PATCH", Pattern: "/v3/user/policy", Scope: "credentials.update", StepUp: true, ParentOnly: true, Summary: "Change what is given of the policy; it holds for keys that are made or changed from now on, and for every login",
		Body: policyPatch{}, Answers: map[int]any{200: policyView{}}, Handler: (*API).patchPolicy,
	},
}

// tlsFloor is the oldest version that is spoken at all.
const tlsFloor = 1.2

type tlsView struct {
	RequireTLS       bool    `json:"require_tls"`
	RequireValidCert bool    `json:"require_valid_cert"`
	Version          float64 `json:"version" doc:"the oldest version that is spoken"`
}

type tlsPatch struct {
	RequireTLS       *bool    `json:"require_tls"`
	RequireValidCert *bool    `json:"require_valid_cert"`
	Version          *float64 `json:"version"`
}

// tls is the tenant's level: a subuser's own or its account's, whichever is
// stronger.
func (o *owner) tls() tlsView {
	levels := []relay.TLSLevel{o.account.TLS}
	if o.subuser != nil {
		levels = append(levels, o.subuser.TLS)
	}
	verified := slices.Contains(levels, relay.TLSVerified)
	return tlsView{RequireTLS: verified || slices.Contains(levels, relay.TLSRequired), RequireValidCert: verified, Version: tlsFloor}
}

func (a *API) showTLS(c *Call) error {
	o, err := a.readOwner(c)
	if err != nil {
		return err
	}
	return c.JSON(200, o.tls())
}

func (a *API) patchTLS(c *Call) error {
	var in tlsPatch
	if err := c.Decode(&in); err != nil {
		return err
	}
	if in.Version != nil {
		switch *in.Version {
		case 1.1, 1.2: // 1.1 is not spoken: what was asked for is more than kept
		case 1.3:
			return invalid("version", "Version 1.3 cannot be enforced yet; 1.2 is the oldest that is spoken, and 1.3 is used wherever the other side has it.")
		default:
			return invalid("version", "The version must be 1.1, 1.2 or 1.3.")
		}
	}
	o, err := a.editOwner(c, func(o *owner) error { return in.apply(o) })
	if err != nil {
		return err
	}
	return c.JSON(200, o.tls())
}

func (in *tlsPatch) apply(o *owner) error {
	own := owner{account: o.account}
	to := &o.account.TLS
	if o.subuser != nil {
		to = &o.subuser.TLS
		own = owner{subuser: o.subuser}
	}
	v := own.tls()
	if in.RequireTLS != nil {
		v.RequireTLS = *in.RequireTLS
	}
	if in.RequireValidCert != nil {
		v.RequireValidCert = *in.RequireValidCert
	}
	switch {
	case v.RequireValidCert && !v.RequireTLS:
		return invalid("require_valid_cert", "A valid certificate cannot be required without TLS: set require_tls too.")
	case v.RequireValidCert:
		*to = relay.TLSVerified
	case v.RequireTLS:
		*to = relay.TLSRequired
	default:
		*to = relay.TLSOpportunistic
	}
	return nil
}

type timezoneView struct {
	Timezone string `json:"timezone" v3:"required" doc:"IANA name, such as Europe/Berlin"`
}

func (a *API) showTimezone(c *Call) error {
	o, err := a.readOwner(c)
	if err != nil {
		return err
	}
	return c.JSON(200, timezoneView{o.account.TimeZone})
}

func (a *API) setTimezone(c *Call) error {
	var in timezoneView
	if err := c.Decode(&in); err != nil {
		return err
	}
	if err := checkTimeZone("timezone", in.Timezone); err != nil {
		return err
	}
	if _, err := a.editOwner(c, func(o *owner) error { o.account.TimeZone = in.Timezone; return nil }); err != nil {
		return err
	}
	return c.JSON(200, in)
}

type policyView struct {
	MaxKeyLife       int64    `json:"max_key_life_seconds" doc:"0: no limit; 30 to 90 days are recommended"`
	ForbidFullAccess bool     `json:"forbid_full_access"`
	RequireNetworks  bool     `json:"require_networks"`
	Mechanisms       []string `json:"mechanisms" doc:"those that keys may log in with on SMTP; none: all that the listener offers"`
	BindReplyTo      bool     `json:"bind_reply_to" doc:"answers too may go only to addresses that the sender may use"`
	ForeignNames     bool     `json:"foreign_names" doc:"display names may show addresses that the sender may not use"`

	SecondFactorOptional bool `json:"second_factor_optional" doc:"people may log in with a password alone; set by an owner or the operator only"`
	PreviewBodies        bool `json:"preview_bodies" doc:"people with messages.read may see bodies that are still stored"`
}

type policyPatch struct {
	MaxKeyLife       *int64    `json:"max_key_life_seconds"`
	ForbidFullAccess *bool     `json:"forbid_full_access"`
	RequireNetworks  *bool     `json:"require_networks"`
	Mechanisms       *[]string `json:"mechanisms"`
	BindReplyTo      *bool     `json:"bind_reply_to"`
	ForeignNames     *bool     `json:"foreign_names"`

	SecondFactorOptional *bool `json:"second_factor_optional"`
	PreviewBodies        *bool `json:"preview_bodies"`
}

func viewPolicy(p *relay.Policy) policyView {
	v := policyView{
		MaxKeyLife: int64(p.MaxKeyLife / time.Second), ForbidFullAccess: p.ForbidFullAccess, RequireNetworks: p.RequireNetworks,
		Mechanisms: p.Mechanisms, BindReplyTo: p.BindReplyTo, ForeignNames: p.ForeignNames,
		SecondFactorOptional: p.SecondFactorOptional, PreviewBodies: p.PreviewBodies,
	}
	if v.Mechanisms == nil {
		v.Mechanisms = []string{}
	}
	return v
}

func (a *API) showPolicy(c *Call) error {
	o, err := a.readOwner(c)
	if err != nil {
		return err
	}
	return c.JSON(200, viewPolicy(&o.account.Policy))
}

func (a *API) patchPolicy(c *Call) error {
	var in policyPatch
	if err := c.Decode(&in); err != nil {
		return err
	}
	if in.SecondFactorOptional != nil && *in.SecondFactorOptional && !c.ownsAccount() {
		// No key and no other role takes everybody's second factor away.
		return forbidden()
	}
	o, err := a.editOwner(c, func(o *owner) error { return in.apply(&o.account.Policy) })
	if err != nil {
		return err
	}
	return c.JSON(200, viewPolicy(&o.account.Policy))
}

// ownsAccount reports whether the caller is the operator, or a person who owns
// the account.
func (c *Call) ownsAccount() bool {
	if c.Principal == nil || c.Principal.User == nil {
		return c.Operator
	}
	u := c.Principal.User
	return u.Role == relay.RoleOwner && u.Subuser.IsZero() && !u.Restricted
}

// A key's life is between an hour, which leaves time to rotate it, and ten years.
const (
	minKeyLife = int64(time.Hour / time.Second)
	maxKeyLife = int64(3650 * 24 * time.Hour / time.Second)
)

// mechanisms are those of SMTP AUTH.
var mechanisms = []string{"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "CRAM-MD5", "XOAUTH2", "OAUTHBEARER", "EXTERNAL"}

func (in *policyPatch) apply(p *relay.Policy) error {
	if in.MaxKeyLife != nil {
		if *in.MaxKeyLife != 0 && (*in.MaxKeyLife < minKeyLife || *in.MaxKeyLife > maxKeyLife) {
			return invalid("max_key_life_seconds", "Not a number from %d to %d, or 0 for no limit.", minKeyLife, maxKeyLife)
		}
		p.MaxKeyLife = time.Duration(*in.MaxKeyLife) * time.Second
	}
	if in.ForbidFullAccess != nil {
		p.ForbidFullAccess = *in.ForbidFullAccess
	}
	if in.RequireNetworks != nil {
		p.RequireNetworks = *in.RequireNetworks
	}
	if in.BindReplyTo != nil {
		p.BindReplyTo = *in.BindReplyTo
	}
	if in.ForeignNames != nil {
		p.ForeignNames = *in.ForeignNames
	}
	if in.SecondFactorOptional != nil {
		p.SecondFactorOptional = *in.SecondFactorOptional
	}
	if in.PreviewBodies != nil {
		p.PreviewBodies = *in.PreviewBodies
	}
	if in.Mechanisms == nil {
		return nil
	}
	for i, m := range *in.Mechanisms {
		if !slices.Contains(mechanisms, m) {
			return invalid("mechanisms."+strconv.Itoa(i), "There is no such mechanism; choose of %v.", mechanisms)
		}
	}
	p.Mechanisms = slices.Compact(slices.Sorted(slices.Values(*in.Mechanisms)))
	return nil
}
