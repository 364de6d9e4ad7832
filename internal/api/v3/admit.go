package v3

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"strings"
	"unicode"

	"postern/internal/auth"
	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

// The headers that name whom a request is about.
const (
	headerBehalf  = "On-Behalf-Of"
	headerAccount = "Account-Id"
)

// The words of refusals that clients match on.
const (
	textNoKey    = "authorization required"
	textBasic    = "Permission denied, wrong credentials"
	textNotFound = "not found"
	textNoScope  = "access forbidden"
)

// scopeBehalf is what a parent's key needs to act for a subuser, besides the
// route's own scope.
const scopeBehalf = "subusers.read"

// admit fills in who asks and whom it is about, or refuses. Nothing of the
// request but its headers is looked at before.
func (a *API) admit(c *Call) error {
	switch {
	case a.direct:
		return a.admitPerson(c)
	case a.Operator != nil:
		return a.admitOperator(c)
	}
	if c.route.OperatorOnly {
		return notFound()
	}
	c.Addr = httpx.Client(c.R.Context())
	if c.route.Open {
		return nil
	}
	p, err := a.authenticate(c)
	if err != nil {
		return err
	}
	c.Principal, c.Tenant = p, p.Tenant
	c.By = store.By{Who: "key " + p.Key.ID.String(), From: c.Addr.String(), Key: p.Key.ID, Subuser: p.Subuser}
	if !c.route.NoRateLimit {
		if err := a.rates.take(a, c); err != nil {
			return err
		}
	}
	return a.authorise(c)
}

// admitOperator is for admin.sock: who may open it may do everything, for the
// tenant that the headers name.
func (a *API) admitOperator(c *Call) error {
	by, ok := a.Operator(c.R.Context())
	if !ok {
		return forbidden()
	}
	c.Operator, c.By = true, by
	c.By.Rank = relay.RankOperator
	if c.route.Open || c.route.AnyAccount && c.R.Header.Get(headerAccount) == "" {
		return nil
	}
	account, err := a.accountRef(c.R.Context(), c.R.Header.Get(headerAccount))
	if err != nil {
		return err
	}
	c.Tenant.Account = account.ID
	if c.route.ParentOnly && c.R.Header.Get(headerBehalf) != "" {
		return forbidden()
	}
	return a.behalf(c)
}

// accountRef finds the account that the operator means: by id or name, or the
// only one that is not the system's.
func (a *API) accountRef(ctx context.Context, ref string) (relay.Account, error) {
	if ref != "" {
		if id, err := relay.ParseID(ref); err == nil {
			if account, ok := a.Directory.Account(relay.AccountID{ID: id}); ok {
				return account, nil
			}
		}
		if account, ok := a.Directory.AccountNamed(ref); ok {
			return account, nil
		}
		return relay.Account{}, &relay.Error{Kind: relay.NotFound, Field: "account-id", Public: "There is no such account."}
	}
	all, err := a.Accounts.Accounts(ctx)
	if err != nil {
		return relay.Account{}, err
	}
	var only []relay.Account
	for _, account := range all {
		if !account.System {
			only = append(only, account)
		}
	}
	if len(only) != 1 {
		return relay.Account{}, invalid("account-id", "There are %d accounts; name one in the header account-id.", len(only))
	}
	return only[0], nil
}

