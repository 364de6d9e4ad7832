package console

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/internal/relay"
)

const (
	apiLogins  = "/v3/logins"
	apiSummary = "/v3/logins/summary"
)

// loginRecordPages are the pages of the record of logins.
var loginRecordPages = []page{
	{Method: "GET", Pattern: "/logins", Title: "Logins", Group: "Security", Nav: "Logins", Needs: []string{"GET " + apiLogins}, Handler: onDesk(showLogins)},
	{Method: "GET", Pattern: "/logins/tail", Title: "Logins", Needs: []string{"GET " + apiLogins}, Handler: onDesk(tailLogins)},
	{Method: "GET", Pattern: "/logins/export", Title: "Logins", Needs: []string{"GET " + apiLogins + "/export"}, Handler: onDesk(exportLogins)},
}

type loginView struct {
	Cursor    string    `json:"cursor"`
	At        time.Time `json:"at"`
	Protocol  string    `json:"protocol"`
	Listener  string    `json:"listener"`
	Mechanism string    `json:"mechanism"`
	Tried     string    `json:"tried"`
	Detail    string    `json:"detail"`
	Key       string    `json:"api_key_id"`
	Subuser   string    `json:"subuser_id"`
	Addr      string    `json:"addr"`
	Network   string    `json:"network"`
	Helo      string    `json:"helo"`
	TLS       string    `json:"tls"`
	Result    string    `json:"result"`
	Count     int64     `json:"count"`
	Place     string    `json:"place"`
}

type loginListView struct {
	Result []loginView `json:"result"`
	Since  time.Time   `json:"searched_since"` // what is older was not looked at; zero: all was
}

// loginWords say what a result means.
var loginWords = map[string]string{
	string(relay.LoginOK): "let in", string(relay.LoginMalformed): "no key of ours at all", string(relay.LoginUnknown): "no such key",
	string(relay.LoginWrong): "wrong secret", string(relay.LoginExpired): "key has ended", string(relay.LoginRevoked): "key was revoked",
	string(relay.LoginDisabled): "switched off", string(relay.LoginNetwork): "right secret, outside the key's networks",
	string(relay.LoginScope): "right secret, may not send", string(relay.LoginCanary): "a decoy was tried",
	string(relay.LoginCleartext): "secret sent before TLS: it is exposed", string(relay.LoginAborted): "client gave up",
	string(relay.LoginUnavailable): "could not be told", string(relay.LoginAccess): "right secret, outside the IP access list",
	string(relay.LoginThrottled): "refused unseen: too many failures", string(relay.LoginMechanism): "right secret, by a mechanism that the policy forbids",
	string(relay.LoginPassword): "a person's password: programs use a key", string(relay.LoginToken): "bad token",
	string(relay.LoginBinding): "TLS differs at both ends: somebody is between", string(relay.LoginAmbiguous): "several keys claim it",
}

// loginTone is how bad a result is.
func loginTone(result string) string {
	switch relay.LoginResult(result) {
	case relay.LoginOK:
		return toneOK
	case relay.LoginCanary, relay.LoginCleartext, relay.LoginBinding, relay.LoginNetwork, relay.LoginAccess:
		return toneBad
	}
	return toneWarn
}

// loginFilters are the parameters that a search has.
var loginFilters = []string{"since", "until", "key", "addr", "network", "mechanism", "tls", "result", "tried", "place"}

// loginsPage is the tail and search of logins.
type loginsPage struct {
	Search form
	Live   string // where news of the list come from; "": it is a search, which stands still
	Logins table
	Sums   []table
	Lag    string // of which days the sums are, and why they may lack the newest
	Next   []link
}

// loginsAtOnce is how many logins the list has at most: the newest.
const loginsAtOnce = 200

