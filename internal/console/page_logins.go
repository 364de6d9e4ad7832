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
	After  string      `json:"after"`
	More   bool        `json:"more"`
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
var loginFilters = []string{"since", "until", "key", "addr", "network", "mechanism", "result", "tried", "place"}

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
	p.Logins = v.loginTable(list.Result[max(0, len(list.Result)-loginsAtOnce):]) // of a country all come that fit
	switch {
	case refused:
		p.Logins.Empty = "" // nothing was looked for
	case searched:
		p.Logins.Empty = "No login fits this search."
		if v.sent("place") != "" && v.sent("since") == "" {
			p.Logins.Empty = "None of the last 1\u202f000 logins fits this search. Write from when on to look further back."
		}
		p.Logins.Next = []link{{"Show all logins", v.path("/logins")}}
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
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02 15:04"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC().Format(time.RFC3339), nil
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

// loginForm is the search; places: countries are known here.
func (v *desk) loginForm(places bool) form {
	results := []option{{Value: "", Text: "all"}}
	for _, r := range slices.Sorted(mapKeys(loginWords)) {
		results = append(results, option{Value: r, Text: loginWords[r]})
	}
	f := form{Name: "search", Get: true, Action: v.path("/logins"), Do: "Search", Fields: []field{
		{Name: "since", Label: "From (UTC)", Value: v.sent("since")}, {Name: "until", Label: "To (UTC)", Value: v.sent("until")},
		{Name: "key", Label: "Key (id)", Value: v.sent("key")}, {Name: "addr", Label: "Address", Value: v.sent("addr")},
		{Name: "tried", Label: "Tried as", Value: v.sent("tried")}, {Name: "mechanism", Label: "Mechanism", Value: v.sent("mechanism")},
		{Name: "result", Label: "Result", Kind: "select", Options: pick(v.sent("result"), results...)},
	}}
	if places || v.sent("place") != "" {
		f.Fields = slices.Insert(f.Fields, 4, field{Name: "place", Label: "Country", Value: v.sent("place")})
	}
	return f
}

func (v *desk) loginTable(list []loginView) table {
	slices.SortStableFunc(list, func(a, b loginView) int { return b.At.Compare(a.At) })
	t := table{ID: "logins", Caption: "Logins, the latest first", Head: []string{"When", "Result", "Who", "From", "By", "TLS"},
		Empty: "Nobody has tried to log in, as far as this list looks. Once a program sends, its logins stand here."}
	for _, l := range list {
		result := cell{Badges: []badge{{orNone(loginWords[l.Result], l.Result), loginTone(l.Result)}}, Note: l.Detail}
		if l.Count > 1 {
			result.Note = strings.TrimSpace(things(l.Count, "time") + " within a minute. " + l.Detail)
		}
		who := words(l.Tried)
		if l.Key != "" {
			who = to(orNone(l.Tried, l.Key), query(v.path("/logins"), "key", l.Key))
			if v.May("GET", apiKey) {
				who = to(orNone(l.Tried, l.Key), v.path("/keys", l.Key))
			}
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
	since, err := v.moment("since")
	if err != nil {
		since = v.Now.AddDate(0, 0, -sumDays).UTC().Format(time.RFC3339)
	}
	until, err := v.moment("until")
	if err != nil {
		until = ""
	}
	return askIf[loginSumsView](v, apiSummary, query(apiSummary, "since", since, "until", until))
}

// tables are the sums as they are shown, and words on what was summed up: of a search
// only its time counts.
func (sum *loginSumsView) tables(v *desk) (out []table, of string) {
	for i := range sum.Result {
		sum.Result[i].Name = orNone(loginWords[sum.Result[i].Name], sum.Result[i].Name)
	}
	for _, s := range []struct {
		id, caption string
		list        []nameCount
	}{
		{"by-result", "By result", sum.Result}, {"by-place", "By country", sum.Place}, {"by-mechanism", "By mechanism", sum.Mechanism},
		{"by-tls", "By TLS version", sum.TLS}, {"by-network", "By network", sum.Network},
	} {
		if len(s.list) == 0 {
			continue
		}
		t := barTable(s.id, s.caption, s.list)
		switch s.id {
		case "by-place":
			linkSums(v, t, "place", s.list)
		case "by-network":
			linkSums(v, t, "network", s.list)
		}
		out = append(out, t)
	}
	return out, "All logins from " + stamp(sum.Since) + " to " + stamp(sum.Until) + ", whatever else was searched for. " + loginLag
}

// linkSums lets the names of a table lead to the logins that they count.
func linkSums(v *desk, t table, parameter string, list []nameCount) {
	for i, n := range list {
		c := &t.Rows[i].Cells[0]
		if n.Name == "other" { // of nothing in particular
			c.Text = "networks with few logins"
			continue
		}
		if n.Name == "unknown" {
			c.Text = "in no country that is known"
		}
		c.Href = query(v.path("/logins"), parameter, n.Name, "since", v.sent("since"), "until", v.sent("until"))
	}
}

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
