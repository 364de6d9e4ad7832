package console

import (
	"net/http"
	"strings"
)

// mending says where a finding is mended; to who may change nothing there, whom to
// ask. Nothing where the finding names no page of ours.
func (v *desk) mending(href string) cell {
	here, ok := v.ownPath(href)
	pg := v.pageAt(href)
	if !ok || pg == nil {
		return cell{}
	}
	anybody, theirs := v.changesOn(pg)
	if theirs {
		return to("Mend it on its page", here)
	}
	c := words(pg.Title)
	if v.mayOpen(href) {
		c.Href = here
	}
	if anybody {
		c.Lines = []string{"Ask an owner or admin to mend it."}
	}
	return c
}

// mayOpen reports whether an address leads to a page that the person may look at.
func (v *desk) mayOpen(href string) bool {
	pg := v.pageAt(href)
	return pg != nil && v.may(v.scoped(), pg.Needs)
}

// pageless reports whether a finding names no page, or a path of ours without one:
// what it is about is changed on the host.
func (v *desk) pageless(href string) bool {
	_, ours := v.ownPath(href)
	return href == "" || ours && v.pageAt(href) == nil
}

// pageAt is the page that an address leads to, or nil. One of a subuser's has the
// subuser before it.
func (c *Console) pageAt(href string) *page {
	path, _, _ := strings.Cut(href, "?")
	rest, ofSubuser := strings.CutPrefix(path, "/as/")
	if ofSubuser {
		_, rest, _ = strings.Cut(rest, "/")
		path = "/" + rest
	}
	parts := strings.Split(path, "/")
	var best *page
	for i := range c.pages {
		pg := &c.pages[i]
		if pg.Method != http.MethodGet || ofSubuser && !pg.forSubusers() || !fits(strings.Split(pg.Pattern, "/"), parts) {
			continue
		}
		if best == nil || strings.Count(pg.Pattern, "{") < strings.Count(best.Pattern, "{") { // as the mux chooses
			best = pg
		}
	}
	return best
}

// fits reports whether the parts of a path are those of a pattern.
func fits(pattern, parts []string) bool {
	if len(pattern) != len(parts) {
		return false
	}
	for i, p := range pattern {
		if p != parts[i] && (!strings.HasPrefix(p, "{") || p == "{$}" || parts[i] == "") {
			return false
		}
	}
	return true
}

// changesOn reports whether a page has forms that change something, its own or on
// pages below it, and whether the person may use one of them.
func (v *desk) changesOn(on *page) (anybody, theirs bool) {
	for i := range v.pages {
		pg := &v.pages[i]
		if pg.Method != http.MethodPost || pg.Pattern != on.Pattern && !strings.HasPrefix(pg.Pattern, on.Pattern+"/") || !changes(pg.Needs) {
			continue
		}
		anybody = true
		theirs = theirs || v.may(v.scoped(), pg.Needs)
	}
	return anybody, theirs
}

// changes reports whether a page calls a route that changes something. One that needs
// none asks for its rights later, and says nothing of who has them.
func changes(needs []string) bool {
	for _, need := range needs {
		if !strings.HasPrefix(need, http.MethodGet+" ") {
			return true
		}
	}
	return false
}
