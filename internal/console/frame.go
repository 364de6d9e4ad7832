package console

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
)

// frame is what every page has around its content. Page structs embed it first;
// render fills it.
type frame struct {
	Title   string
	Crumbs  []Crumb
	Nav     []NavGroup
	Notice  string // of the change that led here
	Told    string // the notice's tone: toneOK, toneWarn, or toneBad where nothing was changed
	Person  string // who is logged in, "" nobody
	Account string
	Behalf  string   // the subuser that is looked at
	Whole   bool     // the person sees the account, too
	Others  []Option // subusers to switch to
	Many    bool     // too many for a list
	Theme   string
	Here    string // path and query of this page
	Now     time.Time
	Version string
	Assets  string // where they are
	Charts  bool   // the page has some
	Refresh int    // seconds after which the page is loaded anew without scripts; 0: never
	// Plain pages have no navigation: logging in, and what is there before it.
	Plain bool
	Auth  bool // full session

	prefix string
}

// Crumb is one step of the way to a page.
type Crumb struct{ Name, Href string }

// NavGroup is a part of the navigation.
type NavGroup struct {
	Name  string
	Items []NavItem
}

// NavItem is one page there.
type NavItem struct {
	Name, Href string
	Here       bool
}

// framed is a page struct.
type framed interface{ setFrame(frame) }

func (f *frame) setFrame(g frame) {
	title, refresh, charts := f.Title, f.Refresh, f.Charts
	*f = g
	if title != "" {
		f.Title = title
	}
	f.Refresh, f.Charts = refresh, charts
}

// Frame is the frame itself: a page struct may have fields of the same names.
func (f *frame) Frame() *frame { return f }

// Link is the path of a page for the tenant that is shown. Arguments fill the
// wildcards of a pattern, escaped: {{$.Link "/keys/{id}" .ID}}.
func (f *frame) Link(pattern string, args ...string) string { return f.prefix + fill(pattern, args) }

// Link is frame.Link.
func (v *visit) Link(pattern string, args ...string) string { return v.prefix() + fill(pattern, args) }

func (v *visit) prefix() string {
	if v.Behalf == "" {
		return ""
	}
	return "/as/" + url.PathEscape(v.Behalf)
}

// apiPath fills the wildcards of a path of the API, escaped.
func apiPath(pattern string, args ...string) string { return fill(pattern, args) }

func fill(pattern string, args []string) string {
	var b strings.Builder
	for _, a := range args {
		before, rest, ok := strings.Cut(pattern, "{")
		if !ok {
			break
		}
		_, after, _ := strings.Cut(rest, "}")
		b.WriteString(before)
		b.WriteString(url.PathEscape(a))
		pattern = after
	}
	b.WriteString(pattern)
	return b.String()
}

func subuserPath(name, here string) string {
	if here == "/" {
		here = ""
	}
	return "/as/" + url.PathEscape(name) + here
}

// crumb adds a step of the way to this page; the page itself comes by its title.
func (v *visit) crumb(name, path string) { v.crumbs = append(v.crumbs, Crumb{name, v.Link(path)}) }

// listed is how many subusers the switch lists; of more, one is typed.
const listed = 100

func (v *visit) frame() frame {
	f := frame{
		Title: v.page.Title, Crumbs: v.crumbs, Theme: v.theme(v.R), Here: v.stands(), Now: v.Now, Version: v.Version, Assets: assetBase,
		prefix: v.prefix(), Behalf: v.Behalf, Plain: v.Principal == nil, Auth: v.Principal != nil,
	}
	f.Told, f.Notice = v.flash(v.W, v.R)
	if v.Open == nil {
		return f
	}
	u := &v.Open.User
	f.Person = strings.TrimSpace(u.FirstName + " " + u.LastName)
	if f.Person == "" {
		f.Person = u.Username
	}
	if v.Principal == nil {
		return f
	}
	f.Account = v.Tenants.AccountName(u.Account)
	f.Whole = !u.Restricted
	f.Nav = v.nav()
	if u.Subuser.IsZero() {
		f.switches(v, u)
	}
	return f
}

func (f *frame) switches(v *visit, u *relay.User) {
	names := v.Tenants.SubuserNames(u, listed+1)
	if f.Many = len(names) > listed; f.Many || len(names) == 0 {
		return
	}
	if !u.Restricted {
		f.Others = []Option{{Value: "", Label: f.Account}}
	}
	for _, name := range names {
		f.Others = append(f.Others, Option{Value: name, Label: name})
	}
}

// nav is what the person may see, in groups. The entry of the page that is shown
// is the one with the longest path that the page is below.
func (v *visit) nav() []NavGroup {
	own, led := v.scoped(), v.sights()
	groups := make([]NavGroup, len(navGroups))
	here := v.navHere()
	for i := range v.pages {
		pg := &v.pages[i]
		g := slices.Index(navGroups, pg.Group)
		p := own
		if pg.forSubusers() {
			p = led
		}
		if g < 0 || pg.Nav == "" || pg.Own && v.Behalf != "" || !v.may(p, pg.Needs) {
			continue
		}
		href := strings.TrimSuffix(pg.Pattern, "{$}")
		groups[g].Items = append(groups[g].Items, NavItem{Name: pg.Nav, Href: v.Link(href), Here: pg == here})
	}
	var out []NavGroup
	for i, g := range groups {
		if g.Name = navGroups[i]; len(g.Items) > 0 {
			out = append(out, g)
		}
	}
	return out
}

func (v *visit) navHere() *page {
	var best *page
	for i := range v.pages {
		pg := &v.pages[i]
		below := v.page.Pattern == pg.Pattern || strings.HasPrefix(v.page.Pattern, pg.Pattern+"/")
		if pg.Nav != "" && below && (best == nil || len(pg.Pattern) > len(best.Pattern)) {
			best = pg
		}
	}
	return best
}
