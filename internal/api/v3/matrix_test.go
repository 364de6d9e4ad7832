package v3

import (
	"cmp"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"postern/internal/httpx"
	"postern/internal/relay"
)

// TestMatrix is the whole of scope × route × tenant: who may use which route, and
// on whose things. Every cell follows from the route table (AP-01, AP-02, AP-05).
func TestMatrix(t *testing.T) {
	t.Parallel()
	for _, r := range Routes() {
		f, ok := fixtures[r.Method+" "+r.Pattern]
		if !ok {
			continue // TestFixtures says so
		}
		t.Run(r.Method+" "+strings.ReplaceAll(r.Pattern, "/", "_"), func(t *testing.T) {
			t.Parallel()
			m := &matrix{T: t, route: r, f: f}
			switch {
			case r.OperatorOnly:
				m.operatorOnly()
				m.nobodyInside()
			case r.Open:
				m.open()
			default:
				m.strangers()
				m.scopes()
				m.tenants()
				m.operator()
				m.people()
			}
		})
	}
}

type matrix struct {
	*testing.T
	route Route
	f     fixture
}

// cell asks and checks the status, and the words of a refusal.
func (m *matrix) cell(name string, c *client, a ask, status int, message string) answer {
	m.Helper()
	got := c.ask(m.route.Method, a)
	if got.Status != status {
		m.Errorf("%s: %d %s, want %d", name, got.Status, got.Body, status)
	}
	var e httpx.ErrorBody
	if message != "" && (json.Unmarshal([]byte(got.Body), &e) != nil || len(e.Errors) != 1 || e.Errors[0].Message != message) {
		m.Errorf("%s: %s, want %q", name, got.Body, message)
	}
	return got
}

// keyStatus is that of the answer to a key that may.
func (m *matrix) keyStatus() int { return cmp.Or(m.f.KeyStatus, m.f.Status) }

// right is a key with the scope of the route and no other, but for what acting
// for a subuser needs.
func (m *matrix) right(w *world, of relay.Tenant, more ...string) *client {
	scopes := slices.Clone(more)
	if m.route.Scope != "" {
		scopes = append(scopes, m.route.Scope)
	}
	if len(scopes) == 0 {
		scopes = []string{"alerts.read"} // any valid key
	}
	return w.as(of, scopes...)
}

const textBadKey = "The provided authorization grant is invalid, expired, or revoked"

// strangers are refused before anything is looked at.
func (m *matrix) strangers() {
	w := newWorld(m.T)
	a := m.f.Make(w, w.acme)
	nobody := &client{w: w, handler: w.handler, header: http.Header{}}
	_, live := w.addKey(w.acme, m.route.Scope, scopeBehalf)
	refusals := []answer{}
	for name, key := range map[string]string{"malformed": "Bearer hunter2", "unknown": "Bearer SG.AAAAAAAAAAAAAAAAAAAAAA." + strings.Repeat("A", 43)} {
		refusals = append(refusals, m.cell(name, nobody.with("Authorization", key), a, 401, textBadKey))
	}
	for name, end := range map[string]func(*relay.Key){
		"revoked":  func(k *relay.Key) { k.RevokedAt = t0 },
		"disabled": func(k *relay.Key) { k.DisabledAt = t0 },
		"expired":  func(k *relay.Key) { k.ExpiresAt = t0 },
	} {
		c := m.right(w, w.acme)
		end(&w.keys[len(w.keys)-1])
		refusals = append(refusals, m.cell(name, c, a, 401, textBadKey))
	}
	for _, r := range refusals[1:] {
		m.same("refusals of keys", refusals[0], r)
	}
	for name, c := range map[string]*client{
		"no key":           nobody,
		"key in the query": nobody,
		"no scheme":        nobody.with("Authorization", live),
		"empty":            nobody.with("Authorization", "Bearer "),
		"other scheme":     nobody.with("Authorization", "Digest "+live),
		"other header":     nobody.with("X-Api-Key", live),
		"cookie":           nobody.with("Cookie", "api_key="+live),
	} {
		b := a
		if name == "key in the query" {
			b.Path += map[bool]string{true: "&", false: "?"}[strings.Contains(b.Path, "?")] + "api_key=" + live + "&access_token=" + live + "&authorization=Bearer%20" + live
		}
		got := m.cell(name, c, b, 401, textNoKey)
		if got.Header.Get("WWW-Authenticate") == "" {
			m.Errorf("%s: no WWW-Authenticate", name)
		}
	}
	m.cell("name and password", nobody.with("Authorization", "Basic YWNtZTpodW50ZXIy"), a, 401, textBasic)
	if len(w.changes) > 0 {
		m.Errorf("a stranger changed something: %q", w.changes)
	}
}

