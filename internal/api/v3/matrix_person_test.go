package v3

import (
	"net/http"
	"slices"

	"postern/internal/relay"
)

// people is role × route × tenant: what persons may do by Direct follows from the
// route table, too.
func (m *matrix) people() {
	m.notInside()
	m.roles()
	m.customPeople()
	m.peoplesTenants()
	m.stepUp()
}

// has reports whether a role may use the route.
func (m *matrix) has(role relay.Role) bool {
	return m.route.Scope == "" || slices.Contains(role.Scopes(), m.route.Scope)
}

// justRight is a person of a tenant with the scope of the route and no other.
func (m *matrix) justRight(w *world, of relay.Tenant, more ...string) relay.User {
	scopes := slices.Clone(more)
	if m.route.Scope != "" {
		scopes = append(scopes, m.route.Scope)
	}
	slices.Sort(scopes)
	return w.addUser(of, relay.RoleCustom, slices.Compact(scopes)...)
}

// notInside: what the network would take for proof is none here, and no person is
// nobody.
func (m *matrix) notInside() {
	w := newWorld(m.T)
	a := m.f.Make(w, w.acme)
	_, live := w.addKey(w.acme, relay.Scopes...)
	gone := w.addUser(w.acme, relay.RoleOwner)
	gone.DisabledAt = t0
	m.cell("a disabled person", w.person(gone, true), a, 401, textNoKey)
	gone.DisabledAt, gone.DeletedAt = gone.DeletedAt, t0
	m.cell("a deleted person", w.person(gone, true), a, 401, textNoKey)
	nobody := w.person(relay.User{}, true)
	nobody.handler = w.person(gone, true).handler
	m.cell("a key", nobody.with("Authorization", "Bearer "+live), a, 401, textNoKey)
	if len(w.changes) > 0 {
		m.Errorf("nobody changed something: %q", w.changes)
	}
}

// roles: each role may use the routes of its scopes, of its own tenant; an auditor
// changes nothing anywhere.
func (m *matrix) roles() {
	for _, role := range []relay.Role{relay.RoleOwner, relay.RoleAdmin, relay.RoleDeveloper, relay.RoleAuditor} {
		w := newWorld(m.T)
		a := m.f.Make(w, w.acme)
		before := len(w.changes)
		u := w.addUser(w.acme, role)
		if m.has(role) {
			m.cell(string(role), w.person(u, true), a, m.f.Status, "")
		} else {
			m.cell(string(role), w.person(u, true), a, 403, textNoScope)
			if len(w.changes) > before {
				m.Errorf("%s changed something: %q", role, w.changes)
			}
		}
		if may := w.direct.May(&relay.Principal{User: &u}, m.route.Method, m.route.Pattern); may != m.has(role) {
			m.Errorf("May says %v of %s", may, role)
		}
		if role == relay.RoleAuditor && m.route.Method != http.MethodGet && m.route.Scope != "" && m.has(role) {
			m.Errorf("an auditor may %s", m.route.Method)
		}
	}
}

// customPeople: the route's scope lets in, all others do not.
func (m *matrix) customPeople() {
	w := newWorld(m.T)
	m.cell("custom", w.person(m.justRight(w, w.acme), true), m.f.Make(w, w.acme), m.f.Status, "")
	if m.route.Scope == "" {
		return
	}
	w = newWorld(m.T)
	a := m.f.Make(w, w.acme)
	others := slices.DeleteFunc(slices.Clone(relay.Scopes), func(s string) bool { return s == m.route.Scope })
	m.cell("every other scope", w.person(w.addUser(w.acme, relay.RoleCustom, others...), true), a, 403, textNoScope)
	m.cell("no scope", w.person(w.addUser(w.acme, relay.RoleCustom), true), a, 403, textNoScope)
	if len(w.changes) > 0 {
		m.Errorf("a person without the scope changed something: %q", w.changes)
	}
}

