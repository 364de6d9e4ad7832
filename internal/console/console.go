package console

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"postern/internal/httpx"
	"postern/internal/relay"
)

// API is v3, called inside the process.
type API interface {
	Call(ctx context.Context, r Request, out any) error
	Stream(ctx context.Context, r Request, w io.Writer) error
	// May reports whether a principal could call a route at all.
	May(p *relay.Principal, method, pattern string) bool
}

// Tenants names accounts and subusers, from memory.
type Tenants interface {
	AccountName(id relay.AccountID) string
	// SubuserNames are at most limit names of subusers that a person may look at.
	SubuserNames(u *relay.User, limit int) []string
	// SubuserNamed finds one of them.
	SubuserNamed(u *relay.User, name string) (relay.Tenant, bool)
}

// Port is one that takes mail.
type Port struct {
	Number   int
	Implicit bool // TLS from the first octet; else STARTTLS
}

// Config is what the console needs.
type Config struct {
	People  People
	API     API
	Tenants Tenants
	// URL is the public address of the console ("https://mail.example.com"); links
	// and the check of origins use it and never the request's Host.
	URL func() string
	// Hostname and Ports are where mail is handed in, for the snippets.
	Hostname string
	Ports    []Port
	// Fresh is how long both factors count as just shown; 0: 5 minutes.
	Fresh time.Duration
	// Key authenticates the short-lived cookies of notices, 32 octets. nil: made at
	// random, so that a notice is lost when another node answers.
	Key []byte
	// Secure reports whether the way from the browser was encrypted; nil: by the
	// connection and the scheme of URL.
	Secure func(r *http.Request) bool
	// TLSName names the connection's TLS version for login records; nil: by the
	// connection.
	TLSName  func(r *http.Request) string
	Listener string
	Version  string
	// Done ends live streams; nil: only their visitors do.
	Done   <-chan struct{}
	Now    func() time.Time
	Logger *slog.Logger
}

// Console answers with pages.
type Console struct {
	Config
	templates map[string]view
	pages     []page
	shown     *http.ServeMux // paths of pages that are looked at
	live      *lives
	hints     chan struct{} // who judges a password right now
}

// New makes the console. Templates are parsed here: one that is broken is an
// error at start.
func New(c Config) (*Console, error) {
	if c.People == nil || c.API == nil || c.Tenants == nil || c.URL == nil {
		return nil, errors.New("console: People, API, Tenants and URL are needed")
	}
	if u, err := url.Parse(c.URL()); c.URL() != "" && (err != nil || u.Host == "") {
		return nil, fmt.Errorf("console: the URL %q has no host", c.URL())
	}
	if c.Fresh == 0 {
		c.Fresh = 5 * time.Minute
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Secure == nil {
		c.Secure = func(r *http.Request) bool { return r.TLS != nil }
	}
	if c.TLSName == nil {
		c.TLSName = tlsName
	}
	if c.Key == nil {
		c.Key = make([]byte, 32)
		_, _ = rand.Read(c.Key) // never fails
	}
	views, err := parsed()
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	pages := allPages()
	return &Console{Config: c, templates: views, pages: pages, shown: shown(pages), live: newLives(), hints: make(chan struct{}, hintsAtOnce)}, nil
}

// Routes are the pages and their assets.
func (c *Console) Routes() []httpx.Route {
	routes := assetRoutes()
	for i := range c.pages {
		p := &c.pages[i]
		routes = append(routes, httpx.Route{
			Method: p.Method, Pattern: p.Pattern, MaxBody: p.maxBody(), Errors: c.RenderError,
			Handler: func(w http.ResponseWriter, r *http.Request) error { return c.serve(w, r, p) },
		})
		if p.forSubusers() {
			routes = append(routes, httpx.Route{
				Method: p.Method, Pattern: subuserPrefix + p.tenantPattern(), MaxBody: p.maxBody(), Errors: c.RenderError,
				Handler: func(w http.ResponseWriter, r *http.Request) error { return c.serve(w, r, p) },
			})
		}
	}
	return routes
}
