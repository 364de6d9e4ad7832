package console

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/secret"
)

// visit is one request of a page: who asks, for whom, and what the handler uses to
// read, change and answer.
type visit struct {
	*Console
	W   http.ResponseWriter
	R   *http.Request
	Now time.Time

	page  *page
	token secret.Redacted
	// Open is the session and its person; nil where nobody is logged in.
	Open *Visit
	// Principal is set for full sessions only.
	Principal *relay.Principal
	// Tenant is whom the page is about, and Behalf its name where it is a subuser that
	// the person looks after.
	Tenant relay.Tenant
	Behalf string

	posted url.Values // the form that was sent, without its secrets
	frames bool       // the page may show frames from here
	crumbs []Crumb
}

// serve answers one request of a page.
func (c *Console) serve(w http.ResponseWriter, r *http.Request, p *page) error {
	pageHeaders(w.Header())
	if err := c.checkOrigin(r); err != nil {
		return err
	}
	v := &visit{Console: c, W: w, R: r, Now: c.Now(), page: p}
	instead, err := v.enter()
	if err != nil {
		return err
	}
	if instead != "" {
		http.Redirect(w, r, instead, http.StatusSeeOther)
		return nil
	}
	err = p.Handler(c, v)
	if isReauth(err) {
		return v.stepUp()
	}
	if relay.KindOf(err) == relay.Unauthenticated && v.Principal != nil {
		// The session ended while the page was made.
		http.Redirect(w, r, v.loginPath(), http.StatusSeeOther)
		return nil
	}
	return err
}

// enter finds out who asks and whether the page is for them. It returns where to
// go instead, if anywhere.
func (v *visit) enter() (instead string, err error) {
	v.token = v.Console.token(v.R)
	if err := v.open(); err != nil {
		return "", err
	}
	switch v.page.Level {
	case anyone:
		return "", nil
	case halfway:
		if v.Open == nil {
			return v.loginPath(), nil
		}
		return "", nil
	case enrolling:
		if v.Open == nil {
			return v.loginPath(), nil
		}
		if v.Open.Session.Level == relay.SessionPassword {
			return v.factorPath(), nil
		}
		if err := v.admit(); err != nil {
			return "", err
		}
		return v.stepUpFirst(), nil
	}
	switch {
	case v.Open == nil:
		return v.loginPath(), nil
	case v.Open.Session.Level == relay.SessionPassword:
		return v.factorPath(), nil
	case v.Open.Session.Level != relay.SessionFull:
		return "/welcome", nil
	}
	return v.enterFull()
}

// enterFull is enter for pages of full sessions.
func (v *visit) enterFull() (instead string, err error) {
	if err := v.admit(); err != nil {
		return "", err
	}
	if instead, err = v.chooseTenant(); instead != "" || err != nil {
		return instead, err
	}
	if !v.may(v.scoped(), v.page.Needs) {
		if v.page.Pattern == "/{$}" {
			return v.firstPage(), nil // every login leads to "/"
		}
		// What a person may not do is not there for them.
		return "", relay.E(relay.NotFound, "There is no such page, or it is not for you.")
	}
	return v.stepUpFirst(), nil
}

// firstPage is the first that the person may see.
func (v *visit) firstPage() string {
	for _, g := range v.nav() {
		return g.Items[0].Href
	}
	return "/profile"
}

// stepUpFirst leads to the confirmation before a form is shown that will need it.
func (v *visit) stepUpFirst() string {
	if v.page.StepUp && v.Principal != nil && v.stale() && v.R.Method == http.MethodGet {
		return "/confirm?next=" + queryEscape(v.here())
	}
	return ""
}

// open looks the session up. None, or one that has ended, is no error.
func (v *visit) open() error {
	if v.token == "" {
		return nil
	}
	open, err := v.People.Open(v.R.Context(), v.visitor(), v.token)
	switch {
	case err == nil:
		v.Open = open
		httpx.Annotate(v.R.Context(), attr("user", open.User.Username))
	case relay.KindOf(err) == relay.Unauthenticated:
		v.setToken(v.W, v.R, "")
		v.token = ""
	default:
		return err
	}
	return nil
}

// admit gives a full session its principal.
func (v *visit) admit() error {
	if v.Open == nil || v.Open.Session.Level != relay.SessionFull {
		return nil
	}
	p, err := v.People.Principal(v.R.Context(), v.Open)
	if err != nil {
		return err
	}
	v.Principal, v.Tenant = p, p.Tenant
	return nil
}

// chooseTenant reads the subuser from the path. Who may look at subusers only is
// sent to the first.
func (v *visit) chooseTenant() (instead string, err error) {
	name := v.R.PathValue("subuser")
	if !strings.HasPrefix(v.R.URL.Path, "/as/") {
		name = ""
	}
	u := &v.Open.User
	if name != "" {
		t, ok := v.Tenants.SubuserNamed(u, name)
		if !ok || !u.Sees(t) {
			return "", relay.E(relay.NotFound, "There is no such page, or it is not for you.")
		}
		if t != v.Principal.Tenant {
			v.Tenant, v.Behalf = t, name
		}
		return "", nil
	}
	if u.Restricted && v.page.forSubusers() {
		names := v.Tenants.SubuserNames(u, 1)
		if len(names) == 0 {
			return "", relay.E(relay.Forbidden, "None of the subusers that you look after is there any more. Ask an owner of the account.")
		}
		if v.R.Method == http.MethodGet {
			return subuserPath(names[0], v.here()), nil
		}
		return "", relay.E(relay.NotFound, "There is no such page, or it is not for you.")
	}
	return "", nil
}

