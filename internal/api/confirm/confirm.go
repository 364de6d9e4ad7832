// Package confirm is the page behind the link that is mailed to a single
// sender. The link shows a button, and only the button proves the address:
// programs that open every link of a mail change nothing.
package confirm

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"net/netip"

	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/store"
)

// Senders knows links; *sender.Singles is one. Its error for a link that does
// not work is relay.NotFound with a public text.
type Senders interface {
	Link(ctx context.Context, token string) (relay.SingleSender, error)
	Confirm(ctx context.Context, by store.By, token string) (relay.SingleSender, error)
}

// AccountName names an account for the page.
type AccountName func(id relay.AccountID) string

//go:embed page.html
var pageText string

//go:embed page.css
var style string

var page = template.Must(template.New("page").Parse(pageText))

// csp allows the one style and a form to ourselves.
var csp = func() string {
	sum := sha256.Sum256([]byte(style))
	return fmt.Sprintf("default-src 'none'; style-src 'sha256-%s'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
		base64.StdEncoding.EncodeToString(sum[:]))
}()

// view is what the page shows.
type view struct {
	Style   template.CSS
	Title   string
	Account string // who asked
	Address string
	Ask     bool // show the button
	Done    bool
	Problem string
}

// Routes are the page and its button: GET and POST /senders/verify/{token}.
func Routes(s Senders, name AccountName) []httpx.Route {
	return []httpx.Route{
		{Method: "GET", Pattern: "/senders/verify/{token}", Handler: func(w http.ResponseWriter, r *http.Request) error {
			n, err := s.Link(r.Context(), r.PathValue("token"))
			if err != nil {
				return problem(w, err)
			}
			return show(w, http.StatusOK, view{
				Title: "Confirm a sender", Account: name(n.Account), Address: n.FromEmail, Ask: true,
			})
		}},
		{Method: "POST", Pattern: "/senders/verify/{token}", MaxBody: 1 << 10, Handler: func(w http.ResponseWriter, r *http.Request) error {
			by := store.By{Who: "the reader of its mailbox", From: clientText(httpx.Client(r.Context()))}
			n, err := s.Confirm(r.Context(), by, r.PathValue("token"))
			if err != nil {
				return problem(w, err)
			}
			return show(w, http.StatusOK, view{Title: "Confirmed", Account: name(n.Account), Address: n.FromEmail, Done: true})
		}},
	}
}

func clientText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// problem shows why a link does not work. Faults of ours are left to the router.
func problem(w http.ResponseWriter, err error) error {
	e, ok := err.(*relay.Error)
	if !ok || e.Kind != relay.NotFound {
		return err
	}
	return show(w, http.StatusNotFound, view{Title: "This link does not work", Problem: e.Public})
}

func show(w http.ResponseWriter, status int, v view) error {
	v.Style = template.CSS(style)
	var b bytes.Buffer
	if err := page.Execute(&b, v); err != nil {
		return fmt.Errorf("show page: %w", err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", csp)
	w.WriteHeader(status)
	_, err := w.Write(b.Bytes())
	return err
}
