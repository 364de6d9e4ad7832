package app

import (
	"slices"
	"testing"

	"postern/internal/api"
	"postern/internal/api/confirm"
	"postern/internal/api/v3"
	"postern/internal/console"
	"postern/internal/httpx"
)

// The API, the pages and the links in mails live on one listener: no pattern of one
// may clash with another's, or the relay does not start.
func TestRoutesDoNotClash(t *testing.T) {
	t.Parallel()
	pages, err := console.New(console.Config{
		People: struct{ console.People }{}, API: struct{ console.API }{}, Tenants: struct{ console.Tenants }{}, URL: func() string { return "" },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if p := recover(); p != nil {
			t.Fatal(p)
		}
	}()
	httpx.New(httpx.Options{Local: true}, slices.Concat(
		api.Public(nil), v3.New(v3.Services{}), confirm.Routes(nil, nil), pages.Routes(),
	))
}