// scoped is the principal as one of the tenant that the page is about, for May.
func (v *visit) scoped() *relay.Principal {
	if v.Principal == nil || v.Behalf == "" {
		return v.Principal
	}
	return asOne(v.Principal, v.Tenant, v.Behalf)
}

// asOne is a principal as one of a subuser: what is the account's own is not there
// for it.
func asOne(of *relay.Principal, t relay.Tenant, name string) *relay.Principal {
	p := *of
	p.Tenant, p.SubuserName = t, name
	if p.User != nil {
		u := *p.User
		u.Subuser = t.Subuser
		p.User = &u
	}
	return &p
}

// sights is the principal for pages that can be about a subuser, as links lead to
// them: who may look at subusers only is led to one.
func (v *visit) sights() *relay.Principal {
	p := v.scoped()
	if v.Behalf != "" || p == nil || p.User == nil || !p.User.Restricted || len(p.User.Subusers) == 0 {
		return p
	}
	return asOne(p, relay.Tenant{Account: p.User.Account, Subuser: p.User.Subusers[0]}, "")
}

// May reports whether the person could call a route of the API for the tenant of
// the page: what is not true is not shown.
func (v *visit) May(method, pattern string) bool {
	p := v.scoped()
	return p != nil && v.API.May(p, method, pattern)
}

// freshMargin keeps the step-up from running out while a form is filled in.
func (c *Console) freshMargin() time.Duration { return min(2*time.Minute, c.Fresh*2/5) }

// stale reports whether both factors were last shown too long ago.
func (v *visit) stale() bool {
	return v.Open == nil || v.Open.Session.FreshUntil.Before(v.Now.Add(v.freshMargin()))
}

func (v *visit) visitor() Visitor {
	return Visitor{
		Addr: httpx.Client(v.R.Context()), Agent: clip(v.R.UserAgent(), 256), TLS: v.TLSName(v.R), Listener: v.Listener, Host: v.R.Host,
		Passive: v.byScript(),
	}
}

// presentHeader is what a page's script says when somebody touched the page since it
// asked last.
const presentHeader = "Postern-Present"

// byScript reports whether a page asked by itself, without anybody there: that keeps
// no session alive (AC-12). Pages that a person opens have another destination.
func (v *visit) byScript() bool {
	return v.R.Header.Get("Sec-Fetch-Dest") == "empty" && v.R.Header.Get(presentHeader) == ""
}

// here is the path and query that was asked for.
func (v *visit) here() string { return v.R.URL.RequestURI() }

// stands is the address of the page that is shown: a form that was refused is shown on
// the page that has it, where it has none of its own.
func (v *visit) stands() string {
	if v.R.Method == http.MethodPost && !slices.ContainsFunc(v.pages, func(p page) bool { return p.Method == http.MethodGet && p.Pattern == v.page.Pattern }) {
		return path.Dir(v.R.URL.EscapedPath())
	}
	return v.here()
}

// loginPath leads to the login. Whoever sent something is told that it was not done.
func (v *visit) loginPath() string {
	if v.R.Method != http.MethodGet && v.R.Method != http.MethodHead {
		v.setTold(v.W, v.R, toneBad, "You are not logged in any more, so nothing was changed. Log in, and do it again.")
		return "/login"
	}
	if v.R.URL.Path == "/" {
		return "/login"
	}
	return "/login?next=" + queryEscape(v.here())
}

func (v *visit) factorPath() string {
	if v.R.Method != http.MethodGet || v.R.URL.Path == "/" {
		return "/login/factor"
	}
	return "/login/factor?next=" + queryEscape(v.here())
}

// get reads from the API.
func (v *visit) get(path string, out any) error { return v.call(http.MethodGet, path, nil, out) }

// call calls the API; path is with its query, body and out may be nil. Its error
// is a *relay.Error or *httpx.Refusal and may be returned as it is, or given to fail.
func (v *visit) call(method, path string, body, out any) error {
	return v.API.Call(v.R.Context(), v.request(method, path, body), out)
}

// download hands an answer of the API (CSV) to the browser as a file.
func (v *visit) download(path, name string) error {
	h := v.W.Header()
	h.Set("Content-Type", "text/csv; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	err := v.API.Stream(v.R.Context(), v.request(http.MethodGet, path, nil), v.W)
	if err != nil { // before the first octet the answer becomes an error page
		h.Del("Content-Disposition")
	}
	return err
}

func (v *visit) request(method, path string, body any) Request {
	return Request{
		Principal: v.Principal, Behalf: v.Behalf, Method: method, Path: path, Body: body,
		Addr: httpx.Client(v.R.Context()), Agent: clip(v.R.UserAgent(), 256),
	}
}

// redirect goes to a page of the same tenant after a change, with a notice that is
// shown there once. The path may have a query, and is ours, not a visitor's.
func (v *visit) redirect(path, notice string) error {
	if notice != "" {
		v.setFlash(v.W, v.R, notice)
	}
	http.Redirect(v.W, v.R, v.Link(path), http.StatusSeeOther)
	return nil
}

func tlsName(r *http.Request) string {
	if r.TLS == nil {
		return ""
	}
	return tls.VersionName(r.TLS.Version)
}

func isReauth(err error) bool {
	if err == nil {
		return false
	}
	if e, ok := errors.AsType[*httpx.Refusal](err); ok {
		return e.Status == http.StatusForbidden && len(e.Items) > 0 && e.Items[0].Message == textReauth
	}
	e, ok := errors.AsType[*relay.Error](err)
	return ok && e.Kind == relay.Forbidden && e.Public == textReauth
}

// textReauth is what a refusal says when both factors must be shown again (AC-07).
const textReauth = "reauth_required"
