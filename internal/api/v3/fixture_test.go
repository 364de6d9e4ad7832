package v3

import (
	"testing"

	"postern/internal/relay"
)

// fixture is how the matrix asks a route. Each group of routes adds its own with
// addFixtures, in an init function of a test file; a route without one fails.
type fixture struct {
	// Status is that of the answer to what Make asks.
	Status int
	// KeyStatus is that of the answer to a key, where it is another than a person's and
	// the operator's.
	KeyStatus int
	// Make prepares the world so that the request works for a tenant, and returns
	// it. Things that the request names belong to that tenant.
	Make func(w *world, of relay.Tenant) ask
	// Absent is the same request about a thing that nobody has. The matrix compares
	// its answer, octet by octet, with that to a foreign thing. Zero: the route names
	// no thing of a tenant.
	Absent ask
	// AbsentStatus is that of the answer to Absent; 0: 404.
	AbsentStatus int
}

// ask is what a client sends.
type ask struct {
	Path string // with the query
	Body string
	Type string // Content-Type; "": application/json
}

// plain is a fixture of a request that needs nothing and names no thing.
func plain(status int, path, body string) fixture {
	return fixture{Status: status, Make: func(*world, relay.Tenant) ask { return ask{Path: path, Body: body} }}
}

// fixtures by "METHOD pattern".
var fixtures = map[string]fixture{}

func addFixtures(add map[string]fixture) {
	for name, f := range add {
		if _, twice := fixtures[name]; twice {
			panic("two fixtures of " + name)
		}
		fixtures[name] = f
	}
}

// absentID is an id that no world has.
const absentID = "AAECAwQFBgcICQoLDA0ODw"

// ask sends an ask of a route.
func (c *client) ask(method string, a ask) answer {
	c.w.t.Helper()
	if a.Type != "" {
		c = c.with("Content-Type", a.Type)
	}
	return c.do(method, a.Path, a.Body)
}

// TestFixtures: every route has a fixture, and every fixture a route.
func TestFixtures(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, r := range Routes() {
		name := r.Method + " " + r.Pattern
		known[name] = true
		if f, ok := fixtures[name]; !ok || f.Make == nil || f.Status == 0 {
			t.Errorf("%s has no fixture: nothing proves who may use it", name)
		}
	}
	for name := range fixtures {
		if !known[name] {
			t.Errorf("there is a fixture of %s, and no such route", name)
		}
	}
}
