package v3

import (
	"cmp"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"postern/internal/store"
)

const scopeCounts = "stats.read"

var overviewRoutes = []Route{
	{
		Method: http.MethodGet, Pattern: "/v3/overview", Scope: scopeCounts,
		Summary: "Sum up a time: mail and logins by hour or day, the queue, and what needs attention. Each part is there for callers with the scope that its own route asks for",
		Query:   append([]Param{{Name: "by", Type: "string", Doc: "hour or day; if it is not given, what suits the span"}}, overviewSpan...),
		Answers: map[int]any{200: overview{}}, Handler: (*API).showOverview,
	},
	{
		Method: http.MethodGet, Pattern: "/v3/logins/summary", Scope: scopeRecords,
		Summary: "Count attempts to log in by result, mechanism, TLS version and network",
		Query:   overviewSpan, Answers: map[int]any{200: loginSummary{}}, Handler: (*API).showLoginSummary,
	},
}

var overviewSpan = []Param{
	{Name: "since", Type: "string", Doc: "RFC 3339, or Unix seconds; if it is not given, a day before until"},
	{Name: "until", Type: "string", Doc: "if it is not given, now"},
}

type overview struct {
	Since     time.Time     `json:"since"`
	Until     time.Time     `json:"until"`
	By        string        `json:"by" doc:"hour or day"`
	Series    []mailPoint   `json:"series"`
	Total     mailPoint     `json:"total"`
	Logins    []loginPoint  `json:"logins" doc:"for callers with the scope access_settings.activity.read"`
	Queue     *overviewLoad `json:"queue" doc:"for callers with the scope messages.read; otherwise null"`
	Attention []attention   `json:"attention" doc:"the gravest first"`
}

// mailPoint counts recipients, but messages in received and refused.
type mailPoint struct {
	At        time.Time `json:"at,omitzero"`
	Received  int64     `json:"received"`
	Delivered int64     `json:"delivered"`
	Deferred  int64     `json:"deferred"`
	Bounced   int64     `json:"bounced"`
	Dropped   int64     `json:"dropped"`
	Refused   int64     `json:"refused"`
}

type loginPoint struct {
	At      time.Time `json:"at"`
	OK      int64     `json:"ok"`
	Refused int64     `json:"refused"`
}

type overviewLoad struct {
	Waiting     int64     `json:"waiting"`
	Due         int64     `json:"due"`
	Leased      int64     `json:"leased"`
	Held        int64     `json:"held"`
	Quarantined int64     `json:"quarantined"`
	OldestAt    time.Time `json:"oldest_at,omitzero"`
}

// The bounds of a summary.
const (
	usualSpan   = 24 * time.Hour
	longestSpan = 400 * 24 * time.Hour
	mostPoints  = 1000
)

// span reads the time that a summary is about.
func (c *Call) span() (since, until time.Time, err error) {
	if since, until, err = recordSpan(c); err != nil {
		return since, until, err
	}
	if until.IsZero() {
		until = c.Now
	}
	if since.IsZero() {
		since = until.Add(-usualSpan)
	}
	if !since.Before(until) || until.Sub(since) > longestSpan {
		return since, until, invalid("since", "The time must begin before it ends, and be at most 400 days long.")
	}
	return since, until, nil
}

func (a *API) showOverview(c *Call) error {
	since, until, err := c.span()
	if err != nil {
		return err
	}
	v := overview{Since: since, Until: until, By: c.Text("by"), Series: []mailPoint{}, Logins: []loginPoint{}, Attention: []attention{}}
	step := time.Hour
	switch {
	case v.By == "day" || v.By == "" && until.Sub(since) > 4*day:
		v.By, step = "day", day
	case v.By == "hour" || v.By == "":
		v.By = "hour"
	default:
		return invalid("by", "Write hour or day.")
	}
	if until.Sub(since)/step > mostPoints {
		return invalid("by", "That would be more than %d points; ask by day, or for less.", mostPoints)
	}
	if err := a.countMail(c, &v, step); err != nil {
		return err
	}
	if c.Allows(scopeRecords) {
		if err := a.countLogins(c, &v, step); err != nil {
			return err
		}
	}
	if c.Allows(scopeMail) {
		q, err := a.queues.get(c.R.Context(), a.Messages, c.Tenant, c.wide(), c.Now)
		if err != nil {
			return err
		}
		v.Queue = &overviewLoad{q.Waiting, q.Due, q.Leased, q.Held, q.Quarantined, q.OldestAt}
	}
	if v.Attention, err = a.attention(c, v.Queue); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, v)
}