// authenticate asks who is behind a request. AP-05: a key in the query string or
// the body is not looked at.
func (a *API) authenticate(c *Call) (*relay.Principal, error) {
	values := c.R.Header.Values("Authorization")
	if len(values) != 1 {
		return nil, relay.E(relay.Unauthenticated, textNoKey)
	}
	at := auth.Attempt{
		Protocol: "http", Listener: a.Listener, Mechanism: "BEARER", Addr: c.Addr,
		Helo: printable(c.R.UserAgent(), 255), TLS: tlsName(c.R.TLS),
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	rest = strings.TrimLeft(rest, " ")
	switch {
	case strings.EqualFold(scheme, "Bearer") && rest != "":
		at.Secret = secret.Redacted(rest)
		return a.Auth.Bearer(c.R.Context(), at)
	case strings.EqualFold(scheme, "Basic"):
		return nil, a.refuseBasic(c, at, rest)
	}
	return nil, relay.E(relay.Unauthenticated, textNoKey)
}

// refuseBasic has the attempt recorded and refuses it whatever it holds: people's
// names and passwords do not work here, and programs send their key as a bearer.
func (a *API) refuseBasic(c *Call, at auth.Attempt, encoded string) error {
	at.Mechanism = "BASIC"
	if text, err := base64.StdEncoding.DecodeString(encoded); err == nil {
		user, password, _ := strings.Cut(string(text), ":")
		at.User, at.Secret = user, secret.Redacted(password)
	}
	_, err := a.Auth.Bearer(c.R.Context(), at)
	if kind := relay.KindOf(err); err != nil && (kind == relay.RateLimited || kind == relay.Unavailable) {
		return err
	}
	return &relay.Error{Kind: relay.Unauthenticated, Public: textBasic, Err: err}
}

// authorise checks the route's demands and finds the tenant.
func (a *API) authorise(c *Call) error {
	p := c.Principal
	if c.route.ParentOnly && (!p.Subuser.IsZero() || restricted(p) || c.R.Header.Get(headerBehalf) != "") {
		return forbidden()
	}
	if c.route.Scope != "" && !p.Allows(c.route.Scope) {
		return forbidden()
	}
	// Over the network a key is of one account. A client that names another would be
	// surprised by an answer about its own.
	for _, ref := range c.R.Header.Values(headerAccount) {
		if ref != "" && ref != p.Account.String() {
			return forbidden()
		}
	}
	if err := a.behalf(c); err != nil {
		return err
	}
	if restricted(p) && c.Tenant.Subuser.IsZero() {
		return forbidden() // nothing of the account's own is theirs
	}
	return nil
}

// behalf turns to the subuser that the header names. One of another account is
// answered like one that does not exist.
func (a *API) behalf(c *Call) error {
	values := c.R.Header.Values(headerBehalf)
	if len(values) == 0 || len(values) == 1 && values[0] == "" {
		return nil
	}
	if len(values) > 1 || !c.Operator && !mayActFor(c.Principal) {
		return forbidden()
	}
	s, ok := a.Directory.SubuserNamed(values[0])
	if !ok || s.Account != c.Tenant.Account || !s.DeletedAt.IsZero() || !c.sees(relay.Tenant{Account: s.Account, Subuser: s.ID}) {
		return notFound()
	}
	c.Tenant.Subuser = s.ID
	c.By = c.byFor(s.ID)
	return nil
}

// byFor is who asks, as they stand to what is a subuser's, or the account's own: the
// account stands above its subusers, whether it names one in the header or not.
func (c *Call) byFor(s relay.SubuserID) store.By {
	by := c.By
	if !s.IsZero() && (c.Principal == nil || c.Principal.Subuser != s) {
		by.Rank = max(by.Rank, relay.RankAccount)
	}
	return by
}

// standsOver reports whether who asks stands above a subuser, with all that the
// account knows and holds; everybody does above what is the account's own. Who is
// restricted to subusers does not: nothing of the account's own is theirs.
func (c *Call) standsOver(s relay.SubuserID) bool {
	if s.IsZero() || c.Operator {
		return true
	}
	return c.Principal.Subuser != s && !restricted(c.Principal)
}

// tlsName is how login records name a connection's TLS: "TLSv1.3 TLS_AES_…".
func tlsName(s *tls.ConnectionState) string {
	if s == nil {
		return ""
	}
	return "TLSv" + strings.TrimPrefix(tls.VersionName(s.Version), "TLS ") + " " + tls.CipherSuiteName(s.CipherSuite)
}

// printable cuts a text of the client's to what can be shown.
func printable(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(s, ""))
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	return s
}
