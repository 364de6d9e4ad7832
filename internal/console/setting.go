package console

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
)

// settingPages change how the console looks to its visitor, and whom it shows.
var settingPages = []page{
	{Method: "POST", Pattern: "/theme", Level: anyone, Handler: (*Console).setTheme},
	{Method: "GET", Pattern: "/switch", Own: true, Handler: (*Console).switchTenant},
}

// themeLife is a year: it is no secret and no state of ours.
const themeLife = 365 * 24 * time.Hour

func (c *Console) setTheme(v *visit) error {
	var f struct {
		Theme string `form:"theme"`
		Next  string `form:"next"`
	}
	if err := v.form(&f); err != nil {
		return err
	}
	switch f.Theme {
	case "light", "dark":
		c.setCookie(v.W, v.R, themeCookie, f.Theme, themeLife)
	default:
		c.setCookie(v.W, v.R, themeCookie, "", -1)
	}
	http.Redirect(v.W, v.R, localPath(f.Next), http.StatusSeeOther)
	return nil
}

// switchTenant leads to the same page for another tenant. It changes nothing: the
// tenant is in the path.
func (c *Console) switchTenant(v *visit) error {
	var f struct {
		To   string `form:"to"`
		Next string `form:"next"`
	}
	if err := v.query(&f); err != nil {
		return err
	}
	next := safeNext(f.Next)
	if rest, ok := strings.CutPrefix(next, "/as/"); ok {
		_, rest, _ = strings.Cut(rest, "/")
		next = "/" + rest
	}
	// One thing of one tenant is not there for the other: its list is.
	if first, _, ok := strings.Cut(strings.TrimPrefix(next, "/"), "/"); ok {
		next = "/" + first
	}
	next, _, _ = strings.Cut(next, "?")
	u := &v.Open.User
	if f.To == "" || f.To == c.Tenants.AccountName(u.Account) {
		http.Redirect(v.W, v.R, next, http.StatusSeeOther)
		return nil
	}
	t, ok := c.Tenants.SubuserNamed(u, f.To)
	if !ok {
		return relay.E(relay.NotFound, "There is no subuser of that name that you look after.")
	}
	if !v.shows(next, asOne(v.Principal, t, f.To)) { // the account's own, as its subusers
		next = "/"
	}
	http.Redirect(v.W, v.R, subuserPath(f.To, next), http.StatusSeeOther)
	return nil
}

// shows reports whether a path is a page that is there for a subuser, and for p.
func (v *visit) shows(path string, p *relay.Principal) bool {
	return slices.ContainsFunc(v.pages, func(pg page) bool {
		return pg.Method == http.MethodGet && pg.Pattern == path && pg.forSubusers() && v.may(p, pg.Needs)
	})
}