// countMail fills in the series, a point for every step, those without mail, too.
func (a *API) countMail(c *Call, v *overview, step time.Duration) error {
	counts, err := a.Index.MailCounts(c.R.Context(), store.CountFilter{Tenant: c.Tenant, Subusers: c.wide(), Since: v.Since, Until: v.Until, By: step})
	if err != nil {
		return err
	}
	at := map[int64]*store.MailCount{}
	for i := range counts {
		at[counts[i].At.Unix()] = &counts[i]
	}
	for t := v.Since.Truncate(step); t.Before(v.Until); t = t.Add(step) {
		p := mailPoint{At: t}
		if n := at[t.Unix()]; n != nil {
			p = mailPoint{t, n.Received, n.Delivered, n.Deferred, n.Bounced, n.Dropped, n.Refused}
		}
		v.Series = append(v.Series, p)
		v.Total = mailPoint{
			time.Time{}, v.Total.Received + p.Received, v.Total.Delivered + p.Delivered, v.Total.Deferred + p.Deferred,
			v.Total.Bounced + p.Bounced, v.Total.Dropped + p.Dropped, v.Total.Refused + p.Refused,
		}
	}
	return nil
}

func (a *API) countLogins(c *Call, v *overview, step time.Duration) error {
	counts, err := a.Index.LoginCounts(c.R.Context(), store.CountFilter{Tenant: c.Tenant, Subusers: c.wide(), Since: v.Since, Until: v.Until, By: step})
	if err != nil {
		return err
	}
	ok, refused := map[int64]int64{}, map[int64]int64{}
	for _, n := range counts {
		if n.Dimension == store.ByResult {
			ok[n.At.Unix()] += n.OK
			refused[n.At.Unix()] += n.Refused
		}
	}
	for t := v.Since.Truncate(step); t.Before(v.Until); t = t.Add(step) {
		v.Logins = append(v.Logins, loginPoint{t, ok[t.Unix()], refused[t.Unix()]})
	}
	return nil
}

type loginSummary struct {
	Since     time.Time    `json:"since"`
	Until     time.Time    `json:"until"`
	Total     int64        `json:"total"`
	Result    []namedCount `json:"by_result"`
	Mechanism []namedCount `json:"by_mechanism"`
	TLS       []namedCount `json:"by_tls"`
	Network   []namedCount `json:"by_network" doc:"the 50 most frequent"`
	Place     []namedCount `json:"by_place,omitempty" doc:"countries, where the operator has given a file of places"`
}

type namedCount struct {
	Name  string `json:"name"`
	Count int64  `json:"count"`
}

// mostNames is how many names of a kind a summary has.
const mostNames = 50

func (a *API) showLoginSummary(c *Call) error {
	since, until, err := c.span()
	if err != nil {
		return err
	}
	v := loginSummary{Since: since, Until: until}
	counts, err := a.Index.LoginCounts(c.R.Context(), store.CountFilter{Tenant: c.Tenant, Subusers: c.wide(), Since: since, Until: until})
	if err != nil {
		return err
	}
	for _, g := range []struct {
		dimension string
		to        *[]namedCount
	}{{store.ByResult, &v.Result}, {store.ByMechanism, &v.Mechanism}, {store.ByTLS, &v.TLS}, {store.ByNetwork, &v.Network}} {
		*g.to = frequent(counts, g.dimension)
	}
	v.Place = a.byPlace(counts)
	for _, n := range v.Result {
		v.Total += n.Count
	}
	return c.JSON(http.StatusOK, v)
}

// byPlace sums the networks up by where they are; nil: nobody knows.
func (a *API) byPlace(counts []store.LoginCount) []namedCount {
	if a.Place == nil {
		return nil
	}
	of := map[string]*store.LoginCount{}
	for _, n := range counts {
		if n.Dimension != store.ByNetwork {
			continue
		}
		name := store.OtherName
		if network, err := netip.ParsePrefix(n.Name); err == nil {
			if name = a.Place(network.Addr()); name == "" {
				name = unknownPlace
			}
		}
		sum := of[name]
		if sum == nil {
			sum = &store.LoginCount{Dimension: store.ByNetwork, Name: name}
			of[name] = sum
		}
		sum.OK, sum.Refused = sum.OK+n.OK, sum.Refused+n.Refused
	}
	var all []store.LoginCount
	for _, name := range slices.Sorted(maps.Keys(of)) {
		all = append(all, *of[name])
	}
	return frequent(all, store.ByNetwork)
}

// frequent are the names of a dimension that most logins have.
func frequent(counts []store.LoginCount, dimension string) []namedCount {
	out := []namedCount{}
	for _, n := range counts {
		if n.Dimension == dimension {
			out = append(out, namedCount{printable(n.Name, 64), n.OK + n.Refused})
		}
	}
	slices.SortStableFunc(out, func(x, y namedCount) int { return cmp.Compare(y.Count, x.Count) })
	return out[:min(len(out), mostNames)]
}
