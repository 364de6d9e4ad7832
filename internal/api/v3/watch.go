package v3

import (
	"context"
	"net/http"
	"slices"

	"postern/internal/relay"
	"postern/internal/store"
	"postern/internal/watch"
)

// WatchServices is what the routes about the watch need.
type WatchServices struct {
	// Watch keeps findings and settings; *store.Store does. nil: nothing is watched.
	Watch WatchStore
	// Replays runs rules over the stored history; nil: it cannot be done here.
	Replays WatchReplayer
	// WebhookPorts are ports besides 443 that customers' URLs may have.
	WebhookPorts []int
}

// WatchStore keeps findings and settings of the watch.
type WatchStore interface {
	WatchFindings(ctx context.Context, f store.WatchFilter) ([]relay.WatchFinding, error)
	WatchFinding(ctx context.Context, id relay.WatchID) (relay.WatchFinding, error)
	DecideWatch(ctx context.Context, by store.By, id relay.WatchID, state relay.WatchState, teach bool) (relay.WatchFinding, error)
	WatchSettings(ctx context.Context, account relay.AccountID) (relay.WatchSettings, error)
	// SwapWatchSettings: relay.Conflict with store.ErrMeanwhile if they are not was any
	// more.
	SwapWatchSettings(ctx context.Context, by store.By, account relay.AccountID, was, s relay.WatchSettings) error
}

// WatchReplayer runs replays; *watch.Replayer does.
type WatchReplayer interface {
	Replay(ctx context.Context, cfg watch.ReplayConfig) (watch.Progress, error)
}

const (
	scopeWatch       = "alerts.read"
	scopeWatchChange = "alerts.update"
	pathFinding      = "/v3/watch/findings/{finding_id}"
)

var watchRoutes = []Route{
	{
		Method: "GET", Pattern: "/v3/watch/findings", Scope: scopeWatch, AnyAccount: true,
		Summary: "List what the watch found, the newest first. An account's key sees findings of its subusers if it has subusers.read",
		Query:   findingParams, Answers: map[int]any{200: findingList{}}, Handler: (*API).listFindings,
	},
	{
		Method: "GET", Pattern: pathFinding, Scope: scopeWatch, AnyAccount: true,
		Summary: "Show one finding with its evidence", Answers: map[int]any{200: findingView{}}, Handler: (*API).showFinding,
	},
	{
		Method: "POST", Pattern: pathFinding + "/dismiss", Scope: scopeWatchChange, StepUp: true, AnyAccount: true,
		Summary: "Say that nothing is wrong: what the finding's answer changed is undone. With teach, what was seen counts as normal from now on",
		Body:    dismissal{}, Answers: map[int]any{200: findingView{}}, Handler: (*API).dismissFinding,
	},
	{
		Method: "POST", Pattern: pathFinding + "/confirm", Scope: scopeWatchChange, AnyAccount: true,
		Summary: "Say that a finding is real: its answer stays, and the same is reported when it happens again",
		Answers: map[int]any{200: findingView{}}, Handler: (*API).confirmFinding,
	},
	{
		Method: "GET", Pattern: "/v3/watch/settings", Scope: scopeWatch, ParentOnly: true, AnyAccount: true,
		Summary: "Show how the account is watched: each rule with its answer and measure, and who is told",
		Answers: map[int]any{200: watchSettingsView{}}, Handler: (*API).showWatchSettings,
	},
	{
		Method: "PATCH", Pattern: "/v3/watch/settings", Scope: scopeWatchChange, ParentOnly: true, AnyAccount: true, StepUp: true,
		Summary: "Change how the account is watched. A new webhook's secret is in the answer, and never again",
		Body:    watchSettingsRequest{}, Answers: map[int]any{200: watchSettingsView{}}, Handler: (*API).changeWatchSettings,
	},
	{
		Method: "POST", Pattern: "/v3/watch/replay", Scope: scopeWatchChange, AnyAccount: true, Also: []string{typeNDJSON},
		Summary: "Run the rules over the stored history, with the settings that are given, and do nothing about what is found. The answer is a line of JSON for each finding, and for how far it is",
		Body:    replayRequest{}, Answers: map[int]any{200: replayLine{}}, Handler: (*API).replayWatch,
	},
}

var findingParams = []Param{
	{Name: "state", Type: "string", Doc: "open, dismissed, confirmed, ended; decided: all but open ones; all if it is not given"},
	{Name: "key", Type: "string", Doc: "only of this key's id"},
	{Name: "rule", Type: "string", Doc: "only of this rule: canary, network, travel, places, burst, hours, recipients, bounces, unknown, spread, sweep, downgrade, domain"},
	{Name: "severity", Type: "string", Doc: "only of this severity: notice, warning, critical"},
	{Name: "since", Type: "string", Doc: "only what was seen since this time: RFC 3339, or Unix seconds"},
	{Name: "limit", Type: "integer", Doc: "the most findings, up to 1000; 100 if it is not given"},
	{Name: "after", Type: "string", Doc: "go on behind this cursor: next of the answer before"},
}

type findingList struct {
	Result []findingView `json:"result"`
	Next   string        `json:"next" doc:"cursor for the next page; empty: there is none"`
}

// findingView is a finding, and whose it is for an account that has subusers.
type findingView struct {
	relay.WatchFinding
	Username string `json:"username,omitempty" doc:"the subuser's whose it is; none: the account's own"`
	Name     string `json:"account,omitempty" doc:"the account's name, for the operator who sees those of all"`
}

