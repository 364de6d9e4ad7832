package console

import (
	"maps"
	"net/http"
	"net/url"
	"strings"

	"postern/internal/relay"
)

// desk is a visit of one of the pages of resources: with what was sent, and with
// what these pages are made of.
type desk struct {
	*visit
	values url.Values // of the form, or of the query where there is none
	charts bool       // the page has some
	bars   []bar      // what cannot be done to the thing that the page is about
}

// onDesk makes a handler of the table of pages.
func onDesk(h func(*desk) error) func(*Console, *visit) error {
	return func(_ *Console, v *visit) error {
		d := &desk{visit: v, values: v.R.URL.Query()}
		if v.R.Method == http.MethodPost {
			values, err := v.values()
			if err != nil {
				return err
			}
			d.values = values
			v.posted = maps.Clone(values)
			for _, name := range v.page.Secrets {
				v.posted.Del(name)
			}
		}
		return h(d)
	}
}

// sheet is a page of resources in its frame; P is the page's own struct.
type sheet struct {
	frame
	P any
}

// Render answers with a page.
func (v *desk) Render(status int, name, title string, p any) error {
	return v.renderStatus(status, name, &sheet{frame: frame{Title: title, Charts: v.charts}, P: p})
}

// Redirect goes to an address of v.path after a change, with a notice that is
// shown there once.
func (v *desk) Redirect(to, said string) error {
	if said != "" {
		v.setFlash(v.W, v.R, said)
	}
	http.Redirect(v.W, v.R, to, http.StatusSeeOther)
	return nil
}

// Refuse goes back to an address of v.path after a change that was not made, with the
// reason.
func (v *desk) Refuse(to, why string) error {
	v.setTold(v.W, v.R, toneBad, why)
	http.Redirect(v.W, v.R, to, http.StatusSeeOther)
	return nil
}

// Warn is Redirect where something is still to be done.
func (v *desk) Warn(to, said string) error {
	v.setTold(v.W, v.R, toneWarn, said)
	http.Redirect(v.W, v.R, to, http.StatusSeeOther)
	return nil
}

// Call calls the API for the tenant of the page.
func (v *desk) Call(method, path string, body, out any) error { return v.call(method, path, body, out) }

// path is the address of a page for the tenant that is shown; parts are what
// others have named.
func (v *desk) path(base string, parts ...string) string { return v.prefix() + base + pathOf(parts...) }

// Scopes are those that the person has, and can give.
func (v *desk) Scopes() []string {
	if v.Principal == nil || v.Principal.User == nil {
		return nil
	}
	return v.Principal.User.Granted()
}

// Endpoint is where programs hand mail in.
func (v *desk) Endpoint() endpoint {
	return endpoint{Host: v.Hostname, URL: strings.TrimSuffix(v.Console.URL(), "/")}
}

// Addr is where the person comes from, as a text.
func (v *desk) Addr() string { return v.visitor().Addr.Unmap().WithZone("").String() }

// notHere is for a part of a path that is none of ours.
func notHere() error { return relay.E(relay.NotFound, "There is no such page, or it is not for you.") }
