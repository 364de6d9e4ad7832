package app

import (
	"cmp"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"postern/internal/api/v3"
	"postern/internal/config"
	"postern/internal/console"
	"postern/internal/httpx"
	"postern/internal/relay"
)

// makeConsole makes the pages of the public HTTP listener.
func (a *App) makeConsole() (*console.Console, error) {
	c := a.opt.Config
	return console.New(console.Config{
		People: a.people, API: v3.NewDirect(a.apiServices("console")), Tenants: tenants{a}, URL: a.baseURL,
		Hostname: c.Hostname, Ports: a.submissionPorts(), Key: a.sealer.Derive("console notice"),
		Secure: func(r *http.Request) bool { return secureWay(r, a.baseURL()) },
		Fresh:  c.People.Fresh.Duration, Listener: "http", Version: a.opt.Version, Done: a.leaving, Logger: a.log,
	})
}

// secureWay reports whether a browser's cookies go by https only: its way here was
// encrypted, up to us or to a proxy that is known, or the console's own URL says that
// it always is.
func secureWay(r *http.Request, base string) bool {
	return httpx.Encrypted(r.Context()) || strings.HasPrefix(base, "https://")
}

// submissionPorts are those that take mail after AUTH, the one that starts with TLS
// first: what snippets show.
func (a *App) submissionPorts() []console.Port {
	var all []console.Port
	for _, l := range a.listeners {
		if l.conf.Role != config.RoleSubmission {
			continue
		}
		at, err := netip.ParseAddrPort(l.socket.Addr().String())
		if err != nil {
			continue
		}
		all = append(all, console.Port{Number: int(at.Port()), Implicit: l.conf.TLS == config.TLSImplicit})
	}
	slices.SortFunc(all, func(x, y console.Port) int {
		if x.Implicit != y.Implicit {
			if x.Implicit {
				return -1
			}
			return 1
		}
		return cmp.Compare(x.Number, y.Number)
	})
	return slices.Compact(all)
}

// tenants names accounts and subusers for the console.
type tenants struct{ a *App }

func (t tenants) AccountName(id relay.AccountID) string { return t.a.accountName(id) }

// seen are the subusers that a person may look at, by name.
func (t tenants) seen(u *relay.User) []relay.Subuser {
	all := slices.DeleteFunc(slices.Clone(t.a.directory.SubusersOf(u.Account)), func(s relay.Subuser) bool {
		return !s.DeletedAt.IsZero() || !u.Sees(relay.Tenant{Account: u.Account, Subuser: s.ID})
	})
	slices.SortFunc(all, func(x, y relay.Subuser) int { return cmp.Compare(x.Name, y.Name) })
	return all
}

func (t tenants) SubuserNames(u *relay.User, limit int) []string {
	var names []string
	for _, s := range t.seen(u) {
		if len(names) == limit {
			break
		}
		names = append(names, s.Name)
	}
	return names
}

func (t tenants) SubuserNamed(u *relay.User, name string) (relay.Tenant, bool) {
	s, ok := t.a.directory.SubuserNamed(name)
	tenant := relay.Tenant{Account: s.Account, Subuser: s.ID}
	if !ok || !s.DeletedAt.IsZero() || !u.Sees(tenant) {
		return relay.Tenant{}, false
	}
	return tenant, true
}
