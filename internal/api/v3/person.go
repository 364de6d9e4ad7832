package v3

import (
	"net/http"

	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/store"
)

// textReauth is the message of ErrReauth.
const textReauth = "reauth_required"

// ErrReauth is what a person gets who did not show both factors lately, from a
// route with StepUp.
var ErrReauth = httpx.Refuse(http.StatusForbidden, textReauth)

// admitPerson is for Direct: the caller was authenticated by the console, by a
// full session. Who is not a person gets nowhere.
func (a *API) admitPerson(c *Call) error {
	if c.route.OperatorOnly {
		return notFound()
	}
	c.Addr = httpx.Client(c.R.Context())
	if c.route.Open {
		return nil
	}
	p := callerOf(c.R.Context())
	if p == nil || p.User == nil || p.Key != nil || !p.User.DisabledAt.IsZero() || !p.User.DeletedAt.IsZero() {
		return relay.E(relay.Unauthenticated, textNoKey)
	}
	own := *p
	own.Tenant = relay.Tenant{Account: p.User.Account, Subuser: p.User.Subuser} // whatever the session says
	if s, ok := a.Directory.Subuser(own.Subuser); !own.Subuser.IsZero() && (!ok || !s.DeletedAt.IsZero()) {
		return relay.E(relay.Unauthenticated, textNoKey)
	}
	c.Principal, c.Tenant = &own, own.Tenant
	c.By = store.By{Who: "user " + p.User.Username, Session: p.Session, Subuser: p.Subuser, Restricted: restricted(p)}
	if c.Addr.IsValid() {
		c.By.From = c.Addr.String()
	}
	if !c.route.NoRateLimit {
		if err := a.rates.take(a, c); err != nil {
			return err
		}
	}
	if err := a.authorise(c); err != nil {
		return err
	}
	// Last, so that nobody shows two factors for what they may not do.
	if c.route.StepUp && !c.Now.Before(own.FreshUntil) {
		return ErrReauth
	}
	return nil
}

// mayActFor reports whether a principal may turn to subusers of its account at
// all. Who is restricted to some was given them by name.
func mayActFor(p *relay.Principal) bool {
	return p.Subuser.IsZero() && (p.Allows(scopeBehalf) || restricted(p))
}

// restricted: a person of the account who sees some subusers of it and nothing
// else.
func restricted(p *relay.Principal) bool { return p.User != nil && p.User.Restricted }

// sees reports whether the caller may look at a tenant of its account.
func (c *Call) sees(t relay.Tenant) bool {
	return c.Operator || c.Principal.User == nil || c.Principal.User.Sees(t)
}

// whoID is what a principal's requests are counted by.
func whoID(p *relay.Principal) relay.ID {
	if p.User != nil {
		return p.User.ID.ID
	}
	return p.Key.ID.ID
}
