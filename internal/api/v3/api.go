package v3

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"postern/internal/auth"
	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/store"
)

// API answers the routes.
type API struct {
	Services
	*State
	document func() ([]byte, error) // of OpenAPI, made when first asked for
	direct   bool                   // asked from within the process, by people
}

// State is what the listeners of a process share, so that the counts of the rate
// limit and the turns of those who edit one account are the same on each.
type State struct {
	rates   *rates
	edits   edits
	checks  pace    // of domains that are validated by hand
	letters letters // with records, to strangers
	queues  queueCounts
}

// NewState makes the state of a process.
func NewState() *State { return &State{rates: newRates()} }

// Services is what the API acts on: what every route needs, and what each group
// of routes names in its own file. Where two groups have a member of one name,
// it is reached through the group: a.TenantServices.Store.
type Services struct {
	Auth      Authenticator
	Directory Directory
	// Accounts lists accounts, for an operator who names none.
	Accounts interface {
		Accounts(ctx context.Context) ([]relay.Account, error)
	}
	// Answers keeps what repeated requests get; nil: requests with an
	// Idempotency-Key are refused as unavailable.
	Answers Answers
	// State is shared by all listeners of the process; nil: this one has its own.
	State *State
	// Operator says who is at the other end of a request on admin.sock. It is nil on
	// every other listener: there, nobody is the operator.
	Operator func(ctx context.Context) (store.By, bool)
	// Listener is the name of the listener in login records.
	Listener string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// KeyRate and AccountRate are requests a minute; 0: 600 and 1,200.
	KeyRate, AccountRate int

	CoreServices
	TenantServices
	MailServices
	SenderServices
	DomainServices
	ReportServices
	WatchServices
	PeopleServices
	AuditServices
	ConsoleServices
}

// Authenticator judges the proof that a request brings. Its errors are
// *relay.Error with a public text. *auth.Authenticator is one.
type Authenticator interface {
	Bearer(ctx context.Context, at auth.Attempt) (*relay.Principal, error)
}

// Directory is who exists, in memory; *identity.Directory is one. Deleted
// subusers are found by id and not by name.
type Directory interface {
	Account(id relay.AccountID) (relay.Account, bool)
	AccountNamed(name string) (relay.Account, bool)
	Subuser(id relay.SubuserID) (relay.Subuser, bool)
	SubuserNamed(name string) (relay.Subuser, bool)
	SubusersOf(account relay.AccountID) []relay.Subuser
	// KeysOf are exactly this tenant's keys that are not revoked, by creation.
	KeysOf(t relay.Tenant) []*relay.Key
}

// Routes is the whole API.
func Routes() []Route {
	return slices.Concat(coreRoutes, tenantRoutes, mailRoutes, senderRoutes, domainRoutes, reportRoutes, watchRoutes, peopleRoutes, auditRoutes, consoleRoutes)
}

// New makes the routes for a listener. A route that is for the operator only is
// not found on a listener without one.
func New(s Services) []httpx.Route { return assemble(s).handlers() }

func assemble(s Services) *API {
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.KeyRate == 0 {
		s.KeyRate = defaultKeyRate
	}
	if s.AccountRate == 0 {
		s.AccountRate = defaultAccountRate
	}
	if s.State == nil {
		s.State = NewState()
	}
	a := &API{Services: s, State: s.State}
	a.document = sync.OnceValues(func() ([]byte, error) {
		return describe(slices.DeleteFunc(Routes(), func(r Route) bool { return r.OperatorOnly && s.Operator == nil }))
	})
	return a
}

// handlers are the routes, ready for a listener.
func (a *API) handlers() []httpx.Route {
	all := Routes()
	var out []httpx.Route
	for i := range all {
		route := &all[i]
		if route.MaxBody == 0 {
			route.MaxBody = defaultMaxBody
		}
		out = append(out, httpx.Route{
			Method: route.Method, Pattern: route.Pattern, MaxBody: route.MaxBody,
			Handler: func(w http.ResponseWriter, r *http.Request) error { return a.serve(route, w, r) },
		})
	}
	return out
}

// defaultMaxBody is generous for settings.
const defaultMaxBody = 1 << 20

// serve answers one request: who asks, may they, about whom; then the handler.
func (a *API) serve(route *Route, w http.ResponseWriter, r *http.Request) error {
	c := &Call{W: w, R: r, Now: a.Now().UTC(), api: a, route: route}
	if err := a.admit(c); err != nil {
		return err
	}
	if err := c.readQuery(); err != nil {
		return err
	}
	if route.Hold != nil {
		release, err := route.Hold(a, c)
		if err != nil {
			return err
		}
		defer release()
	}
	if r.Method == http.MethodPost && !route.Open && len(r.Header.Values(headerIdempotency)) > 0 {
		return a.once(c, func() error { return route.Handler(a, c) })
	}
	return route.Handler(a, c)
}

// edits lets one request at a time read and write back a tenant's settings, so that
// those of this process seldom have to begin anew. That none is lost is the store's
// doing, by swaps: another node's edits are not waited for. Each account waits for its
// own only: one that edits much, while the store is slow, keeps nobody else waiting.
type edits struct {
	mu sync.Mutex
	of map[relay.AccountID]*turn // of accounts with requests under way
}

// turn is an account's.
type turn struct {
	taken chan struct{} // holds one token: the right to edit
	users int           // who has it, and who waits; with edits.mu
}

// lock waits for the account's turn and returns what ends it.
func (e *edits) lock(id relay.AccountID) (unlock func()) {
	e.mu.Lock()
	t := e.of[id]
	if t == nil {
		if e.of == nil {
			e.of = map[relay.AccountID]*turn{}
		}
		t = &turn{taken: make(chan struct{}, 1)}
		e.of[id] = t
	}
	t.users++
	e.mu.Unlock()
	t.taken <- struct{}{}
	return func() {
		<-t.taken
		e.mu.Lock()
		defer e.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(e.of, id)
		}
	}
}
