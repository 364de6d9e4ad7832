package v3

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

var loginFilters = append([]Param{
	{Name: "key", Type: "string", Doc: "only of this key's id"},
	{Name: "subuser", Type: "string", Doc: "only of this subuser, by name; needs subusers.read"},
	{Name: "addr", Type: "string", Doc: "only from this address"},
	{Name: "network", Type: "string", Doc: "only from this network, as the records have it: the /24 or /48 around an address"},
	{Name: "mechanism", Type: "string", Doc: "only by this mechanism, or none"},
	{Name: "tls", Type: "string", Doc: "only over this version of TLS: 1.2, 1.3, or none for those in the clear"},
	{Name: "result", Type: "string", Doc: "only with this result: ok, wrong, expired, network, …"},
	{Name: "tried", Type: "string", Doc: "only of this id, as it was tried"},
	{Name: "place", Type: "string", Doc: "only from this country, such as DE, or from addresses of which none is known (unknown), where the operator has given a file of places"},
}, recordParams...)

var loginRoutes = []Route{
	{
		Method: "GET", Pattern: "/v3/logins", Scope: scopeRecords, AnyAccount: true, Also: []string{"text/csv"},
		Summary: "List attempts to log in on every protocol, with their true reasons, oldest first. An account's key sees those of its subusers if it has subusers.read",
		Query:   slices.Concat(loginFilters, recordPaging), Answers: map[int]any{200: loginList{}}, Handler: (*API).listLogins,
	},
	{
		Method: "GET", Pattern: "/v3/logins/export", Scope: scopeRecords, AnyAccount: true, Also: []string{"text/csv"},
		Summary: "Write all attempts to log in, oldest first, as they are read",
		Query:   loginFilters, Answers: map[int]any{200: loginList{}}, Handler: (*API).exportLogins,
	},
}

// loginList is the shape of the answer, which is written record by record.
type loginList struct {
	Result []loginRecord `json:"result"`
	After  string        `json:"after" doc:"cursor of the last record that was read"`
	More   bool          `json:"more" doc:"there may be records behind it"`
	// Since is there where not all was looked at.
	Since *time.Time `json:"searched_since,omitempty" doc:"with newest, where looking for them took too long: what is older than this was not looked at; until asks for it"`
}

type loginRecord struct {
	Cursor string `json:"cursor"`
	relay.Login
	Place string `json:"place,omitempty" doc:"the country of the address now, where the operator has given a file of places"`
}

var loginColumns = []string{"cursor", "at", "protocol", "listener", "mechanism", "tried", "api_key_id", "account_id", "subuser_id",
	"addr", "network", "helo", "tls", "result", "detail", "count", "place"}

// loginResults are those that can be asked for.
var loginResults = []relay.LoginResult{
	relay.LoginOK, relay.LoginMalformed, relay.LoginUnknown, relay.LoginWrong, relay.LoginExpired, relay.LoginRevoked, relay.LoginDisabled,
	relay.LoginNetwork, relay.LoginScope, relay.LoginCanary, relay.LoginCleartext, relay.LoginAborted, relay.LoginUnavailable, relay.LoginAccess,
	relay.LoginThrottled, relay.LoginMechanism, relay.LoginPassword, relay.LoginToken, relay.LoginBinding, relay.LoginAmbiguous,
}

func (a *API) listLogins(c *Call) error {
	w, err := a.recordWindow(c, cursorLogin)
	if err != nil {
		return err
	}
	return a.writeLogins(c, w)
}

func (a *API) exportLogins(c *Call) error { return a.writeLogins(c, recordWindow{}) }

func (a *API) writeLogins(c *Call, w recordWindow) error {
	f, err := a.loginFilter(c)
	if err != nil {
		return err
	}
	out, err := recordFormat(c, "logins", loginColumns)
	if err != nil {
		return err
	}
	place := c.Text("place")
	if place != "" && a.Place == nil {
		return invalid("place", "Places are not known here: the operator has given no file of them.")
	}
	// What a parent's key may not ask a subuser for, it does not see here either.
	wide := !c.Tenant.Subuser.IsZero() || c.Allows(scopeBehalf)
	cursor := func(id int64) string { return a.cursor(cursorLogin, c.Tenant, id) }
	fits := func(s *store.StoredLogin) bool {
		return (wide || s.Subuser.IsZero()) && (place == "" || strings.EqualFold(place, cmp.Or(a.placeOf(s.Addr), unknownPlace)))
	}
	l := listing[store.StoredLogin]{
		recordWindow: w, some: !wide || place != "", cursor: cursor,
		id: func(s *store.StoredLogin) int64 { return s.ID },
		read: func(after int64, n int, last *store.StoredLogin) ([]store.StoredLogin, time.Time, error) {
			f.After, f.Limit = after, n
			if w.newest {
				return a.latestLogins(c, f, fits)
			}
			if last != nil {
				f.Since = lateSince(f.Since, last.At)
			}
			list, err := a.Records.Logins(c.R.Context(), f)
			return list, time.Time{}, err
		},
		show: func(s *store.StoredLogin) (row, bool) {
			return loginRow(s, cursor(s.ID), a.placeOf(s.Addr)), fits(s)
		},
	}
	return l.run(c, out)
}

