package v3

import (
	"slices"
	"strconv"

	"postern/internal/relay"
)

// grant is what a person may do, and whom they see of the account.
type grant struct {
	role       relay.Role
	scopes     []string // of custom, sorted
	restricted bool
	subusers   []relay.SubuserID
}

func grantOf(u *relay.User) grant { return grant{u.Role, u.Scopes, u.Restricted, u.Subusers} }

// all are the scopes that it comes to.
func (g *grant) all() []string {
	if g.role == relay.RoleCustom {
		return g.scopes
	}
	return g.role.Scopes()
}

// grantBody is how a request says it: as SendGrid does, by scopes and is_admin, or
// by role.
type grantBody struct {
	Scopes     *[]string `json:"scopes" doc:"of a person with the role custom"`
	IsAdmin    *bool     `json:"is_admin" doc:"the role admin"`
	Role       *string   `json:"role" doc:"owner, admin, developer, auditor or custom; instead of is_admin"`
	Restricted *bool     `json:"restricted" doc:"sees only the subusers named, and nothing of the account's own"`
	Subusers   *[]string `json:"subusers" doc:"names; with restricted"`
}

// read makes the grant that a request asks for, of the one that was.
func (in *grantBody) read(a *API, c *Call, was grant) (grant, error) {
	g := was
	if err := in.readRole(&g); err != nil {
		return g, err
	}
	if g.role == relay.RoleCustom {
		if err := checkPersonScopes(g.scopes); err != nil {
			return g, err
		}
	}
	if in.Restricted != nil {
		g.restricted = *in.Restricted
	}
	if in.Subusers != nil {
		ids, err := a.subuserIDs(c, *in.Subusers)
		if err != nil {
			return g, err
		}
		g.subusers = ids
	}
	if in.Restricted != nil && !*in.Restricted && in.Subusers == nil {
		g.subusers = nil
	}
	return g, g.check(c)
}

// check: restrictions fit together.
func (g *grant) check(c *Call) error {
	switch {
	case !g.restricted && len(g.subusers) > 0:
		return invalid("subusers", "Subusers are named for people who are restricted to them; set restricted.")
	case g.restricted && len(g.subusers) == 0:
		return invalid("subusers", "Name the subusers that the person may see.")
	case g.restricted && !c.Tenant.Subuser.IsZero():
		return invalid("restricted", "A subuser's people see that subuser only; there is nothing to restrict them to.")
	case g.restricted && g.role == relay.RoleOwner:
		return invalid("restricted", "An owner sees everything; choose another role.")
	}
	return nil
}

func (in *grantBody) readRole(g *grant) error {
	switch {
	case in.Role != nil:
		role := relay.Role(*in.Role)
		if !slices.Contains(relay.Roles, role) {
			return invalid("role", "The role must be owner, admin, developer, auditor or custom.")
		}
		if in.IsAdmin != nil && *in.IsAdmin != isAdmin(role) {
			return invalid("is_admin", "is_admin and role contradict each other.")
		}
		if role != relay.RoleCustom && in.Scopes != nil && len(*in.Scopes) > 0 {
			return invalid("scopes", "Only people with the role custom have scopes of their own.")
		}
		g.role = role
	case in.IsAdmin != nil && *in.IsAdmin:
		g.role, g.scopes = relay.RoleAdmin, nil // as SendGrid: whatever scopes say
		return nil
	case in.Scopes != nil:
		g.role = relay.RoleCustom
	case in.IsAdmin != nil && g.role == relay.RoleAdmin:
		return invalid("scopes", "Say which scopes a person has who is no admin.")
	}
	if g.role != relay.RoleCustom {
		g.scopes = nil
	} else if in.Scopes != nil {
		g.scopes = slices.Compact(slices.Sorted(slices.Values(*in.Scopes)))
	}
	return nil
}

// notForPeople are scopes that cannot be given: everybody has them of their own.
var notForPeople = []string{"user.password.update", "user.profile.update"}

// checkPersonScopes: each is one that a person can have.
func checkPersonScopes(scopes []string) error {
	switch {
	case len(scopes) == 0:
		return invalid("scopes", "Give at least one scope, or a role.")
	case len(scopes) > maxEntries:
		return invalid("scopes", "More than %d entries.", maxEntries)
	}
	for i, s := range scopes {
		field := "scopes." + strconv.Itoa(i)
		switch {
		case slices.Contains(relay.AutoScopes, s) || slices.Contains(notForPeople, s):
			return invalid(field, "The scope %q cannot be given to a person.", s)
		case !relay.KnownScope(s):
			return invalid(field, "There is no scope %q.", printable(s, 64))
		}
	}
	return nil
}

// subuserIDs finds the account's subusers by name.
func (a *API) subuserIDs(c *Call, names []string) ([]relay.SubuserID, error) {
	if len(names) > maxEntries {
		return nil, invalid("subusers", "More than %d entries.", maxEntries)
	}
	var out []relay.SubuserID
	for i, name := range names {
		s, ok := a.Directory.SubuserNamed(name)
		if !ok || s.Account != c.Tenant.Account || !s.DeletedAt.IsZero() {
			return nil, invalid("subusers."+strconv.Itoa(i), "There is no such subuser.")
		}
		if !slices.Contains(out, s.ID) {
			out = append(out, s.ID)
		}
	}
	return out, nil
}

// mayGive refuses what the caller does not have: scopes that were not there
// before, sight of more tenants with any scope at all, and the role of an owner,
// which is an owner's to give and take. was is nil for somebody new.
func (c *Call) mayGive(was *grant, g grant) error {
	if c.Operator {
		return nil
	}
	owner := g.role == relay.RoleOwner || was != nil && was.role == relay.RoleOwner
	if owner && !c.isOwner() {
		return refused("role", "Only an owner makes somebody an owner, or ends it.")
	}
	seesMore := was == nil || g.seesMore(was)
	if seesMore && g.restricted && !c.Allows(scopeBehalf) {
		return refused("subusers", "You do not have the scope %s, so you cannot give sight of subusers.", scopeBehalf)
	}
	for _, s := range g.all() {
		if !c.Allows(s) && (seesMore || !slices.Contains(was.all(), s)) {
			return refused("scopes", "You do not have the scope %s, so you cannot give it.", s)
		}
	}
	return nil
}

// seesMore reports whether a grant shows somebody tenants that another one does
// not. Who is restricted to subusers acts for them without further ado; who is not
// needs a scope for it, so that naming subusers can be more than naming none.
func (g *grant) seesMore(was *grant) bool {
	if !g.restricted {
		return was.restricted
	}
	if !was.restricted {
		return !slices.Contains(was.all(), scopeBehalf)
	}
	return slices.ContainsFunc(g.subusers, func(id relay.SubuserID) bool { return !slices.Contains(was.subusers, id) })
}

// isOwner: the caller is a person with that role. A key is none, whatever it may do.
func (c *Call) isOwner() bool {
	return c.Principal != nil && c.Principal.User != nil && c.Principal.User.Role == relay.RoleOwner
}
