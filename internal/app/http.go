package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"postern/internal/api"
	"postern/internal/api/confirm"
	"postern/internal/api/mailsend"
	"postern/internal/api/v3"
	"postern/internal/cert"
	"postern/internal/httpx"
	"postern/internal/people"
	"postern/internal/relay"
)

// Route is an extra route of the public HTTP listener.
type Route = httpx.Route

// edge is one bound HTTP listener.
type edge struct {
	name     string
	listener net.Listener
	server   *http.Server
}

func (a *App) bindHTTP(context.Context) error {
	c := a.opt.Config
	a.batches = mailsend.NewBatches(a.sealer.DeriveAll("mail batch"))
	a.mailRoom, a.apiState = v3.NewMailBudget(0), v3.NewState()
	pages, err := a.makeConsole()
	if err != nil {
		return err
	}
	for _, addr := range c.HTTP.Listen {
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			return fmt.Errorf("http listener: %w", err)
		}
		if a.opt.LocalURL && c.HTTP.URL == "" {
			a.senders.singles.URL = fmt.Sprintf("http://localhost:%d", ln.Addr().(*net.TCPAddr).Port)
		}
		opt := a.httpOptions("http")
		opt.Proxies, opt.Local = c.HTTP.Proxies, !c.HTTP.TLS && isLoopback(ln.Addr())
		opt.Unmatched = pages.RenderError
		if c.HTTP.TLS {
			ln = tls.NewListener(ln, a.certs.TLSConfig(cert.Use{Minimum: c.TLS.MinimumVersion(), ALPN: []string{"h2", "http/1.1"}}))
		}
		a.addEdge("http", ln, httpx.New(opt, slices.Concat(
			api.Public(a), v3.New(a.apiServices("http")), confirm.Routes(a.senders.singles, a.accountName), pages.Routes(), a.opt.Routes,
		)))
	}
	if c.HTTP.URL == "" && people.LocalLinks(a.baseURL()) == "" {
		a.senders.singles.URL = a.baseURL()
	}
	if c.Admin.Listen != "" {
		ln, err := net.Listen("tcp", c.Admin.Listen)
		if err != nil {
			return fmt.Errorf("admin listener: %w", err)
		}
		opt := a.httpOptions("admin")
		opt.Local = true
		a.addEdge("admin", ln, httpx.New(opt, api.Operator(a, a.metrics.handler())))
	}
	ln, err := api.ListenSocket(c.SocketPath())
	if err != nil {
		return err
	}
	opt := a.httpOptions("admin.sock")
	opt.Local = true
	operator := a.apiServices("admin.sock")
	operator.Operator = api.Operated
	a.addEdge("admin.sock", ln, httpx.New(opt, append(api.Admin(a.services()), v3.New(operator)...))).ConnContext = api.ConnContext
	return nil
}

func (a *App) accountName(id relay.AccountID) string {
	account, _ := a.directory.Account(id)
	return account.Name
}

func (a *App) httpOptions(listener string) httpx.Options {
	return httpx.Options{Logger: a.log, Listener: listener, OnRequest: a.metrics.request}
}

func isLoopback(a net.Addr) bool {
	ap, err := netip.ParseAddrPort(a.String())
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

func (a *App) addEdge(name string, ln net.Listener, h http.Handler) *http.Server {
	srv := &http.Server{Handler: a.caughtUp(h)}
	httpx.ServerLimits(srv, a.log)
	a.edges = append(a.edges, &edge{name: name, listener: ln, server: srv})
	a.stops = append(a.stops, step{"close " + name, func(context.Context) error { return ln.Close() }})
	return srv
}

// caughtUp answers by a view that has what the store was told before. Programs are let
// in by a fresh view only, and see to it themselves; the operator and people must find
// what they were just told was stored. A store that does not answer is waited for a
// second, and not by those who ask how the process is: they are told of it.
func (a *App) caughtUp(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !api.Diagnostic(r.URL.Path) {
			a.directory.CatchUp(r.Context())
		}
		h.ServeHTTP(w, r)
	})
}

func (a *App) startEdge(e *edge) {
	go func() {
		if err := e.server.Serve(e.listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			a.fail(fmt.Errorf("%s: %w", e.name, err))
		}
	}()
	a.log.Info("app: listening", "listener", e.name, "address", e.listener.Addr().String())
	a.stops = append(a.stops, step{e.name, func(wait context.Context) error {
		wait, cancel := context.WithTimeout(wait, httpDrain)
		defer cancel()
		if err := e.server.Shutdown(wait); err != nil {
			return e.server.Close()
		}
		return nil
	}})
}

// httpDrain is what requests under way get at the stop.
const httpDrain = 5 * time.Second

// Live implements api.Health: the process answers, so it lives; a part that
// fails ends it.
func (a *App) Live(context.Context) error { return nil }

// Ready implements api.Health: mail can be taken now.
func (a *App) Ready(ctx context.Context) error {
	switch {
	case a.gate.closed.Load():
		return errors.New("draining: no new mail is taken")
	case a.store.Full():
		return errors.New("less free disk than store.min_free: new mail is answered 452")
	case !a.directory.Fresh(ctx, time.Now()):
		return errors.New("the key feed is older than a second: nobody can log in")
	}
	return nil
}
