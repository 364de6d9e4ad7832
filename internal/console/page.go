package console

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"postern/internal/relay"
)

// level is how far a visitor must have come to see a page.
type level int

// The levels; full is the default.
const (
	full      level = iota
	anyone          // no session is looked for
	halfway         // password shown, second factor still missing
	enrolling       // no second factor yet, or full
)

// page is one row of the table of pages: what the console has, and who may see it.
type page struct {
	Method  string // GET or POST
	Pattern string // as httpx.Route
	Title   string
	// Needs are routes of the API that the person must be able to call, as "GET
	// /v3/api_keys": without one of them the page is not shown and not found.
	Needs []string
	// StepUp: both factors must have been shown in the last minutes. Of a form, set it
	// on the GET, too, so that nobody fills it in first.
	StepUp bool
	Level  level
	// Own: about the person or the whole account; never on behalf of a subuser.
	Own bool
	// Group and Nav put a page into the navigation.
	Group, Nav string
	// MaxBody is the largest form in octets; 0: 64 KiB.
	MaxBody int64
	// Secrets are inputs of a page of resources that are typed again where the form is
	// kept for a confirmation, and stand in no page.
	Secrets []string
	Handler func(*Console, *visit) error
}

// formLimit is generous for forms of text.
const formLimit = 64 << 10

func (p *page) maxBody() int64 {
	if p.MaxBody == 0 {
		return formLimit
	}
	return p.MaxBody
}

// subuserPrefix is before the path of a page that shows a subuser of one's own: in
// the path, so that bookmarks and two windows keep what they show.
const subuserPrefix = "/as/{subuser}"

func (p *page) forSubusers() bool { return p.Level == full && !p.Own }

// tenantPattern is the pattern below the prefix; the mux knows no trailing slash.
func (p *page) tenantPattern() string {
	if p.Pattern == "/{$}" {
		return ""
	}
	return p.Pattern
}

// allPages is the table of pages.
func allPages() []page {
	return slices.Concat(framePages, resourcePages)
}

// Pages are the patterns of all pages that are looked at with a full session and show
// something of their own, for tests that visit each: not streams, exports and what
// only leads elsewhere.
func Pages() (patterns []string) {
	for _, p := range allPages() {
		if p.Method == http.MethodGet && p.Title != "" && (p.Level == full || p.Level == enrolling) {
			patterns = append(patterns, p.Pattern)
		}
	}
	return patterns
}

// shown finds which paths open a page that is looked at.
func shown(pages []page) *http.ServeMux {
	m := http.NewServeMux()
	for i := range pages {
		p := &pages[i]
		if p.Method != http.MethodGet || p.Title == "" || p.Level != full && p.Level != enrolling {
			continue
		}
		m.HandleFunc("GET "+p.Pattern, http.NotFound)
		if p.forSubusers() {
			m.HandleFunc("GET "+subuserPrefix+p.tenantPattern(), http.NotFound)
		}
	}
	return m
}

// opens is a path of ours, with its query, if a page opens there; of what only a form is
// sent to, the nearest page above.
func (c *Console) opens(at string) string {
	u, err := url.Parse(at)
	if err != nil {
		return "/"
	}
	for p := u.EscapedPath(); len(p) > 1; p = p[:strings.LastIndexByte(p, '/')] {
		above, err := url.Parse(p)
		if err != nil {
			break
		}
		if _, pattern := c.shown.Handler(&http.Request{Method: http.MethodGet, URL: above}); pattern != "" {
			if p == u.EscapedPath() {
				return at
			}
			return p
		}
	}
	return "/"
}

// may reports whether a principal could use a page.
func (c *Console) may(p *relay.Principal, needs []string) bool {
	for _, need := range needs {
		method, pattern, _ := strings.Cut(need, " ")
		if p == nil || !c.API.May(p, method, pattern) {
			return false
		}
	}
	return true
}