type dismissal struct {
	Teach bool `json:"teach,omitempty"`
}

var (
	watchStates     = []relay.WatchState{relay.WatchOpen, relay.WatchDismissed, relay.WatchConfirmed, relay.WatchEnded}
	watchSeverities = []relay.WatchSeverity{relay.WatchNotice, relay.WatchWarning, relay.WatchCritical}
)

// watchStore is where findings are, or why there are none.
func (a *API) watchStore() (WatchStore, error) {
	if a.Watch == nil {
		return nil, relay.E(relay.Unavailable, "Nothing is watched here.")
	}
	return a.Watch, nil
}

// watchWide reports whether the caller sees findings of the account's subusers.
func watchWide(c *Call) bool { return c.Tenant.Subuser.IsZero() && c.Allows(scopeBehalf) }

func (a *API) listFindings(c *Call) error {
	s, err := a.watchStore()
	if err != nil {
		return err
	}
	f, err := findingFilter(c)
	if err != nil {
		return err
	}
	all, err := s.WatchFindings(c.R.Context(), f)
	if err != nil {
		return err
	}
	out := findingList{Result: make([]findingView, 0, len(all))}
	for _, v := range all {
		out.Result = append(out.Result, a.viewFinding(c, v))
	}
	if len(all) == f.Limit {
		out.Next = all[len(all)-1].ID.String()
	}
	return c.JSON(http.StatusOK, out)
}

func findingFilter(c *Call) (store.WatchFilter, error) {
	f := store.WatchFilter{
		Account: c.Tenant.Account, Subuser: c.Tenant.Subuser, Own: !c.Tenant.Account.IsZero() && !watchWide(c),
		Rule: relay.WatchRule(c.Text("rule")), Severity: relay.WatchSeverity(c.Text("severity")),
	}
	if f.Rule != "" && !slices.Contains(relay.WatchRules, f.Rule) {
		return f, invalid("rule", "Not a rule; choose of %v.", relay.WatchRules)
	}
	if f.Severity != "" && !slices.Contains(watchSeverities, f.Severity) {
		return f, invalid("severity", "Not a severity; choose of %v.", watchSeverities)
	}
	switch state := relay.WatchState(c.Text("state")); {
	case state == "" || state == "all":
	case state == "decided":
		f.States = watchStates[1:]
	case slices.Contains(watchStates, state):
		f.States = []relay.WatchState{state}
	default:
		return f, invalid("state", "Not a state; choose of %v, decided or all.", watchStates)
	}
	var err error
	if f.Since, err = parseMoment("since", c.Text("since")); err != nil {
		return f, err
	}
	for _, p := range []struct {
		name string
		into *relay.ID
	}{{"key", &f.Key.ID}, {"after", &f.Before.ID}} {
		text := c.Text(p.name)
		if text == "" {
			continue
		}
		id, err := relay.ParseID(text)
		if err != nil || id.IsZero() {
			return f, invalid(p.name, "Not an id.")
		}
		*p.into = id
	}
	n, err := c.Int("limit", 100, 1, 1000)
	f.Limit = int(n)
	return f, err
}

// finding is the one of the path, if the caller may see it.
func (a *API) finding(c *Call) (relay.WatchFinding, error) {
	s, err := a.watchStore()
	if err != nil {
		return relay.WatchFinding{}, err
	}
	id, err := relay.ParseID(c.R.PathValue("finding_id"))
	if err != nil {
		return relay.WatchFinding{}, notFound()
	}
	f, err := s.WatchFinding(c.R.Context(), relay.WatchID{ID: id})
	if err != nil {
		return f, hidden(err)
	}
	all := c.Operator && c.Tenant.Account.IsZero()
	if !all && (f.Account != c.Tenant.Account || f.Subuser != c.Tenant.Subuser && !watchWide(c)) {
		return relay.WatchFinding{}, notFound()
	}
	return f, nil
}

// viewFinding is a finding as the caller may see it: a subuser learns nothing of
// the keys and people of its account.
func (a *API) viewFinding(c *Call, f relay.WatchFinding) findingView {
	if !c.Tenant.Subuser.IsZero() {
		f.DecidedBy = ""
	}
	v := findingView{WatchFinding: f, Username: a.subuserName(c, f.Tenant)}
	if c.Tenant.Account.IsZero() {
		of, _ := a.Directory.Account(f.Account)
		v.Name = of.Name
	}
	return v
}

func (a *API) showFinding(c *Call) error {
	f, err := a.finding(c)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, a.viewFinding(c, f))
}

func (a *API) dismissFinding(c *Call) error {
	var in dismissal
	if body, err := c.Body(); err != nil {
		return err
	} else if len(body) > 0 {
		if err := c.Decode(&in); err != nil {
			return err
		}
	}
	return a.decideFinding(c, relay.WatchDismissed, in.Teach)
}

func (a *API) confirmFinding(c *Call) error { return a.decideFinding(c, relay.WatchConfirmed, false) }

func (a *API) decideFinding(c *Call, state relay.WatchState, teach bool) error {
	f, err := a.finding(c)
	if err != nil {
		return err
	}
	f, err = a.Watch.DecideWatch(c.R.Context(), c.By, f.ID, state, teach)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, a.viewFinding(c, f))
}