// scopes: the route's own lets in, every other one does not.
func (m *matrix) scopes() {
	w := newWorld(m.T)
	m.cell("right scope", m.right(w, w.acme), m.f.Make(w, w.acme), m.keyStatus(), "")
	if m.route.Scope == "" {
		return
	}
	if !relay.KnownScope(m.route.Scope) {
		m.Errorf("the route's scope %q is none", m.route.Scope)
	}
	w = newWorld(m.T)
	a := m.f.Make(w, w.acme)
	var others []string
	for _, s := range relay.Scopes {
		if s == m.route.Scope {
			continue
		}
		others = append(others, s)
		m.cell("scope "+s, w.as(w.acme, s), a, 403, textNoScope)
	}
	m.cell("every other scope", w.as(w.acme, others...), a, 403, textNoScope)
	m.cell("no scope at all", w.as(w.acme), a, 403, textNoScope)
	m.cell("a token without the scope", w.withToken(m.right(w, w.acme), "marketing.read"), a, 403, textNoScope)
	if len(w.changes) > 0 {
		m.Errorf("a key without the scope changed something: %q", w.changes)
	}
}

// tenants: each key sees its own, and a parent its subusers' by their name.
func (m *matrix) tenants() {
	if m.route.ParentOnly {
		w := newWorld(m.T)
		m.cell("a subuser's key", m.right(w, w.staging), m.f.Make(w, w.acme), 403, textNoScope)
		m.cell("on-behalf-of", m.right(w, w.acme, scopeBehalf).with("on-behalf-of", "staging"), m.f.Make(w, w.acme), 403, textNoScope)
		m.foreign(func(w *world) (relay.Tenant, *client) { return w.globex, m.right(w, w.acme) })
		return
	}
	w := newWorld(m.T)
	m.apart(w, "a subuser's key", m.cell("a subuser's key", m.right(w, w.staging), m.f.Make(w, w.staging), m.keyStatus(), ""), w.staging)
	w = newWorld(m.T)
	m.apart(w, "on-behalf-of", m.cell("on-behalf-of", m.right(w, w.acme, scopeBehalf).with("on-behalf-of", "staging"), m.f.Make(w, w.staging), m.keyStatus(), ""), w.staging)

	w = newWorld(m.T)
	a := m.f.Make(w, w.staging)
	if m.route.Scope != scopeBehalf {
		m.cell("on-behalf-of without subusers.read", m.right(w, w.acme).with("on-behalf-of", "staging"), a, 403, textNoScope)
	}
	m.cell("a subuser for a sibling", m.right(w, w.receipts, scopeBehalf).with("on-behalf-of", "staging"), a, 403, textNoScope)
	m.cell("a subuser for itself", m.right(w, w.staging, scopeBehalf).with("on-behalf-of", "staging"), a, 403, textNoScope)
	unknown := m.cell("for nobody", m.right(w, w.acme, scopeBehalf).with("on-behalf-of", "nobody"), a, 404, textNotFound)
	m.same("another account's subuser", unknown, m.cell("for another account's", m.right(w, w.globex, scopeBehalf).with("on-behalf-of", "staging"), a, 404, textNotFound))
	m.cell("another account by account-id", m.right(w, w.globex).with("account-id", w.acme.Account.String()), m.f.Make(w, w.globex), 403, textNoScope)

	for _, who := range []func(w *world) (owner, asker relay.Tenant){
		func(w *world) (relay.Tenant, relay.Tenant) { return w.globex, w.acme },
		func(w *world) (relay.Tenant, relay.Tenant) { return w.acme, w.staging },
		func(w *world) (relay.Tenant, relay.Tenant) { return w.staging, w.acme },
		func(w *world) (relay.Tenant, relay.Tenant) { return w.receipts, w.staging },
		func(w *world) (relay.Tenant, relay.Tenant) { return w.branch, w.staging },
	} {
		m.foreign(func(w *world) (relay.Tenant, *client) {
			owner, asker := who(w)
			return owner, m.right(w, asker)
		})
	}
	m.foreign(func(w *world) (relay.Tenant, *client) {
		return w.branch, m.right(w, w.acme, scopeBehalf).with("on-behalf-of", "staging")
	})
}

// foreign: what is another tenant's is answered like what nobody has.
func (m *matrix) foreign(who func(w *world) (owner relay.Tenant, asker *client)) {
	if m.f.Absent == (ask{}) {
		return
	}
	w := newWorld(m.T)
	owner, asker := who(w)
	theirs := m.f.Make(w, owner)
	before := len(w.changes)
	absent := asker.ask(m.route.Method, m.f.Absent)
	if want := cmp.Or(m.f.AbsentStatus, 404); absent.Status != want {
		m.Errorf("an absent thing: %d %s, want %d", absent.Status, absent.Body, want)
	}
	m.same("a foreign thing", absent, asker.ask(m.route.Method, theirs))
	if len(w.changes) > before {
		m.Errorf("something foreign was changed: %q", w.changes[before:])
	}
}

