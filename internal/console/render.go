package console

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"

	"postern/internal/httpx"
	"postern/internal/relay"
)

//go:embed templates/*.html
var templateFiles embed.FS

// view parses the template of one page, with the frame around it, when it is first
// shown: all of them take 14 MB, and most people see a few.
type view func() (*template.Template, error)

// shared are the templates that every page has: the frame and its parts.
var shared = []string{"templates/layout.html", "templates/parts.html", "templates/page_parts.html"}

// parsed are the pages by name, parsed once in a process: they are embedded, and
// never change.
var parsed = sync.OnceValues(readTemplates)

// readTemplates finds every page. A page's file is a template of its own set, so
// that each can define "main".
func readTemplates() (map[string]view, error) {
	base, err := template.New("layout").Funcs(funcs).ParseFS(templateFiles, shared...)
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		return nil, err
	}
	views := map[string]view{}
	for _, name := range names {
		if slices.Contains(shared, name) {
			continue
		}
		views[strings.TrimSuffix(path.Base(name), ".html")] = sync.OnceValues(func() (*template.Template, error) { return parsePage(base, name) })
	}
	return views, nil
}

func parsePage(base *template.Template, name string) (*template.Template, error) {
	set, err := base.Clone()
	if err != nil {
		return nil, err
	}
	if set, err = set.ParseFS(templateFiles, name); err != nil {
		return nil, err
	}
	if set.Lookup("main") == nil {
		return nil, fmt.Errorf("template %s does not define main", name)
	}
	return set, nil
}

// render answers with a page: the name of its template without .html, and its
// struct, a pointer.
func (v *visit) render(name string, p framed) error { return v.renderStatus(http.StatusOK, name, p) }

func (v *visit) renderStatus(status int, name string, p framed) error {
	p.setFrame(v.frame())
	if v.frames {
		v.W.Header().Set("Content-Security-Policy", strings.Replace(csp, "default-src 'none';", "default-src 'none'; frame-src 'self';", 1))
	}
	return v.write(v.W, status, name, p)
}

// write makes the whole page before its first octet goes out: a fault in a
// template is an error page, and never half a page.
func (c *Console) write(w http.ResponseWriter, status int, name string, p any) error {
	page := c.templates[name]
	if page == nil {
		return fmt.Errorf("console: no template %s", name)
	}
	set, err := page()
	if err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	var b bytes.Buffer
	if err := set.ExecuteTemplate(&b, "layout", p); err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, err = w.Write(b.Bytes())
	return err
}

// former is a page struct with a Form.
type former interface {
	framed
	form() *Form
}

// fail answers with a form again, with what was wrong with it: under the inputs
// where the error names one, else above the form. What a form cannot show (a fault
// of ours, a page that is not there) is returned and becomes an error page; and so
// is reauth_required, which serve answers.
func (v *visit) fail(err error, name string, p former) error {
	switch {
	case isReauth(err), relay.KindOf(err) == relay.NotFound, relay.KindOf(err) == relay.Unauthenticated && v.Principal != nil:
		return err
	case !p.form().refuse(err):
		return err
	}
	status, _ := httpx.Answer(err, "")
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		v.W.Header().Set("Retry-After", httpx.RetryAfter(err))
	}
	return v.renderStatus(status, name, p)
}

func asRefusal(err error) (*httpx.Refusal, bool) { return errors.AsType[*httpx.Refusal](err) }

// errorPage is shown instead of a page.
type errorPage struct {
	frame
	Status int
	Texts  []string
	ID     string // where nothing better can be said
	Again  bool   // it may work later
}

// RenderError answers with an error as a page: for the console's routes, and for
// what no route is found for, as httpx.Options.Unmatched. It leaves the API's
// paths, and clients that do not ask for HTML there, to JSON.
func (c *Console) RenderError(w http.ResponseWriter, r *http.Request, err error) bool {
	if !wantsHTML(r) {
		return false
	}
	status, body := httpx.Answer(err, httpx.RequestID(r.Context()))
	pageHeaders(w.Header())
	p := &errorPage{Status: status, ID: body.ID, Again: status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests}
	p.frame = frame{Title: statusTitle(status), Theme: c.theme(r), Here: "/", Assets: assetBase, Version: c.Version, Plain: true, Now: c.Now()}
	for _, item := range body.Errors {
		p.Texts = append(p.Texts, sentence(item.Message))
	}
	return c.write(w, status, "error", p) == nil
}

func wantsHTML(r *http.Request) bool {
	for _, api := range []string{"/v3/", "/oauth/", "/healthz", "/readyz"} {
		if strings.HasPrefix(r.URL.Path, api) {
			return false
		}
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html") || strings.Contains(r.Header.Get("Accept"), "*/*") && r.Header.Get("Sec-Fetch-Mode") == "navigate"
}

func statusTitle(status int) string {
	switch status {
	case http.StatusNotFound:
		return "Page not found"
	case http.StatusForbidden, http.StatusUnauthorized:
		return "Not allowed"
	case http.StatusMethodNotAllowed:
		return "This page does not take that"
	case http.StatusTooManyRequests:
		return "Too many tries"
	case http.StatusServiceUnavailable:
		return "Not available right now"
	case http.StatusGone:
		return "This is over"
	case http.StatusInternalServerError:
		return "Something went wrong here"
	}
	return "That did not work"
}

// sentence gives a text of the API the look of one.
func sentence(s string) string {
	if s == "" {
		return s
	}
	s = strings.ToUpper(s[:1]) + s[1:]
	if !strings.HasSuffix(s, ".") && !strings.HasSuffix(s, "!") && !strings.HasSuffix(s, "?") {
		s += "."
	}
	return s
}