func showLogins(v *desk) error {
	pairs, searched, err := v.loginQuery()
	sums := v.loginSums()
	p := loginsPage{Search: v.loginForm(len(sums.Place) > 0), Next: v.linkAt("As a file (CSV)", query(v.path("/logins/export"), pairs...), "GET", apiLogins+"/export")}
	var list loginListView
	if err == nil {
		err = v.Call("GET", query(apiLogins, append(pairs, "newest", "true", "limit", strconv.Itoa(loginsAtOnce))...), nil, &list)
	}
	f, refused := v.refused(p.Search, err)
	if refused {
		p.Search, err = f, nil
	}
	if err != nil {
		return err
	}
	if n := len(list.Result); n == loginsAtOnce {
		list.Since = list.Result[0].At
	}
	p.Logins = v.loginTable(list.Result)
	if !list.Since.IsZero() {
		p.Logins.Older = v.loginsUntil(list.Since)
	}
	switch {
	case refused:
		p.Logins.Empty = "" // nothing was looked for
	case searched:
		p.Logins.Empty = "No login fits this search."
		p.Logins.Next = []link{{"Show all logins", v.path("/logins")}}
		if !list.Since.IsZero() {
			p.Logins.Empty = "No login since " + stamp(list.Since) + " fits this search; what is older was not looked at yet."
			p.Logins.Next = append([]link{{"Look further back", v.loginsUntil(list.Since)}}, p.Logins.Next...)
		}
	default:
		p.Live = v.path("/logins/tail")
	}
	if p.Sums, p.Lag = sums.tables(v); len(p.Sums) > 0 {
		p.Next = append([]link{{"In sum, below the list", "#sums"}}, p.Next...)
	}
	return v.Render(http.StatusOK, "page_logins", "Logins", p)
}

// loginQuery are the parameters that were chosen, for the API.
func (v *desk) loginQuery() (pairs []string, searched bool, err error) {
	for _, name := range loginFilters {
		value := v.sent(name)
		if value == "" {
			continue
		}
		searched = true
		if name == "since" || name == "until" {
			if value, err = v.moment(name); err != nil {
				return nil, true, err
			}
		}
		pairs = append(pairs, name, value)
	}
	return pairs, searched, nil
}

// moment is a day, or a day and a time, in UTC as the API wants it.
func (v *desk) moment(name string) (string, error) {
	s := v.sent(name)
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02 15:04", time.DateTime} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC().Format(time.RFC3339Nano), nil
		}
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return "", &relay.Error{Kind: relay.Invalid, Field: name, Public: "Write a day such as 2026-03-31, or 2026-03-31 08:00."}
	}
	if name == "until" {
		t = t.Add(24*time.Hour - time.Second)
	}
	return t.Format(time.RFC3339), nil
}

// loginsUntil is the list before a moment, up to the end of its second; where the list
// ends in that second already, up to the moment itself.
func (v *desk) loginsUntil(t time.Time) string {
	q := v.R.URL.Query()
	until := t.UTC().Truncate(time.Second).Add(time.Second).Format(time.DateTime)
	if until == q.Get("until") {
		until = t.UTC().Format(time.RFC3339Nano)
	}
	q.Set("until", until)
	return v.R.URL.Path + "?" + q.Encode()
}

// loginForm is the search; places: countries are known here.
func (v *desk) loginForm(places bool) form {
	results := []option{{Value: "", Text: "all"}}
	for _, r := range slices.Sorted(mapKeys(loginWords)) {
		results = append(results, option{Value: r, Text: loginWords[r]})
	}
	f := form{Name: "search", Get: true, Action: v.path("/logins"), Do: "Search", Fields: []field{
		{Name: "since", Label: "From (UTC)", Value: v.sent("since")}, {Name: "until", Label: "To (UTC)", Value: v.sent("until")},
		{Name: "key", Label: "Key (id)", Value: v.sent("key")}, {Name: "addr", Label: "Address", Value: v.sent("addr")},
		{Name: "network", Label: "Network", Value: v.sent("network")},
		{Name: "tried", Label: "Tried as", Value: v.sent("tried")}, {Name: "mechanism", Label: "Mechanism", Value: v.sent("mechanism")},
		{Name: "tls", Label: "TLS", Kind: "select", Options: pick(v.sent("tls"), tlsChoices(v.sent("tls"))...)},
		{Name: "result", Label: "Result", Kind: "select", Options: pick(v.sent("result"), results...)},
	}}
	if places || v.sent("place") != "" {
		f.Fields = slices.Insert(f.Fields, 4, field{Name: "place", Label: "Country", Value: v.sent("place")})
	}
	return f
}

