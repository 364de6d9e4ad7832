// Package v3 is the HTTP API, shaped as SendGrid's v3: clients that were written
// for it change their host and go on. Its route table is data: the router, the
// check of scopes, the OpenAPI document and the tests of every scope, route and
// tenant all read Routes.
//
// A handler is a method of *API that takes a *Call. It reads the body with
// c.Decode (or c.Body), parameters with c.R.PathValue, c.Text, c.Int, c.Flag and
// c.Page, answers with c.JSON or c.Empty, and fails by returning an error
// (errors.go). By then the caller is authenticated, has the route's scope, and
// c.Tenant is whom the request is about; nothing else may be read or changed.
// c.By goes with every change, c.Now is the time of all of it. Whatever is not
// c.Tenant's own is answered with notFound.
//
// Every request is answered for one tenant, that of the key or person, or of the
// subuser that a parent's names with on-behalf-of; on admin.sock the operator
// names an account. People are no clients of the network: what they do comes from
// within the process, by Direct. What belongs to another tenant is answered like what does not
// exist.
package v3

import (
	"net/http"
	"net/netip"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// Route is one operation.
type Route struct {
	Method  string
	Pattern string // as net/http's mux has it: /v3/api_keys/{api_key_id}
	// Scope is what a key must have; "": any valid key will do.
	Scope string
	// Open: no key at all is needed (/oauth/token, the OpenAPI document).
	Open bool
	// ParentOnly: not for keys of subusers, and on-behalf-of is refused.
	ParentOnly bool
	// OperatorOnly: on admin.sock only; over the network it is not found.
	OperatorOnly bool
	// AnyAccount: an operator who names no account means all of them; c.Tenant is
	// zero then.
	AnyAccount bool
	// StepUp: a person must have shown both factors within the last minutes. Keys and
	// the operator are not asked.
	StepUp bool
	// NoRateLimit: without the rate limit of the API and its headers (mail/send).
	NoRateLimit bool
	// CommitsAnswer: the handler stores its answer in the commit of what it does
	// (Call.Idempotency). Without it, the answer of a POST is stored after it.
	CommitsAnswer bool
	// Hold waits for room before the body is read, and returns what gives it back;
	// nil: none is needed.
	Hold func(*API, *Call) (release func(), err error)
	// MaxBody is the limit of the body in octets, unpacked; 0: 1 MiB.
	MaxBody int64

	Summary  string
	Query    []Param
	Body     any         // a zero value of the type that is decoded; nil: no body
	BodyType string      // its media type; "": application/json
	Answers  map[int]any // status → zero value of the answer's type; nil: empty body
	// Also are other media types that the answers may have (text/csv).
	Also    []string
	Handler func(*API, *Call) error
}

// Param is one query parameter.
type Param struct {
	Name     string
	Type     string // string, integer, boolean
	Required bool
	Doc      string
}

// Call is one request, authenticated and authorised for its route.
type Call struct {
	W http.ResponseWriter
	R *http.Request
	// Principal is who asks, with a Key or, by Direct, a User; nil for the operator on
	// admin.sock and on Open routes.
	Principal *relay.Principal
	// Operator: the request came by admin.sock.
	Operator bool
	// Tenant is whom the request is about.
	Tenant relay.Tenant
	// By is who makes a change, for its record.
	By   store.By
	Addr netip.Addr // of the client; zero on admin.sock
	Now  time.Time

	api   *API
	route *Route
	query map[string]string // the route's parameters that are there
	body  []byte            // once read
	read  bool
	// claim is the request's Idempotency-Key; committed: the handler stored the
	// answer itself.
	claim     *store.Idempotency
	committed bool
}