// same: two answers do not differ, but in their request ids.
func (m *matrix) same(name string, want, got answer) {
	m.Helper()
	flat := func(a answer) answer {
		id := a.Header.Get("X-Request-Id")
		a.Body, a.Header = strings.ReplaceAll(a.Body, id, "ID"), a.Header.Clone()
		for _, h := range []string{"X-Request-Id", "X-Ratelimit-Remaining"} {
			a.Header.Del(h)
		}
		return a
	}
	if diff := gocmp.Diff(flat(want), flat(got)); diff != "" {
		m.Errorf("%s: the answers differ:\n%s", name, diff)
	}
}

// apart: an answer to a subuser names nothing of its siblings or of other
// accounts.
func (m *matrix) apart(w *world, name string, a answer, of relay.Tenant) {
	m.Helper()
	for _, s := range w.subusers {
		if s.ID != of.Subuser && (strings.Contains(a.Body, s.ID.String()) || containsWord(a.Body, s.Name)) {
			m.Errorf("%s: the answer names %s: %s", name, s.Name, a.Body)
		}
	}
	for _, x := range w.accounts {
		if x.ID != of.Account && (strings.Contains(a.Body, x.ID.String()) || containsWord(a.Body, x.Name)) && x.Name != "system" {
			m.Errorf("%s: the answer names %s: %s", name, x.Name, a.Body)
		}
	}
	for _, k := range w.keys {
		if (relay.Tenant{Account: k.Account, Subuser: k.Subuser}) != of && strings.Contains(a.Body, k.ID.String()) {
			m.Errorf("%s: the answer names a key of somebody else: %s", name, a.Body)
		}
	}
}

func containsWord(text, word string) bool {
	return regexp.MustCompile(`\b` + regexp.QuoteMeta(word) + `\b`).MatchString(text)
}

// operator: admin.sock may do everything, for the account it names.
func (m *matrix) operator() {
	w := newWorld(m.T)
	m.cell("operator", w.operator("acme"), m.f.Make(w, w.acme), m.f.Status, "")
	w = newWorld(m.T)
	m.cell("operator by id", w.operator(w.acme.Account.String()), m.f.Make(w, w.acme), m.f.Status, "")
	w = newWorld(m.T)
	if m.route.AnyAccount {
		m.cell("operator of all accounts", w.operator(""), m.f.Make(w, w.acme), m.f.Status, "")
	} else if a := w.operator("").ask(m.route.Method, m.f.Make(w, w.acme)); a.Status != 400 || !strings.Contains(a.Body, "account-id") {
		m.Errorf("operator without an account: %d %s", a.Status, a.Body)
	}
	if a := w.operator("nobody").ask(m.route.Method, m.f.Make(w, w.acme)); a.Status != 404 {
		m.Errorf("operator of no account: %d %s", a.Status, a.Body)
	}
	if m.route.ParentOnly {
		m.cell("operator for a subuser", w.operator("acme").with("on-behalf-of", "staging"), m.f.Make(w, w.acme), 403, textNoScope)
		return
	}
	w = newWorld(m.T)
	m.cell("operator for a subuser", w.operator("acme").with("on-behalf-of", "staging"), m.f.Make(w, w.staging), m.f.Status, "")
	m.cell("operator for another's subuser", w.operator("globex").with("on-behalf-of", "staging"), m.f.Make(w, w.staging), 404, textNotFound)
}

// operatorOnly: over the network there is no such route, whoever asks.
func (m *matrix) operatorOnly() {
	w := newWorld(m.T)
	a := m.f.Make(w, w.acme)
	nobody := &client{w: w, handler: w.handler, header: http.Header{}}
	first := m.cell("no key", nobody, a, 404, textNotFound)
	m.same("every scope", first, m.cell("every scope", w.as(w.acme, relay.Scopes...), a, 404, textNotFound))
	m.same("a subuser", first, m.cell("a subuser", w.as(w.staging, relay.Scopes...), a, 404, textNotFound))
	m.same("account-id", first, m.cell("account-id", w.as(w.acme, relay.Scopes...).with("account-id", "acme"), a, 404, textNotFound))
	m.cell("operator", w.operator("acme"), m.f.Make(w, w.acme), m.f.Status, "")
}

// open: no key is needed.
func (m *matrix) open() {
	w := newWorld(m.T)
	m.cell("no key", &client{w: w, handler: w.handler, header: http.Header{}}, m.f.Make(w, w.acme), m.f.Status, "")
}