// tlsChoices are the versions that programs use; an old one is there for who asks for it.
func tlsChoices(asked string) []option {
	all := []option{{Value: "", Text: "all"}, {Value: "1.3", Text: "TLS 1.3"}, {Value: "1.2", Text: "TLS 1.2"}, {Value: "none", Text: "none: in the clear"}}
	if !slices.ContainsFunc(all, func(o option) bool { return o.Value == asked }) {
		all = append(all, option{Value: asked, Text: asked})
	}
	return all
}

// subusersOf are the names, by their ids, of the subusers whose logins an account sees
// beside its own; nil where one tenant's are listed.
func (v *desk) subusersOf(list []loginView) map[string]string {
	if !v.Tenant.Subuser.IsZero() {
		return nil
	}
	names := map[string]string{}
	if slices.ContainsFunc(list, func(l loginView) bool { return l.Subuser != "" }) {
		for _, s := range askIf[[]subuserView](v, apiSubusers, apiSubusers+"?limit=1000") {
			names[s.ID] = s.Username
		}
	}
	return names
}

func (v *desk) loginTable(list []loginView) table {
	slices.SortStableFunc(list, func(a, b loginView) int { return b.At.Compare(a.At) })
	t := table{ID: "logins", Caption: "Logins, the latest first", Head: []string{"When", "Result", "Who", "From", "By", "TLS"},
		Empty: "Nobody has tried to log in, as far as this list looks. Once a program sends, its logins stand here."}
	names := v.subusersOf(list)
	for _, l := range list {
		result := cell{Badges: []badge{{orNone(loginWords[l.Result], l.Result), loginTone(l.Result)}}, Note: l.Detail}
		if l.Count > 1 {
			result.Note = strings.TrimSpace(things(l.Count, "time") + " within a minute. " + l.Detail)
		}
		who := words(l.Tried)
		if l.Key != "" {
			who = to(orNone(l.Tried, l.Key), query(v.path("/logins"), "key", l.Key))
			// A key of a subuser is shown on the subuser's pages.
			if key := v.keyCellOf(names[l.Subuser], l.Key, ""); key.Href != "" && (names == nil || l.Subuser == "" || names[l.Subuser] != "") {
				who.Href = key.Href
			}
		}
		if name := names[l.Subuser]; name != "" {
			who.Note = "of " + name
		}
		from := to(orNone(l.Addr, "here"), query(v.path("/logins"), "addr", l.Addr))
		from.Note = l.Helo
		if l.Protocol == "console" {
			from.Note = browser(l.Helo)
		}
		if l.Place != "" {
			from.Badges = []badge{{l.Place, toneMute}}
		}
		by := words(orNone(l.Mechanism, "none"))
		by.Note = l.Protocol
		if l.Listener != l.Protocol {
			by.Note = strings.TrimSpace(l.Protocol + " " + l.Listener)
		}
		t.Rows = append(t.Rows, row{Cells: []cell{v.at(l.At), result, who, from, by, tlsCell(l.TLS)}})
	}
	return t
}

// tlsCell is a version with its cipher suite below it.
func tlsCell(s string) cell {
	version, cipher, _ := strings.Cut(s, " ")
	c := words(orNone(version, "none"))
	c.Note = cipher
	return c
}

type nameCount struct {
	Name  string `json:"name"`
	Count int64  `json:"count"`
}

// sumDays is of how many days the sums are where no other time is asked for.
const sumDays = 7

// loginSumsView are logins by what they have in common.
type loginSumsView struct {
	Result    []nameCount `json:"by_result"`
	Mechanism []nameCount `json:"by_mechanism"`
	TLS       []nameCount `json:"by_tls"`
	Network   []nameCount `json:"by_network"`
	Place     []nameCount `json:"by_place"`
	Since     time.Time   `json:"since"`
	Until     time.Time   `json:"until"`
}