// latestLogins are the newest records that match and fit, which the store cannot tell,
// oldest first: up to f.Limit. It looks back until there are so many, or too long;
// since is then how far.
func (a *API) latestLogins(c *Call, f store.LoginFilter, fits func(*store.StoredLogin) bool) (out []store.StoredLogin, since time.Time, err error) {
	began, limit, seen := time.Now(), f.Limit, map[int64]bool{}
	for size := limit; ; size = mostNewest { // most often the first ones fit
		f.Limit = size
		list, since, err := a.Records.LatestLogins(c.R.Context(), f, max(lookingBack-time.Since(began), time.Millisecond))
		if err != nil {
			return nil, since, err
		}
		read, oldest := len(list), f.Until
		list = slices.DeleteFunc(list, func(s store.StoredLogin) bool {
			if oldest.IsZero() || s.At.Before(oldest) {
				oldest = s.At
			}
			again := seen[s.ID]
			seen[s.ID] = true
			return again || !fits(&s)
		})
		out = append(list, out...)
		switch {
		case len(out) >= limit:
			return out[len(out)-limit:], time.Time{}, nil
		case read < size, !since.IsZero():
			return out, since, nil
		case time.Since(began) > lookingBack, oldest.Equal(f.Until): // or all of them are of one moment
			return out, oldest, nil
		}
		f.Until = oldest // with those of that moment: they are known
	}
}

// lateSince spares the store the days that a walk has left behind. Records may
// stand two days out of their order where a node's clock is wrong.
func lateSince(since, last time.Time) time.Time {
	if late := last.AddDate(0, 0, -2); late.After(since) {
		return late
	}
	return since
}

func (a *API) loginFilter(c *Call) (store.LoginFilter, error) {
	f := store.LoginFilter{
		Account: c.Tenant.Account, Subuser: c.Tenant.Subuser,
		Mechanism: mechanismFilter(c.Text("mechanism")), Network: c.Text("network"), Tried: c.Text("tried"), Result: relay.LoginResult(c.Text("result")),
	}
	var err error
	if f.Since, f.Until, err = recordSpan(c); err != nil {
		return f, err
	}
	if f.TLS, err = tlsFilter(c.Text("tls")); err != nil {
		return f, err
	}
	if f.Result != "" && !slices.Contains(loginResults, f.Result) {
		return f, invalid("result", "Not a result; choose of %v.", loginResults)
	}
	if text := c.Text("key"); text != "" {
		id, err := relay.ParseID(text)
		if err != nil || id.IsZero() { // the zero id would stand for all
			return f, invalid("key", "Not the id of a key.")
		}
		f.Key = relay.KeyID{ID: id}
	}
	if text := c.Text("addr"); text != "" {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			return f, invalid("addr", "Not an IP address.")
		}
		f.Addr = addr.Unmap().String()
	}
	if name := c.Text("subuser"); name != "" {
		if f.Subuser, err = a.filterSubuser(c, name); err != nil {
			return f, err
		}
	}
	return f, nil
}

// mechanismFilter is a mechanism as records have it: in capitals.
func mechanismFilter(text string) string {
	if strings.EqualFold(text, store.LoginNone) {
		return store.LoginNone
	}
	return strings.ToUpper(text)
}

// tlsVersions are those that a record can have, as it names them.
var tlsVersions = map[string]string{"": "", store.LoginNone: store.LoginNone, "1.0": "TLSv1.0", "1.1": "TLSv1.1", "1.2": "TLSv1.2", "1.3": "TLSv1.3"}

// tlsFilter reads a version: 1.2, or TLSv1.2 as the records and their sums have it.
func tlsFilter(text string) (string, error) {
	version, ok := tlsVersions[strings.TrimPrefix(text, "TLSv")]
	if !ok || text == "TLSv" {
		return "", invalid("tls", "Not a version of TLS: write 1.2, 1.3 or none.")
	}
	return version, nil
}

// filterSubuser finds the subuser that a list is restricted to. A subuser can
// name itself.
func (a *API) filterSubuser(c *Call, name string) (relay.SubuserID, error) {
	if c.Tenant.Account.IsZero() { // the operator, about all accounts
		s, ok := a.Directory.SubuserNamed(name)
		if !ok {
			return s.ID, notFound()
		}
		return s.ID, nil
	}
	if c.Tenant.Subuser.IsZero() && !c.Allows(scopeBehalf) {
		return relay.SubuserID{}, forbidden()
	}
	s, err := a.findSubuser(c.R.Context(), c.Tenant.Account, name)
	if err != nil {
		return relay.SubuserID{}, hidden(err)
	}
	if !c.Tenant.Subuser.IsZero() && s.ID != c.Tenant.Subuser {
		return relay.SubuserID{}, notFound()
	}
	return s.ID, nil
}

// unknownPlace stands for addresses whose country is in no file.
const unknownPlace = "unknown"

// placeOf is the country of an address; "": not known.
func (a *API) placeOf(addr netip.Addr) string {
	if a.Place == nil || !addr.IsValid() {
		return ""
	}
	return a.Place(addr)
}

func loginRow(s *store.StoredLogin, cursor, place string) row {
	addr := ""
	if s.Addr.IsValid() {
		addr = s.Addr.String()
	}
	return row{v: loginRecord{Cursor: cursor, Login: s.Login, Place: place}, cells: []string{
		cursor, s.At.Format(time.RFC3339Nano), s.Protocol, s.Listener, s.Mechanism, s.Tried, idText(s.Key.ID), idText(s.Account.ID), idText(s.Subuser.ID),
		addr, s.Network, s.Helo, s.TLS, string(s.Result), s.Detail, strconv.FormatInt(s.Count, 10), place,
	}}
}

// idText is an id, or nothing for none.
func idText(id relay.ID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}