// peoplesTenants: people of a subuser, and those of the account who see only some.
func (m *matrix) peoplesTenants() {
	w := newWorld(m.T)
	ask := m.f.Make(w, w.acme)
	limited := w.restrict(m.justRight(w, w.acme), w.staging)
	m.cell("restricted, for the account", w.person(limited, true), ask, 403, textNoScope)
	if w.direct.May(&relay.Principal{User: &limited}, m.route.Method, m.route.Pattern) {
		m.Error("May offers somebody who is restricted what is the account's")
	}
	if m.route.ParentOnly {
		m.cell("a subuser's person", w.person(m.justRight(w, w.staging), true), ask, 403, textNoScope)
		m.cell("restricted, for a subuser", w.person(limited, true).with("on-behalf-of", "staging"), ask, 403, textNoScope)
		m.cell("for a subuser", w.person(m.justRight(w, w.acme, scopeBehalf), true).with("on-behalf-of", "staging"), ask, 403, textNoScope)
		for _, u := range []relay.User{limited, m.justRight(w, w.staging)} {
			if w.direct.May(&relay.Principal{User: &u}, m.route.Method, m.route.Pattern) {
				m.Errorf("May lets %s in", u.Username)
			}
		}
		m.foreign(func(w *world) (relay.Tenant, *client) { return w.globex, w.person(m.justRight(w, w.acme), true) })
		return
	}
	m.peopleFor()
	for _, who := range []func(w *world) (owner, asker relay.Tenant){
		func(w *world) (relay.Tenant, relay.Tenant) { return w.globex, w.acme },
		func(w *world) (relay.Tenant, relay.Tenant) { return w.acme, w.staging },
		func(w *world) (relay.Tenant, relay.Tenant) { return w.staging, w.acme },
		func(w *world) (relay.Tenant, relay.Tenant) { return w.receipts, w.staging },
	} {
		m.foreign(func(w *world) (relay.Tenant, *client) {
			owner, asker := who(w)
			return owner, w.person(m.justRight(w, asker), true)
		})
	}
	m.foreign(func(w *world) (relay.Tenant, *client) {
		return w.acme, w.person(w.restrict(m.justRight(w, w.acme), w.staging), true).with("on-behalf-of", "staging")
	})
}

// peopleFor: who acts for whom.
func (m *matrix) peopleFor() {
	w := newWorld(m.T)
	m.apart(w, "a subuser's person", m.cell("a subuser's person", w.person(m.justRight(w, w.staging), true), m.f.Make(w, w.staging), m.f.Status, ""), w.staging)
	w = newWorld(m.T)
	limited := w.restrict(m.justRight(w, w.acme), w.staging)
	m.apart(w, "restricted", m.cell("restricted, for its subuser", w.person(limited, true).with("on-behalf-of", "staging"), m.f.Make(w, w.staging), m.f.Status, ""), w.staging)
	w = newWorld(m.T)
	m.cell("for a subuser", w.person(m.justRight(w, w.acme, scopeBehalf), true).with("on-behalf-of", "staging"), m.f.Make(w, w.staging), m.f.Status, "")

	w = newWorld(m.T)
	a := m.f.Make(w, w.staging)
	limited = w.restrict(m.justRight(w, w.acme, scopeBehalf), w.receipts)
	c := w.person(limited, true)
	m.same("a subuser that one does not see", m.cell("for nobody", c.with("on-behalf-of", "nobody"), a, 404, textNotFound),
		m.cell("for one that they do not see", c.with("on-behalf-of", "staging"), a, 404, textNotFound))
	m.cell("for another account's", w.person(m.justRight(w, w.globex, scopeBehalf), true).with("on-behalf-of", "staging"), a, 404, textNotFound)
	m.cell("a subuser's person for a sibling", w.person(m.justRight(w, w.receipts, scopeBehalf), true).with("on-behalf-of", "staging"), a, 403, textNoScope)
	if m.route.Scope != scopeBehalf {
		m.cell("without subusers.read", w.person(m.justRight(w, w.acme), true).with("on-behalf-of", "staging"), a, 403, textNoScope)
	}
}

// stepUp: who has not shown both factors lately is asked to, and changes nothing.
func (m *matrix) stepUp() {
	w := newWorld(m.T)
	a := m.f.Make(w, w.acme)
	before := len(w.changes)
	stale := w.person(m.justRight(w, w.acme), false)
	if !m.route.StepUp {
		m.cell("not fresh", stale, a, m.f.Status, "")
		return
	}
	m.cell("not fresh", stale, a, 403, textReauth)
	if len(w.changes) > before {
		m.Errorf("somebody who is not fresh changed something: %q", w.changes)
	}
	fresh := w.person(m.justRight(w, w.acme), true)
	w.pass(5*60*1e9 + 1)
	m.cell("fresh no more", fresh, a, 403, textReauth)
	m.cell("no scope and not fresh", w.person(w.addUser(w.acme, relay.RoleCustom), false), a, 403, textNoScope)
}

// nobodyInside: what is for the operator is for no person.
func (m *matrix) nobodyInside() {
	w := newWorld(m.T)
	a := m.f.Make(w, w.acme)
	u := w.addUser(w.acme, relay.RoleOwner)
	m.cell("owner", w.person(u, true), a, 404, textNotFound)
	if w.direct.May(&relay.Principal{User: &u}, m.route.Method, m.route.Pattern) {
		m.Errorf("May lets an owner in")
	}
}