// loginSums are the sums of the time that is searched, or of the last days.
func (v *desk) loginSums() loginSumsView {
	last := v.Now
	until, err := v.moment("until")
	if t, e := time.Parse(time.RFC3339Nano, until); err == nil && e == nil {
		last = t
	} else {
		until = ""
	}
	since, err := v.moment("since")
	if err != nil {
		since = last.AddDate(0, 0, -sumDays).UTC().Format(time.RFC3339)
	}
	return askIf[loginSumsView](v, apiSummary, query(apiSummary, "since", since, "until", until))
}

// tables are the sums as they are shown, and words on what was summed up: of a search
// only its time counts.
func (sum *loginSumsView) tables(v *desk) (out []table, of string) {
	for _, s := range []struct {
		id, caption, parameter string
		list                   []nameCount
		show                   func(name string) (text, value string)
	}{
		{"by-result", "By result", "result", sum.Result, func(name string) (string, string) { return orNone(loginWords[name], name), name }},
		{"by-place", "By country", "place", sum.Place, shownPlace}, {"by-mechanism", "By mechanism", "mechanism", sum.Mechanism, shownOrNone},
		{"by-tls", "By TLS version", "tls", sum.TLS, func(name string) (string, string) {
			text, value := shownOrNone(name)
			return text, strings.TrimPrefix(value, "TLSv")
		}},
		{"by-network", "By network", "network", sum.Network, shownPlace},
	} {
		if len(s.list) == 0 {
			continue
		}
		t := barTable(s.id, s.caption, s.list)
		for i, n := range s.list {
			c := &t.Rows[i].Cells[0]
			var value string
			if c.Text, value = s.show(n.Name); value != "" {
				c.Href = query(v.path("/logins"), s.parameter, value, "since", v.sent("since"), "until", v.sent("until"))
			}
		}
		out = append(out, t)
	}
	return out, "All logins from " + stamp(sum.Since) + " to " + stamp(sum.Until) + ", whatever else was searched for. Each name leads to its logins. " + loginLag + loginsListed
}

// shownOrNone is a name of the sums, and what finds its logins; "": nothing does.
func shownOrNone(name string) (text, value string) {
	switch name {
	case "":
		return "none", "none"
	case sumOther:
		return "names with few logins", ""
	}
	return name, name
}

// shownPlace is shownOrNone of countries and networks.
func shownPlace(name string) (text, value string) {
	switch name {
	case "":
		return "not known", ""
	case sumOther: // of nothing in particular
		return "networks with few logins", ""
	case "unknown":
		return "in no country that is known", name
	}
	return name, name
}

// sumOther is what the API sums up the rest as.
const sumOther = "other"

// barTable shows counts by name, each with its part of the whole as a bar.
func barTable(id, caption string, list []nameCount) table {
	var all int64
	for _, n := range list {
		all += n.Count
	}
	t := table{ID: id, Caption: caption, Head: []string{"Name", "Count", "Share"}}
	for _, n := range list {
		t.Rows = append(t.Rows, row{Cells: []cell{words(orNone(n.Name, "none")), number(n.Count), {Bar: int(100 * n.Count / max(all, 1)), Text: share(n.Count, all).Note}}})
	}
	return t
}

// tailLogins says when there is a login that the list does not have.
func tailLogins(v *desk) error {
	return v.tail(func(context.Context) (string, error) {
		list, err := ask[loginListView](v, apiLogins+"?newest=true&limit=1")
		if err != nil || len(list.Result) == 0 {
			return "", err
		}
		last := list.Result[len(list.Result)-1]
		return last.Cursor + " " + number(last.Count).Text, nil
	})
}

func exportLogins(v *desk) error {
	pairs, _, err := v.loginQuery()
	if err != nil {
		return err
	}
	return v.download(query(apiLogins+"/export?format=csv", pairs...), "logins.csv")
}
