package app

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"postern/internal/api/v3"
	"postern/internal/config"
	"postern/internal/password"
	"postern/internal/people"
	"postern/internal/relay"
	"postern/internal/secret"
)

// makePeople makes what lets persons log in. It needs the HTTP listeners bound,
// for the address of links where the configuration names none.
func (a *App) makePeople(context.Context) error {
	c := a.opt.Config
	rules := password.Rules{
		Classes: c.People.PasswordClasses, MaxAge: c.People.PasswordMaxAge.Duration,
		Words: slices.Concat([]string{"postern", c.Hostname}, c.People.BlockedWords),
	}
	if c.People.BreachedPasswords != "" {
		known, err := password.OpenBreached(c.People.BreachedPasswords)
		if err != nil {
			return fmt.Errorf("people.breached_passwords: %w", err)
		}
		rules.Breached = known
	}
	issuers, err := signOnIssuers(c.SSO)
	if err != nil {
		return err
	}
	a.people, err = people.New(people.Config{
		Store: a.store, Auth: a.auth, Sealer: a.sealer, Hasher: password.New(password.Config{}), Rules: rules, Mail: a.letter, URL: a.baseURL, Product: a.product,
		Idle: c.People.SessionIdle.Duration, Life: c.People.SessionLife.Duration, Fresh: c.People.Fresh.Duration,
		Account: a.directory.Account, AccountNamed: a.directory.AccountNamed, Subuser: a.directory.Subuser,
		Issuers: issuers, Logger: a.log, Alert: a.alertTenant,
	})
	return err
}

// baseURL is where people reach the console: as configured, else by what the HTTP
// listeners have. No request's Host goes into it (AC-09).
func (a *App) baseURL() string {
	bound := []netip.AddrPort{}
	for _, e := range a.edges {
		if at, ok := e.listener.Addr().(*net.TCPAddr); ok && e.name == "http" {
			bound = append(bound, at.AddrPort())
		}
	}
	return config.BaseURL(a.opt.Config, bound)
}

// product is how letters and authenticator apps name the installation: by the host
// of links, or by the host name where links lead to no particular machine.
func (a *App) product() string {
	if people.LocalLinks(a.baseURL()) != "" {
		return a.opt.Config.Hostname
	}
	return ""
}

// signOnIssuers reads what the configuration only names.
func signOnIssuers(in []config.SSO) ([]people.Issuer, error) {
	var out []people.Issuer
	for _, s := range in {
		text, err := os.ReadFile(s.ClientSecretFile)
		if err != nil {
			return nil, fmt.Errorf("single sign-on %s: read client_secret_file: %w", s.Name, err)
		}
		roots, err := rootCAs(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("single sign-on %s: %w", s.Name, err)
		}
		is := people.Issuer{
			Name: s.Name, URL: s.URL, ClientID: s.ClientID, ClientSecret: secret.Redacted(strings.TrimSpace(string(text))), Account: s.Account,
			Scopes: s.Scopes, GroupsClaim: s.GroupsClaim, Provision: s.Provision, SecondFactor: s.SecondFactor, Roots: roots, Private: s.Private,
		}
		for _, g := range s.Groups {
			group, role := config.GroupRole(g)
			is.Roles = append(is.Roles, people.RoleMap{Group: group, Role: relay.Role(role)})
		}
		out = append(out, is)
	}
	return out, nil
}

// peopleServices are what the API needs of people.
func (a *App) peopleServices() v3.PeopleServices {
	return v3.PeopleServices{
		People: a.people, Users: a.store, LinkWarning: func() string { return people.LocalLinks(a.baseURL()) },
	}
}
